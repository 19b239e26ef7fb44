"""Close pairs, shifted stars, errors near edges and flags: against what was drawn."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

import skies
from gueststar.detect import Detect
from gueststar.detect.joint import joint_fits
from gueststar.detect.measure import psf_fits
from gueststar.spline import shift_matrices, shift_pair
from gueststar.subtract.bins import any_in_bin
from gueststar.subtract.score import score_difference
from gueststar.types import Candidates, Difference, Image, Mask, Psf, Stars

SHAPE = (420, 420)
NOISE = 10.0
PSF = skies.Shape(2.8, beta=3.0)
ERROR = NOISE / np.sqrt((PSF.stamp(41) ** 2).sum())
ALONE = Detect(trails=False)  # rows of sources, as they are drawn here, would pass for trails


def difference_of(light, rng, *, psf=PSF, mask=None) -> Difference:
    data = torch.from_numpy((light + rng.normal(0.0, NOISE, SHAPE)).astype(np.float32))
    flags = torch.zeros(SHAPE, dtype=torch.int16) if mask is None else torch.from_numpy(mask.astype(np.int16))
    variance = torch.full(SHAPE, NOISE**2)
    model = Psf.from_stamp(psf.stamp(31))
    scored = score_difference(data, variance, flags, model, any_in_bin(torch.from_numpy(np.abs(light) > 0.02 * NOISE)))
    return Difference(data, variance, scored.score, scored.flux, scored.flux_err, flags, model, "s", "r", "kernel")


def image_of(stars: Stars | None = None) -> Image:
    return Image.from_arrays(np.zeros(SHAPE), NOISE**2 / 2, psf=PSF.stamp(21), stars=stars or Stars.empty())


def detect(difference, *, options=ALONE, stars=None) -> Candidates:
    return options(difference, image_of(), image_of(stars))


def grid(rng, step=42) -> tuple[np.ndarray, np.ndarray]:
    yy, xx = np.mgrid[step // 2 : SHAPE[0] : step, step // 2 : SHAPE[1] : step].astype(float)
    return xx.ravel() + rng.uniform(-3, 3, xx.size), yy.ravel() + rng.uniform(-3, 3, xx.size)


def catalog(x, y, flux) -> Stars:
    ones = np.ones(len(x))
    return Stars(x, y, flux, 50 * ones, 2.8 * ones, ones, flux, np.zeros(len(x), np.int64))


def drawn_pairs(rng, separation_fwhm, ratio, snr) -> tuple[skies.Stars, int]:
    x, y = grid(rng)
    angle, apart = rng.uniform(0, 2 * np.pi, x.size), separation_fwhm * PSF.fwhm
    faint = np.full(x.size, snr * ERROR)
    first = skies.Stars(x, y, ratio * faint)
    return first + skies.Stars(x + apart * np.cos(angle), y + apart * np.sin(angle), faint), x.size


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separation", "ratio", "snr", "share"),
    [(1.0, 1.0, 10.0, 0.6), (1.0, 3.0, 30.0, 0.97), (1.2, 10.0, 15.0, 0.95), (1.5, 1.0, 10.0, 0.97),
     (2.0, 10.0, 10.0, 0.97), (3.0, 3.0, 10.0, 0.97)],
)  # fmt: skip
def test_both_of_a_pair_are_found_with_true_fluxes_and_places(rng, separation, ratio, snr, share):
    truth, n = drawn_pairs(rng, separation, ratio, snr)
    found = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
    where, index = skies.matched(truth, found["x"], found["y"], radius=0.4 * separation * PSF.fwhm)
    seen = np.zeros(2 * n, int) - 1
    seen[where] = index
    both = (seen[:n] >= 0) & (seen[n:] >= 0) & (seen[:n] != seen[n:])
    assert both.mean() > share
    assert len(found) <= 2 * n + 2
    for part in (slice(0, n), slice(n, None)):
        rows, true = seen[part][both], truth[part][both]
        pull = (found["flux"][rows] - true.flux) / found["flux_err"][rows]
        # 100 pairs: 0.1 in the mean, 0.07 in the scatter; noise lifts what is found at low S/N by 1 / (S/N).
        assert pull.mean() == pytest.approx(1.0 / snr, abs=0.4)
        assert pull.std() == pytest.approx(1.0, abs=0.25)
        for axis in "xy":
            away = (found[axis][rows] - getattr(true, axis)) / found[f"{axis}_err"][rows]
            assert away.std() == pytest.approx(1.0, abs=0.3)


def test_each_peak_alone_loses_them(rng):
    truth, n = drawn_pairs(rng, 1.0, 1.0, 30.0)
    difference = difference_of(skies.paint(SHAPE, truth, PSF), rng)
    alone = detect(difference, options=Detect(trails=False, deblend=False))
    together = detect(difference)
    assert len(alone) < 1.3 * n
    assert len(together) > 1.9 * n
    assert np.median(alone["flux"]) > 1.4 * np.median(together["flux"])


def test_sources_that_were_split_have_names_and_strengths_of_their_own(rng):
    truth, _ = drawn_pairs(rng, 0.9, 3.0, 20.0)
    found = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
    assert len(set(found["candidate_id"])) == len(found)
    assert (np.diff(np.abs(found["snr"])) <= 0).all()
    assert (np.abs(found["snr"]) >= 5).all()
    faint = found["snr"] < 35
    np.testing.assert_allclose(found["snr"][faint], (found["flux"] / found["flux_err"])[faint], rtol=1e-3)


@pytest.mark.parametrize("snr", [100.0, 1000.0])
@pytest.mark.parametrize(
    "true", [PSF, *(replace(PSF, fwhm=2.8 * f) for f in (0.95, 0.98, 1.02, 1.05)), replace(PSF, ellipticity=0.05)]
)
def test_single_stars_stay_single_also_when_the_psf_is_wrong(rng, snr, true):
    x, y = grid(rng)
    truth = skies.Stars(x, y, np.full(x.size, snr * ERROR))
    found = detect(difference_of(skies.paint(SHAPE, truth, true), rng))
    near = np.hypot(found["x"][:, None] - x, found["y"][:, None] - y).min(1) < 9
    assert (near & (found["snr"] > 0)).sum() <= x.size + 1


def test_a_transient_beside_a_residual_has_its_own_flux(rng):
    x, y = grid(rng)
    new = skies.Stars(x, y, np.full(x.size, 40 * ERROR))
    residual = skies.Stars(x + 1.8 * PSF.fwhm, y, np.full(x.size, -25 * ERROR))
    found = detect(difference_of(skies.paint(SHAPE, new + residual, PSF), rng))
    for truth in (new, residual):
        where, index = skies.matched(truth, found["x"], found["y"])
        assert len(where) >= x.size - 1
        pull = (found["flux"][index] - truth.flux[where]) / found["flux_err"][index]
        assert pull.mean() == pytest.approx(0.0, abs=0.4)
        assert pull.std() == pytest.approx(1.0, abs=0.3)


def test_one_source_fitted_jointly_is_as_fitted_alone(rng):
    x, y = grid(rng)
    truth = skies.Stars(x, y, np.full(x.size, 50 * ERROR))
    difference = difference_of(skies.paint(SHAPE, truth, PSF), rng)
    ix, iy = np.round(x).astype(np.int64), np.round(y).astype(np.int64)
    one = np.ones(x.size)
    alone = psf_fits(difference, ix, iy, one)
    joint = joint_fits(difference, ix.astype(float), iy.astype(float), np.arange(x.size), one)
    for axis in "xy":
        np.testing.assert_allclose(getattr(joint, axis), getattr(alone, axis), atol=0.02)
    np.testing.assert_allclose(joint.flux, alone.flux, rtol=0.02)
    for name in ("flux_err", "x_err", "y_err"):
        np.testing.assert_allclose(getattr(joint, name), getattr(alone, name), rtol=0.06)
    assert {field.name for field in fields(joint)} == {field.name for field in fields(alone)}


def test_weights_and_slopes_in_one_are_those_one_by_one():
    shift = torch.linspace(-2.3, 2.3, 24, dtype=torch.float64)
    value, slope = shift_pair(shift, 9)
    torch.testing.assert_close(value, shift_matrices(shift, 9))
    torch.testing.assert_close(slope, shift_matrices(shift, 9, derivative=True))


# --- shifted stars ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("snr", "shift"), [(100.0, 0.5), (300.0, 0.2), (1000.0, 0.1), (1000.0, 1.0)])
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_left_of_a_shifted_star(rng, snr, shift, known):
    x, y = grid(rng)
    star, angle = skies.Stars(x, y, np.full(x.size, snr * ERROR)), rng.uniform(0, 2 * np.pi, x.size)
    moved = replace(star, x=x + shift * np.cos(angle), y=y + shift * np.sin(angle))
    light = skies.paint(SHAPE, moved, PSF) - skies.paint(SHAPE, star, PSF)
    found = detect(difference_of(light, rng), stars=catalog(x, y, star.flux) if known else None)
    assert len(found) > 1.5 * x.size
    ratio = found["snr_beyond_shift"] / found["snr"]
    assert (ratio < 0.5).mean() > 0.97


@pytest.mark.parametrize("offset", [0.0, 0.6, 1.2, 2.5])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_new_sources_on_and_beside_stars_stay_new(rng, offset, shift):
    x, y = grid(rng)
    star, angle = skies.Stars(x, y, np.full(x.size, 100 * ERROR)), rng.uniform(0, 2 * np.pi, x.size)
    apart = offset * PSF.fwhm
    new = skies.Stars(x + apart * np.cos(angle), y + apart * np.sin(angle), np.full(x.size, 30 * ERROR))
    moved = replace(star, x=x + shift)
    light = skies.paint(SHAPE, moved + new, PSF) - skies.paint(SHAPE, star, PSF)
    found = detect(difference_of(light, rng), stars=catalog(x, y, star.flux))
    where, index = skies.matched(new, found["x"], found["y"])
    assert len(where) >= x.size - 1
    ratio = found["snr_beyond_shift"][index] / found["snr"][index]
    assert (ratio > 0.5).mean() > 0.97
    assert np.median(ratio) < 1.15


def test_far_from_any_star_it_is_the_flux_over_its_error(rng):
    x, y = grid(rng)
    found = detect(difference_of(skies.paint(SHAPE, skies.Stars(x, y, np.full(x.size, 20 * ERROR)), PSF), rng))
    lone = found["dipole_separation"] == 0
    assert lone.mean() > 0.8
    np.testing.assert_allclose(found["snr_beyond_shift"][lone], (found["flux"] / found["flux_err"])[lone], rtol=1e-5)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_at_the_edge_are_those_of_the_middle(rng):
    """The frame ends; what is beyond it must not count as pixels without noise."""
    near = np.array([7.0, 412.0, 60.0, 200.0, 300.0, 210.0])
    truth = skies.Stars(near, np.array([100.0, 200.0, 8.0, 411.0, 150.0, 210.0]), np.full(6, 40 * ERROR))
    found = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
    where, index = skies.matched(truth, found["x"], found["y"])
    assert len(where) == 6
    np.testing.assert_allclose(found["flux_err"][index], ERROR, rtol=0.1)


def test_flagged_pixels_raise_the_error_once(rng):
    x, y = grid(rng)
    truth, mask = skies.Stars(x, y, np.full(x.size, 40 * ERROR)), np.zeros(SHAPE, np.int16)
    for i, j in zip(np.round(x).astype(int), np.round(y).astype(int), strict=True):
        mask[j - 3 : j + 4, i + 1] = int(Mask.BAD)
    found = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng, mask=mask))
    where, index = skies.matched(truth, found["x"], found["y"])
    assert len(where) > 0.9 * x.size
    pull = (found["flux"][index] - truth.flux[where]) / found["flux_err"][index]
    assert pull.std() == pytest.approx(1.0, abs=0.2)


def test_positions_in_smooth_noise_are_better_than_white_noise_allows(rng):
    """Noise that is convolved has shallower slopes than its height says."""
    from scipy.ndimage import gaussian_filter

    pulls = []
    for _ in range(4):
        x, y = grid(rng)
        light = skies.paint(SHAPE, skies.Stars(x, y, np.full(x.size, 60 * ERROR)), PSF)
        smooth = gaussian_filter(rng.normal(0.0, 1.0, SHAPE), 1.3)
        data = torch.from_numpy((light + NOISE * smooth / smooth.std()).astype(np.float32))
        model, flags = Psf.from_stamp(PSF.stamp(31)), torch.zeros(SHAPE, dtype=torch.int16)
        variance = torch.full(SHAPE, NOISE**2)
        scored = score_difference(data, variance, flags, model, any_in_bin(torch.from_numpy(light > 0.02 * NOISE)))
        assert scored.scatter > 2
        found = detect(
            Difference(data, variance, scored.score, scored.flux, scored.flux_err, flags, model, "s", "r", "kernel")
        )
        where, index = skies.matched(skies.Stars(x, y, x), found["x"], found["y"])
        pulls += [(found[a][index] - b[where]) / found[f"{a}_err"][index] for a, b in (("x", x), ("y", y))]
    assert np.concatenate(pulls).std() == pytest.approx(1.0, abs=0.15)


def test_widths_of_point_sources_are_those_of_the_psf_and_they_are_round(rng):
    x, y = grid(rng)
    for snr in (12.0, 50.0):
        light = skies.paint(SHAPE, skies.Stars(x, y, np.full(x.size, snr * ERROR)), PSF)
        found = detect(difference_of(light, rng))
        assert np.median(found["fwhm"] / found["psf_fwhm"]) == pytest.approx(1.0, abs=0.05)
        assert np.median(found["elongation"]) < 1.06
    long = replace(PSF, ellipticity=0.3)
    found = detect(difference_of(skies.paint(SHAPE, skies.Stars(x, y, np.full(x.size, 80 * ERROR)), long), rng))
    assert np.median(found["elongation"]) == pytest.approx(1 / 0.7, rel=0.12)
