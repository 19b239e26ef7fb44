"""Local extrema of a score plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.planes import gather_stamps

__all__ = ["find_peaks", "peaks_among", "pixels_above"]


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
    x, y = pixels_above(score, threshold)
    return peaks_among(x, y, score, mask, radius=radius, edge=edge, masked=masked)


def pixels_above(score: torch.Tensor, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels (x, y) of a plane whose absolute value reaches a threshold, row by row."""
    columns = int(score.shape[1])
    # One flat list of places is several times as fast as one list for each axis.
    flat = np.flatnonzero((score.abs() >= threshold).cpu().numpy())
    return flat % columns, flat // columns


def peaks_among(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    score: torch.Tensor,
    mask: torch.Tensor,
    *,
    radius: float,
    edge: int,
    masked: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those of the pixels from `pixels_above` that are local extrema; see `find_peaks`."""
    ny, nx = (int(n) for n in score.shape)
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
