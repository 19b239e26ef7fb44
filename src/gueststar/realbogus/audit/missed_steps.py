"""The step of the chain that lost a real, and why: one rule for artificial, simulated and catalogued sources.

A source is lost at the first step that it does not pass:

outside
    It is not on the frame.
gate
    The frame or its subtraction failed, or was rejected: nothing on it counts.
mask
    It lies, or its light peaks, on flagged pixels or on the rim of the frame.
detection
    It has no peak of its own above the threshold: too faint, drowned in what a star or a galaxy left, or blended with
    something stronger.
measurement
    It has a peak, but no candidate came of it: the peak was taken for a part of a trail, or fell beyond the largest
    number of candidates.
match
    The candidate of its peak was measured further away than the match radius, or was called a known object.
score
    The network scored its candidate below the threshold.
rule
    A later rule of the night rejected it.

Which of the reasons of detection, measurement and match holds is told by a climb: from the place of the source uphill
on the score, to the peak that its light belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Literal

__all__ = ["DROWNED_SIGMA", "REASONS", "STEPS", "STEP_WORDS", "Holder", "Seen", "reason_of", "step_of"]

#: Steps at which a source can be lost, in the order in which it meets them.
STEPS = ("outside", "gate", "mask", "detection", "measurement", "match", "score", "rule")

STEP_WORDS: Mapping[str, str] = {
    "outside": "not on the frame",
    "gate": "the frame or its subtraction failed, or was rejected",
    "mask": "on flagged pixels or the rim of the frame",
    "detection": "no peak of its own above the threshold",
    "measurement": "a peak, but no candidate came of it",
    "match": "measured too far away, or called a known object",
    "score": "candidate scored below the threshold",
    "rule": "rejected by a later rule",
}

#: Reasons, each with its step and what it means.
REASONS: Mapping[str, tuple[str, str]] = {
    "outside": ("outside", "not on the frame"),
    "failed": ("gate", "the frame failed before anything was searched"),
    "rejected": ("gate", "a quality gate rejected the image"),
    "flagged": ("mask", "on flagged pixels"),
    "rim": ("mask", "on the rim of the frame, where nothing is detected"),
    "faint": ("detection", "below the detection threshold"),
    "drowned": ("detection", "bright enough, but its light is lost in what the subtraction left there"),
    "blended": ("detection", "its light belongs to a stronger peak beside it"),
    "in_reference": ("detection", "the reference was taken after its discovery and may hold its light"),
    "trail": ("measurement", "its peak was taken for a part of a trail"),
    "n_most": ("measurement", "weaker than the largest number of candidates that are kept"),
    "dropped": ("measurement", "its peak became no candidate; why is not known"),
    "position": ("match", "measured further away than the match radius"),
    "known_object": ("match", "called a known variable or asteroid"),
    "score": ("score", "score below the threshold"),
    "rule": ("rule", "rejected by a later rule"),
    "unknown": ("detection", "no candidate; the run kept no plane that tells why"),
}  # fmt: skip

#: How far above the threshold the S/N of a source must be expected for noise not to explain that it is below it.
DROWNED_SIGMA = 2.0

Holder = Literal["none", "moved", "other", "merged", "trail", "n_most"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the planes of a difference show of a source that has no candidate within the match radius.

    Parameters
    ----------
    inside : bool
        On the frame.
    rim : bool
        On the rim in which nothing is detected.
    flagged : bool
        On a flagged pixel, or not put in because too much of its light is on such.
    peak_snr : float
        Score of its sign, at the peak that its light belongs to when that is within the match radius, else the largest
        on the nine pixels around the place; NaN: no score was kept.
    own : bool
        That peak is within the match radius.
    peak_flagged : bool
        That peak is on a flagged pixel.
    expected_snr : float
        Change of flux over its error in the difference; NaN: not known.
    holder : {'none', 'moved', 'other', 'merged', 'trail', 'n_most'}
        What became of its light: a candidate of its S/N that no other source has, further away than the match
        radius; and of its own peak: a candidate that is another source's; dropped beside a stronger peak, as a part of
        a trail, or beyond the largest number; or nothing of these.
    """

    inside: bool
    rim: bool
    flagged: bool
    peak_snr: float
    own: bool
    peak_flagged: bool
    expected_snr: float
    holder: Holder


_HOLDERS: Mapping[Holder, str] = {
    "none": "dropped", "moved": "position", "other": "blended", "merged": "blended", "trail": "trail",
    "n_most": "n_most",
}  # fmt: skip


def reason_of(seen: Seen, *, threshold_sigma: float) -> str:
    """Why a source of a frame that was searched has no candidate; a key of `REASONS`.

    Parameters
    ----------
    seen : Seen
    threshold_sigma : float
        Of the detection.
    """
    if not seen.inside:
        return "outside"
    # A peak of its own on good pixels is seen, whatever the pixel in the middle is.
    seen_beside = seen.own and not seen.peak_flagged and seen.peak_snr >= threshold_sigma
    if seen.flagged and not seen_beside:
        return "flagged"
    if seen.rim:
        return "rim"
    if isnan(seen.peak_snr):
        return "unknown"
    if seen.holder == "moved":
        return "position"
    if seen.peak_snr < threshold_sigma:
        return "drowned" if seen.expected_snr >= threshold_sigma + DROWNED_SIGMA else "faint"
    if seen.own and seen.peak_flagged:
        return "flagged"
    reason = _HOLDERS[seen.holder] if seen.own else "blended"
    # What is far too faint has no peak of its own, whatever shines beside it.
    return "faint" if reason == "blended" and seen.expected_snr < threshold_sigma - DROWNED_SIGMA else reason


def step_of(reason: str) -> str:
    """Step of a reason; the empty reason of those that were found has none."""
    return REASONS[reason][0] if reason else ""
