"""One model for each chip of a data set, in a set of models; a run that was stopped goes on where it was.

The model of each chip is trained on the rows of that chip alone, all with the same options and the same seed, so the
order and the number of processes change nothing. A chip with too few rows gets none, with the reason, and is served by
the fallback. A chip's folder appears when its model is finished, under its name, with a hash of options and rows in its
card: what is there and has the right one is not trained again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gueststar import __version__
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.realbogus.card import Card, find_model, model_hash, read_model
from gueststar.realbogus.chips.model_set import (
    FALLBACK_FOLDER,
    ChipEntry,
    ModelSet,
    SetMember,
    chip_folder,
    is_set,
    member_folder,
    read_set,
    write_set,
)
from gueststar.realbogus.chips.names import dataset_chips
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.files import CARD_FILE, PROFILE_FILE, TRAINABLE_FILE, WEIGHTS_FILE
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import score_dataset
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.training.chip_plan import plan_chips
from gueststar.training.options import Training
from gueststar.training.stored import train_stored

if TYPE_CHECKING:
    from gueststar.realbogus.trained import Progress

__all__ = ["ChipResult", "ChipTask", "Mapper", "lost_chip", "train_per_chip"]

_RECIPE = "recipe"  # key of the hash in the card's `training`
_ELSEWHERE = {"device", "threads", "checkpoint_minutes"}  # where and how fast, not what


class Mapper(Protocol):
    """Anything that maps a function over tasks; results in any order. The builtin `map` is one."""

    def __call__(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterable[Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ChipTask:
    """The model of one chip; everything a process needs to train it, and to measure the fallback on its rows."""

    chip: str
    reason: str
    options: Training
    data: Path
    exclude: tuple[str, ...]
    out: Path
    base: str | None
    labels: str = ""


@dataclass(frozen=True, slots=True)
class ChipResult:
    """What became of a chip: why it has no model of its own (empty where it has), AUC of it and of the fallback."""

    chip: str
    reason: str
    auc: float | None
    fallback_auc: float | None
    was_there: bool = False


def train_per_chip(
    options: Training,
    data: str | Path,
    out: str | Path,
    *,
    exclude: Sequence[str] = (),
    labels: str = "",
    base: str | Path | None = None,
    fallback: str | None = None,
    mapper: Mapper = map,
    restart: bool = False,
    progress: Progress | None = None,
) -> ModelSet:
    """Train a model for each chip of a data set on disk, and write the set.

    Parameters
    ----------
    options : Training
        Of each model; ``options.chips`` says which chips get one.
    data : path
        A data set that tells the chip of its rows in the column ``chip``.
    out : path
        Folder of the set; what a run with the same options has finished there is kept.
    exclude : sequence of str
        Reasons of suspicion whose rows are left out.
    labels : str
        Version of the labels; empty: those of the set.
    base : str or path, optional
        Model that each chip starts from, see `gueststar.realbogus.chips.finetune`; None: from nothing.
    fallback : str, optional
        Model of the other chips: 'all', trained on all rows (on the chip, too, with ``train.chips = film``); 'shipped';
        or a model folder. None: `base`, else 'all'.
    mapper : callable, optional
        Maps over the chips, such as a pool of processes.
    restart : bool
        Forget the state of a training of the fallback that was stopped.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'fallback' and 'chips'.

    Returns
    -------
    ModelSet

    Raises
    ------
    InputError
        When the set tells no chips or is not divided, or there is too little to train the fallback on.
    ConfigError
        When the fallback takes other stamps or measured numbers.
    ModelError
        When `base` or the fallback cannot be used.
    OutputError
        When `out` holds models of other options or rows, or cannot be written.
    """
    out, data, exclude = Path(out), Path(data).resolve(), tuple(exclude)
    dataset = open_dataset(data, exclude=exclude, labels=labels)
    plans = plan_chips(dataset, dataset.split(), options.chips)
    base = None if base is None else str(base)
    tasks = [ChipTask(plan.chip, plan.reason, options, data, exclude, out, base, labels) for plan in plans]
    for task, plan in zip(tasks, plans, strict=True):
        if not task.reason:
            _finished(out / chip_folder(task.chip), _recipe(task, dataset.select(plan.rows)))
    words = _make_fallback(options, dataset, out, base, fallback or (base or "all"), restart, progress)
    results = {}
    for done, result in enumerate(mapper(train_chip, tasks), 1):
        results[result.chip] = result
        if progress is not None:
            progress("chips", done, len(tasks))
    serving = read_model(out / FALLBACK_FOLDER)[0]
    entries = {}
    for plan in plans:
        found = results[plan.chip]
        own = None if found.reason else _member(out, chip_folder(plan.chip), serving)
        entries[plan.chip] = ChipEntry(
            own=own, reason=found.reason, rows=dict(plan.counts), auc=found.auc, fallback_auc=found.fallback_auc
        )
    models = ModelSet(
        name=options.name,
        version=options.version,
        fallback=_member(out, FALLBACK_FOLDER, serving),
        fallback_from=words,
        chips=entries,
        training_data={**dataset.facts, "hash": dataset.content_hash(), "n": len(dataset)},
        code_version=__version__,
    )
    write_set(out, models)
    return models


def train_chip(task: ChipTask) -> ChipResult:
    """Train the model of a chip unless it is there, and measure it and the fallback; may run in another process."""
    whole = open_dataset(task.data, exclude=task.exclude, labels=task.labels)
    codes, names = dataset_chips(whole)
    dataset = whole.select(np.flatnonzero(codes == names.index(task.chip)))
    del whole, codes
    folder, reason, there = task.out / chip_folder(task.chip), task.reason, False
    if not reason:
        recipe = _recipe(task, dataset)
        there = _finished(folder, recipe)
        if not there:
            try:
                own_options = task.options.model_copy(
                    update={
                        "name": f"{task.options.name} {task.chip}",
                        "train": task.options.train.model_copy(update={"chips": "none", "threads": 1}),
                    }
                )
                part = _empty(folder)
                train_stored(own_options, dataset, part, base=task.base, notes={_RECIPE: recipe, "chip": task.chip})
                part.replace(folder)
            except InputError as error:
                reason = f"its training failed: {error.message}"
            except OSError as error:
                raise OutputError(f"{folder} cannot be written: {error}", path=str(folder)) from error
    own = None if reason else _auc(folder, dataset)
    return ChipResult(task.chip, reason, own, _auc(task.out / FALLBACK_FOLDER, dataset), there)


def lost_chip(task: ChipTask) -> ChipResult:
    """Result for a chip whose process died twice."""
    return ChipResult(
        task.chip,
        task.reason or "the process that trained it died (out of memory?); run the command again with fewer workers",
        None,
        None,
    )


def _auc(model: Path, dataset: StoredDataset) -> float | None:
    """AUC on the test part; None where it lacks a class."""
    test = dataset.split().test
    test = test[dataset.labels[test] >= 0]
    real = dataset.labels[test] == 1
    if not real.any() or real.all():
        return None
    return round(float(auc(real, score_dataset(load_model(model), dataset, test))), 6)


def _recipe(task: ChipTask, dataset: StoredDataset) -> str:
    """Hash of all that decides what a chip's model is."""
    return _hash_of(task.options, dataset, task.base)


def _hash_of(options: Training, dataset: StoredDataset, base: str | None) -> str:
    train = {k: v for k, v in options.train.model_dump(mode="json").items() if k not in _ELSEWHERE}
    facts = {
        "name": options.name, "version": options.version, "train": train,
        "label_noise": options.label_noise.model_dump(mode="json"), "rows": dataset.content_hash(),
        "finetune": None if base is None else [options.finetune.model_dump(mode="json"), model_hash(base)],
        "code": __version__,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _finished(folder: Path, recipe: str) -> bool:
    """Whether a model of this recipe is there; one of another recipe is not written over."""
    if not folder.exists():
        return False
    card, _ = read_model(folder)
    if card.training.get(_RECIPE) != recipe:
        raise OutputError(
            f"{folder} holds a model of other options, other rows or another version of gueststar; remove it, or "
            "choose another folder",
            path=str(folder),
        )
    return True


def _empty(folder: Path) -> Path:
    """Folder beside the one that is to appear, without what a run that was stopped has left in it."""
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    return part


def _make_fallback(
    options: Training,
    dataset: StoredDataset,
    out: Path,
    base: str | None,
    which: str,
    restart: bool,
    progress: Progress | None,
) -> str:
    """Have the fallback in its folder; returns where it comes from, in words."""
    folder = out / FALLBACK_FOLDER
    if which == "all":
        recipe = _hash_of(options, dataset, None)
        if not _finished(folder, recipe):
            note = None if progress is None else (lambda _, done, total: progress("fallback", done, total))
            # Its state is kept when it is stopped: it has the rows of all chips.
            part = folder.with_name(f".{folder.name}.part")
            part = _empty(folder) if (part / CARD_FILE).exists() else part
            train_stored(options, dataset, part, notes={_RECIPE: recipe}, restart=restart, progress=note)
            part.replace(folder)
        return "trained on the rows of all chips"
    card, _ = read_model(which)
    _check_inputs(card, options, base)
    if folder.exists():
        if read_model(folder)[0] != card:
            raise OutputError(f"{folder} holds another model than {which}; choose another folder", path=str(folder))
    else:
        source, part = find_model(which), _empty(folder)
        source = member_folder(source, read_set(source).fallback) if is_set(source) else source
        try:
            part.mkdir(parents=True)
            for name in (WEIGHTS_FILE, TRAINABLE_FILE, CARD_FILE, PROFILE_FILE):
                if (source / name).is_file():
                    shutil.copyfile(source / name, part / name)
            part.replace(folder)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error}", path=str(folder)) from error
    return f"{card.name} {card.version}, {'the model that each chip started from' if which == base else 'as given'}"


def _check_inputs(card: Card, options: Training, base: str | None) -> None:
    """Refuse a fallback that takes other stamps or numbers than the models of the chips will."""
    from gueststar.realbogus.context import context_scalars
    from gueststar.realbogus.networks import seen_size, shown_scalars
    from gueststar.realbogus.scalars import DEFAULT_SCALARS

    before = None if base is None else read_model(base)[0]
    size = seen_size(options.train) if before is None else before.stamp_size
    wanted = shown_scalars(options.train, (*DEFAULT_SCALARS, *context_scalars(options.train.context)))
    scalars = wanted if before is None else before.network_scalars()
    if size != card.stamp_size or card.network_scalars() != scalars:
        raise ConfigError(
            f"the fallback {card.name!r} takes stamps of {card.stamp_size} px and {len(card.scalars)} measured "
            f"numbers, the models of the chips {size} px and {len(scalars)}; they must agree: choose --fallback all, "
            f"or train.stamp_size={card.stamp_size}",
            key="fallback",
        )


def _member(out: Path, folder: str, serving: Card) -> SetMember:
    """Entry of a model of the set, which takes what the fallback takes."""
    card, _ = read_model(out / folder)
    if (card.stamp_size, card.channels, card.scalars) != (serving.stamp_size, serving.channels, serving.scalars):
        raise ConfigError(
            f"{out / folder} takes other stamps or measured numbers than the fallback; choose --fallback all",
            key="fallback",
        )
    digest = hashlib.sha256((out / folder / CARD_FILE).read_bytes()).hexdigest()
    return SetMember(folder=folder, weights_hash=card.weights_hash, card_hash=digest)
