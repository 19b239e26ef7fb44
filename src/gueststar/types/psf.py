"""Point-spread function of an image, and the shape of a stamp."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = ["Psf", "polynomial_exponents", "stamp_shape"]


@dataclass(frozen=True, slots=True, eq=False)
class Psf:
    """Point-spread function, sampled at the pixel scale, that may vary over the chip.

    PSF(x, y) = sum_j planes[j] T_j(u, v) with T_j = u^p v^q, p + q <= order, in the order of `exponents`,
    and u, v = position scaled to -1..1 over `extent`.

    Parameters
    ----------
    planes : Tensor, shape (m, k, k), float32
        Coefficient planes, m = (order + 1)(order + 2) / 2, k odd. ``planes[0]`` sums to 1, the others to 0.
    fwhm : float
        Full width at half maximum at the chip centre, px.
    ellipticity : float
        1 - b/a at the chip centre.
    order : int
        Order of the polynomial in position; 0 is a constant PSF.
    extent : (int, int)
        (ny, nx) of the chip that u, v run over.
    """

    planes: torch.Tensor
    fwhm: float
    ellipticity: float = 0.0
    order: int = 0
    extent: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        m = (self.order + 1) * (self.order + 2) // 2
        shape = tuple(self.planes.shape)
        if len(shape) != 3 or shape[0] != m or shape[1] != shape[2] or shape[1] % 2 == 0:
            raise ValueError(f"psf planes have shape {shape}; expected ({m}, k, k) with k odd for order {self.order}")

    @classmethod
    def from_stamp(cls, stamp: ArrayLike) -> Psf:
        """Make a constant PSF from one stamp (k, k), k odd; it is normalised to sum 1."""
        array = np.asarray(stamp, np.float64)
        if array.ndim != 2 or not np.isfinite(array).all() or array.sum() <= 0:
            raise ValueError(f"psf stamp of shape {array.shape} must be (k, k), finite, with a positive sum")
        array = array / array.sum()
        fwhm, ellipticity = stamp_shape(array)
        return cls(torch.from_numpy(array[None].astype(np.float32)), fwhm, ellipticity)

    @property
    def size(self) -> int:
        """Width k of the stamp, px."""
        return int(self.planes.shape[-1])

    @property
    def stamp(self) -> torch.Tensor:
        """PSF at the chip centre, shape (k, k), sum 1."""
        return self.planes[0]

    @property
    def exponents(self) -> list[tuple[int, int]]:
        """Powers (p, q) of u and v for each plane."""
        return polynomial_exponents(self.order)

    def at(self, x: ArrayLike, y: ArrayLike) -> torch.Tensor:
        """PSF centred on a pixel, for each position; shape (n, k, k)."""
        ny, nx = self.extent
        u = 2.0 * np.atleast_1d(np.asarray(x, np.float64)) / max(nx - 1, 1) - 1.0
        v = 2.0 * np.atleast_1d(np.asarray(y, np.float64)) / max(ny - 1, 1) - 1.0
        terms = np.stack([u**p * v**q for p, q in self.exponents], axis=1) if self.order else np.ones((u.size, 1))
        weights = torch.as_tensor(terms, dtype=self.planes.dtype, device=self.planes.device)
        return torch.einsum("nm,mij->nij", weights, self.planes)

    def to(self, device: torch.device | str) -> Psf:
        """The same on another device."""
        return replace(self, planes=self.planes.to(device))


def polynomial_exponents(order: int) -> list[tuple[int, int]]:
    """Powers (p, q) of u^p v^q with p + q <= order, lowest total power first."""
    return [(total - q, q) for total in range(order + 1) for q in range(total + 1)]


def stamp_shape(stamp: NDArray[np.float64]) -> tuple[float, float]:
    """FWHM (px) and ellipticity 1 - b/a of a stamp, from its half-light level and adaptive moments.

    The width is twice the radius at which the azimuthal profile falls to half of its central value; the axis
    ratio comes from moments under a round Gaussian of that width (Bernstein & Jarvis 2002, AJ 123, 583, Sec. 3.1,
    one iteration).
    """
    k = stamp.shape[0]
    yy, xx = np.mgrid[:k, :k] - (k - 1) / 2.0
    r = np.hypot(xx, yy).ravel()
    near = r < max(3.0, k / 3.0)
    order = np.argsort(r[near], kind="stable")
    radius, value = r[near][order], stamp.ravel()[near][order]
    bins = np.round(radius * 2) / 2
    grid = np.unique(bins)
    profile = np.array([value[bins == b].mean() for b in grid])
    half = profile[0] / 2.0
    below = np.flatnonzero(profile < half)
    if profile[0] <= 0 or below.size == 0:
        return float(k), 0.0
    i = int(below[0])
    r0 = float(radius[bins == grid[i - 1]].mean()) if i else 0.0
    r1 = float(radius[bins == grid[i]].mean())
    fraction = (profile[i - 1] - half) / max(profile[i - 1] - profile[i], 1e-30)
    fwhm = 2.0 * (r0 + fraction * (r1 - r0))
    sigma2 = (max(fwhm, 1.0) / 2.3548) ** 2
    weight = stamp * np.exp(-(xx**2 + yy**2) / (2.0 * sigma2))
    total = weight.sum()
    mxx, myy, mxy = ((weight * a).sum() / total for a in (xx * xx, yy * yy, xx * yy))
    # The weight halves the variance of a Gaussian of the same width; undo it on the eigenvalues.
    middle, spread = (mxx + myy) / 2.0, np.hypot((mxx - myy) / 2.0, mxy)
    major, minor = (1.0 / max(1.0 / max(e, 1e-9) - 1.0 / sigma2, 1e-9) for e in (middle + spread, middle - spread))
    return float(fwhm), float(np.clip(1.0 - np.sqrt(minor / major), 0.0, 0.99))
