"""Trailing and defocus: what smears all stars of an exposure in the same way.

A trail is a line, a star out of focus the shadow of the telescope's pupil: a disc with a hole. Both are given as points
with weights, so that anything can be smeared by adding up shifted copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

__all__ = ["Blur", "lagrange_weights"]

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Blur:
    """A line and a ring, each centred on the star; a length of 0 leaves it out.

    Parameters
    ----------
    trail_px : float
        Length of the trail.
    trail_angle_rad : float
        Its direction, from +x towards +y.
    defocus_px : float
        Outer diameter of the image of the pupil.
    hole : float
        Its inner diameter as a share of the outer: what the camera in the beam blocks.
    """

    trail_px: float = 0.0
    trail_angle_rad: float = 0.0
    defocus_px: float = 0.0
    hole: float = 0.4

    @property
    def reach(self) -> float:
        """Largest distance from the centre, px."""
        return 0.5 * (self.trail_px + self.defocus_px)

    @property
    def covariance(self) -> tuple[float, float, float]:
        """Second moments xx, yy, xy, px^2: those of a uniform line plus those of a uniform ring."""
        line, ring = self.trail_px**2 / 12.0, (0.5 * self.defocus_px) ** 2 * (1.0 + self.hole**2) / 4.0
        c, s = float(np.cos(self.trail_angle_rad)), float(np.sin(self.trail_angle_rad))
        return line * c * c + ring, line * s * s + ring, line * c * s

    def four_points(self) -> tuple[F8, F8, F8]:
        """Four points with the same moments up to the third, for what is smooth over the reach of the blur."""
        xx, yy, xy = self.covariance
        values, axes = np.linalg.eigh([[xx, xy], [xy, yy]])
        steps = axes * np.sqrt(2.0 * np.maximum(values, 0.0))
        offsets = np.hstack([steps, -steps])
        return offsets[0], offsets[1], np.full(4, 0.25)

    def points(self, step_px: float = 0.25) -> tuple[F8, F8, F8]:
        """Offsets x, y (px) and weights of sum 1; neighbours are about `step_px` apart."""
        (ax, ay, a), (bx, by, b) = self._line(step_px), self._ring(step_px)
        x, y, weight = np.add.outer(ax, bx), np.add.outer(ay, by), np.multiply.outer(a, b)
        return x.ravel(), y.ravel(), weight.ravel()

    def _line(self, step_px: float) -> tuple[F8, F8, F8]:
        """Gauss-Legendre nodes along the trail."""
        if self.trail_px == 0.0:
            return np.zeros(1), np.zeros(1), np.ones(1)
        t, weight = np.polynomial.legendre.leggauss(max(3, int(np.ceil(self.trail_px / step_px)) + 1))
        t = 0.5 * self.trail_px * t
        return t * np.cos(self.trail_angle_rad), t * np.sin(self.trail_angle_rad), weight / 2.0

    def _ring(self, step_px: float) -> tuple[F8, F8, F8]:
        """Gauss-Legendre nodes in the square of the radius, which is uniform in area, and equal steps around."""
        if self.defocus_px == 0.0:
            return np.zeros(1), np.zeros(1), np.ones(1)
        outer = 0.5 * self.defocus_px
        rings = max(1, int(np.ceil(outer * (1.0 - self.hole) / step_px)))
        t, weight = np.polynomial.legendre.leggauss(rings)
        radius = outer * np.sqrt(0.5 * (1.0 + self.hole**2) + 0.5 * (1.0 - self.hole**2) * t)
        count = max(12, int(np.ceil(2.0 * np.pi * outer / step_px)))
        # Half a step turned, so that no point lies on the lines of pixels and spikes.
        angle = 2.0 * np.pi * (np.arange(count) + 0.5) / count
        x, y = np.multiply.outer(radius, np.cos(angle)), np.multiply.outer(radius, np.sin(angle))
        return x.ravel(), y.ravel(), np.repeat(weight / (2.0 * count), count)

    def kernel(self, per_px: int) -> F8:
        """The same on a grid of `per_px` points a pixel: odd, sum 1."""
        step = 0.5 / per_px
        line, ring = (_on_grid(*points, per_px) for points in (self._line(step), self._ring(step)))
        both: F8 = fftconvolve(line, ring) if self.trail_px and self.defocus_px else ring if self.defocus_px else line
        return both


def _on_grid(x: F8, y: F8, weight: F8, per_px: int) -> F8:
    """Points with weights on a fine grid.

    Each is shared among 4 x 4 points of the grid by cubic Lagrange polynomials, which keep its moments up to the third.
    """
    half = int(np.ceil(per_px * max(np.abs(x).max(), np.abs(y).max()))) + 2
    grid: F8 = np.zeros((2 * half + 1, 2 * half + 1))
    nodes = np.arange(-1.0, 3.0)
    i, j = (np.floor(per_px * t).astype(int) for t in (x, y))
    wx, wy = lagrange_weights(per_px * x - i, nodes), lagrange_weights(per_px * y - j, nodes)
    for b in range(4):
        for a in range(4):
            np.add.at(grid, (j + b - 1 + half, i + a - 1 + half), weight * wx[:, a] * wy[:, b])
    return grid


def lagrange_weights(t: F8, nodes: F8) -> F8:
    """Values of the Lagrange polynomials of `nodes` at t; shape (n, nodes), rows sum to 1."""
    weights = np.ones((t.size, nodes.size))
    for j in range(nodes.size):
        for m in range(nodes.size):
            if m != j:
                weights[:, j] *= (t - nodes[m]) / (nodes[j] - nodes[m])
    return weights
