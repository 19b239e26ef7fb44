"""Bleed trails of a CCD: charge beyond the full well runs along the columns, and the trail fades towards its ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["follow_bleeds"]

_SHORTEST = 8  # saturated pixels in one column from which a trail can start
_SIGMA = 4.0
_BESIDE = (3, 4, 5)  # columns on each side that tell what there would be without the trail
_GAP = 2  # rows without excess that end a trail


def follow_bleeds(counts: NDArray[np.float32], full: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Saturated pixels, and the trails from them to their ends.

    Parameters
    ----------
    counts : ndarray, shape (ny, nx)
        With the sky in them; any unit. Values that are not finite end a trail.
    full : ndarray of bool, shape (ny, nx)
        True where the raw pixel is saturated.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        `full` and, from both ends of each run of at least 8 saturated pixels in a column, what stands 4 sigma above the
        columns 3 to 5 px beside it.
    """
    found = full.copy()
    padded = np.zeros((full.shape[0] + 2, full.shape[1]), np.int8)
    padded[1:-1] = full
    columns = np.flatnonzero(full.sum(0) >= _SHORTEST)
    if columns.size == 0:
        return found
    sample = counts[::7, ::7]
    middle = float(np.nanmedian(sample))
    sigma = 1.4826 * float(np.nanmedian(np.abs(sample - middle)))
    for column in columns.tolist():
        steps = np.diff(padded[:, column])
        starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        runs = [(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True) if b - a >= _SHORTEST]
        if not runs:
            continue
        sides = [column + side * d for d in _BESIDE for side in (-1, 1)]
        beside = np.median(counts[:, [c for c in sides if 0 <= c < counts.shape[1]]], axis=1)
        stands = counts[:, column] - beside > _SIGMA * sigma
        for a, b in runs:
            found[_walk(stands, a - 1, -1), column] = True
            found[_walk(stands, b, 1), column] = True
    return found


def _walk(stands: NDArray[np.bool_], start: int, step: int) -> slice:
    """Rows from `start` on that stand out, over small gaps."""
    row, last, gap = start, start - step, 0
    while 0 <= row < stands.size and gap < _GAP:
        last, gap = (row, 0) if stands[row] else (last, gap + 1)
        row += step
    return slice(start, last + 1) if step > 0 else slice(last, start + 1)
