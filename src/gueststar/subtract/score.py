"""Matched-filter score of a difference: signal to noise of a point source centred on each pixel.

With D the difference, V its variance and P the PSF, the least-squares flux at each pixel and its error are

    F = sum P D / V / sum P^2 / V,        sigma_F = (sum P^2 / V)^(-1/2)

(Kaiser 2004, "The likelihood of point sources in pixellated images", eq. 5). Resampling and convolution correlate the
noise of neighbouring pixels, which V cannot express; so F / sigma_F is divided by its own scatter on empty sky,
measured in cells over the chip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gueststar.planes import Tiling, as_float, convolve
from gueststar.subtract.cells import cell_moments, smooth_map
from gueststar.types import Psf

__all__ = ["Score", "matched_filter", "psf_kernels", "score_difference"]

_CELL = 64  # bins; side of the cells in which the scatter is measured
_FEWEST = 150  # bins that are empty sky, of which a cell needs so many
_FEWEST_IN_ALL = 100


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Score planes of one difference, each (ny, nx) float32.

    `scatter` is the median of the scatter that the score was divided by; 1 when the variance says it all. `std` and
    `mean` are those of the scaled score on empty sky, clipped at 4 sigma, on pixels that did not set the scale.
    """

    score: torch.Tensor
    flux: torch.Tensor
    flux_err: torch.Tensor
    scatter: float
    std: float
    mean: float


def psf_kernels(psf: Psf, tiling: Tiling, *, radius_fwhm: float = 1.5) -> torch.Tensor:
    """PSF at each tile centre, cut at `radius_fwhm`, where a matched filter has gathered nearly all; sum below 1."""
    stamps = psf.at(*tiling.centres()) if psf.order else psf.stamp[None]
    half = psf.size // 2
    keep = int(np.clip(np.ceil(radius_fwhm * psf.fwhm), 2, half))
    return stamps[:, half - keep : half + keep + 1, half - keep : half + keep + 1].contiguous()


def matched_filter(
    data: torch.Tensor, variance: torch.Tensor, good: torch.Tensor, psf: Psf, *, tile: int = 128
) -> tuple[torch.Tensor, torch.Tensor]:
    """PSF flux and its error at every pixel, from the good pixels only; error is inf where too few are good."""
    flux, information = _filtered(data, variance, good, psf, tile)
    return flux, information.rsqrt()


def _filtered(
    data: torch.Tensor, variance: torch.Tensor, good: torch.Tensor, psf: Psf, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """PSF flux and its inverse variance; both 0 where too few pixels are good."""
    tiling = Tiling((int(data.shape[0]), int(data.shape[1])), tile)
    kernels = psf_kernels(psf, tiling)
    squares = kernels**2
    clear = as_float(good, data.dtype)
    weight = clear / variance
    flux = convolve(data * weight, kernels, tiling, correlate=True)
    # Squares fall off twice as fast: what smaller kernels leave out is put back by its share.
    information = convolve(weight, _cut(squares, 1.1 * psf.fwhm, keep_sum=True), tiling, correlate=True)
    near = _cut(squares, 0.7 * psf.fwhm, keep_sum=False)
    # Share of the filter's own weight that lies on good pixels.
    share = convolve(clear, near, tiling, correlate=True)
    fit = share.sub_(0.5 * float(near.sum((1, 2)).mean())).clamp_(min=0.0).bool()
    fit = as_float(fit, data.dtype)
    information.mul_(fit)
    # The smallest normal number divides no flux by zero, and is still nothing beside a real weight.
    return flux.mul_(fit).div_(information + 1e-30), information


def _cut(kernels: torch.Tensor, radius: float, *, keep_sum: bool) -> torch.Tensor:
    """Kernels cut to a half width of about `radius` px, with the sum they had if wanted."""
    half = kernels.shape[-1] // 2
    keep = int(np.clip(np.ceil(radius), 1, half))
    inner = kernels[:, half - keep : half + keep + 1, half - keep : half + keep + 1]
    if not keep_sum:
        return inner
    return inner * (kernels.sum((1, 2), keepdim=True) / inner.sum((1, 2), keepdim=True))


def score_difference(
    data: torch.Tensor, variance: torch.Tensor, mask: torch.Tensor, psf: Psf, sources: torch.Tensor
) -> Score:
    """Score a difference.

    Parameters
    ----------
    data, variance, mask : Tensor, shape (ny, nx)
        As in `Difference`.
    psf : Psf
    sources : Tensor of bool, shape (ny // 2, nx // 2)
        True in bins where either image has light above the sky; left out of the scatter.

    Returns
    -------
    Score
    """
    good = ~mask.bool()
    flux, information = _filtered(data, variance, good, psf, 128)
    root = information.sqrt()
    raw = flux * root
    measured = information.bool()
    # One pixel of each bin sets the scale, another checks it.
    empty = [_one_of_bin(good & measured, first) & ~sources for first in (1, 0)]
    level, scatter = _local_scatter(raw, empty[0])
    level.mul_(as_float(measured, level.dtype))
    # What the smooth map of cells leaves over, on the same pixels; then the check, on others.
    used, others = (
        _moments((_one_of_bin(raw, first) - _one_of_bin(level, first)) / _one_of_bin(scatter, first), sky)
        for first, sky in zip((1, 0), empty, strict=True)
    )
    rest = used[1] if np.isfinite(used[1]) else 1.0
    mean, std = (moment / rest for moment in others)
    scatter.mul_(rest)
    score = raw.sub_(level).div_(scatter)
    # The floor that the score lost is taken from the flux too, so that score = flux / flux_err stays true.
    flux = flux.sub_(level.div_(root.clamp(min=1e-15)))
    typical = float(scatter[::16, ::16].median())
    return Score(score, flux, scatter.div_(root), typical, std, mean)


def _moments(values: torch.Tensor, use: torch.Tensor) -> tuple[float, float]:
    """Clipped mean and standard deviation of a whole plane; NaN when fewer than 100 pixels count."""
    found = cell_moments(values, use, 2 * max(values.shape), _FEWEST_IN_ALL, rounds=2)
    return float(found.mean), float(found.std)


def _one_of_bin(plane: torch.Tensor, first: int) -> torch.Tensor:
    """One of the two pixels on the diagonal of every bin."""
    ny, nx = (int(n) // 2 * 2 for n in plane.shape)
    return plane[first:ny:2, first:nx:2]


def _local_scatter(raw: torch.Tensor, empty: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and robust scatter of the raw score on empty sky, in cells, smoothly interpolated; both (ny, nx)."""
    values = _one_of_bin(raw, 1)
    cells = cell_moments(values, empty, _CELL, _FEWEST)
    middle, width = cells.mean, cells.std.clamp(min=1e-3)
    if not bool(torch.isfinite(width).any()):
        everywhere = _moments(values, empty)
        moments = everywhere if np.isfinite(everywhere[1]) else (0.0, 1.0)
        middle, width = (torch.full_like(width, moment) for moment in moments)
    shape = (int(raw.shape[0]), int(raw.shape[1]))
    return smooth_map(middle, shape, empty=0.0), smooth_map(width, shape, empty=1.0)
