"""Lists of sources to inject, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.types import Image

__all__ = ["read_list", "read_source_list", "sources_for"]

F8 = NDArray[np.float64]
_BRIGHTNESS = ("flux_e", "mag", "snr")
_FORMATS = {".csv": "ascii.csv", ".csv.gz": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits", ".fits.gz": "fits",
            ".fit": "fits", ".vot": "votable", ".xml": "votable"}  # fmt: skip
_OWN = ("placement", "host_offset_r25")  # of earlier tables of artificial reals; kept


def read_list(path: Path) -> Table:
    """Read a table by the suffix of its name: Parquet, CSV, ECSV, FITS or VOTable.

    Raises
    ------
    OSError, ValueError, TypeError or KeyError
        When it cannot be read.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        stored = pq.read_table(path)
        return Table({name: stored[name].to_numpy() for name in stored.column_names})
    suffix = next((suffix for suffix in _FORMATS if path.name.lower().endswith(suffix)), "")
    if not suffix:
        raise ValueError("its name has an unknown suffix")
    table: Table = Table.read(path, format=_FORMATS[suffix])
    return table


def read_source_list(path: Path) -> Table:
    """Read places and brightness of sources.

    Parameters
    ----------
    path : Path
        Parquet, CSV, ECSV, FITS or VOTable, by its suffix. Columns, in upper or lower case: x and y (px, 0-based),
        or ra and dec (ICRS, deg); flux_e (e-), mag (AB) or snr; optionally image, the
        name of the file a row is for.

    Returns
    -------
    Table
        With those columns, named in lower case.

    Raises
    ------
    InputError
        When the file cannot be read, lacks a column or holds senseless numbers.
    """
    if not path.is_file():
        raise InputError(f"list of sources {path}: no such file", path=str(path))
    try:
        table = read_list(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"list of sources {path} cannot be read: {error}; expected .parquet, .csv, .ecsv, .fits or .vot",
            path=str(path),
        ) from error
    names = {name.lower(): name for name in table.colnames}
    places = next((pair for pair in (("x", "y"), ("ra", "dec")) if set(pair) <= set(names)), None)
    bright = next((name for name in _BRIGHTNESS if name in names), None)
    if places is None or bright is None:
        what = "places: x and y (px), or ra and dec (deg)" if places is None else f"one of {', '.join(_BRIGHTNESS)}"
        raise InputError(f"list of sources {path} lacks {what}; it has {', '.join(table.colnames)}", path=str(path))
    numbers = {name: _numbers(table[names[name]], name, path) for name in (*places, bright)}
    wrong = ~np.isfinite(numbers[bright]) | ((numbers[bright] <= 0) & (bright != "mag"))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"list of sources {path}: {bright} = {numbers[bright][row]:g} in row {row + 1}; expected "
            f"{'a magnitude' if bright == 'mag' else 'a positive number'}",
            path=str(path),
        )
    words = {name: np.asarray(table[names[name]]).astype(str) for name in ("image",) if name in names}
    kept = {name: np.asarray(table[names[name]]) for name in _OWN if name in names}
    return Table({**numbers, **words, **kept})


def _numbers(column: Any, name: str, path: Path) -> F8:
    try:
        return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan))
    except (TypeError, ValueError):
        raise InputError(f"list of sources {path}: column {name} does not hold numbers", path=str(path)) from None


def sources_for(rows: Table, image: Image, *, name: str, file: str) -> Table:
    """The rows of a list that are for one image, with x, y and flux_e or snr.

    Parameters
    ----------
    rows : Table
        From `read_source_list`.
    image : Image
    name, file : str
        By either of these a row names its image; rows of a list without the column image are for all.

    Raises
    ------
    InputError
        When ra and dec are given and the image has no WCS, or magnitudes and it has no zero point.
    """
    if "image" in rows.colnames:
        rows = rows[np.isin(np.asarray(rows["image"]), [name, file])]
    made: dict[str, Any] = {key: np.asarray(rows[key]) for key in _OWN if key in rows.colnames}
    if "x" in rows.colnames:
        made["x"], made["y"] = np.asarray(rows["x"]), np.asarray(rows["y"])
    elif image.wcs is None:
        raise InputError(f"{file}: the list gives ra and dec, and this image has no WCS; give x and y")
    else:
        made["x"], made["y"] = _on_pixels(rows, image)
    if "mag" in rows.colnames:
        if image.zeropoint_source == "instrumental":
            raise InputError(
                f"{file}: the list gives magnitudes, and this image has no zero point; give --catalog or --zeropoint, "
                "or flux_e or snr"
            )
        made["flux_e"] = 10.0 ** (0.4 * (image.zeropoint - np.asarray(rows["mag"])))
    else:
        bright = "flux_e" if "flux_e" in rows.colnames else "snr"
        made[bright] = np.asarray(rows[bright])
    return Table(made)


def _on_pixels(rows: Table, image: Image) -> tuple[F8, F8]:
    """Pixel positions; NaN far from the frame, where a distortion polynomial may lead anywhere."""
    ra, dec = np.asarray(rows["ra"]), np.asarray(rows["dec"])
    x, y = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    good = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90.0))
    if image.wcs is None or good.size == 0:
        return x, y
    ny, nx = image.shape
    about = np.asarray(image.wcs.wcs_world2pix(ra[good], dec[good], 0))
    with np.errstate(invalid="ignore"):
        near = good[(np.abs(about[0] - nx / 2) < nx) & (np.abs(about[1] - ny / 2) < ny)]
    if near.size:
        x[near], y[near] = image.wcs.world_to_pixel(SkyCoord(ra[near], dec[near], unit="deg"))
    return x, y
