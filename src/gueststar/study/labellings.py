"""Two labellings of the same data that a study compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps

__all__ = ["LabelPair", "changes_of", "column_labels"]

_WORDS = {1: "real", 0: "artifact", -1: "neither"}


@dataclass(frozen=True, slots=True)
class LabelPair:
    """Two versions of the labels of a data set, and of the set that is tested on; empty: the labels of the set itself.

    Parameters
    ----------
    old, new : str
        Versions of what is trained on.
    test_old, test_new : str
        Versions of what is tested on.
    """

    old: str
    new: str
    test_old: str
    test_new: str


def column_labels(dataset: LabelledStamps, name: str) -> NDArray[np.int8]:
    """A column of further labels: 1 real, 0 artifact, -1 neither.

    Raises
    ------
    InputError
        When it holds something else.
    """
    labels = np.asarray(dataset[name])
    known = np.isin(labels, (-1, 0, 1))
    if not known.all():
        raise InputError(
            f"column {name!r} holds {labels[~known][0]!r}: old labels are 1 real, 0 artifact, -1 neither", column=name
        )
    return labels.astype(np.int8)


def changes_of(old: NDArray[np.int8], new: NDArray[np.int8]) -> dict[str, int]:
    """Rows by old and new label, as in 'artifact to real'; rows that kept theirs under 'kept'.

    Parameters
    ----------
    old, new : ndarray of int8, shape (n,)
        1 real, 0 artifact, -1 neither.
    """
    found = {
        f"{_WORDS[a]} to {_WORDS[b]}": int(((old == a) & (new == b)).sum())
        for a in (0, 1, -1)
        for b in (1, 0, -1)
        if a != b
    }
    return {**found, "kept": int((old == new).sum())}
