"""One table for known sources of every origin: artificial reals of a run, and transients of a simulated night."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["KINDS", "SOURCE_COLUMNS", "TRANSIENT_KINDS", "source_table", "sources_of_artificial", "sources_of_truth"]

#: Kinds of simulated sources that a transient search is meant to find.
TRANSIENT_KINDS = ("supernova", "hostless", "flare", "asteroid", "near_earth")
#: Kinds of simulated sources whose light changes.
KINDS = (*TRANSIENT_KINDS, "variable", "nucleus")

_NAN = float("nan")
#: Columns of a source, and what stands in them where nothing is known.
SOURCE_COLUMNS: dict[str, str | float | int | bool] = {
    "image": "", "field": "", "chip": "", "origin": "", "kind": "", "placement": "", "source_id": -1, "x": _NAN,
    "y": _NAN, "mag": _NAN, "change_e": _NAN, "snr": _NAN, "snr_difference": _NAN, "host_offset_r25": _NAN,
    "host_offset_px": _NAN, "host_mag": _NAN, "star_mag": _NAN, "surface_e_px": _NAN, "surface_mag_arcsec2": _NAN,
    "length_px": _NAN, "angle_deg": _NAN, "status": "injected", "occupied": False, "mask_flags": 0, "found": False,
    "real": False, "lost_at": "", "candidate_id": "", "candidate_snr": _NAN, "offset_px": _NAN, "rb_score": _NAN,
    "stamp": -1, "gate_stage": "", "gate_reason": "", "lost_why": "", "otherwise": "", "peak_snr": _NAN,
    "beside_px": _NAN, "local_scatter": _NAN, "residual_snr": _NAN,
}  # fmt: skip
_WIDTHS = {"image": 96, "field": 48, "chip": 24, "origin": 12, "kind": 12, "placement": 8, "status": 8, "lost_at": 11,
           "candidate_id": 24, "gate_stage": 24, "gate_reason": 200, "lost_why": 12, "otherwise": 12}  # fmt: skip


def source_table(n: int, known: Table | None = None, **values: object) -> Table:
    """Table with all `SOURCE_COLUMNS`: those of `known` where it has them, then the values given."""
    columns: dict[str, NDArray[np.generic]] = {}
    for name, default in SOURCE_COLUMNS.items():
        kind = f"U{_WIDTHS[name]}" if isinstance(default, str) else type(default)
        column = np.full(n, default, dtype=kind)
        if known is not None and name in known.colnames:
            column[:] = np.asarray(known[name])
        if name in values:
            column[:] = values[name]
        columns[name] = column
    return Table(columns, copy=False)


def sources_of_artificial(rows: Table, *, image: str, field: str, chip: str) -> Table:
    """Artificial reals of one frame, as its run has stored them, by `SOURCE_COLUMNS`.

    Parameters
    ----------
    rows : Table
        Of injected.parquet. Runs of older versions have fewer columns: `lost_at` is then told from found, real and
        mask_flags.
    image, field, chip : str
        Where they were put in.
    """
    known = rows.copy()
    known["change_e"] = np.asarray(rows["flux_e"], np.float64)
    # Where a difference says nothing there is no significance.
    significance = np.asarray(rows["snr_difference"], np.float64)
    known["snr_difference"] = np.where(significance > 0, significance, np.nan)
    if "lost_at" not in rows.colnames:
        steps = [np.asarray(rows["real"], bool), np.asarray(rows["found"], bool), np.asarray(rows["mask_flags"]) != 0]
        known["lost_at"] = np.select(steps, ["", "score", "mask"], default="detection")
    if "lost_why" not in rows.colnames:
        steps = [np.asarray(known["lost_at"]) == step for step in ("", "score", "gate", "mask")]
        known["lost_why"] = np.select(steps, ["", "score", "failed", "flagged"], default="unknown")
    return source_table(len(rows), known, image=image, field=field, chip=chip, origin="artificial", kind="artificial")


def sources_of_truth(truth: Table, *, image: str, field: str, chip: str, kinds: Sequence[str]) -> Table:
    """Sources of a simulated frame that changed, by `SOURCE_COLUMNS`.

    Parameters
    ----------
    truth : Table
        Rows of one frame.
    image, field, chip : str
        What its run calls the frame.
    kinds : sequence of str
        Which ones are wanted.

    Returns
    -------
    Table
        `mag` is that of the change, not of the source. `snr` is that of the change in the science frame, from the
        noise that the truth gives for the flux.
    """
    rows = truth[np.isin(np.asarray(truth["kind"]).astype(str), list(kinds)) & (np.asarray(truth["change_e"]) != 0.0)]
    change, flux, snr = (np.asarray(rows[name], np.float64) for name in ("change_e", "flux_e", "snr"))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(change) / flux
        noise = flux / snr
        mag = np.asarray(rows["mag"], np.float64) - 2.5 * np.log10(share)
    return source_table(
        len(rows), rows, image=image, field=field, chip=chip, origin="simulated", mag=mag, snr=np.abs(change) / noise
    )
