"""The cause of each false positive and of each file, with the numbers that prove it.

Each cause has clues (`gueststar.realbogus.audit.clues`); their weights add up to the logarithm of the odds of the
cause. The network's own error is what is left where nothing that was measured is unusual: its odds are those of no clue
at all. Where too little was measured to exclude the others, it is not named, and the cause is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from gueststar.realbogus.audit.background import BACKGROUND
from gueststar.realbogus.audit.bright_star import BRIGHT_STAR
from gueststar.realbogus.audit.clues import Clue, Usual, clue_z, weight_of
from gueststar.realbogus.audit.crowding import CROWDING
from gueststar.realbogus.audit.detector import DETECTOR
from gueststar.realbogus.audit.families import Family
from gueststar.realbogus.audit.frame_edge import FRAME_EDGE
from gueststar.realbogus.audit.misalignment import MISALIGNMENT
from gueststar.realbogus.audit.network import NETWORK_ERROR
from gueststar.realbogus.audit.psf_shape import PSF_SHAPE
from gueststar.realbogus.audit.real_object import REAL_OBJECT

__all__ = ["CAUSES", "CAUSE_WORDS", "FAMILIES", "Decided", "Proof", "cause_of_group", "decide", "proofs_of"]

F8 = NDArray[np.float64]

OWN, UNKNOWN = NETWORK_ERROR.name, "unknown"
#: The network's own error comes last.
FAMILIES: tuple[Family, ...] = (
    MISALIGNMENT, PSF_SHAPE, CROWDING, BRIGHT_STAR, BACKGROUND, FRAME_EDGE, REAL_OBJECT, DETECTOR, NETWORK_ERROR
)  # fmt: skip
#: Causes in a fixed order.
CAUSES: tuple[str, ...] = (*(family.name for family in FAMILIES), UNKNOWN)
#: What each means.
CAUSE_WORDS: Mapping[str, str] = {
    **{family.name: family.words for family in FAMILIES},
    UNKNOWN: "too little was measured to name a cause",
}
_LEAST = 0.2  # weight of the numbers that speak for a cause
_ENOUGH = 0.5  # share of the clues' weight that must be known before the network is blamed


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Causes of n false positives.

    Parameters
    ----------
    cause : ndarray of str, shape (n,)
        Members of `CAUSES`.
    confidence : ndarray, shape (n,)
        Probability of the cause among all causes; 0 for unknown.
    odds : ndarray, shape (n, causes without unknown)
        Their probabilities, by `CAUSES`.
    z : mapping of (cause, column) to ndarray, shape (n,)
        How unusual each clue's number is.
    weight : mapping of (cause, column) to ndarray, shape (n,)
        What it adds to the logarithm of the odds.
    """

    cause: NDArray[np.str_]
    confidence: F8
    odds: F8
    z: Mapping[tuple[str, str], F8]
    weight: Mapping[tuple[str, str], F8]

    def __len__(self) -> int:
        return len(self.cause)


@dataclass(frozen=True, slots=True)
class Proof:
    """A number that speaks for a cause.

    `value` is its median over the false positives it was taken from, `usual` what the night has, `z` how far apart they
    are in robust standard deviations, `weight` what it adds to the logarithm of the odds.
    """

    column: str
    words: str
    value: float
    usual: float
    z: float
    weight: float
    unit: str
    per: str


def decide(numbers: Mapping[str, F8], usual: Mapping[str, Usual]) -> Decided:
    """Name the cause of each false positive.

    Parameters
    ----------
    numbers : mapping of str to ndarray, shape (n,)
        Measured numbers by the columns of the clues; those that are missing, or NaN, say nothing.
    usual : mapping of str to Usual
        What is usual in the night.
    """
    n = len(next(iter(numbers.values()))) if numbers else 0
    z: dict[tuple[str, str], F8] = {}
    weight: dict[tuple[str, str], F8] = {}
    logs = np.zeros((n, len(FAMILIES)))
    speaks = np.zeros((n, len(FAMILIES)))
    known, possible = np.zeros(n), 0.0
    for i, family in enumerate(FAMILIES):
        logs[:, i] = family.prior
        for clue in family.clues:
            values = numbers.get(clue.column, np.full(n, np.nan))
            key = family.name, clue.column
            z[key] = clue_z(clue, values, usual)
            weight[key] = weight_of(clue, z[key])
            logs[:, i] += weight[key]
            speaks[:, i] += np.maximum(weight[key], 0.0)
            if family.name != OWN:
                known += np.isfinite(z[key]) * clue.gain
                possible += clue.gain
    # A cause that no number speaks for is not named, however likely it was before.
    logs[:, :-1] = np.where(speaks[:, :-1] > _LEAST, logs[:, :-1], -np.inf)
    odds = softmax(logs, axis=1) if n else np.zeros((0, len(FAMILIES)))
    best = odds.argmax(axis=1) if n else np.empty(0, np.int64)
    own = len(FAMILIES) - 1
    blind = (best == own) & (known < _ENOUGH * possible)
    cause = np.array(CAUSES)[np.where(blind, own + 1, best)]
    confidence = np.where(blind, 0.0, odds.max(axis=1, initial=0.0))
    return Decided(cause, confidence, odds, z, weight)


def cause_of_group(decided: Decided, rows: NDArray[np.integer]) -> tuple[str, float]:
    """Cause of a file from those of its false positives, and how sure.

    The most frequent cause of its false positives, of equally frequent ones the more probable; the mean of its
    probability is the confidence. Where half of them are unknown, the cause is unknown.
    """
    if len(rows) == 0 or (decided.cause[rows] == UNKNOWN).mean() > 0.5:
        return UNKNOWN, 0.0
    use = rows[decided.cause[rows] != UNKNOWN]
    share = decided.odds[use].mean(axis=0)
    votes = [float((decided.cause[use] == cause).sum()) for cause in CAUSES[:-1]]
    # Probabilities add to less than one vote: they decide between equal numbers.
    best = int(np.argmax(np.array(votes) + 0.5 * share))
    return CAUSES[best], float(share[best])


def proofs_of(
    decided: Decided,
    rows: NDArray[np.integer],
    cause: str,
    numbers: Mapping[str, F8],
    usual: Mapping[str, Usual],
    *,
    most: int = 4,
) -> list[Proof]:
    """Numbers that speak most for a cause of some false positives, the strongest first; none for unknown."""
    clues = next((family.clues for family in FAMILIES if family.name == cause), ())
    found = [_proof(decided, rows, cause, clue, numbers, usual) for clue in clues]
    found = [proof for proof in found if np.isfinite(proof.z) and proof.weight > 0]
    return sorted(found, key=lambda proof: -proof.weight)[:most]


def _proof(
    decided: Decided,
    rows: NDArray[np.integer],
    cause: str,
    clue: Clue,
    numbers: Mapping[str, F8],
    usual: Mapping[str, Usual],
) -> Proof:
    key = cause, clue.column
    values = numbers.get(clue.column, np.full(len(decided), np.nan))[rows]
    there = np.isfinite(values)

    def middle(a: F8) -> float:
        return float(np.median(a[there])) if there.any() else float("nan")

    normal = (
        clue.most_usual
        if clue.absolute or clue.column not in usual
        else min(usual[clue.column].median, clue.most_usual)
    )
    return Proof(clue.column, clue.words, middle(values), float(normal), middle(decided.z[key][rows]),
                 float(np.mean(decided.weight[key][rows])), clue.unit, clue.per)  # fmt: skip
