"""What the planes of a difference show at the places of sources that have no candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.realbogus.audit.missed_steps import Holder
from gueststar.types import Candidates, Mask

__all__ = ["Line", "Peak", "SearchRules", "climb", "flags_at", "holder_of", "moved_to", "residual_at"]

F8 = NDArray[np.float64]

_SAME_SNR = 0.03  # stored scores are rounded to steps of 0.01
_MOVES_FWHM, _MOVES_PX = 0.6, 1.5  # how far a fit may move a candidate from its peak, in x and in y
_FACTOR = 1.5  # of the S/N, between what was expected and what was measured
_TRAIL_FWHM = 1.5  # peaks this close to a trail are taken for parts of it


@dataclass(frozen=True, slots=True)
class SearchRules:
    """How a run searched its differences.

    Parameters
    ----------
    threshold_sigma : float
        Score at the peak of a candidate.
    merge_fwhm : float
        Weaker peaks of one sign within this were dropped.
    edge_px : int
        Rim in which nothing is detected.
    masked_peaks : bool
        Peaks on flagged pixels were kept.
    n_most : int
        Most candidates of one difference.
    fwhm_px : float
        Of the PSF in the difference.
    """

    threshold_sigma: float = 5.0
    merge_fwhm: float = 0.8
    edge_px: int = 0
    masked_peaks: bool = False
    n_most: int = 5000
    fwhm_px: float = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """Place of a source: a point, or for what moves a line of half length `half_px` in direction `angle_rad`."""

    x: float
    y: float
    half_px: float = 0.0
    angle_rad: float = 0.0

    def distance(self, x: float, y: float) -> float:
        """From the nearest point of the line, px."""
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        dx, dy = x - self.x, y - self.y
        along = float(np.clip(dx * c + dy * s, -self.half_px, self.half_px))
        return float(np.hypot(dx - along * c, dy - along * s))

    def pixels(self, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns and rows of the frame that it lies on, and the pixels that touch those."""
        ny, nx = shape
        along = np.linspace(-self.half_px, self.half_px, max(1, int(2 * self.half_px) + 1))
        offsets = np.array([-1, 0, 1])
        column = np.rint(self.x + along * np.cos(self.angle_rad)).astype(np.int64)
        row = np.rint(self.y + along * np.sin(self.angle_rad)).astype(np.int64)
        columns = (column[:, None, None] + offsets[:, None] + 0 * offsets).ravel()
        rows = (row[:, None, None] + 0 * offsets[:, None] + offsets).ravel()
        inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
        return columns[inside], rows[inside]


@dataclass(frozen=True, slots=True)
class Peak:
    """A local maximum of the score of one sign: its pixel, its value, and whether it is flagged."""

    x: int
    y: int
    snr: float
    flagged: bool


def climb(score: NDArray[np.floating], mask: NDArray[np.integer], place: Line, sign: float) -> tuple[Peak, float]:
    """The peak that the light at a place belongs to, and the largest score at the place itself.

    From the highest of the pixels at the place to the highest neighbour, until there is none higher.

    Parameters
    ----------
    score : ndarray, shape (ny, nx)
    mask : ndarray of int, shape (ny, nx)
    place : Line
        On the frame.
    sign : float
        +1, or -1 for what became fainter; values are multiplied by it.
    """
    ny, nx = score.shape
    columns, rows = place.pixels(score.shape)
    values = sign * np.asarray(score[rows, columns], np.float64)
    at = int(np.argmax(values))
    x, y, here = int(columns[at]), int(rows[at]), float(values[at])
    start = here
    while True:
        x0, y0 = max(x - 1, 0), max(y - 1, 0)
        near = sign * np.asarray(score[y0 : min(y + 2, ny), x0 : min(x + 2, nx)], np.float64)
        row, column = np.unravel_index(int(np.argmax(near)), near.shape)
        if not near[row, column] > here:
            return Peak(x, y, here, bool(mask[y, x])), start
        x, y, here = x0 + int(column), y0 + int(row), float(near[row, column])


def holder_of(
    peak: Peak, place: Line, sign: float, candidates: Candidates, taken: frozenset[int], rules: SearchRules, *,
    radius_px: float, score: NDArray[np.floating], mask: NDArray[np.integer],
) -> tuple[Holder, float]:  # fmt: skip
    """What became of a source's own peak, and how far from the source the candidate that holds it is (NaN: none).

    Parameters
    ----------
    peak : Peak
        Above the threshold, within the match radius, on a good pixel.
    place : Line
    sign : float
    candidates : Candidates
    taken : frozenset of int
        Rows of candidates that are other sources'.
    rules : SearchRules
    radius_px : float
        Match radius.
    score, mask : ndarray, shape (ny, nx)
    """
    x, y = candidates["x"], candidates["y"]
    alike = np.sign(candidates["snr"]) == sign
    reach = max(_MOVES_PX, _MOVES_FWHM * rules.fwhm_px) + 0.5
    close = alike & (np.abs(x - peak.x) <= reach) & (np.abs(y - peak.y) <= reach)
    same = np.flatnonzero(close & (np.abs(sign * candidates["snr"] - peak.snr) <= _SAME_SNR + 1e-3 * peak.snr))
    if same.size:
        row = int(same[0])
        apart = place.distance(float(x[row]), float(y[row]))
        return ("other" if row in taken or apart <= radius_px else "moved"), apart
    trail = _on_trail(peak, sign, candidates, rules.fwhm_px)
    if trail:
        return "trail", float("nan")
    distance = _stronger_peak(peak, sign, score, mask, rules)
    if np.isfinite(distance):
        return "merged", distance
    if len(candidates) >= rules.n_most and peak.snr <= np.abs(candidates["snr"]).min() + _SAME_SNR:
        return "n_most", float("nan")
    return "none", float("nan")


def moved_to(
    place: Line, sign: float, candidates: Candidates, taken: frozenset[int], expected_snr: float, *, radius_px: float,
    reach_px: float,
) -> float:  # fmt: skip
    """Distance of the nearest candidate beyond the match radius that may be the source's; NaN: there is none.

    It has the sign of the source, is no other source's, and has the S/N that is expected, within a factor of 1.5 and
    three sigma; any S/N where none is known.

    Parameters
    ----------
    place : Line
    sign : float
    candidates : Candidates
    taken : frozenset of int
        Rows of candidates that are other sources'.
    expected_snr : float
        NaN: not known.
    radius_px, reach_px : float
        Match radius, and how far a candidate is looked for.
    """
    x, y = candidates["x"], candidates["y"]
    reach = reach_px + place.half_px
    near = (np.sign(candidates["snr"]) == sign) & (np.abs(x - place.x) <= reach) & (np.abs(y - place.y) <= reach)
    best = float("nan")
    for row in np.flatnonzero(near):
        snr = float(sign * candidates["snr"][row])
        fits = np.isnan(expected_snr) or expected_snr / _FACTOR - 3.0 <= snr <= expected_snr * _FACTOR + 3.0
        apart = place.distance(float(x[row]), float(y[row]))
        if (
            int(row) not in taken
            and fits
            and not expected_snr < 3.0
            and radius_px < apart <= reach_px
            and not apart >= best
        ):
            best = apart
    return best


def _on_trail(peak: Peak, sign: float, candidates: Candidates, fwhm: float) -> bool:
    """Whether a candidate that stands for a trail of this sign passes over the peak."""
    for row in np.flatnonzero((candidates["trail_length"] > 0) & (np.sign(candidates["snr"]) == sign)):
        x0, y0, x1, y1 = (float(candidates[f"trail_{name}"][row]) for name in ("x0", "y0", "x1", "y1"))
        half = 0.5 * float(np.hypot(x1 - x0, y1 - y0))
        line = Line(0.5 * (x0 + x1), 0.5 * (y0 + y1), half + fwhm, float(np.arctan2(y1 - y0, x1 - x0)))
        if line.distance(peak.x, peak.y) < _TRAIL_FWHM * fwhm:
            return True
    return False


def _stronger_peak(
    peak: Peak, sign: float, score: NDArray[np.floating], mask: NDArray[np.integer], rules: SearchRules
) -> float:
    """Distance of the nearest stronger peak of this sign within the radius of merging; inf: none."""
    reach = rules.merge_fwhm * rules.fwhm_px
    half = int(np.ceil(reach)) + 1
    ny, nx = score.shape
    y0, y1, x0, x1 = (
        max(peak.y - half, 0),
        min(peak.y + half + 1, ny),
        max(peak.x - half, 0),
        min(peak.x + half + 1, nx),
    )
    part = sign * np.asarray(score[y0:y1, x0:x1], np.float64)
    padded = np.pad(part, 1, constant_values=-np.inf)
    rows, columns = part.shape
    highest = np.max([padded[j : j + rows, i : i + columns] for j in range(3) for i in range(3)], axis=0)
    usable = (mask[y0:y1, x0:x1] == 0) | rules.masked_peaks
    found = np.argwhere((part >= highest) & (part > peak.snr) & usable)
    apart = np.hypot(found[:, 0] + y0 - peak.y, found[:, 1] + x0 - peak.x) if len(found) else np.empty(0)
    apart = apart[apart <= reach]
    return float(apart.min()) if apart.size else float("inf")


def flags_at(
    mask: NDArray[np.integer], x: ArrayLike, y: ArrayLike, *, edge_px: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Flags under places, which are on the frame, and which of those on its rim; no data on the rim and outside."""
    ny, nx = mask.shape
    u, v = (np.nan_to_num(np.asarray(values, np.float64), nan=-1e6) for values in (x, y))
    column, line = np.rint(np.clip(u, -9, nx + 9)).astype(int), np.rint(np.clip(v, -9, ny + 9)).astype(int)
    rim = max(edge_px, 0)
    inside = (column >= 0) & (column < nx) & (line >= 0) & (line < ny)
    inner = (column >= rim) & (column < nx - rim) & (line >= rim) & (line < ny - rim)
    flags = np.full(len(u), int(Mask.NO_DATA), np.int32)
    flags[inner] = mask[line[inner], column[inner]]
    return flags, inside, inside & ~inner


def residual_at(score: NDArray[np.floating], mask: NDArray[np.integer], x: ArrayLike, y: ArrayLike, *,
                inner_px: float, outer_px: float) -> F8:  # fmt: skip
    """Largest |score| of the unflagged pixels between two distances of places, shape (n,); NaN where there are none."""
    ny, nx = score.shape
    half = int(np.ceil(outer_px))
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    u, v = np.asarray(x, np.float64), np.asarray(y, np.float64)
    found = np.full(len(u), np.nan)
    for i in np.flatnonzero(np.isfinite(u) & np.isfinite(v)):
        rows, columns = yy + round(v[i]), xx + round(u[i])
        apart = np.hypot(rows - v[i], columns - u[i])
        use = (apart >= inner_px) & (apart <= outer_px) & (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        rows, columns = rows[use], columns[use]
        values = np.abs(score[rows, columns])[mask[rows, columns] == 0]
        if values.size:
            found[i] = float(values.max())
    return found
