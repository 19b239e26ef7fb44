"""Thresholds on a score for what an observer asks for, each with a guarantee that holds for finite samples.

All of them come from scores of labelled rows that the model was not trained on, and hold for candidates of the same
kind: another camera, or a sky with other transients, needs a sample of its own.

- *Completeness*: the conformal quantile (Vovk, Gammerman & Shafer 2005, "Algorithmic Learning in a Random World";
  Lei et al. 2018, JASA 113, 1094). Of n reals the k-th smallest score, k = floor((n + 1)(1 - TPR)): a new real scores
  at or above it with probability of at least TPR, whatever the distribution of the scores.
- *False positives*: the largest number k of the n artifacts at or above the threshold for which the upper
  Clopper-Pearson bound (1934, Biometrika 26, 404) of the rate is within the limit. As k is fixed before the scores are
  looked at, this is a tolerance limit of order statistics (Wilks 1941, Ann. Math. Stat. 12, 91): the rate of new
  artifacts is within the limit with the confidence asked for, the choice of the threshold included.
- *False positives per night*: the same with the limit divided by the number of artifacts of a night.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from gueststar.errors import InputError

__all__ = ["Threshold", "threshold_for_fpr", "threshold_for_nightly", "threshold_for_tpr", "upper_bound"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what it promises; candidates that score at or above it are called real.

    Parameters
    ----------
    value : float
    meaning : str
        What is guaranteed, in words; fit for a model card.
    n : int
        Rows of the class that it was chosen on.
    beyond : int
        Of these, the reals below the threshold, or the artifacts at or above it.
    low, high : float
        Interval, of the confidence asked for, of the completeness of new reals, or of the rate of new artifacts.
    """

    value: float
    meaning: str
    n: int
    beyond: int
    low: float
    high: float


def threshold_for_tpr(real_scores: NDArray[Any], wanted: float, *, confidence: float = 0.95) -> Threshold:
    """Threshold that a new real passes with a probability of at least `wanted`.

    The completeness of one such threshold, for ever after, is distributed as Beta(n + 1 - k, k) (Vovk 2012, ACML,
    PMLR 25, 475); its central interval is given. Called with the reals of one interval of S/N it holds within that
    interval.

    Parameters
    ----------
    real_scores : ndarray, shape (n,)
        Of reals that were not trained on.
    wanted : float
        Completeness, between 0 and 1.
    confidence : float
        Of the interval.

    Raises
    ------
    InputError
        When a score is NaN, a number is not between 0 and 1, or n is too small to promise so much.
    """
    scores = _checked(real_scores, "reals", wanted=wanted, confidence=confidence)
    n = scores.size
    k = math.floor((n + 1) * (1.0 - wanted) + 1e-9)
    if k < 1:
        needed = math.ceil(wanted / (1.0 - wanted) - 1e-9)
        raise InputError(
            f"{n} reals cannot promise a completeness of {wanted:g}; needed are {needed}, or ask for less",
            reals=n,
        )
    value = float(np.partition(scores, k - 1)[k - 1])
    tail = (1.0 - confidence) / 2.0
    low, high = (float(beta.ppf(part, n + 1 - k, k)) for part in (tail, 1.0 - tail))
    meaning = (
        f"a new real of the same kind scores at or above it with a probability of at least {100 * wanted:g} % "
        f"(conformal quantile of {n} reals; {100 * confidence:g} % interval {100 * low:.2f} to {100 * high:.2f} %)"
    )
    return Threshold(value, meaning, n, int((scores < value).sum()), low, high)


def threshold_for_fpr(artifact_scores: NDArray[Any], wanted: float, *, confidence: float = 0.95) -> Threshold:
    """Lowest threshold at which the rate of false positives is at most `wanted`, with the confidence asked for.

    Parameters
    ----------
    artifact_scores : ndarray, shape (n,)
        Of artifacts that were not trained on, independent of each other.
    wanted : float
        Rate, between 0 and 1.
    confidence : float
        With which the rate of new artifacts is within it.

    Raises
    ------
    InputError
        When a score is NaN, a number is not between 0 and 1, n is too small to promise so little, or too many artifacts
        have the highest possible score.
    """
    scores = _checked(artifact_scores, "artifacts", wanted=wanted, confidence=confidence)
    n = scores.size
    allowed = _allowed(n, wanted, confidence)
    if allowed < 0:
        needed = math.ceil(math.log(1.0 - confidence) / math.log1p(-wanted))
        raise InputError(
            f"{n} artifacts cannot promise a false-positive rate of {wanted:g} with {100 * confidence:g} % confidence; "
            f"needed are {needed}, or ask for more",
            artifacts=n,
        )
    first = float(np.partition(scores, n - 1 - allowed)[n - 1 - allowed])  # the highest that must be rejected
    # Scores are single precision, and are compared so.
    value = float(np.nextafter(np.float32(first), np.float32(np.inf)))
    if value > 1.0:
        highest = int((scores >= 1.0).sum())
        raise InputError(
            f"{highest} of {n} artifacts score 1, {allowed} may: no threshold gives a false-positive rate of "
            f"{wanted:g}; ask for more, or train a better model",
            artifacts=n,
        )
    beyond = int((scores >= value).sum())
    high = upper_bound(beyond, n, confidence=confidence)
    low = float(beta.ppf(1.0 - confidence, beyond, n - beyond + 1)) if beyond else 0.0
    meaning = (
        f"at most {100 * wanted:g} % of new artifacts score at or above it, with {100 * confidence:g} % confidence "
        f"({beyond} of {n} artifacts do; Clopper-Pearson bound {100 * high:.3g} %)"
    )
    return Threshold(value, meaning, n, beyond, low, high)


def threshold_for_nightly(
    artifact_scores: NDArray[Any], wanted: float, *, candidates: int, confidence: float = 0.95
) -> Threshold:
    """Lowest threshold at which at most `wanted` false positives are expected in a night, with that confidence.

    Parameters
    ----------
    artifact_scores : ndarray, shape (n,)
        Of artifacts that were not trained on.
    wanted : float
        Expected false positives of a night.
    candidates : int
        Artifacts of a night; nearly all candidates are.
    confidence : float
        With which the expectation is within it. The number of a single night scatters around it, at least as Poisson's.

    Returns
    -------
    Threshold
        ``low`` and ``high`` are in false positives per night.

    Raises
    ------
    InputError
        As `threshold_for_fpr`; and when `wanted` is not between 0 and `candidates`.
    """
    if candidates < 1 or not 0 < wanted < candidates:
        raise InputError(f"{wanted:g} false positives of {candidates} candidates: expected 0 < wanted < candidates")
    found = threshold_for_fpr(artifact_scores, wanted / candidates, confidence=confidence)
    low, high = candidates * found.low, candidates * found.high
    meaning = (
        f"at most {wanted:g} false positives are expected in a night of {candidates} candidates, with "
        f"{100 * confidence:g} % confidence ({found.beyond} of {found.n} artifacts score at or above it; bound "
        f"{high:.3g} a night)"
    )
    return Threshold(found.value, meaning, found.n, found.beyond, low, high)


def upper_bound(hits: int, trials: int, *, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a rate; 1 when every trial, or none at all, was a hit."""
    if hits >= trials:
        return 1.0
    return float(beta.ppf(confidence, hits + 1, trials - hits))


def _allowed(n: int, wanted: float, confidence: float) -> int:
    """Most hits among n whose upper bound is within `wanted`; -1 when even none is not."""
    if n == 0 or upper_bound(0, n, confidence=confidence) > wanted:
        return -1
    least, most = 0, n  # the bound grows with the hits
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if upper_bound(middle, n, confidence=confidence) <= wanted else (least, middle)
    return least


def _checked(scores: NDArray[Any], what: str, **shares: float) -> NDArray[np.float64]:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise InputError(f"{name} {value!r}: expected a number between 0 and 1, both excluded")
    made = np.asarray(scores, np.float64)
    if made.ndim != 1:
        raise InputError(f"scores of {what} have shape {made.shape}; expected (n,)")
    if np.isnan(made).any():
        raise InputError(f"{int(np.isnan(made).sum())} scores of {what} are NaN; leave such rows out, and say how many")
    return made
