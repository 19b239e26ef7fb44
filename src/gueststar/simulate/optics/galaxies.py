"""Sersic galaxies seen through the point-spread function.

Profiles are integrated on half-pixels, with many samples in the core, convolved there with the PSF at the galaxy's
place, and summed to pixels: cuspy profiles would alias on whole pixels, by 2-3 % of the peak. Galaxies of one stamp
size are done together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma, gammaincinv

from gueststar.simulate.optics.blur import lagrange_weights
from gueststar.simulate.optics.painter import PsfField

__all__ = ["paint_galaxies", "sersic_pixels"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

_SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
_CHUNK = 50_000
_FINE = 13  # sub-samples per pixel and axis in the core
_SOFT = 0.12  # softening of the core, parts of the sample spacing
_PIXEL = np.array([-17.0, 308.0, 5178.0, 308.0, -17.0]) / 5760.0  # mean over a pixel from samples, to fifth order
_CORE = 3  # half width of the finely sampled core, px


def sersic_pixels(
    size: int, x: ArrayLike, y: ArrayLike, *, n: ArrayLike, re: ArrayLike, ratio: ArrayLike, angle: ArrayLike
) -> F4:
    """Pixel-integrated elliptical Sersic profiles of total flux 1 (Sersic 1968; Graham & Driver 2005, PASA 22, 118).

    Parameters
    ----------
    size : int
        Width of the stamps, even, at least 20 px.
    x, y : array_like, shape (m,)
        Centres, px from pixel (size / 2, size / 2).
    n : array_like, shape (m,)
        Sersic index.
    re : array_like, shape (m,)
        Half-light semi-major axis, px.
    ratio : array_like, shape (m,)
        Axis ratio b/a.
    angle : array_like, shape (m,)
        Position angle of the major axis from +x towards +y, rad.

    Returns
    -------
    ndarray, shape (m, size, size), float32
    """
    columns = [np.atleast_1d(np.asarray(a, np.float64)) for a in (x, y, n, re, ratio, angle)]
    profile = _Profile(*np.broadcast_arrays(*columns))
    # One sample more on each side, for the curvature that turns samples into means over pixels.
    grid = np.arange(-1, size + 1, dtype=np.float64) - size // 2
    sampled = profile(grid, grid)
    middle = sampled[:, 1:-1, 1:-1]
    pixels = np.float32(20.0 / 24.0) * middle
    for part in (sampled[:, :-2, 1:-1], sampled[:, 2:, 1:-1], sampled[:, 1:-1, :-2], sampled[:, 1:-1, 2:]):
        pixels += np.float32(1.0 / 24.0) * part
    fine, mean, inside, spread = _core_weights()
    # Samples next to a cusp would count too much; softening by a part of their spacing makes the flux right.
    samples = profile(fine, fine, soft=_SOFT / _FINE)
    inner, outer = (slice(size // 2 - len(m) // 2, size // 2 + len(m) // 2 + 1) for m in (mean, spread))
    pixels[:, inner, inner] = mean @ samples @ mean.T - inside @ samples @ inside.T
    pixels[:, outer, outer] += spread @ samples @ spread.T
    return pixels


@lru_cache(maxsize=1)
def _core_weights() -> tuple[F8, F4, F4, F4]:
    """Places of the fine samples of the core along one axis, px, and three matrices that make pixels of them.

    A cusp must act from its true place and not from the middle of its pixel. So what is near the middle of the core,
    under a smooth window, is taken out of the means over pixels (`mean` less `inside`), and spread over the pixels
    around (`spread`) by Lagrange weights of six points, which keep its moments up to the fifth, and a filter with the
    moments of a pixel.
    """
    width, reach = 2 * _CORE + 1, _CORE + 5
    fine = (np.arange(_FINE * width) + 0.5) / _FINE - _CORE - 0.5
    window = np.cos(np.pi * fine / width) ** 2
    mean = np.repeat(np.eye(width), _FINE, axis=1) / _FINE
    spread = np.zeros((2 * reach + 1, fine.size))
    base = np.floor(fine).astype(int)
    weights = lagrange_weights(fine - base, np.arange(-2.0, 4.0)) / _FINE
    for i in range(6):
        spread[base + reach + i - 2, np.arange(fine.size)] = weights[:, i]
    pixel = sum(value * np.eye(len(spread), k=k) for k, value in zip(range(-2, 3), _PIXEL, strict=True))
    single = [matrix.astype(np.float32) for matrix in (mean, mean * window, pixel @ spread * window)]
    return fine, single[0], single[1], single[2]


class _Profile:
    """Surface brightness of m galaxies (x, y, n, re, ratio, angle) on a grid of points."""

    def __init__(self, *columns: F8) -> None:
        x, y, n, re, ratio, angle = columns
        b = gammaincinv(2.0 * n, 0.5)
        total = 2.0 * np.pi * n * re**2 * ratio * b ** (-2.0 * n) * gamma(2.0 * n)
        self.x, self.y = x, y
        self.b, self.power, self.peak = _planes(b, 0.5 / n, 1.0 / total)
        c, s, minor = np.cos(angle), np.sin(angle), (re * ratio) ** 2
        major = re**2
        self.xx, self.yy, self.xy = _planes(
            c * c / major + s * s / minor, s * s / major + c * c / minor, 2.0 * c * s * (1.0 / major - 1.0 / minor)
        )

    def __call__(self, column: F8, row: F8, *, soft: float = 0.0) -> F4:
        u = (column[None, :] - self.x[:, None]).astype(np.float32)[:, None, :]
        v = (row[None, :] - self.y[:, None]).astype(np.float32)[:, :, None]
        floor = np.float32(soft**2) * (self.xx + self.yy) + np.float32(1e-12)
        # In place, and without np.power: this is where most of the time goes.
        values: F4 = self.xx * (u * u) + (self.yy * (v * v) + floor)
        values += (self.xy * v) * u
        np.log(np.maximum(values, np.float32(1e-12), out=values), out=values)
        values *= self.power
        np.exp(values, out=values)
        values *= -self.b
        np.exp(values, out=values)
        values *= self.peak
        return values


def _planes(*columns: F8) -> tuple[F4, ...]:
    return tuple(column.astype(np.float32)[:, None, None] for column in columns)


def paint_galaxies(shape: tuple[int, int], galaxies: Table, psf: PsfField, *, cut: float = 0.01) -> F4:
    """Draw galaxies on an empty plane.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    galaxies : Table
        Columns x, y (px), flux, sersic_n, re_px, axis_ratio, angle_rad.
    psf : PsfField
        Point-spread function.
    cut : float
        Stamps end about where a galaxy falls below this per pixel (unit of the flux); at most 512 px wide.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    ny, nx = shape
    pad = _SIZES[-1] + 2
    canvas = np.zeros((ny + 2 * pad, nx + 2 * pad), np.float32)
    x, y = np.asarray(galaxies["x"], np.float64), np.asarray(galaxies["y"], np.float64)
    reach = _reach(galaxies, cut) + 1.5 * float(psf.fwhm.max()) + psf.smear
    inside = (x > -reach) & (x < nx + reach) & (y > -reach) & (y < ny + reach)
    inside &= (np.abs(x - nx / 2) < nx / 2 + pad // 2) & (np.abs(y - ny / 2) < ny / 2 + pad // 2)
    which = np.minimum(np.searchsorted(np.asarray(_SIZES) / 2, reach), len(_SIZES) - 1)
    for i, size in enumerate(_SIZES):
        members = np.flatnonzero(inside & (which == i))
        step = max(1, _CHUNK // size**2)
        for start in range(0, members.size, step):
            chunk = members[start : start + step]
            column, row = np.round(x[chunk]).astype(int), np.round(y[chunk]).astype(int)
            stamps = _seen(galaxies[chunk], size, x[chunk] - column, y[chunk] - row, psf)
            for j, i0, stamp in zip(
                (row + pad - size // 2).tolist(), (column + pad - size // 2).tolist(), stamps, strict=True
            ):
                canvas[j : j + size, i0 : i0 + size] += stamp
    return canvas[pad : pad + ny, pad : pad + nx].copy()


def _reach(galaxies: Table, cut: float) -> F8:
    """Semi-major axis (px) at which each profile falls to `cut` per pixel."""
    n, re = np.asarray(galaxies["sersic_n"], np.float64), np.asarray(galaxies["re_px"], np.float64)
    b = gammaincinv(2.0 * n, 0.5)
    total = 2.0 * np.pi * n * re**2 * np.asarray(galaxies["axis_ratio"]) * b ** (-2.0 * n) * gamma(2.0 * n)
    peak = np.asarray(galaxies["flux"], np.float64) / total
    radius: F8 = re * (np.maximum(np.log(np.maximum(peak / cut, 1.0)), 0.0) / b) ** n
    return radius


def _seen(galaxies: Table, size: int, dx: F8, dy: F8, psf: PsfField) -> F4:
    """Stamps of galaxies convolved with the PSF at their places."""
    fine = 2 * size
    shapes = sersic_pixels(
        fine,
        2.0 * dx + 0.5,
        2.0 * dy + 0.5,
        n=galaxies["sersic_n"],
        re=2.0 * galaxies["re_px"],
        ratio=galaxies["axis_ratio"],
        angle=galaxies["angle_rad"],
    )
    shapes *= np.asarray(galaxies["flux"], np.float32)[:, None, None]
    half = min(size - 1, 2 * psf.half)
    kernels = psf.kernel_stamps(galaxies["x"], galaxies["y"], half=half)
    # A border of half the kernel keeps the far side from wrapping around into the stamp.
    padded = scipy.fft.next_fast_len(fine + half, real=True)
    fourier = scipy.fft.rfft2(kernels, s=(padded, padded))
    fourier *= scipy.fft.rfft2(shapes, s=(padded, padded))
    drawn = scipy.fft.irfft2(fourier, s=(padded, padded))[:, half : half + fine, half : half + fine]
    seen: F4 = drawn.reshape(-1, size, 2, size, 2).sum(axis=(2, 4))
    return seen
