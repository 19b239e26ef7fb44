"""What would have saved a missed real: the smallest change of one setting, for each of them.

A remedy is named only where the numbers prove that it helps this source: a lower threshold of the detection where its
peak reaches 3 sigma, a lower threshold of the score where it has one, an open gate where the same frame holds a
candidate of it that is scored real. What happens to it at later steps is not known, and said to be so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

__all__ = ["LOWEST_SIGMA", "REMEDY_WORDS", "Remedy", "RemedyCount", "count_remedies", "remedy_of"]

#: Below this score a lower threshold of the detection finds more noise than sources.
LOWEST_SIGMA = 3.0

#: Remedies: the setting, or what has to become better, and what it means.
REMEDY_WORDS: Mapping[str, str] = {
    "detect.threshold_sigma": "a lower threshold of the detection, and then a score above that of the network",
    "night.rb_threshold": "a lower threshold of the score",
    "quality": "a gate that lets the image pass: the limits that it was beyond",
    "detect.masked_peaks": "peaks on flagged pixels are kept",
    "detect.edge_px": "a narrower rim",
    "detect.merge_fwhm": "weaker peaks beside stronger ones are kept",
    "detect.trails": "peaks on trails stay candidates of their own",
    "detect.n_most": "more candidates are kept",
    "night.match_radius_px": "a larger match radius: it was found, a little off its place",
    "catalogue": "the catalogue entry that it was taken for is left out, or its match radius made smaller",
    "rule": "the rule that rejected it is lifted",
    "subtraction": "a cleaner subtraction: it is bright enough",
    "reference": "a reference from before its discovery",
    "the frame": "the frame itself: it failed before anything was searched",
    "deeper images": "deeper images: it is too faint for these",
    "nothing": "no setting: it is not on the frame, or no data are there",
    "unknown": "not known",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remedy:
    """The smallest change that saves one source.

    Parameters
    ----------
    name : str
        A key of `REMEDY_WORDS`.
    setting : str
        The change in words, such as ``night.rb_threshold <= 0.31``; empty where there is no setting.
    value : float
        The value that the setting needs; NaN where it is no number.
    """

    name: str
    setting: str = ""
    value: float = float("nan")


@dataclass(frozen=True, slots=True)
class RemedyCount:
    """How many sources one remedy saves."""

    name: str
    n: int
    words: str


def remedy_of(
    source: Mapping[str, Any],
    *,
    threshold_sigma: float,
    gate_limits: Mapping[str, float] | None = None,
    edge_distance_px: float = float("nan"),
    fwhm_px: float = float("nan"),
) -> Remedy:
    """The smallest change that would have saved a missed real.

    Parameters
    ----------
    source : mapping
        lost_why, otherwise, peak_snr, beside_px, offset_px and rb_score.
    threshold_sigma : float
        Of the detection.
    gate_limits : mapping of str to float, optional
        Options of the quality gates that its image was beyond, and the measured numbers.
    edge_distance_px : float
        Distance from the edge of the frame.
    fwhm_px : float
        Of the PSF in the difference.
    """
    why, peak = str(source["lost_why"]), float(source["peak_snr"])
    if why == "rejected":
        return _of_gate(str(source["otherwise"]), gate_limits or {})
    if why in ("faint", "drowned"):
        if peak >= LOWEST_SIGMA:
            return Remedy("detect.threshold_sigma", f"detect.threshold_sigma <= {_down(peak, 2):.2f}", peak)
        return Remedy("subtraction" if why == "drowned" else "deeper images")
    if why == "score":
        score = float(source["rb_score"])
        if isnan(score):
            return Remedy("unknown")
        return Remedy("night.rb_threshold", f"night.rb_threshold <= {_down(score, 4):.4g}", score)
    if why == "flagged":
        return Remedy("detect.masked_peaks", "detect.masked_peaks = true") if peak >= threshold_sigma else _NOTHING
    if why == "rim" and peak >= threshold_sigma and edge_distance_px >= 0:
        return Remedy("detect.edge_px", f"detect.edge_px <= {int(edge_distance_px)}", float(int(edge_distance_px)))
    if why == "blended":
        apart = float(source["beside_px"]) / fwhm_px
        return Remedy("detect.merge_fwhm", f"detect.merge_fwhm < {apart:.2f}", apart) if apart > 0 else _BLENDED
    if why == "position":
        offset = float(source["beside_px"])
        return Remedy("night.match_radius_px", f"night.match_radius_px >= {offset:.2f}", offset)
    return _FIXED.get(why, _NOTHING if why in ("outside", "rim") else Remedy("unknown"))


_NOTHING, _BLENDED = Remedy("nothing"), Remedy("subtraction")
_FIXED = {
    "failed": Remedy("the frame"), "trail": Remedy("detect.trails", "detect.trails = false"),
    "n_most": Remedy("detect.n_most", "a larger detect.n_most"), "known_object": Remedy("catalogue"),
    "rule": Remedy("rule"), "in_reference": Remedy("reference"),
}  # fmt: skip


def _of_gate(otherwise: str, limits: Mapping[str, float]) -> Remedy:
    """An image that passes saves only what would have been found on it."""
    if otherwise != "found" or not limits:
        return Remedy("unknown" if otherwise in ("", "unknown") or not limits else "the frame")
    words = ", ".join(f"quality.{name} >= {value:.3g}" for name, value in limits.items())
    return Remedy("quality", words, next(iter(limits.values())) if len(limits) == 1 else float("nan"))


def _down(value: float, digits: int) -> float:
    """Rounded down, so that the value itself still passes."""
    step = 10.0**digits
    return int(value * step) / step if value >= 0 else value


def count_remedies(names: Sequence[str]) -> list[RemedyCount]:
    """How many sources each remedy saves, the most first."""
    counts = Counter(names)
    order = sorted(counts, key=lambda name: (-counts[name], list(REMEDY_WORDS).index(name)))
    return [RemedyCount(name, counts[name], REMEDY_WORDS[name]) for name in order]
