"""Steps taken in pieces when the memory does not suffice for the whole: the sum of their gradients is that of the step.

A normalisation over the batch sees one piece at a time, so its statistics are those of fewer stamps; all else stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch

from gueststar.errors import InputError

__all__ = ["Pieces", "short_of_memory"]

_SIGNS = ("out of memory", "allocate memory", "bad alloc", "bad_alloc")  # in the message of a runtime


class Divisible(Protocol):
    """A batch that can be cut."""

    def __len__(self) -> int: ...

    def pieces(self, n: int) -> list[Self]:
        """About equal parts of it."""
        ...


B = TypeVar("B", bound=Divisible)
T = TypeVar("T")


def short_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or PyTorch is a lack of memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)
    )


class Pieces:
    """In how many pieces a step is taken; doubled whenever the memory does not suffice, and never fewer again.

    Parameters
    ----------
    tell : callable
        Called with a sentence when the number grows.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.n = 1
        self._tell = tell

    def __call__(self, batch: B, learn: Callable[[B], T], *, clear: Callable[[], None]) -> list[T]:
        """Let every piece of a batch be learnt.

        Parameters
        ----------
        batch : Divisible
        learn : callable
            Adds the gradients of one piece; what it returns is returned, one item for each piece.
        clear : callable
            Forgets gradients; called before the first piece, and again when all begins anew.

        Raises
        ------
        InputError
            When the memory does not suffice for pieces of two stamps.
        """
        while True:
            clear()
            try:
                return [learn(piece) for piece in batch.pieces(self.n)]
            except (MemoryError, RuntimeError) as error:
                if not short_of_memory(error):
                    raise
                self._more(len(batch), error)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _more(self, size: int, error: BaseException) -> None:
        n = 2 * self.n
        if size // n < 2:
            raise InputError(
                f"the memory does not suffice to train on {size // self.n} stamps at once: "
                f"{str(error) or type(error).__name__}; free some, or train a smaller network",
                batch_size=size,
            ) from error
        before, self.n = -(-size // self.n), n
        self._tell(
            f"out of memory with {before} stamps at once; going on with {-(-size // n)}: the steps stay as they are, "
            f"each the sum of {n} pieces"
        )
