"""How many wrong labels are found, where it is known which are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import Rate, rate

__all__ = ["Found", "share_found", "share_found_of_images"]


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
    ranked, wrong = _checked(ranked, wrong, budget)
    looked = min(round(budget * wrong.size), ranked.size)
    hits = int(np.isin(ranked[:looked], wrong).sum())
    return Found(looked, rate(hits, wrong.size), hits / max(looked, 1))


def share_found_of_images(
    ranked: NDArray[np.integer[Any]],
    wrong: NDArray[np.integer[Any]],
    image: NDArray[np.integer[Any]],
    times: NDArray[np.integer[Any]],
    *,
    budget: float = 1.5,
) -> NDArray[np.float64]:
    """`share_found` on draws of whole images, whose rows keep their order; wrong labels of one image go together.

    Parameters
    ----------
    ranked, wrong : ndarray of int
        As for `share_found`.
    image : ndarray of int, shape (n,)
        Number of the image of each row, of all rows that `ranked` and `wrong` count.
    times : ndarray of int, shape (b, images)
        How often each draw has each image.
    budget : float

    Returns
    -------
    ndarray, shape (b,)
        NaN for a draw without a wrong label.

    Raises
    ------
    InputError
        As `share_found`, and when an image has no column in `times`.
    """
    ranked, wrong = _checked(ranked, wrong, budget)
    image, times = np.asarray(image), np.asarray(times)
    if times.ndim != 2 or int(image.max(initial=-1)) >= times.shape[1]:
        raise InputError(
            f"draws {times.shape} do not cover {int(image.max(initial=-1)) + 1} images; (b, images) needed"
        )
    is_wrong, of_ranked, of_wrong = np.isin(ranked, wrong), image[ranked], image[wrong]
    found = np.full(len(times), np.nan)
    for number, drawn in enumerate(times):
        total = int(drawn[of_wrong].sum())
        if total:
            copies = drawn[of_ranked]
            before = np.cumsum(copies) - copies
            looked = np.clip(round(budget * total) - before, 0, copies)
            found[number] = looked[is_wrong].sum() / total
    return found


def _checked(
    ranked: NDArray[np.integer[Any]], wrong: NDArray[np.integer[Any]], budget: float
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """A ranking, and the wrong rows once each."""
    ranked, wrong = np.asarray(ranked), np.unique(wrong)
    if not wrong.size:
        raise InputError("no label is wrong, so there is no share of them to be found; plant some")
    if np.unique(ranked).size != ranked.size:
        raise InputError("a row is in the ranking twice; each row has one rank")
    if not budget > 0:
        raise InputError(f"budget {budget}: a positive multiple of the number of wrong labels")
    return ranked, wrong
