"""A trained model measured on data sets of other frames, for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.package import judge
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.realbogus.stored import StoredDataset
from gueststar.realbogus.suspicion import has_reason

__all__ = ["check_tests", "rows_to_test", "tested"]


def check_tests(trained_on: StoredDataset, tests: Mapping[str, StoredDataset]) -> None:
    """Refuse test sets that the training would see, before hours are spent on it.

    Raises
    ------
    InputError
        When a set is the one that is trained on, has no row that is real or artifact, or shares a tile, night or
        reference with what is trained or validated on.
    """
    split = trained_on.split()
    rows = np.concatenate([split.train, split.validation])
    for name, data in tests.items():
        if data.content_hash() == trained_on.content_hash():
            raise InputError(f"test set {name!r} is the set that is trained on; its own test part is measured anyway")
        mine = rows_to_test(data)
        if mine.size == 0:
            raise InputError(f"test set {name!r} has no row that is real or artifact; there is nothing to measure")
        for column in GROUP_COLUMNS:
            shared = np.setdiff1d(np.intersect1d(data[column][mine], trained_on[column][rows]), [""])
            if shared.size:
                raise InputError(
                    f"{column} {str(shared[0])!r} is in test set {name!r} and is trained on ({shared.size} such); take "
                    "a set of other frames",
                    column=column,
                    example=str(shared[0]),
                )


def tested(model: LoadedModel, tests: Mapping[str, StoredDataset]) -> dict[str, Any]:
    """Quality on each set, and on those of its rows that the default chain made, or whose image a night would accept.

    Returns
    -------
    dict
        Name of a set, or ``NAME_default_chain`` where other chains made some of its rows, or ``NAME_accepted`` where
        the images of some of its rows failed a quality gate (their suspicion is ``failed_image``), to the plain values
        of `gueststar.realbogus.package.judge`.
    """
    found: dict[str, Any] = {}
    for name, data in tests.items():
        rows = rows_to_test(data)
        found[name] = judge(model, data, rows, name=name)[1]
        for words, some in _subsets(data, rows):
            if 0 < some.size < rows.size:
                found[f"{name}_{words.replace(' ', '_')}"] = judge(model, data, some, name=f"{name}, {words}")[1]
    return found


def _subsets(data: StoredDataset, rows: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Rows that are measured by themselves, with what they are."""
    if "chain" in data.column_names:
        codes, texts = data.codes("chain")
        yield "default chain", rows[np.array([text == "default" for text in texts], bool)[codes[rows]]]
    codes, texts = data.codes("suspicion")
    yield "accepted", rows[~np.array([has_reason(text, ("failed_image",)) for text in texts], bool)[codes[rows]]]


def rows_to_test(data: StoredDataset) -> NDArray[np.int64]:
    """Rows of the test part that are real or artifact; of the whole set where it has no test part."""
    codes, texts = data.codes("split")
    inside = codes == texts.index("test") if "test" in texts else np.ones(len(data), bool)
    return np.flatnonzero(inside & (data.labels >= 0))
