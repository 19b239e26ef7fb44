"""Lists of known transients, such as the CSV export of TNS, and where on the frames of a run they lie."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.time import Time
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from gueststar.efficiency.sources import source_table
from gueststar.errors import InputError
from gueststar.night.source_lists import read_list
from gueststar.report.known_sources import Frame, judge_stored, rejected_sources

__all__ = ["frame_wcs", "listed_sources", "read_transients", "transient_summary"]

F8 = NDArray[np.float64]

#: Column to the names by which lists call it, without blanks, signs and capitals.
_NAMES = {
    "name": ("name", "objname", "iauname", "object", "id"),
    "ra": ("ra", "radeg", "raj2000", "rightascension"),
    "dec": ("dec", "decl", "declination", "decdeg", "dej2000", "decj2000"),
    "mjd": ("discoverydate", "discoverydateut", "discdate", "date", "discoverymjd", "mjd"),
    "mag": ("discoverymag", "discoverymagflux", "discoverymagnitude", "discmag", "mag", "magnitude"),
    "host": ("hostname", "host"),
}  # fmt: skip
_NEEDED = ("name", "ra", "dec")


def read_transients(path: Path) -> Table:
    """Read a list of known transients.

    Parameters
    ----------
    path : Path
        CSV (also TNS's), ECSV, FITS, VOTable or Parquet. Needed are columns for the name, ra and dec (ICRS; degrees, or
        hours and degrees with colons); discovery date (ISO or MJD), magnitude and host are used where they are.

    Returns
    -------
    Table
        name, ra, dec (deg), mjd (of the discovery), mag, host; NaN or '' where nothing is known.

    Raises
    ------
    InputError
        When it cannot be read, lacks a column that is needed, or holds senseless positions.
    """
    if not path.is_file():
        raise InputError(f"list of transients {path}: no such file", path=str(path))
    try:
        table = read_list(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"list of transients {path} cannot be read: {error}; expected .csv, .ecsv, .fits, .vot or .parquet",
            path=str(path),
        ) from error
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in table.colnames}
    found = {key: next((plain[name] for name in names if name in plain), "") for key, names in _NAMES.items()}
    missing = [key for key in _NEEDED if not found[key]]
    if missing:
        raise InputError(
            f"list of transients {path} lacks a column for {', '.join(missing)}; it has {', '.join(table.colnames)}; "
            "expected name, ra and dec, such as in TNS's CSV export",
            path=str(path), missing=", ".join(missing),
        )  # fmt: skip
    ra, dec = (_angles(table[found[key]], key, path) for key in ("ra", "dec"))
    wrong = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"list of transients {path}: ra = {ra[row]:g}, dec = {dec[row]:g} in row {row + 1}; expected ICRS degrees",
            path=str(path),
        )
    n = len(table)
    return Table(
        {
            "name": _texts(table, found["name"]), "ra": ra % 360.0, "dec": dec,
            "mjd": _dates(table[found["mjd"]]) if found["mjd"] else np.full(n, np.nan),
            "mag": _numbers(table[found["mag"]]) if found["mag"] else np.full(n, np.nan),
            "host": _texts(table, found["host"]) if found["host"] else np.full(n, "", "U1"),
        }
    )  # fmt: skip


def _texts(table: Table, name: str) -> NDArray[np.str_]:
    return np.array([str(value) for value in np.ma.filled(np.ma.asarray(table[name]).astype(str), "")], dtype=str)


def _angles(column: Any, name: str, path: Path) -> F8:
    """Degrees; of text with colons or blanks, ra is in hours."""
    values = np.ma.asarray(column)
    if values.dtype.kind in "fiu":
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    texts = [str(value).strip() for value in np.ma.filled(values.astype(str), "")]
    try:
        return np.array(
            [
                float(Angle(text, unit="hourangle" if name == "ra" else "deg").deg)
                if re.search(r"[: hd]", text)
                else float(text)
                for text in texts
            ],
            np.float64,
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"list of transients {path}: column {name} holds no positions: {error}", path=str(path)
        ) from None


def _numbers(column: Any) -> F8:
    """Numbers; NaN for anything else, such as an empty cell."""
    made = []
    for value in np.ma.filled(np.ma.asarray(column).astype(str), ""):
        try:
            made.append(float(value))
        except ValueError:
            made.append(float("nan"))
    return np.array(made, np.float64)


def _dates(column: Any) -> F8:
    """MJD; NaN where there is no date."""
    numbers = _numbers(column)
    texts = np.ma.filled(np.ma.asarray(column).astype(str), "")
    for i in np.flatnonzero(~np.isfinite(numbers)):
        try:
            numbers[i] = float(Time(str(texts[i]).strip().replace("/", "-"), scale="utc").mjd)
        except ValueError:
            continue
    # Julian dates are written as such at times.
    return np.where(numbers > 2_000_000, numbers - 2_400_000.5, numbers)


def frame_wcs(path: Path) -> tuple[WCS, tuple[int, int], float] | None:
    """WCS and shape of a stored difference, and the MJD of its reference; None without a file or a sky."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(path) as hdus:
                wcs, shape = WCS(hdus["DIFFERENCE"].header), tuple(int(n) for n in hdus["DIFFERENCE"].shape)
                when = float(hdus[0].header.get("MJD-REF", "nan"))
        except (OSError, KeyError, ValueError, TypeError):
            return None
    return (wcs, (shape[0], shape[1]), when) if wcs.has_celestial else None


def listed_sources(
    frames: Sequence[Frame], transients: Table, *, radius_px: float, config: Mapping[str, Any],
    days: tuple[float, float] = (0.0, 100.0),
) -> tuple[Table, list[str]]:  # fmt: skip
    """The transients of a list on each frame of a run that covers them, judged; and sentences about what was left out.

    Parameters
    ----------
    frames : sequence of Frame
    transients : Table
        From `read_transients`.
    radius_px : float
        Match radius.
    config : mapping
        Of the run.
    days : (float, float)
        Frames count from so long before the discovery until so long after it.
    """
    parts, notes, no_sky, early = [source_table(0)], [], 0, 0
    places: dict[str, tuple[NDArray[np.intp], F8, F8, float]] = {}
    covered: dict[tuple[str, str], set[int]] = {}
    for frame in frames:
        sky = frame_wcs(frame.folder / "difference.fits")
        if sky is None:
            no_sky += frame.outcome.status in ("ok", "rejected")
            continue
        rows, x, y = _on_frame(transients, sky[0], sky[1])
        places[frame.outcome.image] = (rows, x, y, sky[2])
        covered.setdefault((frame.outcome.field, frame.outcome.chip), set()).update(int(i) for i in rows)
    for frame in frames:
        outcome = frame.outcome
        if outcome.image in places:
            rows, x, y, reference = places[outcome.image]
        else:
            # A frame that failed has no sky of its own; others of its field and chip looked at the same place.
            rows = np.array(sorted(covered.get((outcome.field, outcome.chip), ())), np.intp)
            x = y = np.full(len(rows), np.nan)
            reference = float("nan")
            if outcome.status in ("ok", "rejected"):
                continue
        when = float("nan") if outcome.mjd is None else outcome.mjd
        age = when - np.asarray(transients["mjd"], np.float64)[rows]
        late = (age < -days[0]) | (age > days[1])
        early += int(late.sum())
        rows, x, y, age = rows[~late], x[~late], y[~late], age[~late]
        if rows.size:
            parts.append(_judged(frame, transients, rows, x, y, age, reference, radius_px=radius_px, config=config))
    table = vstack([part for part in parts if len(part)] or parts[:1], metadata_conflicts="silent")
    if no_sky:
        notes.append(
            f"{no_sky} frames kept no difference.fits with a sky: listed transients cannot be looked for there."
        )
    if early:
        notes.append(
            f"{early} visits of listed transients lie more than {days[0]:g} days before or {days[1]:g} after the "
            "discovery, and are left out."
        )
    return table, notes


def _on_frame(transients: Table, wcs: WCS, shape: tuple[int, int]) -> tuple[NDArray[np.intp], F8, F8]:
    """Rows of the transients that lie on a frame, with x and y."""
    ny, nx = shape
    ra, dec = (np.asarray(transients[name], np.float64) for name in ("ra", "dec"))
    with np.errstate(invalid="ignore"):
        x, y = (np.asarray(axis) for axis in wcs.wcs_world2pix(ra, dec, 0))
        near = (np.abs(x - nx / 2) < nx) & (np.abs(y - ny / 2) < ny)
    # On the other side of the sky a projection may lead anywhere; only what is near is worth the distortion.
    centre = np.radians(np.asarray(wcs.all_pix2world(nx / 2, ny / 2, 0), np.float64))
    cosine = np.sin(centre[1]) * np.sin(np.radians(dec)) + np.cos(centre[1]) * np.cos(np.radians(dec)) * np.cos(
        np.radians(ra) - centre[0]
    )
    rows = np.flatnonzero(near & (cosine > 0.9))
    if rows.size == 0:
        return rows, np.empty(0), np.empty(0)
    u, v = (np.asarray(axis) for axis in wcs.all_world2pix(ra[rows], dec[rows], 0, quiet=True))
    inside = (u > -0.5) & (u < nx - 0.5) & (v > -0.5) & (v < ny - 0.5)
    return rows[inside], u[inside], v[inside]


def _judged(
    frame: Frame, transients: Table, rows: NDArray[np.intp], x: F8, y: F8, age: F8, reference_mjd: float, *,
    radius_px: float, config: Mapping[str, Any],
) -> Table:  # fmt: skip
    outcome, mine = frame.outcome, transients[rows]
    facts = outcome.facts
    calibrated = facts.get("zeropoint_source") in ("catalog", "header")
    mag = np.asarray(mine["mag"], np.float64)
    zeropoint = float(facts.get("zeropoint_mag") or np.nan) if calibrated else float("nan")
    flux = 10.0 ** (0.4 * (zeropoint - mag))
    bright = np.isfinite(flux)
    sources = source_table(
        len(rows), **frame.place, origin="listed", kind="transient", x=x, y=y, mag=mag, source_id=rows,
        change_e=np.where(bright, flux, 1.0),
    )  # fmt: skip
    if outcome.status in ("ok", "rejected"):
        judged = judge_stored(frame, sources, radius_px=radius_px, config=config, flux_known=bright)
        unseen = np.isin(np.asarray(judged["lost_why"]), ("faint", "drowned"))
        seen_before = np.isfinite(reference_mjd) & (reference_mjd > np.asarray(mine["mjd"], np.float64))
        judged["lost_why"][unseen & seen_before] = "in_reference"
        judged = rejected_sources(judged, frame.gate) if outcome.status == "rejected" else judged
    else:
        judged = source_table(len(rows), sources, lost_at="gate", lost_why="failed", **frame.gate)
    judged["change_e"] = np.where(bright, judged["change_e"], np.nan)
    judged["name"], judged["days"] = np.asarray(mine["name"]), age
    return judged


def transient_summary(transients: Table, listed: Table, steps: Sequence[str]) -> Table:
    """One row for each transient: on how many frames it was, on how many found, and the furthest step it came to.

    Returns
    -------
    Table
        name, ra, dec, mjd, mag, frames, found, lost_at ('' when found on a frame), image (the best one), rb_score.
    """
    which = np.asarray(listed["source_id"], np.int64)
    order = {step: i for i, step in enumerate(steps)}
    rows = []
    for i in range(len(transients)):
        mine = listed[which == i]
        lost = [str(step) for step in mine["lost_at"]]
        found = [k for k, step in enumerate(lost) if step == ""]
        scores = np.nan_to_num(np.asarray(mine["rb_score"], np.float64), nan=-1.0)
        best = max(found, key=lambda k: scores[k]) if found else (
            max(range(len(lost)), key=lambda k: order[lost[k]]) if lost else -1
        )  # fmt: skip
        step = "" if found else (lost[best] if lost else "outside")
        score = float(mine["rb_score"][best]) if best >= 0 else float("nan")
        rows.append((len(mine), len(found), step, str(mine["image"][best]) if best >= 0 else "", score))
    result = transients.copy()
    kinds = {"frames": "i8", "found": "i8", "lost_at": "U11", "image": "U96", "rb_score": "f8"}
    for i, (name, kind) in enumerate(kinds.items()):
        result[name] = np.array([row[i] for row in rows], kind)
    return result
