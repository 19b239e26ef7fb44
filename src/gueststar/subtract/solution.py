"""A fitted matching kernel, and the difference that it makes: the same for every engine that convolves one image."""

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
from gueststar.subtract.windows import position_terms
from gueststar.types import Difference, Fact, Image, Mask, Stars, polynomial_exponents

__all__ = ["KernelSolution", "MatchingEngine", "convolves_science", "difference_of", "fwhm_of", "kernel_radius"]


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

    def checked(self) -> KernelSolution:
        """Itself, or `SubtractionError` when its flux ratio is not a positive number."""
        if not np.isfinite(self.sum) or self.sum <= 0:
            raise SubtractionError(
                f"the matching kernel has a flux ratio of {self.sum:.3g} from {self.n_windows} stars; expected a "
                "positive number. Do both images show the same stars?",
                kernel_sum=self.sum,
            )
        return self

    @property
    def sum(self) -> float:
        """Flux ratio science to reference at the chip centre."""
        return float(self.planes[0].sum())


def fwhm_of(image: Image) -> float:
    """FWHM of the PSF, px; 3 when it is not known."""
    return image.psf.fwhm if image.psf is not None else 3.0


def convolves_science(
    science: Image, reference: Image, choice: Literal["auto", "reference", "science"] = "auto"
) -> bool:
    """Whether the science image is the one to convolve: when it is clearly the sharper one, or by choice."""
    return choice == "science" or (choice == "auto" and fwhm_of(science) < 0.9 * fwhm_of(reference))


def kernel_radius(sharp: Image, target: Image) -> int:
    """Half width of a kernel that takes one PSF to the other, px."""
    a, b = fwhm_of(sharp), fwhm_of(target)
    broadening = float(np.sqrt(max(b * b - a * a, 0.0)))
    return int(np.clip(np.ceil(0.9 * b + 0.9 * broadening), 4, 9))


def difference_of(
    solution: KernelSolution, science: Image, reference: Image, *, swapped: bool, tile_px: int, engine: str
) -> Difference:
    """Apply a kernel, take out what it leaves, and score the result.

    Parameters
    ----------
    solution : KernelSolution
        From the image that is convolved to the other one.
    science, reference : Image
        On one grid.
    swapped : bool
        The science image is the one that is convolved; the difference is then scaled back.
    tile_px : int
        Side of the tiles on which the kernel is constant, px.
    engine : str
    """
    sharp, target = (science, reference) if swapped else (reference, science)
    data, variance, mask = _applied(solution, sharp, target, swapped=swapped, tile_px=tile_px)
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
    return finish_difference(data, variance, mask, psf, science, reference, engine=engine, facts=facts, sources=sources)


def _applied(
    solution: KernelSolution, sharp: Image, target: Image, *, swapped: bool, tile_px: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, variance and mask of target - model."""
    tiling = Tiling(target.shape, tile_px)
    kernels = solution.at(*tiling.centres())
    data = target.data - convolve(sharp.data, kernels, tiling)
    data.addmm_(*_polynomial(solution, target.data), alpha=-1.0)
    variance = convolve(sharp.variance, _squared(kernels), tiling).add_(target.variance).clamp_(min=1e-6)
    spread = spread_mask(sharp.mask, int(solution.planes.shape[-1] // 2))
    masks = (spread, target.mask) if swapped else (target.mask, spread)
    mask = difference_mask(*masks)
    return data.mul_(as_float(~(mask & int(Mask.NO_DATA)).bool(), data.dtype)), variance, mask


def _squared(kernels: torch.Tensor) -> torch.Tensor:
    """Squares of kernels (n, k, k), cut where 2 % of their sum lies beyond, which is put back."""
    squares = kernels**2
    total = squares.sum((1, 2), keepdim=True)
    half = kernels.shape[-1] // 2
    for keep in range(1, half):
        inner = squares[:, half - keep : half + keep + 1, half - keep : half + keep + 1]
        share = inner.sum((1, 2), keepdim=True) / total
        if float(share.min()) > 0.98:
            return inner / share
    return squares


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


def _polynomial(solution: KernelSolution, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The background as a product: powers of y (ny, m), and their coefficients along x (m, nx)."""
    ny, nx = solution.shape
    u = torch.linspace(-1.0, 1.0, nx, device=like.device, dtype=like.dtype)[None, :]
    v = torch.linspace(-1.0, 1.0, ny, device=like.device, dtype=like.dtype)[:, None]
    powers = solution.order + 1
    matrix = torch.zeros(powers, powers, dtype=like.dtype, device=like.device)
    for (p, q), value in zip(polynomial_exponents(solution.order), solution.background.tolist(), strict=True):
        matrix[q, p] = value
    degrees = torch.arange(powers, device=like.device)
    return v ** degrees[None, :], matrix @ (u ** degrees[:, None])


class MatchingEngine(Options):
    """What engines with a matching kernel share: their common options, and the way from a kernel to a difference."""

    engine: str = Field(description="Name of the engine")
    convolve: Literal["auto", "reference", "science"] = Field("auto", description="Image that is convolved")
    tile_px: int = Field(64, ge=16, le=512, description="Side of the tiles on which the kernel is constant, px")
    order: int = Field(2, ge=0, le=4, description="Polynomial order of the kernel over the chip; few stars lower it")
    minimum_snr: float = Field(15.0, ge=3, description="Faintest star used")

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
        swapped = convolves_science(science, reference, self.convolve)
        sharp, target = (science, reference) if swapped else (reference, science)
        solution = self._solve(sharp, target, science.stars or Stars.empty())
        return difference_of(solution, science, reference, swapped=swapped, tile_px=self.tile_px, engine=self.engine)

    def _solve(self, sharp: Image, target: Image, stars: Stars) -> KernelSolution:
        raise NotImplementedError

    def _order_for(self, n: int) -> int:
        """Order that n stars can carry."""
        return min(self.order, 0 if n < 15 else 1 if n < 45 else 2 if n < 100 else 4)

    def _no_star(self, stars: Stars) -> SubtractionError:
        return SubtractionError(
            f"no star to fit the matching kernel: {len(stars)} sources, none unflagged above S/N {self.minimum_snr:g} "
            "with good pixels in both images; lower subtract.minimum_snr, or mask less",
            n_sources=len(stars),
        )
