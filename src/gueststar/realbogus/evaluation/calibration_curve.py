"""Whether a score is a chance: the share of reals among rows of equal score, and how far both are apart.

The expected calibration error (Naeini, Cooper & Hauskrecht 2015, AAAI 29, 2901) is taken over bins that hold equally
many rows, because scores crowd at 0 and 1, where bins of equal width would hide everything in two of them (Nguyen &
O'Connor 2015, EMNLP, 1587).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import clopper_pearson

__all__ = ["CalibrationBin", "CalibrationCurve", "calibration_curve", "expected_calibration_error"]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of neighbouring scores: mean score, share of reals with its interval of 95 %, number of rows.

    With class weights, `score` and `share` are weighted, and the interval is that of the effective number of rows.
    """

    score: float
    share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Share of reals by score.

    Parameters
    ----------
    bins : tuple of CalibrationBin
        By score.
    ece : float
        Mean distance of share and score over all rows.
    largest : float
        Largest such distance of a bin.
    brier : float
        Mean square of score minus label (Brier 1950, Mon. Weather Rev. 78, 1).
    prior : float
        Share of reals that the rows stand for.
    """

    bins: tuple[CalibrationBin, ...]
    ece: float
    largest: float
    brier: float
    prior: float


def calibration_curve(
    real: NDArray[np.bool_], scores: NDArray[Any], *, bins: int = 15, prior: float | None = None
) -> CalibrationCurve:
    """Compare scores with the share of reals.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
        0..1.
    bins : int
        Bins of equally many rows; equal scores are never divided, so there may be fewer.
    prior : float, optional
        Share of reals that the scores are meant for; classes are weighted to it. None: as in the sample.

    Raises
    ------
    InputError
        When a score is outside 0..1 or not a number, there are no rows, or a class is missing that must be weighted.
    """
    real, scores = np.asarray(real, bool), np.asarray(scores, np.float64)
    if real.shape != scores.shape or real.ndim != 1 or not real.size:
        raise InputError(f"labels {real.shape} and scores {scores.shape} must be (n,) alike, n > 0")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError("a score is not between 0 and 1: calibration compares chances; give scores, not logits")
    if bins < 1:
        raise InputError(f"bins = {bins}: at least one is needed")
    weight_real, weight_bogus = _weights(real, prior)
    order = np.argsort(scores, kind="stable")
    score, truth = scores[order], real[order]
    weight = np.where(truth, weight_real, weight_bogus)
    found = [_bin(score[a:b], truth[a:b], weight[a:b]) for a, b in _edges(score, bins)]
    mass = np.array([part for _, part in found])
    away = np.array([abs(item.share - item.score) for item, _ in found])
    return CalibrationCurve(
        bins=tuple(item for item, _ in found),
        ece=float((mass * away).sum() / mass.sum()),
        largest=float(away.max()),
        brier=float((weight * (score - truth) ** 2).sum() / weight.sum()),
        prior=float(weight[truth].sum() / weight.sum()),
    )


def expected_calibration_error(
    real: NDArray[np.bool_], scores: NDArray[Any], *, bins: int = 15, prior: float | None = None
) -> float:
    """Mean distance of score and share of reals over bins of equally many rows; see `calibration_curve`."""
    return calibration_curve(real, scores, bins=bins, prior=prior).ece


def _weights(real: NDArray[np.bool_], prior: float | None) -> tuple[float, float]:
    if prior is None:
        return 1.0, 1.0
    n, n_real = real.size, int(real.sum())
    if not 0 < prior < 1:
        raise InputError(f"prior {prior!r}: expected a share between 0 and 1, both excluded")
    if n_real in (0, n):
        raise InputError(f"{n_real} of {n} rows are real: classes can be weighted only when both are there")
    return prior * n / n_real, (1.0 - prior) * n / (n - n_real)


def _edges(score: NDArray[np.float64], bins: int) -> list[tuple[int, int]]:
    """Ends of bins of equally many rows, moved up so that equal scores stay together."""
    n = score.size
    wanted = np.linspace(0, n, min(bins, n) + 1).astype(np.int64)[1:-1]
    inner = np.searchsorted(score, score[wanted], side="left")
    ends = np.unique(np.concatenate([[0], inner, [n]]))
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))


def _bin(
    score: NDArray[np.float64], truth: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[CalibrationBin, float]:
    total = float(weight.sum())
    share = float(weight[truth].sum() / total)
    # Kish's effective number of rows, so that a few rows of large weight do not look like many.
    effective = max(round(total**2 / float((weight**2).sum())), 1)
    low, high = clopper_pearson(math.floor(share * effective + 0.5), effective)
    return CalibrationBin(float((weight * score).sum() / total), share, low, high, int(score.size)), total
