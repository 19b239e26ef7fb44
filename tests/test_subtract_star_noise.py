"""Noise at stars: what is planted there is measured, makes the score honest, and costs nothing elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import skies
from gueststar.subtract.score import matched_filter
from gueststar.subtract.star_noise import star_noise
from gueststar.types import Psf, Stars

SHAPE = (480, 640)
SIGMA = 10.0
SHAPE_OF_STARS = skies.Shape(3.0)


def field(n: int = 130, *, seed: int = 1, flux: float = 1e5) -> skies.Stars:
    return skies.scatter(np.random.default_rng(seed), n, SHAPE, flux=(flux, 3 * flux), apart=32, margin=20)


def listed(stars: skies.Stars) -> Stars:
    n = len(stars.x)
    ones = np.ones(n)
    return Stars(
        stars.x, stars.y, stars.flux, stars.flux / (SIGMA * 4), 3 * ones, ones, stars.flux / 10,
        flags=np.zeros(n, np.int64),
    )  # fmt: skip


def measured(
    share: float, shift: float, *, seed: int = 2, stars: skies.Stars | None = None, extra: skies.Stars | None = None
):
    """A noisy difference of stars whose fluxes and places were wrong at random; its filtered planes and the noise."""
    rng = np.random.default_rng(seed)
    stars = field() if stars is None else stars
    n = len(stars.x)
    moved = skies.Stars(
        stars.x + shift * rng.normal(size=n), stars.y + shift * rng.normal(size=n),
        stars.flux * (1 + share * rng.normal(size=n)),
    )  # fmt: skip
    light = skies.paint(SHAPE, stars, SHAPE_OF_STARS)
    data = skies.paint(SHAPE, moved, SHAPE_OF_STARS) - light + rng.normal(0, SIGMA, SHAPE)
    if extra is not None:
        data = data + skies.paint(SHAPE, extra, SHAPE_OF_STARS)
    psf = Psf.from_stamp(SHAPE_OF_STARS.stamp(21))
    good = torch.ones(SHAPE, dtype=torch.bool)
    variance = torch.full(SHAPE, SIGMA**2)
    flux, error = matched_filter(torch.from_numpy(data.astype(np.float32)), variance, good, psf)
    noise = star_noise(flux, error, good, torch.from_numpy(light.astype(np.float32)), psf, listed(stars))
    return flux, error, noise, stars


def at(plane: torch.Tensor, stars: skies.Stars, dx: int = 0) -> np.ndarray:
    return plane.numpy()[np.round(stars.y).astype(int), np.round(stars.x).astype(int) + dx]


@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize(("share", "shift"), [(0.01, 0.0), (0.0, 0.05), (0.01, 0.05)])
def test_what_was_planted_is_found_and_makes_scores_honest(share: float, shift: float, seed: int) -> None:
    flux, error, noise, stars = measured(share, shift, seed=seed)
    assert noise.share == pytest.approx(share, rel=0.4, abs=0.004)
    assert noise.shift_px == pytest.approx(shift, rel=0.4, abs=0.01)
    whole = (error**2 + noise.variance).sqrt()
    for dx in (0, 1, -1):
        bare, honest = at(flux / error, stars, dx), at(flux / whole, stars, dx)
        assert np.median(np.abs(honest)) < 1.3
        assert np.abs(honest).max() < np.abs(bare).max() + 1e-3
    if share:
        assert np.median(np.abs(at(flux / error, stars))) > 3.0


def test_perfect_subtraction_adds_next_to_nothing() -> None:
    _, error, noise, stars = measured(0.0, 0.0)
    assert noise.share < 0.002
    assert noise.shift_px < 0.01
    assert np.median(at(noise.variance, stars) / at(error, stars) ** 2) < 1.5


def test_dark_sky_and_new_sources_lose_nothing() -> None:
    new = skies.Stars(np.array([321.0]), np.array([241.0]), np.array([2e4]))
    stars = field()
    far = np.hypot(stars.x - 321.0, stars.y - 241.0) > 25
    stars = skies.Stars(stars.x[far], stars.y[far], stars.flux[far])
    _, _, noise, _ = measured(0.01, 0.05, stars=stars, extra=new)
    assert noise.variance[241, 321] == 0.0
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    nearest = np.min([np.hypot(x - a, y - b) for a, b in zip(stars.x, stars.y, strict=True)], axis=0)
    assert (noise.variance.numpy()[nearest > 12] == 0).all()


def test_a_few_variable_stars_do_not_set_the_noise() -> None:
    stars = field()
    varied = skies.Stars(stars.x[:9], stars.y[:9], 0.3 * stars.flux[:9])
    flux, error, noise, _ = measured(0.003, 0.0, stars=stars, extra=varied)
    assert noise.share < 0.006
    assert (at(flux / (error**2 + noise.variance).sqrt(), varied) > 20).all()


def test_few_stars_tell_nothing() -> None:
    _, _, noise, _ = measured(0.05, 0.1, stars=field(5))
    assert (noise.share, noise.shift_px) == (0.0, 0.0)
    assert not noise.variance.any()
