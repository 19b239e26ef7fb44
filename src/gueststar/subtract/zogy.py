"""Proper image subtraction: both images are convolved, so that the noise of the difference is white.

With N and R the images, P_n and P_r their PSFs, s_n and s_r the noise of their skies, and a flux ratio F_r (of R, in
units of that of N),

    D^ = (F_r P_r^ N^ - P_n^ R^) / sqrt(s_n^2 F_r^2 |P_r^|^2 + s_r^2 |P_n^|^2)

(Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27, eq. 13; ^ is the Fourier transform), scaled so that a source keeps its flux
(eq. 15). Its PSF is that of eq. 14; filtering D with it gives the score S (eq. 17), and the variance of sources and the
noise of the registration, which all engines share, make it S_corr (eq. 25).

At frequencies that neither PSF passes the equation divides noise by noise, which rings around bright stars; there the
kernels fade, at the price that the noise of neighbouring pixels is a little correlated. The
score takes that into account.

The PSFs vary over the chip: the two kernels are made for the centre of each tile. The method knows the images only
through their PSFs: an error of these stays in the difference of every star.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as nn
from pydantic import Field

from gueststar.errors import SubtractionError
from gueststar.options import Options
from gueststar.planes import Tiling, as_float, convolve
from gueststar.subtract.finish import check_pair, difference_mask, finish_difference, light, spread_mask
from gueststar.subtract.residual_light import subtract_residual_light
from gueststar.subtract.score import matched_filter
from gueststar.subtract.windows import position_terms
from gueststar.types import Difference, Fact, Image, Mask, Psf, Stars, stamp_shape

__all__ = ["Zogy"]


class Zogy(Options):
    """Subtract by the proper image subtraction of Zackay, Ofek & Gal-Yam (2016)."""

    engine: Literal["zogy"] = Field("zogy", description="Name of the engine")
    radius_fwhm: float = Field(3.5, ge=1.5, le=8, description="Half width of the kernels, in the larger FWHM")
    minimum_snr: float = Field(30.0, ge=5, description="Faintest star that the flux ratio is measured from")
    floor: float = Field(
        1e-4, gt=0, le=0.1,
        description="Power, of its largest value, below which frequencies fade: less is whiter, and rings more",
    )  # fmt: skip
    tile_px: int = Field(128, ge=32, le=1024, description="Side of the tiles on which the PSFs are constant, px")

    def __call__(self, science: Image, reference: Image) -> Difference:
        """Subtract; as `Kernel`.

        Raises
        ------
        SubtractionError
            When no star tells the flux ratio of the images.
        """
        check_pair(science, reference)
        ratio, n_stars = self._flux_ratio(science, reference)
        tiling = Tiling(science.shape, self.tile_px)
        for_science, for_reference, psfs = self._kernels(science, reference, ratio, tiling)
        data = convolve(science.data, for_science, tiling)
        data.sub_(convolve(reference.data, for_reference, tiling))
        variance = convolve(science.variance, for_science**2, tiling)
        variance.add_(convolve(reference.variance, for_reference**2, tiling)).clamp_(min=1e-6)
        # Most of the weight of the kernels lies within a FWHM; beyond it they only ring.
        reach = int(np.ceil(1.5 * max(_psf(image).fwhm for image in (science, reference))))
        mask = difference_mask(spread_mask(science.mask, reach), spread_mask(reference.mask, reach))
        data.mul_(as_float(~(mask & int(Mask.NO_DATA)).bool(), data.dtype))
        facts: dict[str, Fact] = {"convolved": "both", "kernel_sum": 1.0 / ratio, "kernel_windows": n_stars}
        sources = light(science) | light(reference)
        data, more = subtract_residual_light(data, variance, mask, science, reference, sources)
        psf = _as_psf(psfs, tiling, max(_psf(image).order for image in (science, reference)))
        return finish_difference(
            data, variance, mask, psf, science, reference, engine=self.engine, facts=facts | more, sources=sources
        )

    def _flux_ratio(self, science: Image, reference: Image) -> tuple[float, int]:
        """Reference over science from PSF fluxes of stars, clipped about the median; and the number of stars."""
        stars = science.stars or Stars.empty()
        chosen = stars[(stars.flags == 0) & (stars.snr > self.minimum_snr)][:500]
        ny, nx = science.shape
        x, y = (np.clip(np.round(a).astype(int), 0, n - 1) for a, n in ((chosen.x, nx), (chosen.y, ny)))
        good = (science.mask | reference.mask) == 0
        fluxes, errors = [], []
        for image in (science, reference):
            # Equal weights: those of the photon noise would make the ratio depend on brightness where a PSF is wrong.
            flat = torch.full_like(image.variance, float(image.variance.median()))
            flux, error = matched_filter(image.data, flat, good, _psf(image))
            fluxes.append(flux.cpu().numpy()[y, x].astype(np.float64))
            errors.append(error.cpu().numpy()[y, x].astype(np.float64))
        seen = [np.isfinite(error) & (flux > 5.0 * error) for flux, error in zip(fluxes, errors, strict=True)]
        keep = seen[0] & seen[1]
        if not keep.any():
            raise SubtractionError(
                f"no star tells the flux ratio of both images: {len(stars)} sources, {len(chosen)} unflagged above S/N "
                f"{self.minimum_snr:g}, none with good pixels in both; lower subtract.minimum_snr, or mask less",
                n_sources=len(stars),
            )
        values = fluxes[1][keep] / fluxes[0][keep]
        middle = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), 1e-3 * middle)
        near = np.abs(values - middle) < 3.0 * spread
        return float(values[near].mean()), int(near.sum())

    def _kernels(
        self, science: Image, reference: Image, ratio: float, tiling: Tiling
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Kernels for the science image and for the reference, and the PSF of the difference, for each tile."""
        psf_n, psf_r = _psf(science), _psf(reference)
        radius = int(np.clip(np.ceil(self.radius_fwhm * max(psf_n.fwhm, psf_r.fwhm)), 5, 40))
        size = 4 * radius + 1
        x, y = tiling.centres()
        p_n, p_r = (_spectrum(psf.at(x, y), size) for psf in (psf_n, psf_r))
        noise_n, noise_r = _sky_variance(science), _sky_variance(reference)
        power = noise_n * ratio**2 * p_r.abs() ** 2 + noise_r * p_n.abs() ** 2
        root = (power + self.floor * power.amax((1, 2), keepdim=True)).rsqrt()
        for_science, for_reference, psf = (
            _centred(spectrum, size, radius) for spectrum in (ratio * p_r * root, p_n * root, ratio * p_r * p_n * root)
        )
        # A source keeps its flux.
        total = psf.sum((1, 2), keepdim=True)
        return for_science / total, for_reference / total, psf / total


def _psf(image: Image) -> Psf:
    if image.psf is None:
        raise SubtractionError("zogy needs the PSF of both images; call measure_image first")
    return image.psf


def _spectrum(stamps: torch.Tensor, size: int) -> torch.Tensor:
    """Fourier transforms, float64, of PSFs (n, k, k) centred on pixel (0, 0) of a square of side `size`."""
    half = min(stamps.shape[-1] // 2, size // 2)
    middle = stamps.shape[-1] // 2
    cut = stamps[:, middle - half : middle + half + 1, middle - half : middle + half + 1].double()
    cut = cut / cut.sum((1, 2), keepdim=True)
    rest = size - 2 * half - 1
    spectrum: torch.Tensor = torch.fft.rfft2(torch.roll(nn.pad(cut, (0, rest, 0, rest)), (-half, -half), (1, 2)))
    return spectrum


def _centred(spectrum: torch.Tensor, size: int, radius: int) -> torch.Tensor:
    """Back to pixels, centred, cut at `radius`; (n, 2 radius + 1, 2 radius + 1) float64."""
    middle = size // 2
    plane: torch.Tensor = torch.roll(torch.fft.irfft2(spectrum, s=(size, size)), (middle, middle), (1, 2))
    cut = slice(middle - radius, middle + radius + 1)
    return plane[:, cut, cut].contiguous()


def _sky_variance(image: Image) -> float:
    """Variance of the sky, e-^2: the lower quartile over the good pixels of every eighth row and column."""
    variance, good = image.variance[::8, ::8], image.mask[::8, ::8] == 0
    sample = variance[good] if bool(good.any()) else variance.reshape(-1)
    return float(torch.quantile(sample.double(), 0.25))


def _as_psf(stamps: torch.Tensor, tiling: Tiling, order: int) -> Psf:
    """Polynomials in position through PSFs at the tile centres."""
    x, y = tiling.centres()
    order = min(order, *(n - 1 for n in tiling.counts))
    terms = torch.as_tensor(position_terms(x, y, order, tiling.shape), device=stamps.device)
    n, k = int(stamps.shape[0]), int(stamps.shape[-1])
    planes = torch.linalg.lstsq(terms, stamps.reshape(n, k * k)).solution.reshape(-1, k, k)
    fwhm, ellipticity = stamp_shape(planes[0].cpu().numpy())
    return Psf(planes.float(), fwhm, ellipticity, order, tiling.shape)
