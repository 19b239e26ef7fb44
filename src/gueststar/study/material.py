"""What every arm of a study shares: the data set, its parts, and the rows that are tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.split import Split, connected_groups
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.study.labellings import LabelPair, column_labels

__all__ = ["Material", "open_material", "some_groups"]

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Material:
    """A divided data set and a test sample.

    Parameters
    ----------
    dataset : StoredDataset
        What is trained on.
    split : Split
        Rows of its training and validation parts that have a label; no test rows.
    every : Split
        The same with the rows that have no label.
    test : StoredDataset
        The set that is tested on; the same one unless another was given.
    test_rows : ndarray of int64, shape (m,)
        Rows of `test` that are scored; all have a label, or an old one.
    notes : tuple of str
        What was done to the parts.
    old_labels : ndarray of int8, shape (n,), optional
        Older labels of every row of `dataset`.
    old_test_labels : ndarray of int8, shape (m,), optional
        Older labels of the test rows.
    """

    dataset: StoredDataset
    split: Split
    every: Split
    test: StoredDataset
    test_rows: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    old_labels: NDArray[np.int8] | None = None
    old_test_labels: NDArray[np.int8] | None = None

    @cached_property
    def labels(self) -> NDArray[np.int8]:
        """Labels of the test rows, shape (m,)."""
        return self.test.labels[self.test_rows]

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """Number of the group of each row of `dataset`: rows of one number share stars, night or reference."""
        return _groups(self.dataset)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the test rows, shape (m,); empty texts where the set lacks it."""
        if name not in self.test.column_names:
            return np.full(self.test_rows.size, "", np.str_)
        return np.asarray(self.test[name])[self.test_rows]

    def images(self, column: str) -> tuple[NDArray[np.int64], str]:
        """Number of the image of each test row, shape (m,), and by what images were told apart.

        Where `column` does not tell images apart the groups of the split stand for them, and single rows where there is
        but one group.
        """
        names = self.column(column)
        found = np.unique(names, return_inverse=True)[1]
        if found.size and found.max() > 0:
            return np.asarray(found, np.int64), f"the column {column}"
        found = np.unique(_groups(self.test)[self.test_rows], return_inverse=True)[1]
        if found.size and found.max() > 0:
            return np.asarray(found, np.int64), f"what is linked by {', '.join(self.test.manifest.group_by)}"
        return np.arange(self.test_rows.size), "single candidates, for want of images"

    def test_hash(self) -> str:
        """Hash of the test set and of which of its rows are used."""
        digest = hashlib.blake2b(self.test.content_hash().encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.test_rows, np.int64).tobytes())
        return digest.hexdigest()

    def old_hash(self) -> str:
        """Hash of the older labels; empty where there are none."""
        if self.old_labels is None or self.old_test_labels is None:
            return ""
        digest = hashlib.blake2b(self.old_labels.tobytes(), digest_size=16)
        digest.update(self.old_test_labels.tobytes())
        return digest.hexdigest()


def open_material(
    data: str | Path,
    *,
    test: str | Path | None = None,
    exclude: Sequence[str] = (),
    max_train: int | None = None,
    old_labels: str | None = None,
    versions: LabelPair | None = None,
) -> Material:
    """Open a data set for a study.

    Parameters
    ----------
    data : path
        A data set with a training part. Where it has no validation part, a fifth of the training part is dealt to it.
    test : path, optional
        Another set to test on: its test part, or all of it where it has none. None: the test part of `data`.
    exclude : sequence of str
        Reasons of suspicion whose rows are left out of what is trained on. The test rows stay as they are.
    max_train : int, optional
        About so many rows of the training part, and half as many of the validation part, in whole groups; the same for
        every arm and seed.
    old_labels : str, optional
        Column of further labels: rows that have one of these only are kept, too.
    versions : LabelPair, optional
        Versions of the labels: the labels are the new ones, and rows that have an old one only are kept, too.

    Raises
    ------
    InputError
        When a part is missing or lacks a class, or an image that is tested on was trained on; when the column of older
        labels holds something else.
    ConfigError
        When a set has no such version of its labels.
    """
    pair = versions or LabelPair("", "", "", "")
    tested = data if test is None else test
    dataset = open_dataset(data, exclude=exclude, labels=pair.new)
    other = open_dataset(tested, labels=pair.test_new)
    old = old_test = None
    if versions is not None:
        old = open_dataset(data, exclude=exclude, labels=pair.old).labels
        old_test = open_dataset(tested, labels=pair.test_old).labels
    elif old_labels is not None:
        old, old_test = column_labels(dataset, old_labels), column_labels(other, old_labels)
    group, labels = _groups(dataset), dataset.labels
    whole = dataset.split()
    train, validation, notes = whole.train, whole.validation, []
    if not validation.size:
        validation = some_groups(group, labels, train, 0.2 * train.size, np.random.default_rng(0))
        train = np.setdiff1d(train, validation)
        notes.append("The set has no validation part: a fifth of its training part, in whole groups, was dealt to it.")
    if max_train is not None:
        rng = np.random.default_rng(0)
        train = some_groups(group, labels, train, max_train, rng)
        validation = some_groups(group, labels, validation, max(max_train // 2, 2), rng)
        notes.append(f"About {max_train:,} rows of the training part were used, and half as many to validate.")
    split = Split(train[labels[train] >= 0], validation[labels[validation] >= 0], _NONE)
    rows = _tested(other, old_test)
    material = Material(
        dataset, split, Split(train, validation, _NONE), other, rows, tuple(notes), old,
        None if old_test is None else old_test[rows],
    )  # fmt: skip
    _check(material, data, test)
    return material


def some_groups(
    group: NDArray[np.int64],
    labels: NDArray[np.integer[Any]],
    rows: NDArray[np.int64],
    wanted: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Rows of whole groups, about `wanted` of them with both classes; a smaller choice is part of a larger one.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
        Number of the group of each row.
    labels : ndarray of int, shape (n,)
    rows : ndarray of int64, shape (m,)
        What is chosen from.
    wanted : float
    rng : Generator
        Orders the groups: the same state gives nested choices.

    Returns
    -------
    ndarray of int64
        Sorted.
    """
    number = np.unique(group[rows], return_inverse=True)[1]
    sizes = np.bincount(number)
    order = rng.permutation(sizes.size)
    if wanted >= rows.size:
        return np.sort(rows)
    total = np.cumsum(sizes[order])
    # The last group is taken when the choice is nearer to what is wanted with it.
    before = np.concatenate(([0], total[:-1]))
    taken = (before < wanted) & (np.abs(total - wanted) <= np.abs(before - wanted))
    taken[0] = True
    count = int(np.flatnonzero(taken).max()) + 1
    for count_ in range(count, sizes.size + 1):
        found: NDArray[np.int64] = np.sort(rows[np.isin(number, order[:count_])])
        if np.unique(labels[found]).size > 1:
            return found
    return np.sort(rows)


def _groups(dataset: LabelledStamps) -> NDArray[np.int64]:
    if isinstance(dataset, StoredDataset):
        by = dataset.manifest.group_by
        return connected_groups({name: dataset.codes(name)[0] for name in by}, by)
    return connected_groups({name: dataset[name] for name in ("tile", "night", "reference")})


def _tested(dataset: StoredDataset, old: NDArray[np.int8] | None) -> NDArray[np.int64]:
    codes, texts = dataset.codes("split")
    inside = codes == texts.index("test") if "test" in texts else np.ones(len(dataset), bool)
    has_label = dataset.labels >= 0
    if old is not None:
        has_label |= old >= 0
    return np.flatnonzero(inside & has_label)


def _check(material: Material, data: str | Path, test: str | Path | None) -> None:
    for word, labels in (("", material.dataset.labels), (" by the old labels", material.old_labels)):
        if labels is None:
            continue
        for name in ("train", "validation"):
            rows = material.every.parts()[name]
            n_bogus, n_real = (int((labels[rows] == label).sum()) for label in (0, 1))
            if n_real == 0 or n_bogus == 0:
                raise InputError(
                    f"{data}: the {name} part has {n_real} reals and {n_bogus} artifacts{word}; a study needs both: "
                    "build the set with --split",
                    part=name,
                )
    for word, labels in (("", material.labels), (" by the old labels", material.old_test_labels)):
        if labels is None:
            continue
        n_bogus, n_real = (int((labels == label).sum()) for label in (0, 1))
        if n_real == 0 or n_bogus == 0:
            raise InputError(
                f"{test or data}: {n_real} reals and {n_bogus} artifacts to test on{word}; both are needed: give a set "
                "with labels by --test",
                real=n_real,
            )
    _refuse_shared(material, data, test)


def _refuse_shared(material: Material, data: str | Path, test: str | Path | None) -> None:
    """What is tested on would have been trained on: the same images, or in one set the same groups."""
    same = test is None or material.test.manifest.content_hash == material.dataset.manifest.content_hash
    if same and "test" not in material.test.codes("split")[1]:
        raise InputError(
            f"{data} has no test part, so there is nothing to test on that was not trained on; give a set by --test",
            path=str(data),
        )
    trained = np.concatenate((material.every.train, material.every.validation))
    for name in ("image_id", *(material.dataset.manifest.group_by if same else ())):
        if name not in material.dataset.column_names or name not in material.test.column_names:
            continue
        seen = np.unique(np.asarray(material.dataset[name])[trained])
        shared = np.intersect1d(seen[seen != ""], np.unique(material.column(name)))
        if shared.size:
            raise InputError(
                f"{name} {str(shared[0])!r} is trained on in {data} and tested on in {test or data} "
                f"({shared.size} such); "
                "test on what was not trained on",
                column=name,
                example=str(shared[0]),
            )
