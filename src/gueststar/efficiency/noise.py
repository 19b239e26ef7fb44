"""Error of the PSF flux at places of a difference, from what a run keeps of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["flux_errors"]

F8 = NDArray[np.float64]
_BETA = 3.0  # Moffat exponent of a typical PSF; between 2.5 and 4 the error changes by 5 %


def flux_errors(
    variance: NDArray[np.floating], x: ArrayLike, y: ArrayLike, *, fwhm_px: float, scatter: float = 1.0
) -> F8:
    """Error of the flux of a matched filter, 1 / sqrt(sum p^2 / V), with a Moffat profile p.

    Parameters
    ----------
    variance : ndarray, shape (ny, nx)
        Of the difference, e-^2.
    x, y : array_like, shape (n,)
        Places, px.
    fwhm_px : float
        Of the PSF in the difference.
    scatter : float
        How much larger the measured scatter of empty sky is than white noise of this variance says.

    Returns
    -------
    ndarray, shape (n,)
        e-; NaN outside the frame and where too little of the profile has a variance.
    """
    ny, nx = variance.shape
    half = max(4, round(2.0 * fwhm_px))
    u, v = (np.asarray(values, np.float64) for values in (x, y))
    errors = np.full(u.shape, np.nan)
    inside = (u >= -0.5) & (u < nx - 0.5) & (v >= -0.5) & (v < ny - 0.5)
    padded = np.pad(np.asarray(variance, np.float64), half, constant_values=np.nan)
    scale = 0.5 * fwhm_px / np.sqrt(2.0 ** (1.0 / _BETA) - 1.0)
    yy, xx = np.indices((2 * half + 1, 2 * half + 1)) - half
    for i in np.flatnonzero(inside):
        column, row = round(u[i]), round(v[i])
        r2 = (xx - (u[i] - column)) ** 2 + (yy - (v[i] - row)) ** 2
        profile = (1.0 + r2 / scale**2) ** -_BETA
        profile /= profile.sum()
        under = padded[row : row + 2 * half + 1, column : column + 2 * half + 1]
        good = np.isfinite(under) & (under > 0)
        if profile[good].sum() > 0.3:
            errors[i] = scatter / np.sqrt((profile[good] ** 2 / under[good]).sum())
    return errors
