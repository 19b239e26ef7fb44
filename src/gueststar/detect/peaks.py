"""Local extrema of a score plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.planes import gather_stamps

__all__ = ["find_peaks"]


def find_peaks(
    score: torch.Tensor, mask: torch.Tensor, *, threshold: float, radius: float, edge: int, masked: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Local extrema of a score plane.

    Parameters
    ----------
    score, mask : Tensor, shape (ny, nx)
    threshold : float
        On the absolute value.
    radius : float
        Within this, the stronger of two peaks of one sign stays, px.
    edge : int
        Frame left out, px.
    masked : bool
        Keep peaks on flagged pixels.

    Returns
    -------
    x, y : ndarray of int64, shape (n,)
        Strongest first.
    """
    ny, nx = (int(n) for n in score.shape)
    # The threshold leaves little: the mask, the edges and the neighbours are looked at there alone.
    y, x = (axis.cpu().numpy() for axis in torch.nonzero(score.abs() >= threshold, as_tuple=True))
    keep = (y >= edge) & (y < ny - edge) & (x >= edge) & (x < nx - edge)
    y, x = y[keep], x[keep]
    if not masked:
        clear = (mask[y, x] == 0).cpu().numpy()
        y, x = y[clear], x[clear]
    if len(x) == 0:
        return x, y
    near = gather_stamps(score, x, y, 3).reshape(len(x), 9)
    centre = near[:, 4:5]
    top = ((near * torch.sign(centre)) <= centre.abs()).all(1).cpu().numpy()
    x, y, value = x[top], y[top], centre[:, 0].cpu().numpy()[top]
    order = np.argsort(-np.abs(value), kind="stable")
    x, y, value = x[order], y[order], value[order]
    points = np.column_stack((x, y)).astype(float)
    dead = np.zeros(len(x), bool)
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    # Sorted by strength, the first of each pair is the stronger: it removes the second unless it is itself removed.
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] if len(pairs) else ():
        if not dead[i] and np.sign(value[i]) == np.sign(value[j]):
            dead[j] = True
    return x[~dead], y[~dead]
