"""What the kernel cannot reach: the difference of the far wings of the two point-spread functions.

A matching kernel is a few FWHM wide. Beyond it the wings of two exposures still differ (another Moffat exponent,
another aureole), which leaves a ring of one sign around every bright star. Here the kernel is continued outwards by a
few isotropic rings,

    D' = D - sum_i c_i (Ring_i * R) - c,

with R the reference, Ring_i of unit sum and c the level of the sky. The coefficients, constant over the chip, are found
by weighted least squares with Cauchy weights on the difference itself around bright stars, on pixels binned 2 x 2:
wings are smooth. A prior of width 0.02 keeps them at zero where no star is bright enough to tell. A kernel of fine
pixels inside and coarse ones outside is an idea of Albrow et al. (2009, MNRAS 397, 2099).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from gueststar.subtract.bins import BIN, Bins, binned, unbinned
from gueststar.types import Stars

__all__ = ["fit_wings"]

_FINE_PX = (4.0, 6.0, 8.0)  # edges of the rings, on bins of 2 px
_COARSE_PX = (8.0, 11.0, 15.0, 20.0)  # on bins of 4 px
_REACH_PX = 24
_MINIMUM_SNR = 150.0
_PRIOR = 0.02
_CLIP_SIGMA = 4.0
_MOST_PIXELS = 20_000
_FEWEST_PIXELS = 200


def fit_wings(difference: Bins, light: torch.Tensor, stars: Stars) -> tuple[torch.Tensor, float]:
    """Model the difference of the far wings, and the level beneath them.

    Parameters
    ----------
    difference : Bins
    light : Tensor, shape (ny, nx)
        Reference in the same bins, e-; 0 without data.
    stars : Stars
        Of the reference, on this grid.

    Returns
    -------
    Tensor of shape (ny, nx), float
        Light to subtract, e-, and what the rings hold in units of a star's flux: sum of |c_i|.
    """
    bright = stars.snr > _MINIMUM_SNR
    shape = (int(light.shape[0]), int(light.shape[1]))
    nothing = torch.zeros_like(light), 0.0
    if min(shape) * BIN < 2 * _REACH_PX or not bright.any():
        return nothing
    near = torch.from_numpy(_near(stars.x[bright], stars.y[bright], shape)).to(light.device)
    use = torch.nonzero((near & difference.whole).reshape(-1))[:, 0]
    if len(use) < _FEWEST_PIXELS:
        return nothing
    use = use[:: max(1, len(use) // _MOST_PIXELS)]
    fine, coarse = _ringed(light, BIN, _FINE_PX), _ringed(binned(light), BIN * BIN, _COARSE_PX)
    there = _in_bins(use, shape, (int(coarse.shape[1]), int(coarse.shape[2])))
    design = torch.cat((fine.flatten(1)[:, use], coarse.flatten(1)[:, there], light.new_ones(1, len(use))))
    found = _fitted(design, difference.data.reshape(-1)[use], difference.variance.reshape(-1)[use])
    share, values = float(found[:-1].abs().sum()), found.to(light.dtype)
    model = unbinned(_combined(coarse, values[len(fine) : -1]), shape).add_(values[-1])
    return model.add_(_combined(fine, values[: len(fine)])), share


def _combined(planes: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Sum of planes (n, ny, nx), each times its factor."""
    total = torch.zeros_like(planes[0])
    for plane, factor in zip(planes, factors.tolist(), strict=True):
        total.add_(plane, alpha=factor)
    return total


def _in_bins(index: torch.Tensor, shape: tuple[int, int], bins: tuple[int, int]) -> torch.Tensor:
    """Flat places in a plane of bins of the pixels at flat places in a plane of `shape`."""
    row = torch.div(index, shape[1], rounding_mode="floor")
    column = index - row * shape[1]
    row, column = (torch.div(axis, BIN, rounding_mode="floor") for axis in (row, column))
    return row.clamp_(max=bins[0] - 1) * bins[1] + column.clamp_(max=bins[1] - 1)


def _near(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Bins within reach of a star."""
    near = np.zeros(shape, bool)
    reach = _REACH_PX // BIN
    for cx, cy in zip((x / BIN).astype(int), (y / BIN).astype(int), strict=True):
        near[max(cy - reach, 0) : cy + reach + 1, max(cx - reach, 0) : cx + reach + 1] = True
    return near


@lru_cache(maxsize=8)
def _ring_spectra(
    rows: int, columns: int, size_px: int, edges: tuple[float, ...], device: str, dtype: torch.dtype
) -> torch.Tensor:
    """Fourier transforms of the rings, of unit sum, on a periodic grid of bins; shape (n, rows, columns // 2 + 1)."""
    y, x = (torch.fft.fftfreq(n, device=device, dtype=dtype) * (n * size_px) for n in (rows, columns))
    radius = torch.hypot(y[:, None], x[None, :])
    spectra = []
    for low, high in pairwise(edges):
        ring = ((radius >= low) & (radius < high)).to(dtype)
        spectra.append(torch.fft.rfft2(ring / ring.sum()))
    return torch.stack(spectra)


def _ringed(light: torch.Tensor, size_px: int, edges: tuple[float, ...]) -> torch.Tensor:
    """Light in bins of some px convolved with the rings between some edges, shape (n, ny, nx)."""
    ny, nx = light.shape
    rows, columns = (_even(int(n) + int(edges[-1])) for n in (ny, nx))
    spectra = _ring_spectra(rows, columns, size_px, edges, str(light.device), light.dtype)
    spectrum = torch.fft.rfft2(light, s=(rows, columns))
    rings = light.new_empty((len(spectra), ny, nx))
    for ring, kernel in zip(rings, spectra, strict=True):
        ring.copy_(torch.fft.irfft2(spectrum * kernel, s=(rows, columns))[:ny, :nx])
    return rings


def _even(n: int) -> int:
    """Next multiple of 16: small prime factors."""
    return -(-n // 16) * 16


def _fitted(rings: torch.Tensor, data: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Coefficients of the rings and the level by iteratively reweighted least squares, float64."""
    design, target = rings.double(), data.double()
    weight = 1.0 / variance.double()
    # Before any fit a satellite that crosses one image would outweigh all wings: what stands out counts little.
    keep = 1.0 / (1.0 + target**2 * weight / _CLIP_SIGMA**2)
    prior = torch.eye(len(design), dtype=torch.float64, device=design.device) / _PRIOR**2
    prior[-1, -1] = 1e-9  # the level is free
    found = torch.zeros(len(design), dtype=torch.float64, device=design.device)
    for _ in range(4):
        weighted = design * (weight * keep)
        found = torch.linalg.solve(weighted @ design.T + prior, weighted @ target)
        keep = 1.0 / (1.0 + (target - found @ design) ** 2 * weight / _CLIP_SIGMA**2)
    return found
