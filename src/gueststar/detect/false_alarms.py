"""How many peaks of pure noise a search of a score plane finds.

Noise that went through a matched filter is a Gaussian field whose neighbouring pixels are correlated, by the
autocorrelation of the filter. A pixel is a peak when it exceeds its eight neighbours. Given the value x of the pixel,
the neighbours are Gaussian with mean rho_i x and covariance C_ij - rho_i rho_j, so that with Z of this covariance and
mean 0, and M = max_i Z_i / (1 - rho_i),

    P(peak above t) = < Q(max(t, M)) >,

with Q the upper tail of a unit normal and the mean over Z, which is taken over a fixed set of quasi-random points. This
is exact on the pixel grid. Where the filter is many pixels wide it becomes the density of maxima of a continuous field
(Longuet-Higgins 1957, Phil. Trans. A 249, 321; Bond & Efstathiou 1987, MNRAS 226, 655, eq. 6.4 ff.); where it is two or
three pixels wide, the grid misses the top of a peak and finds fewer than that.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, ndtr, ndtri

from gueststar.types import Psf

__all__ = ["correlation_of", "expected_false_alarms", "false_alarm_rate", "gaussian_correlation", "maxima_density"]

_REACH = 2  # px; neighbours of a pixel are at most this far from each other
_POINTS = 16384
_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
F8 = NDArray[np.float64]


def gaussian_correlation(fwhm: float) -> F8:
    """Correlation of white noise filtered with a Gaussian PSF of `fwhm` px, at lags of -2 to 2 px; shape (5, 5)."""
    yy, xx = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    return np.asarray(np.exp(-2.0 * np.log(2.0) * (xx**2 + yy**2) / fwhm**2))


def correlation_of(psf: Psf, *, radius_fwhm: float = 1.5) -> F8:
    """Correlation of white noise filtered with a PSF, cut as the score cuts it, at lags of -2 to 2 px; (5, 5)."""
    half = psf.size // 2
    keep = int(np.clip(np.ceil(radius_fwhm * psf.fwhm), _REACH, half))
    stamp = psf.stamp.double().cpu().numpy()[half - keep : half + keep + 1, half - keep : half + keep + 1]
    padded = np.pad(stamp, _REACH)
    n = stamp.shape[0]
    lags = range(2 * _REACH + 1)
    sums = np.array([[(padded[i : i + n, j : j + n] * stamp).sum() for j in lags] for i in lags])
    return np.asarray(sums / sums[_REACH, _REACH])


def false_alarm_rate(threshold: float, correlation: F8) -> float:
    """Expected peaks of one sign above a threshold, for each pixel of pure noise.

    Parameters
    ----------
    threshold : float
        Sigma.
    correlation : ndarray, shape (5, 5)
        Of the score, at lags of -2 to 2 px in y and x; from `correlation_of` or `gaussian_correlation`.

    Returns
    -------
    float
    """
    rho = np.array([correlation[_REACH + dy, _REACH + dx] for dy, dx in _NEIGHBOURS])
    between = np.array(
        [
            [
                correlation[_REACH + a - c, _REACH + b - d] if max(abs(a - c), abs(b - d)) <= _REACH else 0.0
                for c, d in _NEIGHBOURS
            ]
            for a, b in _NEIGHBOURS
        ]
    )
    values, vectors = np.linalg.eigh(between - np.outer(rho, rho))
    # The directions that matter most take the first, most even of the numbers; with more of those it does not matter
    # which signs a processor's library gives the vectors.
    root = (vectors * np.sqrt(np.clip(values, 0.0, None)))[:, ::-1]
    highest = ((_normals() @ root.T) / (1.0 - rho)).max(1)
    return float(ndtr(-np.maximum(threshold, highest)).mean())


def expected_false_alarms(threshold: float, fwhm: float, *, megapixels: float = 1.0) -> float:
    """Expected peaks of pure noise, of both signs, in a score plane.

    Parameters
    ----------
    threshold : float
        Sigma, on the absolute value.
    fwhm : float
        Of a Gaussian PSF, px.
    megapixels : float
        Area searched, 10^6 px.

    Returns
    -------
    float

    Examples
    --------
    >>> round(expected_false_alarms(5.0, 2.8, megapixels=2.0), 1)
    1.3
    """
    return 2.0 * false_alarm_rate(threshold, gaussian_correlation(fwhm)) * 1e6 * megapixels


def maxima_density(threshold: float, fwhm: float) -> float:
    """Maxima above a threshold for each square pixel, of a continuous field of Gaussian correlation; one sign.

    Bond & Efstathiou 1987, MNRAS 226, 655, eq. A1.9, integrated over the height.

    Parameters
    ----------
    threshold : float
        Sigma.
    fwhm : float
        Of the Gaussian PSF that filtered the noise, px.
    """
    gamma2 = 0.5  # sigma_1^4 / (sigma_0 sigma_2)^2 of a Gaussian correlation
    width2 = 2.0 * fwhm**2 / (8.0 * np.log(2.0))  # of the correlation exp(-r^2 / 2 width2)
    scale2 = 0.5 * width2  # 2 (sigma_1 / sigma_2)^2
    nu = np.linspace(threshold, threshold + 8.0, 4001)
    x, rest = np.sqrt(gamma2) * nu, 1.0 - gamma2
    bulk = (x**2 - gamma2) * (1.0 - 0.5 * erfc(x / np.sqrt(2.0 * rest)))
    bulk += x * rest * np.exp(-(x**2) / (2.0 * rest)) / np.sqrt(2.0 * np.pi * rest)
    wide = 3.0 - 2.0 * gamma2
    bulk += np.exp(-(x**2) / wide) / np.sqrt(wide) * (1.0 - 0.5 * erfc(x / np.sqrt(2.0 * rest * wide)))
    density = np.exp(-0.5 * nu**2) * bulk / ((2.0 * np.pi) ** 1.5 * scale2)
    return float(np.trapezoid(density, nu))


@lru_cache(maxsize=1)
def _normals() -> F8:
    """Quasi-random unit normals, shape (n, 8): fractions of multiples of square roots of primes (Richtmyer 1951)."""
    roots = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0])
    return np.asarray(ndtri((np.arange(1, _POINTS + 1)[:, None] * roots) % 1.0))
