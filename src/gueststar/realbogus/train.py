"""Training of the real/bogus network, the same on every run with the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.chips.names import chips_of_rows, dataset_chip_codes
from gueststar.realbogus.dataset import LabelledStamps, symmetry
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.network import RealBogusNet, StampNet
from gueststar.realbogus.networks import NetworkName, build_network, check_size, shown_scalars
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
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
    device: str = Field("cpu", description="'cpu', 'cuda' or 'cuda:N'")
    threads: int = Field(1, ge=1, le=256, description="CPU threads")

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


def train_network(
    dataset: LabelledStamps,
    split: Split,
    options: Train | None = None,
    *,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
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

    Raises
    ------
    InputError
        When a part lacks one of the classes, or groups cross.
    """
    options = options or Train()
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        return Loop(rows, new_network(rows, options), options).run(progress)


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
    with torch.inference_mode():
        for start in range(0, rows.size, batch_size):
            part = rows[start : start + batch_size]
            inputs = _batch(dataset, numbers, part, network.preprocess.size, device, chip=chip)
            logits[start : start + part.size] = network(*inputs).cpu().numpy()
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
        self, rows: NDArray[np.int64], size: int, device: torch.device | str, turn: NDArray[np.int64] | None = None
    ) -> tuple[Tensor, ...]:
        """Inputs of a network for some rows, each turned by a symmetry of the square."""
        return _batch(self.dataset, self.numbers, rows, size, device, turn, chip=self.chip)


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
            raise InputError(
                f"network {options.network!r} cannot be told the chip; 'gueststar' can", network=options.network
            )
        network.condition(rows.chips, width=options.chip_numbers, unknown_share=options.unknown_chip)
    network.preprocess.fit(rows.numbers[rows.parts["train"]])
    return network.to(options.device)


class Loop:
    """State of one training: network, optimiser, schedule and what is the best so far."""

    def __init__(self, rows: TrainingRows, network: StampNet, options: Train) -> None:
        self.rows, self.network, self.options = rows, network, options
        self.rng = np.random.default_rng(options.seed)
        self.steps = math.ceil(rows.parts["train"].size / options.batch_size)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=options.learning_rate,
            total_steps=max(self.steps * options.epochs, 2),
            pct_start=options.warm_up,
        )

    def run(self, progress: Progress | None) -> Trained:
        history: list[Epoch] = []
        best, best_loss, logits = -1, math.inf, np.empty(0, np.float32)
        state: dict[str, Tensor] = {}
        for number in range(self.options.epochs):
            train_loss = self._pass(number, progress)
            found = predict(self.network, self.rows.dataset, self.rows.parts["validation"])
            epoch = self.judge(train_loss, found)
            history.append(epoch)
            if epoch.validation_loss < best_loss:
                best, best_loss, logits = number, epoch.validation_loss, found
                state = self.state()
            elif number - best >= self.options.patience:
                break
        if not state:
            raise went_astray(self.options)
        self.network.cpu().load_state_dict(state)
        return Trained(self.network.eval(), tuple(history), best, logits, {"method": "naive"})

    def _pass(self, number: int, progress: Progress | None) -> float:
        """One pass over the training part; returns the mean weighted loss."""
        total = seen = 0.0
        for i, rows in enumerate(self.batches()):
            loss = self.loss(rows, self.rng.integers(0, 8, rows.size))
            self.descend(loss)
            total += float(loss.detach()) * rows.size
            seen += rows.size
            if progress is not None:
                progress("train", number * self.steps + i + 1, self.options.epochs * self.steps)
        return total / max(seen, 1.0)

    def batches(self) -> list[NDArray[np.int64]]:
        """Rows of each step of one pass, in a new order."""
        order = self.rng.permutation(self.rows.parts["train"])
        # A last step with very few stamps would only disturb the running statistics of the normalisation.
        return [part for part in np.array_split(order, self.steps) if part.size > 1]

    def loss(self, rows: NDArray[np.int64], turn: NDArray[np.int64]) -> Tensor:
        """What a step makes smaller."""
        losses, weights = self.losses(rows, turn)
        return (losses * weights).mean()

    def losses(self, rows: NDArray[np.int64], turn: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each row in training mode, and its weight; shape (n,) both."""
        self.network.train()
        device = next(self.network.parameters()).device
        inputs = self.rows.inputs(rows, self.network.preprocess.size, device, turn)
        target = torch.from_numpy(self.rows.labels[rows]).to(device)
        losses = binary_cross_entropy_with_logits(self.network(*inputs), target, reduction="none")
        return losses, torch.from_numpy(self.rows.weights[rows]).to(device)

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser and of its schedule."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
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
    turn: NDArray[np.int64] | None = None,
    *,
    chip: NDArray[np.int64] | None = None,
) -> tuple[Tensor, ...]:
    """Inputs of the network for some rows; the stamps are in units of sigma already, so sigma is 1."""
    cube = dataset.stamps(rows, size=size)
    pixels = torch.from_numpy(symmetry(cube, turn) if turn is not None else cube).to(device)
    inputs = (pixels, torch.ones(rows.size, 3, device=device), torch.from_numpy(numbers[rows]).to(device))
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
