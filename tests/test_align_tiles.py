"""Resampling by tiles against stars drawn where the map puts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import skies
from gueststar.align.lanczos import interpolate_tiles
from gueststar.align.tiles import TileMap, nearest_tiles
from gueststar.spline import MARGIN, coefficients, sample

SHAPE = (150, 200)
PLACES = np.array([[40.3, 33.6], [150.1, 70.9], [90.8, 120.2], [64.0, 64.0], [127.5, 30.4]])
FLUXES = np.array([3e4, 1e4, 5e4, 2e4, 4e4])


def drawn(places: np.ndarray, fwhm: float) -> np.ndarray:
    return skies.paint(SHAPE, skies.Stars(places[:, 0], places[:, 1], FLUXES), skies.Shape(fwhm))


def turned(shift: tuple[float, float], angle_deg: float = 0.0, scale: float = 1.0):
    """A map, and its inverse."""
    c, s = scale * np.cos(np.radians(angle_deg)), scale * np.sin(np.radians(angle_deg))
    matrix, centre = np.array([[c, -s], [s, c]]), np.array([100.0, 75.0])
    return (
        lambda points: (points - centre) @ matrix.T + centre + np.array(shift),
        lambda points: (points - centre - np.array(shift)) @ np.linalg.inv(matrix).T + centre,
    )


@pytest.mark.parametrize(
    ("shift", "angle", "scale"),
    [
        ((0.5, 0.5), 0.0, 1.0),
        ((-3.3, 7.8), 0.05, 1.0005),
        ((12.25, -0.1), -0.1, 0.998),
        ((0.0, 0.0), 0.0, 1.0),
        ((0.4, 0.3), 0.2, 1.0),
        ((-0.6, 1.2), -0.4, 1.0),
        ((0.2, -0.3), 0.1, 1.0015),
    ],
)
@pytest.mark.parametrize(("fwhm", "tolerance"), [(2.4, 0.02), (3.0, 0.005)])
def test_stars_come_out_where_the_map_puts_them(shift, angle, scale, fwhm, tolerance) -> None:
    mapping, inverse = turned(shift, angle, scale)
    plane = torch.from_numpy(drawn(PLACES, fwhm))
    tiles = TileMap.of(mapping, SHAPE)
    assert tiles is not None
    got = interpolate_tiles(plane, tiles).numpy()
    expected = drawn(inverse(PLACES), fwhm)  # a change of scale below 0.2 % does not show in the width
    inside = (slice(16, -16), slice(20, -20))
    assert np.abs(got - expected)[inside].max() < tolerance * expected.max()
    assert got.sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_half_a_pixel_costs_less_than_by_cubic_spline() -> None:
    mapping, inverse = turned((0.5, 0.5))
    plane = torch.from_numpy(drawn(PLACES, 2.6))
    got = interpolate_tiles(plane, TileMap.of(mapping, SHAPE)).numpy()
    y, x = torch.meshgrid(*(torch.arange(n, dtype=plane.dtype) + 0.5 for n in SHAPE), indexing="ij")
    spline = sample(coefficients(plane, margin=MARGIN), x, y).numpy()
    expected = drawn(inverse(PLACES), 2.6)
    inside = (slice(16, -16), slice(16, -16))
    assert np.abs(got - expected)[inside].max() < 0.6 * np.abs(spline - expected)[inside].max()


def test_no_shift_gives_the_same_pixels() -> None:
    plane = torch.from_numpy(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    tiles = TileMap.of(lambda points: points, SHAPE)
    assert torch.allclose(interpolate_tiles(plane, tiles), plane, atol=1e-6)
    (values,), outside = nearest_tiles([plane], tiles)
    assert torch.equal(values, plane)
    assert not outside.any()


def test_positions_beyond_the_source_are_told() -> None:
    plane = torch.ones(SHAPE)
    _, outside = nearest_tiles([plane], TileMap.of(lambda points: np.add(points, [-10.0, 500.0]), SHAPE))
    assert outside.all()
    _, outside = nearest_tiles([plane], TileMap.of(lambda points: np.add(points, [-10.5, 0.0]), SHAPE))
    assert outside[:, :11].all()
    assert not outside[:, 11:].any()


@pytest.mark.parametrize(
    "mapping",
    [
        turned((0.0, 0.0), 3.0)[0],
        turned((0.0, 0.0), 0.0, 1.5)[0],
        lambda points: points * [-1.0, 1.0] + [199.0, 0.0],
        lambda points: points[:, ::-1],
        lambda points: points + np.nan,
        lambda points: points + 1e-3 * (points - 70.0) ** 2,
    ],
)
def test_maps_that_are_no_shift_are_refused(mapping) -> None:
    assert TileMap.of(mapping, SHAPE) is None


@pytest.mark.parametrize(
    ("angle", "scale", "size"), [(0.05, 1.0, 64), (0.15, 1.0, 32), (0.3, 1.0, 16), (0.0, 1.003, 32), (0.0, 1.006, 16)]
)
def test_maps_that_turn_or_stretch_more_take_smaller_tiles(angle, scale, size) -> None:
    tiles = TileMap.of(turned((0.0, 0.0), angle, scale)[0], SHAPE)
    assert tiles is not None
    assert tiles.size == size
