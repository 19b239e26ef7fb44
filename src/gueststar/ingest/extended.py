"""Light that reaches far: big galaxies and the halos of bright stars, found by their radial profiles.

Whatever is wider than a cell of the sky's mesh would be taken for sky. Its light falls outwards, which the sky's own
structure does not, so each object is followed on a binned plane, ring by ring, until its profile sinks below a small
part of the noise or stops falling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gueststar.types import HALO_BLOCK_PX

__all__ = ["BIN", "Binned", "bin_plane", "extended_light", "light_radius", "radial_profile", "within"]

BIN = HALO_BLOCK_PX  #: px of a bin's side: halos are found in bins
_SEED_SIGMA = 3.0  # bins above this belong to an object
_SEED_BINS = 16  # the fewest bins of one that is followed
_MOST_SEEDS = 60
_WINDOW = 100.0  # px
_FALL = 0.75  # two rings further out a profile has fallen to less than this
# Twice as bright within the first radius as just inside the second: patches of sky are not.
_CORE_PX, _BESIDE_PX, _PEAKED = 3.0 * BIN, 60.0, 2.0
_RINGS = np.concatenate((np.arange(0.0, 5.0), 5.0 * 1.2 ** np.arange(16.0))) * BIN


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """A plane in bins of 8 x 8 px: `mean` of the good pixels of each, and how many, `count`; shape (rows, columns)."""

    mean: NDArray[np.float32]
    count: NDArray[np.float32]


def bin_plane(plane: NDArray[np.float32], bad: NDArray[np.bool_]) -> Binned:
    """Mean of the good pixels in each bin; pixels beyond the last whole bin are left out."""
    rows, columns = (n // BIN for n in plane.shape)
    inside = np.s_[: rows * BIN, : columns * BIN]
    good = ~bad[inside]
    count = good.view(np.uint8).reshape(rows * BIN, columns, BIN).sum(2, dtype=np.uint8)
    count = count.reshape(rows, BIN, columns).sum(1, dtype=np.float32)
    values = np.where(good, plane[inside], np.float32(0.0))
    # Rows first: long vectors are added quickly.
    total = values.reshape(rows, BIN, columns * BIN).sum(1).reshape(rows, columns, BIN).sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Binned(np.where(count > 0, total / count, np.float32(np.nan)), count)


def extended_light(
    excess: NDArray[np.float32], noise: NDArray[np.float32], count: NDArray[np.float32], *, limit: float
) -> NDArray[np.float64]:
    """Objects whose light reaches beyond what a mask of sources covers.

    Parameters
    ----------
    excess : ndarray, shape (rows, columns)
        Mean of each bin above the far sky; NaN where there is none.
    noise : ndarray, shape (rows, columns)
        Noise of a pixel of the sky at each bin.
    count : ndarray, shape (rows, columns)
        Good pixels in each bin.
    limit : float
        Followed until the profile is below this, in units of the noise of a pixel.

    Returns
    -------
    ndarray, shape (n, 3)
        x and y of the centre and radius, px; those with the most light first.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(count > 0, excess / noise, np.nan)
        lit = ratio * np.sqrt(count) > _SEED_SIGMA
    # Bins without a good pixel are the cores of saturated stars; they join what is around them.
    labels, n = ndimage.label(lit | (count == 0), np.ones((3, 3), int))
    if n == 0:
        return np.empty((0, 3))
    areas = np.bincount(labels.ravel())[1:]
    big = np.flatnonzero(areas >= _SEED_BINS) + 1
    if big.size == 0:
        return np.empty((0, 3))
    peaks = np.nan_to_num(ratio, nan=0.0)
    light = ndimage.sum_labels(peaks, labels, big)
    big = big[np.argsort(-light, kind="stable")][:_MOST_SEEDS]
    found, boxes = [], ndimage.find_objects(labels)
    for number in big:
        box = boxes[number - 1]
        mine = labels[box] == number
        y, x = _centre(np.where(mine, peaks[box], 0.0), mine & (count[box] == 0))
        centre = (x + box[1].start, y + box[0].start)
        # A profile is followed to several times what stands out of the noise.
        most = _WINDOW + 6.0 * BIN * float(np.sqrt(areas[number - 1] / np.pi))
        radius = _reach(*radial_profile(ratio, *centre, most_px=most), limit)
        if radius > 0:
            found.append(((centre[0] + 0.5) * BIN - 0.5, (centre[1] + 0.5) * BIN - 0.5, radius))
    return np.array(found, np.float64).reshape(-1, 3)


def light_radius(ratio: NDArray[np.float32], x: float, y: float, *, limit: float) -> float:
    """Radius (px) to which the light around a point can be followed; arguments as of `radial_profile`."""
    return _reach(*radial_profile(ratio, x, y), limit)


def _centre(light: NDArray[np.float64], blind: NDArray[np.bool_]) -> tuple[float, float]:
    """Middle of what is brightest, row and column: a saturated core is blind, and the brightest bins lie around it."""
    top = light >= 0.5 * light.max()
    weight = np.where(blind, max(float(light.max()), 1e-6), np.where(top, light, 0.0))
    j, i = np.unravel_index(int(np.argmax(ndimage.uniform_filter(weight, 3, mode="constant"))), weight.shape)
    rows, columns = slice(max(j - 3, 0), j + 4), slice(max(i - 3, 0), i + 4)
    near = weight[rows, columns]
    yy, xx = np.mgrid[rows.start : rows.start + near.shape[0], columns.start : columns.start + near.shape[1]]
    total = max(float(near.sum()), 1e-30)
    return float((near * yy).sum() / total), float((near * xx).sum() / total)


def radial_profile(
    ratio: NDArray[np.float32], x: float, y: float, *, most_px: float = 600.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median of the bins in rings around a point; faint stars in a ring do not matter to it.

    Parameters
    ----------
    ratio : ndarray, shape (rows, columns)
        Mean of each bin above the sky, in units of the noise of a pixel; NaN is left out.
    x, y : float
        The point, in bins.
    most_px : float
        Rings end here, px.

    Returns
    -------
    radius, profile, error : ndarray
        Outer radius of each ring, px; median, and its error; NaN where a ring has fewer than three bins.
    """
    edges = _RINGS[: max(4, int(np.searchsorted(_RINGS, most_px)))]
    reach = int(edges[-1] / BIN) + 1
    rows = slice(max(0, int(y) - reach), int(y) + reach + 1)
    columns = slice(max(0, int(x) - reach), int(x) + reach + 1)
    near = ratio[rows, columns]
    yy = (np.arange(near.shape[0]) + rows.start - y)[:, None]
    xx = (np.arange(near.shape[1]) + columns.start - x)[None, :]
    far = np.sqrt(xx * xx + yy * yy) * BIN
    use = np.isfinite(near) & (far < edges[-1])
    far, near = far[use], near[use]
    order = np.argsort(far)
    starts = np.searchsorted(far[order], edges)
    values = near[order]
    profile, error = np.full(edges.size - 1, np.nan), np.full(edges.size - 1, np.nan)
    for k in range(edges.size - 1):
        part = values[starts[k] : starts[k + 1]]
        if part.size >= 3:
            # Of the noise alone: the scatter within a ring is also the slope of the profile.
            profile[k], error[k] = np.partition(part, part.size // 2)[part.size // 2], 1.2533 / BIN / np.sqrt(part.size)
    return edges[1:], profile, error


def _reach(
    radius: NDArray[np.float64], profile: NDArray[np.float64], error: NDArray[np.float64], limit: float
) -> float:
    """Radius from which there is no more light to follow; 0 when there was none, or none that stands on a core."""
    known = np.flatnonzero(np.isfinite(profile))
    radius, profile, error = radius[known], profile[known], error[known]
    near, beside = profile[radius <= _CORE_PX], profile[(radius > _CORE_PX) & (radius <= _BESIDE_PX)]
    if near.size and beside.size and near.max() < _PEAKED * beside[-1]:
        return 0.0
    for k in range(profile.size):
        out = profile[min(k + 2, profile.size - 1)]
        falls = out < _FALL * profile[k] or k + 2 >= profile.size
        if profile[k] < max(limit, 2.0 * error[k]) or not falls:
            return float(radius[k - 1]) if k > 0 else 0.0
    return float(radius[-1]) if radius.size else 0.0


def within(shape: tuple[int, ...], objects: NDArray[np.float64], *, most: float) -> NDArray[np.bool_]:
    """Bins within the radius of an object; when over `most` of all would be, all radii shrink alike."""
    y, x = ((np.arange(n) + 0.5) * BIN - 0.5 for n in shape)
    factor = 1.0
    for _ in range(40):
        inside = np.zeros(shape, bool)
        for cx, cy, radius in objects:
            inside |= np.hypot(x[None, :] - cx, y[:, None] - cy) < factor * radius
        if inside.mean() <= most:
            break
        factor *= 0.8
    return inside
