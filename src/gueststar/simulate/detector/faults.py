"""Faults of the detector that have a place: hot pixels, bad columns, glowing edges, bleeding, holes in references.

Random numbers come from two generators: that of the chip says where a fault is and how strong, and is the same for all
exposures; that of the exposure says what it does this time.
"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["bad_columns", "bleed", "edge_glow", "holes", "hot_pixels"]

F4 = NDArray[np.float32]

_NOTICEABLE_E = 25.0  # a hot pixel with a smaller residual is lost in the noise
_GLOW_PX = 20.0


def hot_pixels(
    shape: tuple[int, int],
    share: float,
    exposure_s: float,
    chip_rng: np.random.Generator,
    rng: np.random.Generator,
    *,
    telegraph_share: float = 0.3,
    left: float = 0.0,
) -> tuple[F4, Table]:
    """Residuals of hot and unsteady pixels after the dark was subtracted, e-.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    share : float
        Part of the pixels concerned.
    exposure_s : float
        Exposure time.
    chip_rng : Generator
        Says which pixels and how hot; the same for all exposures of a chip.
    rng : Generator
        Of this exposure.
    telegraph_share : float
        Part of these pixels that jump between levels (random telegraph noise of the pixel's amplifier).
    left : float
        Part of the dark current that the dark frame leaves, median over these pixels; the same in all exposures, so
        that with a dither each pixel is seen twice in a difference, once of each sign.

    Returns
    -------
    plane : ndarray, shape (ny, nx), float32
        Mean about 0 without `left`.
    pixels : Table
        x, y, flux_e, kind (hot_pixel or telegraph) of those off by more than 25 e-.
    """
    size = shape[0] * shape[1]
    where = np.unique(chip_rng.integers(0, size, int(chip_rng.poisson(share * size))))
    count = where.size
    dark_e = np.exp(chip_rng.normal(np.log(30.0), 1.2, count)) * exposure_s
    unsteady = chip_rng.random(count) < telegraph_share
    jump_e = np.exp(chip_rng.normal(np.log(150.0), 0.8, count))
    excess = left * np.exp(chip_rng.normal(0.0, 0.7, count)) * dark_e
    # The dark was taken at another temperature, and each pixel has its own way with that.
    warm = rng.normal(0.0, 0.03) + rng.normal(0.0, 0.02, count)
    jump = np.where(unsteady, jump_e * rng.choice([-1.0, 0.0, 1.0], count), 0.0)
    residual = rng.normal(0.0, np.sqrt(dark_e)) + excess + warm * dark_e + jump
    plane = np.zeros(size, np.float32)
    plane[where] = residual
    seen = np.abs(residual) > _NOTICEABLE_E
    row, column = np.divmod(where[seen], shape[1])
    kind = np.where(jump[seen] != 0.0, "telegraph", "hot_pixel")
    table = Table({"x": column.astype(np.float64), "y": row.astype(np.float64), "flux_e": residual[seen], "kind": kind})
    return plane.reshape(shape), table


def bad_columns(
    shape: tuple[int, int], mean_count: float, chip_rng: np.random.Generator, rng: np.random.Generator
) -> tuple[F4, Table]:
    """Columns of unsteady response: an offset that is another one in each exposure, e-.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    mean_count : float
        Expected number on the frame.
    chip_rng : Generator
        Says which columns, and how unsteady; the same for all exposures of a chip. Half are bad as a whole, half from
        some row on.
    rng : Generator
        Of this exposure.

    Returns
    -------
    plane : ndarray, shape (ny, nx), float32
    columns : Table
        x, y (middle), y0, y1 (first row and the one after the last), length_px, flux_e (per pixel), kind (bad_column).
    """
    ny, nx = shape
    count = int(chip_rng.poisson(mean_count))
    x = chip_rng.integers(0, nx, count)
    start = np.where(chip_rng.random(count) < 0.5, 0, chip_rng.integers(0, ny, count))
    scatter_e = np.exp(chip_rng.normal(np.log(60.0), 0.8, count))
    level_e = rng.normal(0.0, scatter_e)
    plane = np.zeros(shape, np.float32)
    for column, first, level, scatter in zip(x, start, level_e, scatter_e, strict=True):
        plane[first:, column] += (level + rng.normal(0.0, 0.2 * scatter, ny - first)).astype(np.float32)
    columns = Table(
        {"x": x, "y": 0.5 * (start + ny - 1), "y0": start, "y1": np.full(count, ny), "length_px": 1.0 * (ny - start)}
    )
    columns["flux_e"], columns["kind"] = level_e, np.full(count, "bad_column")
    return plane, columns


def edge_glow(shape: tuple[int, int], level_e: float, chip_rng: np.random.Generator) -> F4:
    """Glow of the amplifiers along the edges, e-: it falls by e every 7 px and ends at 20 px.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    level_e : float
        At the brightest place of the brightest edge.
    chip_rng : Generator
        Says how the four edges differ, and where along each it glows most; the same for all exposures of a chip.
    """
    strength, middle = chip_rng.uniform(0.0, 1.0, 4) ** 2, chip_rng.uniform(0.1, 0.9, 4)
    strength /= strength.max()
    plane = np.zeros(shape, np.float32)
    if level_e == 0.0:
        return plane
    for edge, (share, centre) in enumerate(zip(strength, middle, strict=True)):
        # Edges: bottom, top, left, right; `view` has the edge as its first row.
        view = (plane, plane[::-1], plane.T, plane.T[::-1])[edge]
        depth = np.arange(min(int(_GLOW_PX), view.shape[0]))
        falling = np.exp(-depth / 7.0) * (1.0 - depth / _GLOW_PX)
        along = np.exp(-0.5 * ((np.arange(view.shape[1]) / view.shape[1] - centre) / 0.3) ** 2)
        glow = level_e * share * np.multiply.outer(falling, along)
        # Where two edges meet, the brighter counts, so that no corner exceeds the level.
        view[: depth.size] = np.maximum(view[: depth.size], glow)
    return plane


def bleed(counts: F4, full_well_e: float) -> F4:
    """Charge beyond the full well runs along its column, half of it up and half down, as on a CCD without drains.

    Parameters
    ----------
    counts : ndarray, shape (ny, nx), float32
        Electrons.
    full_well_e : float
        What a pixel holds.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        New; no pixel above the full well. Charge is conserved but for what runs over the edge.
    """
    columns = np.flatnonzero((counts > full_well_e).any(axis=0))
    bled = counts.copy()
    if columns.size == 0:
        return bled
    charge = counts[:, columns].astype(np.float64)
    excess = np.maximum(charge - full_well_e, 0.0) / 2.0
    charge -= 2.0 * excess
    for rows in (range(len(charge)), range(len(charge) - 1, -1, -1)):
        carried = np.zeros(columns.size)
        for row in rows:
            carried += excess[row]
            taken = np.minimum(carried, full_well_e - charge[row])
            charge[row] += taken
            carried -= taken
    bled[:, columns] = charge
    return bled


def holes(shape: tuple[int, int], mean_count: float, width: tuple[float, float], rng: np.random.Generator) -> Table:
    """Rectangles without data, as where a reference was never covered or a bright star was cut out.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    mean_count : float
        Expected number on the frame.
    width : (float, float)
        Smallest and largest width, px; log-uniform. The height is half to twice the width.
    rng : Generator
        Of this chip and field.

    Returns
    -------
    Table
        x0, y0, x1, y1: first column and row, and the ones after the last, inside the frame.
    """
    ny, nx = shape
    count = int(rng.poisson(mean_count))
    wide = np.exp(rng.uniform(float(np.log(width[0])), float(np.log(width[1])), count))
    high = wide * 2.0 ** rng.uniform(-1.0, 1.0, count)
    x, y = rng.uniform(0.0, nx, count), rng.uniform(0.0, ny, count)
    box = np.round(np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])).astype(int)
    x0, x1 = np.clip(box[0], 0, nx - 1), np.clip(box[2], 1, nx)
    y0, y1 = np.clip(box[1], 0, ny - 1), np.clip(box[3], 1, ny)
    return Table({"x0": x0, "y0": y0, "x1": np.maximum(x1, x0 + 1), "y1": np.maximum(y1, y0 + 1)})
