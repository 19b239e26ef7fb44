"""Artificial reals: flux, noise, saturation, places and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.table import Table, vstack

from gueststar.errors import InputError
from gueststar.ingest.psf import psf_photometry
from gueststar.simulate.inject import TRUTH_COLUMNS, describe_sources, draw_artificial_reals, inject, psf_stamps
from gueststar.simulate.inject.brightness import draw_brightness
from gueststar.simulate.night import Survey, simulate_pair
from gueststar.simulate.optics.painter import PsfField
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
    assert drawn.colnames == list(TRUTH_COLUMNS)


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
    with pytest.raises(InputError, match="valid ones are log-uniform, uniform, euclidean"):
        draw_artificial_reals(image, 5, rng=rng, distribution="flat")
    with pytest.raises(InputError, match="give one of them"):
        draw_artificial_reals(image, 5, rng=rng, snr=(5.0, 10.0), mag=(15.0, 17.0))
    with pytest.raises(InputError, match="the brighter first"):
        draw_artificial_reals(image, 5, rng=rng, mag=(17.0, 15.0))
    with pytest.raises(InputError, match="no zero point; give it one"):
        draw_artificial_reals(blank(), 5, rng=rng, mag=(15.0, 17.0))


# --- Truth columns, distributions, places -----------------------------------------------------------------------------


def test_truth_of_magnitudes_is_nan_without_a_zero_point_and_right_with_one():
    bare = draw_artificial_reals(blank(), 20, rng=np.random.default_rng(0), placement="random")
    assert bare.colnames == list(TRUTH_COLUMNS)
    assert np.isnan(bare["mag"]).all()
    assert np.isnan(bare["surface_mag_arcsec2"]).all()
    known = blank(zeropoint=27.0, zeropoint_source="catalog", instrument="tomoe")
    drawn = draw_artificial_reals(known, 20, rng=np.random.default_rng(0), placement="random")
    np.testing.assert_allclose(drawn["flux_e"], bare["flux_e"])
    np.testing.assert_allclose(drawn["mag"], 27.0 - 2.5 * np.log10(drawn["flux_e"]))
    # Empty sky has no host and no star.
    for name in ("host_offset_r25", "host_mag", "star_mag"):
        assert np.isnan(drawn[name]).all()


@pytest.mark.parametrize("distribution", ["log-uniform", "uniform", "euclidean"])
def test_magnitudes_fill_their_range_by_the_law_asked_for(distribution):
    image = blank(zeropoint=27.0, zeropoint_source="header")
    drawn = draw_artificial_reals(
        image, 900, rng=np.random.default_rng(4), mag=(16.0, 19.0), distribution=distribution,
        placement="random", minimum_separation_px=2.0,
    )  # fmt: skip
    mag, n = np.asarray(drawn["mag"]), len(drawn)
    assert n > 800
    assert 16.0 <= mag.min() < 16.4
    assert 18.95 < mag.max() <= 19.0
    brighter = np.mean(mag < 17.5)
    bright = (10 ** (0.6 * 1.5) - 1) / (10 ** (0.6 * 3.0) - 1)  # of N(<m) ~ 10^(0.6 m)
    expected = bright if distribution == "euclidean" else 0.5
    assert brighter == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))
    # The signal to noise that goes with a flux is that which gives this flux.
    rows = drawn[:5]
    again = describe_sources(image, rows["x", "y", "snr"])
    np.testing.assert_allclose(again["flux_e"], rows["flux_e"], rtol=1e-4)


def test_signal_to_noise_distributions_have_their_means():
    low, high, n = 5.0, 50.0, 20000
    expected = {
        "log-uniform": (high - low) / np.log(high / low),
        "uniform": (low + high) / 2,
        "euclidean": 3 * (low**-0.5 - high**-0.5) / (low**-1.5 - high**-1.5),
    }
    for name, mean in expected.items():
        drawn = draw_brightness(n, low, high, distribution=name, rng=np.random.default_rng(2))
        assert low <= drawn.min() <= drawn.max() <= high
        assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / np.sqrt(n))


def galaxy_image(seed=0, flux=60000.0, n=30):
    """Round and flattened exponential discs of known radius on empty sky."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    x, y = np.meshgrid(np.linspace(45, SHAPE[1] - 45, 6), np.linspace(45, SHAPE[0] - 45, 5))
    light = np.zeros(SHAPE)
    for cx, cy in zip(x.ravel()[:n], y.ravel()[:n], strict=True):
        r = np.hypot(xx - cx, yy - cy)
        light += flux / (2 * np.pi * 3.0**2) * np.exp(-r / 3.0)
    data = rng.poisson(light + SKY) - SKY
    image = Image.from_arrays(data, light + SKY, psf=moffat_psf(), zeropoint=27.0, zeropoint_source="catalog")
    return image, np.column_stack((x.ravel()[:n], y.ravel()[:n]))


def test_offsets_from_galaxies_follow_the_law_of_supernovae():
    image, centres = galaxy_image()
    rng, parts = np.random.default_rng(0), []
    for _ in range(12):
        parts.append(draw_artificial_reals(image, 28, rng=rng, placement="galaxy", minimum_separation_px=12.0))
    drawn = vstack(parts, metadata_conflicts="silent")
    drawn = drawn[drawn["placement"] == "galaxy"]
    assert len(drawn) > 250
    offsets = np.asarray(drawn["host_offset_r25"])
    # Quartiles of 1,253 supernovae: 0.18, 0.38, 0.67 R25.
    for share, offset in ((0.25, 0.18), (0.5, 0.38), (0.75, 0.67)):
        error = np.sqrt(share * (1 - share) / len(drawn))
        assert np.mean(offsets < offset) == pytest.approx(share, abs=4 * error)
    # What the column says is what was done: the distance in pixels goes with it, and the scale is twice 1.68 h.
    distance = np.array([np.hypot(*(centres - (r["x"], r["y"])).T).min() for r in drawn])
    ratio = np.median(distance[offsets > 0.3] / offsets[offsets > 0.3])
    assert ratio == pytest.approx(2 * 1.68 * 3.0, rel=0.2)
    host = 27.0 - 2.5 * np.log10(60000.0)
    assert np.median(drawn["host_mag"]) == pytest.approx(host, abs=0.3)
    # The light below falls with the distance from the nucleus, as an exponential disc blurred by the PSF.
    inner, outer = drawn[offsets < 0.15], drawn[offsets > 1.2]
    assert np.median(inner["surface_e_px"]) > 10 * abs(np.median(outer["surface_e_px"]))


def test_nucleus_places_lie_within_one_fwhm_of_the_nucleus():
    image, centres = galaxy_image()
    drawn = draw_artificial_reals(image, 25, rng=np.random.default_rng(0), placement="nucleus")
    assert set(drawn["placement"]) == {"nucleus"}
    distance = [np.hypot(*(centres - (r["x"], r["y"])).T).min() for r in drawn]
    assert max(distance) < image.psf.fwhm + 0.3
    assert np.mean(distance) == pytest.approx(0.5 * image.psf.fwhm, abs=4 * 0.29 * image.psf.fwhm / np.sqrt(25))


def test_star_places_tell_the_star(image):
    drawn = draw_artificial_reals(
        replace(image, zeropoint_source="catalog"), 40, rng=np.random.default_rng(0), placement="star"
    )
    beside = drawn[drawn["placement"] == "star"]
    good = image.stars[image.stars.flags == 0]
    mags = image.zeropoint - 2.5 * np.log10(good.flux)
    for row in beside:
        own = np.abs(mags - row["star_mag"]).argmin()
        assert np.hypot(good.x[own] - row["x"], good.y[own] - row["y"]) <= 5 * image.psf.fwhm + 1e-6


def test_surface_brightness_is_the_light_under_the_place():
    image = blank(zeropoint=27.0, zeropoint_source="catalog", instrument="tomoe")
    data = image.numpy() * 0 + 40.0
    lit = replace(image, data=torch.from_numpy(data))
    drawn = describe_sources(lit, Table({"x": [100.2, -9.0], "y": [80.7, 5.0], "flux_e": [1e3, 1e3]}))
    assert drawn["surface_e_px"][0] == pytest.approx(40.0, rel=1e-5)
    assert drawn["surface_mag_arcsec2"][0] == pytest.approx(27.0 - 2.5 * np.log10(40.0 / 1.189**2), abs=1e-4)
    assert np.isnan(drawn["snr"][1])
    assert np.isnan(drawn["surface_e_px"][1])


def test_what_became_random_is_counted():
    drawn = draw_artificial_reals(blank(), 10, rng=np.random.default_rng(0), placement="nucleus")
    assert drawn.meta == {"asked": 10, "placed": 10, "random_instead": 10}
    result = inject(blank(), Table({"x": [50.0, -5.0], "y": [50.0, 5.0], "flux_e": [1e3, 1e3]}),
                    rng=np.random.default_rng(0))  # fmt: skip
    assert result.counts == {"injected": 1, "outside": 1, "masked": 0}
    assert result.image.facts["artificial_reals_outside"] == 1


def test_psf_photometry_of_injected_sources_is_unbiased():
    image = blank(seed=4)
    sources = grid_of_sources(8000.0, step=30)
    result = inject(image, sources, rng=np.random.default_rng(6)).image
    flux = psf_photometry(result.data, image.psf, np.asarray(sources["x"]), np.asarray(sources["y"]))
    added = psf_photometry(result.data - image.data, image.psf, np.asarray(sources["x"]), np.asarray(sources["y"]))
    for measured in (flux, added):
        assert measured.mean() == pytest.approx(8000.0, abs=4 * measured.std() / np.sqrt(len(sources)))
    assert added.std() / 8000 < 0.02


def test_pixels_without_new_light_stay_as_they_are():
    image = blank(saturation=60.0)
    result = inject(image, Table({"x": [50.0], "y": [50.0], "flux_e": [1e4]}), rng=np.random.default_rng(0)).image
    far = np.ones(SHAPE, bool)
    far[20:81, 20:81] = False
    assert (image.numpy()[far] > 60.0).any()
    for plane in ("data", "variance", "mask"):
        np.testing.assert_array_equal(result.numpy(plane)[far], image.numpy(plane)[far])
    assert (result.numpy()[~far] >= np.minimum(image.numpy()[~far], 60.0)).all()
