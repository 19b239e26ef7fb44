"""A plane in cells: robust level and noise of each, and the smooth surface through them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["Mesh", "clipped_cells"]

_CLIP = 3.0
_TRUNCATED = 0.98658  # standard deviation of a unit Gaussian cut at three sigma


@dataclass(frozen=True, slots=True)
class Mesh:
    """Cells of nearly `side` px on a plane of `shape`; those at the far edges may be a few pixels smaller."""

    shape: tuple[int, int]
    side: int

    @property
    def counts(self) -> tuple[int, int]:
        """Number of cells along y and x."""
        return max(1, round(self.shape[0] / self.side)), max(1, round(self.shape[1] / self.side))

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a cell, px."""
        return -(-self.shape[0] // self.counts[0]), -(-self.shape[1] // self.counts[1])

    def split(self, plane: NDArray[Any], fill: float, step: int = 1) -> NDArray[Any]:
        """Values of each cell, every `step`-th row and column of it; shape (rows * columns, n), contiguous."""
        (rows, columns), (high, wide) = self.counts, self.sides
        more = (rows * high - self.shape[0], columns * wide - self.shape[1])
        if any(more):
            plane = np.pad(plane, ((0, more[0]), (0, more[1])), constant_values=fill)
        cells = plane.reshape(rows, high, columns, wide)[:, step // 2 :: step, :, step // 2 :: step]
        return np.ascontiguousarray(cells.swapaxes(1, 2)).reshape(rows * columns, -1)

    def share(self, flags: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Share of the pixels of each cell that are flagged; shape (rows, columns)."""
        (rows, columns), (high, wide) = self.counts, self.sides
        sums = self.split(flags, False).sum(1, dtype=np.int32).reshape(rows, columns)
        heights = np.minimum(high, self.shape[0] - high * np.arange(rows))
        widths = np.minimum(wide, self.shape[1] - wide * np.arange(columns))
        return np.asarray(sums / np.outer(heights, widths))

    def spread(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Every cell's value at each of its pixels."""
        high, wide = self.sides
        return np.repeat(np.repeat(cells, high, axis=0), wide, axis=1)[: self.shape[0], : self.shape[1]]

    def surface(self, cells: NDArray[np.floating]) -> NDArray[np.float32]:
        """Natural cubic spline through the middles of the cells, straight beyond the outermost; at all pixels."""
        down, across = (
            _spline(n, side, size) for n, side, size in zip(self.counts, self.sides, self.shape, strict=True)
        )
        return np.asarray(down @ (cells.astype(np.float32) @ across.T), np.float32)

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Middles of the cells, -1 to 1 over the plane, as a column and a row: y, x."""
        y, x = (
            (np.arange(n) + 0.5) * side * 2.0 / size - 1.0
            for n, side, size in zip(self.counts, self.sides, self.shape, strict=True)
        )
        return y[:, None], x[None, :]


@lru_cache(maxsize=32)
def _spline(n: int, side: int, size: int) -> NDArray[np.float32]:
    """Weights of n cells at each of `size` pixels; shape (size, n)."""
    if n == 1:
        return np.ones((size, 1), np.float32)
    middles, pixels = (np.arange(n) + 0.5) * side - 0.5, np.arange(size, dtype=np.float64)
    spline = CubicSpline(middles, np.eye(n), bc_type="natural")
    inside = np.clip(pixels, middles[0], middles[-1])
    return np.asarray(spline(inside) + (pixels - inside)[:, None] * spline(inside, 1), np.float32)


def clipped_cells(
    values: NDArray[np.float32], *, passes: int = 8
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Level, noise and number of good values of each cell, clipped at three sigma around the median.

    The level is the estimate of the mode that SExtractor takes (Bertin & Arnouts 1996), 2.5 median - 1.5 mean, or the
    median where they differ by over 0.3 sigma.

    Parameters
    ----------
    values : ndarray, shape (cells, n), float32
        +inf where a pixel is not to be used.
    passes : int
        Rounds of clipping.

    Returns
    -------
    level, noise, count : ndarray, shape (cells,)
        NaN and NaN where a cell has no good value.
    """
    ordered = np.sort(values, axis=1)
    n = ordered.shape[1]
    last = np.isfinite(ordered).sum(1)
    # Sums from the left, from which those of any stretch follow; about the middle value, for precision.
    row = np.arange(len(ordered))
    middle = ordered[row, np.minimum(last // 2, n - 1)].astype(np.float64)
    middle[last == 0] = 0.0
    centred = ordered - middle[:, None].astype(np.float32)
    summed = np.where(np.isfinite(ordered), centred, np.float32(0.0))
    sums = np.zeros((2, len(ordered), n + 1))
    np.cumsum(summed, axis=1, dtype=np.float64, out=sums[0, :, 1:])
    np.cumsum(summed * summed, axis=1, dtype=np.float64, out=sums[1, :, 1:])
    first = np.zeros(len(ordered), np.int64)
    stop = last.astype(np.int64)
    for _ in range(passes):
        mean, median, sigma = _stretch(centred, sums, row, first, stop)
        low, high = (median - _CLIP * sigma)[:, None], (median + _CLIP * sigma)[:, None]
        new = (centred < low).sum(1), np.minimum((centred <= high).sum(1), last)
        new = np.maximum(new[0], first), np.minimum(new[1], stop)
        if (new[0] == first).all() and (new[1] == stop).all():
            break
        first, stop = new
    mean, median, sigma = _stretch(centred, sums, row, first, stop)
    with np.errstate(invalid="ignore", divide="ignore"):
        skewed = np.abs(mean - median) > 0.3 * sigma
    level = np.where(skewed, median, 2.5 * median - 1.5 * mean) + middle
    count = stop - first
    nothing = count < 1
    level[nothing], sigma[nothing] = np.nan, np.nan
    return level, sigma / _TRUNCATED, count


def _stretch(
    centred: NDArray[np.float32],
    sums: NDArray[np.float64],
    row: NDArray[np.int64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, median and standard deviation of a stretch of each sorted row."""
    count = np.maximum(stop - first, 1)
    mean, square = ((part[row, stop] - part[row, first]) / count for part in sums)
    half = np.clip((first + stop) // 2, 0, centred.shape[1] - 1)
    other = np.clip((first + stop - 1) // 2, 0, centred.shape[1] - 1)
    median = 0.5 * (centred[row, half].astype(np.float64) + centred[row, other])
    return mean, median, np.sqrt(np.maximum(square - mean * mean, 0.0))
