"""The sky of a difference where neither image has light.

The joint background of a kernel fit is measured at stars, and takes up what the kernel cannot reach of their wings.
Most of the difference is empty sky, which tells the level better: the mean of cells of 128 px, clipped about the
median.
"""

from __future__ import annotations

import torch

from gueststar.subtract.bins import Bins
from gueststar.subtract.cells import cell_moments, smooth_map

__all__ = ["fit_level"]

_CELL = 64  # bins
_FEWEST = 200  # bins in a cell


def fit_level(difference: Bins, sources: torch.Tensor) -> torch.Tensor:
    """Model the level of empty sky.

    Parameters
    ----------
    difference : Bins
    sources : Tensor of bool, shape (ny, nx)
        True where either image has light above the sky, in the same bins.

    Returns
    -------
    Tensor of shape (ny, nx)
        Level to subtract, e-; 0 where no cell has enough empty sky.
    """
    cells = cell_moments(difference.data, difference.whole & ~sources, _CELL, _FEWEST, sigma=3.0)
    ny, nx = (int(n) for n in difference.data.shape)
    return smooth_map(cells.mean, (ny, nx), empty=0.0)
