"""One candidate as a model takes it, and the function that gives its logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.loaded import LoadedModel, with_views
from gueststar.realbogus.score import stamp_logits

__all__ = ["PLANES", "Candidate", "Logits", "model_logits"]

PLANES = ("science", "reference", "difference")

#: Logits (n,) of cubes (n, 3, k, k), sigma (n, 3) and numbers (n, m).
Logits = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What a model is told about one candidate.

    Parameters
    ----------
    cube : ndarray, shape (3, k, k)
        Science, reference, difference, free of sky, in any units; NaN where missing.
    sigma : ndarray, shape (3,)
        Noise of each plane in the same units.
    scalars : ndarray, shape (m,)
        Raw measured numbers, NaN where missing.
    names : tuple of str
        What the numbers are; the first is ``snr``, whose sign tells whether the candidate has faded.

    Raises
    ------
    InputError
        When shapes do not fit each other.
    """

    cube: NDArray[np.float32]
    sigma: NDArray[np.float32]
    scalars: NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        shape, m = self.cube.shape, len(self.names)
        square = len(shape) == 3 and shape[0] == 3 and shape[1] == shape[2] and shape[1] % 2 == 1
        if not square or self.sigma.shape != (3,) or self.scalars.shape != (m,):
            raise InputError(
                f"a candidate with a cube {shape}, sigma {self.sigma.shape} and numbers {self.scalars.shape} for {m} "
                f"names; expected (3, k, k) with k odd, (3,) and ({m},)"
            )

    @property
    def faded(self) -> bool:
        """Whether it is fainter in the science image, so that the model turns it over."""
        return bool(self.scalars[0] < 0)

    @property
    def plane_order(self) -> list[int]:
        """Which plane of the candidate the model sees at each place: the epochs are exchanged of one that has faded."""
        return [1, 0, 2] if self.faded else [0, 1, 2]

    @property
    def number_order(self) -> list[int]:
        """Which number of the candidate the model sees at each place."""
        order = list(range(len(self.names)))
        if self.faded and {"science_snr", "reference_snr"} <= set(self.names):
            i, j = self.names.index("science_snr"), self.names.index("reference_snr")
            order[i], order[j] = j, i
        return order

    def upright(self) -> Candidate:
        """The same turned over as the model does it, so that no number decides about that any more."""
        if not self.faded:
            return self
        cube = self.cube[self.plane_order] * np.array([1, 1, -1], np.float32)[:, None, None]
        scalars = self.scalars[self.number_order]
        scalars[0] = -scalars[0]
        return replace(self, cube=cube, sigma=self.sigma[self.plane_order], scalars=scalars)

    def logits(self, logits: Logits, cubes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Logits of other pixels (n, 3, k, k) with the noise and the numbers of this candidate."""
        n = len(cubes)
        sigma, scalars = np.tile(self.sigma, (n, 1)), np.tile(self.scalars, (n, 1))
        return np.asarray(logits(np.asarray(cubes, np.float32), sigma, scalars), np.float64)


def model_logits(model: LoadedModel, *, chip: str = "", views: Literal[1] | None = 1) -> Logits:
    """The logit of a model as a function of pixels, noise and numbers.

    Parameters
    ----------
    model : LoadedModel
    chip : str
        Chip of the candidate; empty: unknown.
    views : int, optional
        How often it looks. The first look sees the pixels as they are, and is what maps of pixels explain; None: as
        often as it does for a score.
    """
    used = model if views is None else with_views(model, views)

    def logits(
        cube: NDArray[np.float32], sigma: NDArray[np.float32], scalars: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return stamp_logits(cube, sigma, scalars, used, chips=np.full(len(cube), chip, dtype=np.str_))

    return logits
