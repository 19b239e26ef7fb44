"""What a training reads: which rows, their stamps and numbers as a network takes them, and what each row weighs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gueststar.errors import InputError
from gueststar.realbogus.augment import Change
from gueststar.realbogus.chips.names import chips_of_rows, dataset_chip_codes
from gueststar.realbogus.context import check_context, context_scalars
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.networks import check_size, shown_scalars
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.weights import class_weights, matched_weights

__all__ = ["TrainingRows", "network_inputs", "prepare"]


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
        return network_inputs(self.dataset, self.numbers, rows, size, device, change, chip=self.chip)


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


def network_inputs(
    dataset: LabelledStamps,
    numbers: NDArray[np.float32],
    rows: NDArray[np.int64],
    size: int,
    device: torch.device | str,
    change: Change | None = None,
    *,
    chip: NDArray[np.int64] | None = None,
) -> tuple[Tensor, ...]:
    """Inputs of a network for some rows of a set, whose stamps are in units of sigma already: sigma is 1.

    Parameters
    ----------
    dataset : LabelledStamps
    numbers : ndarray, shape (n, m)
        Raw measured numbers of all its rows.
    rows : ndarray of int, shape (k,)
    size : int
        Width of the centre that the network sees, px.
    device : torch.device or str
    change : Change, optional
        How stamps and numbers are changed; None: not at all.
    chip : ndarray of int, shape (n,), optional
        Number of the chip of each row of the set, for a network that is told it.
    """
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
