"""Trails: drawn with known ends, bright and faint, crossing, beside stars; and none where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import skies
from gueststar.align import Align
from gueststar.detect import Detect, find_peaks
from gueststar.detect.trails import find_trails, trail_of
from gueststar.subtract.kernel import Kernel

SHAPE = (500, 600)
FWHM = 3.0


def score_of(lines=(), points=(), *, seed: int = 1, n_random: int = 0) -> np.ndarray:
    """A score plane of unit variance with lines (x0, y0, x1, y1, mean score) and points (x, y, score)."""
    rng = np.random.default_rng(seed)
    sigma = FWHM / 2.3548
    noise = gaussian_filter(rng.normal(size=SHAPE), sigma)
    plane = noise / noise.std()
    for x0, y0, x1, y1, level in lines:
        n = int(4 * np.hypot(x1 - x0, y1 - y0))
        x, y = np.linspace(x0, x1, n), np.linspace(y0, y1, n)
        light, _, _ = np.histogram2d(y, x, bins=SHAPE, range=((-0.5, SHAPE[0] - 0.5), (-0.5, SHAPE[1] - 0.5)))
        smooth = gaussian_filter(light, np.sqrt(2.0) * sigma)
        plane = plane + level * smooth / np.median(smooth[np.round(y).astype(int), np.round(x).astype(int)])
    random = np.column_stack((rng.uniform(10, 590, n_random), rng.uniform(10, 490, n_random), np.full(n_random, 8.0)))
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for x, y, value in (*points, *random):
        plane = plane + value * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (4.0 * sigma**2))
    return plane.astype(np.float32)


def found_in(plane: np.ndarray, mask: np.ndarray | None = None):
    mask = np.zeros(SHAPE, np.int16) if mask is None else mask
    x, y = find_peaks(torch.from_numpy(plane), torch.from_numpy(mask), threshold=5.0, radius=0.8 * FWHM, edge=3)
    x, y = x.astype(float), y.astype(float)
    return find_trails(plane, mask, x, y, fwhm=FWHM), x, y


def has_ends(trail, line, tolerance: float) -> bool:
    ends = np.array([[trail.x0, trail.y0], [trail.x1, trail.y1]])
    true = np.array([line[:2], line[2:4]])
    return min(np.hypot(*(ends - t).T).max() for t in (true, true[::-1])) < tolerance


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("angle", [0.0, 12.0, 45.0, 90.0, 137.0])
@pytest.mark.parametrize(("level", "sign"), [(200.0, 1), (30.0, -1), (6.0, 1)])
def test_ends_of_a_trail(angle, level, sign, seed) -> None:
    half = 120.0 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    line = (300 - half[0], 250 - half[1], 300 + half[0], 250 + half[1], level)
    trails, x, y = found_in(sign * score_of([line], seed=seed))
    assert len(trails) == 1
    assert trails[0].sign == sign
    assert has_ends(trails[0], line, 14.0)
    assert min(abs(trails[0].angle - angle), 180.0 - abs(trails[0].angle - angle)) < 1.0
    on = trail_of(trails, x, y, np.full(len(x), float(sign)), FWHM) >= 0
    assert on.sum() > 5
    assert (~on).sum() <= 0.1 * len(x)


def test_short_trail_of_a_fast_mover() -> None:
    line = (300.0, 250.0, 322.0, 262.0, 40.0)
    trails, _, _ = found_in(score_of([line]))
    assert len(trails) == 1
    assert has_ends(trails[0], line, 7.0)


def test_crossing_trails_are_two() -> None:
    lines = [(60.0, 80.0, 520.0, 420.0, 40.0), (80.0, 400.0, 540.0, 100.0, 25.0)]
    trails, _, _ = found_in(score_of(lines))
    assert len(trails) == 2
    assert all(any(has_ends(trail, line, 14.0) for trail in trails) for line in lines)


def test_flagged_stretches_are_bridged() -> None:
    line = (60.0, 80.0, 520.0, 420.0, 30.0)
    plane, mask = score_of([line]), np.zeros(SHAPE, np.int16)
    mask[200:260, 200:320] = 2
    plane[mask != 0] = 0.0
    trails, _, _ = found_in(plane, mask)
    assert len(trails) == 1
    assert has_ends(trails[0], line, 14.0)


@pytest.mark.parametrize("seed", range(6))
def test_no_trails_among_points(seed) -> None:
    trails, _, _ = found_in(score_of(n_random=250, seed=seed))
    assert trails == []


def test_sources_beside_a_trail_stay() -> None:
    line = (60.0, 80.0, 520.0, 420.0, 40.0)
    points = [(300.0, 290.0, 30.0), (100.0, 400.0, 12.0)]
    trails, x, y = found_in(score_of([line], points))
    on = trail_of(trails, x, y, np.ones(len(x)), FWHM) >= 0
    for px, py, _ in points:
        near = np.hypot(x - px, y - py) < 2.0
        assert near.any()
        assert not on[near].any()


def test_a_satellite_becomes_one_candidate_with_its_ends() -> None:
    rng = np.random.default_rng(4)
    stars = skies.scatter(rng, 160, (400, 400), flux=(800.0, 60_000.0), apart=8)
    new = skies.Stars(np.array([60.0]), np.array([330.0]), np.array([9000.0]))
    steps = np.linspace(0.0, 1.0, 800)
    trail = skies.Stars(50 + 300 * steps, 60 + 250 * steps, np.full(800, 300.0))
    light = skies.paint((400, 400), stars, skies.Shape(2.8))
    sky = light + skies.paint((400, 400), new + trail, skies.Shape(2.8))
    from gueststar.ingest.prepare import prepare_image

    science = prepare_image(skies.expose(sky, rng), mjd_mid=59001.0)
    reference = prepare_image(skies.expose(light, rng), mjd_mid=59000.0)
    aligned = Align()(science, reference)
    difference = Kernel()(science, aligned)
    many = Detect(trails=False)(difference, science, aligned)
    few = Detect()(difference, science, aligned)
    assert len(many) > len(few) + 20
    assert len(few) < 12
    row = few.table[np.argmax(few["trail_length"])]
    assert row["trail_length"] == pytest.approx(np.hypot(300, 250), abs=20)
    assert row["trail_angle"] == pytest.approx(np.degrees(np.arctan2(250, 300)), abs=0.5)
    assert row["trail_peaks"] > 20
    point = few.table[np.hypot(few["x"] - 60, few["y"] - 330) < 2]
    assert len(point) == 1
    assert point["trail_length"][0] == 0
    assert np.isnan(point["trail_x0"][0])
    swapped = Detect()(replace(difference, score=-difference.score), science, aligned)
    assert len(swapped) == len(few)


@pytest.mark.parametrize("seed", range(4))
def test_two_sources_side_by_side_are_no_trail(seed) -> None:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi)
    points = [(300.0, 250.0, 107.0), (300.0 + 11 * np.cos(angle), 250.0 + 11 * np.sin(angle), 31.0)]
    trails, _, _ = found_in(score_of(points=points, seed=seed))
    assert trails == []
