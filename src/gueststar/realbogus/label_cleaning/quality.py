"""How many wrong labels are found, where it is known which are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import Rate, rate

__all__ = ["Found", "share_found"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a person finds who looks at the first rows of a ranking.

    Parameters
    ----------
    looked : int
        Rows that are looked at.
    found : Rate
        Wrong labels among them, of all wrong ones, with an exact interval of 95 %.
    precision : float
        Share of what is looked at that is wrong.
    """

    looked: int
    found: Rate
    precision: float


def share_found(ranked: NDArray[np.integer[Any]], wrong: NDArray[np.integer[Any]], *, budget: float = 1.5) -> Found:
    """Count wrong labels among the first rows of a ranking.

    Parameters
    ----------
    ranked : ndarray of int, shape (m,)
        Rows, most suspicious first.
    wrong : ndarray of int, shape (k,)
        Rows whose label is wrong; those that are not ranked are not found.
    budget : float
        Rows that are looked at, as a multiple of k.

    Raises
    ------
    InputError
        When no label is wrong, a row is ranked twice, or the budget is not positive.
    """
    ranked, wrong = np.asarray(ranked), np.unique(wrong)
    if not wrong.size:
        raise InputError("no label is wrong, so there is no share of them to be found; plant some")
    if np.unique(ranked).size != ranked.size:
        raise InputError("a row is in the ranking twice; each row has one rank")
    if not budget > 0:
        raise InputError(f"budget {budget}: a positive multiple of the number of wrong labels")
    looked = min(round(budget * wrong.size), ranked.size)
    hits = int(np.isin(ranked[:looked], wrong).sum())
    return Found(looked, rate(hits, wrong.size), hits / max(looked, 1))
