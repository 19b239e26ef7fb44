"""Pictures of missed reals: science, reference, difference and score where a run has kept them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Row
from numpy.typing import NDArray

from gueststar.plots import grey, triplet_pixels
from gueststar.report.lost_pictures import candidate_row, cut_out, lost_cutouts, read_stamp
from gueststar.report.pictures import png_uri

__all__ = ["FOUR", "missed_picture"]

FOUR = "science, reference, difference, score"
_WIDTH, _SCORE_TOP = 41, 8.0


def missed_picture(run: Path, row: Row) -> tuple[str, str]:
    """Picture of a missed real as a data URI, and what it shows; empty where the run has kept nothing.

    Parameters
    ----------
    run : Path
        Folder of the run.
    row : Row
        Of the sources; with image, origin, stamp, status, candidate_id, x and y.
    """
    folder = run / "images" / str(row["image"])
    if row["origin"] == "artificial":
        if row["stamp"] >= 0:
            triplet = read_stamp(folder / "injected_stamps.npy", int(row["stamp"]))
            return _four(triplet, _plane(folder / "injected_score.npy", int(row["stamp"])))
        # The stored difference does not have what was put in, and no stamp of it was kept.
        return ("", "") if row["status"] == "injected" else lost_cutouts(folder / "difference.fits", row["x"], row["y"])
    if not (np.isfinite(row["x"]) and np.isfinite(row["y"])):
        return "", ""
    if row["candidate_id"]:
        triplet = read_stamp(folder / "stamps.npy", candidate_row(folder, str(row["candidate_id"])))
        if triplet is not None:
            return _four(triplet, _stored_score(folder / "difference.fits", float(row["x"]), float(row["y"])))
    return lost_cutouts(folder / "difference.fits", float(row["x"]), float(row["y"]))


def _four(triplet: NDArray[np.float32] | None, score: NDArray[np.float32] | None) -> tuple[str, str]:
    if triplet is None:
        return "", ""
    pixels = triplet_pixels(triplet, width=_WIDTH)
    if score is None:
        return png_uri(pixels), "science, reference, difference"
    cut = max((score.shape[0] - pixels.shape[0]) // 2, 0)
    inner = score[cut : cut + pixels.shape[0], cut : cut + pixels.shape[0]]
    gap = np.full((pixels.shape[0], 2, 3), 255, np.uint8)
    return png_uri(np.concatenate([pixels, gap, grey(inner, 1.0, _SCORE_TOP, symmetric=True)], axis=1)), FOUR


def _plane(path: Path, row: int) -> NDArray[np.float32] | None:
    try:
        cube: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return np.array(cube[row]) if cube.ndim == 3 and 0 <= row < len(cube) else None


def _stored_score(path: Path, x: float, y: float) -> NDArray[np.float32] | None:
    try:
        with fits.open(path) as hdus:
            return cut_out(hdus["SCORE"], x, y)
    except (OSError, KeyError, TypeError, ValueError):
        return None
