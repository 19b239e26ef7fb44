"""Training examples beside a candidate whose score is explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar.datasets.explain_inputs import ExplainedRow
from gueststar.errors import InputError
from gueststar.realbogus.chips.names import CHIP_COLUMN
from gueststar.realbogus.explain.explanation import ExplainedModel
from gueststar.realbogus.explain.neighbours import FeatureRows, Neighbours, feature_function, nearest
from gueststar.realbogus.stored import StoredDataset, open_dataset

__all__ = ["Examples", "nearest_examples"]

_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Training examples nearest to a candidate: neighbours, stamps (n, 3, size, size) in sigma, and what they are."""

    neighbours: Neighbours
    cube: NDArray[np.float32]
    labels: NDArray[np.int8]
    kinds: NDArray[np.str_]
    snr: NDArray[np.float32]


def nearest_examples(
    data: str | Path | StoredDataset,
    model: ExplainedModel,
    row: ExplainedRow,
    *,
    rng: np.random.Generator,
    n: int = 6,
    sample: int = 2000,
) -> Examples:
    """Training examples that the network finds most like a candidate.

    Parameters
    ----------
    data : path or StoredDataset
        Its part ``train`` is looked at.
    model : ExplainedModel
    row : ExplainedRow
        An example with the same identifier is left out: it is the candidate itself.
    rng : Generator
        Draws the sample.
    n, sample : int
        Examples that are wanted; rows that are looked at.

    Raises
    ------
    InputError
        When the set has no rows for training.
    """
    data = open_dataset(data) if not isinstance(data, StoredDataset) else data
    there = data.split().train
    if there.size == 0:
        raise InputError(f"{data.folder} has no rows in its part train; give the set that the model was trained on")
    chosen = data.select(np.sort(rng.choice(there, min(sample, there.size), replace=False)))
    rows = np.flatnonzero(chosen["candidate_id"] != row.name)
    names = [item.name for item in model.card.scalars]
    numbers, size = chosen.scalars(names), model.card.stamp_size
    chips = chosen[CHIP_COLUMN] if CHIP_COLUMN in chosen.column_names else np.full(len(chosen), "")
    features = feature_function(model.card, model.weights)
    parts = [
        FeatureRows(part, features(chosen.stamps(part, size=size), np.ones((part.size, 3), np.float32), numbers[part],
                                   chips[part]))
        for part in np.array_split(rows, max(1, -(-rows.size // _BATCH)))
    ]  # fmt: skip
    item = row.candidate
    own = features(item.cube[None], item.sigma[None], item.scalars[None], np.array([row.chip], np.str_))[0]
    found = nearest(own, parts, n=n)
    kinds = np.asarray(chosen["kind"], np.str_)[found.rows]
    return Examples(
        found,
        chosen.stamps(found.rows, size=size),
        chosen.labels[found.rows],
        kinds,
        np.asarray(chosen["snr"])[found.rows],
    )
