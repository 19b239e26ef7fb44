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
import torch.nn.functional as nn

from gueststar.planes import Tiling, box_mean, convolve
from gueststar.types import Psf

__all__ = ["Score", "matched_filter", "psf_kernels", "score_difference"]

_CELL = 128  # px; side of the cells in which the scatter is measured


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
    tiling = Tiling((int(data.shape[0]), int(data.shape[1])), tile)
    kernels = psf_kernels(psf, tiling)
    weight = torch.where(good, 1.0 / variance, torch.zeros_like(variance))
    top = convolve(data * weight, kernels, tiling, correlate=True)
    bottom = convolve(weight, kernels**2, tiling, correlate=True)
    # Share of the filter's own weight that lies on good pixels.
    share = convolve(good.to(data.dtype), kernels**2, tiling, correlate=True) / (kernels**2).sum((1, 2)).mean()
    fit = (share > 0.5) & (bottom > 0)
    flux = torch.where(fit, top / bottom.clamp(min=1e-30), torch.zeros_like(top))
    error = torch.where(fit, bottom.clamp(min=1e-30).rsqrt(), torch.full_like(top, float("inf")))
    return flux, error


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
    good = mask == 0
    flux, error = matched_filter(data, variance, good, psf)
    raw = flux / error
    empty = good & ~sources & torch.isfinite(error)
    level, scatter = _local_scatter(raw, empty)
    score = torch.where(torch.isfinite(error), (raw - level) / scatter, torch.zeros_like(raw))
    # What the smooth map of cells leaves over, on the same pixels; then the check, on others.
    used = score[1::2, 1::2][empty[1::2, 1::2]].cpu().numpy()
    rest = _clipped(used)[1] if used.size > 100 else 1.0
    score, scatter = score / rest, scatter * rest
    others = score[::2, ::2][empty[::2, ::2]].cpu().numpy()
    mean, std = _clipped(others) if others.size > 100 else (float("nan"),) * 2
    # The floor that the score lost is taken from the flux too, so that score = flux / flux_err stays true.
    flux = torch.where(torch.isfinite(error), flux - level * error, torch.zeros_like(flux))
    return Score(score, flux, error * scatter, float(scatter.median()), std, mean)


def _local_scatter(raw: torch.Tensor, empty: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Median and robust scatter of the raw score on empty sky, in cells, smoothly interpolated."""
    ny, nx = (int(n) for n in raw.shape)
    rows, columns = max(1, round(ny / _CELL)), max(1, round(nx / _CELL))
    values = raw[1::2, 1::2].cpu().numpy()
    use = empty[1::2, 1::2].cpu().numpy()
    middle, width = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    ys = np.linspace(0, values.shape[0], rows + 1).astype(int)
    xs = np.linspace(0, values.shape[1], columns + 1).astype(int)
    for i in range(rows):
        for j in range(columns):
            cell = (slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1]))
            sample = values[cell][use[cell]]
            if sample.size >= 150:
                middle[i, j], width[i, j] = _clipped(sample)
    everything = values[use]
    if not np.isfinite(width).any():
        level, overall = _clipped(everything) if everything.size > 30 else (0.0, 1.0)
        middle, width = np.full_like(middle, level), np.full_like(width, overall)
    return _smooth_map(middle, raw, keep_zero=True), _smooth_map(width, raw, keep_zero=False)


def _clipped(sample: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, clipped at 4 sigma about the median, starting from the quartiles."""
    low, mid, high = np.quantile(sample, (0.25, 0.5, 0.75))
    width = (high - low) / 1.349
    for _ in range(2):
        kept = sample[np.abs(sample - mid) < 4.0 * width]
        mid, width = kept.mean(), kept.std()
    return float(mid), max(float(width), 1e-6)


def _smooth_map(cells: np.ndarray, like: torch.Tensor, *, keep_zero: bool) -> torch.Tensor:
    """Fill empty cells with the median, smooth, and interpolate bicubically to the plane."""
    filled = np.where(np.isfinite(cells), cells, np.nanmedian(cells) if np.isfinite(cells).any() else 0.0)
    if not keep_zero:
        filled = np.maximum(filled, 1e-3)
    small = torch.as_tensor(filled, dtype=like.dtype, device=like.device)
    small = box_mean(small, 1) if min(small.shape) >= 3 else small
    size = (int(like.shape[0]), int(like.shape[1]))
    return nn.interpolate(small[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
