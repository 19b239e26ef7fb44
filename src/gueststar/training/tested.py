"""A trained model measured on data sets of other frames, for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.package import judge
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.realbogus.stored import StoredDataset

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
    """Quality on each set, and on the rows of its default chain alone where other chains made some of them.

    Returns
    -------
    dict
        Name of a set, or ``NAME_default_chain``, to the plain values of `gueststar.realbogus.package.judge`.
    """
    found: dict[str, Any] = {}
    for name, data in tests.items():
        rows = rows_to_test(data)
        found[name] = judge(model, data, rows, name=name)[1]
        if "chain" not in data.column_names:
            continue
        usual = rows[np.asarray(data["chain"])[rows] == "default"]
        if 0 < usual.size < rows.size:
            found[f"{name}_default_chain"] = judge(model, data, usual, name=f"{name}, default chain")[1]
    return found


def rows_to_test(data: StoredDataset) -> NDArray[np.int64]:
    """Rows of the test part that are real or artifact; of the whole set where it has no test part."""
    codes, texts = data.codes("split")
    inside = codes == texts.index("test") if "test" in texts else np.ones(len(data), bool)
    return np.flatnonzero(inside & (data.labels >= 0))
