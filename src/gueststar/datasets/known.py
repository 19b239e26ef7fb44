"""What is known of the places of candidates: the truth of simulated nights, and catalogues of what varies or moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.errors import InputError
from gueststar.report.truth_table import table_of
from gueststar.simulate.causes import causes_of, flux_noise

__all__ = ["KIND_REASONS", "KnownObjects", "Truth", "read_known", "read_truth", "unit_vectors"]

F8 = NDArray[np.float64]

#: Reason of suspicion that a kind of the truth, or of a catalogue, stands for.
KIND_REASONS = {
    "asteroid": "known_asteroid", "near_earth": "known_asteroid", "variable": "known_variable",
    "nucleus": "known_variable", "supernova": "known_transient", "hostless": "known_transient",
    "flare": "known_transient", "transient": "known_transient",
}  # fmt: skip
_TRUTH = ("image", "kind", "x", "y", "ra", "dec", "flux_e", "change_e", "snr", "saturated", "length_px", "angle_deg")
_FEWEST = 12  # fixed sources that tie the sky to the pixels of a frame
_MINUTES = 5.0  # a position with a time counts for images within this


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Truth of one or more simulated nights."""

    table: Table
    rows: dict[str, NDArray[np.int64]]

    def of(self, image: str) -> Table | None:
        """Rows of one image; None when the truth has none. Images in subfolders carry their names in a run."""
        found = self.rows.get(image)
        found = self.rows.get(image.rpartition("__")[2]) if found is None else found
        return None if found is None else self.table[found]

    def kinds(
        self,
        x: F8,
        y: F8,
        image: str,
        references: Sequence[str],
        *,
        shape: tuple[int, int] | None,
        fwhm_px: float,
        snr: NDArray[Any] | None = None,
    ) -> NDArray[np.str_]:
        """Cause of each candidate (`gueststar.simulate.causes.CAUSES`), shape (n,); empty where it lacks the image.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
        image : str
        references : sequence of str
            Images of which the reference was made.
        shape : (int, int), optional
            (ny, nx); None: told by the sources.
        fwhm_px : float
        snr : ndarray, shape (n,), optional
            Of the candidates; a fault of the detector must then account for a third of it.
        """
        own = self.of(image)
        if own is None:
            return np.full(len(x), "", "U12")
        parts = [table for name in references if (table := self.of(name)) is not None]
        reference = _on_frame(own, parts)
        size = shape or (int(np.nanmax(own["y"])) + 1, int(np.nanmax(own["x"])) + 1)
        return causes_of(
            x, y, own, reference, shape=size, fwhm_px=fwhm_px, snr=snr, reference_frames=max(len(parts), 1)
        )

    def reference_share(
        self, x: F8, y: F8, image: str, references: Sequence[str], *, shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Part of the reference's weight that its frames have at each position, shape (n,); 1: all of them reach it.

        Weights are the inverse variances of faint sources, as in the coadd; NaN where nothing ties the frames together.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
        image : str
        references : sequence of str
            Frames of the reference, of the shape `shape` (ny, nx).
        """
        own = self.of(image)
        parts = [table for name in references if (table := self.of(name)) is not None]
        fixed = [_fixed(table) for table in ([] if own is None else [own, *parts])]
        if len(fixed) < 2 or min(len(table) for table in fixed) < _FEWEST:
            return np.full(len(x), np.nan)
        centre = float(np.median(fixed[0]["ra"])), float(np.median(fixed[0]["dec"]))
        sky = [_terms(table, centre)[:, 1:3] for table in fixed]
        pixels = [np.column_stack([table["x"], table["y"]]).astype(np.float64) / 1000.0 for table in fixed]
        places = _quadratic(np.column_stack([x, y]) / 1000.0) @ np.linalg.lstsq(
            _quadratic(pixels[0]), sky[0], rcond=None
        )[0]  # fmt: skip
        share, total = np.zeros(len(x)), 0.0
        for table, where, pixel in zip(parts, sky[1:], pixels[1:], strict=True):
            found = 1000.0 * _quadratic(places) @ np.linalg.lstsq(_quadratic(where), pixel, rcond=None)[0]
            weight = 1.0 / max(flux_noise(table), 1e-12) ** 2
            inside = ((found > -0.5) & (found < np.array(shape[::-1]) - 0.5)).all(axis=1)
            share, total = share + weight * inside, total + weight
        return np.asarray(share / total)


def _fixed(table: Table) -> Table:
    """Stars and galaxies whose place on the sky is known."""
    return table[
        np.isin(np.asarray(table["kind"]), ("star", "galaxy")) & np.isfinite(np.asarray(table["ra"], np.float64))
    ]


def _quadratic(points: F8) -> F8:
    """Terms up to the second order of points (n, 2), shape (n, 6)."""
    u, v = points[:, 0], points[:, 1]
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)


def read_truth(paths: Sequence[Path]) -> Truth:
    """Read truth.parquet of simulated nights, or of the folders that hold it.

    Raises
    ------
    InputError
        When one is missing, cannot be read, or lacks a column.
    """
    tables = []
    for given in paths:
        path = given / "truth.parquet" if given.is_dir() else given
        try:
            names = pq.read_schema(path).names
            missing = [name for name in _TRUTH if name not in names]
            if missing:
                raise InputError(
                    f"{path} lacks the columns {', '.join(missing)}; --truth wants truth.parquet of a simulated night",
                    path=str(path),
                )
            tables.append(pq.read_table(path, columns=list(_TRUTH)))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                f"{path} cannot be read: {error}; --truth wants truth.parquet of a night made by `gueststar simulate "
                "night`",
                path=str(path),
            ) from error
    table = table_of(pa.concat_tables(tables, promote_options="permissive"))
    names, number = np.unique(np.asarray(table["image"]), return_inverse=True)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=len(names)))
    return Truth(table, {str(name): rows for name, rows in zip(names, np.split(order, ends[:-1]), strict=True)})


def _on_frame(own: Table, references: Sequence[Table]) -> Table:
    """Truth of the reference's frames with x and y on the science frame; no rows when nothing ties both together."""
    fixed = _fixed(own)
    if len(fixed) < _FEWEST or not references:
        return own[:0]
    rows = np.concatenate([np.arange(len(table)) for table in references])
    which = np.repeat(np.arange(len(references)), [len(table) for table in references])
    names = own.colnames
    moved = Table({name: np.concatenate([np.asarray(table[name]) for table in references]) for name in names})
    if len(rows) == 0 or which.size == 0:
        return own[:0]
    centre = float(np.median(fixed["ra"])), float(np.median(fixed["dec"]))
    known = np.isfinite(np.asarray(moved["ra"], np.float64))
    terms = _terms(fixed, centre)
    for axis in ("x", "y"):
        solved = np.linalg.lstsq(terms, np.asarray(fixed[axis], np.float64), rcond=None)[0]
        places = np.asarray(moved[axis], np.float64).copy()
        places[known] = _terms(moved[known], centre) @ solved
        moved[axis] = places
    return moved


def _terms(table: Table, centre: tuple[float, float]) -> F8:
    """Second-order polynomial of the offsets from a centre, in units of a tenth of a degree."""
    ra, dec = np.asarray(table["ra"], np.float64), np.asarray(table["dec"], np.float64)
    u = ((ra - centre[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec)) * 10.0
    v = (dec - centre[1]) * 10.0
    return _quadratic(np.column_stack([u, v]))


@dataclass(frozen=True, slots=True, eq=False)
class KnownObjects:
    """Places of a catalogue.

    Parameters
    ----------
    places : ndarray, shape (n, 3)
        Unit vectors.
    kind : ndarray of str, shape (n,)
        Keys of `KIND_REASONS`.
    mjd : ndarray, shape (n,)
        When it is there; NaN: always.
    """

    places: F8
    kind: NDArray[np.str_]
    mjd: F8

    def kinds_at(self, ra: F8, dec: F8, mjd: float, *, radius_arcsec: float) -> NDArray[np.str_]:
        """Kind of the nearest object within the radius of each position, shape (n,); empty for none."""
        found = np.full(len(ra), "", "U12")
        here = np.flatnonzero(~(np.abs(self.mjd - mjd) > _MINUTES / 1440.0))
        known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        if here.size == 0 or known.size == 0:
            return found
        reach = 2.0 * np.sin(np.radians(radius_arcsec / 3600.0) / 2.0)
        tree = cKDTree(self.places[here])
        distance, nearest = tree.query(unit_vectors(ra[known], dec[known]), distance_upper_bound=reach)
        hit = np.isfinite(distance)
        found[known[hit]] = self.kind[here[nearest[hit]]]
        return found


def read_known(paths: Sequence[Path]) -> KnownObjects:
    """Read catalogues of asteroids, variables and transients.

    Parameters
    ----------
    paths : sequence of Path
        Tables (Parquet, CSV, FITS, ECSV or VOTable) with ``ra``, ``dec`` (ICRS, deg) and ``kind`` (a key of
        `KIND_REASONS`); with ``mjd`` a position counts for images within 5 minutes of it.

    Raises
    ------
    InputError
        When one cannot be read, lacks a column or has a kind that is unknown.
    """
    parts = [_catalogue(path) for path in paths]
    return KnownObjects(*(np.concatenate([part[i] for part in parts]) for i in range(3)))


def _catalogue(path: Path) -> tuple[F8, NDArray[np.str_], F8]:
    try:
        table: Any
        if path.suffix in (".parquet", ".pq"):
            table = table_of(pq.read_table(path))
        else:
            table = Table.read(path, **({"format": "ascii.csv"} if path.suffix == ".csv" else {}))
        ra, dec = (np.asarray(table[name], np.float64) for name in ("ra", "dec"))
        kind = np.asarray(table["kind"]).astype(str)
        mjd = np.asarray(table["mjd"], np.float64) if "mjd" in table.colnames else np.full(len(ra), np.nan)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path} cannot be read: {error}; expected a table with ra, dec (deg) and kind", path=str(path)
        ) from error
    unknown = sorted(set(kind.tolist()) - set(KIND_REASONS))
    if unknown:
        raise InputError(f"{path}: kind {unknown[0]!r} is unknown; there are {', '.join(KIND_REASONS)}", path=str(path))
    return unit_vectors(ra, dec), kind, mjd


def unit_vectors(ra_deg: F8, dec_deg: F8) -> F8:
    """Positions on the sphere, shape (n, 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
