"""The same scores against two sets of labels, to tell a better model from a cleaner test set.

When a share c of the artifacts of a test set is real in truth, and these score like other reals, the area under the
curve that is seen is

    AUC_seen = (1 - c) AUC + c / 2

because a real that is called an artifact beats a real half of the time. With c = 2 % an AUC of 0.994 is seen as 0.984:
the whole step between the old and the new set of the founding slides. A model is better only if it is better on *one*
set of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import OperatingPoint, Threshold, auc, auc_error
from gueststar.realbogus.evaluation.curves import operating_points

__all__ = ["LabelSets", "LabelledScores", "compare_label_sets", "seen_auc"]


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Scores of one model against one set of labels: numbers, area with its error, operating points."""

    labels: str
    n_real: int
    n_bogus: int
    auc: float
    auc_err: float
    points: tuple[OperatingPoint, ...]


@dataclass(frozen=True, slots=True)
class LabelSets:
    """One model against two sets of labels.

    Parameters
    ----------
    model : str
    first, second : LabelledScores
    changes : dict of str to int
        Rows by first and second label, as in '0 to 1'; -1 is neither.
    contamination : float
        Share of the artifacts of the first set that the second does not call artifacts.
    expected_auc : float
        Area that the first set would show if the second were right and only the artifacts of the first were
        contaminated; close to that of the first when the labels alone make the difference.
    """

    model: str
    first: LabelledScores
    second: LabelledScores
    changes: dict[str, int]
    contamination: float
    expected_auc: float


def seen_auc(area: float, contamination: float) -> float:
    """Area that is seen when a share of the artifacts is real in truth."""
    if not 0.0 <= contamination <= 1.0:
        raise InputError(f"contamination {contamination!r}: expected a share from 0 to 1")
    return (1.0 - contamination) * area + contamination / 2.0


def compare_label_sets(
    first: NDArray[np.integer[Any]],
    second: NDArray[np.integer[Any]],
    scores: NDArray[Any],
    *,
    model: str = "",
    names: tuple[str, str] = ("label", "other"),
    threshold: Threshold | None = None,
) -> LabelSets:
    """Measure scores against two sets of labels.

    Parameters
    ----------
    first, second : ndarray of int, shape (n,)
        1 real, 0 artifact, -1 neither.
    scores : ndarray, shape (n,)
    model : str
    names : (str, str)
        What the sets are called.
    threshold : float or ndarray, shape (n,), optional
        Of the model, or of the model of each row.

    Raises
    ------
    InputError
        When lengths differ, a label is something else, or a set lacks a class.
    """
    first, second, scores = np.asarray(first), np.asarray(second), np.asarray(scores, np.float64)
    if not first.shape == second.shape == scores.shape or first.ndim != 1:
        raise InputError(f"labels {first.shape}, {second.shape} and scores {scores.shape} must be (n,) alike")
    for labels, name in zip((first, second), names, strict=True):
        wrong = np.setdiff1d(labels, (-1, 0, 1))
        if wrong.size:
            raise InputError(f"{name} holds {wrong[0]}: 1 is real, 0 artifact, -1 neither; there is nothing else")
    measured = [_measure(labels, scores, name, threshold) for labels, name in zip((first, second), names, strict=True)]
    pairs = {f"{a} to {b}": int(((first == a) & (second == b)).sum()) for a in (1, 0, -1) for b in (1, 0, -1) if a != b}
    artifacts = first == 0
    share = float((second[artifacts] != 0).mean()) if artifacts.any() else math.nan
    return LabelSets(
        model, measured[0], measured[1], {name: n for name, n in pairs.items() if n}, share,
        seen_auc(measured[1].auc, share),
    )  # fmt: skip


def _measure(
    labels: NDArray[np.integer[Any]], scores: NDArray[np.float64], name: str, threshold: Threshold | None
) -> LabelledScores:
    used = labels >= 0
    real, kept = labels[used] == 1, scores[used]
    if not real.any() or real.all():
        raise InputError(f"{name} has {int(real.sum())} reals and {int((~real).sum())} artifacts; both are needed")
    own = None if threshold is None else np.broadcast_to(threshold, labels.shape)[used]
    points = operating_points(real, kept, threshold=own)
    return LabelledScores(name, int(real.sum()), int((~real).sum()), auc(real, kept), auc_error(real, kept), points)
