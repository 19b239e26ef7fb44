"""How well the image was subtracted around a candidate: the scatter of the score in its neighbourhood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gueststar.types import Difference

__all__ = ["local_scatter", "scatter_around"]

_HALF = 32  # px; half the side of the neighbourhood
_STEP = 4  # px between the places that are looked at: hardly less than a PSF, so that each is news
_FEWEST = 24


def local_scatter(difference: Difference, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Robust scatter of the score in a neighbourhood of 64 px around each position.

    The score is 1 on empty sky, by its making; more than that is what stars, galaxies and their wings leave around the
    candidate. The candidate itself, on a few of the places, does not move quartiles.

    Parameters
    ----------
    difference : Difference
    x, y : ndarray of int64, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
        From the quartiles of 256 places, the flagged ones left out; NaN with fewer than 24 left.
    """
    return scatter_around(difference.score.cpu().numpy(), difference.mask.cpu().numpy(), x, y)


def scatter_around(
    score: NDArray[np.floating], mask: NDArray[np.integer], x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The same from the planes of score and mask, each of shape (ny, nx)."""
    ny, nx = score.shape
    offsets = np.arange(-_HALF + _STEP // 2, _HALF, _STEP)
    rows = (y[:, None] + offsets)[:, :, None]
    columns = (x[:, None] + offsets)[:, None, :]
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    rows, columns = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    values = score[rows, columns].reshape(len(x), offsets.size**2)
    use = (inside & (mask[rows, columns] == 0)).reshape(values.shape) & (values != 0)
    count = use.sum(1)
    ordered = np.sort(np.where(use, values, np.inf), axis=1)
    at = np.arange(len(x))
    low, high = (
        ordered[at, np.minimum((share * count).astype(np.int64), ordered.shape[1] - 1)] for share in (0.25, 0.75)
    )
    enough = count >= _FEWEST
    scatter = np.full(len(x), np.nan)
    scatter[enough] = (high[enough] - low[enough]) / 1.349
    return scatter
