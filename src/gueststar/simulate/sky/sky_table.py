"""The table of the sky: its columns, blocks of rows of one kind, and the box on the sky in which they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.survey import Survey

__all__ = ["SKY_COLUMNS", "Box", "Rows", "chip_box", "make_rows", "stack_rows"]

F8 = NDArray[np.float64]
#: Columns of a block of sources of one kind.
Rows = dict[str, NDArray[np.generic]]

#: Columns of a sky and what stands in them where nothing is known or nothing happens.
SKY_COLUMNS: dict[str, str | int | float] = {
    "source_id": -1, "kind": "", "name": "", "ra": np.nan, "dec": np.nan, "mag": np.nan, "colour": 0.0,
    "pm_ra_mas_yr": 0.0, "pm_dec_mas_yr": 0.0, "epoch_mjd": np.nan,
    "sersic_n": np.nan, "re_arcsec": np.nan, "axis_ratio": np.nan, "angle_rad": np.nan,
    "variable_type": "", "amplitude_mag": 0.0, "period_d": np.nan, "phase": 0.0, "curve_shape": 0.0, "curve_seed": 0,
    "start_mjd": -np.inf, "rate_ra_arcsec_h": 0.0, "rate_dec_arcsec_h": 0.0,
    "a_au": np.nan, "e": np.nan, "i_deg": np.nan, "node_deg": np.nan, "peri_deg": np.nan, "mean_anomaly_deg": np.nan,
    "abs_mag": np.nan, "host_id": -1, "host_mag": np.nan, "host_offset_r25": np.nan,
}  # fmt: skip
_WIDTHS = {"kind": 12, "name": 32, "variable_type": 16}


class Box(NamedTuple):
    """Rectangle of pixels in which sources are drawn: a chip and a margin around it.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the chip.
    margin_px : float
        Width of the margin.
    scale_arcsec : float
        Pixel scale.
    """

    shape: tuple[int, int]
    margin_px: float
    scale_arcsec: float

    @property
    def area_deg2(self) -> float:
        """Area with the margin."""
        ny, nx = (side + 2.0 * self.margin_px for side in self.shape)
        return float(ny * nx * (self.scale_arcsec / 3600.0) ** 2)

    def place(self, count: int, rng: np.random.Generator) -> tuple[F8, F8]:
        """Positions x and y (px), uniform over the box."""
        ny, nx = (side + 2.0 * self.margin_px for side in self.shape)
        return rng.random(count) * nx - self.margin_px - 0.5, rng.random(count) * ny - self.margin_px - 0.5

    def holds(self, x: F8, y: F8) -> NDArray[np.bool_]:
        """Whether positions lie in the box."""
        low, (ny, nx) = -self.margin_px - 0.5, self.shape
        inside = (x >= low) & (x < nx - 0.5 + self.margin_px) & (y >= low) & (y < ny - 0.5 + self.margin_px)
        return np.asarray(inside)


def chip_box(survey: Survey, shape: tuple[int, int]) -> Box:
    """The box of a chip of `shape`: visits are not pointed the same, so it reaches a little beyond."""
    return Box(shape, 20.0 + 4.0 * survey.dither_px, survey.pixel_scale_arcsec)


def make_rows(kind: str, x: ArrayLike, y: ArrayLike, **columns: ArrayLike) -> Rows:
    """Sources of one kind at pixel positions; columns that are not given hold their default later.

    Raises
    ------
    ValueError
        For a column that no sky has.
    """
    unknown = set(columns) - set(SKY_COLUMNS)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)}: a sky has {', '.join(SKY_COLUMNS)}")
    px, py = (np.atleast_1d(np.asarray(values, np.float64)) for values in (x, y))
    known: dict[str, ArrayLike] = {"kind": kind, **columns}
    return {"px": px, "py": py, **{name: np.broadcast_to(values, px.shape) for name, values in known.items()}}


def stack_rows(blocks: Sequence[Rows], **columns: float) -> tuple[Table, F8, F8]:
    """One table of all blocks, numbered in their order, and the pixel positions of its rows.

    Parameters
    ----------
    blocks : sequence of Rows
    **columns
        Values that all rows share, unless a block has its own.
    """
    counts = [block["px"].size for block in blocks]
    ends = np.cumsum([0, *counts])
    values: dict[str, NDArray[np.generic]] = {}
    for name, default in SKY_COLUMNS.items():
        dtype = f"U{_WIDTHS[name]}" if isinstance(default, str) else type(default)
        column = np.full(int(ends[-1]), columns.get(name, default), dtype=dtype)
        for block, start, end in zip(blocks, ends[:-1], ends[1:], strict=True):
            if name in block:
                column[start:end] = block[name]
        values[name] = column
    values["source_id"] = np.arange(ends[-1])
    x, y = (
        np.concatenate([np.empty(0), *(block[name].astype(np.float64) for block in blocks)]) for name in ("px", "py")
    )
    return Table(values, copy=False), x, y
