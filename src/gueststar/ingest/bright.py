"""Where the light of bright stars lies: halo, spikes and ghosts, from the light that is measured.

This is told beside the mask and not in it (`gueststar.types.Image.halo`): a supernova in a faint halo must be found, so
nothing is dropped there. Candidates carry `Mask.BRIGHT_STAR` in their ``mask_flags`` instead.

The halo reaches as far as the radial profile of a saturated star is above a part of the noise; spikes are what stands
connected with it above the noise of the bins. A ghost, an out-of-focus reflection, is a patch of faint light without a
core near a saturated star. One that is fainter than an eighth of the noise of a pixel, or wider than the mesh of the
sky lets stand, cannot be told from the sky.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from gueststar.ingest.extended import BIN, bin_plane, light_radius, within
from gueststar.options import Options
from gueststar.types import Mask

__all__ = ["FindBrightStars"]

F4 = NDArray[np.float32]
Flags = NDArray[np.bool_]

_CORE_PX = 12  # saturated pixels in a bin that make a star of it; rays and hot pixels have fewer
_SPIKE_SIGMA = 3.0  # noise of a bin's mean
_SPIKE_REACH = 3.0  # radii of the halo
_SMOOTH = 5  # bins of the median filter before ghosts are looked for
_GHOST_BINS = 9
_GHOST_SHARE = 0.1  # of the frame at most: more is the sky


class FindBrightStars(Options):
    """Find halos, spikes and ghosts of saturated stars."""

    enabled: bool = Field(True, description="Look for the light of bright stars")
    halo_sigma: float = Field(
        0.2, gt=0, le=10, description="A halo ends where its profile is below this, sigma of a pixel"
    )
    ghost_sigma: float = Field(0.125, ge=0, le=10, description="Ghosts are brighter than this, sigma; 0: none")
    ghost_reach_px: float = Field(700.0, ge=0, le=20000, description="Ghosts lie within this of a star, px")

    def __call__(self, signal: F4, noise: F4, mask: NDArray[np.int16]) -> Flags | None:
        """Find them.

        Parameters
        ----------
        signal : ndarray, shape (ny, nx), float32
            Sky subtracted.
        noise : ndarray, shape (ny, nx), float32
            Of the sky.
        mask : ndarray of int16, shape (ny, nx)
            Bits of `Mask`.

        Returns
        -------
        ndarray of bool, shape (ny // 8, nx // 8), or None
            True where the 8 x 8 px lie in the light of a bright star; None when there is no such star.
        """
        if not self.enabled:
            return None
        rows, columns = (n // BIN for n in signal.shape)
        full = ((mask & int(Mask.SATURATED)) != 0)[: rows * BIN, : columns * BIN]
        if not full.any():
            return None
        cores = full.reshape(rows, BIN, columns, BIN).sum((1, 3)) >= _CORE_PX
        if not cores.any():
            return None
        binned = bin_plane(signal, mask != 0)
        middle = noise[BIN // 2 : rows * BIN : BIN, BIN // 2 : columns * BIN : BIN]
        ratio = np.where(binned.count > 0, binned.mean / middle, np.float32(np.nan))
        labels, n = ndimage.label(cores, np.ones((3, 3), int))
        stars = []
        for y, x in ndimage.center_of_mass(cores, labels, np.arange(1, n + 1)):
            radius = light_radius(ratio, x, y, limit=self.halo_sigma)
            stars.append(((x + 0.5) * BIN - 0.5, (y + 0.5) * BIN - 0.5, max(radius, 2.0 * BIN)))
        circles = np.array(stars)
        found = within(cores.shape, circles, most=1.0)
        bright = (ratio * np.sqrt(binned.count) > _SPIKE_SIGMA) | cores | found
        reach = within(cores.shape, circles * (1.0, 1.0, _SPIKE_REACH), most=1.0)
        parts, _ = ndimage.label(bright & reach, np.ones((3, 3), int))
        spikes = np.isin(parts, np.unique(parts[cores]))
        return np.asarray(found | spikes | self._ghosts(ratio, circles, found | spikes))

    def _ghosts(self, ratio: F4, stars: NDArray[np.float64], taken: Flags) -> Flags:
        """Patches of faint light without a core, near stars."""
        nothing = np.zeros(taken.shape, bool)
        if self.ghost_sigma == 0 or taken.mean() > 0.5:
            return nothing
        # The median of 25 bins knows nothing of the stars in a few of them; what is left far out is the faint stars.
        smooth = ndimage.median_filter(np.nan_to_num(ratio, nan=0.0), _SMOOTH)
        smooth = smooth - np.median(smooth)
        near = within(taken.shape, np.column_stack((stars[:, :2], np.full(len(stars), self.ghost_reach_px))), most=1.0)
        lit = (smooth > self.ghost_sigma) & near & ~ndimage.binary_dilation(taken, iterations=2)
        labels, n = ndimage.label(lit)
        if n == 0:
            return nothing
        areas = ndimage.sum_labels(lit, labels, np.arange(1, n + 1))
        found = np.isin(labels, np.flatnonzero(areas >= _GHOST_BINS) + 1)
        return found if found.mean() <= _GHOST_SHARE else nothing
