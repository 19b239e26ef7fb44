"""Two networks of different seed that believe all labels; their mean logit is the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.network import MeanNet
from gueststar.realbogus.predict import predict
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import train_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.realbogus.watch import Watch

__all__ = ["other_seed", "train"]


def other_seed(seed: int, number: int) -> int:
    """Seed of a further training, far from those that a user gives."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train two networks one after the other; history and best pass are those of the first."""
    trained, watch = [], watch or Watch()
    for number in range(2):
        seed = other_seed(options.seed, number) if number else options.seed
        own = options.model_copy(update={"seed": seed})
        note = None if progress is None else _piece(progress, "train", number, 2)
        seen = watch.of(f"network {number + 1} of 2")
        trained.append(train_network(dataset, split, own, scalars=scalars, progress=note, watch=seen))
    network = MeanNet([item.network for item in trained]).eval()
    rows = split.validation[dataset.labels[split.validation] >= 0]
    facts = {"method": "ensemble", "networks": len(trained)}
    return replace(trained[0], network=network, validation_logits=predict(network, dataset, rows), label_noise=facts)


def _piece(progress: Progress, stage: str, number: int, pieces: int) -> Progress:
    """Report one of several trainings as a part of the whole."""
    return lambda _, done, total: progress(stage, number * total + done, pieces * total)
