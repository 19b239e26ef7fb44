"""Read a catalogue of stars of known magnitude from a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.table import Table

from gueststar.errors import InputError
from gueststar.ingest.zeropoint import Catalog

__all__ = ["read_catalog"]

_NAMES = {
    "ra": ("ra", "ra_deg", "raj2000", "ra_icrs", "radeg", "alpha_j2000"),
    "dec": ("dec", "dec_deg", "dej2000", "decj2000", "de_icrs", "dedeg", "delta_j2000"),
    "colour": ("colour", "color", "bp_rp", "g_r", "gmr", "b_v", "bv"),
    "mag": ("mag", "phot_g_mean_mag", "gmag", "g", "rmag", "r", "vmag", "v"),
}


@lru_cache(maxsize=4)
def read_catalog(path: Path) -> Catalog:
    """Read right ascension and declination (ICRS, deg) and magnitude (AB) from a table.

    The columns are found by name, upper or lower case: ``ra``, ``dec`` and ``mag``, or one of their usual other names;
    ``colour``, ``bp_rp``, ``g_r`` or ``b_v`` is the colour, where there is one.

    Parameters
    ----------
    path : Path
        Parquet, FITS, CSV, ECSV or VOTable, by its suffix.

    Raises
    ------
    InputError
        When the file cannot be read, or lacks a column; the message lists those it has.
    """
    if not path.is_file():
        raise InputError(f"catalogue {path}: no such file", path=str(path))
    try:
        table = _read(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"catalogue {path} cannot be read: {error}; expected .parquet, .fits, .csv, .ecsv or .vot", path=str(path)
        ) from error
    known = {name.lower(): name for name in table.colnames}
    columns = {}
    for what, names in _NAMES.items():
        found = next((known[name] for name in names if name in known), None)
        if found is None and what == "colour":
            continue
        if found is None:
            raise InputError(
                f"catalogue {path} has no column for {what}; expected one of {', '.join(names)}, "
                f"found {', '.join(table.colnames)}",
                path=str(path),
            )
        columns[what] = np.ma.filled(np.ma.asarray(table[found], dtype=np.float64), np.nan)
    good = np.isfinite(columns["ra"]) & np.isfinite(columns["dec"]) & np.isfinite(columns["mag"])
    colour = columns["colour"][good] if "colour" in columns else None
    return Catalog(columns["ra"][good], columns["dec"][good], columns["mag"][good], colour)


def _read(path: Path) -> Table:
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        import pyarrow.parquet as pq

        stored = pq.read_table(path)
        return Table({key: stored[key].to_numpy() for key in stored.column_names})
    if name.endswith((".csv", ".csv.gz")):
        return Table.read(path, format="ascii.csv")
    return Table.read(path)
