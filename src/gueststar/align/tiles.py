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

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

__all__ = ["TileMap", "interpolate_tiles", "nearest_tiles"]

_SIZE = 64
_LOBES = 5
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
    window = _SIZE + 2 * _LOBES + 4
    xs, ys = tiles.positions(0), tiles.positions(1)
    ox, oy = (np.floor(p.min(-1)).astype(np.int64) - _LOBES for p in (xs, ys))
    padded = nn.pad(plane[None, None], (window,) * 4, mode="replicate")[0, 0]
    # A tile that lies far outside reads the edge.
    ix = torch.as_tensor(np.clip(ox + window, 0, padded.shape[1] - window), device=plane.device)
    iy = torch.as_tensor(np.clip(oy + window, 0, padded.shape[0] - window), device=plane.device)
    windows = padded.unfold(0, window, 1).unfold(1, window, 1)
    offsets = torch.arange(_SIZE, device=device, dtype=dtype) - (_SIZE - 1) / 2.0
    cross = torch.as_tensor(tiles.matrix, device=device, dtype=dtype)
    area = torch.as_tensor(tiles.area, device=device, dtype=dtype)[..., None, None]
    rows, columns = tiles.x.shape
    out = plane.new_empty(rows * _SIZE, columns * _SIZE)
    for row in range(rows):
        w = windows[iy[row], ix[row]]
        ax, dax = _weights(torch.as_tensor(xs[row] - ox[row][:, None], device=device), window, dtype)
        ay, day = _weights(torch.as_tensor(ys[row] - oy[row][:, None], device=device), window, dtype)
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

    Returns
    -------
    tuple of Tensor, Tensor of bool
        All of shape `tiles.shape`.
    """
    device = planes[0].device
    my, mx = (int(n) for n in planes[0].shape)
    rows, columns = tiles.x.shape
    xs, ys = (torch.as_tensor(tiles.positions(axis), device=device) for axis in (0, 1))
    ix, iy = xs.round().long().clamp(0, mx - 1), ys.round().long().clamp(0, my - 1)
    out_x, out_y = (xs < 0) | (xs > mx - 1), (ys < 0) | (ys > my - 1)
    ny, nx = tiles.shape
    values = tuple(plane.new_empty(rows * _SIZE, columns * _SIZE) for plane in planes)
    outside = torch.empty(rows * _SIZE, columns * _SIZE, dtype=torch.bool, device=device)
    for row in range(rows):
        strip = slice(row * _SIZE, (row + 1) * _SIZE)
        place = (iy[row, :, :, None], ix[row, :, None, :])
        lost = out_y[row, :, :, None] | out_x[row, :, None, :]
        for out, plane in zip((*values, outside), (*(plane[place] for plane in planes), lost), strict=True):
            out[strip] = plane.permute(1, 0, 2).reshape(_SIZE, -1)
    return tuple(one[:ny, :nx].contiguous() for one in values), outside[:ny, :nx].contiguous()


def _weights(position: torch.Tensor, window: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Lanczos weights of positions (n, size) in windows, and their derivative; both (n, size, window)."""
    first = position.floor() - (_LOBES - 1)
    steps = torch.arange(2 * _LOBES, device=position.device)
    middle, slope = _lanczos((position - first)[..., None], steps)
    empty = torch.zeros(*position.shape, window, dtype=dtype, device=position.device)
    inside = (first.long()[..., None] + steps).clamp(0, window - 1)
    return empty.scatter(-1, inside, middle.to(dtype)), empty.scatter(-1, inside, slope.to(dtype))


def _lanczos(start: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel at distances t = start - steps, of sum 1 over the last axis, and its derivative with t.

    The kernel is sinc(t) sinc(t / lobes). Sines and cosines are taken of `start` alone: that of the taps follow by the
    addition theorems.
    """
    t = start - steps
    centre = t.abs() < 1e-5
    t = torch.where(centre, torch.ones_like(t), t)
    wide: list[torch.Tensor] = []
    narrow: list[torch.Tensor] = []
    for divisor, found in ((1, wide), (_LOBES, narrow)):
        angle, turn = torch.pi * start / divisor, torch.pi * steps.to(start.dtype) / divisor
        sine = angle.sin() * turn.cos() - angle.cos() * turn.sin()
        cosine = angle.cos() * turn.cos() + angle.sin() * turn.sin()
        value = torch.where(centre, torch.ones_like(t), sine / (t * (torch.pi / divisor)))
        found += [value, torch.where(centre, torch.zeros_like(t), (cosine - value) / t)]
    kernel, slope = wide[0] * narrow[0], wide[1] * narrow[0] + wide[0] * narrow[1]
    total = kernel.sum(-1, keepdim=True)
    kernel = kernel / total
    return kernel, (slope - kernel * slope.sum(-1, keepdim=True)) / total
