"""Whether a map can be believed: what is removed by it must matter, and other weights must give another map."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.explain.candidate import Candidate, Logits

if TYPE_CHECKING:
    from gueststar.realbogus.network import RealBogusNet

__all__ = ["DeletionCurve", "deletion_curve", "map_correlation", "random_deletion_curve", "randomise_weights"]

_STEPS, _LARGEST = 20, 0.2


@dataclass(frozen=True, slots=True, eq=False)
class DeletionCurve:
    """Logit against the share of pixels that are replaced by empty sky.

    Parameters
    ----------
    share : ndarray, shape (s,)
        Of the pixels of all planes, from 0.
    logit : ndarray, shape (s,)
    """

    share: NDArray[np.float64]
    logit: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean logit along the curve; the lower, the sooner what mattered was removed."""
        return float(np.trapezoid(self.logit, self.share) / (self.share[-1] - self.share[0]))

    def fall(self, share: float) -> float:
        """How far the logit has fallen when this share of the pixels is gone."""
        return float(self.logit[0] - np.interp(share, self.share, self.logit))


def deletion_curve(
    logits: Logits,
    candidate: Candidate,
    attribution: NDArray[np.floating],
    *,
    steps: int = _STEPS,
    largest: float = _LARGEST,
) -> DeletionCurve:
    """Remove pixels in the order of their attribution and note the logit.

    After Petsiuk, Das & Saenko (2018, arXiv:1806.07421), with empty sky for what is removed.

    For what speaks *against* a real source give the logit and the attribution with the other sign.

    Parameters
    ----------
    logits : callable
    candidate : Candidate
    attribution : ndarray, shape (3, k, k)
        The largest are removed first.
    steps : int
        Points of the curve after the first.
    largest : float
        Share of the pixels that are gone at its end.

    Raises
    ------
    InputError
        When the attribution is not one of this candidate's pixels.
    """
    if attribution.shape != candidate.cube.shape:
        raise InputError(
            f"an attribution of shape {attribution.shape} for stamps of shape {candidate.cube.shape}; expected the same"
        )
    return _curve(logits, candidate, np.argsort(-attribution.ravel(), kind="stable"), steps, largest)


def random_deletion_curve(
    logits: Logits,
    candidate: Candidate,
    *,
    rng: np.random.Generator,
    repeats: int = 5,
    steps: int = _STEPS,
    largest: float = _LARGEST,
) -> DeletionCurve:
    """The same with pixels removed in random order, mean of several: what a map has to beat.

    Parameters
    ----------
    logits : callable
    candidate : Candidate
    rng : Generator
    repeats : int
        Random orders.
    steps, largest
        As for `deletion_curve`.
    """
    curves = [
        _curve(logits, candidate, rng.permutation(candidate.cube.size), steps, largest) for _ in range(max(repeats, 1))
    ]
    return DeletionCurve(curves[0].share, np.mean([curve.logit for curve in curves], axis=0))


def _curve(logits: Logits, candidate: Candidate, order: NDArray[np.intp], steps: int, largest: float) -> DeletionCurve:
    counts = np.round(np.linspace(0, largest, steps + 1) * order.size).astype(int)
    cubes = np.repeat(candidate.cube.reshape(1, -1), counts.size, axis=0)
    for cube, count in zip(cubes, counts, strict=True):
        gone = order[:count]
        cube[gone] = np.where(np.isfinite(cube[gone]), 0.0, cube[gone])
    values = candidate.logits(logits, cubes.reshape(-1, *candidate.cube.shape))
    return DeletionCurve(counts / order.size, values)


def randomise_weights(network: RealBogusNet, *, rng: np.random.Generator) -> RealBogusNet:
    """A copy of a network whose weights are shuffled within each layer (Adebayo et al. 2018, arXiv:1810.03292).

    A map that looks the same for it shows edges of the picture and not what the network has learnt. What standardises
    the measured numbers stays.

    Parameters
    ----------
    network : RealBogusNet
    rng : Generator
    """
    import torch

    made = copy.deepcopy(network)
    with torch.no_grad():
        for weight in made.parameters():
            order = torch.from_numpy(rng.permutation(weight.numel()))
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return made.eval()


def map_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps of one shape; NaN where one is constant."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
