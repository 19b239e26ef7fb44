"""Which sources were found, and at which step of the chain each of the others was lost.

A source is lost at the first step that it does not pass; the steps, and the reasons at each, are those of
`gueststar.realbogus.audit.missed_steps`. Without the score and the flags of a difference the reason is unknown; a
source beside a candidate then counts as lost at the match, any other one in detection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from gueststar.detect.local import scatter_around
from gueststar.efficiency.evidence import Line, SearchRules, climb, flags_at, holder_of, moved_to
from gueststar.realbogus.audit.missed_steps import STEPS, Seen, reason_of, step_of
from gueststar.types import Candidates

__all__ = ["EVIDENCE_COLUMNS", "STEPS", "Matches", "judge_sources", "lost_frame", "match_sources"]

F8 = NDArray[np.float64]

#: Columns that tell why a source was lost, and what stands in them where nothing is known.
EVIDENCE_COLUMNS: dict[str, str | float] = {
    "lost_why": "", "peak_snr": float("nan"), "beside_px": float("nan"), "local_scatter": float("nan"),
}  # fmt: skip

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


def judge_sources(
    sources: Table,
    candidates: Candidates,
    *,
    mask: NDArray[np.integer] | None,
    radius_px: float,
    threshold: float,
    edge_px: int = 0,
    score: NDArray[np.floating] | None = None,
    rules: SearchRules | None = None,
    expected_snr: ArrayLike | None = None,
) -> Table:
    """Say of each source whether it was found, by which candidate, and where and why it was lost.

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
    score : ndarray, shape (ny, nx), or None
        Score plane of the difference. Without it the reason of a loss in detection, measurement or match is unknown.
    rules : SearchRules, optional
        How the difference was searched; the default rules with this `edge_px` when left out.
    expected_snr : array_like, shape (n,), optional
        Change of each source over the error of its flux in the difference; NaN where it is not known.

    Returns
    -------
    Table
        `sources` with found, real, lost_at, lost_why (a key of `gueststar.realbogus.audit.missed_steps.REASONS`),
        peak_snr (score at the peak that its light belongs to, or at its place when that is another's), beside_px
        (distance to what holds its light), local_scatter, mask_flags, candidate_id, candidate_snr, candidate_flux,
        candidate_flux_err, offset_px and rb_score.
    """
    judged = sources.copy()
    n = len(judged)
    rules = rules or SearchRules(edge_px=edge_px)
    matches = match_sources(judged, candidates, radius_px=radius_px)
    status = np.asarray(judged["status"]) if "status" in judged.colnames else np.full(n, "injected")
    found = (status == "injected") & (matches.row >= 0)
    row = matches.row[found]
    rb_score = np.full(n, np.nan, np.float32)
    if "rb_score" in candidates.table.colnames:
        rb_score[found] = candidates["rb_score"][row]
    real = found & (rb_score >= threshold)
    flags, inside, rim = np.zeros(n, np.int32), np.ones(n, bool), np.zeros(n, bool)
    if mask is not None:
        flags, inside, rim = flags_at(mask, judged["x"], judged["y"], edge_px=edge_px)
    clear = (status == "injected") & (flags == 0)
    reasons = np.where(found, np.where(real, "", "score"), "").astype("U12")
    evidence = {name: np.full(n, np.nan, np.float32) for name in ("peak_snr", "beside_px", "local_scatter")}
    if mask is not None and score is not None:
        evidence["local_scatter"] = _scatter(judged, score, mask)
    expected = np.full(n, np.nan) if expected_snr is None else np.asarray(expected_snr, np.float64)
    taken = frozenset(int(j) for j in row)
    for i in np.flatnonzero(~found):
        seen, apart = _seen(
            judged, int(i), candidates, taken, score, mask, rules, radius_px=radius_px,
            inside=bool(inside[i]) and status[i] != "outside", rim=bool(rim[i]), flagged=not clear[i] and not rim[i],
            put_in=status[i] == "injected", expected=float(expected[i]),
        )  # fmt: skip
        reasons[i] = reason_of(seen, threshold_sigma=rules.threshold_sigma)
        evidence["peak_snr"][i], evidence["beside_px"][i] = seen.peak_snr, apart
    judged["found"], judged["real"] = found, real
    steps = np.array([step_of(str(reason)) for reason in reasons], "U11")
    judged["lost_at"] = np.where((reasons == "unknown") & matches.near, "match", steps).astype("U11")
    judged["lost_why"] = reasons
    for name, values in evidence.items():
        judged[name] = values
    judged["mask_flags"] = flags
    names = np.full(n, "", "U24")
    names[found] = candidates["candidate_id"][row]
    judged["candidate_id"] = names
    for name, source in (("candidate_snr", "snr"), ("candidate_flux", "flux"), ("candidate_flux_err", "flux_err")):
        column = np.full(n, np.nan, np.float32)
        column[found] = candidates[source][row]
        judged[name] = column
    judged["offset_px"] = np.where(found, matches.offset_px, np.nan).astype(np.float32)
    judged["rb_score"] = rb_score
    return judged


def lost_frame(sources: Table) -> Table:
    """The sources of a frame that was not searched, with the columns of `judge_sources`: all are lost at the gate."""
    judged = judge_sources(sources, Candidates.empty(), mask=None, radius_px=1.0, threshold=0.0)
    judged["lost_at"] = np.full(len(judged), "gate", "U11")
    judged["lost_why"] = np.full(len(judged), "failed", "U12")
    return judged


def _seen(
    sources: Table, i: int, candidates: Candidates, taken: frozenset[int], score: NDArray[np.floating] | None,
    mask: NDArray[np.integer] | None, rules: SearchRules, *, radius_px: float, inside: bool, rim: bool, flagged: bool,
    put_in: bool, expected: float,
) -> tuple[Seen, float]:  # fmt: skip
    """What is seen of one source that has no candidate, and the distance of what holds its light (NaN: nothing)."""
    nan = float("nan")
    if score is None or mask is None or not inside or not put_in:
        return Seen(inside, rim, flagged, nan, False, False, expected, "none"), nan
    place, sign = _place(sources, i), float(np.sign(sources["change_e"][i])) or 1.0
    peak, start = climb(score, mask, place, sign)
    moved = moved_to(place, sign, candidates, taken, expected, radius_px=radius_px, reach_px=_NEAR * radius_px)
    if np.isfinite(moved):
        return Seen(inside, rim, flagged, start, False, False, expected, "moved"), moved
    apart = place.distance(peak.x, peak.y)
    own = apart <= radius_px
    snr = peak.snr if own else start
    if not own or snr < rules.threshold_sigma or (peak.flagged and not rules.masked_peaks):
        beside = apart if not own and snr >= rules.threshold_sigma else nan
        flag = peak.flagged and not rules.masked_peaks
        return Seen(inside, rim, flagged, snr, own, flag, expected, "none"), beside
    holder, distance = holder_of(
        peak, place, sign, candidates, taken, rules, radius_px=radius_px, score=score, mask=mask
    )
    return Seen(inside, rim, flagged, snr, True, False, expected, holder), distance


def _place(sources: Table, i: int) -> Line:
    half, angle = 0.0, 0.0
    if "length_px" in sources.colnames and "angle_deg" in sources.colnames:
        half, angle = 0.5 * float(np.nan_to_num(sources["length_px"][i])), float(np.radians(sources["angle_deg"][i]))
    if not half > 0:
        half, angle = 0.0, 0.0
    return Line(float(sources["x"][i]), float(sources["y"][i]), half, angle)


def _scatter(sources: Table, score: NDArray[np.floating], mask: NDArray[np.integer]) -> NDArray[np.float32]:
    """Scatter of the score around each source, NaN off the frame."""
    ny, nx = score.shape
    x, y = (np.nan_to_num(_column(sources, name), nan=-1e6) for name in ("x", "y"))
    on = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    scatter = np.full(len(sources), np.nan, np.float32)
    if on.any():
        scatter[on] = scatter_around(score, mask, np.rint(x[on]).astype(np.int64), np.rint(y[on]).astype(np.int64))
    return scatter


def _pairs(
    sources: Table, candidates: Candidates, rows: NDArray[np.intp], radius_px: float
) -> list[tuple[float, int, int]]:
    """(distance, source, candidate) of all pairs within the radius, nearest first."""
    x, y = _column(sources, "x"), _column(sources, "y")
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if known.size == 0 or rows.size == 0:
        return []
    places = {int(i): _place(sources, int(i)) for i in known}
    tree = cKDTree(np.column_stack([candidates["x"][rows], candidates["y"][rows]]))
    reach = radius_px + np.array([places[int(i)].half_px for i in known])
    found = []
    for i, close in zip(known, tree.query_ball_point(np.column_stack([x, y])[known], reach), strict=True):
        for j in close:
            distance = places[int(i)].distance(*(float(value) for value in tree.data[j]))
            if distance <= radius_px:
                found.append((distance, int(i), int(j)))
    return sorted(found)


def _column(table: Table, name: str) -> F8:
    return np.asarray(table[name], np.float64)
