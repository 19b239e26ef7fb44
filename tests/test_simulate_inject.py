"""Artificial reals: flux, noise, saturation, places and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from gueststar.errors import InputError
from gueststar.simulate.inject import draw_artificial_reals, inject, psf_stamps
from gueststar.simulate.night import Survey, simulate_pair
from gueststar.simulate.painter import PsfField
from gueststar.types import Image, Mask, Psf

SHAPE = (400, 500)
SKY = 900.0


def moffat_psf(fwhm=2.7):
    return Psf.from_stamp(PsfField.moffat((9, 9), fwhm=fwhm, beta=3.5, e1=0.05, half_fwhm=5.0).stamps([4.0], [4.0])[0])


def blank(seed=0, **fields):
    noise = np.random.default_rng(seed).normal(0.0, np.sqrt(SKY), SHAPE)
    return Image.from_arrays(noise, SKY, psf=moffat_psf(), **fields)


def grid_of_sources(flux, step=40):
    x, y = np.meshgrid(np.arange(step, SHAPE[1] - step, step), np.arange(step, SHAPE[0] - step, step))
    rng = np.random.default_rng(3)
    shift = rng.uniform(-0.5, 0.5, (2, x.size))
    return Table({"x": x.ravel() + shift[0], "y": y.ravel() + shift[1], "flux_e": np.full(x.size, float(flux))})


@pytest.fixture(scope="module")
def image():
    return simulate_pair(Survey(galaxy_density=6.0, star_density=2.0), seed=31, shape=(600, 700)).science.image()


@pytest.mark.parametrize("fwhm", [2.1, 2.8, 4.5])
def test_shifted_psf_keeps_its_flux_and_its_centre(fwhm):
    psf = moffat_psf(fwhm)
    rng = np.random.default_rng(0)
    x, y = 20 + rng.uniform(-0.5, 0.5, (2, 40))
    stamps = psf_stamps(psf, x, y).astype(float)
    assert np.abs(stamps.sum(axis=(1, 2)) - 1.0).max() < 1e-3
    k = stamps.shape[-1]
    yy, xx = np.mgrid[:k, :k] - k // 2
    np.testing.assert_allclose((stamps * xx).sum(axis=(1, 2)), x - 20, atol=0.01)
    np.testing.assert_allclose((stamps * yy).sum(axis=(1, 2)), y - 20, atol=0.01)


def test_shifted_psf_is_the_profile_at_the_place():
    truth = PsfField.moffat((9, 9), fwhm=2.7, beta=3.5, e1=0.05, half_fwhm=5.0)
    psf = moffat_psf(2.7)
    x, y = np.array([4.31, 3.62]), np.array([3.77, 4.45])
    expected = truth.stamps(x, y)
    drawn = psf_stamps(psf, x, y)[:, 2:-2, 2:-2]
    assert np.abs(drawn - expected).max() < 0.01 * expected.max()


def test_injected_flux_has_a_standard_normal_pull():
    image, sources = blank(), grid_of_sources(6000.0)
    result = inject(image, sources, rng=np.random.default_rng(1))
    added = result.image.numpy() - image.numpy()
    pulls = []
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for row in sources:
        inside = np.hypot(xx - row["x"], yy - row["y"]) < 16
        variance = result.image.numpy("variance")[inside].sum()
        pulls.append((result.image.numpy()[inside].sum() - row["flux_e"]) / np.sqrt(variance))
    n = len(pulls)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(n)
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))
    # Only photon noise lies between what was asked for and what was added.
    total = sources["flux_e"].sum()
    assert abs(added.sum() - total) < 5 * np.sqrt(total) + 1e-3 * total


def test_variance_grows_by_the_light():
    image, sources = blank(), grid_of_sources(20000.0)
    result = inject(image, sources, rng=np.random.default_rng(1))
    grown = result.image.numpy("variance") - image.numpy("variance")
    assert (grown >= 0).all()
    assert grown.sum() == pytest.approx(sources["flux_e"].sum(), rel=2e-3)


def test_input_stays_unchanged_and_the_image_gets_a_new_id():
    image, sources = blank(), grid_of_sources(1e4)
    planes, columns = {p: image.numpy(p) for p in ("data", "variance", "mask")}, sources.copy()
    first = inject(image, sources, rng=np.random.default_rng(1))
    again = inject(image, sources, rng=np.random.default_rng(1))
    other = inject(image, sources, rng=np.random.default_rng(2))
    for plane, before in planes.items():
        np.testing.assert_array_equal(image.numpy(plane), before)
    assert sources.colnames == columns.colnames
    assert len({image.image_id, first.image.image_id, other.image.image_id}) == 3
    assert first.image.image_id == again.image.image_id
    assert first.image.facts["artificial_reals"] == len(sources)


def test_saturation_clips_and_flags():
    image = blank(saturation=5000.0)
    result = inject(image, grid_of_sources(2e5, step=120), rng=np.random.default_rng(1))
    data, mask = result.image.numpy(), result.image.numpy("mask")
    assert data.max() == pytest.approx(5000.0)
    flagged = (mask & Mask.SATURATED) != 0
    np.testing.assert_array_equal(flagged, data >= 5000.0)
    assert flagged.sum() > 20


def test_nothing_is_left_out_silently():
    mask = np.zeros(SHAPE, np.int16)
    mask[100:103, 100:103] = Mask.BAD
    mask[200:220, 200:203] = Mask.COSMIC_RAY
    image = blank(mask=mask)
    sources = Table(
        {
            "x": [101.0, 50.0, -3.0, 499.8, np.nan, 203.0, 106.0],
            "y": [101.0, 60.0, 10.0, 20.0, 5.0, 210.0, 101.0],
            "flux_e": [1e4] * 7,
            "note": list("abcdefg"),
        }
    )
    result = inject(image, sources, rng=np.random.default_rng(0))
    expected = ["masked", "injected", "outside", "outside", "outside", "masked", "injected"]
    assert list(result.sources["status"]) == expected
    assert list(result.sources["note"]) == list("abcdefg")
    # Bad pixels hold no light, as before.
    np.testing.assert_array_equal(result.image.numpy()[100:103, 100:103], image.numpy()[100:103, 100:103])


def test_sources_at_the_edge_give_what_falls_inside():
    image = blank()
    result = inject(image, Table({"x": [0.0], "y": [200.0], "flux_e": [1e6]}), rng=np.random.default_rng(0))
    assert list(result.sources["status"]) == ["injected"]
    assert 0.5e6 < (result.image.numpy() - image.numpy()).sum() < 0.8e6


def test_no_sources_are_no_error():
    image = blank()
    result = inject(image, grid_of_sources(1.0)[:0], rng=np.random.default_rng(0))
    np.testing.assert_array_equal(result.image.numpy(), image.numpy())
    assert len(result.sources) == 0
    assert "status" in result.sources.colnames
    drawn = draw_artificial_reals(image, 0, rng=np.random.default_rng(0))
    assert drawn.colnames == ["x", "y", "flux_e", "snr", "placement"]


def test_drawn_signal_to_noise_is_that_of_the_matched_filter():
    image = blank()
    drawn = draw_artificial_reals(image, 60, rng=np.random.default_rng(0), snr=(5, 50), placement="random")
    assert len(drawn) == 60
    stamps = psf_stamps(image.psf, drawn["x"], drawn["y"])
    for stamp, row in zip(np.maximum(stamps, 0).astype(float), drawn, strict=True):
        snr = row["flux_e"] * np.sqrt((stamp**2 / (SKY + row["flux_e"] * stamp)).sum())
        assert snr == pytest.approx(row["snr"], rel=1e-3)
    faint = drawn[drawn["snr"] < 7]
    area = 1.0 / (moffat_psf().stamp.numpy().astype(float) ** 2).sum()
    np.testing.assert_allclose(faint["flux_e"], faint["snr"] * np.sqrt(SKY * area), rtol=0.1)


def test_signal_to_noise_is_log_uniform():
    image = blank()
    rng = np.random.default_rng(5)
    drawn = [draw_artificial_reals(image, 80, rng=rng, snr=(5, 80), minimum_separation_px=10)["snr"] for _ in range(5)]
    logs = (np.log(np.concatenate(drawn)) - np.log(5)) / np.log(80 / 5)
    assert logs.min() >= 0
    assert logs.max() <= 1
    assert logs.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / logs.size))


def test_matched_filter_recovers_the_drawn_fluxes():
    image = blank(seed=9)
    drawn = draw_artificial_reals(image, 80, rng=np.random.default_rng(0), minimum_separation_px=30, placement="random")
    inner = (np.abs(drawn["x"] - 249.5) < 230) & (np.abs(drawn["y"] - 199.5) < 180)
    drawn = drawn[inner]
    result = inject(image, drawn, rng=np.random.default_rng(1)).image
    data, stamps = result.numpy().astype(float), psf_stamps(image.psf, drawn["x"], drawn["y"]).astype(float)
    pulls = []
    for stamp, row in zip(stamps, drawn, strict=True):
        k = stamp.shape[0] // 2
        j, i = round(row["y"]), round(row["x"])
        weight = stamp / (SKY + row["flux_e"] * np.maximum(stamp, 0))
        flux = (weight * data[j - k : j + k + 1, i - k : i + k + 1]).sum() / (weight * stamp).sum()
        pulls.append((flux - row["flux_e"]) * row["snr"] / row["flux_e"])
    assert abs(np.mean(pulls)) < 4 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(2 * len(pulls)))


def test_mixed_places_are_half_random_half_on_galaxies(image):
    drawn = draw_artificial_reals(image, 60, rng=np.random.default_rng(0), minimum_separation_px=12)
    assert len(drawn) == 60
    share = np.mean(np.asarray(drawn["placement"]) == "galaxy")
    assert 0.3 < share <= 0.5
    apart = np.hypot(drawn["x"][:, None] - drawn["x"], drawn["y"][:, None] - drawn["y"]) + 1e9 * np.eye(60)
    assert apart.min() >= 12
    at = image.numpy("mask")[np.round(drawn["y"]).astype(int), np.round(drawn["x"]).astype(int)]
    assert (at & int(Mask.SATURATED | Mask.BAD | Mask.NO_DATA) == 0).all()


def test_galaxy_places_are_on_the_galaxies_of_the_truth():
    survey = Survey(galaxy_density=8.0, galaxy_mag=(14.0, 17.5), star_density=2.0)
    pair = simulate_pair(survey, seed=12, shape=(600, 700))
    drawn = draw_artificial_reals(
        pair.science.image(), 30, rng=np.random.default_rng(0), placement="galaxy", minimum_separation_px=5
    )
    on = drawn[drawn["placement"] == "galaxy"]
    galaxies = pair.truth[pair.truth["kind"] == "galaxy"]
    nearest = [np.hypot(galaxies["x"] - row["x"], galaxies["y"] - row["y"]).min() for row in on]
    anywhere = np.random.default_rng(1).uniform([0, 0], [700, 600], (300, 2))
    chance = [np.hypot(galaxies["x"] - x, galaxies["y"] - y).min() for x, y in anywhere]
    assert len(on) > 15
    assert np.median(nearest) < 0.35 * np.median(chance)


def test_star_places_are_beside_stars(image):
    drawn = draw_artificial_reals(image, 30, rng=np.random.default_rng(0), placement="star", minimum_separation_px=5)
    beside = drawn[drawn["placement"] == "star"]
    assert len(beside) > 20
    distance = [np.hypot(image.stars.x - r["x"], image.stars.y - r["y"]).min() for r in beside]
    assert max(distance) <= 5 * image.psf.fwhm + 1e-6


def test_where_nothing_is_found_the_place_is_random_and_says_so():
    drawn = draw_artificial_reals(blank(), 10, rng=np.random.default_rng(0), placement="star")
    assert set(drawn["placement"]) == {"random"}
    crowded = draw_artificial_reals(blank(), 500, rng=np.random.default_rng(0), minimum_separation_px=100)
    assert crowded.meta["asked"] == 500
    assert crowded.meta["placed"] == len(crowded) < 40


def test_errors_say_what_is_missing(image):
    rng = np.random.default_rng(0)
    sources = grid_of_sources(100.0)
    with pytest.raises(InputError, match="has no PSF"):
        inject(replace(image, psf=None), sources, rng=rng)
    with pytest.raises(InputError, match="has no PSF"):
        draw_artificial_reals(replace(image, psf=None), 5, rng=rng)
    with pytest.raises(InputError, match="lack the columns flux_e"):
        inject(image, sources["x", "y"], rng=rng)
    with pytest.raises(InputError, match="not negative"):
        inject(image, grid_of_sources(-1.0), rng=rng)
    with pytest.raises(InputError, match="valid ones are mixed, random, galaxy, star"):
        draw_artificial_reals(image, 5, rng=rng, placement="comet")
    with pytest.raises(InputError, match="lower snr first"):
        draw_artificial_reals(image, 5, rng=rng, snr=(10.0, 5.0))
