"""What candidates should know about their place: light of bright stars, spikes of single pixels.

These are flags of candidates, not of pixels: nothing is dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gueststar.planes import gather_stamps
from gueststar.types import HALO_BLOCK_PX, Difference, Image, Mask

__all__ = ["halo_flags", "informative_flags", "spike_flags"]

_CONTRAST = 0.75  # a source falls to less than this times what the PSF falls to, beside its peak
_SIGMA = 3.0


def informative_flags(
    difference: Difference, science: Image, reference: Image, x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Bits of `Mask` to add to ``mask_flags`` of candidates at peak pixels x, y, each of shape (n,)."""
    flags = spike_flags(difference, x, y) | halo_flags(science, x, y)
    other = halo_flags(reference, x, y)
    return flags | other | np.where(other != 0, np.int32(Mask.REFERENCE), np.int32(0))


def halo_flags(image: Image, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int32]:
    """`Mask.BRIGHT_STAR` where a position lies in the light of a bright star."""
    if image.halo is None or image.halo.size == 0:
        return np.zeros(len(x), np.int32)
    rows, columns = image.halo.shape
    inside = image.halo[np.minimum(y // HALO_BLOCK_PX, rows - 1), np.minimum(x // HALO_BLOCK_PX, columns - 1)]
    return np.where(inside, np.int32(Mask.BRIGHT_STAR), np.int32(0))


def spike_flags(difference: Difference, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int32]:
    """`Mask.COSMIC_RAY` where a candidate is sharper in the difference than any point source.

    What the mask of one image lets pass is looked at against the other: a ray or hot pixel on a star or a galaxy stands
    alone in the difference. Compared are the mean of the four pixels beside the peak and the least that a point source
    centred on the peak has there, as `gueststar.ingest.mask.FindCosmicRays` does in a single image.
    """
    if len(x) == 0:
        return np.zeros(0, np.int32)
    near = gather_stamps(difference.data, x, y, 3).double().cpu().numpy()
    noise = gather_stamps(difference.variance, x, y, 3).double().cpu().numpy()
    stamps = difference.psf.at(x, y).double().cpu().numpy()
    c = stamps.shape[-1] // 2
    cross = ((0, 1), (1, 0), (1, 2), (2, 1))
    sign = np.sign(near[:, 1, 1])
    peak = np.abs(near[:, 1, 1])
    beside = sign * np.mean([near[:, j, i] for j, i in cross], axis=0)
    limit = np.mean([stamps[:, c + j - 1, c + i - 1] for j, i in cross], axis=0) / stamps[:, c, c]
    limit = _CONTRAST * min(1.0, (difference.psf.fwhm / 2.2) ** 2) * limit
    error = np.sqrt(np.mean([noise[:, j, i] for j, i in cross], axis=0) / 4.0 + limit**2 * noise[:, 1, 1])
    return np.where(beside < limit * peak - _SIGMA * error, np.int32(Mask.COSMIC_RAY), np.int32(0))
