"""Point-spread function measured from stars: a robust, empirical stack that may vary over the chip.

Each star is moved to the pixel centre by cubic spline and scaled to its own PSF flux; every pixel of the stamp is
then a low-order polynomial in chip position, fitted with weights and clipping, in the spirit of PSFEx (Bertin 2011,
ASP Conf. 442, 435) and of Piff's pixel-grid model (Jarvis et al. 2021, MNRAS 501, 1282).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import PixelError
from gueststar.ingest.stars import select_point_sources, typical_fwhm
from gueststar.options import Options
from gueststar.planes import gather_stamps
from gueststar.spline import coefficients, shift_stamps
from gueststar.types import Psf, Stars, polynomial_exponents, stamp_shape

__all__ = ["MeasurePsf", "psf_photometry"]

_BORDER = 0.42  # of the side of a stamp: radius beyond which its border lies, 2.7 FWHM
_WINGS = 8e-4  # share of a star's flux in a pixel there, times the FWHM squared: of a Moffat profile of beta 3
_PLAIN = 5.0  # errors of the level around a star; light of other things beneath it is plain above that
_MANY = 0.2  # share of the stars that plainly stand on light, from which all do


class MeasurePsf(Options):
    """Measure the PSF from the stars of an image."""

    order: int = Field(2, ge=0, le=3, description="Highest polynomial order in chip position; fewer stars lower it")
    radius_fwhm: float = Field(3.2, ge=2, le=8, description="Half width of the stamp in units of FWHM")
    minimum_snr: float = Field(20.0, ge=5, description="Faintest star used")
    n_stars: int = Field(250, ge=5, le=5000, description="Most stars used")
    clip_sigma: float = Field(4.0, ge=2, le=20, description="Pixels that deviate more are left out, sigma")

    def __call__(self, data: torch.Tensor, variance: torch.Tensor, mask: torch.Tensor, stars: Stars) -> Psf:
        """Measure it.

        Parameters
        ----------
        data, variance, mask : Tensor, shape (ny, nx)
            As in `Image`.
        stars : Stars

        Raises
        ------
        PixelError
            When no star can be used.
        """
        index = select_point_sources(stars, minimum_snr=self.minimum_snr, n_most=self.n_stars)
        if index.size == 0:
            brightest = float(stars.snr.max()) if len(stars) else 0.0
            raise PixelError(
                f"no usable star for the point-spread function: {len(stars)} sources found, the brightest with "
                f"S/N {brightest:.1f}, needed one unsaturated above {self.minimum_snr:g}; "
                "is the frame exposed and in focus? Lower ingest.psf.minimum_snr, or give a psf",
                n_sources=len(stars),
                brightest_snr=brightest,
            )
        width = _stacked_fwhm(data, stars, index, typical_fwhm(stars.fwhm[index]))
        half = int(np.clip(np.ceil(self.radius_fwhm * width), 7, 40))
        cube, weight = _centred(data, variance, mask, stars, index, half)
        cube -= _light_beneath(cube, weight, half / self.radius_fwhm)[:, None, None]
        ny, nx = (int(n) for n in data.shape)
        order = min(self.order, _order_for(index.size))
        planes = self._fit(cube, weight, stars.x[index], stars.y[index], order, (ny, nx))
        fwhm, ellipticity = stamp_shape(planes[0])
        tensor = torch.from_numpy(planes.astype(np.float32)).to(data.device)
        return Psf(tensor, fwhm, ellipticity, order, (ny, nx))

    def _fit(
        self,
        cube: NDArray[np.float64],
        weight: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        order: int,
        extent: tuple[int, int],
    ) -> NDArray[np.float64]:
        k = cube.shape[-1]
        u, v = 2.0 * x / max(extent[1] - 1, 1) - 1.0, 2.0 * y / max(extent[0] - 1, 1) - 1.0
        terms = np.stack([u**p * v**q for p, q in polynomial_exponents(order)], axis=1)
        core = _disc(k, max(1.5, 0.35 * k / self.radius_fwhm))
        flux = cube[:, core].sum(1)
        planes = np.zeros((terms.shape[1], k, k))
        # The median knows nothing of neighbours, which stand elsewhere beside each star; clipping starts from it.
        middle = np.median(cube / flux[:, None, None], axis=0)
        model = np.broadcast_to(middle / middle.sum(), cube.shape)
        flux = flux * middle.sum()
        for _ in range(3):
            # Bright stars are limited by the model, not by noise: a floor keeps a few from deciding alone.
            variance = 1.0 / np.maximum(weight, 1e-30) / flux[:, None, None] ** 2
            trust = (weight > 0) / (variance + (5e-3 * np.abs(model)) ** 2 + 1e-9)
            pull = np.abs(cube / flux[:, None, None] - model) * np.sqrt(trust)
            typical = 1.4826 * float(np.median(pull[weight > 0]))
            use = trust * (pull < self.clip_sigma * max(1.0, typical))
            planes = _polynomial_per_pixel(cube / flux[:, None, None], use, terms)
            planes /= planes[0].sum()
            model = np.einsum("nm,mij->nij", terms, planes)
            norm = np.maximum((use * model**2).sum((1, 2)), 1e-30)
            flux = np.maximum((use * cube * model).sum((1, 2)) / norm, 0.1 * flux)
        return _tidy(planes, self.radius_fwhm)


def psf_photometry(data: torch.Tensor, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flux of stars at known positions: least squares of the shifted PSF within 1 FWHM, all pixels weighted alike.

    Equal weights make the flux of bright stars free of the bias that weights from noisy pixels bring, and the core
    alone keeps most neighbours out.

    Parameters
    ----------
    data : Tensor, shape (ny, nx)
        e-.
    psf : Psf
    x, y : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
        e-.
    """
    ix, iy = np.round(x).astype(np.int64), np.round(y).astype(np.int64)
    dx, dy = (torch.as_tensor(a, dtype=torch.float64, device=data.device) for a in (x - ix, y - iy))
    model = shift_stamps(coefficients(psf.at(x, y).double()), dx, dy)
    near = torch.as_tensor(_disc(psf.size, max(2.0, psf.fwhm)), device=data.device)
    stamps = gather_stamps(data, ix, iy, psf.size).double()
    return np.asarray(((stamps * model * near).sum((1, 2)) / (model**2 * near).sum((1, 2))).cpu().numpy())


def _stacked_fwhm(data: torch.Tensor, stars: Stars, index: NDArray[np.int64], width: float) -> float:
    """FWHM of the median of peak-normalised stars: in a crowd it is far narrower than half-light radii say."""
    size = 2 * int(np.clip(np.ceil(1.5 * width), 4, 30)) + 1
    few = index[:80]
    ix, iy = np.round(stars.x[few]).astype(np.int64), np.round(stars.y[few]).astype(np.int64)
    stamps = gather_stamps(data, ix, iy, size).double().cpu().numpy()
    centre = stamps[:, size // 2, size // 2]
    good = centre > 0
    if not good.any():
        return width
    fwhm, _ = stamp_shape(np.median(stamps[good] / centre[good, None, None], axis=0))
    return min(fwhm, width)


def _order_for(n: int) -> int:
    return 0 if n < 25 else 1 if n < 60 else 2 if n < 150 else 3


def _disc(k: int, radius: float) -> NDArray[np.bool_]:
    yy, xx = np.mgrid[:k, :k] - k // 2
    return np.asarray(np.hypot(xx, yy) <= radius)


def _centred(
    data: torch.Tensor,
    variance: torch.Tensor,
    mask: torch.Tensor,
    stars: Stars,
    index: NDArray[np.int64],
    half: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stamps moved to their pixel centre and their inverse variance, shapes (n, k, k)."""
    size = 2 * half + 7
    x, y = stars.x[index], stars.y[index]
    ix, iy = np.round(x).astype(np.int64), np.round(y).astype(np.int64)
    stamps = gather_stamps(data, ix, iy, size).double()
    noise = gather_stamps(variance, ix, iy, size).double()
    bad = gather_stamps(mask.to(torch.float32), ix, iy, size) != 0
    dx, dy = (torch.as_tensor(a, dtype=torch.float64, device=data.device) for a in (ix - x, iy - y))
    moved = shift_stamps(coefficients(stamps), dx, dy)
    inside = slice(3, size - 3)
    inverse = torch.where(bad | (noise <= 0), torch.zeros_like(noise), 1.0 / noise.clamp(min=1e-30))
    return moved[:, inside, inside].cpu().numpy(), inverse[:, inside, inside].cpu().numpy()


def _light_beneath(cube: NDArray[np.float64], weight: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Light of a galaxy, a nebula or a crowd that stars of FWHM `width` stand on, shape (n,); 0 where none is plain.

    The border of a stamp holds that and the star's own wings, which grow with its flux. In the gaps of a nebula, of
    which a part was taken for sky, it is below 0.
    """
    k = cube.shape[-1]
    border, good = ~_disc(k, _BORDER * k), weight > 0
    values = np.where(good, cube, np.nan)[:, border]
    variance = np.where(good, 1.0 / np.maximum(weight, 1e-30), np.nan)[:, border]
    known = np.isfinite(values).sum(1) > 0.3 * border.sum()
    level, error = np.zeros(len(cube)), np.full(len(cube), np.inf)
    level[known] = np.nanmedian(values[known], axis=1)
    error[known] = 1.2533 * np.sqrt(np.nanmedian(variance[known], axis=1) / border.sum())
    flux = cube[:, _disc(k, width)].sum(1)
    excess = level - _share_of_wings(flux[known], level[known], width) * flux
    plain = np.abs(excess) > _PLAIN * error
    return np.where(known & (plain | (plain.mean() > _MANY)), excess, 0.0)


def _share_of_wings(flux: NDArray[np.float64], level: NDArray[np.float64], width: float) -> float:
    """Share of a star's flux in a pixel of the border: how the level there grows with flux, from star to star.

    The median slope of the lines from each of the faintest third of the stars to each of the brightest (Theil 1950).
    Where stars are few and a nebula scatters the levels, the share of usual wings counts instead.
    """
    usual = _WINGS / width**2
    order = np.argsort(flux)
    third = order.size // 3
    if third == 0:
        return usual
    faint, bright = order[:third], order[-third:]
    run = np.maximum(flux[bright][:, None] - flux[faint], 1e-30)
    slope = float(np.median((level[bright][:, None] - level[faint]) / run))
    rest = level - slope * flux
    scatter = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    error = 1.2533 * scatter / float(np.median(run)) * np.sqrt(2.0 / third)
    trust = usual**2 / (usual**2 + error**2)
    return max(float(trust * slope + (1.0 - trust) * usual), 0.0)


def _polynomial_per_pixel(
    scaled: NDArray[np.float64], weight: NDArray[np.float64], terms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted least squares of a polynomial for every pixel; shape (m, k, k)."""
    n, k, _ = scaled.shape
    m = terms.shape[1]
    products = (terms[:, :, None] * terms[:, None, :]).reshape(n, m * m)
    flat_weight = weight.reshape(n, k * k)
    normal = (flat_weight.T @ products).reshape(k * k, m, m)
    right = (flat_weight * scaled.reshape(n, k * k)).T @ terms
    # A weak prior holds the variation at zero where few stars have a good pixel.
    prior = np.diag([1e-9] + [1e-3] * (m - 1))
    scale = np.maximum(normal[:, 0, 0], 1e-12)[:, None, None]
    solved = np.linalg.solve(normal + prior * scale, right[..., None])[..., 0]
    return np.ascontiguousarray(solved.T.reshape(m, k, k))


def _tidy(planes: NDArray[np.float64], radius_fwhm: float) -> NDArray[np.float64]:
    """Beyond two FWHM keep only the azimuthal mean, which is better known; fade out; normalise the sums."""
    k = planes.shape[-1]
    yy, xx = np.mgrid[:k, :k] - k // 2
    r = np.hypot(xx, yy)
    outer = r > k / 2.0 / radius_fwhm * 2.0
    rings = np.round(r).astype(int)
    counts = np.bincount(rings.ravel())
    profile = np.bincount(rings.ravel(), planes[0].ravel()) / counts
    tidy = planes.copy()
    # Where the profile sinks into its noise it ends; cutting at zero ring by ring would keep the positive half.
    low = np.flatnonzero(profile <= 2e-4 * profile[0])
    if low.size:
        profile[low[0] :] = 0.0
    tidy[0][outer] = profile[rings[outer]]
    tidy[1:, outer] = 0.0
    # The stamp ends softly: in a crowd the wings stand on the light of neighbours, and a hard edge would draw a square.
    half = k // 2
    fade = np.cos(0.5 * np.pi * np.clip((r / half - 0.9) / 0.1, 0.0, 1.0)) ** 2
    tidy *= fade
    tidy[0] /= tidy[0].sum()
    tidy[1:] -= tidy[1:].sum((1, 2), keepdims=True) * tidy[0]
    return tidy
