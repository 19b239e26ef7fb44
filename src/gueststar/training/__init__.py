"""From nothing to a model folder: make a training set with the whole chain, train, measure, write the card.

Reals are put into the frames *before* subtraction, two ways: transients, movers and variables drawn by the simulator
with the true point-spread function, and artificial reals injected with the measured one. Artifacts are whatever else
the chain finds. Some passes run a chain with worse settings than the default, because the default leaves few artifacts
to learn from; the column ``chain`` tells them apart, and quality is reported for the default chain alone, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.options import Options
from gueststar.realbogus.card import CARD_FILE, Card, weights_hash, write_model
from gueststar.realbogus.checkpoint import Checkpoint, identity
from gueststar.realbogus.chips.finetune import FineTune, fine_tune
from gueststar.realbogus.chips.weights_file import pack_network, read_trainable
from gueststar.realbogus.dataset import Dataset, LabelledStamps
from gueststar.realbogus.figure import roc_figure
from gueststar.realbogus.history import write_history
from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.networks import check_size
from gueststar.realbogus.package import describe_model, judge, score_dataset
from gueststar.realbogus.score import LoadedModel, open_model
from gueststar.realbogus.split import Split, check_split, split_groups
from gueststar.realbogus.stored import StoredDataset
from gueststar.realbogus.train import Progress, Train
from gueststar.realbogus.watch import Watch
from gueststar.training.chip_plan import PerChip
from gueststar.training.kept_sets import kept_set
from gueststar.training.make import RealPair, make_training_set, real_pairs, simulated_rows
from gueststar.training.passes import TrainingSet
from gueststar.training.second_pass import second_injector_pass
from gueststar.training.tested import check_tests, tested
from gueststar.types import Image

__all__ = [
    "RealPair",
    "Training",
    "TrainingSet",
    "make_and_train",
    "make_training_set",
    "real_pairs",
    "second_injector_pass",
    "simulated_rows",
    "split_set",
    "train_model",
    "train_stored",
]

Frames = Mapping[str, Sequence[Image]]

_CAVEATS = (
    "Scores are not calibrated to the rates of any survey; simulated figures are not comparable with published ones.",
    "Artifacts of real frames are all that the chain found there and nobody injected; real variables and movers among "
    "them are mislabelled.",
    "Trained on point-spread functions of 1.7 to 7 px FWHM; on sharper, undersampled frames it misses many reals.",
    "Donuts of defocus, trailed frames and satellites are not in the simulated set.",
)
_STORED_CAVEATS = (
    "Scores are not calibrated to the rates of any survey.",
    "Reals are artificial ones, put in by the injector that the training data name; the figures hold for such sources.",
    "What was detected and not put in counts as an artifact; real variables, movers and transients among it are "
    "mislabelled.",
)


class Training(Options):
    """Everything about the making of a model."""

    name: str = Field("gueststar", min_length=1, max_length=60, description="Name of the model")
    version: str = Field("1", min_length=1, max_length=30, description="Version of the model")
    data: TrainingSet = Field(default_factory=TrainingSet, description="The training set")
    train: Train = Field(Train(), description="The training")
    label_noise: LabelNoise = Field(LabelNoise(), description="What is done about real sources among the artifacts")
    finetune: FineTune = Field(FineTune(), description="How a trained network goes on with other rows")
    chips: PerChip = Field(PerChip(), description="When a chip gets a model of its own")


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
    if (folder / CARD_FILE).exists():
        raise OutputError(f"{folder} holds a model already; remove it or choose another folder", path=str(folder))
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

    return _made(
        options, dataset, split, out, measure=measure, shown=_usual(dataset, split.test),
        title="simulated test part, default chain", caveats=_CAVEATS, progress=progress, watch=watch, restart=restart,
    )  # fmt: skip


def train_stored(
    options: Training,
    dataset: StoredDataset,
    out: str | Path,
    *,
    base: str | Path | None = None,
    tests: Mapping[str, StoredDataset] | None = None,
    notes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    restart: bool = False,
) -> Card:
    """Train on a data set on disk, as it is divided, and write the model folder; stamps are read when they are needed.

    Parameters
    ----------
    options : Training
        Its part `data` is not used.
    dataset : StoredDataset
        From `gueststar.realbogus.stored.open_dataset`.
    out : path
        New folder: ``model.onnx``, ``card.json``, ``weights.npz``, ``roc.png``, ``training.png`` and
        ``training.csv``; with the state of a stopped training of the same options and data, that training goes on.
    base : str or path, optional
        Model to start from, whose head is trained on (`gueststar.realbogus.chips.finetune`); None: from nothing.
    tests : mapping of str to StoredDataset, optional
        Sets that the model is only tested on, by the names that the card gives to the figures.
    notes : mapping, optional
        Plain values that the card keeps about the training.
    progress : callable, optional
        Called as progress('train', done, total).
    watch : Watch, optional
        Told what the training reaches; its keeper is not used.
    restart : bool
        Forget the state of a training that was stopped.

    Raises
    ------
    InputError
        When the set is not divided, groups cross, a part lacks a class, or a test set shares frames with it.
    ModelError
        When `base` cannot be trained further.
    OutputError
        When `out` holds a model already or cannot be written.
    """
    folder = Path(out)
    if (folder / CARD_FILE).exists():
        raise OutputError(f"{folder} holds a model already; remove it or choose another folder", path=str(folder))
    if base is not None and options.label_noise.method != "naive":
        raise ConfigError(
            f"label_noise.method = {options.label_noise.method}: a model that is trained further believes all labels; "
            "take naive",
            key="label_noise.method",
        )
    split = dataset.split()
    test = split.test[dataset.labels[split.test] >= 0]
    check_tests(dataset, tests or {})

    def measure(model: LoadedModel) -> dict[str, Any]:
        own = {"test": judge(model, dataset, test, name="test part of the data set")[1]} if test.size else {}
        return own | tested(model, tests or {})

    return _made(
        options, dataset, split, out, measure=measure, shown=test, title="test part of the data set",
        caveats=_STORED_CAVEATS, base=base, notes=notes or {}, progress=progress, watch=watch, restart=restart,
    )  # fmt: skip


def _made(
    options: Training,
    dataset: LabelledStamps,
    split: Split,
    out: str | Path,
    *,
    measure: Callable[[LoadedModel], dict[str, Any]],
    shown: NDArray[np.int64],
    title: str,
    caveats: Sequence[str],
    base: str | Path | None = None,
    notes: Mapping[str, Any] | None = None,
    progress: Progress | None,
    watch: Watch | None,
    restart: bool,
) -> Card:
    """Train, describe, measure and write a model, with the curve of the rows `shown`."""
    notes = dict(notes or {})
    parts: dict[str, Any] = {"train": options.train, "label_noise": options.label_noise}
    before, network = (None, None) if base is None else read_trainable(base)
    if before is not None:
        notes["finetune"] = {
            **options.finetune.model_dump(mode="json"), "from": f"{before.name} {before.version}",
            "from_hash": before.weights_hash,
        }  # fmt: skip
        parts |= {"finetune": options.finetune, "base": before}
    kept = Checkpoint(out, identity(dataset, split, parts), minutes=options.train.checkpoint_minutes, restart=restart)
    watch = replace(watch or Watch(), keeper=kept)
    if kept.resumed:
        watch.say(f"going on with the training that was stopped; its state is {kept.path}")
    if network is None:
        trained = train_robust(dataset, split, options.train, options.label_noise, progress=progress, watch=watch)
    else:
        trained = fine_tune(network, dataset, split, options.train, options.finetune, progress=progress, watch=watch)
    trainable = pack_network(trained.network)
    card, weights = describe_model(
        trained, dataset, split, options=options.train, name=options.name, version=options.version, caveats=caveats
    )
    model = open_model(card, weights)
    card = card.model_copy(
        update={
            "metrics": measure(model),
            "training": {**card.training, **notes},
            "trainable_hash": weights_hash(trainable) if trainable else "",
        }
    )
    write_history(out, trained, title=f"{card.name} {card.version}: training")
    write_model(out, card, weights, trainable=trainable)
    labels = dataset.labels[shown]
    if shown.size:
        picture = roc_figure(
            labels, score_dataset(model, dataset, shown), dataset["snr"][shown], threshold=card.threshold,
            title=f"{card.name} {card.version}: {title}",
        )  # fmt: skip
        picture.savefig(Path(out) / "roc.png")
    kept.remove()
    return card


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
