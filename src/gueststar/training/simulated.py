"""Training on simulated pairs of frames, and on real ones that artificial reals were put into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.card import Card
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.networks import check_size
from gueststar.realbogus.package import judge
from gueststar.realbogus.split import Split, check_split, split_groups
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.watch import Watch
from gueststar.training.kept_sets import kept_set
from gueststar.training.make import make_training_set, real_pairs
from gueststar.training.options import Training
from gueststar.training.write import check_free, write_trained
from gueststar.types import Image

__all__ = ["make_and_train", "split_set", "train_model"]

Frames = Mapping[str, Sequence[Image]]

_CAVEATS = (
    "Scores are not calibrated to the rates of any survey; simulated figures are not comparable with published ones.",
    "Artifacts of real frames are all that the chain found there and nobody injected; real variables and movers among "
    "them are mislabelled.",
    "Trained on point-spread functions of 1.7 to 7 px FWHM; on sharper, undersampled frames it misses many reals.",
    "Donuts of defocus, trailed frames and satellites are not in the simulated set.",
)


def make_and_train(
    options: Training,
    out: str | Path,
    *,
    real_images: Frames | None = None,
    held_out_images: Frames | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    restart: bool = False,
) -> Card:
    """Make a training set, train on it, measure the model and write its folder.

    A training that was stopped goes on when it is called again with the same options: the set that it has made is used
    again, and its state is in ``checkpoint.pt`` of the folder until the model is written.

    Parameters
    ----------
    options : Training
    out : path
        New folder: ``model.onnx``, ``card.json``, ``roc.png``, ``training.png``, ``training.csv``, and the training set
        in ``training_set``.
    real_images : mapping of str to sequence of Image, optional
        Prepared frames of each real field; they go to the training part only.
    held_out_images : mapping of str to sequence of Image, optional
        Prepared frames that are only tested on. Frames of a field that is in `real_images`, too, are compared with its
        training frames; the card then says that the same stars were seen.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'pairs', 'held-out pairs' and 'train'.
    watch : Watch, optional
        Told what the training reaches; its keeper is not used.
    restart : bool
        Forget the state of a training that was stopped; a training set that was made for the same options is kept.

    Raises
    ------
    InputError
        When there is too little to train on, or the stamps that would be made are too small for the network.
    OutputError
        When `out` holds a model already, or a stopped training of other options or data, or cannot be written.
    """
    folder = Path(out)
    check_free(folder)
    check_size(options.train, options.data.stamp_size)
    place = folder / "training_set"
    dataset = kept_set(place, options.data, real_images or {})
    if dataset is None:
        real = real_pairs(real_images, options.data) if real_images else []
        dataset = make_training_set(options.data, place, real=real, progress=progress)
    held_out = None
    if held_out_images:
        alone, place = options.data.model_copy(update={"n_pairs": 0}), folder / "held_out_set"
        held_out = kept_set(place, alone, held_out_images)
        if held_out is None:
            pairs = real_pairs(held_out_images, options.data, partners=real_images)
            held_out = make_training_set(alone, place, real=pairs, progress=_renamed(progress, "held-out pairs"))
    return train_model(options, dataset, folder, held_out=held_out, progress=progress, watch=watch, restart=restart)


def train_model(
    options: Training,
    dataset: Dataset,
    out: str | Path,
    *,
    held_out: Dataset | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    restart: bool = False,
) -> Card:
    """Train on a set, measure on its test part and on what was held out, write the model folder.

    Raises
    ------
    InputError
        When there is too little to train on.
    OutputError
        When `out` holds a model already or cannot be written.
    """
    split = split_set(dataset, seed=options.data.seed)

    def measure(model: LoadedModel) -> dict[str, Any]:
        return _metrics(model, dataset, split, held_out)

    return write_trained(
        options, dataset, split, out, measure=measure, shown=_usual(dataset, split.test),
        title="simulated test part, default chain", caveats=_CAVEATS, progress=progress, watch=watch, restart=restart,
    )  # fmt: skip


def split_set(dataset: Dataset, *, seed: int) -> Split:
    """Split simulated rows 2:1:1 by whole groups; rows of real fields go to the training part.

    A real field is one tile, so it cannot be on two sides; the test on real frames is made with frames held out.
    """
    simulated = np.flatnonzero(np.asarray(dataset["source"]) == "simulated")
    real = np.flatnonzero(np.asarray(dataset["source"]) != "simulated")
    if not simulated.size:
        raise InputError("a training set needs simulated pairs (data.n_pairs) for validation and test; it has none")
    columns = {name: np.asarray(dataset[name])[simulated] for name in ("tile", "night", "reference")}
    parts = split_groups(columns, rng=np.random.default_rng(seed))
    train = np.concatenate([simulated[parts.train], real])
    split = Split(train, simulated[parts.validation], simulated[parts.test])
    check_split(dataset.columns, split)
    return split


def _metrics(model: LoadedModel, dataset: Dataset, split: Split, held_out: Dataset | None) -> dict[str, Any]:
    """Quality on the simulated test part, on its default chain alone, and on real frames that were held out."""
    found = {"simulated": judge(model, dataset, split.test, name="simulated test part, all chains")[1]}
    usual = _usual(dataset, split.test)
    found["simulated_default_chain"] = judge(model, dataset, usual, name="simulated test part, default chain")[1]
    if held_out is not None:
        fields = np.asarray(held_out["source"])
        seen = set(np.asarray(dataset["source"]).tolist())
        for field in np.unique(fields).tolist():
            which = "held-out frames of a field trained on" if field in seen else "field never seen"
            rows = _usual(held_out, np.flatnonzero(fields == field))
            found[f"real_{field}"] = judge(model, held_out, rows, name=f"{field}: {which}, default chain")[1]
    return found


def _usual(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the default chain that are real or artifact."""
    usual = np.asarray(dataset["chain"])[rows] == "default"
    return rows[np.flatnonzero(usual & (dataset.labels[rows] >= 0))]


def _renamed(progress: Progress | None, stage: str) -> Progress | None:
    return None if progress is None else lambda _, done, total: progress(stage, done, total)
