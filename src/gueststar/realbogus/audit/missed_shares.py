"""Whether missed reals lie where the subtraction failed, or on hosts, more often than the found ones do.

Shares have Wilson (1927, JASA 22, 209) intervals. The difference of two shares has the hybrid score interval of
Newcombe (1998, Statist. Med. 17, 873, method 10); with ten frames or more, whole frames are drawn again instead,
because sources of one frame share its subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

__all__ = ["FAILED_RESIDUAL_SNR", "FAILED_SCATTER", "Comparison", "Share", "compare_shares", "on_failed", "share_of"]

#: A subtraction has failed around a source where the score scatters by more than this (1 on empty sky),
FAILED_SCATTER = 1.3
#: or where it left a residual of this significance within 1.5 FWHM of the place.
FAILED_RESIDUAL_SNR = 5.0
_FEWEST_FRAMES = 10
_DRAWS = 1000
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Share:
    """k of n, with the 95 % interval of the share; NaN of none."""

    k: int
    n: int
    fraction: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Share among the missed, among the found, and the difference with its 95 % interval.

    `by_frames` tells whether whole frames were drawn for the interval of the difference.
    """

    name: str
    missed: Share
    found: Share
    difference: float
    interval: Interval
    by_frames: bool

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out no difference."""
        return bool(self.interval[0] > 0 or self.interval[1] < 0)


def on_failed(local_scatter: ArrayLike, residual_snr: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a subtraction failed at each place, and whether that is known; each of shape (n,).

    Parameters
    ----------
    local_scatter : array_like, shape (n,)
        Scatter of the score within 32 px; NaN where it is not known.
    residual_snr : array_like, shape (n,)
        Largest |score| within 1.5 FWHM without the source; NaN where it is not known.
    """
    scatter, residual = np.asarray(local_scatter, np.float64), np.asarray(residual_snr, np.float64)
    return (scatter > FAILED_SCATTER) | (residual > FAILED_RESIDUAL_SNR), np.isfinite(scatter) | np.isfinite(residual)


def share_of(k: int, n: int) -> Share:
    """Share with its Wilson interval."""
    if n == 0:
        return Share(0, 0, float("nan"), (float("nan"), float("nan")))
    found = binomtest(k, n).proportion_ci(method="wilson")
    return Share(k, n, k / n, (float(found.low), float(found.high)))


def compare_shares(
    name: str, there: ArrayLike, missed: ArrayLike, frames: ArrayLike, *, rng: np.random.Generator
) -> Comparison:
    """Compare the share of the missed that lie in a kind of place with that of the found.

    Parameters
    ----------
    name : str
        Of the kind of place.
    there : array_like of bool, shape (n,)
        The source lies there.
    missed : array_like of bool, shape (n,)
    frames : array_like, shape (n,)
        Name of each source's frame.
    rng : Generator
        For the frames that are drawn.
    """
    here, lost = np.asarray(there, bool), np.asarray(missed, bool)
    shares = [share_of(int((here & which).sum()), int(which.sum())) for which in (lost, ~lost)]
    gap = shares[0].fraction - shares[1].fraction
    names, member = np.unique(np.asarray(frames), return_inverse=True)
    if not shares[0].n or not shares[1].n:
        return Comparison(name, shares[0], shares[1], float("nan"), (float("nan"), float("nan")), by_frames=False)
    if len(names) < _FEWEST_FRAMES:
        return Comparison(name, shares[0], shares[1], gap, _newcombe(*shares), by_frames=False)
    cells = [here & lost, lost, here & ~lost, ~lost]
    counts = np.stack([np.bincount(member.ravel(), weights=cell, minlength=len(names)) for cell in cells])
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=_DRAWS) @ counts.T
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]
    low, high = np.nanquantile(gaps, (0.025, 0.975))
    return Comparison(name, shares[0], shares[1], gap, (float(low), float(high)), by_frames=True)


def _newcombe(first: Share, second: Share) -> Interval:
    """Hybrid score interval of the difference of two shares."""
    gap = first.fraction - second.fraction
    (l1, u1), (l2, u2) = first.interval, second.interval
    below = np.hypot(first.fraction - l1, u2 - second.fraction)
    above = np.hypot(u1 - first.fraction, second.fraction - l2)
    return float(gap - below), float(gap + above)
