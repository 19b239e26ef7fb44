"""Stamps scored in batches that fit the memory, with a reason for each one that has no score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ModelError
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.score import score_stamps

__all__ = ["REASONS", "BatchScorer", "why_unscored"]

#: Why a stamp has no score, by code; 0 is none.
REASONS = (
    "",
    "no usable pixel in any plane",
    "no usable pixel in the difference",
    "the noise of the difference is not known",
)

_SIGNS = ("memory", "alloc")  # in the message of a runtime that ran out of it


class BatchScorer:
    """Scores stamps; the batch is halved when the memory does not suffice, and stays so.

    Parameters
    ----------
    model : LoadedModel
    batch_size : int
        Stamps at once.
    tell : callable, optional
        Called with a sentence when the batch is halved.
    """

    def __init__(self, model: LoadedModel, *, batch_size: int = 64, tell: Callable[[str], None] | None = None) -> None:
        self.model, self.batch_size = model, batch_size
        self._tell = tell

    def __call__(
        self,
        cube: NDArray[np.floating[Any]],
        sigma: NDArray[np.floating[Any]],
        scalars: NDArray[np.floating[Any]],
        *,
        chips: NDArray[np.str_] | None = None,
    ) -> NDArray[np.float32]:
        """Scores, shape (n,), of stamps as `score_stamps` takes them; NaN where `why_unscored` has a reason.

        Raises
        ------
        ModelError
            When the shapes do not fit, or the memory does not suffice for one stamp.
        """
        scores = np.empty(len(cube), np.float32)
        # Rows of one chip go together, so that a set of models has whole batches, too.
        order = np.argsort(chips, kind="stable") if chips is not None and self.model.members is not None else None
        start = 0
        while start < len(cube):
            rows: Any = slice(start, start + self.batch_size)
            rows = rows if order is None else order[rows]
            try:
                scores[rows] = score_stamps(
                    cube[rows], sigma[rows], scalars[rows], self.model, batch_size=self.batch_size,
                    chips=None if chips is None else chips[rows],
                )  # fmt: skip
            except (MemoryError, RuntimeError) as error:
                self._halve(error)
                continue
            start += self.batch_size
        scores[why_unscored(cube, sigma, size=self.model.card.stamp_size) > 0] = np.nan
        return scores

    def _halve(self, error: Exception) -> None:
        """Halve the batch after a lack of memory; raise anything else again."""
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _SIGNS):
            raise error
        if self.batch_size == 1:
            raise ModelError(
                f"the memory does not suffice to score a single stamp: {error}; free some, or use a smaller model",
                batch_size=1,
            ) from error
        before, self.batch_size = self.batch_size, self.batch_size // 2
        if self._tell is not None:
            self._tell(f"out of memory with {before} stamps at once; going on with {self.batch_size}")


def why_unscored(cube: NDArray[np.floating[Any]], sigma: NDArray[np.floating[Any]], *, size: int) -> NDArray[np.int8]:
    """Why stamps cannot have a score, as codes of `REASONS`, shape (n,).

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
    sigma : ndarray, shape (n, 3)
    size : int
        Width of the centre that the model sees, px.
    """
    margin = (cube.shape[-1] - size) // 2
    seen = slice(margin, margin + size)
    finite = np.isfinite(cube[:, :, seen, seen]).any(axis=(2, 3))
    noise = sigma[:, 2]
    known = np.isfinite(noise) & (noise > 0)
    codes = np.where(~finite.any(axis=1), 1, np.where(~finite[:, 2], 2, np.where(~known, 3, 0)))
    return codes.astype(np.int8)
