"""Which pixels not to believe: saturated ones, and those sharper than the point-spread function allows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from gueststar.options import Options
from gueststar.planes import grow_mask
from gueststar.types import Mask, Psf

__all__ = ["FindCosmicRays", "fill_flagged", "flag_borders", "flag_constant", "flag_saturated"]

# Opposite neighbours in four directions, against tracks, and all four nearest, against single pixels.
_PAIRS = tuple(((dy, dx), (-dy, -dx)) for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)))
_PROUD = 0.9  # of the threshold, above the median of the eight neighbours
_CHAIN = 3  # pixels from the top of a ray to which it is followed down
_NEIGHBOURS = (*_PAIRS, _PAIRS[0] + _PAIRS[1])


def flag_saturated(full: NDArray[np.bool_], *, grow_px: int = 2) -> NDArray[np.int16]:
    """Flag saturated pixels and their neighbours within `grow_px`; bits of `Mask`.

    Groups of one or two pixels are not grown: hot pixels and cosmic rays saturate without spilling.

    Parameters
    ----------
    full : ndarray of bool, shape (ny, nx)
        True where the raw pixel is saturated.
    grow_px : int
    """
    flags = np.zeros(full.shape, np.int16)
    if not full.any():
        return flags
    flags[full] = int(Mask.SATURATED)
    y, x = np.nonzero(full)
    padded = np.pad(full, 1)
    neighbours = sum(padded[y + dy, x + dx].astype(int) for dy in range(3) for dx in range(3))
    cores = np.zeros(full.shape, np.int16)
    cores[y, x] = (neighbours > 2) * np.int16(Mask.SATURATED)
    flags |= grow_mask(torch.from_numpy(cores), grow_px).numpy()
    return flags


def flag_borders(pixels: NDArray[np.float32], *, widest: int = 64) -> NDArray[np.int16]:
    """Flag rows and columns at the edges that were not exposed like the rest (overscan, shade, readout), `Mask.BAD`.

    A border line is bad when its median differs by over one sky sigma from lines further in, or its scatter by over a
    factor 2.5; everything outside the innermost bad line is flagged.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        Counts, finite.
    widest : int
        Lines looked at from each edge, at most an eighth of the frame.
    """
    flags = np.zeros(pixels.shape, np.int16)
    for axis in (0, 1):
        lines = pixels if axis == 0 else pixels.T
        reach = min(widest, lines.shape[0] // 8)
        for side in (lines, lines[::-1]):
            bad = _border_width(np.ascontiguousarray(side[: 3 * reach, ::2]), reach)
            if bad:
                strip = slice(0, bad) if side is lines else slice(lines.shape[0] - bad, lines.shape[0])
                (flags if axis == 0 else flags.T)[strip] = int(Mask.BAD)
    return flags


def flag_constant(pixels: NDArray[np.float32], *, block_px: int = 8) -> NDArray[np.int16]:
    """Flag blocks that hold one single value: not read out or lost on the way, `Mask.NO_DATA`.

    No noise is so small that 64 pixels agree by chance. Blocks of the frame's highest value are `Mask.SATURATED`: so
    ends a star whose saturation level nobody told. A frame that is constant as a whole stays as it is: there is nothing
    to tell apart.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        Counts; not finite where lost already.
    block_px : int
        Side of the smallest block looked for.
    """
    flags = np.zeros(pixels.shape, np.int16)
    rows, columns = (n // block_px for n in pixels.shape)
    blocks = pixels[: rows * block_px, : columns * block_px].reshape(rows, block_px, columns, block_px)
    alike = np.isfinite(blocks[:, 0, :, 0])
    for j, i in ((block_px // 2, block_px // 2), (1, block_px - 1), (block_px - 1, 2)):
        alike &= blocks[:, 0, :, 0] == blocks[:, j, :, i]
    y, x = np.nonzero(alike)
    values = blocks[y, 0, x, 0]
    whole = (blocks[y, :, x, :] == values[:, None, None]).all((1, 2))
    y, x, values = y[whole], x[whole], values[whole]
    if values.size == 0 or values.size == rows * columns:
        return flags
    top = float(np.nanmax(pixels))
    for value in np.unique(values)[:16]:
        near = np.zeros((rows + 2, columns + 2), bool)
        for dy in range(3):
            for dx in range(3):
                near[y[values == value] + dy, x[values == value] + dx] = True
        spread = np.repeat(np.repeat(near[1:, 1:], block_px, 0), block_px, 1)[: pixels.shape[0], : pixels.shape[1]]
        same = spread & (pixels[: spread.shape[0], : spread.shape[1]] == value)
        flags[: spread.shape[0], : spread.shape[1]][same] = int(Mask.SATURATED if value >= top else Mask.NO_DATA)
    return flags


def _border_width(lines: NDArray[np.float32], reach: int) -> int:
    """Number of bad lines at the start."""
    low, middle, high = np.quantile(lines, (0.25, 0.5, 0.75), axis=1)
    scatter = np.maximum((high - low) / 1.349, 1e-6)
    sky_noise, width = float(np.median(scatter[reach:])), 0
    for i in range(reach):
        near = slice(i + 4, i + 24)
        level_off = abs(middle[i] - np.median(middle[near])) > sky_noise
        scatter_off = not 0.4 < scatter[i] / np.median(scatter[near]) < 2.5
        if level_off or scatter_off:
            width = i + 1
    return width


class FindCosmicRays(Options):
    """Find pixels sharper than any star can be: cosmic rays, muon tracks, hot and dead pixels.

    For a pixel p above the noise, the ratio of the mean of its neighbours to p (of two opposite ones, least over the
    four directions, and of the four nearest) is compared with the smallest value that the measured PSF can produce: a
    star centred on the pixel.
    The test is that of van Dokkum (2001, PASP 113, 1420) in that it asks for sharper edges than the optics allow, but
    takes the limit from the PSF itself, so that undersampled stars are kept.
    """

    threshold_sigma: float = Field(5.0, ge=3, le=100, description="Pixels considered, sigma above the sky")
    contrast: float = Field(0.8, gt=0, le=1, description="Sharper than this times the PSF's own ratio is flagged")
    neighbour_sigma: float = Field(2.7, ge=1, le=20, description="Neighbours must be this far below the limit, sigma")
    grow_sigma: float = Field(3.0, gt=0, le=100, description="Neighbours of a flagged pixel above this are flagged too")
    enabled: bool = Field(True, description="Look for cosmic rays")

    def __call__(
        self, data: NDArray[np.float32], variance: NDArray[np.float32], mask: NDArray[np.int16], psf: Psf
    ) -> NDArray[np.int16]:
        """Flags to add, `Mask.COSMIC_RAY`; arrays of shape (ny, nx), sky-subtracted electrons and e-^2."""
        flags = np.zeros(data.shape, np.int16)
        if not self.enabled:
            return flags
        padded = np.pad(data, 1, mode="reflect")
        noise = np.sqrt(variance)
        # The variance under a spike holds the spike itself; the test asks what a star of its height would scatter by.
        sky = float(np.median(variance[::5, ::5]))
        # A dead or negative spike is as sharp as a positive one, and makes a negative candidate or a false new star.
        for sign in (1.0, -1.0):
            y, x = np.nonzero((sign * data > self.threshold_sigma * np.sqrt(sky)) & (mask == 0))
            if y.size == 0:
                continue
            signed = padded * np.float32(sign)
            sharp = self._sharp(signed, sky, y, x, psf)
            sharp[sharp] = _not_on_a_flank(signed, y[sharp], x[sharp])
            flags[y[sharp], x[sharp]] = int(Mask.COSMIC_RAY)
        grown = grow_mask(torch.from_numpy(flags), 1).numpy()
        return np.where((flags != 0) | (np.abs(data) > self.grow_sigma * noise), grown, np.int16(0))

    def _sharp(
        self, padded: NDArray[np.float32], sky: float, y: NDArray[np.int64], x: NDArray[np.int64], psf: Psf
    ) -> NDArray[np.bool_]:
        stamp = psf.stamp.double().cpu().numpy()
        c = stamp.shape[0] // 2
        value = padded[y + 1, x + 1].astype(np.float64)
        sharp = np.zeros(y.size, bool)
        # In the wings of a star noise alone passes the threshold above the sky: it must also stand out there.
        ring = [padded[y + dy, x + dx] for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
        beside = np.median(ring, axis=0)
        proud = value - beside > _PROUD * self.threshold_sigma * np.sqrt(sky + np.maximum(beside, 0.0))
        # An undersampled PSF is measured too wide and changes with the star's place in the pixel: trust it less.
        # A wide one has many bright pixels, each of which noise may sharpen; a ray stands out from it anyway.
        contrast = self.contrast * min(1.0, (psf.fwhm / 2.2) ** 2) * min(1.0, 3.0 / psf.fwhm)
        for group in _NEIGHBOURS:
            near = np.mean([padded[y + 1 + dy, x + 1 + dx] for dy, dx in group], axis=0)
            limit = contrast * np.mean([stamp[c + dy, c + dx] for dy, dx in group]) / stamp[c, c]
            # Noise of the test: that of the neighbours' mean, and of the pixel scaled by the limit.
            error = np.sqrt((sky + limit * value) / len(group) + limit**2 * (sky + value))
            sharp |= near < limit * value - self.neighbour_sigma * error
        return sharp & proud


def _not_on_a_flank(padded: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which sharp pixels do not lean on a brighter one that is not sharp.

    On the flank of a star whose PSF has a corner, trailed or out of collimation and barely sampled, light falls along
    the contour faster than it does from the middle of the star, which sets the limit. A ray is sharp at its top, and a
    track along its whole length: of each pixel the brightest neighbour is sharp, too, or it is the top itself.
    """
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    near = np.stack([padded[y + 1 + dy, x + 1 + dx] for dy, dx in steps])
    top = near.max(0) <= padded[y + 1, x + 1]
    towards = np.array(steps)[near.argmax(0)]
    width = padded.shape[1]
    places = y * width + x
    order = np.argsort(places)
    target = (y + towards[:, 0]) * width + x + towards[:, 1]
    found = np.minimum(np.searchsorted(places[order], target), max(len(places) - 1, 0))
    parent = np.where(places[order][found] == target, order[found], -1)
    keep = np.ones(y.size, bool)
    for _ in range(_CHAIN):
        keep = top | (keep & (parent >= 0) & keep[parent])
    return keep


def fill_flagged(data: NDArray[np.float32], flagged: NDArray[np.bool_], *, passes: int = 3) -> NDArray[np.float32]:
    """Replace flagged pixels by the mean of good neighbours in 3 x 3, working inwards; what remains becomes 0."""
    filled = data.copy()
    left = flagged.copy()
    for _ in range(passes):
        y, x = np.nonzero(left)
        if y.size == 0:
            return filled
        total, count = np.zeros(y.size), np.zeros(y.size)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                yy, xx = np.clip(y + dy, 0, data.shape[0] - 1), np.clip(x + dx, 0, data.shape[1] - 1)
                good = ~left[yy, xx]
                total += np.where(good, filled[yy, xx], 0.0)
                count += good
        done = count >= 2
        filled[y[done], x[done]] = total[done] / count[done]
        left[y[done], x[done]] = False
    filled[left] = 0.0
    return filled
