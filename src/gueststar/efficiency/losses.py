"""Which sources were found, and at which step of the chain each of the others was lost.

The steps come in this order, and a source is lost at the first that it did not pass:

gate
    The frame or its subtraction failed, or was rejected: nothing on it was searched.
mask
    The source lies on flagged pixels, on the rim of the frame, or outside of it, and was not found.
detection
    No candidate of its sign is near.
match
    A candidate is near, but belongs to another source or lies further away than the match radius.
score
    Its candidate has a score below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from gueststar.types import Candidates, Mask

__all__ = ["STEPS", "Matches", "judge_sources", "lost_at", "lost_frame", "match_sources"]

F8 = NDArray[np.float64]

#: Steps at which a source can be lost, in the order in which it meets them.
STEPS = ("gate", "mask", "detection", "match", "score")

_NEAR = 2.5  # how far, in match radii, a candidate still counts as near


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Candidates that belong to sources; each array of shape (n,).

    Parameters
    ----------
    row : ndarray of int
        Row of the candidate, -1: none.
    offset_px : ndarray
        Distance, NaN without one.
    near : ndarray of bool
        A candidate of the right sign is near, whether it is this source's or not.
    """

    row: NDArray[np.intp]
    offset_px: F8
    near: NDArray[np.bool_]


def match_sources(sources: Table, candidates: Candidates, *, radius_px: float) -> Matches:
    """Pair sources with candidates of their sign, one to one, nearest pairs first.

    Parameters
    ----------
    sources : Table
        x, y (px) and change_e (its sign is that of the candidate); if it has length_px and angle_deg, what moved is
        met anywhere along its trail. NaN positions have no partner.
    candidates : Candidates
    radius_px : float
        Largest distance of a pair.
    """
    n = len(sources)
    matches = Matches(np.full(n, -1, np.intp), np.full(n, np.nan), np.zeros(n, bool))
    for sign in (1.0, -1.0):
        mine = np.flatnonzero(np.sign(_column(sources, "change_e")) == sign)
        theirs = np.flatnonzero(np.sign(candidates["snr"]) == sign)
        taken: set[int] = set()
        for distance, i, j in _pairs(sources[mine], candidates, theirs, _NEAR * radius_px):
            row, other = mine[i], theirs[j]
            matches.near[row] = True
            if distance <= radius_px and matches.row[row] < 0 and int(other) not in taken:
                matches.row[row], matches.offset_px[row] = other, distance
                taken.add(int(other))
    return matches


def lost_at(
    *, searched: ArrayLike, clear: ArrayLike, near: ArrayLike, found: ArrayLike, real: ArrayLike
) -> NDArray[np.str_]:
    """Step at which each source was lost; empty for those found and scored as real.

    Parameters
    ----------
    searched : array_like of bool
        The frame was processed.
    clear : array_like of bool
        A candidate could be there: on the frame, no flagged pixel.
    near : array_like of bool
        A candidate of the right sign is near.
    found : array_like of bool
        One of them is its own.
    real : array_like of bool
        And has a score at the threshold or above.

    Returns
    -------
    ndarray of str
        One of `STEPS`, or ''.
    """
    gate, mask = ~np.asarray(searched, bool), ~np.asarray(clear, bool)
    seen, hit, good = np.asarray(near, bool), np.asarray(found, bool), np.asarray(real, bool)
    conditions = [gate, hit & good, hit, mask, seen]
    return np.select(conditions, ["gate", "", "score", "mask", "match"], default="detection").astype("U9")


def judge_sources(
    sources: Table,
    candidates: Candidates,
    *,
    mask: NDArray[np.integer] | None,
    radius_px: float,
    threshold: float,
    edge_px: int = 0,
) -> Table:
    """Say of each source whether it was found, by which candidate, and where it was lost.

    Parameters
    ----------
    sources : Table
        As for `match_sources`. With a column status, those that are not 'injected' were never on the frame.
    candidates : Candidates
        Of the frame with the sources in it.
    mask : ndarray, shape (ny, nx), or None
        Flags of the difference. Without them a loss at the mask shows as one at detection.
    radius_px : float
        Largest distance between source and candidate.
    threshold : float
        Score from which a candidate counts as real.
    edge_px : int
        Rim of the frame in which nothing is detected.

    Returns
    -------
    Table
        `sources` with found, real, lost_at, mask_flags, candidate_id, candidate_snr, candidate_flux,
        candidate_flux_err, offset_px and rb_score.
    """
    judged = sources.copy()
    n = len(judged)
    put_in = np.ones(n, bool)
    if "status" in judged.colnames:
        put_in = np.asarray(judged["status"]) == "injected"
    matches = match_sources(judged, candidates, radius_px=radius_px)
    found = put_in & (matches.row >= 0)
    row = matches.row[found]
    score = np.full(n, np.nan, np.float32)
    if "rb_score" in candidates.table.colnames:
        score[found] = candidates["rb_score"][row]
    flags = _flags(judged, mask, edge_px)
    judged["found"], judged["real"] = found, found & (score >= threshold)
    judged["lost_at"] = lost_at(
        searched=np.ones(n, bool),
        clear=put_in & (flags == 0),
        near=matches.near & put_in,
        found=found,
        real=judged["real"],
    )
    judged["mask_flags"] = flags
    names = np.full(n, "", "U24")
    names[found] = candidates["candidate_id"][row]
    judged["candidate_id"] = names
    for name, source in (("candidate_snr", "snr"), ("candidate_flux", "flux"), ("candidate_flux_err", "flux_err")):
        values = np.full(n, np.nan, np.float32)
        values[found] = candidates[source][row]
        judged[name] = values
    judged["offset_px"] = np.where(found, matches.offset_px, np.nan).astype(np.float32)
    judged["rb_score"] = score
    return judged


def lost_frame(sources: Table) -> Table:
    """The sources of a frame that was not searched, with the columns of `judge_sources`: all are lost at the gate."""
    judged = judge_sources(sources, Candidates.empty(), mask=None, radius_px=1.0, threshold=0.0)
    judged["lost_at"] = np.full(len(judged), "gate", "U9")
    return judged


def _flags(sources: Table, mask: NDArray[np.integer] | None, edge_px: int) -> NDArray[np.int32]:
    """Flags under each source; no data on the rim and outside."""
    if mask is None:
        return np.zeros(len(sources), np.int32)
    ny, nx = mask.shape
    x, y = (np.nan_to_num(_column(sources, name), nan=-1e6) for name in ("x", "y"))
    column, line = np.rint(np.clip(x, -9, nx + 9)).astype(int), np.rint(np.clip(y, -9, ny + 9)).astype(int)
    rim = max(edge_px, 0)
    inside = (column >= rim) & (column < nx - rim) & (line >= rim) & (line < ny - rim)
    flags = np.full(len(sources), int(Mask.NO_DATA), np.int32)
    flags[inside] = mask[line[inside], column[inside]]
    return flags


def _pairs(
    sources: Table, candidates: Candidates, rows: NDArray[np.intp], radius_px: float
) -> list[tuple[float, int, int]]:
    """(distance, source, candidate) of all pairs within the radius, nearest first."""
    x, y = _column(sources, "x"), _column(sources, "y")
    half, angle = np.zeros(len(x)), np.zeros(len(x))
    if "length_px" in sources.colnames and "angle_deg" in sources.colnames:
        half, angle = 0.5 * np.nan_to_num(_column(sources, "length_px")), np.radians(_column(sources, "angle_deg"))
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if known.size == 0 or rows.size == 0:
        return []
    tree = cKDTree(np.column_stack([candidates["x"][rows], candidates["y"][rows]]))
    reach = radius_px + half[known]
    found = []
    for i, close in zip(known, tree.query_ball_point(np.column_stack([x, y])[known], reach), strict=True):
        for j in close:
            dx, dy = (float(value) for value in tree.data[j] - (x[i], y[i]))
            if half[i] > 0:
                # The nearest point of the trail, which is a line between its two ends.
                c, s = np.cos(angle[i]), np.sin(angle[i])
                along = float(np.clip(dx * c + dy * s, -half[i], half[i]))
                dx, dy = dx - along * c, dy - along * s
            distance = float(np.hypot(dx, dy))
            if distance <= radius_px:
                found.append((distance, int(i), int(j)))
    return sorted(found)


def _column(table: Table, name: str) -> F8:
    return np.asarray(table[name], np.float64)
