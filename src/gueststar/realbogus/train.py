"""Training of the real/bogus network, the same on every run with the same seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gueststar.errors import ConfigError, InputError
from gueststar.options import Options
from gueststar.realbogus.augment import Augment, Change
from gueststar.realbogus.chips.names import chips_of_rows, dataset_chip_codes
from gueststar.realbogus.context import check_context, context_scalars
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.feed import Batch, Feed
from gueststar.realbogus.network import RealBogusNet, StampNet
from gueststar.realbogus.networks import NetworkName, build_network, check_size, shown_scalars
from gueststar.realbogus.pieces import Pieces, short_of_memory
from gueststar.realbogus.resume import LoopState
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.watch import Watch
from gueststar.realbogus.weights import class_weights, matched_weights

__all__ = ["Epoch", "Progress", "Train", "Trained", "predict", "train_network"]

#: Called as progress(stage, done, total) while something long goes on.
Progress = Callable[[str, int, int], None]


class Train(Options):
    """Which network is trained, and how."""

    network: NetworkName = Field(
        "gueststar",
        description="'gueststar': the network of this program; to compare with: 'seed', a plain network on the "
        "difference alone; 'braai' (Duev et al. 2019); 'takahashi-simple', 'takahashi-complex' (Takahashi et al. 2022)",
    )
    epochs: int = Field(24, ge=1, le=10000, description="Most passes over the training part")
    patience: int = Field(8, ge=1, le=10000, description="Passes without a better validation loss before it stops")
    batch_size: int = Field(256, ge=2, le=65536, description="Stamps of one step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Peak of the one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0, le=10, description="Weight decay of AdamW")
    warm_up: float = Field(0.15, gt=0, lt=1, description="Share of the steps until the peak learning rate")
    balance: Literal["snr", "class"] = Field(
        "snr",
        description="'class': both classes weigh the same; 'snr': in every interval of signal to noise, so that the "
        "signal to noise alone, which is a choice of the injection, tells nothing",
    )
    stamp_size: int | None = Field(
        None,
        ge=15,
        le=255,
        description="Width of the centre that is seen, px, odd; none: that of the network, 31 (gueststar, seed), "
        "63 (braai) or 29 (takahashi-simple, takahashi-complex)",
    )
    planes: tuple[Literal["science", "reference", "difference"], ...] = Field(
        ("science", "reference", "difference"),
        description="Planes that 'gueststar' sees; the others are hidden inside the network, so stamps stay triplets",
    )
    numbers: bool = Field(True, description="Whether 'gueststar' sees the measured numbers")
    scalar_dropout: float = Field(
        0.25, ge=0, lt=1, description="Chance that all measured numbers are hidden; 'gueststar' alone sees any"
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Chance that a feature of the head is hidden; others than 'gueststar' have theirs",
    )
    chips: Literal["none", "film"] = Field(
        "none",
        description="'film': the network is told the chip of each candidate, which modulates its last two stages; "
        "'none': it is not",
    )
    chip_numbers: int = Field(8, ge=1, le=256, description="Length of the vector that stands for a chip")
    unknown_chip: float = Field(
        0.1, gt=0, lt=1, description="Share of the rows whose chip is hidden in training, for chips that are not known"
    )
    seed: int = Field(0, ge=0, description="Of first weights, order, symmetries and dropout")
    context: tuple[str, ...] = Field(
        (),
        description="Columns of the data set that say what stands around a candidate, such as 'star_distance', as "
        "further inputs; 'column:compression' with log1p (as when not told), linear, asinh or log10_abs",
    )
    context_dropout: float = Field(0.5, ge=0, lt=1, description="Chance that the whole context is hidden")
    augment: Augment = Field(Augment(), description="Changes of the stamps beside the symmetries of the square")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="'bfloat16': convolutions in half the bits while training, weights stay in float32; quicker on "
        "processors and GPUs that have it",
    )
    device: str = Field("cpu", description="'cpu', 'cuda' or 'cuda:N'")
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads; 0: one for each core, at most 8 (in a program: as PyTorch is set). The same number "
        "gives the same model",
    )
    checkpoint_minutes: float = Field(
        5.0,
        ge=0,
        le=10000,
        description="How often the state within a pass is kept, beside the one after each; 0: never",
    )

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if not self.planes and not self.numbers:
            raise ValueError("a network that sees no plane needs numbers=true")
        if self.network != "gueststar" and (len(set(self.planes)) < 3 or not self.numbers):
            raise ValueError(f"planes and numbers can be hidden from 'gueststar' alone, not from {self.network!r}")
        return self


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training part reached; losses are weighted as in training."""

    train_loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The network with the lowest validation loss, in evaluation mode on the CPU, and how it came about."""

    network: StampNet
    history: tuple[Epoch, ...]
    best_epoch: int
    validation_logits: NDArray[np.float32]  #: of the rows of the validation part, in their order
    label_noise: Mapping[str, Any] = field(default_factory=dict)  #: what was done about wrong labels
    stopped: Literal["patience", "epochs"] = "epochs"  #: why no further pass was made
    pieces: int = 1  #: a step was taken in so many for want of memory


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


def predict(
    network: StampNet,
    dataset: LabelledStamps,
    rows: NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
) -> NDArray[np.float32]:
    """Logits of some rows (default: all) from a network in evaluation mode, on the device it is on; shape (n,)."""
    rows = np.arange(len(dataset)) if rows is None else rows
    numbers = dataset.scalars([scalar.name for scalar in network.preprocess.scalars])
    chips = getattr(network, "chips", ())
    chip = dataset_chip_codes(dataset, chips) if chips else None
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    logits = np.empty(rows.size, np.float32)
    start = 0
    with torch.inference_mode():
        while start < rows.size:
            part = rows[start : start + batch_size]
            try:
                inputs = _batch(dataset, numbers, part, network.preprocess.size, device, chip=chip)
                logits[start : start + part.size] = network(*inputs).cpu().numpy()
            except (MemoryError, RuntimeError) as error:
                if not short_of_memory(error) or batch_size == 1:
                    raise
                batch_size //= 2
                continue
            start += part.size
    network.train(was_training)
    return logits


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """What a training reads: stamps, raw numbers (n, m), weights (n,), labels (n,) and which rows each part has.

    `chips` are those that the network is told of, and `chip` (n,) the number of each row's one; None: it is not told.
    """

    dataset: LabelledStamps
    scalars: tuple[Scalar, ...]
    numbers: NDArray[np.float32]
    weights: NDArray[np.float32]
    labels: NDArray[np.float32]
    parts: dict[str, NDArray[np.int64]]
    chips: tuple[str, ...] = ()
    chip: NDArray[np.int64] | None = None

    def inputs(
        self, rows: NDArray[np.int64], size: int, device: torch.device | str, change: Change | None = None
    ) -> tuple[Tensor, ...]:
        """Inputs of a network for some rows, each turned by a symmetry of the square and changed else."""
        return _batch(self.dataset, self.numbers, rows, size, device, change, chip=self.chip)


def prepare(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    *,
    chips: tuple[str, ...] | None = None,
) -> TrainingRows:
    """Check what is to be trained on, and weigh it.

    A network that is told the chip knows those of the training part, or `chips`.

    Raises
    ------
    InputError
        When a label is unknown, a part lacks one of the classes, groups cross, the stamps are too small, or chips are
        wanted and the set tells none.
    """
    dataset.check_split(split)
    check_size(options, dataset.stamp_size)
    scalars = shown_scalars(options, scalars)
    unknown = np.setdiff1d(dataset.labels, (-1, 0, 1))
    if unknown.size:
        raise InputError(f"label {unknown[0]}: 1 is real, 0 artifact, -1 neither; there is nothing else")
    rows = {name: part[dataset.labels[part] >= 0] for name, part in split.parts().items()}
    for name in ("train", "validation"):
        found = np.bincount(dataset.labels[rows[name]], minlength=2)
        if found.min() == 0:
            raise InputError(
                f"the {name} part has {found[1]} reals and {found[0]} artifacts; both are needed: make more pairs",
                part=name,
            )
    scalars = (*scalars, *context_scalars(options.context, network=options.network))
    check_context(dataset, scalars)
    numbers = dataset.scalars([scalar.name for scalar in scalars])
    labels = dataset.labels.astype(np.float32)
    if chips is None:
        chips = chips_of_rows(dataset, rows["train"]) if options.chips == "film" else ()
    chip = dataset_chip_codes(dataset, chips) if chips else None
    return TrainingRows(dataset, scalars, numbers, _weights(dataset, rows, options), labels, rows, chips, chip)


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


def _batch(
    dataset: LabelledStamps,
    numbers: NDArray[np.float32],
    rows: NDArray[np.int64],
    size: int,
    device: torch.device | str,
    change: Change | None = None,
    *,
    chip: NDArray[np.int64] | None = None,
) -> tuple[Tensor, ...]:
    """Inputs of the network for some rows; the stamps are in units of sigma already, so sigma is 1."""
    own = numbers[rows]
    if change is None:
        cube = dataset.stamps(rows, size=size)
    else:
        cube, own = change.pixels(dataset.stamps(rows, size=size + 2 * change.margin)), change.numbers(own)
    pixels = torch.from_numpy(cube).to(device)
    inputs = (pixels, torch.ones(rows.size, 3, device=device), torch.from_numpy(own).to(device))
    return inputs if chip is None else (*inputs, torch.from_numpy(chip[rows]).to(device))


def _weights(dataset: LabelledStamps, rows: dict[str, NDArray[np.int64]], options: Train) -> NDArray[np.float32]:
    """Weight of every row, mean 1 in each part; 0 for rows that are not used."""
    weights = np.zeros(len(dataset), np.float32)
    strength = np.abs(np.asarray(dataset["snr"], np.float64))
    for part in ("train", "validation"):
        labels = dataset.labels[rows[part]]
        snr = strength[rows[part]]
        weights[rows[part]] = matched_weights(labels, snr) if options.balance == "snr" else class_weights(labels)
    return weights
