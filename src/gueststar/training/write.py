"""Train a network, describe and measure it, and write its folder; a training that was stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.card import CARD_FILE, Card, weights_hash, write_model
from gueststar.realbogus.checkpoint import Checkpoint, identity
from gueststar.realbogus.chips.finetune import fine_tune
from gueststar.realbogus.chips.weights_file import pack_network, read_trainable
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.drift.model_profile import model_profile
from gueststar.realbogus.drift.profile import profile_text
from gueststar.realbogus.figure import roc_figure
from gueststar.realbogus.files import PROFILE_FILE
from gueststar.realbogus.history import write_history
from gueststar.realbogus.label_noise import train_robust
from gueststar.realbogus.lineage import joined_training, seen_groups, was_trained_on
from gueststar.realbogus.loaded import LoadedModel, open_model
from gueststar.realbogus.package import describe_model, score_dataset
from gueststar.realbogus.split import GROUP_COLUMNS, Split
from gueststar.realbogus.stored import StoredDataset
from gueststar.realbogus.train_options import slow_precision
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.watch import Watch
from gueststar.training.options import Training

__all__ = ["check_free", "write_trained"]


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a model.

    Raises
    ------
    OutputError
        When it does.
    """
    if (folder / CARD_FILE).exists():
        raise OutputError(f"{folder} holds a model already; remove it or choose another folder", path=str(folder))


def write_trained(
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
            "from_data": {key: value for key, value in before.training_data.items() if key != "groups"},
            **({"from_finetune": earlier} if (earlier := before.training.get("finetune")) else {}),
        }  # fmt: skip
        parts |= {"finetune": options.finetune, "base": before}
    kept = Checkpoint(out, identity(dataset, split, parts), minutes=options.train.checkpoint_minutes, restart=restart)
    watch = replace(watch or Watch(), keeper=kept)
    if kept.resumed:
        watch.say(f"going on with the training that was stopped; its state is {kept.path}")
    if advice := slow_precision(options.train):
        watch.say(advice)
    if network is None:
        trained = train_robust(dataset, split, options.train, options.label_noise, progress=progress, watch=watch)
    else:
        trained = fine_tune(network, dataset, split, options.train, options.finetune, progress=progress, watch=watch)
    trainable = pack_network(trained.network)
    card, weights = describe_model(
        trained, dataset, split, options=options.train, name=options.name, version=options.version, caveats=caveats
    )
    if before is not None:
        _warn_of_seen(before, dataset, split, watch)
        data = joined_training(card.training_data, [before.training_data, card.training_data])
        card = card.model_copy(update={"training_data": data})
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
    _write_profile(Path(out), model, dataset, split, seed=options.train.seed, watch=watch)
    kept.remove()
    return card


def _warn_of_seen(before: Card, dataset: LabelledStamps, split: Split, watch: Watch) -> None:
    """Tell when the model that is started from has seen groups of the test part."""
    known = before.training_data
    if was_trained_on(known, dataset):
        return  # with the parts that the set has, which share no group
    values = {name: np.unique(np.asarray(dataset[name])[split.test]).astype(str).tolist() for name in GROUP_COLUMNS}
    if seen := seen_groups(known, values):
        there = ", ".join(f"{len(found)} {name} value(s), such as {found[0]}" for name, found in seen.items())
        watch.say(
            f"{before.name} {before.version} has seen {there} of the test part: its figures may be too good. Take "
            "--test with a set of other frames"
        )


def _write_profile(
    folder: Path, model: LoadedModel, dataset: LabelledStamps, split: Split, *, seed: int, watch: Watch
) -> None:
    """Keep what the model was made with, for `gueststar drift`; a set of too few images has no profile."""
    rows = np.sort(np.concatenate((split.validation, split.test)))
    name = dataset.folder.name if isinstance(dataset, StoredDataset) else "training set"
    try:
        made = model_profile(model, dataset, rows, name=name, rng=np.random.default_rng(seed))
    except InputError as error:
        watch.say(f"no profile for `gueststar drift`: {error.message}")
        return
    try:
        (folder / PROFILE_FILE).write_text(profile_text(made), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder / PROFILE_FILE} cannot be written: {error}", path=str(folder)) from error
