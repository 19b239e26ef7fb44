"""Which chips of a data set get a model of their own, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.chips.model_set import Counts
from gueststar.realbogus.chips.names import chips_of_rows, dataset_chips
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.split import Split

__all__ = ["ChipPlan", "PerChip", "plan_chips"]


class PerChip(Options):
    """When a chip gets a model of its own."""

    fewest: int = Field(
        200, ge=1, description="Reals, and artifacts, in the training part of a chip that has a model of its own"
    )
    fewest_validation: int = Field(
        49,
        ge=1,
        description="The same in its validation part; a threshold that keeps 98 % of the reals needs 49 of them",
    )


@dataclass(frozen=True, slots=True, eq=False)
class ChipPlan:
    """What is to be done about a chip.

    Parameters
    ----------
    chip : str
    rows : ndarray of int64
        Its rows in the data set.
    counts : mapping of str to Counts
        Its labelled rows in each part.
    reason : str
        Why it gets no model of its own; empty where it does.
    """

    chip: str
    rows: NDArray[np.int64]
    counts: Mapping[str, Counts]
    reason: str


def plan_chips(dataset: LabelledStamps, split: Split, options: PerChip | None = None) -> list[ChipPlan]:
    """Go through the chips of a data set, by name.

    Rows that tell no chip belong to none; they train the model of all chips alone.

    Raises
    ------
    InputError
        When no row tells a chip.
    """
    options = options or PerChip()
    codes, names = dataset_chips(dataset)
    labels = dataset.labels
    plans = []
    for chip in chips_of_rows(dataset, np.arange(len(dataset))):
        code = names.index(chip)
        counts = {}
        for part, rows in split.parts().items():
            found = labels[rows[codes[rows] == code]]
            counts[part] = Counts(real=int((found == 1).sum()), artifact=int((found == 0).sum()))
        plans.append(ChipPlan(chip, np.flatnonzero(codes == code), counts, _why_not(counts, options)))
    return plans


def _why_not(counts: Mapping[str, Counts], options: PerChip) -> str:
    for part, fewest in (("train", options.fewest), ("validation", options.fewest_validation)):
        found = counts[part]
        if min(found.real, found.artifact) < fewest:
            return f"{found.real} reals and {found.artifact} artifacts in the {part} part; {fewest} of each are needed"
    return ""
