"""Subtraction in Fourier space: every pixel near a star enters the fit, not only those in a few windows.

With R the reference and T_i polynomials in chip position, the model of the science image I is

    I = sum_i K_i * (T_i R) + sum_l b_l T_l,

K_i free in every pixel, T_l of first order (Hu et al. 2022, ApJ 936, 157). All pixels weigh the same, so that the
products of least squares depend on the distance of two kernel pixels only,

    sum_p (T_i R)(p - a) (T_j R)(p - b) = C_ij(a - b),

and each C_ij is one cross-correlation, by Fourier transforms of the whole image. What is not to be fitted is set to
zero in both images beforehand: flagged pixels, the sky far from stars, and, after a first solution, stars that changed.
The Gaussian prior on the kernel and all that follows the fit are those of the engine `kernel`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.fft import next_fast_len
from scipy.linalg import cho_factor, cho_solve

from gueststar.planes import Tiling, as_float, convolve, grow_mask
from gueststar.subtract.least_squares import kernel_prior
from gueststar.subtract.solution import KernelSolution, MatchingEngine, fwhm_of, kernel_radius
from gueststar.types import Image, Stars, polynomial_exponents

__all__ = ["Sfft"]


class Sfft(MatchingEngine):
    """Subtract with a kernel fitted in Fourier space to all pixels near stars, at equal weights."""

    engine: Literal["sfft"] = Field("sfft", description="Name of the engine")
    radius_px: int = Field(0, ge=0, le=15, description="Half width of the kernel, px; 0: from the two FWHM")
    clip_sigma: float = Field(4.0, ge=2, le=20, description="Stars that fit worse are left out, sigma")

    def _solve(self, sharp: Image, target: Image, stars: Stars) -> KernelSolution:
        radius = self.radius_px or kernel_radius(sharp, target)
        reach = int(np.ceil(3.0 * fwhm_of(target)))
        good = (grow_mask(sharp.mask, min(radius, 3)) | target.mask) == 0
        chosen = _whole(stars[(stars.flags == 0) & (stars.snr > self.minimum_snr)], good)
        n = len(chosen)
        if n == 0:
            raise self._no_star(stars)
        keep = np.ones(n, bool)
        for last in (False, True):
            order = min(self._order_for(int(keep.sum())), self.order if last else 1)
            region = _discs(chosen[keep], target.shape, reach, good)
            planes, background = _fitted(sharp, target, region, radius, order)
            found = KernelSolution(planes, background, order, target.shape, n, int(n - keep.sum()), 1.0, 0.0).checked()
            residual, expected, power = self._residuals(found, sharp, target, chosen, good)
            beyond = np.maximum(residual - expected, 0.0)
            if not last:
                usual = np.median(beyond / power) * power
                keep = beyond - usual < self.clip_sigma * (usual + expected * np.sqrt(2.0) / (2 * radius + 1))
                keep = keep if keep.sum() >= max(3, 0.4 * n) else np.ones(n, bool)
        bright = keep & (power >= np.median(power[keep]))
        return KernelSolution(
            planes, background, order, target.shape, n, int(n - keep.sum()),
            float(np.median((residual / expected)[keep])), float(np.sqrt(np.median((beyond / power)[bright]))),
        )  # fmt: skip

    def _residuals(
        self, found: KernelSolution, sharp: Image, target: Image, stars: Stars, good: torch.Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Square of what is left at each star, what noise alone leaves, and the square of the star itself."""
        tiling = Tiling(target.shape, self.tile_px)
        kernels = found.at(*tiling.centres())
        clear = good.to(target.data.dtype)
        left = (target.data - convolve(sharp.data, kernels, tiling)) * clear
        noise = (target.variance + convolve(sharp.variance, kernels**2, tiling)) * clear
        half = max(1, int(np.ceil(fwhm_of(target))))
        ny, nx = target.shape
        x, y = (np.clip(np.round(p).astype(int), 0, n - 1) for p, n in ((stars.x, nx), (stars.y, ny)))
        sums = []
        for plane in (left**2, noise, (target.data * clear) ** 2):
            total = torch.nn.functional.pad(plane.double().cumsum(0).cumsum(1), (1, 0, 1, 0)).cpu().numpy()
            low_x, low_y = np.maximum(x - half, 0), np.maximum(y - half, 0)
            high_x, high_y = np.minimum(x + half + 1, nx), np.minimum(y + half + 1, ny)
            sums.append(total[high_y, high_x] - total[low_y, high_x] - total[high_y, low_x] + total[low_y, low_x])
        return sums[0], np.maximum(sums[1], 1e-6), np.maximum(sums[2], 1e-6)


def _whole(stars: Stars, good: torch.Tensor) -> Stars:
    """Stars on good pixels."""
    ny, nx = (int(n) for n in good.shape)
    x, y = (np.clip(np.round(p).astype(int), 0, n - 1) for p, n in ((stars.x, nx), (stars.y, ny)))
    return stars[good.cpu().numpy()[y, x]]


def _discs(stars: Stars, shape: tuple[int, int], reach: int, good: torch.Tensor) -> torch.Tensor:
    """True on good pixels within `reach` px of a star."""
    region = np.zeros(shape, bool)
    for x, y in zip(np.round(stars.x).astype(int), np.round(stars.y).astype(int), strict=True):
        cut = (slice(max(y - reach, 0), max(y + reach + 1, 0)), slice(max(x - reach, 0), max(x + reach + 1, 0)))
        rows, columns = np.ogrid[cut[0].start : min(cut[0].stop, shape[0]), cut[1].start : min(cut[1].stop, shape[1])]
        region[cut] |= (rows - y) ** 2 + (columns - x) ** 2 <= reach**2
    return torch.from_numpy(region).to(good.device) & good


def _fitted(
    sharp: Image, target: Image, region: torch.Tensor, radius: int, order: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel (m, k, k) and background (m,) of each polynomial term by least squares, float64."""
    ny, nx = target.shape
    device = target.data.device
    grid = tuple(next_fast_len(n + 2 * radius, real=True) for n in (ny, nx))
    noise = float((target.variance + sharp.variance)[::16, ::16].median())
    u = torch.linspace(-1.0, 1.0, nx, device=device)[None, :]
    v = torch.linspace(-1.0, 1.0, ny, device=device)[:, None]
    terms = [u**p * v**q for p, q in polynomial_exponents(order)]
    flat = len(polynomial_exponents(min(order, 1)))
    inside = as_float(region, target.data.dtype)
    # Columns of the design before they are shifted: the kernel's, then the background's; then the goal.
    planes = [*(sharp.data * inside * term for term in terms), *(inside * term for term in terms[:flat])]
    spectra = [torch.fft.rfft2(plane, s=grid) for plane in (*planes, target.data * inside)]
    m, k = len(terms), 2 * radius + 1
    y, x = (axis.ravel() for axis in np.mgrid[:k, :k])
    dy, dx = y[:, None] - y[None, :] + 2 * radius, x[:, None] - x[None, :] + 2 * radius
    normal, right = np.zeros((m * k * k + flat,) * 2), np.zeros(m * k * k + flat)
    for i in range(m):
        rows = slice(i * k * k, (i + 1) * k * k)
        right[rows] = _lags(spectra[i], spectra[-1], grid, radius)[y, x]
        for j in range(i + 1):
            # T_j R is read at a - b from where T_i R is read.
            block = _lags(spectra[i], spectra[j], grid, 2 * radius)[dy, dx]
            columns = slice(j * k * k, (j + 1) * k * k)
            normal[rows, columns], normal[columns, rows] = block, block.T
        for j in range(flat):
            normal[rows, m * k * k + j] = _lags(spectra[i], spectra[m + j], grid, radius)[y, x]
            normal[m * k * k + j, rows] = normal[rows, m * k * k + j]
    for i in range(flat):
        right[m * k * k + i] = float((target.data.double() * planes[m + i]).sum())
        for j in range(flat):
            normal[m * k * k + i, m * k * k + j] = float((planes[m + i].double() * planes[m + j]).sum())
    normal, right = normal / noise, right / noise
    normal[np.diag_indices(len(normal))] += np.append(kernel_prior(radius, m), np.full(flat, 1e-8))
    solved = cho_solve(cho_factor(normal, lower=True), right)
    kernels = torch.as_tensor(solved[: m * k * k].reshape(m, k, k), device=device)
    background = torch.zeros(m, dtype=torch.float64, device=device)
    background[:flat] = torch.as_tensor(solved[m * k * k :], device=device)
    return kernels, background


def _lags(one: torch.Tensor, other: torch.Tensor, grid: tuple[int, ...], reach: int) -> NDArray[np.float64]:
    """Cross-correlation sum_p one(p) other(p + lag) for lags up to `reach`; shape (2 reach + 1, 2 reach + 1)."""
    whole = torch.fft.irfft2(one.conj() * other, s=grid)
    index = torch.arange(-reach, reach + 1, device=whole.device)
    return np.asarray(whole[index % grid[0]][:, index % grid[1]].double().cpu().numpy())
