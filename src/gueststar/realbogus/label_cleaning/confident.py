"""Confident learning: which labels judgements of unseen rows contradict, and how many are wrong.

Northcutt, Jiang & Chuang 2021 (JAIR 70, 1373; arXiv 1911.00068). The threshold of a class is the mean chance that rows
with its label are given for it (eq. 2):

    t_j = mean of p(j; x) over the rows labelled j

A row labelled i is counted as one of class j in truth when p(j; x) >= t_j, and for the class of the largest p when that
holds for more than one (eq. 1): the confident joint C. Each of its rows, brought to the number of rows with that label,
tells how many of these are wrong (eq. 3):

    wrong_i = n_i C_ij / (C_i0 + C_i1)

Wrong labels lower the threshold of the class that they are in, and with it the estimate (of 9 % wrong 6 % are seen).
Not as published, thresholds are therefore measured again without the rows that are nearer to the other class, as logits
from the thresholds, until these are the same. That changes how many rows are called wrong, not their order within a
class.

The thresholds are those of each class, so neither unequal classes nor scores that are too high for both mislead it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from gueststar.errors import InputError

__all__ = ["Confidence", "confident_labels"]

_ROUNDS = 20  # it takes three or four
_CERTAIN = 1e-9  # no threshold is closer to 0 or 1


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """What judgements say about labels.

    Parameters
    ----------
    self_confidence : ndarray, shape (n,)
        Chance of the label that the row has; NaN without a judgement.
    contradiction : ndarray, shape (n,)
        Logit of the other class minus the logit of its threshold: at or above 0 the row is one of the other class for
        that class's own threshold. NaN without a judgement.
    thresholds : (float, float)
        t of class 0 and 1.
    joint : ndarray, shape (2, 2), int64
        Rows by label and class in truth, as far as they are told with confidence.
    wrong : (float, float)
        Share of the labels 0 and 1 that is wrong.
    """

    self_confidence: NDArray[np.float64]
    contradiction: NDArray[np.float64]
    thresholds: tuple[float, float]
    joint: NDArray[np.int64]
    wrong: tuple[float, float]


def confident_labels(labels: NDArray[np.integer[Any]], logits: NDArray[Any]) -> Confidence:
    """Compare labels with judgements of rows that were not trained on.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact.
    logits : ndarray, shape (n,)
        Of class 1; NaN where there is none.

    Raises
    ------
    InputError
        When lengths differ, a label is something else, or a class has no judged row.
    """
    labels, z = np.asarray(labels), np.asarray(logits, np.float64)
    if labels.shape != z.shape or labels.ndim != 1:
        raise InputError(f"labels {labels.shape} and judgements {z.shape} must be (n,) alike")
    wrong = np.setdiff1d(labels, (0, 1))
    if wrong.size:
        raise InputError(f"label {wrong[0]}: only rows labelled 1 (real) or 0 (artifact) can be judged")
    judged = ~np.isnan(z)
    counts = np.bincount(labels[judged], minlength=2)
    if counts.min() == 0:
        raise InputError(
            f"{counts[1]} reals and {counts[0]} artifacts have a score; both are needed, because each class has a "
            "threshold of its own"
        )
    own = np.where(labels == 1, z, -z)
    believed = judged
    for _ in range(_ROUNDS):
        at = [_threshold(own, judged & (labels == j), believed) for j in (0, 1)]
        contradiction = -own - np.where(labels == 1, logit(at[0]), logit(at[1]))
        support = own - np.where(labels == 1, logit(at[1]), logit(at[0]))
        nearer = judged & (support >= contradiction)
        if np.array_equal(nearer, believed):
            break
        believed = nearer
    same = support >= 0
    # Both thresholds can be met when they add up to less than 1: then the larger chance decides.
    moved = judged & (contradiction >= 0) & (~same | (own < 0))
    joint = np.zeros((2, 2), np.int64)
    for i in (0, 1):
        mine = judged & (labels == i)
        joint[i, 1 - i], joint[i, i] = (mine & moved).sum(), (mine & same & ~moved).sum()
    shares = [float(joint[i, 1 - i] / max(joint[i].sum(), 1)) for i in (0, 1)]
    return Confidence(expit(own), contradiction, (at[0], at[1]), joint, (shares[0], shares[1]))


def _threshold(own: NDArray[np.float64], mine: NDArray[np.bool_], believed: NDArray[np.bool_]) -> float:
    """Mean chance of the own class over the rows of a class that are believed; of all where none is."""
    used = mine & believed if (mine & believed).any() else mine
    return float(np.clip(expit(own[used]).mean(), _CERTAIN, 1.0 - _CERTAIN))
