"""What is left around the brightest stars after all: an azimuthal profile of each, measured on the difference itself.

The core of a saturated star is lost in one image or both, so that no kernel knows how much light its wings should
have. Its residual halo is round, nearly, and far brighter than the noise: the median over rings around the star, kept
outwards as long as it is significant, is subtracted. A transient beside the star lifts a few pixels of a ring and
leaves the median alone. Stars that are not saturated are left as they are, however bright: what is round and centred
on one of them may be its own variation, or a supernova on a nucleus.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label

from gueststar.planes import quartiles
from gueststar.subtract.bins import Bins, any_in_bin
from gueststar.types import Image, Mask

__all__ = ["bright_centres", "fit_halos"]

_REACH = 24  # bins
_SMALLEST_BLOB = 3  # bins; smaller saturated groups are hot pixels and cosmic rays
_SIGNIFICANT = 2.5
_FEWEST = 6  # good bins in a ring
_MOST = 400  # stars


def fit_halos(difference: Bins, centres: NDArray[np.float64]) -> tuple[torch.Tensor, int]:
    """Model the residual halos of bright stars.

    Parameters
    ----------
    difference : Bins
    centres : ndarray, shape (n, 2)
        x, y of the stars in bins, from `bright_centres`.

    Returns
    -------
    Tensor of shape (ny, nx), int
        Light to subtract, e-, and the number of stars with a significant halo.
    """
    plane = difference.data.cpu().numpy().astype(np.float64)
    sigma, good = np.sqrt(difference.variance.cpu().numpy()), difference.whole.cpu().numpy()
    model, count = np.zeros_like(plane), 0
    for x, y in centres:
        cut, radius = _window(x, y, plane.shape)
        profile = _profile(plane[cut] - model[cut], sigma[cut], good[cut], radius)
        if profile.any():
            model[cut] += np.interp(radius, np.arange(len(profile)) + 0.5, profile)
            count += 1
    return torch.as_tensor(model, dtype=difference.data.dtype, device=difference.data.device), count


def bright_centres(science: Image, reference: Image) -> NDArray[np.float64]:
    """Centres x, y in bins of the groups of saturated pixels, the largest first; shape (n, 2).

    Parameters
    ----------
    science, reference : Image
        On the same grid; a star that is saturated in one of them is enough.
    """
    blocks = any_in_bin(((science.mask | reference.mask) & int(Mask.SATURATED)).bool()).cpu().numpy()
    blobs, n = label(blocks)
    size = np.bincount(blobs.ravel(), minlength=n + 1)[1:]
    y, x = np.nonzero(blocks)
    number = blobs[y, x] - 1
    centres = np.column_stack([np.bincount(number, axis, n) / np.maximum(size, 1) for axis in (x, y)])
    largest = np.argsort(-size, kind="stable")
    return np.asarray(centres[largest][: (size >= _SMALLEST_BLOB).sum()][:_MOST])


def _window(x: float, y: float, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """Slices around a centre, and the distance from it of every bin in them."""
    ix, iy = round(x), round(y)
    cut = (
        slice(max(iy - _REACH, 0), max(min(iy + _REACH + 1, shape[0]), 0)),
        slice(max(ix - _REACH, 0), max(min(ix + _REACH + 1, shape[1]), 0)),
    )
    yy, xx = np.mgrid[cut]
    return cut, np.hypot(yy - y, xx - x)


def _profile(
    data: NDArray[np.float64], sigma: NDArray[np.floating], good: NDArray[np.bool_], radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Median in rings one bin wide, outwards until two in a row are not significant; 0 beyond."""
    ring = radius.astype(int)
    profile, quiet = np.zeros(_REACH + 2), 0
    use = good & (ring < _REACH)
    rings, values, noise = ring[use], data[use], sigma[use]
    order = np.argsort(rings, kind="stable")
    edges = np.searchsorted(rings[order], np.arange(_REACH + 1))
    for i in range(_REACH):
        chosen = order[edges[i] : edges[i + 1]]
        if chosen.size < _FEWEST:
            continue
        low, middle, high = quartiles(values[chosen])
        spread = max(float(noise[chosen].mean()), (high - low) / 1.349)
        if abs(middle) < _SIGNIFICANT * 1.25 * spread / np.sqrt(chosen.size):
            quiet += 1
            if quiet == 2:
                break
            continue
        quiet = 0
        profile[i] = middle
    inner = np.flatnonzero(profile)
    if inner.size:
        profile[: inner[0]] = profile[inner[0]]  # the core, flagged: only so that interpolation starts at the rim
    return profile
