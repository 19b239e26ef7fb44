"""Reasons for which the label of a row is doubtful, or its image is not to be learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.errors import ConfigError
from gueststar.types import Mask

__all__ = ["REASONS", "check_reasons", "has_reason", "join_reasons", "mask_reasons", "visits_at"]

#: Reasons, with what they mean. Those of a place hold for both classes; leaving out artifacts alone would teach the
#: network that what lies there is real.
REASONS: Mapping[str, str] = {
    "failed_image": "the image or its subtraction failed a quality gate",
    "bright_star": "in the halo, spikes or ghosts of a bright star, or beside saturated pixels",
    "flagged": "bad, saturated or missing pixels, or a cosmic ray, within 1 FWHM",
    "repeated": "an artifact at a place where other visits have one, too: a variable, or something fixed",
    "known_asteroid": "an artifact at the place of a known asteroid",
    "known_variable": "an artifact at the place of a known variable star or nucleus",
    "known_transient": "an artifact at the place of a known transient",
}
_FLAGGED = int(Mask.BAD | Mask.SATURATED | Mask.COSMIC_RAY | Mask.NO_DATA)


def check_reasons(names: Iterable[str]) -> tuple[str, ...]:
    """Reasons in the order of `REASONS`, each once.

    Raises
    ------
    ConfigError
        For a name that is none.
    """
    given = set(names)
    unknown = sorted(given - set(REASONS))
    if unknown:
        raise ConfigError(
            f"reason {unknown[0]!r} is unknown; there are {', '.join(REASONS)}", key="exclude", value=unknown[0]
        )
    return tuple(name for name in REASONS if name in given)


def has_reason(text: str, names: Sequence[str]) -> bool:
    """Whether a value of the column ``suspicion`` holds one of the reasons."""
    return not set(text.split(",")).isdisjoint(names)


def join_reasons(n: int, marks: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.str_]:
    """Values of the column ``suspicion``, shape (n,), from the marks of each reason."""
    names = check_reasons(marks)
    number = np.zeros(n, np.int64)
    for bit, name in enumerate(names):
        number |= np.asarray(marks[name], np.int64) << bit
    texts = [",".join(name for bit, name in enumerate(names) if code >> bit & 1) for code in range(1 << len(names))]
    return np.array(texts, np.str_)[number]


def mask_reasons(mask_flags: NDArray[np.integer]) -> dict[str, NDArray[np.bool_]]:
    """Marks that the flags of pixels within 1 FWHM tell, shape (n,) each."""
    flags = np.asarray(mask_flags, np.int64)
    return {"bright_star": (flags & int(Mask.BRIGHT_STAR)) != 0, "flagged": (flags & _FLAGGED) != 0}


def visits_at(places: NDArray[np.float64], visit: NDArray[np.integer], *, radius: float) -> NDArray[np.int32]:
    """How many visits have a detection at the place of each, its own visit included.

    Parameters
    ----------
    places : ndarray, shape (n, d)
        Positions in any Cartesian space; rows with NaN have one visit, their own.
    visit : ndarray of int, shape (n,)
        Which visit each belongs to.
    radius : float
        In units of `places`.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    count = np.ones(len(places), np.int32)
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    if known.size == 0:
        return count
    tree = cKDTree(places[known])
    for start in range(0, known.size, 4096):
        part = known[start : start + 4096]
        for i, near in zip(part, tree.query_ball_point(places[part], radius), strict=True):
            count[i] = len(set(visit[known[near]].tolist()))
    return count
