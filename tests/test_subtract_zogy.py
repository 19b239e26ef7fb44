"""Proper subtraction: white noise, fluxes that are kept, symmetry, and the errors that all engines share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import skies
from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.errors import SubtractionError
from gueststar.subtract.windows import noise_correlation
from gueststar.subtract.zogy import Zogy
from gueststar.types import Image, Stars

SHAPE = (400, 400)
WIDTHS = [(2.8, 2.8), (3.4, 2.5), (2.5, 3.4)]
every_width = pytest.mark.parametrize("widths", WIDTHS, ids=lambda pair: f"{pair[0]}-{pair[1]}")


def made(widths: tuple[float, float], *, seed: int = 1, ratio: float = 1.0, n_new: int = 40):
    """Truth of the sky and of what is new, and both images; the reference `ratio` times as deep."""
    rng = np.random.default_rng(seed)
    stars = skies.scatter(rng, 160, SHAPE, flux=(800.0, 60_000.0), apart=8)
    new = skies.scatter(rng, n_new, SHAPE, flux=(2000.0, 12_000.0), margin=16, apart=9, avoid=stars)
    science = skies.photograph(SHAPE, stars + new, skies.Shape(widths[0]), rng)
    seen = stars.scaled(ratio)
    reference = skies.photograph(SHAPE, seen, skies.Shape(widths[1]), rng, sky=skies.SKY_E * ratio)
    return stars, new, science, reference


def empty(difference, stars: skies.Stars, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    x, y = skies.empty_places(np.random.default_rng(5), n, SHAPE, stars, skies.Shape(3.4), margin=20)
    good = difference.numpy("mask")[y, x] == 0
    return x[good], y[good]


@every_width
def test_noise_is_white_and_score_has_unit_variance(widths) -> None:
    stars, _, science, reference = made(widths, n_new=0)
    difference = Zogy()(science, reference)
    x, y = empty(difference, stars)
    assert difference.numpy("score")[y, x].std() == pytest.approx(1.0, abs=0.06)
    pull = difference.numpy()[y, x] / np.sqrt(difference.numpy("variance")[y, x])
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    difference = Zogy(floor=1e-6)(science, reference)
    plane = replace(science, data=difference.data, variance=difference.variance, mask=difference.mask)
    lags = noise_correlation(plane, step=4)
    lags[3, 3] = 0.0
    assert np.abs(lags).max() < 0.1


@every_width
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_new_sources_keep_their_flux(widths, ratio) -> None:
    _, new, science, reference = made(widths, ratio=ratio)
    difference = Zogy()(science, reference)
    assert difference.facts["kernel_sum"] * ratio == pytest.approx(1.0, abs=0.025)
    table = Detect()(difference, science, reference).table
    distance = np.hypot(table["x"][None] - new.x[:, None], table["y"][None] - new.y[:, None])
    nearest = distance.argmin(1)
    seen = distance.min(1) < 1.0
    assert seen.mean() > 0.95
    true, flux, error = new.flux[seen], table["flux"][nearest[seen]], table["flux_err"][nearest[seen]]
    assert np.average(flux / true, weights=(true / error) ** 2) == pytest.approx(1.0, abs=0.02)
    assert np.std((flux - true) / error) < 1.5


@every_width
def test_one_sky_twice_gives_few_candidates_after_registration(widths) -> None:
    _, _, science, _ = made(widths, n_new=0)
    rng = np.random.default_rng(8)
    stars = made(widths, n_new=0)[0]
    camera = skies.Affine(shift=(1.4, -2.3), rotation_deg=0.1, centre=(199.5, 199.5))
    reference = skies.photograph(SHAPE, stars.seen_by(camera), skies.Shape(widths[1]), rng)
    aligned = Align()(science, reference)
    assert len(Detect()(Zogy()(science, aligned), science, aligned)) <= 4


def test_swapped_images_give_the_negative() -> None:
    _, _, science, reference = made((2.8, 2.8))
    forth, back = Zogy()(science, reference), Zogy()(reference, replace(science, stars=science.stars))
    good = (forth.mask | back.mask) == 0
    scores = np.corrcoef(forth.score[good].numpy(), back.score[good].numpy())
    assert scores[0, 1] < -0.95


def test_no_star_in_both_is_told() -> None:
    _, _, science, reference = made((2.8, 2.8))
    nothing: Image = replace(science, stars=Stars.empty())
    with pytest.raises(SubtractionError, match="no star tells the flux ratio"):
        Zogy()(nothing, reference)
    dark = replace(reference, data=torch.zeros_like(reference.data))
    with pytest.raises(SubtractionError, match="no star tells the flux ratio"):
        Zogy()(science, dark)
