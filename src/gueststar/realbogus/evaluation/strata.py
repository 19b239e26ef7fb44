"""The same measures on parts of the sample: by signal to noise, chip, kind, crowding, and whatever else a row tells.

Three questions are told apart. At the *common* threshold, which is what a survey runs with: how complete and how clean
is this part? At the part's own threshold of a wanted completeness: how many of *its own* artifacts pass, which is what
the founding slides show for S/N > 20; and how many of *all* artifacts would, which is what an alert on bright sources
would have to live with if artifacts of any strength were let in?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import Rate, Threshold, auc, auc_error, rate, roc_curve, threshold_at_tpr

__all__ = [
    "BINNED",
    "SNR_BINS",
    "SNR_CUTS",
    "Judged",
    "Stratum",
    "binned_strata",
    "class_strata",
    "interval_name",
    "rocs_of_cuts",
    "snr_strata",
]

#: Cuts of the founding slides.
SNR_CUTS: tuple[tuple[float, float], ...] = (
    (20, math.inf), (30, math.inf), (40, math.inf), (60, math.inf), (0, 20),
)  # fmt: skip
#: Intervals of |S/N|.
SNR_BINS: tuple[tuple[float, float], ...] = ((5, 7), (7, 10), (10, 20), (20, 40), (40, math.inf))
#: Numbers by which rows are told apart where a set has them: column to (words, limits).
BINNED: dict[str, tuple[str, tuple[float, ...]]] = {
    "host_offset_r25": ("offset from the host, R25", (0, 0.1, 0.25, 0.5, 1, 2, math.inf)),
    "host_offset_px": ("offset from the host, px", (0, 1, 2, 4, 8, 16, math.inf)),
    "galaxy_sep": ("distance to the nearest galaxy, arcsec", (0, 1, 2, 5, 10, 30, math.inf)),
    "host_dlr": ("offset from the host in its directional light radius", (0, 0.5, 1, 2, 4, math.inf)),
    "star_distance": ("distance to the nearest source of the reference, px", (0, 1, 2, 4, 8, 16, math.inf)),
    "local_scatter": ("scatter of the difference around it (1: empty sky)", (0, 1.05, 1.2, 1.5, 2, math.inf)),
    "psf_fwhm": ("width of the PSF, px", (0, 2, 2.5, 3, 3.5, 4, 5, math.inf)),
    "mask_fraction": ("share of flagged pixels", (0, 0.001, 0.1, 0.3, math.inf)),
}
_FEWEST = 10


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A scored sample as the measures of its parts need it.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
    threshold : float or ndarray, shape (n,)
        The common one, or that of the model of each row.
    """

    real: NDArray[np.bool_]
    scores: NDArray[Any]
    threshold: Threshold

    def __post_init__(self) -> None:
        if self.real.shape != self.scores.shape or self.real.ndim != 1:
            raise InputError(f"labels {self.real.shape} and scores {self.scores.shape} must be (n,) alike")


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the sample.

    Parameters
    ----------
    group, name : str
        By what it is a part, and which: 'S/N', '> 20'.
    n_real, n_bogus : int
    auc, auc_err : float
        Its reals against its own artifacts; NaN without both.
    tpr, fpr : Rate
        At the common threshold.
    threshold : float
        At which its own completeness is the one asked for; NaN without reals.
    fpr_own, fpr_all : Rate
        Its own artifacts, and all artifacts, at that threshold.
    auc_all : float
        Its reals against all artifacts.
    resolved : bool
        At least 10 reals are beyond its own threshold.
    """

    group: str
    name: str
    n_real: int
    n_bogus: int
    auc: float
    auc_err: float
    tpr: Rate
    fpr: Rate
    threshold: float
    fpr_own: Rate
    fpr_all: Rate
    auc_all: float
    resolved: bool

    @property
    def confusion(self) -> tuple[int, int, int, int]:
        """True and false positives, true and false negatives at the common threshold."""
        return (self.tpr.hits, self.fpr.hits, self.fpr.trials - self.fpr.hits, self.tpr.trials - self.tpr.hits)


def snr_strata(
    judged: Judged, snr: NDArray[Any], intervals: Sequence[tuple[float, float]], *, wanted: float = 0.98
) -> tuple[Stratum, ...]:
    """Parts by signal to noise, the sign ignored; rows without one are in none.

    Parameters
    ----------
    judged : Judged
    snr : ndarray, shape (n,)
    intervals : sequence of (float, float)
        low <= |S/N| < high; `SNR_CUTS`, `SNR_BINS`.
    wanted : float
        Completeness for the thresholds of the parts.
    """
    strength = np.abs(np.asarray(snr, np.float64))
    bogus = np.sort(judged.scores[~judged.real])
    return tuple(
        _stratum("S/N", interval_name(low, high), (strength >= low) & (strength < high), judged, bogus, wanted)
        for low, high in intervals
    )


def class_strata(
    judged: Judged,
    group: str,
    codes: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    wanted: float = 0.98,
    empty: str = "none",
) -> tuple[Stratum, ...]:
    """Parts by a text column, by name.

    Parameters
    ----------
    judged : Judged
    group : str
        What the column says.
    codes : ndarray of int, shape (n,)
        Number of the name of each row.
    names : sequence of str
    wanted : float
    empty : str
        What the rows without a name are called.
    """
    bogus = np.sort(judged.scores[~judged.real])
    there = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    ordered = sorted(there.tolist(), key=lambda code: names[code])
    return tuple(_stratum(group, names[i] or empty, codes == i, judged, bogus, wanted) for i in ordered)


def binned_strata(
    judged: Judged, group: str, values: NDArray[Any], limits: Sequence[float], *, wanted: float = 0.98
) -> tuple[Stratum, ...]:
    """Parts by a number between limits; intervals without a row, and rows without a number, are left out."""
    bogus = np.sort(judged.scores[~judged.real])
    values = np.asarray(values, np.float64)
    found = []
    for low, high in pairwise(limits):
        inside = (values >= low) & (values < high)
        if inside.any():
            found.append(_stratum(group, interval_name(low, high), inside, judged, bogus, wanted))
    return tuple(found)


def interval_name(low: float, high: float) -> str:
    """An interval in words: '5-7', '> 40', '< 20'."""
    if math.isinf(high):
        return f"> {low:g}"
    return f"< {high:g}" if low == 0 else f"{low:g}-{high:g}"


def _stratum(
    group: str, name: str, inside: NDArray[np.bool_], judged: Judged, bogus: NDArray[Any], wanted: float
) -> Stratum:
    real, scores = judged.real[inside], np.asarray(judged.scores[inside], np.float64)
    n_real, n_bogus = int(real.sum()), int((~real).sum())
    called = scores >= np.broadcast_to(judged.threshold, inside.shape)[inside]
    cut = threshold_at_tpr(real, scores, wanted) if n_real else math.nan
    passing_all = len(bogus) - int(np.searchsorted(bogus, cut)) if n_real else 0
    return Stratum(
        group=group,
        name=name,
        n_real=n_real,
        n_bogus=n_bogus,
        auc=auc(real, scores),
        auc_err=auc_error(real, scores),
        tpr=rate(int(called[real].sum()), n_real),
        fpr=rate(int(called[~real].sum()), n_bogus),
        threshold=cut,
        fpr_own=rate(int((scores[~real] >= cut).sum()), n_bogus if n_real else 0),
        fpr_all=rate(passing_all, len(bogus) if n_real else 0),
        auc_all=_auc_against(scores[real], bogus),
        resolved=n_real * (1.0 - wanted) >= _FEWEST - 1e-9,
    )


def _auc_against(reals: NDArray[Any], bogus: NDArray[Any]) -> float:
    """Area under the curve of some reals against artifacts that are sorted by score."""
    if not len(reals) or not len(bogus):
        return math.nan
    below = np.searchsorted(bogus, reals, side="left") + np.searchsorted(bogus, reals, side="right")
    return float(below.mean() / (2 * len(bogus)))


def rocs_of_cuts(
    judged: Judged, snr: NDArray[Any], intervals: Sequence[tuple[float, float]]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """False- and true-positive rates of each interval of |S/N| that has both classes, against its own artifacts."""
    strength = np.abs(np.asarray(snr, np.float64))
    curves = {}
    for low, high in intervals:
        inside = (strength >= low) & (strength < high)
        real = judged.real[inside]
        if real.any() and not real.all():
            fpr, tpr, _ = roc_curve(real, judged.scores[inside])
            curves[interval_name(low, high)] = (fpr, tpr)
    return curves
