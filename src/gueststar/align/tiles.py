"""A registration cut into small tiles: in each it is affine, and for frames of one camera nearly a shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["MOST_CROSS_PX", "SIZE", "TileMap", "nearest_tiles"]

SIZE = 64  #: px; side of a tile
# Largest e in a tile. First order leaves e^2 / 2 of the second derivative: in the corners of a tile, at FWHM 2.6 px,
# 0.15 % of the peak of a star, where the kernel itself errs by up to 0.6 %.
MOST_CROSS_PX = 0.06  #: px
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
        rows, columns = (-(-n // SIZE) for n in shape)
        cy, cx = np.mgrid[:rows, :columns] * float(SIZE) + (SIZE - 1) / 2.0
        half = SIZE / 2.0
        steps = ((0.0, 0.0), (half, 0.0), (-half, 0.0), (0.0, half), (0.0, -half))
        points = np.concatenate([np.column_stack((cx.ravel() + dx, cy.ravel() + dy)) for dx, dy in steps])
        mapped = mapping(points).reshape(len(steps), rows, columns, 2)
        if not np.isfinite(mapped).all():
            return None
        along_x, along_y = (mapped[1] - mapped[2]) / SIZE, (mapped[3] - mapped[4]) / SIZE
        matrix = np.stack((along_x, along_y), axis=-1)
        cross = half * max(np.abs(matrix[..., 0, 1]).max(), np.abs(matrix[..., 1, 0]).max())
        stretch = max(np.abs(matrix[..., 0, 0] - 1.0).max(), np.abs(matrix[..., 1, 1] - 1.0).max())
        bend = max(np.abs(0.5 * (mapped[i] + mapped[i + 1]) - mapped[0]).max() for i in (1, 3))
        if cross > MOST_CROSS_PX or stretch > _MOST_SCALE or bend > MOST_CROSS_PX:
            return None
        return cls(shape, mapped[0, ..., 0], mapped[0, ..., 1], matrix)

    @property
    def area(self) -> F8:
        """Source pixels under one pixel, for each tile."""
        return np.asarray(np.abs(np.linalg.det(self.matrix)))

    @property
    def bend_px(self) -> float:
        """Largest distance along an axis, in any tile, between its map and the shift of its centre, px."""
        return float(np.abs(self.matrix - np.eye(2)).sum(-1).max()) * SIZE / 2.0

    def positions(self, axis: int) -> F8:
        """Source x (axis 0) of the columns of every tile, or y (axis 1) of the rows; shape (rows, columns, size)."""
        offsets = np.arange(SIZE) - (SIZE - 1) / 2.0
        centre = (self.x, self.y)[axis]
        return np.asarray(centre[..., None] + self.matrix[..., axis, axis, None] * offsets)


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
    half = (SIZE - 1) / 2.0
    # Source pixel of the first pixel of every tile.
    ox, oy = (np.round(centre - half).astype(np.int64) for centre in (tiles.x, tiles.y))
    inside = (ox >= 0) & (oy >= 0) & (ox <= mx - SIZE) & (oy <= my - SIZE)
    steps = torch.arange(SIZE, device=device)
    values = []
    for plane in planes:
        out = plane.new_empty(rows * SIZE, columns * SIZE)
        for i in range(rows):
            strip = out[i * SIZE : (i + 1) * SIZE]
            for first, last in _runs(ox[i] - SIZE * np.arange(columns), oy[i], inside[i]):
                cut = slice(int(ox[i, first]), int(ox[i, first]) + (last - first) * SIZE)
                strip[:, first * SIZE : last * SIZE] = plane[int(oy[i, first]) : int(oy[i, first]) + SIZE, cut]
            for j in np.flatnonzero(~inside[i]).tolist():
                row, column = (int(oy[i, j]) + steps).clamp(0, my - 1), (int(ox[i, j]) + steps).clamp(0, mx - 1)
                strip[:, j * SIZE : (j + 1) * SIZE] = plane[row[:, None], column[None, :]]
        values.append(out[:ny, :nx].contiguous())
    xs, ys = (torch.as_tensor(tiles.positions(axis), device=device) for axis in (0, 1))
    out_x, out_y = (xs < 0) | (xs > mx - 1), (ys < 0) | (ys > my - 1)
    outside = torch.zeros(rows * SIZE, columns * SIZE, dtype=torch.bool, device=device)
    touched = (out_x.any(-1) | out_y.any(-1)).cpu().numpy()
    for i, j in np.argwhere(touched).tolist():
        block = (slice(i * SIZE, (i + 1) * SIZE), slice(j * SIZE, (j + 1) * SIZE))
        outside[block] = out_y[i, j, :, None] | out_x[i, j, None, :]
    return tuple(values), outside[:ny, :nx].contiguous()


def _runs(x: NDArray[np.int64], y: NDArray[np.int64], inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of the tiles of a row that lie inside and share one shift, run by run."""
    same = (x[1:] == x[:-1]) & (y[1:] == y[:-1]) & (inside[1:] == inside[:-1])
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), len(x)]
    return [(first, last) for first, last in pairwise(edges) if inside[first]]
