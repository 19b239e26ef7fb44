"""Whole-plane arithmetic on tensors: tiled, spatially varying convolution, growth of masks, box means.

Everything runs on the device of its input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray
from scipy.fft import next_fast_len

__all__ = [
    "Tiling", "all_finite", "as_float", "box_mean", "convolve", "gather_stamps", "grow_mask", "inside_stamps",
    "quartiles",
]  # fmt: skip

_LARGEST_DIRECT = 17  # px; wider kernels are applied by Fourier transform


@dataclass(frozen=True, slots=True)
class Tiling:
    """A plane cut into square tiles, each of which gets its own kernel.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    size : int
        Side of a tile, px.
    """

    shape: tuple[int, int]
    size: int = 64

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tiles in y and x."""
        return -(-self.shape[0] // self.size), -(-self.shape[1] // self.size)

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) of the tile centres, row by row, each of shape (n_tiles,); px."""
        rows, columns = self.counts
        half = (self.size - 1) / 2.0
        y, x = np.mgrid[:rows, :columns] * float(self.size) + half
        return np.minimum(x, self.shape[1] - 1.0).ravel(), np.minimum(y, self.shape[0] - 1.0).ravel()


def convolve(plane: torch.Tensor, kernels: torch.Tensor, tiling: Tiling, *, correlate: bool = False) -> torch.Tensor:
    """Convolve a plane with one kernel per tile; the plane continues with zeros beyond its edges.

    Parameters
    ----------
    plane : Tensor, shape (ny, nx), float32
    kernels : Tensor, shape (n_tiles, k, k) or (1, k, k)
        k odd; in the order of `Tiling.centres`. One kernel serves all tiles.
    correlate : bool
        Correlate instead (the kernel is not flipped), as a matched filter needs.

    Returns
    -------
    Tensor, shape (ny, nx)
    """
    if not correlate:
        kernels = torch.flip(kernels, (-2, -1))
    radius = kernels.shape[-1] // 2
    ny, nx = plane.shape
    if kernels.shape[0] == 1:
        tiling = Tiling((ny, nx), 128)
        kernels = kernels.expand(int(np.prod(tiling.counts)), -1, -1)
    rows, columns = tiling.counts
    size = tiling.size
    padded = _padded(plane, radius, rows * size, columns * size)
    full = size + 2 * radius
    # One row of tiles at a time: the working set stays in cache and the memory small.
    out = plane.new_empty(rows * size, columns * size)
    for row in range(rows):
        strip = padded[row * size : row * size + full]
        tiles = strip.unfold(1, full, size).permute(1, 0, 2)[None]
        weights = kernels[row * columns : (row + 1) * columns, None].to(plane.dtype)
        if kernels.shape[-1] > _LARGEST_DIRECT:
            done = _correlated(tiles, weights[None, :, 0], size)
        else:
            done = nn.conv2d(tiles, weights, groups=columns)
        out[row * size : (row + 1) * size].view(size, columns, size).copy_(done[0].permute(1, 0, 2))
    return out[:ny, :nx].contiguous()


def _padded(plane: torch.Tensor, pad: int, height: int, width: int) -> torch.Tensor:
    """A plane with zeros beyond its edges, `pad` px on each side of height x width; the middle is written once."""
    ny, nx = plane.shape
    padded = plane.new_empty(height + 2 * pad, width + 2 * pad)
    padded[:pad], padded[pad + ny :] = 0.0, 0.0
    padded[pad : pad + ny, :pad], padded[pad : pad + ny, pad + nx :] = 0.0, 0.0
    padded[pad : pad + ny, pad : pad + nx] = plane
    return padded


def _correlated(tiles: torch.Tensor, kernels: torch.Tensor, size: int) -> torch.Tensor:
    """Correlate tiles (1, n, w, w) with kernels (1, n, k, k) by Fourier transform, where both overlap in full."""
    side = next_fast_len(int(tiles.shape[-1]), real=True)
    spectrum = torch.fft.rfft2(tiles, s=(side, side)) * torch.fft.rfft2(kernels, s=(side, side)).conj()
    done: torch.Tensor = torch.fft.irfft2(spectrum, s=(side, side))
    return done[..., :size, :size]


def as_float(plane: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A boolean plane as 0 and 1; by way of bytes, which is several times as fast as the direct conversion."""
    return plane.view(torch.uint8).to(dtype)


def all_finite(plane: torch.Tensor) -> bool:
    """Whether every value is finite: a NaN or an infinity survives the sum of its row."""
    return bool(torch.isfinite(plane.sum(-1)).all())


def grow_mask(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Grow every flag of an integer or boolean mask by `radius` px along both axes (a square)."""
    grown = mask.clone()
    for axis in (0, 1):
        length, done = grown.shape[axis], 0
        while done < min(radius, length - 1):
            # Steps double. A longer one would leave gaps at the edges, where the flags it starts from lie outside.
            step = min(done + 1, radius - done, length - 1)
            source = grown.clone()
            near, far = source.narrow(axis, 0, length - step), source.narrow(axis, step, length - step)
            grown.narrow(axis, step, length - step).bitwise_or_(near)
            grown.narrow(axis, 0, length - step).bitwise_or_(far)
            done += step
    return grown


def box_mean(plane: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over a square of side 2 radius + 1; edges average over what is inside."""
    mean = plane
    for axis in (0, 1):
        length = mean.shape[axis]
        reach = min(radius, length - 1)
        total = mean.clone()
        count = torch.ones(length, dtype=plane.dtype, device=plane.device)
        for step in range(1, reach + 1):
            keep = length - step
            total.narrow(axis, 0, keep).add_(mean.narrow(axis, step, keep))
            total.narrow(axis, step, keep).add_(mean.narrow(axis, 0, keep))
            count[:keep] += 1.0
            count[step:] += 1.0
        mean = total.div_(count[:, None] if axis == 0 else count[None, :])
    return mean


def gather_stamps(plane: torch.Tensor, x: NDArray[np.int64], y: NDArray[np.int64], size: int) -> torch.Tensor:
    """Cut squares of side `size` (odd) centred on whole pixels; zero outside the plane; shape (n, size, size)."""
    ny, nx = (int(n) for n in plane.shape)
    x, y, radius = np.asarray(x, np.int64), np.asarray(y, np.int64), size // 2
    if ((x >= radius) & (y >= radius) & (x < nx - radius) & (y < ny - radius)).all() and min(ny, nx) >= size:
        top, left = (torch.as_tensor(axis - radius, device=plane.device) for axis in (y, x))
        return plane.unfold(0, size, 1).unfold(1, size, 1)[top, left]
    steps = torch.arange(size, device=plane.device) - radius
    v = torch.as_tensor(y, device=plane.device)[:, None] + steps
    u = torch.as_tensor(x, device=plane.device)[:, None] + steps
    # By flat places, and filled up at the edges afterwards: a padded copy of the plane would cost far more.
    flat = (v.clamp(0, ny - 1) * nx)[:, :, None] + u.clamp(0, nx - 1)[:, None, :]
    stamps = torch.take(plane, flat)
    rows, columns = (v < 0) | (v >= ny), (u < 0) | (u >= nx)
    if bool(rows.any()) or bool(columns.any()):
        stamps.masked_fill_(rows[:, :, None] | columns[:, None, :], 0)
    return stamps


def inside_stamps(shape: tuple[int, int], x: NDArray[np.int64], y: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which pixels of the squares of `gather_stamps` lie in a plane of `shape`; shape (n, size, size)."""
    steps = np.arange(size) - size // 2
    rows, columns = (np.asarray(a, np.int64)[:, None] + steps for a in (y, x))
    in_y, in_x = ((axis >= 0) & (axis < n) for axis, n in zip((rows, columns), shape, strict=True))
    return np.asarray(in_y[:, :, None] & in_x[:, None, :])


def quartiles(values: NDArray[np.floating], *, most: int = 1000) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of about `most` of the values, evenly picked; for many small samples.

    Parameters
    ----------
    values : ndarray, shape (n,)
        At least one.
    most : int
        An n-th of the values is used when there are more than twice as many.
    """
    picked = values[:: max(1, values.size // most)]
    n = picked.size
    places = (n // 4, n // 2, min(3 * n // 4, n - 1))
    ordered = np.partition(picked, places)
    return float(ordered[places[0]]), float(ordered[places[1]]), float(ordered[places[2]])
