"""Light into the counts of a file as they are: through flat field and gain, whole numbers kept, clipped where full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gueststar.ingest.frame import Frame
from gueststar.simulate.inject.light import Patch, electrons_of
from gueststar.types import Image

__all__ = ["add_to_counts", "mosaic_shares", "response_of"]

F8 = NDArray[np.float64]
Mosaic = Literal["none", "bin", "green"]
_GREEN = (0.0, 0.5, 0.5, 0.0)
_PROBE = np.float32(2.0**14)
_BRIGHT_SIGMA = 10.0


def add_to_counts(
    counts: NDArray[Any],
    image: Image,
    patches: Sequence[Patch],
    *,
    gain_e_adu: float,
    rng: np.random.Generator,
    response: F8 | None = None,
    step_adu: float = 1.0,
    full: float | None = None,
    shares: Sequence[float] | None = None,
) -> NDArray[Any]:
    """Add the light of sources to the numbers of a file.

    Of L electrons that a source brings to a pixel of the calibrated image, the raw frame has detected a Poisson number
    around L times the flat field; they are divided by the gain. Where the file holds whole numbers, the sum is rounded
    up or down by chance, so that faint wings are kept on average.

    Parameters
    ----------
    counts : ndarray, shape (ny, nx)
        Numbers of the file before its own scaling, of any type; those of a colour mosaic have twice the shape.
    image : Image
        The same frame, calibrated and measured.
    patches : sequence of Patch
        Expected electrons on the grid of the image.
    gain_e_adu : float
    rng : Generator
        For photon noise and rounding.
    response : ndarray, shape (ny, nx), optional
        Raw for calibrated counts, from `response_of`; None: 1.
    step_adu : float
        ADU of one unit of `counts` (BSCALE).
    full : float, optional
        Saturation level in units of `counts`: no pixel is raised above it.
    shares : sequence of float, optional
        Of a colour mosaic: part of the light on the pixels (0, 0), (0, 1), (1, 0), (1, 1) of each 2 x 2 cell.

    Returns
    -------
    ndarray
        New, of the same shape and type. Pixels that get no light are the same.
    """
    electrons = electrons_of(image, patches, response=response, rng=rng)
    if shares is not None:
        electrons = _onto_mosaic(electrons, shares, (counts.shape[0], counts.shape[1]), rng)
    lit = electrons != 0
    old = counts[lit].astype(np.float64)
    new = old + electrons[lit] / (gain_e_adu * step_adu)
    top = np.inf if full is None else full
    if counts.dtype.kind in "iu":
        new = np.floor(new + rng.random(new.size))
        limits = np.iinfo(counts.dtype)
        new, top = np.maximum(new, limits.min), min(np.floor(top), float(limits.max))
    # A pixel that is above the level already stays what it is.
    new = np.where(new > old, np.minimum(new, np.maximum(top, old)), new)
    result = counts.copy()
    result[lit] = new.astype(counts.dtype)
    return result


def response_of(frame: Frame, calibrated: Callable[[Frame], Frame]) -> F8 | None:
    """Raw counts for each calibrated count of a pixel: the flat field, as the calibration applies it.

    Parameters
    ----------
    frame : Frame
        Raw.
    calibrated : callable
        What is done to it: subtracts a dark and divides by a flat, or returns the frame itself.

    Returns
    -------
    ndarray, shape (ny, nx), or None
        None when the frame is not changed.
    """
    if calibrated(frame) is frame:
        return None
    # Asked of the calibration itself: two known levels come out as far apart as it makes them.
    low, high = (
        calibrated(replace(frame, data=np.full_like(frame.data, level))).data.astype(np.float64)
        for level in (np.float32(0.0), _PROBE)
    )
    return np.asarray(float(_PROBE) / np.maximum(high - low, 1e-3))


def mosaic_shares(counts: NDArray[Any], image: Image, mosaic: Mosaic) -> tuple[float, ...] | None:
    """How a source's light falls on the colours of a 2 x 2 cell: as that of all bright sources of the frame together.

    Parameters
    ----------
    counts : ndarray, shape (ny, nx)
        Raw.
    image : Image
        Of half the shape.
    mosaic : {'none', 'bin', 'green'}
        With 'green', only the two green pixels are measured, and only they get light.

    Returns
    -------
    tuple of four float, or None without a mosaic
        Sum 1, for the pixels (0, 0), (0, 1), (1, 0), (1, 1).
    """
    if mosaic == "none":
        return None
    if mosaic == "green":
        return _GREEN
    ny, nx = image.shape
    bright = (image.numpy("mask") == 0) & (image.numpy() > _BRIGHT_SIGMA * np.sqrt(np.median(image.numpy("variance"))))
    sums = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cell = counts[row : 2 * ny : 2, column : 2 * nx : 2].astype(np.float64)
        sums.append(float((cell[bright] - np.median(cell)).sum()))
    total = np.maximum(sums, 0.0)
    return tuple(total / total.sum()) if total.sum() > 0 else (0.25,) * 4


def _onto_mosaic(electrons: F8, shares: Sequence[float], shape: tuple[int, int], rng: np.random.Generator) -> F8:
    """Electrons of cells, each on one of the four pixels of its cell by chance."""
    ny, nx = electrons.shape
    raw = np.zeros(shape)
    split = rng.multinomial(np.abs(electrons).astype(np.int64), np.asarray(shares)) * np.sign(electrons)[..., None]
    for index, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        raw[row : 2 * ny : 2, column : 2 * nx : 2] = split[..., index]
    return raw
