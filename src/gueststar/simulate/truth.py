"""The truth about one frame: a row for each source, trail, particle hit and fault on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.frame import RawFrame
from gueststar.simulate.optics.painter import PsfField

__all__ = ["TRUTH_COLUMNS", "make_truth", "source_rows", "thing_rows"]

F8 = NDArray[np.float64]

#: Columns of a truth table and what stands in them where nothing is known.
_EMPTY: dict[str, object] = {
    "image": "", "source_id": -1, "kind": "", "name": "", "variable_type": "", "x": np.nan, "y": np.nan,
    "ra": np.nan, "dec": np.nan, "mag": np.nan, "colour": np.nan, "flux_e": np.nan, "change_e": 0.0, "snr": np.nan,
    "saturated": False, "host_id": -1, "host_mag": np.nan, "host_offset_r25": np.nan, "host_offset_px": np.nan,
    "surface_e_px": np.nan, "surface_mag_arcsec2": np.nan, "length_px": np.nan, "angle_deg": np.nan,
}  # fmt: skip
TRUTH_COLUMNS = tuple(_EMPTY)
_WIDTHS = {"image": 48, "kind": 12, "name": 32, "variable_type": 16}


def thing_rows(count: int, **columns: ArrayLike) -> Table:
    """Truth rows with the columns given; the others say that nothing is known.

    Raises
    ------
    ValueError
        For a column that no truth table has.
    """
    unknown = set(columns) - set(_EMPTY)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)}: a truth table has {', '.join(TRUTH_COLUMNS)}")
    values: dict[str, NDArray[np.generic]] = {}
    for name, default in _EMPTY.items():
        kind: object = type(default)
        if isinstance(default, str):
            kind = f"U{_WIDTHS[name]}"
        values[name] = np.full(count, default, dtype=kind)  # type: ignore[call-overload]
        if name in columns:
            values[name][:] = columns[name]
    return Table(values, copy=False)


def source_rows(
    seen: Table,
    frame: RawFrame,
    psf: PsfField,
    *,
    galaxies_e: NDArray[np.float32],
    nebula_e: NDArray[np.float32],
    clear: NDArray[np.float32] | None,
    noise_e: float,
    full_e: float,
) -> Table:
    """Rows of the sources of the sky that lie on the frame.

    Parameters
    ----------
    seen : Table
        The sky at the moment, with x, y (px), flux (e-), trail_px and trail_rad.
    frame : RawFrame
    psf : PsfField
    galaxies_e : ndarray, shape (ny, nx)
        Light of the galaxies, e-/px: what lies under each source.
    nebula_e : ndarray, shape (ny, nx)
        Light of a nebula, e-/px, which makes noise as the sky does.
    clear : ndarray, shape (ny, nx), or None
        Share of the light that patchy clouds pass; None: all.
    noise_e : float
        Noise of the sky in a pixel, e-.
    full_e : float
        Full well of the whole stack, e-, sky included.

    Returns
    -------
    Table
        With the columns `TRUTH_COLUMNS`; `change_e` is 0.
    """
    ny, nx = frame.place.shape
    x, y, flux = (np.asarray(seen[name], np.float64) for name in ("x", "y", "flux"))
    inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5) & (flux > 0)
    rows = seen[inside]
    x, y, flux = x[inside], y[inside], flux[inside]
    stamp = psf.stamps([(nx - 1) / 2], [(ny - 1) / 2])[0].astype(np.float64)
    area = 1.0 / float((stamp**2).sum())
    extended = np.asarray(rows["kind"]) == "galaxy"
    row, column = np.round(y).astype(int).clip(0, ny - 1), np.round(x).astype(int).clip(0, nx - 1)
    surface = galaxies_e[row, column]
    if clear is not None:
        flux = flux * clear[row, column]
    scale = float(np.hypot(frame.header["CD1_1"], frame.header["CD1_2"])) * 3600.0
    zero = float(frame.facts["zeropoint_mag"])
    with np.errstate(divide="ignore"):
        brightness = np.where(surface > 0, zero - 2.5 * np.log10(np.maximum(surface, 1e-30) / scale**2), np.nan)
    same = {name: rows[name] for name in ("source_id", "kind", "name", "variable_type", "ra", "dec", "mag", "colour")}
    offset = _host_offset(seen, rows, x, y)
    return thing_rows(
        len(rows), image=frame.name, x=x, y=y, flux_e=flux,
        # Matched filter on a sky-limited background, plus the photon noise of the source itself.
        snr=flux / np.sqrt(area * (noise_e**2 + nebula_e[row, column]) + flux),
        saturated=(flux * stamp.max() + frame.facts["sky_e"] >= full_e) & ~extended,
        host_id=rows["host_id"], host_mag=rows["host_mag"], host_offset_r25=rows["host_offset_r25"],
        host_offset_px=offset,
        surface_e_px=np.where(extended, np.nan, surface), surface_mag_arcsec2=np.where(extended, np.nan, brightness),
        length_px=np.where(rows["trail_px"] > 0, rows["trail_px"], np.nan),
        angle_deg=np.where(rows["trail_px"] > 0, np.degrees(rows["trail_rad"]), np.nan),
        **same,
    )  # fmt: skip


def _host_offset(seen: Table, rows: Table, x: F8, y: F8) -> F8:
    """Distance of each row from its host's nucleus, px; NaN without a host."""
    offset = np.full(len(rows), np.nan)
    hosted = np.flatnonzero(np.asarray(rows["host_id"]) >= 0)
    if hosted.size:
        # Rows of the sky are in the order of their numbers.
        hosts = np.asarray(rows["host_id"])[hosted]
        offset[hosted] = np.hypot(x[hosted] - np.asarray(seen["x"])[hosts], y[hosted] - np.asarray(seen["y"])[hosts])
    return offset


def make_truth(frame: RawFrame, sources: Table, things: Sequence[Table]) -> Table:
    """The truth about a frame: its sources, then hits, trails and faults, each with its place on the sky.

    Parameters
    ----------
    frame : RawFrame
    sources : Table
        From `source_rows`.
    things : sequence of Table
        From `thing_rows`: cosmic rays, satellites, hot pixels, columns, holes.
    """
    rows = [table for table in things if len(table)]
    if not rows:
        return sources
    added = vstack(rows, metadata_conflicts="silent") if len(rows) > 1 else rows[0].copy()
    added["ra"], added["dec"] = frame.wcs.all_pix2world(added["x"], added["y"], 0)
    added["image"] = np.full(len(added), frame.name)
    both = vstack([sources, added], metadata_conflicts="silent")
    both.meta.clear()
    return both[list(TRUTH_COLUMNS)]
