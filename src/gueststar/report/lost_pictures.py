"""Pictures of sources that were lost: the triplet where a run has stored one, else cutouts of the difference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Row, Table
from numpy.typing import NDArray

from gueststar.efficiency.losses import STEPS
from gueststar.errors import InputError
from gueststar.night.products import read_candidates
from gueststar.plots import grey, robust_sigma, triplet_pixels
from gueststar.report.pictures import png_uri
from gueststar.types import Mask

__all__ = ["LostPicture", "candidate_row", "cut_out", "lost_cutouts", "lost_pictures", "read_stamp"]

_HALF = 20
_FLAGGED = np.array([169, 146, 238], np.float64)

LostPicture = tuple[Row, str, str]


def lost_pictures(out: Path, sources: Table, *, most: int) -> dict[str, list[LostPicture]]:
    """The most significant lost sources of each step, with pictures.

    Parameters
    ----------
    out : Path
        Folder of the run.
    sources : Table
        `SOURCE_COLUMNS`.
    most : int
        For each step.

    Returns
    -------
    dict
        Step to (row, data URI, what is shown); the URI is empty where there is nothing to show. Sources of frames that
        were not searched have no picture and are left out.
    """
    shown = {}
    significance = np.asarray(sources["snr_difference"], np.float64)
    significance = np.where(np.isfinite(significance), significance, np.asarray(sources["snr"], np.float64))
    for step in STEPS:
        rows = np.flatnonzero(np.asarray(sources["lost_at"]) == step)
        if step == "gate" or rows.size == 0:
            continue
        best = _spread(rows[np.argsort(-significance[rows], kind="stable")], sources)[:most]
        shown[step] = [(sources[int(i)], *_picture(out, sources[int(i)])) for i in best]
    return shown


def _spread(rows: NDArray[np.intp], sources: Table) -> NDArray[np.intp]:
    """The same rows in turns: the best of each origin and flag, then the second; those without a picture last."""
    seen: Counter[tuple[str, int]] = Counter()
    turn = []
    for row in rows:
        key = str(sources["origin"][row]), int(sources["mask_flags"][row])
        turn.append(seen[key] + (len(rows) if _is_blank(sources[int(row)]) else 0))
        seen[key] += 1
    return rows[np.argsort(turn, kind="stable")]


def _is_blank(row: Row) -> bool:
    """Whether it was put in, so that the stored difference does not have it, and no stamp was kept."""
    return bool(row["origin"] == "artificial" and row["stamp"] < 0 and row["status"] == "injected")


def _picture(out: Path, row: Row) -> tuple[str, str]:
    folder = out / "images" / str(row["image"])
    triplet = None
    if row["origin"] == "artificial":
        if row["stamp"] >= 0:
            triplet = read_stamp(folder / "injected_stamps.npy", int(row["stamp"]))
        elif _is_blank(row):
            return "", ""
    elif row["candidate_id"]:
        triplet = read_stamp(folder / "stamps.npy", candidate_row(folder, str(row["candidate_id"])))
    if triplet is not None:
        return png_uri(triplet_pixels(triplet)), "science, reference, difference"
    return lost_cutouts(folder / "difference.fits", float(row["x"]), float(row["y"]))


def read_stamp(path: Path, row: int) -> NDArray[np.float32] | None:
    """One stored triplet; None where it cannot be read."""
    try:
        cube: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return np.array(cube[row]) if cube.ndim == 4 and 0 <= row < len(cube) else None


def candidate_row(folder: Path, name: str) -> int:
    """Row of a candidate among those of a frame; -1: it is not there."""
    try:
        found = np.flatnonzero(read_candidates(folder / "candidates.parquet")["candidate_id"] == name)
    except InputError:
        return -1
    return int(found[0]) if found.size else -1


def lost_cutouts(path: Path, x: float, y: float) -> tuple[str, str]:
    """Difference, score, and difference with flagged pixels tinted."""
    try:
        with fits.open(path) as hdus:
            difference, score, mask = (cut_out(hdus[name], x, y) for name in ("DIFFERENCE", "SCORE", "MASK"))
    except (OSError, KeyError, TypeError, ValueError):
        return "", ""
    empty = ~np.isfinite(mask) | ((np.nan_to_num(mask).astype(int) & int(Mask.NO_DATA)) != 0)
    difference[empty], score[empty] = np.nan, np.nan
    noise = robust_sigma(difference)
    middle = difference[_HALF - 7 : _HALF + 8, _HALF - 7 : _HALF + 8]
    top = max(6.0 * noise, 0.7 * float(np.nanmax(np.abs(middle), initial=0.0)))
    panels = [grey(difference, noise, top, symmetric=True), grey(score, 1.0, 8.0, symmetric=True)]
    flagged = (np.nan_to_num(mask) != 0) & ~empty
    tinted = panels[0].astype(np.float64)
    tinted[flagged] = 0.35 * tinted[flagged] + 0.65 * _FLAGGED
    gap = np.full((2 * _HALF + 1, 2, 3), 255, np.uint8)
    pixels = np.concatenate([panels[0], gap, panels[1], gap, tinted.astype(np.uint8)], axis=1)
    return png_uri(pixels), "difference, score, flags"


def cut_out(hdu: fits.CompImageHDU, x: float, y: float) -> NDArray[np.float32]:
    """Pixels around a place, NaN outside."""
    ny, nx = hdu.shape
    column, row = round(x), round(y)
    cut = np.full((2 * _HALF + 1, 2 * _HALF + 1), np.nan, np.float32)
    y0, y1, x0, x1 = max(0, row - _HALF), min(ny, row + _HALF + 1), max(0, column - _HALF), min(nx, column + _HALF + 1)
    if y0 < y1 and x0 < x1:
        top, left = y0 - row + _HALF, x0 - column + _HALF
        cut[top : top + y1 - y0, left : left + x1 - x0] = hdu.section[y0:y1, x0:x1]
    return cut
