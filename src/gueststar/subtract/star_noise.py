"""Noise of the difference at stars, beyond photons: the registration wanders, and no model of the PSF is perfect.

At the flanks of a bright star an error of the registration of s px leaves s times the slope of the star; at its core an
error of the kernel leaves a share f of its light. Both are noise of the matched filter, which a score that is to be
read as sigma has to hold (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27, eq. 25-31 for the first):

    V' = V + s^2 |grad F|^2 + f^2 F^2,

with F the reference filtered in the same way, in the flux scale of the science image. Here s and f are measured on each
difference: the medians over its bright stars of what the flux at the flanks and at the core has beyond V. What the
science image alone shows does not enter: a transient on dark sky loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.planes import gather_stamps
from gueststar.types import Psf, Stars

__all__ = ["StarNoise", "star_noise"]

_MINIMUM_SNR = 30.0  # sources around which the noise is raised
_CALIBRATORS_SNR = 100.0
_FEWEST = 8  # calibrators
_MOST = 4000  # sources
_MEDIAN = 0.4549  # of the square of a unit normal
_MOST_SHARE = 0.05
_MOST_PX = 0.3
_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class StarNoise:
    """Noise at stars.

    `variance` (ny, nx) to add to that of the flux, e-^2, 0 away from stars; `share` f of a star's light; `shift_px` s
    in each axis.
    """

    variance: torch.Tensor
    share: float
    shift_px: float


def star_noise(
    flux: torch.Tensor, flux_err: torch.Tensor, good: torch.Tensor, light: torch.Tensor, psf: Psf, stars: Stars
) -> StarNoise:
    """Measure and map the noise at stars.

    Parameters
    ----------
    flux, flux_err : Tensor, shape (ny, nx)
        Matched-filter flux of the difference and its error by photon noise, e-.
    good : Tensor of bool, shape (ny, nx)
        Unflagged pixels.
    light : Tensor, shape (ny, nx)
        The reference in the flux scale of the difference, e-.
    psf : Psf
        Of the difference.
    stars : Stars
        Of the reference, on this grid.

    Returns
    -------
    StarNoise
    """
    ny, nx = (int(n) for n in flux.shape)
    half = int(np.ceil(1.5 * psf.fwhm))
    empty = StarNoise(torch.zeros_like(flux), 0.0, 0.0)
    inside = (stars.x > -0.5) & (stars.y > -0.5) & (stars.x < nx - 0.5) & (stars.y < ny - 0.5)
    chosen = stars[inside & (stars.snr > _MINIMUM_SNR)][:_MOST]
    if len(chosen) == 0 or min(ny, nx) < 2 * half + 3:
        return empty
    x, y = np.round(chosen.x).astype(np.int64), np.round(chosen.y).astype(np.int64)
    filtered = _filtered_stamps(light, psf, x, y, half + 1)
    inner = filtered[:, 1:-1, 1:-1]
    slope = _squared_slope(filtered)
    share, shift = _calibrated(flux, flux_err, good, inner, slope, chosen, x, y)
    if share == 0.0 and shift == 0.0:
        return empty
    extra = (share * inner) ** 2 + shift**2 * slope
    return StarNoise(_spread(extra, x, y, (ny, nx)), share, shift)


def _filtered_stamps(
    light: torch.Tensor, psf: Psf, x: NDArray[np.int64], y: NDArray[np.int64], half: int
) -> torch.Tensor:
    """PSF flux, for equal weights, around each star; shape (n, 2 half + 1, 2 half + 1)."""
    reach = min(int(np.ceil(1.5 * psf.fwhm)), psf.size // 2)
    middle = psf.size // 2
    kernel = psf.stamp[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1].to(light.dtype)
    cut = gather_stamps(light, x, y, 2 * (half + reach) + 1)
    return nn.conv2d(cut[:, None], kernel[None, None])[:, 0] / (kernel**2).sum()


def _squared_slope(filtered: torch.Tensor) -> torch.Tensor:
    """|grad F|^2 by central differences, one pixel smaller on each side."""
    gx = 0.5 * (filtered[:, 1:-1, 2:] - filtered[:, 1:-1, :-2])
    gy = 0.5 * (filtered[:, 2:, 1:-1] - filtered[:, :-2, 1:-1])
    return gx.square_().add_(gy.square_())


def _calibrated(
    flux: torch.Tensor,
    flux_err: torch.Tensor,
    good: torch.Tensor,
    inner: torch.Tensor,
    slope: torch.Tensor,
    stars: Stars,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
) -> tuple[float, float]:
    """Share f from the cores of bright stars, and shift s, px, from their flanks."""
    centre = inner.shape[-1] // 2
    ny, nx = (int(n) for n in flux.shape)
    bright = np.flatnonzero((stars.flags == 0) & (stars.snr > _CALIBRATORS_SNR))
    bright = bright[(x[bright] > 1) & (x[bright] < nx - 2) & (y[bright] > 1) & (y[bright] < ny - 2)]
    clear = good[y[bright], x[bright]].cpu().numpy()
    bright = bright[clear]
    if bright.size < _FEWEST:
        return 0.0, 0.0

    def beyond(dx: int, dy: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Square of the flux beyond photon noise, F^2 and the squared slope, at an offset from the stars."""
        place = (y[bright] + dy, x[bright] + dx)
        square = (flux[place] ** 2 / _MEDIAN - flux_err[place] ** 2).double().cpu().numpy()
        at = (bright, centre + dy, centre + dx)
        light = (inner[at] ** 2).double().cpu().numpy()
        return square, light, slope[at].double().cpu().numpy()

    core = beyond(0, 0)
    sides = [beyond(dx, dy) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    flank = tuple(np.concatenate(parts) for parts in zip(*sides, strict=True))
    # Stars seldom stand on the middle of a pixel: each term leaks into the other's pixels.
    share2 = shift2 = 0.0
    for _ in range(_ROUNDS):
        shift2 = _median_ratio(flank[0] - share2 * flank[1], flank[2])
        share2 = _median_ratio(core[0] - shift2 * core[2], core[1])
    return min(float(np.sqrt(share2)), _MOST_SHARE), min(float(np.sqrt(shift2)), _MOST_PX)


def _median_ratio(excess: NDArray[np.float64], scale: NDArray[np.float64]) -> float:
    """Median of the ratios, not below 0."""
    use = np.isfinite(excess) & (scale > 0)
    return max(float(np.median(excess[use] / scale[use])), 0.0) if use.any() else 0.0


def _spread(stamps: torch.Tensor, x: NDArray[np.int64], y: NDArray[np.int64], shape: tuple[int, int]) -> torch.Tensor:
    """Put stamps into a plane; where they overlap the largest counts."""
    half = stamps.shape[-1] // 2
    ny, nx = shape
    plane = stamps.new_zeros((ny + 2 * half, nx + 2 * half))
    steps = torch.arange(2 * half + 1, device=stamps.device)
    rows = torch.as_tensor(y, device=stamps.device)[:, None, None] + steps[None, :, None]
    columns = torch.as_tensor(x, device=stamps.device)[:, None, None] + steps[None, None, :]
    index = (rows * (nx + 2 * half) + columns).reshape(-1)
    plane.view(-1).scatter_reduce_(0, index, stamps.reshape(-1), "amax")
    return plane[half : half + ny, half : half + nx].contiguous()
