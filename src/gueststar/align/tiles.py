"""A registration cut into small tiles: in each it is affine, and for frames of one camera nearly a shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["TileMap", "nearest_tiles"]

# Side of a tile, px; and the largest distance e, along an axis, between the map of a pixel and the shift of its tile.
# The largest side that will do is the quickest. First order leaves e^2 / 2 of the second derivative: in the corners of
# a tile, at FWHM 2.6 px, 0.15 % of the peak of a star for e = 0.06 px, where the interpolating kernel itself errs by up
# to 0.6 %. The last e leaves 1 %; without tiles a cubic spline would leave 2.5 %.
_SIZES = ((64, 0.06), (32, 0.06), (16, 0.15))
F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TileMap:
    """Affine map of every tile of a plane; rows and columns of tiles come first in all shapes.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane that is made.
    size : int
        Side of a tile, px.
    x, y : ndarray, shape (rows, columns)
        Source position of the tile centres, px.
    matrix : ndarray, shape (rows, columns, 2, 2)
        d(x', y') / d(x, y).
    """

    shape: tuple[int, int]
    size: int
    x: F8
    y: F8
    matrix: F8

    @classmethod
    def of(cls, mapping: Callable[[F8], F8], shape: tuple[int, int]) -> TileMap | None:
        """Affine maps of a registration, or None when it turns, stretches or flips too much for tiles."""
        for size, most in _SIZES:
            tiles = cls._cut(mapping, shape, size, most)
            if tiles is not None:
                return tiles
        return None

    @classmethod
    def _cut(cls, mapping: Callable[[F8], F8], shape: tuple[int, int], size: int, most: float) -> TileMap | None:
        rows, columns = (-(-n // size) for n in shape)
        cy, cx = np.mgrid[:rows, :columns] * float(size) + (size - 1) / 2.0
        half = size / 2.0
        steps = ((0.0, 0.0), (half, 0.0), (-half, 0.0), (0.0, half), (0.0, -half))
        points = np.concatenate([np.column_stack((cx.ravel() + dx, cy.ravel() + dy)) for dx, dy in steps])
        mapped = mapping(points).reshape(len(steps), rows, columns, 2)
        if not np.isfinite(mapped).all():
            return None
        along_x, along_y = (mapped[1] - mapped[2]) / size, (mapped[3] - mapped[4]) / size
        matrix = np.stack((along_x, along_y), axis=-1)
        bend = half * np.abs(matrix - np.eye(2)).sum(-1).max()
        curve = max(np.abs(0.5 * (mapped[i] + mapped[i + 1]) - mapped[0]).max() for i in (1, 3))
        if max(bend, curve) > most:
            return None
        return cls(shape, size, mapped[0, ..., 0], mapped[0, ..., 1], matrix)

    @property
    def area(self) -> F8:
        """Source pixels under one pixel, for each tile."""
        return np.asarray(np.abs(np.linalg.det(self.matrix)))

    def positions(self, axis: int) -> F8:
        """Source x (axis 0) of the columns of every tile, or y (axis 1) of the rows; shape (rows, columns, size)."""
        offsets = np.arange(self.size) - (self.size - 1) / 2.0
        centre = (self.x, self.y)[axis]
        return np.asarray(centre[..., None] + self.matrix[..., axis, axis, None] * offsets)


def nearest_tiles(planes: Sequence[torch.Tensor], tiles: TileMap) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Values of the nearest pixels of some planes of one shape, and where the positions lie outside them.

    Each tile is one shift by whole pixels: a value may come from the neighbour of the nearest pixel.

    Returns
    -------
    tuple of Tensor, Tensor of bool
        All of shape `tiles.shape`; beyond the planes the values are those of the nearest edge.
    """
    device, size = planes[0].device, tiles.size
    my, mx = (int(n) for n in planes[0].shape)
    rows, columns = tiles.x.shape
    ny, nx = tiles.shape
    half = (size - 1) / 2.0
    # Source pixel of the first pixel of every tile.
    ox, oy = (np.round(centre - half).astype(np.int64) for centre in (tiles.x, tiles.y))
    inside = (ox >= 0) & (oy >= 0) & (ox <= mx - size) & (oy <= my - size)
    steps = torch.arange(size, device=device)
    values = []
    for plane in planes:
        out = plane.new_empty(rows * size, columns * size)
        for i in range(rows):
            strip = out[i * size : (i + 1) * size]
            for first, last in _runs(ox[i] - size * np.arange(columns), oy[i], inside[i]):
                cut = slice(int(ox[i, first]), int(ox[i, first]) + (last - first) * size)
                strip[:, first * size : last * size] = plane[int(oy[i, first]) : int(oy[i, first]) + size, cut]
            for j in np.flatnonzero(~inside[i]).tolist():
                row, column = (int(oy[i, j]) + steps).clamp(0, my - 1), (int(ox[i, j]) + steps).clamp(0, mx - 1)
                strip[:, j * size : (j + 1) * size] = plane[row[:, None], column[None, :]]
        values.append(out[:ny, :nx].contiguous())
    xs, ys = (torch.as_tensor(tiles.positions(axis), device=device) for axis in (0, 1))
    out_x, out_y = (xs < 0) | (xs > mx - 1), (ys < 0) | (ys > my - 1)
    outside = torch.zeros(rows * size, columns * size, dtype=torch.bool, device=device)
    touched = (out_x.any(-1) | out_y.any(-1)).cpu().numpy()
    for i, j in np.argwhere(touched).tolist():
        block = (slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
        outside[block] = out_y[i, j, :, None] | out_x[i, j, None, :]
    return tuple(values), outside[:ny, :nx].contiguous()


def _runs(x: NDArray[np.int64], y: NDArray[np.int64], inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of the tiles of a row that lie inside and share one shift, run by run."""
    same = (x[1:] == x[:-1]) & (y[1:] == y[:-1]) & (inside[1:] == inside[:-1])
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), len(x)]
    return [(first, last) for first, last in pairwise(edges) if inside[first]]
