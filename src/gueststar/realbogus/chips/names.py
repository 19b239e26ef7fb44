"""Names of detector chips, and the numbers by which a conditioned network knows them.

A network that is conditioned on the chip knows some chips by name, in the order of its card. Number 0 stands for every
other one: a chip that was not trained on, or none that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps

__all__ = ["CHIP_COLUMN", "chip_codes", "chips_of_rows", "dataset_chip_codes", "dataset_chips"]

CHIP_COLUMN = "chip"  #: of candidate tables and data sets


def chip_codes(names: NDArray[Any] | Sequence[str], chips: Sequence[str]) -> NDArray[np.int64]:
    """Number of each chip in the order of a card: 1 is the first; 0 is one that the card does not know.

    Parameters
    ----------
    names : sequence of str, shape (n,)
    chips : sequence of str
        `Card.chips`.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    number = {chip: i for i, chip in enumerate(chips, 1)}
    there, inverse = np.unique(np.asarray(names, np.str_), return_inverse=True)
    codes = np.array([number.get(str(name), 0) for name in there], np.int64)
    return codes[inverse.reshape(-1)]


def dataset_chips(dataset: LabelledStamps) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Chip of each row as a code (n,), and the name of each code; all rows are of chip '' where the set tells none."""
    if CHIP_COLUMN not in dataset.column_names:
        return np.zeros(len(dataset), np.int32), ("",)
    return dataset.codes(CHIP_COLUMN)


def dataset_chip_codes(dataset: LabelledStamps, chips: Sequence[str]) -> NDArray[np.int64]:
    """Number of each row's chip in the order of a card, shape (n,); see `chip_codes`."""
    codes, names = dataset_chips(dataset)
    return chip_codes(names, chips)[codes] if len(names) else np.zeros(len(dataset), np.int64)


def chips_of_rows(dataset: LabelledStamps, rows: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """Chips that some rows come from, by name.

    Raises
    ------
    InputError
        When the rows tell of no chip.
    """
    codes, names = dataset_chips(dataset)
    found = tuple(sorted(names[code] for code in np.unique(codes[rows]) if names[code]))
    if not found:
        raise InputError(
            f"the data set does not tell the chips of its rows: its column {CHIP_COLUMN!r} is missing or empty; train "
            "without --shared and --per chip, or build it from products of a camera whose profile names the chips",
            column=CHIP_COLUMN,
        )
    return found
