"""Sky and noise of stamps that come without them, from the pixels away from the centre."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.channels import ring_of

__all__ = ["border_noise"]

_PIXELS = 512  # of a plane that are looked at: the noise is then known to 7 %


def border_noise(cube: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median and noise of each plane in the border of a stamp.

    The noise is told by the pixels below the median, which sources hardly touch: 1.4826 times the median of their
    distance from it.

    Parameters
    ----------
    cube : ndarray, shape (n, p, k, k)
        NaN or infinite where there are no data.

    Returns
    -------
    sky, sigma : ndarray, shape (n, p), float32
        NaN where a plane has no data in its border; sigma also where the border has one single value.
    """
    places = np.flatnonzero(ring_of(cube.shape[-1]))
    # A step that shares no factor with the width would draw lines; the golden ratio spreads the sample evenly.
    order = np.argsort((np.arange(places.size) * 0.6180339887498949) % 1.0, kind="stable")
    chosen = np.sort(places[order[:_PIXELS]])
    flat = cube.reshape(*cube.shape[:2], -1)
    pixels = np.ascontiguousarray(flat[:, :, chosen], np.float32)
    whole = np.isfinite(pixels).all(axis=-1)
    sky = np.full(pixels.shape[:2], np.nan, np.float32)
    sigma = sky.copy()
    sky[whole], sigma[whole] = _measured(pixels[whole])
    for index in zip(*np.nonzero(~whole), strict=True):
        known = pixels[index][np.isfinite(pixels[index])]
        if known.size:
            (sky[index],), (sigma[index],) = _measured(known[None])
    return sky, np.where(sigma > 0, sigma, np.float32(np.nan))


def _measured(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median and noise of rows of finite pixels (m, p)."""
    ordered = np.sort(pixels, axis=-1)
    p = ordered.shape[-1]
    middle = 0.5 * (ordered[:, (p - 1) // 2] + ordered[:, p // 2])
    # Below the median the distances are sorted already: their median is a quantile of the whole.
    half = max(p // 2, 1)
    quarter = 0.5 * (ordered[:, (half - 1) // 2] + ordered[:, half // 2])
    sigma = 1.4826 * (middle - quarter)
    flat = ~(sigma > 0)
    sigma[flat] = ordered[flat].std(axis=-1)
    return middle.astype(np.float32), sigma.astype(np.float32)
