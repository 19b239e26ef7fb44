"""Rows of a data set on disk in batches, in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "in_batches", "shuffled"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows of a data set.

    Parameters
    ----------
    rows : ndarray, shape (n,), int64
        Their numbers in the set.
    cube : ndarray, shape (n, 3, k, k), float32
        Science, reference, difference in units of the sky noise of each plane; NaN where there are no data.
    labels : ndarray, shape (n,), int8
        1 real, 0 artifact, -1 neither.
    columns : mapping of str to ndarray
        The columns that were asked for, shape (n,) each.
    """

    rows: NDArray[np.int64]
    cube: NDArray[np.float32]
    labels: NDArray[np.int8]
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.rows)


def shuffled(
    rows: NDArray[np.int64],
    shard: NDArray[np.integer[Any]],
    *,
    shards: int,
    rng: np.random.Generator,
    window: int | None = None,
) -> NDArray[np.int64]:
    """Rows in random order.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
    shard : ndarray of int, shape (n,)
        Number of the shard that each row is in.
    shards : int
        How many there are.
    rng : Generator
    window : int, optional
        Mix this many shards at a time only, themselves in random order; None: all.
    """
    if window is None:
        return rng.permutation(rows)
    place = rng.permutation(shards)[shard] // window
    mixed = rng.permutation(rows.size)
    return rows[mixed[np.argsort(place[mixed], kind="stable")]]


def in_batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Pieces of so many rows; the last one has what is left."""
    for start in range(0, rows.size, size):
        yield rows[start : start + size]
