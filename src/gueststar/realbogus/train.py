"""Training of the real/bogus network, the same on every run with the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.feed import Batch, Feed
from gueststar.realbogus.network import RealBogusNet, StampNet
from gueststar.realbogus.networks import build_network
from gueststar.realbogus.pieces import Pieces
from gueststar.realbogus.predict import predict
from gueststar.realbogus.resume import LoopState
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Epoch, Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch

__all__ = ["Epoch", "Loop", "Progress", "Train", "Trained", "new_network", "predict", "train_network", "went_astray"]


def train_network(
    dataset: LabelledStamps,
    split: Split,
    options: Train | None = None,
    *,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train on the training part, keep the weights that are best on the validation part; the test part is not touched.

    Rows with label -1 are left out.

    Parameters
    ----------
    dataset : LabelledStamps
        Held in memory, or on disk: then batches are read when they are needed.
    split : Split
        Checked again: rows that share a tile, night or reference across parts are refused.
    options : Train, optional
    scalars : tuple of Scalar
        Measured numbers that the network takes.
    progress : callable, optional
        Called with ('train', steps done, steps in all) after every step.
    watch : Watch, optional
        Told what is reached, and keeps the state: a training that it has a state of goes on from there.

    Raises
    ------
    InputError
        When a part lacks one of the classes, or groups cross.
    """
    options = options or Train()
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        return Loop(rows, new_network(rows, options), options).run(progress, watch)


def new_network(rows: TrainingRows, options: Train) -> StampNet:
    """A network with first weights from the global generator, its numbers standardised on the training part."""
    network = build_network(options, rows.scalars)
    if rows.chips:
        if not isinstance(network, RealBogusNet):
            raise ConfigError(
                f"network {options.network!r} cannot be told the chip; take train.network=gueststar, or leave out "
                "--shared (train.chips=film)",
                key="train.chips",
            )
        network.condition(rows.chips, width=options.chip_numbers, unknown_share=options.unknown_chip)
    network.preprocess.fit(rows.numbers[rows.parts["train"]])
    # With the channels of a pixel side by side the convolutions take a third less time on a CPU.
    network.to(device=options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class Loop:
    """State of one training: network, optimiser, schedule and what is the best so far."""

    def __init__(self, rows: TrainingRows, network: StampNet, options: Train) -> None:
        self.rows, self.network, self.options = rows, network, options
        self.feed = Feed(rows, options, network.preprocess.size)
        self.steps = self.feed.steps
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=options.learning_rate,
            total_steps=max(self.steps * options.epochs, 2),
            pct_start=options.warm_up,
        )
        self.at = LoopState()
        self.pieces = Pieces(lambda _: None)

    def run(self, progress: Progress | None, watch: Watch | None = None) -> Trained:
        """Go through passes until one of the limits, from the state that is kept where there is one."""
        watch, at = watch or Watch(), self.at
        self.pieces = Pieces(watch.say)
        if (kept := watch.kept()) is not None:
            at = self.at = LoopState.restored(kept, self)
        while not at.stopped:
            train_loss = self._pass(progress, watch)
            found = predict(self.network, self.rows.dataset, self.rows.parts["validation"])
            epoch = self.judge(train_loss, found)
            better = at.add(epoch, found, self.state)
            watch.say_epoch(at.number, epoch, best=better)
            at.close_pass(patience=self.options.patience, epochs=self.options.epochs)
            watch.keep(lambda: at.plain(self))
        if not at.best_state:
            raise went_astray(self.options)
        self.network.cpu().load_state_dict(at.best_state)
        return Trained(
            self.network.eval(), tuple(at.history), at.best, at.logits, {"method": "naive"}, at.stopped, self.pieces.n
        )

    def _pass(self, progress: Progress | None, watch: Watch) -> float:
        """The rest of one pass over the training part; returns the mean weighted loss of all of it."""
        at = self.at
        for i, batch in self.feed.batches(at.number, start=at.step):
            loss = sum(self.pieces(batch, partial(self._learn, n=len(batch)), clear=self.clear))
            self.descend()
            at.count(loss, len(batch))
            watch.say_step(loss)
            watch.keep_if_due(lambda: at.plain(self))
            if progress is not None:
                progress("train", at.number * self.steps + i + 1, self.options.epochs * self.steps)
        return at.mean_loss()

    def _learn(self, batch: Batch, n: int) -> float:
        """Add the gradient of a piece of a step of n rows; returns its share of the loss."""
        loss = self.loss(batch) * (len(batch) / n)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def loss(self, batch: Batch) -> Tensor:
        """Mean over some rows of what a step makes smaller."""
        losses, weights = self.losses(batch)
        return (losses * weights).mean()

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each row in training mode, and its weight; shape (n,) both."""
        self.network.train()
        logits = self.logits(batch)
        target = torch.from_numpy(self.rows.labels[batch.rows]).to(logits.device)
        losses = binary_cross_entropy_with_logits(logits, target, reduction="none")
        return losses, torch.from_numpy(self.rows.weights[batch.rows]).to(logits.device)

    def logits(self, batch: Batch) -> Tensor:
        """What the network, in the mode it is in, says of some rows, in the precision that is wanted; float32."""
        device = next(self.network.parameters()).device
        if self.options.precision == "float32":
            return cast(Tensor, self.network(*batch.on(device)))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return cast(Tensor, self.network(*batch.on(device))).float()

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def descend(self) -> None:
        """One step of the optimiser and of its schedule along the gradients that are there."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def more_state(self) -> dict[str, Any]:
        """Tensors and plain values beside weights and optimiser from which a kind of training goes on."""
        return {}

    def set_more_state(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `more_state` gave."""

    def judge(
        self, train_loss: float, logits: NDArray[np.float32], weights: NDArray[np.floating[Any]] | None = None
    ) -> Epoch:
        """What a pass reached on the validation part; its rows weigh as in training, or as told."""
        rows = self.rows.parts["validation"]
        labels, weights = self.rows.labels[rows], self.rows.weights[rows] if weights is None else weights
        z = logits.astype(np.float64)
        losses = np.logaddexp(0.0, z) - labels * z
        return Epoch(
            train_loss=train_loss,
            validation_loss=float(np.average(losses, weights=weights)),
            validation_auc=auc(labels > 0.5, logits),
            learning_rate=float(self.schedule.get_last_lr()[0]),
        )


def went_astray(options: Train) -> InputError:
    """Say that no pass gave a number."""
    return InputError(
        f"training went astray: the validation loss was never a number at learning rate {options.learning_rate}; "
        "lower it",
        learning_rate=options.learning_rate,
    )
