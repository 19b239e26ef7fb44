"""Statistics of a plane in coarse cells, and the smooth map that they make over the chip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.planes import box_mean, quartiles

__all__ = ["cell_statistics", "clipped_moments", "smooth_map"]

Sample = NDArray[np.floating]


def cell_statistics(
    values: Sample,
    use: NDArray[np.bool_],
    cell: int,
    fewest: int,
    statistic: Callable[[Sample], tuple[float, ...]],
) -> NDArray[np.float64]:
    """Measure every cell of a plane.

    Parameters
    ----------
    values, use : ndarray, shape (ny, nx)
        A plane, and which of its pixels count.
    cell : int
        Side of a cell, px; rounded so that whole cells fill the plane.
    fewest : int
        Pixels that a cell needs.
    statistic : callable
        Pixels of a cell, (n,) -> one or more numbers.

    Returns
    -------
    ndarray, shape (k, rows, columns)
        The numbers of each cell; NaN where too few pixels count.
    """
    ny, nx = values.shape
    rows, columns = max(1, round(ny / cell)), max(1, round(nx / cell))
    ys, xs = np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, columns + 1).astype(int)
    found: list[list[tuple[float, ...] | None]] = []
    for i in range(rows):
        found.append([])
        for j in range(columns):
            cut = (slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1]))
            sample = values[cut][use[cut]]
            found[-1].append(statistic(sample) if sample.size >= fewest else None)
    width = next((len(one) for row in found for one in row if one is not None), 1)
    lacking = (float("nan"),) * width
    table = np.array([[one if one is not None else lacking for one in row] for row in found], np.float64)
    return np.asarray(np.moveaxis(table, -1, 0))


def clipped_moments(sample: Sample, *, sigma: float = 4.0, rounds: int = 2) -> tuple[float, float]:
    """Mean and standard deviation, clipped about the median, starting from the quartiles."""
    low, mid, high = quartiles(sample)
    width = max((high - low) / 1.349, 1e-9)
    for _ in range(rounds):
        kept = sample[np.abs(sample - mid) < sigma * width]
        mid, width = float(kept.mean()), float(kept.std())
    return mid, max(width, 1e-6)


def smooth_map(cells: NDArray[np.float64], like: torch.Tensor, *, empty: float) -> torch.Tensor:
    """A plane from cells: those without a number get the median, or `empty` where there is none at all.

    The cells are averaged 3 x 3 and interpolated bilinearly.
    """
    known = np.isfinite(cells)
    filled = np.where(known, cells, np.median(cells[known]) if known.any() else empty)
    small = torch.as_tensor(filled, dtype=like.dtype, device=like.device)
    small = box_mean(small, 1) if min(small.shape) >= 3 else small
    size = (int(like.shape[0]), int(like.shape[1]))
    return nn.interpolate(small[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
