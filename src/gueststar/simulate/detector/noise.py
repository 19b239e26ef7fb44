"""From light on the chip to the numbers in the file: each effect a small function of a plane in electrons.

The functions return what is to be added, or a new plane; none changes its input.
"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate.camera import smooth_modes, smooth_plane

__all__ = [
    "CHIP_PIXELS",
    "cosmic_rays",
    "flat_residual",
    "pattern_noise",
    "poisson_noise",
    "read_noise",
    "sky_plane",
]

F4 = NDArray[np.float32]

CHIP_PIXELS = 2000 * 1128
_FEW = 50.0  # electrons above which the Poisson law is taken from a corrected normal one


def sky_plane(shape: tuple[int, int], level_e: float, gradient: tuple[float, float]) -> F4:
    """Sky that changes linearly over the frame by `gradient` (x, y; fractions from edge to edge)."""
    ny, nx = shape
    row = 1.0 + gradient[0] * np.linspace(-0.5, 0.5, nx, dtype=np.float32)[None, :]
    plane: F4 = np.float32(level_e) * (
        row + np.float32(gradient[1]) * np.linspace(-0.5, 0.5, ny, dtype=np.float32)[:, None]
    )
    return np.maximum(plane, np.float32(0.0))


def poisson_noise(mean_e: F4, rng: np.random.Generator) -> F4:
    """Counts with a Poisson law around the mean.

    Above 50 e- the normal law with its first skewness term is used, z sqrt(m) + (z^2 - 1) / 6 (Cornish & Fisher
    1938), which is ten times faster and has the mean, variance and skewness of the Poisson law.
    """
    z = rng.standard_normal(mean_e.shape, dtype=np.float32)
    counts: F4 = mean_e + np.sqrt(np.maximum(mean_e, 0.0)) * z + (z * z - np.float32(1.0)) / np.float32(6.0)
    few = np.flatnonzero(mean_e < _FEW)
    if few.size:
        counts.ravel()[few] = rng.poisson(np.maximum(mean_e.ravel()[few], 0.0))
    return counts


def read_noise(shape: tuple[int, int], sigma_e: float, rng: np.random.Generator) -> F4:
    """White noise of the amplifier, e-."""
    plane: F4 = rng.standard_normal(shape, dtype=np.float32)
    return plane * np.float32(sigma_e)


def pattern_noise(shape: tuple[int, int], sigma_e: float, rng: np.random.Generator) -> F4:
    """Offsets of whole rows and columns, e-; half of the variance each."""
    ny, nx = shape
    sigma = np.float32(sigma_e / np.sqrt(2.0))
    plane: F4 = sigma * (
        rng.standard_normal((ny, 1), dtype=np.float32) + rng.standard_normal((1, nx), dtype=np.float32)
    )
    return plane


def flat_residual(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> F4:
    """What the flat field missed, a factor near 1: smooth over the chip and white from pixel to pixel."""
    if sigma == 0.0:
        return np.ones(shape, np.float32)
    smooth = smooth_plane(smooth_modes(rng), shape)
    plane: F4 = 1.0 + np.float32(0.8 * sigma) * smooth
    plane += np.float32(0.6 * sigma) * rng.standard_normal(shape, dtype=np.float32)
    return np.maximum(plane, np.float32(0.1))


def cosmic_rays(shape: tuple[int, int], mean_count: float, rng: np.random.Generator) -> tuple[F4, Table]:
    """Charge left by particles, e-, and where: points of one to a few pixels, and tracks.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    mean_count : float
        Expected number on the frame.
    rng : Generator
        Of this exposure.

    Returns
    -------
    plane : ndarray, shape (ny, nx), float32
    rays : Table
        x, y (middle), flux_e, length_px, angle_rad (of the track, from +x towards +y).
    """
    ny, nx = shape
    count = int(rng.poisson(mean_count))
    x, y = rng.uniform(-0.5, nx - 0.5, count), rng.uniform(-0.5, ny - 0.5, count)
    track = rng.random(count) < 0.4
    length = np.where(track, np.minimum(2.0 + rng.exponential(8.0, count), 80.0), rng.uniform(0.0, 1.2, count))
    # A thin front-side chip: about 400 e- per pixel crossed (80 e-/um, 5 um deep), with the long tail of energy loss.
    flux = np.exp(rng.normal(np.log(450.0), 0.6, count)) * np.maximum(length, 1.0)
    angle = rng.uniform(0.0, np.pi, count)
    plane = np.zeros(shape[0] * shape[1], np.float64)
    for i in range(count):
        steps = max(3, int(4 * length[i]))
        t = np.linspace(-0.5, 0.5, steps) * length[i]
        column = np.round(x[i] + t * np.cos(angle[i]) + rng.normal(0.0, 0.15, steps)).astype(int)
        row = np.round(y[i] + t * np.sin(angle[i]) + rng.normal(0.0, 0.15, steps)).astype(int)
        share = rng.gamma(2.0, 1.0, steps)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        np.add.at(plane, row[inside] * nx + column[inside], (flux[i] * share / share.sum())[inside])
    rays = Table({"x": x, "y": y, "flux_e": flux, "length_px": length, "angle_rad": angle})
    return plane.reshape(shape).astype(np.float32), rays
