"""Light of bright stars in the reference, on the science grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gueststar.types import HALO_BLOCK_PX

__all__ = ["move_halo"]

_STEP = 4  # blocks between the positions that are mapped


def move_halo(
    halo: NDArray[np.bool_] | None,
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    shape: tuple[int, int],
) -> NDArray[np.bool_] | None:
    """Blocks of the science grid whose middle lies in a block of the reference's halo.

    Parameters
    ----------
    halo : ndarray of bool or None
        `Image.halo` of the reference.
    mapping : callable
        Science to reference pixels, (n, 2) -> (n, 2).
    shape : (int, int)
        (ny, nx) of the science image.
    """
    if halo is None or not halo.any():
        return None
    rows, columns = (n // HALO_BLOCK_PX for n in shape)
    coarse = tuple(-(-n // _STEP) + 1 for n in (rows, columns))
    y, x = np.mgrid[: coarse[0], : coarse[1]] * float(_STEP * HALO_BLOCK_PX) + (HALO_BLOCK_PX - 1) / 2.0
    nodes = mapping(np.column_stack((x.ravel(), y.ravel()))).T.reshape(2, *coarse)
    fine = np.mgrid[:rows, :columns] / float(_STEP)
    block = [
        np.floor((ndimage.map_coordinates(axis, fine, order=1) + 0.5) / HALO_BLOCK_PX).astype(np.int64)
        for axis in nodes
    ]
    inside = (block[0] >= 0) & (block[1] >= 0) & (block[0] < halo.shape[1]) & (block[1] < halo.shape[0])
    found = np.zeros((rows, columns), bool)
    found[inside] = halo[block[1][inside], block[0][inside]]
    return found if found.any() else None
