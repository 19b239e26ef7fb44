"""Our own subtraction engine: a spatially varying, pixel-basis matching kernel with a joint differential background.

The reference R, on the science grid, is convolved to match the science image I,

    D = I - sum_j T_j(x, y) (K_j * R) - sum_j b_j T_j(x, y),

with K_j free in every pixel (Bramich 2008, MNRAS 386, L77; Miller, Pennypacker & White 2008, PASP 120, 449) and T_j
polynomials in chip position (Alard 2000, A&AS 144, 363). Kernel and background are solved for together by weighted
least squares on windows around stars; windows that do not fit (variables, blends with bad pixels) are clipped. A
Gaussian prior, wide at the centre and narrow in the outskirts of the kernel, keeps pixels that the data cannot tell
from running away with noise; it plays the part of the regularisation of Becker et al. (2012, MNRAS 425, 1341).

Where the science image is the sharper one, it is the one that is convolved, and the difference is scaled back.

What no kernel of this size can match is taken out last: far wings, halos of saturated stars and the level of the sky
(`gueststar.subtract.residual_light`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import SubtractionError
from gueststar.options import Options
from gueststar.planes import Tiling, as_float, convolve
from gueststar.subtract.finish import check_pair, difference_mask, finish_difference, light, spread_mask
from gueststar.subtract.residual_light import subtract_residual_light
from gueststar.subtract.windows import Windows, position_terms
from gueststar.types import Difference, Fact, Image, Mask, Stars, polynomial_exponents

__all__ = ["Kernel", "KernelSolution"]

_ENOUGH_SNR = (100.0, 60.0, 30.0)
_ENOUGH_STARS = 60


@dataclass(frozen=True, slots=True, eq=False)
class KernelSolution:
    """A fitted kernel and background.

    Parameters
    ----------
    planes : Tensor, shape (m, k, k), float64
        Kernel K_j for each polynomial term.
    background : Tensor, shape (m,), float64
        e-.
    order : int
    shape : (int, int)
    n_windows, n_clipped : int
        Windows offered and left out.
    chi2 : float
        Median over the windows used of the weighted square of the residual, in units of what noise alone leaves.
    misfit : float
        What the model leaves beyond noise at the brighter stars, as a share of their light.
    """

    planes: torch.Tensor
    background: torch.Tensor
    order: int
    shape: tuple[int, int]
    n_windows: int
    n_clipped: int
    chi2: float
    misfit: float

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> torch.Tensor:
        """Kernel at positions, shape (n, k, k), float32."""
        terms = torch.as_tensor(position_terms(x, y, self.order, self.shape), device=self.planes.device)
        return torch.einsum("nm,mij->nij", terms, self.planes).float()

    @property
    def sum(self) -> float:
        """Flux ratio science to reference at the chip centre."""
        return float(self.planes[0].sum())


class Kernel(Options):
    """Subtract with our own matching kernel."""

    engine: Literal["kernel"] = Field("kernel", description="Name of the engine")
    radius_px: int = Field(0, ge=0, le=15, description="Half width of the kernel, px; 0: from the two FWHM")
    order: int = Field(2, ge=0, le=4, description="Polynomial order of the kernel over the chip; few stars lower it")
    n_windows: int = Field(100, ge=1, le=2000, description="Most windows used in the fit")
    minimum_snr: float = Field(15.0, ge=3, description="Faintest star used")
    clip_sigma: float = Field(4.0, ge=2, le=20, description="Windows that fit worse are left out, sigma")
    model_error: float = Field(0.001, ge=0, le=0.1, description="Floor of the error, as a share of the flux")
    convolve: Literal["auto", "reference", "science"] = Field("auto", description="Image that is convolved")
    tile_px: int = Field(64, ge=16, le=512, description="Side of the tiles on which the kernel is constant, px")

    def __call__(self, science: Image, reference: Image) -> Difference:
        """Subtract.

        Parameters
        ----------
        science : Image
            With psf and stars.
        reference : Image
            On the science grid, from `Align`.

        Returns
        -------
        Difference

        Raises
        ------
        SubtractionError
            When no star can be used, or the fit gives no positive flux ratio.
        """
        check_pair(science, reference)
        swapped = self.convolve == "science" or (self.convolve == "auto" and _fwhm(science) < 0.9 * _fwhm(reference))
        sharp, target = (science, reference) if swapped else (reference, science)
        solution = self._solve(sharp, target, science.stars or Stars.empty())
        data, variance, mask = self._apply(solution, sharp, target, swapped=swapped)
        facts: dict[str, Fact] = {
            "kernel_sum": solution.sum,
            "kernel_radius_px": int(solution.planes.shape[-1] // 2),
            "kernel_order": solution.order,
            "kernel_windows": solution.n_windows,
            "kernel_clipped": solution.n_clipped,
            "kernel_chi2": solution.chi2,
            "kernel_misfit": solution.misfit,
            "convolved": "science" if swapped else "reference",
        }
        if swapped:
            scale = _core_scale(solution, science, reference)
            data, variance = -data / scale, variance / scale**2
        sources = light(science) | light(reference)
        data, more = subtract_residual_light(data, variance, mask, science, reference, sources)
        facts |= more
        psf = reference.psf if swapped else science.psf
        return finish_difference(
            data, variance, mask, psf, science, reference, engine=self.engine, facts=facts, sources=sources
        )

    def _radius(self, sharp: Image, target: Image) -> int:
        if self.radius_px:
            return self.radius_px
        a, b = _fwhm(sharp), _fwhm(target)
        broadening = float(np.sqrt(max(b * b - a * a, 0.0)))
        return int(np.clip(np.ceil(0.9 * b + 0.9 * broadening), 4, 9))

    def _solve(self, sharp: Image, target: Image, stars: Stars) -> KernelSolution:
        radius = self._radius(sharp, target)
        half = radius + 2 + int(np.ceil(0.5 * _fwhm(target)))
        windows = Windows.cut(sharp, target, self._choose(stars, target.shape, half), radius, half, self.model_error)
        n = len(windows.x)
        if n == 0:
            raise SubtractionError(
                f"no star to fit the matching kernel: {len(stars)} sources, none unflagged above S/N "
                f"{self.minimum_snr:g} with good pixels in both images; lower subtract.minimum_snr, or mask less",
                n_sources=len(stars),
            )
        keep = np.ones(n, bool)
        # Outliers are found on a low order, which costs little; then one fit of the full one.
        solved, residual = self._fit(windows, keep, radius, target.shape, min(1, self._order(n)))
        for _ in range(3):
            new = ~windows.outliers(residual, keep, self.clip_sigma)
            if (new == keep).all() or new.sum() < max(3, 0.4 * n):
                break
            keep = new
            solved, residual = self._fit(windows, keep, radius, target.shape, min(1, self._order(int(keep.sum()))))
        order = self._order(int(keep.sum()))
        solved, residual = self._fit(windows, keep, radius, target.shape, order, last=True)
        size = 2 * radius + 1
        planes = torch.from_numpy(solved[:, : size * size].reshape(-1, size, size)).to(sharp.data.device)
        background = torch.from_numpy(solved[:, -1].copy()).to(sharp.data.device)
        found = KernelSolution(
            planes, background, order, target.shape, n, int(n - keep.sum()),
            float(np.median((residual / windows.expected)[keep])), windows.misfit(residual, keep),
        )  # fmt: skip
        if not np.isfinite(found.sum) or found.sum <= 0:
            raise SubtractionError(
                f"the matching kernel has a flux ratio of {found.sum:.3g} from {n} stars; expected a positive number. "
                "Do both images show the same stars?",
                kernel_sum=found.sum,
            )
        return found

    def _order(self, n: int) -> int:
        """Order that n windows can carry."""
        return min(self.order, 0 if n < 15 else 1 if n < 45 else 2 if n < 100 else 4)

    @staticmethod
    def _fit(
        windows: Windows,
        keep: NDArray[np.bool_],
        radius: int,
        shape: tuple[int, int],
        order: int,
        *,
        last: bool = False,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The solution from the windows kept, and what it leaves in all windows."""
        terms = position_terms(windows.x, windows.y, order, shape)
        solved = windows.solve(terms, keep, radius, free_of_noise=last)
        return solved, windows.residual(terms, solved)

    def _choose(self, stars: Stars, shape: tuple[int, int], half: int) -> Stars:
        """The brightest few unflagged sources of each cell of the chip, so that all of it is represented."""
        ny, nx = shape
        edge = half + 1
        usable = (stars.flags == 0) & (stars.snr > self.minimum_snr)
        usable &= (stars.x > edge) & (stars.x < nx - 1 - edge) & (stars.y > edge) & (stars.y < ny - 1 - edge)
        # Faint stars add more noise of the convolved image than they tell; they are taken where bright ones are few.
        for snr in _ENOUGH_SNR:
            if (usable & (stars.snr > snr)).sum() >= _ENOUGH_STARS:
                usable &= stars.snr > snr
                break
        index = np.flatnonzero(usable)
        if index.size <= self.n_windows:
            return stars[index]
        columns = max(1, round(np.sqrt(self.n_windows / 3.0 * nx / ny)))
        rows = max(1, round(self.n_windows / 3.0 / columns))
        cell = (stars.y[index] * rows / ny).astype(int) * columns + (stars.x[index] * columns / nx).astype(int)
        rank = np.empty(index.size, int)
        for number in np.unique(cell):
            rank[cell == number] = np.arange((cell == number).sum())
        return stars[np.sort(index[np.argsort(rank, kind="stable")[: self.n_windows]])]

    def _apply(
        self, solution: KernelSolution, sharp: Image, target: Image, *, swapped: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tiling = Tiling(target.shape, self.tile_px)
        kernels = solution.at(*tiling.centres())
        data = target.data - convolve(sharp.data, kernels, tiling)
        data.sub_(_polynomial_plane(solution, target.data))
        variance = convolve(sharp.variance, kernels**2, tiling).add_(target.variance).clamp_(min=1e-6)
        spread = spread_mask(sharp.mask, int(solution.planes.shape[-1] // 2))
        masks = (spread, target.mask) if swapped else (target.mask, spread)
        mask = difference_mask(*masks)
        return data.mul_(as_float((mask & int(Mask.NO_DATA)) == 0, data.dtype)), variance, mask


def _core_scale(solution: KernelSolution, science: Image, reference: Image) -> float:
    """Flux, by the PSF of the reference, of a science star of flux 1 after convolution.

    The kernel's sum would do if the kernel were free of noise in its outskirts; this weighs it as detection does.
    """
    if science.psf is None or reference.psf is None:
        return solution.sum
    y, x = (np.array([(n - 1) / 2.0]) for n in solution.shape)
    size = reference.psf.size + 2 * (solution.planes.shape[-1] // 2)
    star = torch.zeros(size, size, device=science.data.device)
    _paste(star, science.psf.stamp)
    seen = convolve(star, solution.at(x, y), Tiling((size, size), size))
    filter_ = torch.zeros_like(star)
    _paste(filter_, reference.psf.stamp)
    return float((filter_ * seen).sum() / (filter_**2).sum())


def _paste(plane: torch.Tensor, stamp: torch.Tensor) -> None:
    """Put a stamp into the middle of a plane, cut where it is too large."""
    half = min(plane.shape[0] // 2, stamp.shape[0] // 2)
    middle, centre = plane.shape[0] // 2, stamp.shape[0] // 2
    cut = stamp[centre - half : centre + half + 1, centre - half : centre + half + 1]
    plane[middle - half : middle + half + 1, middle - half : middle + half + 1] = cut


def _fwhm(image: Image) -> float:
    return image.psf.fwhm if image.psf is not None else 3.0


def _polynomial_plane(solution: KernelSolution, like: torch.Tensor) -> torch.Tensor:
    ny, nx = solution.shape
    u = torch.linspace(-1.0, 1.0, nx, device=like.device, dtype=like.dtype)[None, :]
    v = torch.linspace(-1.0, 1.0, ny, device=like.device, dtype=like.dtype)[:, None]
    powers = solution.order + 1
    matrix = torch.zeros(powers, powers, dtype=like.dtype, device=like.device)
    for (p, q), value in zip(polynomial_exponents(solution.order), solution.background.tolist(), strict=True):
        matrix[q, p] = value
    degrees = torch.arange(powers, device=like.device)
    return (v ** degrees[None, :]) @ matrix @ (u ** degrees[:, None])
