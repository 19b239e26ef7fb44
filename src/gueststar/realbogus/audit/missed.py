"""Missed reals of a night in numbers: the step that lost each, its remedy, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.realbogus.audit.missed_remedies import LOWEST_SIGMA, Remedy, RemedyCount, count_remedies, remedy_of
from gueststar.realbogus.audit.missed_shares import Comparison, Share, compare_shares, on_failed, share_of
from gueststar.realbogus.audit.missed_steps import STEPS

__all__ = ["MissedReals", "Rung", "StepCount", "detection_rungs", "score_rungs", "sum_up", "with_remedies"]

_HOST_R25 = 1.5  # from the nucleus, in R25; further out the host's light is gone


@dataclass(frozen=True, slots=True)
class StepCount:
    """Sources of one origin that one step lost, with the share of all of that origin, and the reasons."""

    origin: str
    step: str
    share: Share
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """What one value of a threshold would save, and what would come along.

    Parameters
    ----------
    value : float
    saved : int
        Missed reals that pass it.
    junk : float
        Candidates of the night that pass it and are no known source; for the detection, peaks that noise alone makes
        per megapixel; NaN: not known.
    """

    value: float
    saved: int
    junk: float


@dataclass(frozen=True, slots=True, eq=False)
class MissedReals:
    """Known sources of a run, and where those that were missed were lost.

    Parameters
    ----------
    sources : Table
        One row for each source of each frame, with lost_at, lost_why, remedy, setting, on_failed, on_host (and
        failed_known, host_known).
    transients : Table
        One row for each transient of a list: name, ra, dec, frames, found, lost_at (the furthest step of all frames).
    steps : tuple of StepCount
    remedies : tuple of RemedyCount
    comparisons : tuple of Comparison
        On failed subtractions, and on hosts.
    score_rungs, detection_rungs : tuple of Rung
    facts : mapping
        Plain numbers and names of the run: threshold, threshold_sigma, frames, candidates, junk, ...
    notes : tuple of str
        What was left out or could not be said, as sentences.
    """

    sources: Table
    transients: Table
    steps: tuple[StepCount, ...]
    remedies: tuple[RemedyCount, ...]
    comparisons: tuple[Comparison, ...]
    score_rungs: tuple[Rung, ...] = ()
    detection_rungs: tuple[Rung, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def missed(self) -> Table:
        """The rows of `sources` that were missed."""
        return self.sources[np.asarray(self.sources["lost_at"]) != ""]


def with_remedies(
    sources: Table,
    *,
    threshold_sigma: float,
    gates: Mapping[str, Mapping[str, float]],
    fwhms: Mapping[str, float],
    shapes: Mapping[str, tuple[int, int]],
) -> Table:
    """Sources with the columns remedy, setting, needed, on_failed, failed_known, on_host and host_known.

    Parameters
    ----------
    sources : Table
        Columns of judged sources.
    threshold_sigma : float
    gates : mapping
        Image to the options of the gates that it was beyond, and its numbers.
    fwhms : mapping
        Image to the FWHM in its difference, px.
    shapes : mapping
        Image to (ny, nx).
    """
    result = sources.copy()
    remedies: list[Remedy] = []
    for row in result:
        if not row["lost_at"]:
            remedies.append(Remedy(""))
            continue
        image = str(row["image"])
        remedies.append(remedy_of(
            dict(zip(result.colnames, row.as_void().item(), strict=True)), threshold_sigma=threshold_sigma,
            gate_limits=gates.get(image), edge_distance_px=_edge_distance(row["x"], row["y"], shapes.get(image)),
            fwhm_px=fwhms.get(image, float("nan")),
        ))  # fmt: skip
    result["remedy"] = np.array([remedy.name for remedy in remedies], "U24")
    result["setting"] = np.array([remedy.setting for remedy in remedies], "U120")
    result["needed"] = np.array([remedy.value for remedy in remedies], np.float64)
    result["on_failed"], result["failed_known"] = on_failed(result["local_scatter"], result["residual_snr"])
    result["on_host"], result["host_known"] = _on_host(result)
    return result


def _edge_distance(x: float, y: float, shape: tuple[int, int] | None) -> float:
    if shape is None or not (np.isfinite(x) and np.isfinite(y)):
        return float("nan")
    return float(min(x, y, shape[1] - 1 - x, shape[0] - 1 - y))


def _on_host(sources: Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a source lies on a galaxy, and whether that is known."""
    offset = np.asarray(sources["host_offset_r25"], np.float64)
    placed = np.isin(np.asarray(sources["placement"]), ("galaxy", "nucleus"))
    known = np.isfinite(offset) | (np.asarray(sources["placement"]) != "")
    return (offset <= _HOST_R25) | (placed & ~np.isfinite(offset)), known


def sum_up(
    sources: Table, *, rng: np.random.Generator
) -> tuple[tuple[StepCount, ...], tuple[RemedyCount, ...], tuple[Comparison, ...]]:
    """Counts of steps and remedies, and the comparisons of places, of sources from `with_remedies`.

    The comparisons leave out what was lost outside the frame, at the gate or at the mask, for there no difference is to
    be blamed, and what is too faint to be seen by anybody: an expected S/N below 5 and a peak below 3.
    """
    counts = []
    origins = np.asarray(sources["origin"])
    for origin in sorted(set(origins.tolist())):
        mine = sources[origins == origin]
        for step in STEPS:
            lost = np.asarray(mine["lost_at"]) == step
            if lost.any():
                reasons = Counter(np.asarray(mine["lost_why"])[lost].tolist()).most_common()
                counts.append(StepCount(origin, step, share_of(int(lost.sum()), len(mine)), tuple(reasons)))
    missed = np.asarray(sources["lost_at"]) != ""
    remedies = tuple(count_remedies(np.asarray(sources["remedy"])[missed].tolist()))
    return tuple(counts), remedies, _comparisons(sources, rng)


def _comparisons(sources: Table, rng: np.random.Generator) -> tuple[Comparison, ...]:
    steps = np.asarray(sources["lost_at"])
    faint = (np.asarray(sources["lost_why"]) == "faint") & ~(np.asarray(sources["snr_difference"]) >= 5.0)
    fair = ~np.isin(steps, ("outside", "gate", "mask")) & ~faint
    made = []
    for name, column, known in (
        ("failed subtractions", "on_failed", "failed_known"),
        ("hosts", "on_host", "host_known"),
    ):
        rows = sources[fair & np.asarray(sources[known], bool)]
        if len(rows):
            lost = np.asarray(rows["lost_at"]) != ""
            made.append(compare_shares(name, rows[column], lost, rows["image"], rng=rng))
    return tuple(made)


def score_rungs(sources: Table, junk_scores: NDArray[np.float64], threshold: float) -> tuple[Rung, ...]:
    """What lower thresholds of the score would save, and how many more candidates would pass."""
    at_score = sources[np.asarray(sources["lost_at"]) == "score"]
    scores = np.asarray(at_score["rb_score"], np.float64)
    base = int((junk_scores >= threshold).sum())
    rungs = []
    for share in (0.9, 0.75, 0.5, 0.25, 0.1, 0.02):
        value = share * threshold
        rungs.append(Rung(value, int((scores >= value).sum()), float((junk_scores >= value).sum() - base)))
    return tuple(rungs)


def detection_rungs(
    sources: Table, threshold_sigma: float, noise_per_mpx: Sequence[tuple[float, float]]
) -> tuple[Rung, ...]:
    """What lower thresholds of the detection would bring above them, with the peaks of noise that pass them.

    Parameters
    ----------
    sources : Table
    threshold_sigma : float
        That of the run.
    noise_per_mpx : sequence of (float, float)
        Threshold, and the peaks that noise alone makes above it on a megapixel.
    """
    weak = sources[np.isin(np.asarray(sources["lost_why"]), ("faint", "drowned"))]
    peaks = np.asarray(weak["peak_snr"], np.float64)
    return tuple(
        Rung(value, int((peaks >= value).sum()), noise)
        for value, noise in noise_per_mpx
        if LOWEST_SIGMA <= value < threshold_sigma
    )
