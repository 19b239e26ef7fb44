"""The scatter of the score around a candidate: 1 on empty sky, as drawn elsewhere, not moved by the candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gueststar.detect.local import local_scatter
from gueststar.types import Difference, Psf

SHAPE = (300, 420)


def difference(score: np.ndarray, flagged: np.ndarray | None = None) -> Difference:
    planes = {name: torch.zeros(SHAPE) for name in ("data", "variance", "flux", "flux_err")}
    mask = torch.zeros(SHAPE, dtype=torch.int16) if flagged is None else torch.from_numpy(flagged.astype(np.int16))
    grid = np.hypot(*np.mgrid[-10:11, -10:11])
    stamp = np.exp(-((grid / 1.2) ** 2) / 2.0)
    return Difference(
        **planes, score=torch.from_numpy(score.astype(np.float32)), mask=mask, psf=Psf.from_stamp(stamp / stamp.sum()),
        science_id="s", reference_id="r", engine="kernel",
    )  # fmt: skip


@pytest.fixture
def places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, SHAPE[1], 200), rng.integers(0, SHAPE[0], 200)


def test_it_is_one_on_empty_sky(rng: np.random.Generator, places: tuple[np.ndarray, np.ndarray]) -> None:
    found = local_scatter(difference(rng.normal(0.0, 1.0, SHAPE)), *places)
    # 256 places: the error of a scatter from quartiles is 0.073; at the corners a quarter of them is left.
    assert np.median(found) == pytest.approx(1.0, abs=0.03)
    assert np.all(np.abs(found - 1.0) < 0.6)


def test_it_follows_what_is_there(rng: np.random.Generator) -> None:
    score = rng.normal(0.0, 1.0, SHAPE)
    score[:, 210:] *= 3.0
    found = local_scatter(difference(score), np.array([100, 320]), np.array([150, 150]))
    assert found == pytest.approx([1.0, 3.0], rel=0.25)


def test_a_bright_candidate_does_not_move_it(rng: np.random.Generator) -> None:
    score = rng.normal(0.0, 1.0, SHAPE)
    plain = local_scatter(difference(score), np.array([200]), np.array([150]))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    source = 500.0 * np.exp(-((x - 200) ** 2 + (y - 150) ** 2) / 2.0 / 1.7**2)
    assert local_scatter(difference(score + source), np.array([200]), np.array([150])) == pytest.approx(plain, abs=0.1)


def test_flagged_pixels_are_left_out(rng: np.random.Generator) -> None:
    score, flagged = rng.normal(0.0, 1.0, SHAPE), np.zeros(SHAPE, bool)
    score[:, :200], flagged[:, :200] = 50.0, True
    found = local_scatter(difference(score, flagged), np.array([200, 100]), np.array([150, 150]))
    assert found[0] == pytest.approx(1.0, abs=0.35)
    assert np.isnan(found[1])


def test_no_place_is_no_value() -> None:
    nothing = np.empty(0, np.int64)
    assert local_scatter(difference(np.zeros(SHAPE)), nothing, nothing).shape == (0,)
