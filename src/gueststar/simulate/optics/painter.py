"""Many point sources onto pixels, at sub-pixel positions, with a point-spread function that varies over the chip.

The PSF is sampled four times a pixel, smeared there if the exposure was trailed or out of focus, and integrated over
pixels by Boole's rule; so it is tabulated at five sub-pixel phases, at each place of a coarse grid on the chip. All
stamps of one size then are one matrix product: weights (sources x nodes) times table (nodes x pixels). Against direct
integration the error is below 1e-3 of the peak for FWHM >= 2 px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import fftconvolve

from gueststar.simulate.optics.blur import Blur, lagrange_weights

__all__ = ["Blur", "PsfField", "add_stamps", "moffat_pixels", "moffat_radius", "paint_points"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

PHASES = 5
_FINE = 4  # samples of the profile per pixel and axis; the phases are multiples of 1 / _FINE
_BOOLE = (7 / 90, 32 / 90, 12 / 90, 32 / 90, 7 / 90)  # integral over a pixel from samples -1/2 .. 1/2
_CHUNK = 1_000_000  # pixels of stamps held at once


def moffat_pixels(
    dx: ArrayLike, dy: ArrayLike, *, fwhm: float, beta: float, e1: float = 0.0, e2: float = 0.0, integrate: bool = True
) -> F4:
    """Elliptical Moffat profile of total flux 1 (Moffat 1969, A&A 3, 455, Eq. 7), per pixel.

    Parameters
    ----------
    dx, dy : array_like
        Pixel centre minus source, px; they broadcast.
    fwhm : float
        Full width at half maximum, geometric mean of both axes, px.
    beta : float
        Exponent, > 1.
    e1, e2 : float
        Ellipticity (1 - b/a) times cos and sin of twice the position angle (from +x towards +y).
    integrate : bool
        Integrate over the pixel (3 x 3 Gauss-Legendre nodes); otherwise sample its centre.
    """
    x, y = np.asarray(dx, np.float32), np.asarray(dy, np.float32)
    ellipticity = float(np.hypot(e1, e2))
    angle = 0.5 * float(np.arctan2(e2, e1))
    ratio = 1.0 - ellipticity
    alpha2 = (fwhm / 2.0) ** 2 / (2.0 ** (1.0 / beta) - 1.0)
    c, s = np.cos(angle), np.sin(angle)
    # r^2 / alpha^2 as a quadratic form of dx, dy
    xx = np.float32((ratio * c * c + s * s / ratio) / alpha2)
    yy = np.float32((ratio * s * s + c * c / ratio) / alpha2)
    xy = np.float32(2.0 * c * s * (ratio - 1.0 / ratio) / alpha2)
    peak = np.float32((beta - 1.0) / (np.pi * alpha2))
    power = np.float32(-beta)

    def sample(u: F4, v: F4) -> F4:
        # Three to five times as fast as np.power and np.log1p on single-precision numbers.
        values: F4 = np.exp(power * np.log(np.float32(1.0) + (xx * u + xy * v) * u + yy * v * v))
        return values

    if not integrate:
        return peak * sample(x, y)
    step = np.float32(np.sqrt(0.15))
    nodes = ((-step, 5 / 18), (np.float32(0.0), 8 / 18), (step, 5 / 18))
    total: F4 = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for v, wv in nodes:
        for u, wu in nodes:
            total += np.float32(wu * wv) * sample(x + u, y + v)
    return peak * total


def moffat_radius(flux: ArrayLike, *, cut: float, fwhm: float, beta: float) -> F8:
    """Radius (px) at which a source of this flux falls to `cut` per pixel; 0 where it never reaches it."""
    alpha2 = (fwhm / 2.0) ** 2 / (2.0 ** (1.0 / beta) - 1.0)
    peak = np.maximum(np.asarray(flux, np.float64), 0.0) * (beta - 1.0) / (np.pi * alpha2)
    radius: F8 = np.sqrt(alpha2 * np.maximum((peak / cut) ** (1.0 / beta) - 1.0, 0.0))
    return radius


@dataclass(frozen=True, slots=True, eq=False)
class PsfField:
    """Point-spread function of a chip, tabulated at places and sub-pixel phases.

    Parameters
    ----------
    tables : ndarray, shape (g, g, PHASES, PHASES, k, k), float32
        Pixel values of a source of flux 1 at each place (rows, columns) and phase (y, x); k odd.
    shape : (int, int)
        (ny, nx) of the chip that the grid of places spans, corner to corner.
    fwhm, e1, e2 : ndarray, shape (g, g)
        Width (px) and ellipticity at the places.
    beta : float
        Moffat exponent.
    kernels : ndarray, shape (g, g, 4 half + 1, 4 half + 1), float32
        Samples at every half pixel, flux per half pixel squared, around a source of flux 1: to convolve with.
    blur : Blur or None
        Trailing and defocus of the exposure; `fwhm`, `e1`, `e2` and `beta` are without it, tables and kernels with it.
    """

    tables: F4
    shape: tuple[int, int]
    fwhm: F8
    e1: F8
    e2: F8
    beta: float
    kernels: F4
    blur: Blur | None = None

    @classmethod
    def moffat(
        cls,
        shape: tuple[int, int],
        *,
        fwhm: ArrayLike,
        beta: float,
        e1: ArrayLike = 0.0,
        e2: ArrayLike = 0.0,
        half_fwhm: float = 10.0,
        blur: Blur | None = None,
    ) -> PsfField:
        """Tabulate a Moffat PSF.

        Parameters
        ----------
        shape : (int, int)
            (ny, nx) of the chip.
        fwhm : float or array_like, shape (g, g)
            Width at the places of the grid, px; g is 1 (constant), 2 or 3.
        beta, e1, e2
            As in `moffat_pixels`; e1 and e2 broadcast against `fwhm`.
        half_fwhm : float
            Half width of the tabulated stamps in units of the largest FWHM; the reach of the blur is added.
        blur : Blur, optional
            Trailing and defocus, the same all over the chip.
        """
        widths, first, second = np.broadcast_arrays(*(np.atleast_2d(np.asarray(a, np.float64)) for a in (fwhm, e1, e2)))
        half = int(np.ceil(half_fwhm * widths.max() + (blur.reach if blur else 0.0)))
        grid, k = widths.shape, 2 * half + 1
        tables = np.empty((widths.size, PHASES, PHASES, k, k), np.float32)
        kernels = np.empty((widths.size, 2 * k - 1, 2 * k - 1), np.float32)
        smear = blur.kernel(_FINE) if blur else None
        for i, (w, a, b) in enumerate(zip(widths.ravel(), first.ravel(), second.ravel(), strict=True)):
            fine = _sampled(half, smear, fwhm=float(w), beta=beta, e1=float(a), e2=float(b))
            kernels[i] = 0.25 * fine[_FINE : -_FINE : _FINE // 2, _FINE : -_FINE : _FINE // 2]
            tables[i] = _phase_table(fine, k)
        return cls(
            tables.reshape(*grid, PHASES, PHASES, k, k), shape, widths.copy(), first.copy(), second.copy(), beta,
            kernels.reshape(*grid, 2 * k - 1, 2 * k - 1), blur,
        )  # fmt: skip

    @property
    def half(self) -> int:
        """Half width of the stamps, px: they have k = 2 half + 1 pixels."""
        return int(self.tables.shape[-1] // 2)

    @property
    def smear(self) -> float:
        """How far the blur carries the light of a point, px."""
        return self.blur.reach if self.blur else 0.0

    def place_weights(self, x: ArrayLike, y: ArrayLike) -> F8:
        """Weights of the places, shape (n, g * g), by Lagrange interpolation in position."""
        rows, columns = self.tables.shape[:2]
        v = np.clip(np.asarray(y, np.float64) / max(self.shape[0] - 1, 1), -0.1, 1.1)
        u = np.clip(np.asarray(x, np.float64) / max(self.shape[1] - 1, 1), -0.1, 1.1)
        wy, wx = lagrange_weights(v, np.linspace(0, 1, rows)), lagrange_weights(u, np.linspace(0, 1, columns))
        weights: F8 = (wy[:, :, None] * wx[:, None, :]).reshape(len(wy), -1)
        return weights

    def at(self, x: ArrayLike, y: ArrayLike) -> tuple[F8, F8, F8]:
        """FWHM (px), e1 and e2 at positions."""
        weights = self.place_weights(np.atleast_1d(x), np.atleast_1d(y))
        return weights @ self.fwhm.ravel(), weights @ self.e1.ravel(), weights @ self.e2.ravel()

    def stamps(self, x: ArrayLike, y: ArrayLike, *, half: int | None = None) -> F4:
        """PSF of sources at x, y on stamps centred on the nearest pixel; shape (n, 2 half + 1, 2 half + 1)."""
        h = self.half if half is None else min(half, self.half)
        xs, ys = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
        nodes = _phases()
        wx, wy = lagrange_weights(xs - np.round(xs), nodes), lagrange_weights(ys - np.round(ys), nodes)
        phase = (wy[:, :, None] * wx[:, None, :]).reshape(len(xs), -1)
        place: F4 = self.place_weights(xs, ys).astype(np.float32)
        weights: F4 = (place[:, :, None] * phase.astype(np.float32)[:, None, :]).reshape(len(xs), -1)
        cut = slice(self.half - h, self.half + h + 1)
        k = 2 * h + 1
        table = self.tables[..., cut, cut].reshape(weights.shape[1], k * k)
        drawn: F4 = (weights @ table).reshape(-1, k, k)
        return drawn

    def kernel_stamps(self, x: ArrayLike, y: ArrayLike, *, half: int) -> F4:
        """PSF at x, y sampled at half pixels, to convolve with; shape (n, 2 half + 1, 2 half + 1)."""
        weights = self.place_weights(np.atleast_1d(x), np.atleast_1d(y)).astype(np.float32)
        cut = slice(2 * self.half - half, 2 * self.half + half + 1)
        k = 2 * half + 1
        kernels: F4 = (weights @ self.kernels[..., cut, cut].reshape(-1, k * k)).reshape(-1, k, k)
        return kernels


def paint_points(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike, flux: ArrayLike, psf: PsfField, *, cut: float = 0.01
) -> F4:
    """Draw point sources on an empty plane.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    x, y : array_like, shape (n,)
        Positions, px; sources beyond the edge contribute what falls inside.
    flux : array_like, shape (n,)
        Total flux of each, any unit.
    psf : PsfField
        Point-spread function.
    cut : float
        Stamps end where a source falls below this per pixel (same unit), so brighter ones get larger stamps; never
        beyond the tabulated stamp.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    xs, ys, fluxes = (np.atleast_1d(np.asarray(a, np.float64)) for a in (x, y, flux))
    ny, nx = shape
    reach = psf.half
    pad = 2 * reach + 2
    canvas = np.zeros((ny + 2 * pad, nx + 2 * pad), np.float32)
    widest, smear = float(psf.fwhm.max()), psf.smear
    radius = moffat_radius(np.abs(fluxes), cut=cut, fwhm=widest, beta=psf.beta)
    inside = (xs > -reach - 1) & (xs < nx + reach) & (ys > -reach - 1) & (ys < ny + reach) & (radius > 0)
    halves = sorted({min(psf.half, int(np.ceil(f * widest + smear))) for f in (1.5, 2.0, 3.0, 4.5)} | {psf.half})
    which = np.minimum(np.searchsorted(halves, radius + smear), len(halves) - 1)
    for i, half in enumerate(halves):
        members = np.flatnonzero(inside & (which == i))
        step = max(1, _CHUNK // (2 * half + 1) ** 2)
        for start in range(0, members.size, step):
            chunk = members[start : start + step]
            stamps = psf.stamps(xs[chunk], ys[chunk], half=half)
            stamps *= fluxes[chunk].astype(np.float32)[:, None, None]
            add_stamps(canvas, np.round(xs[chunk]), np.round(ys[chunk]), stamps, pad)
    return canvas[pad : pad + ny, pad : pad + nx].copy()


def add_stamps(canvas: F4, column: F8, row: F8, stamps: F4, pad: int) -> None:
    """Add stamps centred on pixels (row, column) onto a canvas that is `pad` wider on each side.

    A loop over slices moves whole rows at once and is faster than any scatter by single pixels: 1-2 microseconds a
    stamp.
    """
    k = stamps.shape[-1]
    first = pad - k // 2
    for j, i, stamp in zip(
        (row + first).astype(int).tolist(), (column + first).astype(int).tolist(), stamps, strict=True
    ):
        canvas[j : j + k, i : i + k] += stamp


def _phases() -> F8:
    """Sub-pixel shifts at which the PSF is tabulated: -1/2 .. 1/2."""
    nodes: F8 = (np.arange(PHASES) - PHASES // 2) / _FINE
    return nodes


def _sampled(half: int, smear: F8 | None, *, fwhm: float, beta: float, e1: float, e2: float) -> F4:
    """Moffat profile at every quarter pixel from -(half + 1) to half + 1 px."""
    reach = _FINE * (half + 1) + (0 if smear is None else smear.shape[0] // 2)
    grid = np.arange(-reach, reach + 1) / _FINE
    fine = moffat_pixels(grid[None, :], grid[:, None], fwhm=fwhm, beta=beta, e1=e1, e2=e2, integrate=False)
    if smear is None:
        return fine
    # Double precision keeps the noise of the Fourier transforms below the wings.
    smeared: F4 = fftconvolve(fine.astype(np.float64), smear, mode="valid").astype(np.float32)
    return smeared


def _phase_table(fine: F4, k: int) -> F4:
    """Stamps of k x k pixels at all phases, shape (PHASES, PHASES, k, k), from samples at every quarter pixel."""
    n, span = fine.shape[0] - len(_BOOLE) + 1, _FINE * (k - 1) + 1
    rows, pixels = np.zeros((n, fine.shape[1]), np.float32), np.zeros((n, n), np.float32)
    for i, weight in enumerate(_BOOLE):
        rows += np.float32(weight) * fine[i : i + n]
    for i, weight in enumerate(_BOOLE):
        pixels += np.float32(weight) * rows[:, i : i + n]
    # A source shifted by s is seen at pixel g as the profile at g - s, so the first phase starts last.
    starts = range(_FINE, _FINE - PHASES, -1)
    return np.stack([np.stack([pixels[j : j + span : _FINE, i : i + span : _FINE] for i in starts]) for j in starts])
