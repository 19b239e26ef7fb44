"""The second injector: its sources are what they say, of the signal to noise they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import skies
from gueststar.errors import InputError
from gueststar.ingest.psf import psf_photometry
from gueststar.simulate.inject import TRUTH_COLUMNS
from gueststar.simulate.inject.light import draw_electrons
from gueststar.simulate.inject.profiles import psf_stamps
from gueststar.simulate.inject.second_injector import KINDS, inject_second, second_light
from gueststar.types import Image

SHAPE = (420, 500)
PSF = skies.Shape(fwhm=2.8, beta=3.2, ellipticity=0.06, angle_deg=30.0)


@pytest.fixture(scope="module")
def image() -> Image:
    rng = np.random.default_rng(7)
    stars = skies.scatter(rng, 110, SHAPE, flux=(2000.0, 200_000.0), apart=22.0)
    return skies.photograph(SHAPE, stars, PSF, rng, zeropoint=27.0, zeropoint_source="catalog")


def covariance(light: np.ndarray, *, fwhm: float, weighted: bool) -> np.ndarray:
    """Second moments of the light itself (xx, xy; xy, yy), px^2, under no weight or under the Gaussian that fits it.

    The weight follows the light until both have the same moments, so an elongated source is not made rounder
    (Bernstein & Jarvis 2002, AJ 123, 583); the pixels' own 1/12 is taken off.
    """
    yy, xx = np.mgrid[: light.shape[0], : light.shape[1]].astype(float)
    dx, dy = xx - (light * xx).sum() / light.sum(), yy - (light * yy).sum() / light.sum()
    cov = np.eye(2) * (fwhm / 2.3548) ** 2
    for _ in range(100):
        inverse = np.linalg.inv(cov)
        distance = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
        weight = light * (np.exp(-0.5 * distance) if weighted else 1.0)
        found = [[(weight * a * b).sum() / weight.sum() for a in (dx, dy)] for b in (dx, dy)]
        if not weighted:
            return np.array(found) - np.eye(2) / 12
        cov = 2 * np.array(found)  # a Gaussian under its own weight has half its variance
    return cov - np.eye(2) / 12


def angle_between(a: float, b: float) -> float:
    return abs((a - b + np.pi / 2) % np.pi - np.pi / 2)


def test_truth_has_the_columns_of_the_first_injector_and_its_own(image: Image) -> None:
    result = inject_second(image, 25, rng=np.random.default_rng(0))
    sources = result.sources
    assert sources.colnames[: len(TRUTH_COLUMNS)] == list(TRUTH_COLUMNS)
    assert sources.meta == {"asked": 25, "placed": 25}
    kinds, counts = np.unique(sources["injector_kind"], return_counts=True)
    assert set(kinds) == set(KINDS) - {"mixed"}
    assert set(counts) == {5}
    assert sum(result.counts.values()) == 25
    assert result.image.facts["artificial_reals"] == result.counts["injected"]
    for column, kind in (("trail_px", "trail"), ("change_fraction", "variable"), ("ellipticity", "ellipse")):
        np.testing.assert_array_equal(np.isfinite(sources[column]), sources["injector_kind"] == kind)


def test_the_light_added_is_the_flux_told_and_the_input_stays(image: Image) -> None:
    before = image.numpy()
    for kind in KINDS[1:]:
        result = inject_second(image, 15, kind=kind, rng=np.random.default_rng(1), snr=(20.0, 60.0))
        put = result.sources[result.sources["status"] == "injected"]
        assert len(put) >= 12
        change = (result.image.numpy().astype(float) - before).sum()
        spread = np.sqrt(np.abs(put["flux_e"]).sum() * 3) + 0.004 * np.abs(put["flux_e"]).sum()
        assert change == pytest.approx(put["flux_e"].sum(), abs=5 * spread), kind
    np.testing.assert_array_equal(image.numpy(), before)


def test_same_seed_same_sources(image: Image) -> None:
    first, again, other = (inject_second(image, 20, rng=np.random.default_rng(s)).image.image_id for s in (1, 1, 2))
    assert first == again != other


def test_ellipses_are_elongated_as_told(image: Image) -> None:
    light = second_light(image, 25, kind="ellipse", rng=np.random.default_rng(0))
    told = light.sources[light.sources["status"] == "injected"]
    for row, patch in zip(told, light.patches, strict=True):
        values, vectors = np.linalg.eigh(covariance(patch.light, fwhm=image.psf.fwhm, weighted=True))
        assert angle_between(np.arctan2(vectors[1, 1], vectors[0, 1]), row["angle_rad"]) < 0.02
        assert np.sqrt(values[0] / values[1]) == pytest.approx(1 - row["ellipticity"], abs=0.02)
    assert 0.15 <= told["ellipticity"].min() < told["ellipticity"].max() <= 0.45


def test_trails_are_as_long_as_told(image: Image) -> None:
    light = second_light(image, 25, kind="trail", rng=np.random.default_rng(0))
    told = light.sources[light.sources["status"] == "injected"]
    assert len(second_light(image, 1, kind="trail", rng=np.random.default_rng(0)).patches) == 1
    for row, patch in zip(told, light.patches, strict=True):
        point = np.maximum(psf_stamps(image.psf, row["x"], row["y"])[0], 0.0)
        trail, own = (covariance(a, fwhm=image.psf.fwhm, weighted=False) for a in (patch.light, point))
        along = np.array([np.cos(row["angle_rad"]), np.sin(row["angle_rad"])])
        across = np.array([-along[1], along[0]])
        # A line of length L adds L^2 / 12 to the variance of a point along itself, and nothing across.
        assert np.sqrt(12 * along @ (trail - own) @ along) == pytest.approx(row["trail_px"], rel=0.03, abs=0.05)
        assert across @ (trail - own) @ across == pytest.approx(0.0, abs=0.02)
        rows = patch.row + np.arange(patch.light.shape[0])
        assert (patch.light.sum(axis=1) * rows).sum() / row["flux_e"] == pytest.approx(row["y"], abs=0.1)
    assert (told["trail_px"] > 2.5).sum() > 10


def test_empirical_sources_are_a_stars_own_pixels(image: Image) -> None:
    light = second_light(image, 12, kind="empirical", rng=np.random.default_rng(0))
    data = image.numpy().astype(float)
    for patch in light.patches:
        middle = tuple(n // 2 for n in patch.light.shape)
        core = patch.light[middle[0] - 3 : middle[0] + 4, middle[1] - 3 : middle[1] + 4]
        best = 0.0
        for x, y in zip(image.stars.x, image.stars.y, strict=True):
            j, i = round(y), round(x)
            pixels = data[j - 3 : j + 4, i - 3 : i + 4]
            if pixels.shape == core.shape:
                best = max(best, float(np.corrcoef(pixels.ravel(), core.ravel())[0, 1]))
        assert best > 1 - 1e-6


def test_profiles_are_those_of_the_true_psf_only_where_they_should(image: Image) -> None:
    errors = {}
    for kind in ("empirical", "ellipse"):
        light = second_light(image, 12, kind=kind, rng=np.random.default_rng(3))
        told = light.sources[light.sources["status"] == "injected"]
        worst = []
        for row, patch in zip(told, light.patches, strict=True):
            y, x = np.mgrid[: patch.light.shape[0], : patch.light.shape[1]]
            truth = PSF(x + patch.column - row["x"], y + patch.row - row["y"])
            worst.append(np.abs(patch.light / row["flux_e"] - truth).max() / truth.max())
        errors[kind] = np.median(worst)
    assert errors["empirical"] < 0.06 < errors["ellipse"]


def test_variables_change_by_the_fraction_told_up_and_down(image: Image) -> None:
    result = inject_second(image, 24, kind="variable", rng=np.random.default_rng(2), snr=(30.0, 100.0))
    change = result.image.numpy().astype(float) - image.numpy()
    put = result.sources[result.sources["status"] == "injected"]
    assert (put["flux_e"] < 0).sum() >= 6
    assert (put["flux_e"] > 0).sum() >= 6
    np.testing.assert_array_equal(np.sign(put["flux_e"]), np.sign(put["snr"]))
    np.testing.assert_array_equal(np.sign(put["flux_e"]), np.sign(put["change_fraction"]))
    places = np.asarray(put["x"]), np.asarray(put["y"])
    light = psf_photometry(torch.from_numpy(change.astype(np.float32)), image.psf, *places)
    star = psf_photometry(image.data, image.psf, *places)
    noise = 2.5 * np.sqrt(np.abs(put["flux_e"]) * (1 + np.abs(put["change_fraction"]))) / np.abs(star)
    assert (np.abs(light / star - put["change_fraction"]) < 4 * noise + 0.03 * np.abs(put["change_fraction"])).all()
    for some in (put["flux_e"] > 0, put["flux_e"] < 0):
        assert light[some].sum() / put["flux_e"][some].sum() == pytest.approx(1.0, abs=0.05)
    fades = put[put["flux_e"] < 0]
    rows, columns = np.round(fades["y"]).astype(int), np.round(fades["x"]).astype(int)
    assert (result.image.numpy("variance")[rows, columns] < image.numpy("variance")[rows, columns]).all()


def test_light_that_goes_leaves_a_poisson_law() -> None:
    rng = np.random.default_rng(0)
    there = rng.poisson(500.0, 200_000).astype(float)
    left = there + draw_electrons(np.full(there.size, -200.0), there, np.full(there.size, 500.0), rng)
    assert left.mean() == pytest.approx(300.0, abs=4 * np.sqrt(300 / there.size))
    assert left.var() == pytest.approx(300.0, rel=4 * np.sqrt(2 / there.size))


def test_signal_to_noise_is_that_of_the_matched_filter_of_the_profile(image: Image) -> None:
    light = second_light(image, 20, kind="trail", rng=np.random.default_rng(5), snr=(10.0, 40.0))
    told = light.sources[light.sources["status"] == "injected"]
    variance, mask = image.numpy("variance"), image.numpy("mask")
    for row, patch in zip(told, light.patches, strict=True):
        good = mask[patch.box] == 0
        snr = np.sqrt((patch.light**2 / (variance[patch.box] + np.maximum(patch.light, 0)))[good].sum())
        assert snr == pytest.approx(row["snr"], rel=0.02)


def test_errors_say_what_is_missing(image: Image) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="valid ones are mixed, ellipse, empirical, trail, variable, nucleus"):
        inject_second(image, 5, kind="comet", rng=rng)
    with pytest.raises(InputError, match="lower snr first"):
        inject_second(image, 5, rng=rng, snr=(10.0, 5.0))
    with pytest.raises(InputError, match="has no PSF"):
        inject_second(replace(image, psf=None), 5, rng=rng)
    faint = replace(image, stars=image.stars[image.stars.snr < 50])
    with pytest.raises(InputError, match="only 0 bright stars of this image stand alone"):
        inject_second(faint, 5, kind="empirical", rng=rng)
    nothing = inject_second(image, 0, rng=rng)
    assert len(nothing.sources) == 0
    assert "injector_kind" in nothing.sources.colnames
    unstarred = inject_second(replace(image, stars=None), 5, kind="variable", rng=rng)
    assert unstarred.sources.meta == {"asked": 5, "placed": 0}
