"""Clues: measured numbers that speak for a cause, by how unusual they are.

A clue compares a number with what is usual in the night: z = (value - usual) / scatter, usual and scatter being the
median and 1.4826 times the median absolute deviation over the other images, or over the candidates of the night that
were not called real. Where a whole night is bad both are bad, too, so they are not believed beyond stated values.
Below ``low`` a clue speaks against its cause with `against`, from there to ``high`` its weight grows linearly to
`gain`: logarithms of odds, which add up like those of independent observations. A number that is missing says nothing,
and that it is missing is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clue", "Usual", "clue_z", "usual_of", "weight_of"]

F8 = NDArray[np.float64]
_WIDEST = 3.0  # scatter that is believed, in units of its floor


@dataclass(frozen=True, slots=True)
class Clue:
    """A number that speaks for a cause.

    Parameters
    ----------
    column : str
    words : str
        What it is, for a reader.
    low, high : float
        z from which on it speaks for the cause, and at which it says all it can.
    gain, against : float
        Logarithm of odds there, and (positive) below `low`.
    floor : float
        Scatter is taken to be no smaller, and no larger than three times this.
    most_usual : float
        What is usual is taken to be no larger.
    unit : str
    per : {'candidate', 'image'}
        What the number belongs to.
    absolute : bool
        The number is compared with `most_usual` and `floor` alone: a share, a likelihood or a count that means the same
        in every night.
    """

    column: str
    words: str
    low: float
    high: float
    gain: float
    against: float = 0.0
    floor: float = 1e-9
    most_usual: float = np.inf
    unit: str = ""
    per: Literal["candidate", "image"] = "candidate"
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual: median, robust scatter, and of how many."""

    median: float
    scatter: float
    n: int


def usual_of(values: NDArray[Any]) -> Usual:
    """Median and robust scatter of the finite values; NaN for none."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return Usual(np.nan, np.nan, 0)
    median = float(np.median(finite))
    return Usual(median, float(1.4826 * np.median(np.abs(finite - median))), int(finite.size))


def clue_z(clue: Clue, values: NDArray[Any], usual: Mapping[str, Usual]) -> F8:
    """How unusual the values are, in robust standard deviations; NaN where missing."""
    values = np.asarray(values, np.float64)
    known = usual.get(clue.column, Usual(np.nan, np.nan, 0))
    limit = clue.most_usual if np.isfinite(clue.most_usual) else 0.0
    if clue.absolute or known.n < 3:
        return (values - limit) / clue.floor if np.isfinite(clue.most_usual) else np.full(values.shape, np.nan)
    scatter = min(max(known.scatter, clue.floor), _WIDEST * clue.floor)
    return np.asarray((values - min(known.median, clue.most_usual)) / scatter)


def weight_of(clue: Clue, z: F8) -> F8:
    """Logarithm of odds; 0 where missing."""
    share = np.clip((z - clue.low) / (clue.high - clue.low), 0.0, 1.0)
    return np.where(np.isfinite(z), np.where(z < clue.low, -clue.against, clue.gain * share), 0.0)
