"""Differences between models on the same rows, with intervals that know that rows of one image go together.

Whole images are drawn with replacement and every model is measured on each draw (paired cluster bootstrap: Efron 1979,
Ann. Stat. 7, 1; Davison & Hinkley 1997, Bootstrap Methods, Sec. 3.8). Thresholds are found anew in each draw, so their
scatter is in the intervals, which are those between the 2.5th and the 97.5th of a hundred draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["METRICS", "Difference", "Replicas", "differences", "resample"]

#: What is compared: name to (words, whether more is better).
METRICS: dict[str, tuple[str, bool]] = {
    "auc": ("AUC", True),
    "fpr_at_tpr_0.9": ("FPR at TPR 0.90", False),
    "fpr_at_tpr_0.98": ("FPR at TPR 0.98", False),
    "fnr_at_fpr_0.01": ("FNR at FPR 1e-2", False),
    "fnr_at_fpr_0.001": ("FNR at FPR 1e-3", False),
}
_TPR, _FPR = (0.90, 0.98), (1e-2, 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class Replicas:
    """Measures of m models on the sample and on its draws.

    Parameters
    ----------
    models : tuple of str
    values : ndarray, shape (m, 5)
        On the sample itself, in the order of `METRICS`.
    draws : ndarray, shape (b, m, 5)
    groups : int
        Images that were drawn from. With fewer than about 20 the intervals are too narrow.
    """

    models: tuple[str, ...]
    values: NDArray[np.float64]
    draws: NDArray[np.float64]
    groups: int

    def interval(self, model: int, metric: str) -> tuple[float, float]:
        """95 % interval of one measure of one model; NaN where draws do not give it."""
        return _interval(self.draws[:, model, list(METRICS).index(metric)])

    def value(self, model: int, metric: str) -> float:
        """One measure of one model on the sample."""
        return float(self.values[model, list(METRICS).index(metric)])


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of two models.

    Parameters
    ----------
    metric, first, second : str
    value_first, value_second : float
    difference, low, high : float
        Second minus first, with its interval of 95 %.
    ratio, ratio_low, ratio_high : float
        Second over first; NaN where the first is 0.
    better : str
        The model that is better with the whole interval on its side; empty when it includes no difference.
    """

    metric: str
    first: str
    second: str
    value_first: float
    value_second: float
    difference: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    better: str


def resample(
    real: NDArray[np.bool_],
    scores: Sequence[NDArray[Any]],
    groups: NDArray[np.integer[Any]],
    *,
    models: Sequence[str],
    rng: np.random.Generator,
    draws: int = 500,
    progress: Callable[[int, int], None] | None = None,
) -> Replicas:
    """Measure models on draws of whole groups.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : sequence of ndarray, shape (n,) each
        Of every model, for the same rows.
    groups : ndarray of int, shape (n,)
        Which image each row belongs to.
    models : sequence of str
        Their names.
    rng : Generator
    draws : int
        A draw of 10^6 rows takes 0.02 s for each model.
    progress : callable, optional
        Called as progress(done, total).

    Raises
    ------
    InputError
        When lengths differ, a class is missing, or there is a single group.
    """
    real = np.asarray(real, bool)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(codes.max(initial=-1)) + 1
    if len(models) != len(scores) or any(np.shape(item) != real.shape for item in scores):
        raise InputError(
            f"{len(models)} models, scores {[np.shape(s) for s in scores]}, labels {real.shape}: not alike"
        )
    if not real.any() or real.all():
        raise InputError("models can be compared on both classes only; one is missing")
    if n_groups < 2:
        raise InputError("all rows are of one group: nothing can be drawn; name another column with --group-by")
    ordered = [_Ordered.of(real, np.asarray(item, np.float64), codes) for item in scores]
    once = np.ones(n_groups, np.int64)
    values = np.array([item.measure(once) for item in ordered])
    found = np.empty((draws, len(models), len(METRICS)))
    for i in range(draws):
        weight = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        found[i] = [item.measure(weight) for item in ordered]
        if progress is not None:
            progress(i + 1, draws)
    return Replicas(tuple(models), values, found, n_groups)


def differences(replicas: Replicas, *, most: int = 5) -> tuple[Difference, ...]:
    """Every pair of models, or the first against every other when there are more than `most`."""
    m = len(replicas.models)
    pairs = list(combinations(range(m), 2)) if m <= most else [(0, i) for i in range(1, m)]
    return tuple(_difference(replicas, a, b, metric) for a, b in pairs for metric in METRICS)


def _difference(replicas: Replicas, a: int, b: int, metric: str) -> Difference:
    at = list(METRICS).index(metric)
    first, second = (replicas.draws[:, i, at] for i in (a, b))
    value_a, value_b = float(replicas.values[a, at]), float(replicas.values[b, at])
    low, high = _interval(second - first)
    ratios = np.divide(second, first, out=np.full(len(first), np.inf), where=first > 0)
    ratios[(first == 0) & (second == 0)] = 1.0
    ratio_low, ratio_high = _interval(ratios)
    better = ""
    if low > 0 or high < 0:
        better = replicas.models[b if (low > 0) == METRICS[metric][1] else a]
    return Difference(
        metric, replicas.models[a], replicas.models[b], value_a, value_b, value_b - value_a, low, high,
        value_b / value_a if value_a else math.nan, ratio_low, ratio_high, better,
    )  # fmt: skip


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    # Order statistics, because ratios may be infinite and must not be interpolated.
    low, high = np.quantile(known, (0.025, 0.975), method="nearest")
    return float(low), float(high)


@dataclass(frozen=True, slots=True, eq=False)
class _Ordered:
    """Scores of one model, sorted from high to low within each class, and how the two orders interleave.

    All that a draw changes is how often each group counts, so a draw costs two gathers and two cumulative sums.
    """

    real_group: NDArray[np.int32]
    bogus_group: NDArray[np.int32]
    above: NDArray[np.int64]  # of each real: artifacts with a higher score
    at_least: NDArray[np.int64]  # of each real: artifacts with as high a score
    reals_above: NDArray[np.int64]  # of each artifact: reals with a higher score

    @classmethod
    def of(cls, real: NDArray[np.bool_], scores: NDArray[np.float64], codes: NDArray[np.integer[Any]]) -> _Ordered:
        order = np.argsort(-scores, kind="stable")
        truth, minus, group = real[order], -scores[order], codes[order].astype(np.int32)
        reals, bogus = minus[truth], minus[~truth]
        return cls(
            group[truth],
            group[~truth],
            np.searchsorted(bogus, reals, side="left"),
            np.searchsorted(bogus, reals, side="right"),
            np.searchsorted(reals, bogus, side="left"),
        )

    def measure(self, weight: NDArray[np.integer[Any]]) -> tuple[float, ...]:
        """The measures when each group counts `weight` times; NaN without both classes."""
        own = weight[self.real_group]
        reals = np.concatenate([[0], np.cumsum(own)])
        bogus = np.concatenate([[0], np.cumsum(weight[self.bogus_group])])
        n_real, n_bogus = int(reals[-1]), int(bogus[-1])
        if not n_real or not n_bogus:
            return (math.nan,) * len(METRICS)
        lost = float(np.dot(own, bogus[self.above] + bogus[self.at_least])) / (2.0 * n_real * n_bogus)
        rates = []
        for wanted in _TPR:
            last = int(np.searchsorted(reals, math.ceil(wanted * n_real - 1e-9)))  # reals needed, a count from 1
            rates.append(float(bogus[self.at_least[max(last - 1, 0)]]) / n_bogus)
        for wanted in _FPR:
            allowed = math.floor(wanted * n_bogus + 1e-9)
            first = int(np.searchsorted(bogus, allowed, side="right")) - 1  # the artifact that would be one too many
            kept = int(reals[self.reals_above[first]]) if first < len(self.reals_above) else n_real
            rates.append(1.0 - kept / n_real)
        return (1.0 - lost, *rates)
