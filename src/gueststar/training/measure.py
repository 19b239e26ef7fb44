"""A model that is made already, measured on further data sets: the same weights with a fuller card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gueststar.errors import InputError
from gueststar.realbogus.card import Card, read_model, trainable_bytes, write_model
from gueststar.realbogus.chips.model_set import is_set
from gueststar.realbogus.drift.model_profile import copy_profile
from gueststar.realbogus.lineage import was_trained_on
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.stored import StoredDataset
from gueststar.training.tested import rows_to_test, tested

__all__ = ["measure_model"]


def measure_model(
    model: str | Path,
    tests: Mapping[str, StoredDataset],
    out: str | Path,
    *,
    caveats: Sequence[str] = (),
) -> Card:
    """Measure a model on data sets that it was not trained on, and write it again with the figures on its card.

    Parameters
    ----------
    model : str or path
        Folder of one model.
    tests : mapping of str to StoredDataset
        By the names that the card gives to the figures; what the card has under another name stays.
    out : path
        New folder: all files of the model, with the new card.
    caveats : sequence of str
        What else a user must know, added to the card.

    Raises
    ------
    InputError
        When `model` is a set of models, nothing is to be measured, or a set is the one that it was trained on or has no
        real or artifact.
    ModelError
        When the model cannot be read.
    OutputError
        When `out` holds a model already or cannot be written.
    """
    if is_set(Path(model)):
        raise InputError(
            f"{model} is a set of models; `gueststar evaluate` measures one, and here each of its folders can be",
            path=str(model),
        )
    if not tests:
        raise InputError("no data set to measure on: give one with --test")
    card, weights = read_model(model)
    for name, data in tests.items():
        if was_trained_on(card.training_data, data):
            raise InputError(f"test set {name!r} is the set that the model was trained on; take one of other frames")
        if rows_to_test(data).size == 0:
            raise InputError(f"test set {name!r} has no row that is real or artifact; there is nothing to measure")
    found = tested(load_model(model), tests)
    told = (*card.caveats, *(text for text in caveats if text not in card.caveats))
    card = card.model_copy(update={"metrics": {**card.metrics, **found}, "caveats": told})
    write_model(out, card, weights, trainable=trainable_bytes(model))
    copy_profile(model, out)
    return card
