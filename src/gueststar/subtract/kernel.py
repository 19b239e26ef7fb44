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

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from gueststar.subtract.least_squares import kernel_power
from gueststar.subtract.solution import KernelSolution, MatchingEngine, fwhm_of, kernel_radius
from gueststar.subtract.windows import SHARES, Windows, position_terms
from gueststar.types import Image, Stars

__all__ = ["Kernel"]

_ENOUGH_SNR = (100.0, 60.0, 30.0)
_ENOUGH_STARS = 60
_RESTLESS = 1.3  # a kernel whose squares sum to more than this times those of the plain fit is refused


class Kernel(MatchingEngine):
    """Subtract with our own matching kernel."""

    engine: Literal["kernel"] = Field("kernel", description="Name of the engine")
    radius_px: int = Field(0, ge=0, le=15, description="Half width of the kernel, px; 0: from the two FWHM")
    n_windows: int = Field(100, ge=1, le=2000, description="Most windows used in the fit")
    clip_sigma: float = Field(4.0, ge=2, le=20, description="Windows that fit worse are left out, sigma")
    model_error: float = Field(0.001, ge=0, le=0.1, description="Floor of the error, as a share of the flux")

    def _solve(self, sharp: Image, target: Image, stars: Stars) -> KernelSolution:
        radius = self.radius_px or kernel_radius(sharp, target)
        half = radius + 2 + int(np.ceil(0.5 * fwhm_of(target)))
        windows = Windows.cut(sharp, target, self._choose(stars, target.shape, half), radius, half, self.model_error)
        n = len(windows.x)
        if n == 0:
            raise self._no_star(stars)
        keep = np.ones(n, bool)
        # Outliers are found on a low order, which costs little; then one fit of the full one.
        terms = position_terms(windows.x, windows.y, min(1, self._order_for(n)), target.shape)
        solved, _ = windows.solve(terms, keep)
        for _ in range(3):
            residual = windows.residual(terms, solved)
            new = ~windows.outliers(residual, keep, self.clip_sigma)
            if (new == keep).all() or new.sum() < max(3, 0.4 * n):
                break
            keep = new
            terms = position_terms(windows.x, windows.y, min(1, self._order_for(int(keep.sum()))), target.shape)
            solved, _ = windows.solve(terms, keep)
        # How far the noise can be taken out is found on the low order, too.
        most = _RESTLESS * kernel_power(solved, terms[keep])
        _, share = windows.solve(terms, keep, shares=SHARES, most_power=most)
        order = self._order_for(int(keep.sum()))
        terms = position_terms(windows.x, windows.y, order, target.shape)
        shares = [value for value in SHARES if value <= share]
        solved, _ = windows.solve(terms, keep, shares=shares, most_power=_RESTLESS * most)
        residual = windows.residual(terms, solved)
        planes = torch.from_numpy(windows.planes(solved)).to(sharp.data.device)
        background = torch.from_numpy(solved[:, -1].copy()).to(sharp.data.device)
        found = KernelSolution(
            planes, background, order, target.shape, n, int(n - keep.sum()),
            float(np.median((residual / windows.expected)[keep])), windows.misfit(residual, keep),
        )  # fmt: skip
        return found.checked()

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
