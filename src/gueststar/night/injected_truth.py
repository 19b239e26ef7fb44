"""Truth tables of frames with artificial reals in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table, vstack

from gueststar.ingest.frame import Frame
from gueststar.night.products import arrow_table
from gueststar.simulate.inject.light import Light
from gueststar.types import Image

__all__ = ["joined_truth", "read_truth", "truth_bytes", "truth_key", "truth_of"]


def truth_of(light: Light, image: Image, frame: Frame, name: str) -> Table:
    """Truth of one image, with columns that tables of simulated nights have too."""
    truth, n = light.sources.copy(), len(light.sources)
    ra, dec = np.full(n, np.nan), np.full(n, np.nan)
    if image.wcs is not None and n:
        known = np.isfinite(truth["x"]) & np.isfinite(truth["y"])
        ra[known], dec[known] = image.wcs.all_pix2world(truth["x"][known], truth["y"][known], 0)
    truth.add_column(np.full(n, name, f"U{max(1, len(name))}"), name="image", index=0)
    truth.add_column(np.full(n, "artificial", "U12"), name="kind", index=1)
    truth["ra"], truth["dec"] = ra, dec
    truth["change_e"] = np.asarray(truth["flux_e"], np.float64)
    truth["flux_adu"] = truth["change_e"] / frame.gain_e_adu
    units = {"x": "pix", "y": "pix", "flux_e": "electron", "change_e": "electron", "flux_adu": "adu", "mag": "mag",
             "ra": "deg", "dec": "deg"}  # fmt: skip
    for column, unit in units.items():
        truth[column].unit = unit
    truth.meta.setdefault("asked", n)
    return truth


def truth_bytes(truth: Table, notes: Mapping[str, Any]) -> bytes:
    """Parquet file of a truth table; the notes are kept as its metadata."""
    sink = pa.BufferOutputStream()
    pq.write_table(arrow_table(truth, provenance=notes), sink, compression="zstd")
    return bytes(sink.getvalue())


def read_truth(path: Path) -> Table:
    """Read such a file; the notes are the table's `meta`."""
    stored = pq.read_table(path)
    notes = json.loads((stored.schema.metadata or {}).get(b"gueststar", b"{}"))
    columns = {name: np.asarray(stored[name].to_pylist()) for name in stored.column_names}
    table = Table(columns, meta=notes)
    for field in stored.schema:
        table[field.name].unit = (field.metadata or {}).get(b"unit", b"").decode() or None
    return table


def truth_key(path: Path, name: str = "key") -> str:
    """Key in the notes of a truth table: of the image ('key') or of the call ('call'); empty for any other file."""
    try:
        notes = (pq.read_schema(path).metadata or {}).get(b"gueststar", b"{}")
        return str(json.loads(notes).get(name, ""))
    except (OSError, ValueError, pa.ArrowInvalid):
        return ""


def joined_truth(tables: Sequence[Table]) -> Table:
    """All rows of several truth tables; at least one is needed."""
    return vstack([table for table in tables if len(table)] or list(tables[:1]), metadata_conflicts="silent")
