"""What a chip adds to every exposure in the same places, after dark and flat were done with imperfect ones.

Measured on real frames of four cameras, residuals of this kind are what tells real difference images from simulated
ones that have photon and read noise alone: the pattern stays while the sky moves over it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["column_pairs", "dark_pattern", "dust_rings", "sky_structure"]

F4 = NDArray[np.float32]

_RING_PX = (8.0, 40.0)
_RING_DEPTH = (0.002, 0.01)
_RING_HOLE = 0.4
_STRUCTURE_PX = 50  # half a wave of the finest structure
_MOST_MODES = 24


def dark_pattern(shape: tuple[int, int], sigma_e: float, chip_rng: np.random.Generator) -> F4:
    """Dark current that differs from pixel to pixel and was not fully subtracted, e-; white, mean 0.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    sigma_e : float
        Scatter from pixel to pixel, e-.
    chip_rng : Generator
        The same for all exposures of a chip.
    """
    plane: F4 = chip_rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma_e)
    return plane


def column_pairs(shape: tuple[int, int], sigma_e: float, rng: np.random.Generator) -> F4:
    """Offset between even and odd columns, which two amplifiers read, anew for each row, e-.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    sigma_e : float
        Scatter of the offset between the two from row to row, e-.
    rng : Generator
        Of this exposure.
    """
    offset = rng.standard_normal((shape[0], 1), dtype=np.float32) * np.float32(sigma_e)
    sign = np.where(np.arange(shape[1]) % 2 == 0, np.float32(0.5), np.float32(-0.5))
    plane: F4 = offset * sign[None, :]
    return plane


def dust_rings(shape: tuple[int, int], mean_count: float, chip_rng: np.random.Generator) -> F4 | None:
    """Shadows of dust that the flat field has elsewhere, a factor near 1; None when there are none.

    Out-of-focus grains leave rings of 8 to 40 px radius that are 0.2 to 1 % deep.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    mean_count : float
        Expected number on the chip.
    chip_rng : Generator
        The same for all exposures of a chip.
    """
    count = int(chip_rng.poisson(mean_count))
    if count == 0:
        return None
    ny, nx = shape
    plane = np.ones(shape, np.float32)
    for _ in range(count):
        x, y = chip_rng.uniform(0, nx - 1), chip_rng.uniform(0, ny - 1)
        radius, depth = chip_rng.uniform(*_RING_PX), chip_rng.uniform(*_RING_DEPTH)
        reach = int(radius + 6)
        rows = slice(max(0, round(y) - reach), min(ny, round(y) + reach + 1))
        columns = slice(max(0, round(x) - reach), min(nx, round(x) + reach + 1))
        r = np.hypot(np.arange(rows.start, rows.stop)[:, None] - y, np.arange(columns.start, columns.stop)[None, :] - x)
        shadow = _edge(r, radius) - _edge(r, _RING_HOLE * radius)
        plane[rows, columns] *= (1.0 - depth * shadow).astype(np.float32)
    return plane


def sky_structure(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> F4:
    """Factor near 1 of a sky that is not smooth: stray light, thin cloud, airglow, on scales of 50 px and more.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    sigma : float
        Scatter, fraction of the level.
    rng : Generator
        Of this exposure.
    """
    modes = [max(2, min(_MOST_MODES, size // _STRUCTURE_PX)) for size in shape]
    waves = [
        np.cos(np.pi * (np.arange(n) + 0.5)[:, None] / n * np.arange(m)) for n, m in zip(shape, modes, strict=True)
    ]
    power = rng.standard_normal(modes)
    power[0, 0] = 0.0
    half = [np.where(np.arange(m) > 0, 0.5, 1.0) for m in modes]
    power *= sigma / np.sqrt((half[0][:, None] * half[1]).sum() - 1.0)
    plane: F4 = (1.0 + (waves[0] @ power) @ waves[1].T).astype(np.float32)
    return plane


def _edge(r: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """1 inside the radius, 0 outside, soft over a pixel or two."""
    inside: NDArray[np.float64] = 1.0 / (1.0 + np.exp(np.clip((r - radius) / 1.2, -30.0, 30.0)))
    return inside
