"""Choose rows of a data set: both classes in a wanted ratio, in every interval of signal to noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ConfigError

__all__ = ["parse_balance", "thin_classes"]


def parse_balance(text: str) -> tuple[float, float] | None:
    """Wanted numbers of reals and artifacts from 'R:A', such as '1:3'; None for 'all'.

    Raises
    ------
    ConfigError
    """
    if text == "all":
        return None
    try:
        real, artifact = (float(part) for part in text.split(":"))
    except ValueError:
        real, artifact = 0.0, 0.0
    if not (0 < real < np.inf and 0 < artifact < np.inf):
        raise ConfigError(f"balance {text!r}: 'all', or reals to artifacts as in 1:1 or 1:3", key="balance", value=text)
    return real, artifact


def thin_classes(
    labels: NDArray[np.integer],
    part: NDArray[np.integer],
    snr: NDArray[np.floating],
    *,
    ratio: tuple[float, float] | None,
    strata: Sequence[float] = (),
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which rows to keep so that every part has both classes in a ratio; of the class that is too large some are drawn.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        1 real, 0 artifact; other rows are kept.
    part : ndarray of int, shape (n,)
        Part of the split of each row.
    snr : ndarray, shape (n,)
        Signal to noise; the sign is ignored.
    ratio : (float, float), optional
        Reals to artifacts; None keeps all.
    strata : sequence of float
        Limits of |S/N| between intervals that each have the ratio; a class that an interval lacks is left out of it.
        None: one interval.
    rng : Generator

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    keep = np.ones(len(labels), bool)
    if ratio is None:
        return keep
    interval = np.searchsorted(np.sort(np.asarray(strata, np.float64)), np.abs(snr), side="right")
    cell = part.astype(np.int64) * (len(strata) + 1) + interval
    for number in np.unique(cell):
        rows = [np.flatnonzero((cell == number) & (labels == label)) for label in (1, 0)]
        share = min(rows[0].size / ratio[0], rows[1].size / ratio[1])
        for mine, wanted in zip(rows, ratio, strict=True):
            most = round(share * wanted)
            if mine.size > most:
                keep[rng.permutation(mine)[most:]] = False
    return keep
