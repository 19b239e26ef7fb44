"""ROC curve, operating points and what they mean in a night.

A test set holds as many reals as it holds; a night holds a few. Rates carry over from one to the other, the purity of
what is called real does not: it is computed for the numbers of a night (Axelsson 2000, ACM TISSEC 3, 186).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import (
    OperatingPoint,
    Threshold,
    operating_point,
    roc_curve,
    threshold_at_fpr,
    threshold_at_tpr,
)

__all__ = ["FPR", "TPR", "Curve", "Night", "NightPoint", "night_point", "operating_points", "sampled_curve"]

TPR: tuple[float, ...] = (0.90, 0.977, 0.98)  #: completeness at which false positives are told
FPR: tuple[float, ...] = (1e-2, 1e-3, 2e-4)  #: rates of false positives at which misses are told
_FEWEST = 10  # rows that must decide a condition


@dataclass(frozen=True, slots=True)
class Night:
    """What a night holds: `artifacts` and `reals` among the candidates."""

    artifacts: int = 20_000
    reals: float = 5.0

    def __post_init__(self) -> None:
        if self.artifacts < 1 or not self.reals > 0:
            raise InputError(f"a night of {self.artifacts} artifacts and {self.reals:g} reals: expected more than none")


@dataclass(frozen=True, slots=True)
class NightPoint:
    """One threshold in a night.

    Parameters
    ----------
    point : OperatingPoint
    false_positives, low, high : float
        Expected artifacts that pass, with the interval of 95 % of the rate.
    found : float
        Expected reals that pass.
    purity : float
        Share of reals among what passes.
    """

    point: OperatingPoint
    false_positives: float
    low: float
    high: float
    found: float
    purity: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """False- and true-positive rate by threshold, from the strictest to the laxest, shape (m,); and the sample."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    threshold: NDArray[np.float64]
    n_real: int
    n_bogus: int

    def purity(self, night: Night) -> NDArray[np.float64]:
        """Share of reals among what passes in a night, shape (m,); NaN where nothing passes."""
        good, bad = night.reals * self.tpr, night.artifacts * self.fpr
        total = good + bad
        share: NDArray[np.float64] = np.divide(good, total, out=np.full(total.shape, np.nan), where=total > 0)
        return share

    def precision(self) -> NDArray[np.float64]:
        """The same in the sample, as balanced as it is, shape (m,)."""
        return self.purity(Night(max(self.n_bogus, 1), max(self.n_real, 1)))


def sampled_curve(real: NDArray[np.bool_], scores: NDArray[Any], *, most: int = 600) -> Curve:
    """ROC curve of which about 3 x `most` points are kept, evenly in TPR, in log FPR and in log FNR.

    Raises
    ------
    InputError
        Without both classes.
    """
    real = np.asarray(real, bool)
    n_real, n_bogus = int(real.sum()), int((~real).sum())
    if not n_real or not n_bogus:
        raise InputError(f"{n_real} reals and {n_bogus} artifacts: a curve needs both")
    fpr, tpr, cut = roc_curve(real, scores)
    wanted = [
        np.searchsorted(fpr, np.geomspace(0.5 / n_bogus, 1.0, most)),
        np.searchsorted(tpr, np.linspace(0.0, 1.0, most)),
        np.searchsorted(tpr, 1.0 - np.geomspace(1.0, 0.5 / n_real, most)),
        np.array([0, len(fpr) - 1]),
    ]
    # The point before each, too, so that the steps of a small sample keep their corners.
    at = np.unique(np.concatenate(wanted).astype(np.int64))
    at = np.unique(np.clip(np.concatenate([at - 1, at]), 0, len(fpr) - 1))
    return Curve(fpr[at], tpr[at], cut[at], n_real, n_bogus)


def operating_points(
    real: NDArray[np.bool_],
    scores: NDArray[Any],
    *,
    threshold: Threshold | None = None,
    tpr: Sequence[float] = TPR,
    fpr: Sequence[float] = FPR,
) -> tuple[OperatingPoint, ...]:
    """What happens at a model's own threshold, and at those that the sample gives for wanted rates.

    The intervals are those of a threshold that was fixed before; one that the sample itself gave scatters, too, which
    `gueststar.realbogus.evaluation.compare` takes into account.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
    threshold : float or ndarray, shape (n,), optional
        Of the model, or of the model of each row; the point is called 'card'.
    tpr, fpr : sequence of float
        The points are called 'TPR 0.98', 'FPR 0.001'. They are `resolved` when at least 10 rows decide them.

    Raises
    ------
    InputError
        Without both classes.
    """
    real = np.asarray(real, bool)
    n_real, n_bogus = int(real.sum()), int((~real).sum())
    if not n_real or not n_bogus:
        raise InputError(f"{n_real} reals and {n_bogus} artifacts: operating points need both")
    points = [] if threshold is None else [operating_point("card", real, scores, threshold)]
    for wanted in tpr:
        enough = n_real * (1.0 - wanted) >= _FEWEST - 1e-9
        points.append(operating_point(f"TPR {wanted:g}", real, scores, threshold_at_tpr(real, scores, wanted), enough))
    for wanted in fpr:
        enough = n_bogus * wanted >= _FEWEST - 1e-9
        points.append(operating_point(f"FPR {wanted:g}", real, scores, threshold_at_fpr(real, scores, wanted), enough))
    return tuple(points)


def night_point(point: OperatingPoint, night: Night) -> NightPoint:
    """What a threshold does in a night."""
    rates = (point.fpr.value, point.fpr.low, point.fpr.high)
    passing, low, high = (night.artifacts * value for value in rates)
    found = night.reals * point.tpr.value
    total = passing + found
    return NightPoint(point, passing, low, high, found, found / total if total > 0 else math.nan)
