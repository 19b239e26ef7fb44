"""How interpolation correlates the noise of neighbouring pixels.

A resampled pixel is a sum of source pixels with weights w; on blank sky of white noise its variance is that of a source
pixel times sum w^2, and its covariance with another one times sum w w'. The sums are over products of one weight for
each axis, so they are products of sums for each axis (Fruchter & Hook 2002, PASP 114, 144, Sec. 7, for the same of
drizzled images). Their mean over the positions that a map gives is all that is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["NoiseCorrelation", "noise_correlation"]

F8 = NDArray[np.float64]
_POINTS = {"lanczos": 64, "spline": 400}  # where the map is nearly a shift, phases hardly change
_REACH = 6  # px; the spline's weights are below 4e-4 beyond
_LOBES = 5  # of the Lanczos kernel of `tiles`


@dataclass(frozen=True, slots=True)
class NoiseCorrelation:
    """Noise of a resampled plane on blank sky.

    Parameters
    ----------
    scatter : float
        Standard deviation of single pixels over the square root of the variance plane. The plane holds what a matched
        filter sees, so this is below 1 wherever neighbours are correlated.
    lag1 : float
        Correlation of neighbours, mean of both axes.
    """

    scatter: float
    lag1: float


def noise_correlation(
    mapping: Callable[[F8], F8],
    shape: tuple[int, int],
    jacobian: F8,
    *,
    kernel: Literal["lanczos", "spline"],
    times: int = 1,
) -> NoiseCorrelation:
    """Correlation of the noise in a plane that was resampled by a map.

    Parameters
    ----------
    mapping : callable
        Positions in the new plane to the old one, (n, 2) -> (n, 2).
    shape : (int, int)
        (ny, nx) of the new plane.
    jacobian : ndarray, shape (2, 2)
        d(old) / d(new).
    kernel : {'lanczos', 'spline'}
    times : int
        Points per axis over which a pixel is averaged.
    """
    # Whole pixels, spread evenly: multiples of the plastic number's inverse and of its square.
    steps = np.arange(_POINTS[kernel])[:, None] * (0.7548776662, 0.5698402910)
    points = np.floor(np.mod(steps, 1.0) * (shape[1], shape[0]))
    there = mapping(points)
    there = there[np.isfinite(there).all(1)]
    if len(there) == 0:
        return NoiseCorrelation(float("nan"), float("nan"))
    first = there - np.floor(there)
    offsets = ((np.arange(times) + 0.5) / times - 0.5).tolist()
    inner = np.array([(ox, oy) for oy in offsets for ox in offsets]) @ jacobian.T
    zero, right, up = np.zeros(2), jacobian[:, 0], jacobian[:, 1]
    own, across, along = (_covariance(first, inner, step, kernel) for step in (zero, right, up))
    area = abs(float(np.linalg.det(jacobian)))
    return NoiseCorrelation(float(np.sqrt(own * area)), (across + along) / (2.0 * own))


def _covariance(first: F8, inner: F8, step: F8, kernel: str) -> float:
    """Mean over positions of the sum of products of weights with those of the position a step away."""
    taps = np.arange(-_REACH, _REACH + 2, dtype=np.float64)
    product = np.ones(1)
    for axis in (0, 1):
        here = first[:, axis, None] + inner[:, axis]
        wa, wb = (_weights(taps - (here + away)[..., None], kernel) for away in (0.0, step[axis]))
        product = product * np.einsum("nit,njt->nij", wa, wb)
    return float(product.mean())


def _weights(t: F8, kernel: str) -> F8:
    if kernel == "lanczos":
        w = np.where(np.abs(t) < _LOBES, np.sinc(t) * np.sinc(t / _LOBES), 0.0)
        return np.asarray(w / w.sum(-1, keepdims=True))
    return np.asarray(np.interp(np.abs(t), *_cardinal_spline()))


@cache
def _cardinal_spline() -> tuple[F8, F8]:
    """The cubic spline that is 1 at 0 and 0 at all other whole numbers: sqrt(3) z^|j| of B-splines, z = sqrt(3) - 2."""
    t, root = np.linspace(0.0, 16.0, 4097), np.sqrt(3.0)
    return t, np.asarray(sum(root * (root - 2.0) ** abs(j) * _b_spline(t - j) for j in range(-18, 19)))


def _b_spline(t: F8) -> F8:
    a = np.abs(t)
    return np.asarray(np.where(a < 1.0, 2.0 / 3.0 - a * a + 0.5 * a**3, np.where(a < 2.0, (2.0 - a) ** 3 / 6.0, 0.0)))
