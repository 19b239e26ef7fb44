"""Split a training set so that no star, night or reference is on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gueststar.errors import InputError

__all__ = [
    "GROUP_COLUMNS",
    "IMAGE_COLUMNS",
    "Split",
    "check_coded_split",
    "check_split",
    "connected_groups",
    "split_groups",
]

#: Rows that share a value in any of these belong together.
GROUP_COLUMNS: tuple[str, ...] = ("tile", "night", "reference")
#: Columns that tell images apart, the first that a set has counts. ``image`` is one scene: several passes over it have
#: each an ``image_id``, and share its artifacts, so that they are no independent drawings.
IMAGE_COLUMNS: tuple[str, ...] = ("image", "image_id", "reference", "night", "tile")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row numbers of each part; together all rows, none twice."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def connected_groups(columns: Mapping[str, NDArray[Any]], by: Sequence[str] = GROUP_COLUMNS) -> NDArray[np.int64]:
    """Number rows such that two have the same number when a chain of shared values links them.

    Parameters
    ----------
    columns : mapping
        Arrays of one length n.
    by : sequence of str
        The columns in which a shared value links two rows.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    n = len(columns[by[0]])
    left, right, total = [], [], n
    for name in by:
        _, value = np.unique(np.asarray(columns[name]), return_inverse=True)
        left.append(np.arange(n))
        right.append(value + total)
        total += int(value.max(initial=-1)) + 1
    edges = (np.ones(n * len(by), np.int8), (np.concatenate(left), np.concatenate(right)))
    _, found = connected_components(coo_array(edges, shape=(total, total)), directed=False)
    return np.asarray(np.unique(found[:n], return_inverse=True)[1], np.int64)


def split_groups(
    columns: Mapping[str, NDArray[Any]],
    *,
    rng: np.random.Generator,
    fractions: tuple[float, float, float] = (2, 1, 1),
    by: Sequence[str] = GROUP_COLUMNS,
) -> Split:
    """Deal whole groups to train, validation and test, largest first, each to the part that lacks most.

    Parameters
    ----------
    columns : mapping
        Columns of a `Dataset`.
    rng : Generator
        Decides between groups of equal size.
    fractions : (float, float, float)
        Wanted sizes of train, validation and test, in any unit.
    by : sequence of str
        Rows that share a value in any of these columns stay together.

    Raises
    ------
    InputError
        When there are fewer groups than parts.
    """
    group = connected_groups(columns, by)
    sizes = np.bincount(group) if group.size else np.empty(0, np.int64)
    wanted = np.asarray(fractions, np.float64) / np.sum(fractions)
    if sizes.size < np.count_nonzero(wanted):
        raise InputError(
            f"{sizes.size} group(s) of rows linked by {', '.join(by)} cannot fill {np.count_nonzero(wanted)} parts; "
            "use frames of more fields or nights, or link by fewer columns",
            groups=int(sizes.size),
        )
    order = rng.permutation(sizes.size)
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(3)
    part = np.empty(sizes.size, np.int64)
    for number in order:
        # How full each part would be afterwards, in units of what it should have.
        after = np.where(wanted > 0, (filled + sizes[number]) / np.maximum(wanted, 1e-12), np.inf)
        part[number] = int(np.argmin(after))
        filled[part[number]] += sizes[number]
    rows = part[group]
    split = Split(*(np.flatnonzero(rows == i) for i in range(3)))
    check_split(columns, split, by=by)
    return split


def check_split(columns: Mapping[str, NDArray[Any]], split: Split, *, by: Sequence[str] = GROUP_COLUMNS) -> None:
    """Refuse a split in which two parts share a row, or a value of any of the columns `by`.

    Raises
    ------
    InputError
        Names the parts, the column and an example.
    """
    parts = list(split.parts().items())
    for i, (name, rows) in enumerate(parts):
        for other, others in parts[i + 1 :]:
            if np.intersect1d(rows, others).size:
                raise InputError(f"rows are in {name} and in {other}; a row may be in one part only")
            for column in by:
                values = np.asarray(columns[column])
                shared = np.intersect1d(values[rows], values[others])
                if shared.size:
                    raise InputError(
                        f"{column} {str(shared[0])!r} is in {name} and in {other} ({shared.size} such); the test would "
                        "see what was trained on: split by groups with split_groups",
                        column=column,
                        example=str(shared[0]),
                    )


def check_coded_split(
    split: Split, columns: Iterable[tuple[str, NDArray[np.integer[Any]], Sequence[str]]], *, n: int
) -> None:
    """`check_split` for columns of n rows that come as numbers, one after the other: quick, and flat in memory.

    Parameters
    ----------
    split : Split
    columns : iterable of (str, ndarray of int, sequence of str)
        Name of a column, the code of each row (n,), the text of each code.
    n : int

    Raises
    ------
    InputError
        Names the parts, the column and an example.
    """
    parts = split.parts()
    part_of = np.full(n, -1, np.int8)
    for number, (name, rows) in enumerate(parts.items()):
        if (part_of[rows] >= 0).any():
            raise InputError(f"rows of {name} are in another part, too; a row may be in one part only")
        part_of[rows] = number
    used = part_of >= 0
    for column, codes, texts in columns:
        seen = np.zeros((len(texts), len(parts)), bool)
        seen[codes[used], part_of[used]] = True
        crossing = np.flatnonzero(seen.sum(axis=1) > 1)
        if crossing.size:
            names = " and in ".join(part for part, there in zip(parts, seen[crossing[0]], strict=True) if there)
            raise InputError(
                f"{column} {texts[crossing[0]]!r} is in {names} ({crossing.size} such); the test would see what was "
                "trained on",
                column=column,
                example=texts[crossing[0]],
            )
