"""Training on a data set on disk, as it is divided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gueststar.errors import ConfigError
from gueststar.realbogus.card import Card
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.package import judge
from gueststar.realbogus.stored import StoredDataset
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.watch import Watch
from gueststar.training.options import Training
from gueststar.training.tested import check_tests, tested
from gueststar.training.write import check_free, write_trained

__all__ = ["train_stored"]

_CAVEATS = (
    "Scores are not calibrated to the rates of any survey.",
    "Reals are artificial ones, put in by the injector that the training data name; the figures hold for such sources.",
    "What was detected and not put in counts as an artifact; real variables, movers and transients among it are "
    "mislabelled.",
)


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
        New folder: ``model.onnx``, ``card.json``, ``weights.npz``, ``roc.png``, ``training.png``, ``training.csv`` and,
        with 20 images or more that were not trained on, ``profile.json``; with the state of a stopped training of the
        same options and data, that training goes on.
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
    check_free(folder)
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

    return write_trained(
        options, dataset, split, out, measure=measure, shown=test, title="test part of the data set",
        caveats=_CAVEATS, base=base, notes=notes or {}, progress=progress, watch=watch, restart=restart,
    )  # fmt: skip
