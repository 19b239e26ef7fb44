"""Nebulae and dust clouds that fill a field: light with structure on every scale.

The brightness is the exponential of a Gaussian random field whose power falls as a power of the wave number.
Interstellar clouds have powers of about -3 (Gautier et al. 1992, AJ 103, 1313) and fluctuations in proportion to their
brightness (Miville-Deschenes et al. 2007, A&A 469, 595), as such a field has.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gueststar.simulate.sky.sky_table import Box

__all__ = ["draw_nebula", "nebula_pixels"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@lru_cache(maxsize=2)
def draw_nebula(seed: int, box: Box, *, slope: float, contrast: float) -> F4:
    """Brightness of a nebula on the nominal pixels of a chip and the margin around them.

    Parameters
    ----------
    seed : int
        Of this sky; the same map is drawn for all its exposures.
    box : Box
        Chip and margin.
    slope : float
        The power falls with the wave number to minus this.
    contrast : float
        Standard deviation of the logarithm of the brightness.

    Returns
    -------
    ndarray, shape (ny + 2 margin, nx + 2 margin), float32
        In units of its median. It is kept for the next call: not to be written to.
    """
    margin = _margin(box)
    wanted = [n + 2 * margin for n in box.shape]
    # Twice the size: a map that repeats itself within the frame would be none.
    ny, nx = (scipy.fft.next_fast_len(2 * n, real=True) for n in wanted)
    k2 = scipy.fft.fftfreq(ny)[:, None] ** 2 + scipy.fft.rfftfreq(nx)[None, :] ** 2
    k2[0, 0] = np.inf
    white = np.random.default_rng(seed).standard_normal((ny, nx), np.float32)
    field = scipy.fft.irfft2(scipy.fft.rfft2(white) * k2 ** (-0.25 * slope), s=(ny, nx))[: wanted[0], : wanted[1]]
    field -= np.median(field)
    nebula: F4 = np.exp(field * (contrast / max(float(field.std()), 1e-30))).astype(np.float32)
    nebula.setflags(write=False)
    return nebula


def nebula_pixels(nebula: F4, box: Box, x: F8, y: F8) -> tuple[F8, F8]:
    """Row and column in the map of a place in nominal pixels, held inside the map."""
    margin = _margin(box)
    row, column = (np.clip(a + margin, 0.0, n - 1.0) for a, n in zip((y, x), nebula.shape, strict=True))
    return row, column


def _margin(box: Box) -> int:
    return int(np.ceil(box.margin_px)) + 64
