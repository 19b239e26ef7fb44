"""Our own subtraction engine: a spatially varying, pixel-basis matching kernel with a joint differential background.

The reference R, on the science grid, is convolved to match the science image I,

    D = I - sum_j T_j(x, y) (K_j * R) - sum_j b_j T_j(x, y),

with K_j free in every pixel (Bramich 2008, MNRAS 386, L77; Miller, Pennypacker & White 2008, PASP 120, 449) and T_j
polynomials in chip position (Alard 2000, A&AS 144, 363). Kernel and background are solved for together by weighted
least squares on windows around stars; windows that do not fit (variables, blends with bad pixels) are clipped. A
Gaussian prior, wide at the centre and narrow in the outskirts of the kernel, keeps pixels that the data cannot tell
from running away with noise; it plays the part of the regularisation of Becker et al. (2012, MNRAS 425, 1341).

Where the science image is the sharper one, it is the one that is convolved, and the difference is scaled back.
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
from gueststar.planes import Tiling, convolve, gather_stamps, grow_mask
from gueststar.subtract.finish import check_pair, difference_mask, finish_difference
from gueststar.types import Difference, Fact, Image, Mask, Stars, polynomial_exponents

__all__ = ["Kernel", "KernelSolution"]


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
        Median reduced chi-square of the windows used.
    """

    planes: torch.Tensor
    background: torch.Tensor
    order: int
    shape: tuple[int, int]
    n_windows: int
    n_clipped: int
    chi2: float

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
    n_windows: int = Field(200, ge=1, le=2000, description="Most windows used in the fit")
    minimum_snr: float = Field(15.0, ge=3, description="Faintest star used")
    clip_sigma: float = Field(4.0, ge=2, le=20, description="Windows that fit worse are left out, sigma")
    model_error: float = Field(0.004, ge=0, le=0.1, description="Floor of the error, as a share of the flux")
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
            "convolved": "science" if swapped else "reference",
        }
        if swapped:
            data, variance = -data / solution.sum, variance / solution.sum**2
        psf = reference.psf if swapped else science.psf
        return finish_difference(data, variance, mask, psf, science, reference, engine=self.engine, facts=facts)

    def _radius(self, sharp: Image, target: Image) -> int:
        if self.radius_px:
            return self.radius_px
        a, b = _fwhm(sharp), _fwhm(target)
        broadening = float(np.sqrt(max(b * b - a * a, 0.0)))
        return int(np.clip(np.ceil(0.9 * b + 0.9 * broadening), 4, 9))

    def _solve(self, sharp: Image, target: Image, stars: Stars) -> KernelSolution:
        radius = self._radius(sharp, target)
        half = radius + 4 + int(np.ceil(0.5 * _fwhm(target)))
        windows = _Windows.cut(sharp, target, self._choose(stars, target.shape, half), radius, half, self.model_error)
        n = len(windows.x)
        if n == 0:
            raise SubtractionError(
                f"no star to fit the matching kernel: {len(stars)} sources, none unflagged above S/N "
                f"{self.minimum_snr:g} with good pixels in both images; lower subtract.minimum_snr, or mask less",
                n_sources=len(stars),
            )
        keep = np.ones(n, bool)
        order, solved, chi2 = self._fit(windows, keep, radius, target.shape)
        for _ in range(3):
            limit = np.median(chi2[keep]) + self.clip_sigma * max(1.4826 * _mad(chi2[keep]), 0.15)
            new = chi2 < limit
            if (new == keep).all() or new.sum() < max(3, 0.4 * n):
                break
            keep = new
            order, solved, chi2 = self._fit(windows, keep, radius, target.shape)
        size = 2 * radius + 1
        planes = torch.from_numpy(solved[:, : size * size].reshape(-1, size, size)).to(sharp.data.device)
        background = torch.from_numpy(solved[:, -1].copy()).to(sharp.data.device)
        found = KernelSolution(
            planes, background, order, target.shape, n, int(n - keep.sum()), float(np.median(chi2[keep]))
        )
        if not np.isfinite(found.sum) or found.sum <= 0:
            raise SubtractionError(
                f"the matching kernel has a flux ratio of {found.sum:.3g} from {n} stars; expected a positive number. "
                "Do both images show the same stars?",
                kernel_sum=found.sum,
            )
        return found

    def _fit(
        self, windows: _Windows, keep: NDArray[np.bool_], radius: int, shape: tuple[int, int]
    ) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Order that the windows kept can carry, the solution, and chi-square of all windows."""
        n = int(keep.sum())
        order = min(self.order, 0 if n < 15 else 1 if n < 45 else 2 if n < 120 else 4)
        terms = position_terms(windows.x, windows.y, order, shape)
        solved = windows.solve(terms, keep, radius)
        return order, solved, windows.chi2(terms, solved)

    def _choose(self, stars: Stars, shape: tuple[int, int], half: int) -> Stars:
        """The brightest few unflagged sources of each cell of the chip, so that all of it is represented."""
        ny, nx = shape
        edge = half + 1
        usable = (stars.flags == 0) & (stars.snr > self.minimum_snr)
        usable &= (stars.x > edge) & (stars.x < nx - 1 - edge) & (stars.y > edge) & (stars.y < ny - 1 - edge)
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
        model = convolve(sharp.data, kernels, tiling)
        data = target.data - model - _polynomial_plane(solution, target.data)
        variance = target.variance + convolve(sharp.variance, kernels**2, tiling)
        # A saturated core lacks flux without limit, which the kernel spreads as far as it reaches; other flagged
        # pixels were filled from their neighbours and matter only where the kernel carries most of its weight.
        radius = int(solution.planes.shape[-1] // 2)
        clipped = sharp.mask & int(Mask.SATURATED)
        spread = grow_mask(sharp.mask & ~int(Mask.SATURATED), -(-radius // 2)) | grow_mask(clipped, radius)
        masks = (spread, target.mask) if swapped else (target.mask, spread)
        mask = difference_mask(*masks)
        variance = variance.clamp(min=1e-6)
        return torch.where((mask & int(Mask.NO_DATA)) != 0, torch.zeros_like(data), data), variance, mask


def _fwhm(image: Image) -> float:
    return image.psf.fwhm if image.psf is not None else 3.0


def position_terms(
    x: NDArray[np.float64], y: NDArray[np.float64], order: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Polynomial terms in position scaled to -1..1 over the chip, shape (n, m)."""
    u = 2.0 * x / max(shape[1] - 1, 1) - 1.0
    v = 2.0 * y / max(shape[0] - 1, 1) - 1.0
    return np.stack([u**p * v**q for p, q in polynomial_exponents(order)], axis=1)


def _polynomial_plane(solution: KernelSolution, like: torch.Tensor) -> torch.Tensor:
    ny, nx = solution.shape
    u = torch.linspace(-1.0, 1.0, nx, device=like.device, dtype=like.dtype)[None, :]
    v = torch.linspace(-1.0, 1.0, ny, device=like.device, dtype=like.dtype)[:, None]
    plane = torch.zeros_like(like)
    for (p, q), value in zip(polynomial_exponents(solution.order), solution.background.tolist(), strict=True):
        plane += value * u**p * v**q
    return plane


def _mad(values: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(values - np.median(values))))


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """Normal equations of every window: gram (n, p, p), right (n, p), power (n,), count (n,); p = k^2 + 1."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    gram: NDArray[np.float64]
    right: NDArray[np.float64]
    power: NDArray[np.float64]
    count: NDArray[np.float64]

    @classmethod
    def cut(cls, sharp: Image, target: Image, stars: Stars, radius: int, half: int, model_error: float) -> _Windows:
        """Cut windows of half side `half` around stars; those with over 20 % bad pixels are left out."""
        ix, iy = np.round(stars.x).astype(np.int64), np.round(stars.y).astype(np.int64)
        size, full = 2 * half + 1, 2 * (half + radius) + 1
        bad = grow_mask(sharp.mask, min(radius, 3)) | target.mask
        clear = gather_stamps((bad == 0).float(), ix, iy, size)
        noise = gather_stamps(target.variance + sharp.variance, ix, iy, size)
        goal = gather_stamps(target.data, ix, iy, size)
        weight = clear / (noise + (model_error * goal.abs()) ** 2).clamp(min=1e-6)
        keep = (clear.mean((1, 2)) > 0.8).cpu().numpy()
        ix, iy, weight, goal = ix[keep], iy[keep], weight[torch.from_numpy(keep)], goal[torch.from_numpy(keep)]
        source = gather_stamps(sharp.data, ix, iy, full)
        k = 2 * radius + 1
        p = k * k + 1
        n = len(ix)
        gram, right = np.empty((n, p, p)), np.empty((n, p))
        for i in range(n):
            # Column (a, b) of the design is the source shifted so that it meets kernel pixel (a, b).
            shifted = source[i].unfold(0, size, 1).unfold(1, size, 1).reshape(k * k, size * size).flip(0)
            design = torch.cat((shifted, shifted.new_ones(1, size * size)))
            root = weight[i].reshape(-1).sqrt()
            scaled = design * root
            gram[i] = (scaled @ scaled.T).cpu().numpy()
            right[i] = (scaled @ (goal[i].reshape(-1) * root)).cpu().numpy()
        power = (weight * goal**2).sum((1, 2)).double().cpu().numpy()
        count = (weight > 0).sum((1, 2)).double().cpu().numpy()
        return cls(stars.x[keep], stars.y[keep], gram, right, power, count)

    def solve(self, terms: NDArray[np.float64], keep: NDArray[np.bool_], radius: int) -> NDArray[np.float64]:
        """Least squares over the windows kept; shape (m, k^2 + 1)."""
        from scipy.linalg import cho_factor, cho_solve

        t = terms[keep]
        m, p = t.shape[1], self.right.shape[1]
        products = (t[:, :, None] * t[:, None, :]).reshape(len(t), m * m)
        blocks = (products.T @ self.gram[keep].reshape(len(t), p * p)).reshape(m, m, p, p)
        normal = blocks.transpose(0, 2, 1, 3).reshape(m * p, m * p)
        right = (t.T @ self.right[keep]).reshape(m * p)
        normal[np.diag_indices(m * p)] += self._prior(radius, m)
        # One round of iterative refinement: the grams come from float32 products.
        factor = cho_factor(normal, lower=True)
        solved = cho_solve(factor, right)
        solved += cho_solve(factor, right - normal @ solved)
        return np.asarray(solved.reshape(m, p))

    @staticmethod
    def _prior(radius: int, m: int) -> NDArray[np.float64]:
        """Inverse variance of a Gaussian prior around 0 for each unknown."""
        yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        width = 0.5 * np.exp(-(xx**2 + yy**2) / (2.0 * (0.5 * radius) ** 2)) + 0.01
        kernel = 1.0 / width.ravel() ** 2
        rows = [np.append(kernel * (1.0 if j == 0 else 10.0), 1e-8) for j in range(m)]
        return np.concatenate(rows)

    def chi2(self, terms: NDArray[np.float64], solved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reduced chi-square of every window."""
        local = terms @ solved
        fitted = np.einsum("np,npq,nq->n", local, self.gram, local, optimize=True)
        return np.asarray((self.power - 2.0 * (local * self.right).sum(1) + fitted) / np.maximum(self.count, 1.0))
