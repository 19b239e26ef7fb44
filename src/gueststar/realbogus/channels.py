"""Which plane of a triplet is which, told by the pixels: a wrong order trains a model that never says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["PLANES", "ChannelGuess", "check_channels", "checked_order", "guess_channels", "parse_order", "ring_of"]

PLANES = ("science", "reference", "difference")
_BRIGHT = 5.0  # sigma; fixed stars of the ring
_FEWEST_PIXELS = 4
_FEWEST_VOTES = 20
_SURE = 0.75


@dataclass(frozen=True, slots=True)
class ChannelGuess:
    """What the pixels say about the planes of stamps.

    Parameters
    ----------
    difference : int or None
        The plane that lacks the light which the other two share; None: not to be told.
    share : float
        Share of the stamps with a say that say so.
    votes : int
        Stamps with a say.
    science : int or None
        The plane that enters the difference with a positive sign; None: not to be told.
    science_share : float
    science_votes : int
    """

    difference: int | None
    share: float
    votes: int
    science: int | None
    science_share: float
    science_votes: int

    @property
    def order(self) -> tuple[str, ...] | None:
        """Names of the planes in their order; None when not all could be told."""
        if self.difference is None or self.science is None:
            return None
        names = {self.difference: "difference", self.science: "science"}
        return tuple(names.get(i, "reference") for i in range(3))


def parse_order(text: str) -> tuple[str, str, str]:
    """Names of three planes from a list with commas.

    Raises
    ------
    InputError
        When it is not an order of science, reference and difference.
    """
    names = tuple(name.strip() for name in text.split(","))
    if sorted(names) != sorted(PLANES):
        raise InputError(f"order {text!r}: science, reference and difference are needed, each once, with commas")
    return names[0], names[1], names[2]


def checked_order(text: str) -> str:
    """The same text when it is an order of planes, empty or ``auto``; `ValueError`, as options want it, otherwise."""
    if text not in ("", "auto"):
        try:
            parse_order(text)
        except InputError as error:
            raise ValueError(error.message) from None
    return text


def ring_of(k: int) -> NDArray[np.bool_]:
    """Pixels of a stamp of width k that are far from its centre, shape (k, k)."""
    away = np.hypot(*(np.indices((k, k)) - (k - 1) / 2.0))
    ring: NDArray[np.bool_] = away > max(6.0, 0.2 * k)
    return ring


def guess_channels(cube: NDArray[np.floating[Any]], *, turned: NDArray[np.bool_] | None = None) -> ChannelGuess:
    """Look for the difference, and for the sign with which the others enter it.

    A star away from the centre is in two planes and not in their difference: each stamp with such stars votes. Then
    the supposed difference is fitted as a sum of the other two: science has a positive factor, the reference a
    negative one.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        In any units and any order; some hundred stamps are enough.
    turned : ndarray of bool, shape (n,), optional
        Stamps whose difference is reference minus science.
    """
    ring = ring_of(cube.shape[-1])
    votes = np.zeros(3, np.int64)
    for stamp in np.asarray(cube, np.float64):
        third = _odd_one(stamp[:, ring])
        if third is not None:
            votes[third] += 1
    total, best = int(votes.sum()), int(votes.argmax())
    share = float(votes[best] / total) if total else 0.0
    if total < _FEWEST_VOTES or share < _SURE:
        return ChannelGuess(None, share, total, None, 0.0, 0)
    signs = np.ones(len(cube)) if turned is None else np.where(turned, -1.0, 1.0)
    science = [_science(stamp, best, sign) for stamp, sign in zip(np.asarray(cube, np.float64), signs, strict=True)]
    known = np.array([plane for plane in science if plane is not None], np.int64)
    first = np.bincount(known, minlength=3)
    plane = int(first.argmax())
    sure = float(first[plane] / max(known.size, 1))
    told = known.size >= _FEWEST_VOTES and sure >= _SURE
    return ChannelGuess(best, share, total, plane if told else None, sure, int(known.size))


def check_channels(
    cube: NDArray[np.floating[Any]],
    names: tuple[str, ...],
    *,
    turned: NDArray[np.bool_] | None = None,
    how: str,
) -> ChannelGuess:
    """Refuse stamps whose planes are plainly not in the order that their names say.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        In the order of `names`.
    names : tuple of str
    turned : ndarray of bool, shape (n,), optional
        Stamps whose difference is reference minus science.
    how : str
        How the user can give another order, or insist; ends the message.

    Raises
    ------
    InputError
        Names the plane that looks like another one.
    """
    guess = guess_channels(cube, turned=turned)
    if guess.difference is not None and names[guess.difference] != "difference":
        raise InputError(
            f"plane {guess.difference + 1}, said to be the {names[guess.difference]}, looks like the difference: in "
            f"{100 * guess.share:.0f} % of {guess.votes} stamps with stars beside the centre it lacks those that the "
            f"other two share; {how}",
            plane=guess.difference,
        )
    if guess.science is not None and names[guess.science] != "science":
        raise InputError(
            f"plane {guess.science + 1}, said to be the {names[guess.science]}, looks like the science image: in "
            f"{100 * guess.science_share:.0f} % of {guess.science_votes} stamps it enters the difference with a "
            f"positive sign; {how}",
            plane=guess.science,
        )
    return guess


def _odd_one(planes: NDArray[np.float64]) -> int | None:
    """The plane that lacks stars which both others have, of planes (3, pixels); None when no star says it."""
    if not np.isfinite(planes).any(axis=1).all():
        return None
    middle = np.nanmedian(planes, axis=1, keepdims=True)
    noise = 1.4826 * np.nanmedian(np.abs(planes - middle), axis=1, keepdims=True)
    if not (noise > 0).all():
        return None
    bright = (planes - middle) > _BRIGHT * noise
    lacking = np.array([(bright[(i + 1) % 3] & bright[(i + 2) % 3] & ~bright[i]).sum() for i in range(3)])
    order = np.argsort(lacking)
    if lacking[order[2]] < _FEWEST_PIXELS or lacking[order[2]] < 2 * lacking[order[1]]:
        return None
    return int(order[2])


def _science(stamp: NDArray[np.float64], difference: int, sign: float) -> int | None:
    """The plane that enters the difference with a positive factor, when the other one's is negative."""
    others = [i for i in range(3) if i != difference]
    known = np.isfinite(stamp).all(axis=0)
    if known.sum() < 100:
        return None
    planes = stamp[:, known] - np.median(stamp[:, known], axis=1, keepdims=True)
    factors = np.linalg.lstsq(planes[others].T, sign * planes[difference], rcond=None)[0]
    if factors[0] * factors[1] >= 0:
        return None
    return others[int(factors.argmax())]
