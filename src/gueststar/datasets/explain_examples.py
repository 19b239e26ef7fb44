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
from gueststar.realbogus.explain.neighbours import FeatureRows, Features, Neighbours, feature_function, nearest
from gueststar.realbogus.stored import StoredDataset, open_dataset

__all__ = ["Examples", "ExamplesSample", "nearest_examples", "read_sample"]

_BATCH = 64  # rows; larger ones leave the cache of the processor and take longer each


@dataclass(frozen=True, slots=True, eq=False)
class ExamplesSample:
    """Training examples among which the nearest are looked for, as a network sees them; `read_sample` makes it.

    Parameters
    ----------
    data : StoredDataset
        The m examples, the stamps as wide as they are stored.
    names : ndarray of str, shape (m,)
        Their identifiers.
    known : FeatureRows
        Features of all of them.
    features : callable
        What computes those of a candidate.
    stamp_size : int
        Width that the model sees, px.
    """

    data: StoredDataset
    names: NDArray[np.str_]
    known: FeatureRows
    features: Features
    stamp_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Training examples nearest to a candidate: neighbours, stamps (n, 3, size, size) in sigma, and what they are."""

    neighbours: Neighbours
    cube: NDArray[np.float32]
    labels: NDArray[np.int8]
    kinds: NDArray[np.str_]
    snr: NDArray[np.float32]


def read_sample(
    data: str | Path | StoredDataset, model: ExplainedModel, *, rng: np.random.Generator, sample: int = 2000
) -> ExamplesSample:
    """Draw training examples and compute their features, once for all candidates that one model scores.

    Parameters
    ----------
    data : path or StoredDataset
        Its part ``train`` is looked at.
    model : ExplainedModel
    rng : Generator
        Draws the sample.
    sample : int
        Rows that are looked at.

    Raises
    ------
    InputError
        When the set has no rows for training.
    ModelError
        When the network has no last layer of the usual kind, as those in eight bits.
    """
    data = open_dataset(data) if not isinstance(data, StoredDataset) else data
    there = data.split().train
    if there.size == 0:
        raise InputError(f"{data.folder} has no rows in its part train; give the set that the model was trained on")
    chosen = data.select(np.sort(rng.choice(there, min(sample, there.size), replace=False)))
    rows, size = np.arange(len(chosen)), model.card.stamp_size
    numbers = chosen.scalars([item.name for item in model.card.scalars])
    chips = chosen[CHIP_COLUMN] if CHIP_COLUMN in chosen.column_names else np.full(len(chosen), "")
    features = feature_function(model.card, model.weights)
    parts = [
        features(chosen.stamps(part, size=size), np.ones((part.size, 3), np.float32), numbers[part], chips[part])
        for part in np.array_split(rows, max(1, -(-rows.size // _BATCH)))
    ]
    return ExamplesSample(
        chosen, chosen["candidate_id"], FeatureRows(rows, np.concatenate(parts)), features, model.card.stamp_size
    )


def nearest_examples(sample: ExamplesSample, row: ExplainedRow, *, n: int = 6) -> Examples:
    """Training examples that the network finds most like a candidate.

    Parameters
    ----------
    sample : ExamplesSample
        Of the model that scores the candidate.
    row : ExplainedRow
        An example with the same identifier is left out: it is the candidate itself.
    n : int
        Examples that are wanted.
    """
    item, known = row.candidate, sample.known
    own = sample.features(item.cube[None], item.sigma[None], item.scalars[None], np.array([row.chip], np.str_))[0]
    others = np.flatnonzero(sample.names != row.name)
    found = nearest(own, [FeatureRows(known.rows[others], known.features[others])] if others.size else [], n=n)
    chosen = sample.data.select(found.rows)
    # They are read in their order in the set, and shown from the nearest on.
    order = np.searchsorted(np.sort(found.rows), found.rows)
    told = chosen.columns(["kind", "snr"])
    return Examples(
        found,
        chosen.stamps(order, size=sample.stamp_size),
        chosen.labels[order],
        np.asarray(told["kind"], np.str_)[order],
        np.asarray(told["snr"])[order],
    )
