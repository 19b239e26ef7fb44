"""How good a set of scores is: ROC, misses at small false-positive rates, intervals, strata of signal to noise.

An AUC hides what matters here, so every evaluation also gives the false-positive rate at a wanted completeness and the
misses at a wanted false-positive rate, each with an exact binomial interval, and what the signal to noise alone scores.
These intervals count rows as independent; those of one image are not: `gueststar.realbogus.evaluation.drawn_images`.
Balanced test sets are not nightly performance: multiply the false-positive rate by the artifacts of a night.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, rankdata

from gueststar.errors import InputError

__all__ = [
    "SNR_STRATA",
    "Evaluation",
    "OperatingPoint",
    "Rate",
    "Threshold",
    "auc",
    "auc_error",
    "clopper_pearson",
    "evaluate",
    "operating_point",
    "rate",
    "roc_curve",
    "single_threshold",
    "threshold_at_fpr",
    "threshold_at_tpr",
]

#: Scores at and above it are called real; an array, shape (n,), has that of each row, as a set of models needs it.
Threshold = float | NDArray[np.floating[Any]]
#: Intervals (low, high) of |S/N| that are reported.
SNR_STRATA: tuple[tuple[float, float], ...] = (
    (5, 7), (7, 10), (10, 20), (20, 40), (40, math.inf), (0, 20), (20, math.inf),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its two-sided Clopper-Pearson interval of 95 %."""

    value: float
    low: float
    high: float
    hits: int
    trials: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What happens at one threshold.

    Parameters
    ----------
    name : str
        The condition, such as 'TPR 0.98'.
    threshold : float
        Scores at and above it are called real; NaN where rows have different ones.
    tpr, fpr : Rate
        Completeness and false-positive rate there.
    resolved : bool
        False when the sample is too small for the condition: fewer than ten artifacts (or reals) decide it.
    """

    name: str
    threshold: float
    tpr: Rate
    fpr: Rate
    resolved: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Quality of scores on one sample.

    Parameters
    ----------
    name : str
    n_real, n_bogus : int
    auc, auc_err : float
        Area under the ROC curve and its standard error (DeLong et al. 1988, Biometrics 44, 837); NaN without both
        classes.
    auc_snr : float
        What |S/N| alone would score on the same rows.
    points : tuple of OperatingPoint
    strata : tuple of Evaluation
        The same by S/N, each against the artifacts of its own interval.
    """

    name: str
    n_real: int
    n_bogus: int
    auc: float
    auc_err: float
    auc_snr: float
    points: tuple[OperatingPoint, ...]
    strata: tuple[Evaluation, ...] = ()

    def point(self, name: str) -> OperatingPoint:
        """One operating point by name."""
        for point in self.points:
            if point.name == name:
                return point
        raise KeyError(f"no operating point {name!r}; there are {[point.name for point in self.points]}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a model card or JSON."""
        return asdict(self)


def evaluate(
    labels: NDArray[Any],
    scores: NDArray[Any],
    snr: NDArray[Any],
    *,
    name: str = "all",
    tpr: Sequence[float] = (0.90, 0.98),
    fpr: Sequence[float] = (1e-2, 1e-3),
    strata: Sequence[tuple[float, float]] = SNR_STRATA,
) -> Evaluation:
    """Measure scores against labels.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        1 or True real, 0 or False artifact. Rows with another label are refused.
    scores : ndarray, shape (n,)
        Higher is more real; any scale.
    snr : ndarray, shape (n,)
        Signal to noise; the sign is ignored.
    name : str
        What the sample is called.
    tpr, fpr : sequence of float
        Completeness and false-positive rates at which the other rate is reported.
    strata : sequence of (float, float)
        Intervals low <= |S/N| < high.

    Raises
    ------
    InputError
        When lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    real, score, strength = _checked(labels, scores, snr)
    points: list[OperatingPoint] = []
    if real.any() and not real.all():
        n_real, n_bogus = int(real.sum()), int((~real).sum())
        for wanted in tpr:
            cut = threshold_at_tpr(real, score, wanted)
            points.append(operating_point(f"TPR {wanted:g}", real, score, cut, n_real * (1 - wanted) >= 10))
        for wanted in fpr:
            cut = threshold_at_fpr(real, score, wanted)
            points.append(operating_point(f"FPR {wanted:g}", real, score, cut, n_bogus * wanted >= 10))
    found = []
    for low, high in strata:
        inside = (strength >= low) & (strength < high)
        label = f"S/N {low:g}-{high:g}" if math.isfinite(high) else f"S/N > {low:g}"
        label = f"S/N < {high:g}" if low == 0 else label
        found.append(evaluate(real[inside], score[inside], strength[inside], name=label, tpr=tpr, fpr=fpr, strata=()))
    return Evaluation(
        name=name,
        n_real=int(real.sum()),
        n_bogus=int((~real).sum()),
        auc=auc(real, score),
        auc_err=auc_error(real, score),
        auc_snr=auc(real, strength),
        points=tuple(points),
        strata=tuple(found),
    )


def roc_curve(
    real: NDArray[np.bool_], scores: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """False- and true-positive rate at every distinct threshold, from the strictest to the laxest.

    Returns
    -------
    fpr, tpr, threshold : ndarray, shape (m,)
        The first entry is the empty selection (0, 0) at threshold infinity.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    score, truth = np.asarray(scores, np.float64)[order], np.asarray(real, bool)[order]
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1) if score.size else np.empty(0, np.int64)
    hits, alarms = np.cumsum(truth)[last], np.cumsum(~truth)[last]
    tpr = np.concatenate(([0.0], hits / max(int(truth.sum()), 1)))
    fpr = np.concatenate(([0.0], alarms / max(int((~truth).sum()), 1)))
    return fpr, tpr, np.concatenate(([np.inf], score[last]))


def auc(real: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """Chance that a real scores above an artifact, ties counting half; NaN without both classes."""
    real = np.asarray(real, bool)
    n1, n0 = int(real.sum()), int((~real).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[real].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def auc_error(real: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """Standard error of the AUC (DeLong et al. 1988, Biometrics 44, 837, by the ranks of Sun & Xu 2014)."""
    real = np.asarray(real, bool)
    n1, n0 = int(real.sum()), int((~real).sum())
    if n1 < 2 or n0 < 2:
        return float("nan")
    scores = np.asarray(scores, np.float64)
    ranks = rankdata(scores)
    above = (ranks[real] - rankdata(scores[real])) / n0  # of each real: share of artifacts below it
    below = 1.0 - (ranks[~real] - rankdata(scores[~real])) / n1  # of each artifact: share of reals above it
    return math.sqrt(float(above.var(ddof=1)) / n1 + float(below.var(ddof=1)) / n0)


def clopper_pearson(hits: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided binomial interval (Clopper & Pearson 1934, Biometrika 26, 404); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def threshold_at_tpr(real: NDArray[np.bool_], scores: NDArray[Any], wanted: float) -> float:
    """Highest threshold at which at least `wanted` of the reals score at or above it."""
    ordered = np.sort(np.asarray(scores, np.float64)[np.asarray(real, bool)])[::-1]
    return float(ordered[min(max(math.ceil(wanted * ordered.size - 1e-9), 1), ordered.size) - 1])


def threshold_at_fpr(real: NDArray[np.bool_], scores: NDArray[Any], wanted: float) -> float:
    """Lowest threshold at which at most `wanted` of the artifacts score at or above it."""
    ordered = np.sort(np.asarray(scores, np.float64)[~np.asarray(real, bool)])[::-1]
    allowed = math.floor(wanted * ordered.size + 1e-9)
    return float(np.nextafter(ordered[allowed], np.inf)) if allowed < ordered.size else float(ordered[-1])


def operating_point(
    name: str, real: NDArray[np.bool_], scores: NDArray[Any], cut: Threshold, resolved: bool = True
) -> OperatingPoint:
    """What happens at the threshold `cut`; `resolved` is whether the sample suffices for the condition `name`."""
    # In double precision, because a threshold just above a score is none in single precision.
    called = np.asarray(scores, np.float64) >= cut
    real = np.asarray(real, bool)
    return OperatingPoint(
        name,
        single_threshold(cut),
        rate(int(called[real].sum()), int(real.sum())),
        rate(int(called[~real].sum()), int((~real).sum())),
        resolved,
    )


def single_threshold(threshold: Threshold) -> float:
    """The threshold of all rows; NaN where they have different ones."""
    values = np.unique(threshold)
    return float(values[0]) if values.size == 1 else float("nan")


def rate(hits: int, trials: int) -> Rate:
    """A share with its Clopper-Pearson interval of 95 %; NaN without trials."""
    low, high = clopper_pearson(hits, trials)
    return Rate(hits / trials if trials else float("nan"), low, high, hits, trials)


def _checked(
    labels: NDArray[Any], scores: NDArray[Any], snr: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    labels, scores, snr = np.asarray(labels), np.asarray(scores, np.float64), np.asarray(snr, np.float64)
    if not labels.shape == scores.shape == snr.shape or labels.ndim != 1:
        raise InputError(f"labels {labels.shape}, scores {scores.shape} and snr {snr.shape} must be (n,) alike")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("a label is neither 0 nor 1; leave out rows that are neither real nor artifact")
    if np.isnan(scores).any():
        raise InputError(f"{int(np.isnan(scores).sum())} scores are NaN; a score must be a number")
    return labels.astype(bool), scores, np.abs(snr)
