"""Change beyond the share that stars around leave, too: against what was drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import skies
from gueststar.detect import Detect
from gueststar.subtract.bins import any_in_bin
from gueststar.subtract.score import score_difference
from gueststar.types import Candidates, Difference, Image, Psf, Stars

SHAPE = (420, 420)
NOISE = 10.0
PSF = skies.Shape(2.8, beta=3.0)
ERROR = NOISE / np.sqrt((PSF.stamp(41) ** 2).sum())
STAR = 200.0 * ERROR  # light of each star


def places(step: int = 42) -> tuple[np.ndarray, np.ndarray]:
    yy, xx = np.mgrid[step // 2 : SHAPE[0] : step, step // 2 : SHAPE[1] : step].astype(float)
    return xx.ravel(), yy.ravel()


def detected(x, y, light, change, rng, *, known: int | None = None) -> Candidates:
    """Candidates of a difference that holds `change`, where the reference has `light`, at each of x, y."""
    data = skies.paint(SHAPE, skies.Stars(x, y, change), PSF)
    noise = rng.normal(0.0, NOISE, SHAPE)
    variance = torch.full(SHAPE, NOISE**2)
    flags = torch.zeros(SHAPE, dtype=torch.int16)
    model = Psf.from_stamp(PSF.stamp(31))
    planes = torch.from_numpy((data + noise).astype(np.float32))
    scored = score_difference(planes, variance, flags, model, any_in_bin(torch.from_numpy(np.abs(data) > 0.02 * NOISE)))
    difference = Difference(
        planes, variance, scored.score, scored.flux, scored.flux_err, flags, model, "s", "r", "kernel"
    )
    stars = light > 0
    ones = np.ones(int(stars.sum()))
    catalog = Stars(x[stars], y[stars], light[stars], 200 * ones, 2.8 * ones, ones, light[stars], 0 * ones.astype(int))
    if known is not None:
        catalog = catalog[slice(known)]
    sky = Image.from_arrays(np.zeros(SHAPE), NOISE**2 / 2, psf=PSF.stamp(21))
    seen = torch.from_numpy(skies.paint(SHAPE, skies.Stars(x, y, light + change), PSF).astype(np.float32))
    return Detect(trails=False)(difference, replace(sky, data=seen), replace(sky, stars=catalog))


def ratios(found: Candidates, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    near = np.hypot(found["x"][:, None] - x, found["y"][:, None] - y).argmin(0)
    assert (np.hypot(found["x"][near] - x, found["y"][near] - y) < 1.0).all()
    return np.asarray(found["snr_beyond_share"][near] / found["snr"][near], float)


def test_stars_that_all_leave_the_same_share_vanish(rng: np.random.Generator) -> None:
    x, y = places()
    light = STAR * rng.uniform(0.7, 3.0, x.size)
    found = detected(x, y, light, 0.06 * light, rng)
    assert np.abs(ratios(found, x, y)).max() < 0.3
    assert np.median(np.abs(found["snr_beyond_share"])) < 2.0


def test_a_share_may_change_over_the_image(rng: np.random.Generator) -> None:
    x, y = places()
    light = np.full(x.size, STAR)
    found = detected(x, y, light, light * 0.1 * x / SHAPE[1], rng)
    strong = np.abs(found["snr"]) > 8
    assert np.median(np.abs(found["snr_beyond_share"] / found["snr"])[strong]) < 0.3


@pytest.mark.parametrize("share", [0.0, 0.06])
def test_one_variable_star_among_others_stands_out(rng: np.random.Generator, share: float) -> None:
    x, y = places()
    light = np.full(x.size, STAR)
    change = share * light
    change[44] += 0.15 * STAR
    found = detected(x, y, light, change, rng)
    assert ratios(found, x[44:45], y[44:45])[0] > (0.95 if share == 0 else 0.6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_something_new_or_gone_keeps_its_signal(rng: np.random.Generator, sign: float) -> None:
    x, y = places()
    light = np.full(x.size, STAR)
    change = 0.06 * light
    # New: nothing was there. Gone: all of its light is missing.
    light[44], change[44] = (0.0, 20 * ERROR) if sign > 0 else (20 * ERROR, -20 * ERROR)
    found = detected(x, y, light, change, rng)
    assert ratios(found, x[44:45], y[44:45])[0] == pytest.approx(1.0, abs=0.1)


def test_with_few_stars_it_is_flux_over_error(rng: np.random.Generator) -> None:
    x, y = places()
    light = np.full(x.size, STAR)
    found = detected(x, y, light, 0.06 * light, rng, known=4)
    np.testing.assert_allclose(found["snr_beyond_share"], found["flux"] / found["flux_err"], rtol=1e-5)
