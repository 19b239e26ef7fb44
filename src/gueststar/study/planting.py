"""Wrong labels on purpose: reals under the name of artifacts, where it is known which they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.split import Split

__all__ = ["Relabelled", "plant", "plant_in"]


class Relabelled:
    """A set with other labels; all else is that of the set below.

    Parameters
    ----------
    base : LabelledStamps
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact, -1 neither.
    """

    def __init__(self, base: LabelledStamps, labels: NDArray[np.integer[Any]]) -> None:
        if labels.shape != (len(base),):
            raise InputError(f"labels of shape {labels.shape} for a set of {len(base)} rows; one for each is needed")
        self.base = base
        self._labels = np.asarray(labels, np.int8)

    @property
    def labels(self) -> NDArray[np.int8]:
        """The other labels, shape (n,)."""
        return self._labels

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of the set below, and how many labels differ."""
        return {**self.base.facts, "relabelled": int((self._labels != self.base.labels).sum())}

    @property
    def stamp_size(self) -> int:
        """Width of the stamps, px."""
        return self.base.stamp_size

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that can be asked for."""
        return self.base.column_names

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers."""
        return self.base.codes(name)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column."""
        return self._labels if name == "label" else self.base[name]

    def scalars(self, names: Any) -> NDArray[np.float32]:
        """Measured numbers, shape (n, len(names))."""
        return self.base.scalars(names)

    def stamps(self, rows: NDArray[np.integer[Any]], *, size: int | None = None) -> NDArray[np.float32]:
        """Stamps of some rows."""
        return self.base.stamps(rows, size=size)

    def check_split(self, split: Split) -> None:
        """Refuse a split that is none."""
        self.base.check_split(split)

    def content_hash(self) -> str:
        """Hash of the set below and of the labels, 32 hexadecimal digits."""
        digest = hashlib.blake2b(self.base.content_hash().encode(), digest_size=16)
        digest.update(self._labels.tobytes())
        return digest.hexdigest()


def plant_in(
    labels: NDArray[np.integer[Any]], part: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of reals of a part to be called artifacts, so that they are `share` of those; at most half of the reals.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    part : ndarray of int, shape (m,)
        Rows.
    share : float
        Wanted share of the artifacts that is real, 0 <= share < 1.
    rng : Generator
    """
    if not 0 <= share < 1:
        raise InputError(f"a share of {share} of the artifacts cannot be real; it must be at least 0 and below 1")
    real = part[labels[part] == 1]
    count = round(share / (1.0 - share) * int((labels[part] == 0).sum()))
    return np.sort(rng.choice(real, min(count, real.size // 2), replace=False))


def plant(
    dataset: LabelledStamps, split: Split, share: float, rng: np.random.Generator
) -> tuple[Relabelled, NDArray[np.int64]]:
    """Call reals of the training and validation parts artifacts, until they are `share` of these.

    Returns
    -------
    Relabelled
        The test part keeps its labels.
    ndarray of int64
        Rows whose label is now wrong.
    """
    labels = dataset.labels.copy()
    rows = np.concatenate([plant_in(labels, part, share, rng) for part in (split.train, split.validation)])
    labels[rows] = 0
    return Relabelled(dataset, labels), rows
