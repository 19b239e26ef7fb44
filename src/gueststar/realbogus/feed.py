"""Batches of a training: which rows come in which step, how they are changed, and reading them ahead.

Order and changes of a step follow from seed, pass and step alone: a training that goes on in the middle draws what it
would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gueststar.errors import InputError
from gueststar.realbogus.augment import Change

if TYPE_CHECKING:
    from gueststar.realbogus.train_options import Train
    from gueststar.realbogus.training_rows import TrainingRows

__all__ = ["Batch", "Feed", "ahead"]

T = TypeVar("T")
R = TypeVar("R")
_ORDER, _CHANGE = 1, 2  # second number of the key of each kind of random numbers


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of one step, n of them, and the inputs of a network for them, on the CPU."""

    rows: NDArray[np.int64]
    inputs: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, n: int) -> list[Batch]:
        """About equal parts of it, in order."""
        ends = np.linspace(0, len(self), n + 1).astype(int)
        parts = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        return [self] if n == 1 else [Batch(self.rows[p], tuple(x[p] for x in self.inputs)) for p in parts]

    def on(self, device: torch.device | str) -> tuple[Tensor, ...]:
        """The inputs on a device."""
        return tuple(x.to(device) for x in self.inputs)


class Feed:
    """Batches of the training part.

    Parameters
    ----------
    rows : TrainingRows
    options : Train
    size : int
        Width of the centre that the network sees, px.

    Raises
    ------
    InputError
        When the stamps are too small for the shifts that are wanted.
    """

    def __init__(self, rows: TrainingRows, options: Train, size: int) -> None:
        self.rows, self.options, self.size = rows, options, size
        self.steps = math.ceil(rows.parts["train"].size / options.batch_size)
        needed = size + 2 * options.augment.shift_px
        if rows.dataset.stamp_size < needed:
            raise InputError(
                f"shifts by {options.augment.shift_px} px of a network that sees {size} px need stamps of {needed} px, "
                f"and these have {rows.dataset.stamp_size} px: lower train.augment.shift_px or train.stamp_size",
                stamp_size=rows.dataset.stamp_size,
            )

    def order(self, number: int) -> list[NDArray[np.int64]]:
        """Rows of each step of pass `number`."""
        mixed = np.random.default_rng((self.options.seed, _ORDER, number)).permutation(self.rows.parts["train"])
        # A last step with very few stamps would only disturb the running statistics of the normalisation.
        return [part for part in np.array_split(mixed, self.steps) if part.size > 1]

    def read(self, rows: NDArray[np.int64], number: int, step: int) -> Batch:
        """The batch of one step, each stamp changed as its step has it."""
        rng = np.random.default_rng((self.options.seed, _CHANGE, number, step))
        change = Change.draw(self.options.augment, rows.size, rng, scalars=self.rows.scalars)
        return Batch(rows, self.rows.inputs(rows, self.size, "cpu", change))

    def batches(self, number: int, *, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """Step and batch of pass `number`, from step `start` on; the next one is read while one is used."""
        steps = list(enumerate(self.order(number)))[start:]
        yield from zip(
            (step for step, _ in steps), ahead(lambda item: self.read(item[1], number, item[0]), steps), strict=True
        )


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`function` of every item, in order; a thread makes the next one while one is used.

    Reading and copying leave the interpreter to others, so this costs next to nothing even on one core.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        coming: Future[R] | None = None
        for item in items:
            following = pool.submit(function, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
