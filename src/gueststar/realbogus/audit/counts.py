"""False positives counted by what they belong to: files, chips, nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counted", "count_by", "cumulative_share", "share_by_chance"]


@dataclass(frozen=True, slots=True)
class Counted:
    """One file, chip or night: name, candidates that are no reals, false positives among them, and share of all."""

    name: str
    candidates: int
    false_positives: int
    share: float


def count_by(
    group: NDArray[np.integer],
    names: Sequence[str],
    artifact: NDArray[np.bool_],
    false_positive: NDArray[np.bool_],
    *,
    empty: bool = False,
) -> list[Counted]:
    """Count by groups, most false positives first, then by name.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
        Group of each row.
    names : sequence of str
        Of the groups.
    artifact, false_positive : ndarray of bool, shape (n,)
    empty : bool
        Groups without artifacts, too.
    """
    n_artifact = np.bincount(group[artifact], minlength=len(names))
    n_false = np.bincount(group[false_positive], minlength=len(names))
    total = max(int(n_false.sum()), 1)
    found = [
        Counted(name, int(a), int(f), int(f) / total)
        for name, a, f in zip(names, n_artifact.tolist(), n_false.tolist(), strict=True)
        if a or f or empty
    ]
    return sorted(found, key=lambda item: (-item.false_positives, item.name))


def cumulative_share(counts: Sequence[Counted]) -> NDArray[np.float64]:
    """Share of all false positives in the first 1, 2, ... groups, shape (groups,)."""
    numbers = np.array([item.false_positives for item in counts], np.float64)
    return np.asarray(np.cumsum(numbers) / max(numbers.sum(), 1.0))


def share_by_chance(counts: Sequence[Counted], top: int, rng: np.random.Generator, *, draws: int = 200) -> float:
    """Share of the first groups if every candidate had the same chance to be a false positive; NaN without any."""
    weights = np.array([item.candidates for item in counts], np.float64)
    total = sum(item.false_positives for item in counts)
    if total == 0 or weights.sum() == 0:
        return float("nan")
    drawn = rng.multinomial(total, weights / weights.sum(), size=draws)
    return float(np.sort(drawn, axis=1)[:, ::-1][:, :top].sum(axis=1).mean() / total)
