"""The sky of a difference where neither image has light.

The joint background of a kernel fit is measured at stars, and takes up what the kernel cannot reach of their wings.
Most of the difference is empty sky, which tells the level better: the mean of cells of 128 px, clipped about the
median.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nn

from gueststar.planes import box_mean, quartiles
from gueststar.subtract.bins import Bins

__all__ = ["fit_level"]

_CELL = 64  # bins
_FEWEST = 200  # bins in a cell


def fit_level(difference: Bins, sources: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Model the level of empty sky.

    Parameters
    ----------
    difference : Bins
    sources : Tensor of bool, shape (ny, nx)
        True where either image has light above the sky, in the same bins.

    Returns
    -------
    Tensor of shape (ny, nx), float
        Level to subtract, e-, and its median.
    """
    ny, nx = (int(n) for n in difference.data.shape)
    rows, columns = max(1, round(ny / _CELL)), max(1, round(nx / _CELL))
    values, empty = difference.data.cpu().numpy(), (difference.whole & ~sources).cpu().numpy()
    ys, xs = np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, columns + 1).astype(int)
    cells = np.full((rows, columns), np.nan)
    for i in range(rows):
        for j in range(columns):
            cut = (slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1]))
            sample = values[cut][empty[cut]]
            if sample.size >= _FEWEST:
                cells[i, j] = _clipped_mean(sample)
    if not np.isfinite(cells).any():
        return torch.zeros_like(difference.data), 0.0
    level = float(np.nanmedian(cells))
    filled = np.where(np.isfinite(cells), cells, level)
    small = torch.as_tensor(filled, dtype=difference.data.dtype, device=difference.data.device)
    smooth = box_mean(small, 1) if min(small.shape) >= 3 else small
    return nn.interpolate(smooth[None, None], size=(ny, nx), mode="bilinear", align_corners=False)[0, 0], level


def _clipped_mean(sample: np.ndarray) -> float:
    low, middle, high = quartiles(sample)
    width = max((high - low) / 1.349, 1e-9)
    return float(sample[np.abs(sample - middle) < 3.0 * width].mean())
