"""Integrated gradients: the logit shared out among pixels and measured numbers (Sundararajan, Taly & Yan 2017).

The attribution of input i is (x_i - b_i) times the mean of the logit's derivative by x_i along the straight line from
the baseline b to x (arXiv:1703.01365, eq. 1), here by Gauss-Legendre quadrature. The line runs in what `Preprocess`
gives, asinh(x / 3 sigma) of the pixels and standardised numbers, and not in raw pixels: there a bright star would be on
its saturated side along nearly the whole way, and the little that decides would fall between two steps. The baseline is
0 in that space: empty sky in each plane, nothing missing, every measured number at its mean in training. Its sums are
complete: they add up to the logit less that of the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.explain.candidate import Candidate

if TYPE_CHECKING:
    from torch import Tensor

    from gueststar.realbogus.network import RealBogusNet

__all__ = ["Attribution", "integrated_gradients"]

_STEPS, _MOST_STEPS, _BATCH = 64, 512, 64
_TOLERANCE = 0.005  # of the difference of logits, before more steps are taken


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """A logit shared out; positive speaks for a real source.

    Parameters
    ----------
    pixels : ndarray, shape (3, size, size)
        Of each pixel, in the order science, reference, difference of the candidate.
    numbers : ndarray, shape (m,)
        Of each measured number, with what its being known says where the model is told that.
    missing : ndarray, shape (3,)
        Of the share of missing pixels in each plane.
    logit, baseline : float
        Of the candidate, and of empty sky with mean numbers.
    steps : int
        Points on the way.
    """

    pixels: NDArray[np.float64]
    numbers: NDArray[np.float64]
    missing: NDArray[np.float64]
    logit: float
    baseline: float
    steps: int

    @property
    def planes(self) -> NDArray[np.float64]:
        """Sum over the pixels of each plane, shape (3,)."""
        return np.asarray(self.pixels.sum(axis=(1, 2)), np.float64)

    @property
    def total(self) -> float:
        """Sum of all attributions."""
        return float(self.pixels.sum() + self.numbers.sum() + self.missing.sum())

    @property
    def completeness_error(self) -> float:
        """Sum of all attributions less the difference of the logits; 0 if the integral were exact."""
        return self.total - (self.logit - self.baseline)

    @property
    def completeness_share(self) -> float:
        """The same as a share of the difference of the logits; NaN where they are equal."""
        difference = abs(self.logit - self.baseline)
        return abs(self.completeness_error) / difference if difference > 0 else float("nan")


def integrated_gradients(
    network: RealBogusNet, candidate: Candidate, *, chip: int = 0, steps: int = _STEPS, most_steps: int = _MOST_STEPS
) -> Attribution:
    """Share the logit of a candidate out among its pixels and numbers.

    Parameters
    ----------
    network : RealBogusNet
        In evaluation mode, on the CPU.
    candidate : Candidate
    chip : int
        Number of the chip for a network that is told it; 0: unknown. It is the same along the whole way.
    steps : int
        Points on the way; doubled until the sums agree with the difference of the logits within 0.5 %.
    most_steps : int
        No more points than these.

    Returns
    -------
    Attribution
        In the order of the candidate's planes and numbers, also where it is turned over.
    """
    import torch

    inputs = [torch.from_numpy(part[None].copy()) for part in (candidate.cube, candidate.sigma, candidate.scalars)]
    code = torch.full((1,), chip, dtype=torch.int64)
    with torch.no_grad():
        pixels, numbers = network.preprocess(*inputs)
        ends = [network.after(a * pixels, a * numbers, code).double().item() for a in (1.0, 0.0)]
    while True:
        gradients = _mean_gradients(network, pixels, numbers, code, steps)
        shares = [
            (gradient * part.double())[0].numpy() for gradient, part in zip(gradients, (pixels, numbers), strict=True)
        ]
        made = _attribution(network, candidate, shares[0], shares[1], logit=ends[0], baseline=ends[1], steps=steps)
        # Of logits that hardly differ a share says little, so there a fixed error is allowed.
        close = abs(made.completeness_error) <= _TOLERANCE * max(abs(ends[0] - ends[1]), 0.2)
        if close or 2 * steps > most_steps:
            return made
        steps *= 2


def _mean_gradients(
    network: RealBogusNet, pixels: Tensor, numbers: Tensor, code: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Mean derivatives along the way, float64, by the points and weights of Gauss and Legendre."""
    import torch

    points, weights = np.polynomial.legendre.leggauss(steps)
    places, parts = torch.from_numpy((points + 1.0) / 2.0), torch.from_numpy(weights / 2.0)
    total_pixels, total_numbers = torch.zeros_like(pixels).double(), torch.zeros_like(numbers).double()
    for start in range(0, steps, _BATCH):
        a, share = places[start : start + _BATCH].to(pixels.dtype), parts[start : start + _BATCH]
        on_way = (a[:, None, None, None] * pixels).requires_grad_(), (a[:, None] * numbers).requires_grad_()
        logit = network.after(*on_way, code.expand(len(a))).sum()
        by_pixels, by_numbers = torch.autograd.grad(logit, on_way)
        total_pixels += torch.tensordot(share, by_pixels.double(), dims=1)[None]
        total_numbers += torch.tensordot(share, by_numbers.double(), dims=1)[None]
    return total_pixels, total_numbers


def _attribution(
    network: RealBogusNet,
    candidate: Candidate,
    pixels: NDArray[np.float64],
    numbers: NDArray[np.float64],
    *,
    logit: float,
    baseline: float,
    steps: int,
) -> Attribution:
    """Bring what the network sees back to the order of the candidate."""
    m, context = len(candidate.names), list(network.preprocess.context)
    own = numbers[:m].copy()
    own[context] += numbers[m + 3 :]
    # Both orders exchange two places, so that going back is the same as going there.
    planes, order = candidate.plane_order, candidate.number_order
    return Attribution(pixels[planes], own[order], numbers[m : m + 3][planes], logit, baseline, steps)
