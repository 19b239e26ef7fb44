"""What a person finds who looks at the best K candidates, the order being that of the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import roc_curve
from gueststar.realbogus.evaluation.curves import Night

__all__ = ["RANKS", "Rank", "recall_at_rank", "recall_in_night"]

RANKS: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, slots=True)
class Rank:
    """The best `k` candidates: share of all reals among them, share of them that is real, and the score at rank k."""

    k: int
    recall: float
    purity: float
    score: float


def recall_at_rank(real: NDArray[np.bool_], scores: NDArray[Any], *, ranks: Sequence[int] = RANKS) -> tuple[Rank, ...]:
    """Reals among the best k rows of the sample itself, for every k up to its size.

    Rows of equal score count with the share of reals among them, so their order does not matter.

    Raises
    ------
    InputError
        Without reals.
    """
    real, scores = np.asarray(real, bool), np.asarray(scores, np.float64)
    n_real = int(real.sum())
    if not n_real:
        raise InputError("there is no real among the rows, so none can be found")
    fpr, tpr, cut = roc_curve(real, scores)
    hits, total = tpr * n_real, tpr * n_real + fpr * (real.size - n_real)
    found = []
    for k in ranks:
        if k <= real.size:
            good = float(np.interp(k, total, hits))
            found.append(Rank(k, good / n_real, good / k, float(cut[np.searchsorted(total, k - 1e-9)])))
    return tuple(found)


def recall_in_night(
    real: NDArray[np.bool_], scores: NDArray[Any], night: Night, *, ranks: Sequence[int] = RANKS
) -> tuple[Rank, ...]:
    """Expected share of a night's reals among its best k candidates.

    The threshold at which k candidates of the night are expected to pass, reals and artifacts together, is looked up on
    the ROC curve.

    Raises
    ------
    InputError
        Without both classes.
    """
    real = np.asarray(real, bool)
    if not real.any() or real.all():
        raise InputError("a night is simulated from both classes; one is missing")
    fpr, tpr, cut = roc_curve(real, scores)
    passing = night.artifacts * fpr + night.reals * tpr
    found = []
    for k in ranks:
        if k <= passing[-1]:
            recall = float(np.interp(k, passing, tpr))
            score = float(cut[min(int(np.searchsorted(passing, k - 1e-9)), len(cut) - 1)])
            found.append(Rank(k, recall, min(night.reals * recall / k, 1.0) if k else math.nan, score))
    return tuple(found)
