"""Stamps of other surveys, in whatever units: sky taken off, noise and signal to noise measured on the stamp itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.borders import border_noise
from gueststar.types import CANDIDATE_COLUMNS

__all__ = ["Normalised", "blank_candidates", "matched_snr", "normalise"]


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """Stamps as data sets keep them.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k), float32
        In units of `sigma`.
    sigma : ndarray, shape (n, 3), float32
        Noise of the sky in each plane, in the units of the stamps; NaN where it cannot be measured, and the plane then
        counts as missing.
    snr : ndarray, shape (n,), float32
        Of a point source at the centre of the difference, by a matched filter with a Gaussian.
    """

    cube: NDArray[np.float32]
    sigma: NDArray[np.float32]
    snr: NDArray[np.float32]


def normalise(cube: NDArray[np.floating[Any]], *, fwhm_px: float, keep_sky: bool = False) -> Normalised:
    """Measure sky and noise of each plane as `gueststar.realbogus.borders.border_noise` does, and divide by the noise.

    Stamps in files are scored with the same noise, so that a data set made of them has their scores.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        Science, reference, difference; NaN where there are no data.
    fwhm_px : float
        Of the point-spread function, for the S/N.
    keep_sky : bool
        Leave the sky in: the stamps are free of it already.
    """
    planes = np.array(cube, np.float32)
    sky, noise = border_noise(planes)
    if not keep_sky:
        planes -= sky[:, :, None, None]
    planes /= noise[:, :, None, None]
    return Normalised(planes, noise, matched_snr(planes[:, 2], fwhm_px))


def matched_snr(difference: NDArray[np.float32], fwhm_px: float) -> NDArray[np.float32]:
    """S/N of a Gaussian at the centre of stamps (n, k, k) of unit noise; NaN without a known pixel under it."""
    k = difference.shape[-1]
    y, x = np.indices((k, k)) - (k - 1) / 2.0
    shape = np.exp(-(x * x + y * y) / (2.0 * (fwhm_px / 2.3548) ** 2))
    known = np.isfinite(difference)
    light = (np.where(known, difference, 0.0) * shape).sum(axis=(1, 2))
    weight = (known * shape**2).sum(axis=(1, 2))
    snr = np.divide(light, np.sqrt(weight), out=np.full(len(difference), np.nan), where=weight > 0)
    return np.asarray(snr, np.float32)


def blank_candidates(n: int) -> dict[str, NDArray[Any]]:
    """Columns of a candidate table in which nothing is known: NaN, 0 or empty."""
    columns: dict[str, NDArray[Any]] = {}
    for column in CANDIDATE_COLUMNS:
        kind = np.dtype(column.dtype)
        columns[column.name] = np.full(n, np.nan if kind.kind == "f" else 0 if kind.kind == "i" else "", kind)
    return columns
