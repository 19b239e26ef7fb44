"""A trained network goes on with other rows: its head alone, its head and the modulation by the chip, or all of it.

Where the head alone is trained, the layers that look at pixels and numbers stay as they are, running statistics of the
normalisation included, so a few hundred rows are enough: 28,000 weights of 180,000 are trained. Features of one set
serve another when the last layers alone are trained anew; with many rows, all layers trained from such a start do
better than from nothing: Yosinski et al. 2014 (arXiv 1411.1792).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.chips.names import dataset_chip_codes
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import Loop
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.realbogus.training_rows import prepare
from gueststar.realbogus.watch import Watch

__all__ = ["FineTune", "fewer_rows", "fine_tune"]


class FineTune(Options):
    """How a trained network goes on with other rows."""

    part: Literal["head", "head+film", "all"] = Field(
        "head",
        description="What is trained: 'head'; 'head+film': the modulation by the chip, too; 'all': every layer, which "
        "takes tens of thousands of rows",
    )
    rows: int | None = Field(
        None,
        ge=2,
        description="Rows of the training part that are used, drawn so that the share of reals stays; none: all",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak of the one-cycle schedule; in place of train's")


def fine_tune(
    network: RealBogusNet,
    dataset: LabelledStamps,
    split: Split,
    options: Train | None = None,
    how: FineTune | None = None,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a network, or its head alone, on other rows; keep what is best on the validation part.

    Parameters
    ----------
    network : RealBogusNet
        From `gueststar.realbogus.chips.weights_file.read_trainable`. Changed: pass one that is not needed any more.
    dataset : LabelledStamps
    split : Split
    options : Train, optional
        Passes, batches, seed, device; what builds a network (stamp size, chips) is that of `network`.
    how : FineTune, optional
    progress : callable, optional
        Called with ('train', steps done, steps in all) after every step.
    watch : Watch, optional
        Told what is reached, and keeps the state.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        When a part lacks one of the classes, groups cross, the stamps are too small, or the modulation is to be trained
        and there is none, or none of its chips is in the rows.
    """
    options, how = options or Train(), how or FineTune()
    if how.part == "head+film":
        _check_film(network, dataset, split)
    own = options.model_copy(update={
            "learning_rate": how.learning_rate, "stamp_size": network.preprocess.size, "network": "gueststar",
            "context": (),
        }
    )  # fmt: skip
    rng = np.random.default_rng((options.seed, 1))
    rows = prepare(
        dataset, fewer_rows(split, dataset, how.rows, rng), own, network.preprocess.scalars, chips=network.chips
    )
    network.scalar_dropout, network.context_dropout = options.scalar_dropout, options.context_dropout
    for layer in network.head.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = options.dropout
    if network.film is not None:
        network.film.unknown_share = options.unknown_chip
    if how.part != "all":
        network.freeze(film=how.part == "head+film")
    with deterministic(options.seed, device=options.device, threads=options.threads):
        placed = network.to(device=options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Loop(rows, placed, own).run(progress, watch)


def fewer_rows(split: Split, dataset: LabelledStamps, most: int | None, rng: np.random.Generator) -> Split:
    """The split with at most so many rows in its training part, both classes in the shares that they have there.

    Raises
    ------
    InputError
        When a class would be left without a row.
    """
    labelled = split.train[dataset.labels[split.train] >= 0]
    if most is None or labelled.size <= most:
        return split
    kept = []
    real = dataset.labels[labelled] == 1
    n_real = min(max(round(most * float(real.mean())), 1), most - 1)
    for mine, n in ((real, n_real), (~real, most - n_real)):
        there = labelled[mine]
        if not there.size:
            raise InputError("the training part has one class only; both are needed to train", rows=int(labelled.size))
        kept.append(rng.choice(there, min(n, there.size), replace=False))
    return Split(np.sort(np.concatenate(kept)), split.validation, split.test)


def _check_film(network: RealBogusNet, dataset: LabelledStamps, split: Split) -> None:
    if network.film is None:
        raise InputError(
            "finetune.part = head+film: the network that it starts from is not conditioned on the chip; take 'head', "
            "or start from a model of `gueststar train --shared`"
        )
    if not dataset_chip_codes(dataset, network.chips)[split.train].any():
        raise InputError(
            "finetune.part = head+film: no row comes from a chip that the network knows, which are "
            f"{', '.join(network.chips[:8])}{' ...' if len(network.chips) > 8 else ''}; take 'head'"
        )
