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
from numpy.typing import NDArray

from gueststar.planes import Tiling, as_float, convolve
from gueststar.subtract.cells import cell_statistics, clipped_moments, smooth_map
from gueststar.types import Psf

__all__ = ["Score", "matched_filter", "psf_kernels", "score_difference"]

_CELL = 128  # px; side of the cells in which the scatter is measured
_FEWEST = 150  # empty pixels, of every fourth, that a cell needs


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
    fit = as_float(share > 0.5 * float(near.sum((1, 2)).mean()), data.dtype)
    information.mul_(fit)
    return flux.mul_(fit).div_(information.clamp(min=1e-30)), information


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
    sources : Tensor of bool, shape (ny, nx)
        True where either image has light above the sky; left out of the scatter.

    Returns
    -------
    Score
    """
    flux, information = _filtered(data, variance, mask == 0, psf, 128)
    root = information.sqrt()
    raw = flux * root
    # One pixel of four sets the scale, another checks it.
    samples = [_empty_sample(raw, information, mask, sources, first) for first in (1, 0)]
    level, scatter = _local_scatter(*samples[0], raw)
    level = level.mul_(as_float(information > 0, level.dtype))
    used, others = (
        ((values - level[first::2, first::2].cpu().numpy()) / scatter[first::2, first::2].cpu().numpy())[empty]
        for first, (values, empty) in zip((1, 0), samples, strict=True)
    )
    # What the smooth map of cells leaves over, on the same pixels; then the check, on others.
    rest = clipped_moments(used)[1] if used.size > 100 else 1.0
    mean, std = clipped_moments(others / rest) if others.size > 100 else (float("nan"),) * 2
    scatter = scatter * rest
    score = raw.sub_(level).div_(scatter)
    # The floor that the score lost is taken from the flux too, so that score = flux / flux_err stays true.
    flux = flux.sub_(level.div_(root.clamp(min=1e-15)))
    return Score(score, flux, scatter / root, float(scatter[::16, ::16].median()), std, mean)


def _empty_sample(
    raw: torch.Tensor, information: torch.Tensor, mask: torch.Tensor, sources: torch.Tensor, first: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Every second pixel of every second row, and which of them are empty sky."""
    pick = (slice(first, None, 2), slice(first, None, 2))
    empty = (mask[pick] == 0) & ~sources[pick] & (information[pick] > 0)
    return raw[pick].cpu().numpy(), empty.cpu().numpy()


def _local_scatter(
    values: NDArray[np.floating], use: NDArray[np.bool_], raw: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and robust scatter of the raw score on empty sky, in cells, smoothly interpolated."""
    cells = cell_statistics(values, use, _CELL // 2, _FEWEST, clipped_moments)
    everything = values[use]
    if not np.isfinite(cells).any():
        moments = clipped_moments(everything) if everything.size > 30 else (0.0, 1.0)
        cells = np.broadcast_to(np.reshape(moments, (2, 1, 1)), (2, *cells.shape[1:]))
    middle, width = cells
    return smooth_map(middle, raw, empty=0.0), smooth_map(np.maximum(width, 1e-3), raw, empty=1.0)
