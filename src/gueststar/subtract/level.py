"""The sky of a difference where neither image has light.

The joint background of a kernel fit is measured at stars, and takes up what the kernel cannot reach of their wings.
Most of the difference is empty sky, which tells the level better: the mean of cells of 128 px, clipped about the
median. Where a nebula or a galaxy fills the frame, the skies that were taken off the two images differ by what each
took for sky, and cells of 16 px follow that.
"""

from __future__ import annotations

import torch

from gueststar.subtract.bins import Bins
from gueststar.subtract.cells import cell_medians, cell_moments, smooth_map

__all__ = ["fit_level"]

_CELL = 64  # bins
_FEWEST = 200  # bins in a cell
_FINE_CELL, _FINE_FEWEST = 8, 16


def fit_level(difference: Bins, sources: torch.Tensor, *, fine: bool = False) -> torch.Tensor:
    """Model the level of empty sky.

    Parameters
    ----------
    difference : Bins
    sources : Tensor of bool, shape (ny, nx)
        True where either image has light above the sky, in the same bins.
    fine : bool
        Follow what a nebula makes of the skies.

    Returns
    -------
    Tensor of shape (ny, nx)
        Level to subtract, e-; 0 where no cell has enough empty sky.
    """
    ny, nx = (int(n) for n in difference.data.shape)
    if fine:
        medians = cell_medians(difference.data, difference.whole, _FINE_CELL, _FINE_FEWEST)
        return smooth_map(medians, (ny, nx), empty=0.0, average=False)
    cells = cell_moments(difference.data, difference.whole & ~sources, _CELL, _FEWEST, sigma=3.0)
    return smooth_map(cells.mean, (ny, nx), empty=0.0)
