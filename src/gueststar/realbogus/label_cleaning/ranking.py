"""One order of all rows by how likely their label is wrong, with reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, logit

from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.label_cleaning.confident import Confidence, confident_labels
from gueststar.realbogus.label_cleaning.physics import PHYSICS_WORDS, Physics, PhysicsWeights, physics_evidence

__all__ = ["SuspectRules", "Suspects", "rank_suspects"]


class SuspectRules(Options):
    """Which labels are doubted, and what the evidence weighs."""

    trusted_kinds: tuple[str, ...] = Field(
        ("injected", "faded"), description="Reals of these kinds were put in, so their label is never doubted"
    )
    network: float = Field(1.0, ge=0, le=20, description="Weight of the networks' contradiction, itself a logit")
    physics: PhysicsWeights = Field(PhysicsWeights(), description="Weights of the other reasons")


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Rows whose label is doubted, most suspicious first.

    Parameters
    ----------
    rows : ndarray of int, shape (m,)
        Their places in what was given.
    labels : ndarray of int8, shape (m,)
    score : ndarray, shape (m,)
        Chance to be real, by networks that have not seen the row; NaN where there is none.
    self_confidence, contradiction : ndarray, shape (m,)
        As in `Confidence`.
    physics : ndarray, shape (m,)
        Weight of the other reasons.
    reasons : ndarray of str, shape (m,)
        Names of the other reasons, with commas.
    suspicion : ndarray, shape (m,)
        What the order is by: network * contradiction + physics.
    suspect : ndarray of bool, shape (m,)
        As many of each class as confident learning finds wrong, the most suspicious of it; and all that a catalogue
        speaks against.
    proposed : ndarray of int8, shape (m,)
        The own label for rows that are no suspects. For suspects the other label when the networks think so, too; else
        -1: kept out of training and test.
    confidence : Confidence
        Of all labelled rows, the trusted ones included.
    trusted : int
        Rows that were not doubted because of their kind.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int8]
    score: NDArray[np.float64]
    self_confidence: NDArray[np.float64]
    contradiction: NDArray[np.float64]
    physics: NDArray[np.float64]
    reasons: NDArray[np.str_]
    suspicion: NDArray[np.float64]
    suspect: NDArray[np.bool_]
    proposed: NDArray[np.int8]
    confidence: Confidence
    trusted: int

    def __len__(self) -> int:
        return len(self.rows)

    def words(self) -> list[str]:
        """The reasons of each row as text."""
        return [
            _words(int(label), float(score), bool(contradiction >= 0), str(reasons))
            for label, score, contradiction, reasons in zip(
                self.labels, self.score, self.contradiction, self.reasons, strict=True
            )
        ]


def rank_suspects(
    labels: NDArray[np.integer[Any]],
    logits: NDArray[Any],
    rules: SuspectRules | None = None,
    *,
    kinds: NDArray[np.str_] | None = None,
    columns: Mapping[str, NDArray[Any]] | None = None,
    suspicion: NDArray[np.str_] | None = None,
) -> Suspects:
    """Rank rows by how likely their label is wrong.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact, -1 neither; the latter are not ranked.
    logits : ndarray, shape (n,)
        Of class 1, by networks that have not seen the rows; NaN where there is none.
    rules : SuspectRules, optional
    kinds : ndarray of str, shape (n,), optional
        What each row is said to be; None: no real is trusted.
    columns : mapping of str to ndarray, optional
        Measured numbers, see `physics_evidence`.
    suspicion : ndarray of str, shape (n,), optional
        Reasons of doubt of the set.

    Raises
    ------
    InputError
        When lengths differ, a label is unknown, or a class has no judged row.
    """
    rules, labels, z = rules or SuspectRules(), np.asarray(labels), np.asarray(logits, np.float64)
    if labels.shape != z.shape or labels.ndim != 1:
        raise InputError(f"labels {labels.shape} and judgements {z.shape} must be (n,) alike")
    used = np.flatnonzero(labels != -1)
    y, z = labels[used].astype(np.int8), z[used]
    confidence = confident_labels(y, z)
    numbers = {name: np.asarray(values)[used] for name, values in (columns or {}).items()}
    doubts = None if suspicion is None else np.asarray(suspicion)[used]
    physics = physics_evidence(y, numbers, doubts, rules.physics)
    trusted = np.zeros(used.size, bool)
    if kinds is not None:
        trusted = (y == 1) & np.isin(np.asarray(kinds)[used], rules.trusted_kinds)
    # Without a judgement a row is as one that the networks cannot tell.
    level = np.where(y == 1, logit(confidence.thresholds[0]), logit(confidence.thresholds[1]))
    total = rules.network * np.where(np.isnan(z), -level, confidence.contradiction) + physics.weight
    doubted = np.flatnonzero(~trusted)
    order = doubted[np.argsort(-total[doubted], kind="stable")]
    suspect = _suspects(y[order], physics, order, confidence)
    other_by_network = np.where(y == 1, -z, z)[order] > 0
    proposed = np.where(suspect, np.where(other_by_network, 1 - y[order], -1), y[order]).astype(np.int8)
    return Suspects(
        used[order], y[order], expit(z[order]), confidence.self_confidence[order], confidence.contradiction[order],
        physics.weight[order], physics.reasons[order], total[order], suspect, proposed, confidence, int(trusted.sum()),
    )  # fmt: skip


def _suspects(
    labels: NDArray[np.int8], physics: Physics, order: NDArray[np.int64], confidence: Confidence
) -> NDArray[np.bool_]:
    """Mark as many of each class as are wrong, in the order that is given, and what catalogues speak against."""
    found = physics.known[order].copy()
    for label in (0, 1):
        mine = np.flatnonzero(labels == label)
        found[mine[: round(confidence.wrong[label] * mine.size)]] = True
    return found


def _words(label: int, score: float, contradicted: bool, reasons: str) -> str:
    name, other = ("real", "artifact") if label == 1 else ("artifact", "real")
    parts = []
    if np.isnan(score):
        parts.append("not judged by a network")
    elif contradicted:
        parts.append(
            f"labelled {name}, but networks that have not seen it score it {score:.3f}, as {other}s are scored"
        )
    else:
        parts.append(f"labelled {name}; networks that have not seen it score it {score:.3f}")
    parts += [PHYSICS_WORDS[reason] for reason in reasons.split(",") if reason]
    return "; ".join(parts)
