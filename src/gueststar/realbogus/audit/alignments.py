"""Candidates of one image in a row: along a column of the detector, or on the straight path of a satellite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from gueststar.realbogus.audit.repeats import Detections

__all__ = ["ALIGNMENT_COLUMNS", "alignments_of"]

F8 = NDArray[np.float64]
#: Columns of `alignments_of`.
ALIGNMENT_COLUMNS = ("column_surprise", "path_surprise")
_HALF_WIDTH = 1.5  # px
_MOST = 200  # candidates of an image among which paths are looked for; more are a crowd of chance lines
_AXIS = np.sin(np.radians(1.0))  # nearer to an axis than this it is a column or row, no path


def alignments_of(all_rows: Detections, rows: NDArray[np.int64]) -> dict[str, F8]:
    """How improbable it is by chance that as many candidates of an image lie in a row with each.

    Parameters
    ----------
    all_rows : Detections
        In the order of their images.
    rows : ndarray of int, shape (m,)

    Returns
    -------
    dict of str to ndarray, shape (m,)
        ``column_surprise``: in the column or the row of the detector; ``path_surprise``: on a straight line that is
        neither; -log10 of the probability by chance (Poisson, times the lines tried), at most 12. NaN without
        positions; the second also in images of more than 200 candidates.
    """
    found = {name: np.full(len(rows), np.nan) for name in ALIGNMENT_COLUMNS}
    for image in np.unique(all_rows.image[rows]):
        low, high = np.searchsorted(all_rows.image, [image, image + 1])
        x, y = all_rows.x[low:high], all_rows.y[low:high]
        mine = np.flatnonzero((all_rows.image[rows] == image) & np.isfinite(all_rows.x[rows]))
        if mine.size == 0:
            continue
        width, height = float(np.nanmax(all_rows.x)) + 1.0, float(np.nanmax(all_rows.y)) + 1.0
        own = rows[mine] - low
        n = len(x)
        for i, k in zip(mine.tolist(), own.tolist(), strict=True):
            columns = int((np.abs(x - x[k]) < _HALF_WIDTH).sum()) - 1
            lines = int((np.abs(y - y[k]) < _HALF_WIDTH).sum()) - 1
            surprise = (
                _surprise(columns, 2 * _HALF_WIDTH * n / width, 2),
                _surprise(lines, 2 * _HALF_WIDTH * n / height, 2),
            )
            found["column_surprise"][i] = max(surprise)
            if n <= _MOST:
                found["path_surprise"][i] = _path(x, y, k, width)
    return found


def _path(x: F8, y: F8, own: int, width: float) -> float:
    """Surprise of the best straight line through one candidate and another."""
    dx, dy = x - x[own], y - y[own]
    length = np.hypot(dx, dy)
    others = np.flatnonzero(length > 5.0)
    if others.size < 2:
        return 0.0
    ux, uy = dx[others] / length[others], dy[others] / length[others]
    slanted = np.minimum(np.abs(ux), np.abs(uy)) > _AXIS
    if not slanted.any():
        return 0.0
    across = np.abs(np.outer(ux[slanted], dy[others]) - np.outer(uy[slanted], dx[others]))
    # The two that a line goes through are on it by definition.
    count = int((across < _HALF_WIDTH).sum(axis=1).max()) - 1
    return _surprise(count, 2 * _HALF_WIDTH * len(x) / width, len(x))


def _surprise(count: int, expected: float, tried: int) -> float:
    if count <= 0:
        return 0.0
    chance = min(tried * float(poisson.sf(count - 1, max(expected, 1e-4))), 1.0)
    return float(min(-np.log10(max(chance, 1e-12)), 12.0))
