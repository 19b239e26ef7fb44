"""Statistics of a plane in coarse cells, and the smooth map that they make over the chip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn

from gueststar.planes import as_float, box_mean, quartiles

__all__ = ["CellMoments", "cell_medians", "cell_moments", "smooth_map"]


@dataclass(frozen=True, slots=True, eq=False)
class CellMoments:
    """Clipped mean and standard deviation of the cells of a plane, each (rows, columns); NaN where too few count."""

    mean: torch.Tensor
    std: torch.Tensor


def cell_moments(
    values: torch.Tensor, use: torch.Tensor, cell: int, fewest: int, *, sigma: float = 4.0, rounds: int = 3
) -> CellMoments:
    """Measure every cell of a plane, all at once.

    Parameters
    ----------
    values : Tensor, shape (ny, nx)
    use : Tensor of bool, shape (ny, nx)
        Which of the pixels count.
    cell : int
        Side of a cell, px; changed a little so that whole cells fill the plane.
    fewest : int
        Pixels that a cell needs.
    sigma : float
        Pixels further from the mean are clipped.
    rounds : int
        The first starts from the quartiles of the whole plane; each lets a cell find its own moments.

    Returns
    -------
    CellMoments
    """
    ny, nx = (int(n) for n in values.shape)
    rows, columns = max(1, round(ny / cell)), max(1, round(nx / cell))
    clear = as_float(use, values.dtype)
    # 0 * NaN is NaN: what does not count must be finite, too.
    cells, weight = (_in_cells(plane, rows, columns) for plane in (torch.nan_to_num(values), clear))
    thin = max(1, int(np.sqrt(ny * nx / 20_000.0)))
    some = values[::thin, ::thin][use[::thin, ::thin]].cpu().numpy()
    low, middle, high = quartiles(some) if some.size else (0.0, 0.0, 0.0)
    mean = cells.new_full((rows * columns, 1), middle)
    std = cells.new_full((rows * columns, 1), max((high - low) / 1.349, 1e-9))
    for _ in range(rounds):
        away = (cells - mean).abs_()
        # 1 within the limit, 0 beyond.
        kept = torch.clamp_(torch.sub(sigma * std, away).mul_(1e30), 0.0, 1.0).mul_(weight)
        count = kept.sum(1, keepdim=True).clamp_(min=1.0)
        kept_values = kept.mul(cells)
        mean = kept_values.sum(1, keepdim=True) / count
        square = kept_values.mul_(cells).sum(1, keepdim=True) / count
        std = (square - mean**2).clamp_(min=1e-12).sqrt_()
    empty = weight.sum(1) < fewest
    found = [torch.where(empty, torch.nan, moment[:, 0]).reshape(rows, columns) for moment in (mean, std)]
    return CellMoments(*found)


def cell_medians(values: torch.Tensor, use: torch.Tensor, cell: int, fewest: int) -> torch.Tensor:
    """Medians of small cells, and of 3 x 3 of them, which leave out what is narrower than a cell: stars, transients.

    For planes on which nothing is empty sky.

    Parameters
    ----------
    values : Tensor, shape (ny, nx)
    use : Tensor of bool, shape (ny, nx)
        Which of the pixels count.
    cell : int
        Side of a cell, px.
    fewest : int
        Pixels that a cell needs.

    Returns
    -------
    Tensor, shape (rows, columns)
        NaN where neither a cell nor one of its neighbours has enough.
    """
    ny, nx = (int(n) for n in values.shape)
    rows, columns = -(-ny // cell), -(-nx // cell)
    some = nn.pad(torch.where(use, values, torch.nan), (0, columns * cell - nx, 0, rows * cell - ny), value=torch.nan)
    cells = some.reshape(rows, cell, columns, cell).transpose(1, 2).flatten(2)
    few = torch.isfinite(cells).sum(2) < fewest
    medians = torch.where(few, torch.nan, cells.nanmedian(dim=2).values)
    wide = nn.pad(medians, (1, 1, 1, 1), value=torch.nan)
    return wide.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).nanmedian(dim=2).values


def _in_cells(plane: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Pixels of each cell, (rows * columns, n); the plane is continued with zeros to whole cells."""
    ny, nx = plane.shape
    height, width = -(-ny // rows), -(-nx // columns)
    if (height * rows, width * columns) != (ny, nx):
        plane = nn.pad(plane, (0, width * columns - nx, 0, height * rows - ny))
    tiles = plane.reshape(rows, height, columns, width).permute(0, 2, 1, 3)
    return tiles.reshape(rows * columns, height * width)


def smooth_map(cells: torch.Tensor, shape: tuple[int, int], *, empty: float, average: bool = True) -> torch.Tensor:
    """A plane from cells: those without a number get the median, or `empty` where there is none at all.

    The cells are averaged 3 x 3 and interpolated bilinearly.

    Parameters
    ----------
    cells : Tensor, shape (rows, columns)
    shape : (int, int)
        (ny, nx) of the plane.
    empty : float
        What the plane is where no cell has a number.
    average : bool
        False: the cells are medians of neighbours already, and are interpolated alone.
    """
    known = torch.isfinite(cells)
    middle = cells[known].median() if bool(known.any()) else cells.new_tensor(empty)
    small = torch.where(known, cells, middle)
    small = box_mean(small, 1) if average and min(small.shape) >= 3 else small
    return _between(small.shape[0], shape[0], small) @ small @ _between(small.shape[1], shape[1], small).T


def _between(n: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """Weights of n cells in each of `length` pixels, linear between the centres of the cells; (length, n)."""
    place = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) * (n / length) - 0.5
    apart = place.clamp(0.0, n - 1.0)[:, None] - torch.arange(n, device=like.device, dtype=like.dtype)
    return (1.0 - apart.abs()).clamp_(min=0.0)
