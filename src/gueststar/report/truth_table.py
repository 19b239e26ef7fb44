"""Read the truth of a simulated night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table

from gueststar.errors import InputError

__all__ = ["read_truth_table", "table_of"]

_TRUTH_COLUMNS = (
    "image", "source_id", "kind", "x", "y", "mag", "flux_e", "change_e", "snr", "host_offset_r25", "host_offset_px",
    "host_mag", "surface_e_px", "surface_mag_arcsec2", "length_px", "angle_deg",
)  # fmt: skip
_NEEDED = ("image", "kind", "x", "y", "mag", "flux_e", "change_e", "snr")


def read_truth_table(path: Path, kinds: Sequence[str]) -> Table:
    """Rows of some kinds of the truth of a simulated night.

    Raises
    ------
    InputError
        When it is missing, is not a Parquet file, or lacks a column.
    """
    path = path / "truth.parquet" if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; --truth wants truth.parquet of a night made by `gueststar simulate night`",
            path=str(path),
        )
    try:
        names = pq.read_schema(path).names
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise InputError(
                f"{path} lacks the columns {', '.join(missing)}; --truth wants truth.parquet of a simulated night",
                path=str(path),
            )
        columns = [name for name in _TRUTH_COLUMNS if name in names]
        stored = pq.read_table(path, columns=columns, filters=[("kind", "in", list(kinds))])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}", path=str(path)) from error
    return table_of(stored)


def table_of(stored: pa.Table) -> Table:
    """An Arrow table as an astropy table of plain arrays."""
    columns = {}
    for entry in stored.schema:
        text = pa.types.is_string(entry.type) or pa.types.is_large_string(entry.type)
        columns[entry.name] = (
            np.array(stored[entry.name].to_pylist(), dtype=str) if text else stored[entry.name].to_numpy()
        )
    return Table(columns)
