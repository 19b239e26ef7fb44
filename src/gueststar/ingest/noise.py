"""Noise map checked against the pixels: do they scatter as the variance says, and alike in all directions.

What gain and read noise say is compared with what the pixels do. Where they plainly disagree, the pixels are right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from gueststar.ingest.mesh import Mesh, clipped_cells
from gueststar.planes import box_mean, grow_mask

__all__ = [
    "NoiseCheck", "check_noise", "empty_sky", "noise_of_structure", "photon_factor", "read_noise_floor",
]  # fmt: skip

F4 = NDArray[np.float32]
Flags = NDArray[np.bool_]

WHITE = 0.1  #: correlation of neighbouring pixels below which the noise counts as white
_CELL_PX = 128
_STRUCTURE_CELL_PX = 64
_APART_PX = 2  # of the pixels of a second difference: beyond the reach of bilinear resampling, and near for a nebula
_LEAST_SKY = 0.1  # of the variance in a cell that is not photon noise of the light above the sky
_THIN = 9  # every ninth row or column tells the correlations
_LAG_PX = 6  # beyond the cores of stars and the reach of resampling
_READ_EXCESS = 1.3  # the header's read variance over the measured one, above which it is plainly wrong
_PHOTON_EXCESS = 1.25  # the sky's variance over what gain and read noise allow, above which the gain is plainly wrong


@dataclass(frozen=True, slots=True)
class NoiseCheck:
    """Scatter of empty pixels over the variance: median of the cells and their 5th and 95th percentile; correlations.

    `neighbours` is the correlation of touching pixels, `rows` and `columns` that of pixels six apart in one row or
    column: resampling makes the first, pattern noise the others. NaN where there is too little empty sky.
    """

    ratio: float
    low: float
    high: float
    neighbours: float
    rows: float
    columns: float


def empty_sky(data: F4, variance: F4, bad: Flags) -> Flags:
    """Pixels without a flag or light: 5 x 5 means below 0.8 sigma, and 3 px away from those above; (ny, nx)."""
    mean = box_mean(torch.from_numpy(np.where(bad, np.float32(0.0), data)), 2)
    lit = mean > 0.8 * torch.from_numpy(np.sqrt(variance))
    return ~(grow_mask(lit.view(torch.uint8), 3).numpy().view(bool) | bad)


def noise_of_structure(signal: F4, bad: Flags) -> F4:
    """Noise of the sky beneath a nebula or a galaxy that fills the frame, where its structure is most of the scatter.

    Pixels 2 px apart in rows and columns are compared: x(-2) - 2 x(0) + x(2), over the root of six, has the variance
    of the noise and hardly any of what is smooth over a few widths of a star. Of that variance in cells of 64 px the
    photon noise of the light above the sky is taken off, which is counted at each pixel.

    Parameters
    ----------
    signal : ndarray, shape (ny, nx), float32
        Sky subtracted, e-.
    bad : ndarray of bool, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ny, nx), float32
        e-.
    """
    mesh = Mesh((signal.shape[0], signal.shape[1]), max(8, min(_STRUCTURE_CELL_PX, min(signal.shape) // 3)))
    wanted = np.where(bad, np.float32(np.inf), signal)
    cells = [mesh.split(_second_difference(wanted, axis), np.inf, step=2) for axis in (0, 1)]
    _, scatter, _ = clipped_cells(np.concatenate(cells, axis=1))
    light, _, _ = clipped_cells(mesh.split(np.where(bad, np.float32(np.inf), np.maximum(signal, 0.0)), np.inf, step=2))
    known = np.isfinite(scatter) & (scatter > 0)
    scatter = np.where(known, scatter, np.median(scatter[known]) if known.any() else 1.0)
    sky = np.maximum(scatter**2 - np.nan_to_num(light), _LEAST_SKY * scatter**2)
    smooth = ndimage.median_filter(np.sqrt(sky).reshape(mesh.counts), 3, mode="nearest")
    return np.maximum(mesh.surface(smooth), np.float32(0.5 * smooth.min()))


def _second_difference(plane: F4, axis: int) -> F4:
    """Second difference along an axis, of the variance of white noise; infinite at the edges and beside what is bad."""
    found = np.full(plane.shape, np.float32(np.inf))
    inner, before, after = ([slice(None), slice(None)] for _ in range(3))
    inner[axis], before[axis], after[axis] = (
        slice(_APART_PX, -_APART_PX),
        slice(-2 * _APART_PX),
        slice(2 * _APART_PX, None),
    )
    middle = plane[tuple(inner)]
    with np.errstate(invalid="ignore"):
        second = (plane[tuple(before)] + plane[tuple(after)] - np.float32(2.0) * middle) * np.float32(6.0**-0.5)
    found[tuple(inner)] = np.where(np.isfinite(second), second, np.float32(np.inf))
    return found


def check_noise(data: F4, variance: F4, empty: Flags, *, structure: bool = False) -> NoiseCheck:
    """Compare the scatter of empty pixels with the variance, in cells of 128 px.

    Parameters
    ----------
    data, variance : ndarray, shape (ny, nx), float32
        Sky subtracted; in one unit and its square.
    empty : ndarray of bool, shape (ny, nx)
        Pixels that hold sky alone.
    structure : bool
        Light with structure lies on the sky: its scatter is left out as in `noise_of_structure`.
    """
    shape = (data.shape[0], data.shape[1])
    step = 3 if min(shape) > 3 * _CELL_PX else 1
    mesh = Mesh((-(-shape[0] // step), -(-shape[1] // step)), max(8, _CELL_PX // step))
    part = np.s_[::step, ::step]
    plane = _second_difference(data, 1) if structure else data
    pulls = np.where(empty[part], plane[part] / np.sqrt(variance[part]), np.float32(np.inf))
    _, scatter, count = clipped_cells(mesh.split(pulls, np.inf))
    known = (count > 100) & np.isfinite(scatter) & (scatter > 0)
    nan = float("nan")
    if not known.any():
        return NoiseCheck(nan, nan, nan, nan, nan, nan)
    low, middle, high = np.quantile(scatter[known] ** 2, (0.05, 0.5, 0.95))
    neighbours = 0.5 * (_correlation(data, empty, 0, 1) + _correlation(data, empty, 1, 0))
    return NoiseCheck(
        float(middle), float(low), float(high), float(neighbours), _correlation(data, empty, 0, _LAG_PX),
        _correlation(data, empty, _LAG_PX, 0),
    )  # fmt: skip


def _correlation(data: F4, empty: Flags, dy: int, dx: int) -> float:
    """Correlation of empty pixels that lie (dy, dx) apart, on some rows or columns."""
    ny, nx = data.shape
    # Along the other axis pixels are thinned.
    steps = (_THIN, 1) if dx else (1, _THIN)
    first, second = (np.s_[a : ny - dy + a : steps[0], b : nx - dx + b : steps[1]] for a, b in ((0, 0), (dy, dx)))
    both = empty[first] & empty[second]
    one, two = data[first][both].astype(np.float64), data[second][both].astype(np.float64)
    if one.size < 1000:
        return float("nan")
    limit = 3.0 * 1.4826 * np.median(np.abs(one[::17] - np.median(one[::17])))
    inside = (np.abs(one) < limit) & (np.abs(two) < limit)
    if inside.sum() < 500:
        return float("nan")
    one, two = one[inside] - one[inside].mean(), two[inside] - two[inside].mean()
    spread = float(np.sqrt((one * one).mean() * (two * two).mean()))
    return float((one * two).mean()) / spread if spread > 0 else float("nan")


def read_noise_floor(noise: F4, read_noise_e: float, neighbours: float) -> tuple[F4, str]:
    """The noise of the sky with the read noise as a floor, unless pixels that are independent scatter far less.

    Returns
    -------
    noise : ndarray, shape (ny, nx), float32
    warning : str
        Empty when the read noise was believed.
    """
    middle = float(np.median(noise[::7, ::7]))
    if read_noise_e**2 > _READ_EXCESS * middle**2 and abs(neighbours) < WHITE:
        return noise, (
            f"read noise {read_noise_e:.3g} e- is larger than all noise of the sky, {middle:.3g} e-, and the pixels "
            "are independent: it is left aside; correct it in the header or the instrument profile"
        )
    return np.maximum(noise, np.float32(read_noise_e)), ""


def photon_factor(noise_e: float, sky_e: float, read_noise_e: float, neighbours: float) -> tuple[float, str]:
    """How much larger photon noise is than the gain says, as the noise of the sky tells it; 1 when it may be right.

    A pedestal under the sky can make its noise look too small for its level, never too large. So only an excess is
    acted on: the photon noise of sources grows by the same factor. An excess also comes from a flat that put back the
    light of vignetted corners, and then the factor is right, too.

    Returns
    -------
    factor : float
    warning : str
        Empty when gain and noise agree.
    """
    if sky_e <= 0 or not np.isfinite(noise_e):
        return 1.0, ""
    ratio = (noise_e**2 - read_noise_e**2) / sky_e
    if ratio <= _PHOTON_EXCESS or not abs(neighbours) < WHITE:
        return 1.0, ""
    return ratio, (
        f"the sky's variance is {ratio:.2f} times what gain and read noise allow at its level of {sky_e:.4g} e-: the "
        "gain is probably too large by that factor; the photon noise of sources is raised by it"
    )
