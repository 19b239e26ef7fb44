"""Resampling for maps that are nearly a shift: small tiles, each by two small matrix products.

Within a tile of 64 px a registration is affine, and for frames of one camera nearly a shift: x' depends on x, and on y
by far less than a pixel. Then interpolation is separable,

    out = A_y W A_x^T + e_x (A_y W A_x'^T) + e_y (A_y' W A_x^T),

with W the window of the reference under the tile, A_x and A_y the interpolating weights of the tile's columns and rows,
a prime their derivative with the position, and e the small part of x' that depends on y and of y' that depends on x.
Weights are those of a Lanczos kernel of five lobes (Turkowski 1990, Graphics Gems, 147), each row normalised to sum 1.
At a shift of half a pixel in both axes it keeps the peak of a star of FWHM 2.7 px to 0.8 %, where a cubic B-spline
loses 2.5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["TileMap", "interpolate_tiles", "nearest_tiles"]

_SIZE = 64
_LOBES = 5
_PHASES = 512  # tabulated; with the slope, weights are good to 3e-6
# Largest e in a tile. First order leaves e^2 / 2 of the second derivative: in the corners of a tile, at FWHM 2.6 px,
# 0.15 % of the peak of a star, where the kernel itself errs by up to 0.6 %.
_MOST_CROSS_PX = 0.06
_MOST_SCALE = 0.01
F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TileMap:
    """Affine map of every tile of a plane; rows and columns of tiles come first in all shapes.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane that is made.
    x, y : ndarray, shape (rows, columns)
        Source position of the tile centres, px.
    matrix : ndarray, shape (rows, columns, 2, 2)
        d(x', y') / d(x, y).
    """

    shape: tuple[int, int]
    x: F8
    y: F8
    matrix: F8

    @classmethod
    def of(cls, mapping: Callable[[F8], F8], shape: tuple[int, int]) -> TileMap | None:
        """Affine maps of a registration, or None when it turns, stretches or flips too much for tiles."""
        rows, columns = (-(-n // _SIZE) for n in shape)
        cy, cx = np.mgrid[:rows, :columns] * float(_SIZE) + (_SIZE - 1) / 2.0
        half = _SIZE / 2.0
        steps = ((0.0, 0.0), (half, 0.0), (-half, 0.0), (0.0, half), (0.0, -half))
        points = np.concatenate([np.column_stack((cx.ravel() + dx, cy.ravel() + dy)) for dx, dy in steps])
        mapped = mapping(points).reshape(len(steps), rows, columns, 2)
        if not np.isfinite(mapped).all():
            return None
        along_x, along_y = (mapped[1] - mapped[2]) / _SIZE, (mapped[3] - mapped[4]) / _SIZE
        matrix = np.stack((along_x, along_y), axis=-1)
        cross = half * max(np.abs(matrix[..., 0, 1]).max(), np.abs(matrix[..., 1, 0]).max())
        stretch = max(np.abs(matrix[..., 0, 0] - 1.0).max(), np.abs(matrix[..., 1, 1] - 1.0).max())
        bend = max(np.abs(0.5 * (mapped[i] + mapped[i + 1]) - mapped[0]).max() for i in (1, 3))
        if cross > _MOST_CROSS_PX or stretch > _MOST_SCALE or bend > _MOST_CROSS_PX:
            return None
        return cls(shape, mapped[0, ..., 0], mapped[0, ..., 1], matrix)

    @property
    def area(self) -> F8:
        """Source pixels under one pixel, for each tile."""
        return np.asarray(np.abs(np.linalg.det(self.matrix)))

    def positions(self, axis: int) -> F8:
        """Source x (axis 0) of the columns of every tile, or y (axis 1) of the rows; shape (rows, columns, size)."""
        offsets = np.arange(_SIZE) - (_SIZE - 1) / 2.0
        centre = (self.x, self.y)[axis]
        return np.asarray(centre[..., None] + self.matrix[..., axis, axis, None] * offsets)


def interpolate_tiles(plane: torch.Tensor, tiles: TileMap) -> torch.Tensor:
    """Interpolate a plane at the positions of a tile map, and multiply by the area of a pixel.

    Parameters
    ----------
    plane : Tensor, shape (my, mx)
        Continued by its edge values.
    tiles : TileMap

    Returns
    -------
    Tensor, shape `tiles.shape`
    """
    device, dtype = plane.device, plane.dtype
    my, mx = (int(n) for n in plane.shape)
    tall, wide = (min(_SIZE + 2 * _LOBES + 4, n) for n in (my, mx))
    xs, ys = tiles.positions(0), tiles.positions(1)
    # Windows stay within the plane; what lies beyond is its edge.
    ox = np.clip(np.floor(xs.min(-1)).astype(np.int64) - _LOBES, 0, mx - wide)
    oy = np.clip(np.floor(ys.min(-1)).astype(np.int64) - _LOBES, 0, my - tall)
    ix, iy = (torch.as_tensor(origin, device=device) for origin in (ox, oy))
    windows = plane.unfold(0, tall, 1).unfold(1, wide, 1)
    offsets = torch.arange(_SIZE, device=device, dtype=dtype) - (_SIZE - 1) / 2.0
    cross = torch.as_tensor(tiles.matrix, device=device, dtype=dtype)
    area = torch.as_tensor(tiles.area, device=device, dtype=dtype)[..., None, None]
    rows, columns = tiles.x.shape
    out = plane.new_empty(rows * _SIZE, columns * _SIZE)
    for row in range(rows):
        w = windows[iy[row], ix[row]]
        ax, dax = _weights(torch.as_tensor(xs[row] - ox[row][:, None], device=device), wide, dtype)
        ay, day = _weights(torch.as_tensor(ys[row] - oy[row][:, None], device=device), tall, dtype)
        across = w @ ax.transpose(1, 2)
        slope = w @ dax.transpose(1, 2)
        ex = cross[row, :, 0, 1, None, None] * offsets[None, :, None]
        ey = cross[row, :, 1, 0, None, None] * offsets[None, None, :]
        done = (ay @ across).add_((ay @ slope).mul_(ex)).add_((day @ across).mul_(ey)).mul_(area[row])
        out[row * _SIZE : (row + 1) * _SIZE] = done.permute(1, 0, 2).reshape(_SIZE, columns * _SIZE)
    ny, nx = tiles.shape
    return out[:ny, :nx].contiguous()


def nearest_tiles(planes: Sequence[torch.Tensor], tiles: TileMap) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Values of the nearest pixels of some planes of one shape, and where the positions lie outside them.

    Each tile is one shift by whole pixels: at its edges a value comes from up to `_MOST_SCALE` * 32 px further away.

    Returns
    -------
    tuple of Tensor, Tensor of bool
        All of shape `tiles.shape`; beyond the planes the values are those of the nearest edge.
    """
    device = planes[0].device
    my, mx = (int(n) for n in planes[0].shape)
    rows, columns = tiles.x.shape
    ny, nx = tiles.shape
    half = (_SIZE - 1) / 2.0
    # Source pixel of the first pixel of every tile.
    ox, oy = (np.round(centre - half).astype(np.int64) for centre in (tiles.x, tiles.y))
    inside = (ox >= 0) & (oy >= 0) & (ox <= mx - _SIZE) & (oy <= my - _SIZE)
    steps = torch.arange(_SIZE, device=device)
    values = []
    for plane in planes:
        out = plane.new_empty(rows, _SIZE, columns, _SIZE)
        windows = plane.unfold(0, min(_SIZE, my), 1).unfold(1, min(_SIZE, mx), 1)
        for i in range(rows):
            whole = np.flatnonzero(inside[i])
            if whole.size:
                place = (torch.as_tensor(origin[i, whole], device=device) for origin in (oy, ox))
                out[i][:, torch.as_tensor(whole, device=device)] = windows[tuple(place)].permute(1, 0, 2)
            for j in np.flatnonzero(~inside[i]).tolist():
                row, column = (int(oy[i, j]) + steps).clamp(0, my - 1), (int(ox[i, j]) + steps).clamp(0, mx - 1)
                out[i, :, j] = plane[row[:, None], column[None, :]]
        values.append(out.reshape(rows * _SIZE, columns * _SIZE)[:ny, :nx].contiguous())
    xs, ys = (torch.as_tensor(tiles.positions(axis), device=device) for axis in (0, 1))
    out_x, out_y = (xs < 0) | (xs > mx - 1), (ys < 0) | (ys > my - 1)
    outside = torch.zeros(rows * _SIZE, columns * _SIZE, dtype=torch.bool, device=device)
    touched = (out_x.any(-1) | out_y.any(-1)).cpu().numpy()
    for i, j in np.argwhere(touched).tolist():
        block = (slice(i * _SIZE, (i + 1) * _SIZE), slice(j * _SIZE, (j + 1) * _SIZE))
        outside[block] = out_y[i, j, :, None] | out_x[i, j, None, :]
    return tuple(values), outside[:ny, :nx].contiguous()


def _weights(position: torch.Tensor, window: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Lanczos weights of positions (n, size) in windows, and their derivative; both (n, size, window)."""
    floor = position.floor()
    first = (floor - (_LOBES - 1)).long()
    kernel, slope = _table(str(position.device), dtype)
    # Weights at the nearest tabulated phase, and to first order in what is left.
    phase = (position - floor) * _PHASES
    entry = phase.round()
    rest = ((phase - entry) / _PHASES).to(dtype)[..., None]
    middle, tilt = kernel[entry.long()], slope[entry.long()]
    middle = torch.addcmul(middle, tilt, rest)
    empty = torch.zeros(*position.shape, window, dtype=dtype, device=position.device)
    inside = (first[..., None] + torch.arange(2 * _LOBES, device=position.device)).clamp_(0, window - 1)
    return empty.scatter_add(-1, inside, middle), empty.scatter_add(-1, inside, tilt)


@lru_cache(maxsize=4)
def _table(device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the taps, of sum 1, for phases 0 to 1, and their derivative; both (phases + 1, 2 lobes)."""
    phase = np.linspace(0.0, 1.0, _PHASES + 1)
    t = phase[:, None] + (_LOBES - 1) - np.arange(2 * _LOBES)
    near = np.abs(t) < 1e-9
    safe = np.where(near, 1.0, t)
    parts = []
    for width in (1.0, float(_LOBES)):
        value = np.sinc(t / width)
        parts.append((value, np.where(near, 0.0, (np.cos(np.pi * t / width) - value) / safe)))
    (wide, wide_slope), (narrow, narrow_slope) = parts
    kernel, slope = wide * narrow, wide_slope * narrow + wide * narrow_slope
    total = kernel.sum(1, keepdims=True)
    kernel = kernel / total
    slope = (slope - kernel * (slope.sum(1, keepdims=True))) / total
    return torch.as_tensor(kernel, dtype=dtype, device=device), torch.as_tensor(slope, dtype=dtype, device=device)
