"""The second processing of an image: artificial reals are put into it before the subtraction, and looked for."""

from __future__ import annotations

import hashlib

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.types import Candidates, Difference

__all__ = ["image_rng", "match_artificial_reals"]


def image_rng(seed: int, name: str) -> np.random.Generator:
    """Random numbers that depend on the seed of the run and the name of the image, not on the order of processing."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def match_artificial_reals(
    sources: Table,
    candidates: Candidates,
    difference: Difference,
    before: Candidates,
    *,
    radius_px: float,
    threshold: float,
) -> Table:
    """Say of each artificial real whether it was found.

    A positive candidate within the radius finds it; each candidate finds at most one, the nearest pairs first.

    Parameters
    ----------
    sources : Table
        x, y, flux_e, snr, placement.
    candidates : Candidates
        Of the image with the sources in it.
    difference : Difference
        With the sources in it.
    before : Candidates
        Of the image without them.
    radius_px : float
    threshold : float
        Score from which a candidate counts as real.

    Returns
    -------
    Table
        `sources` with found, real (found, and scored at the threshold or above), occupied (there was a candidate
        before), mask_flags under the position, snr_difference (flux over its error in the difference: what detection
        can reach), candidate_id, candidate_snr, candidate_flux, candidate_flux_err, offset_px and rb_score.
    """
    positive = np.flatnonzero(candidates["snr"] > 0)
    xy = np.column_stack([np.asarray(sources["x"], np.float64), np.asarray(sources["y"], np.float64)])
    rows, offset = _one_to_one(xy, _positions(candidates)[positive], radius_px)
    found = rows >= 0
    row = positive[rows[found]]
    result = sources.copy()
    result["found"] = found
    score = np.full(len(result), np.nan, np.float32)
    if "rb_score" in candidates.table.colnames:
        score[found] = candidates["rb_score"][row]
    result["real"] = found & (score >= threshold)
    earlier = _positions(before)[before["snr"] > 0]
    result["occupied"] = _near(xy, earlier, radius_px)
    ny, nx = difference.shape
    column = np.clip(np.round(xy[:, 0]).astype(int), 0, nx - 1)
    line = np.clip(np.round(xy[:, 1]).astype(int), 0, ny - 1)
    result["mask_flags"] = difference.numpy("mask")[line, column].astype(np.int32)
    error = difference.numpy("flux_err")[line, column]
    flux = np.asarray(result["flux_e"], np.float32)
    result["snr_difference"] = np.divide(flux, error, out=np.zeros_like(flux), where=error > 0)
    names = np.full(len(result), "", dtype="U24")
    names[found] = candidates["candidate_id"][row]
    result["candidate_id"] = names
    for name, source in (("candidate_snr", "snr"), ("candidate_flux", "flux"), ("candidate_flux_err", "flux_err")):
        values = np.full(len(result), np.nan, np.float32)
        values[found] = candidates[source][row]
        result[name] = values
    result["offset_px"] = offset.astype(np.float32)
    result["rb_score"] = score
    return result


def _positions(candidates: Candidates) -> NDArray[np.float64]:
    return np.column_stack([candidates["x"], candidates["y"]]).astype(np.float64)


def _near(xy: NDArray[np.float64], others: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    if len(others) == 0 or len(xy) == 0:
        return np.zeros(len(xy), bool)
    distance, _ = cKDTree(others).query(xy, distance_upper_bound=radius)
    near: NDArray[np.bool_] = np.isfinite(distance)
    return near


def _one_to_one(
    xy: NDArray[np.float64], others: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each row of `xy` its partner in `others` (-1: none) and their distance, nearest pairs first."""
    partner = np.full(len(xy), -1, np.intp)
    offset = np.full(len(xy), np.nan)
    if len(others) == 0 or len(xy) == 0:
        return partner, offset
    pairs = cKDTree(xy).sparse_distance_matrix(cKDTree(others), radius, output_type="ndarray")
    taken: set[int] = set()
    for i, j, distance in sorted(pairs.tolist(), key=lambda pair: (pair[2], pair[0], pair[1])):
        if partner[i] < 0 and j not in taken:
            partner[i], offset[i] = j, distance
            taken.add(j)
    return partner, offset
