"""Stamps that are the same everywhere and for ever, and the scores that a model gives them.

The card keeps the scores of a new model, so that a copy of it, on another machine or under another version of the
runtime, can be told to work as it did.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.score import score_stamps

__all__ = ["check_scores", "check_stamps"]


def check_stamps(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of several brightness, a shifted star, a sharp hit and missing pixels, on a fixed pattern for noise.

    Parameters
    ----------
    size : int
        Width, px.

    Returns
    -------
    cube : ndarray, shape (8, 3, size, size), float32
    snr : ndarray, shape (8,), float32
    """
    y, x = np.indices((size, size)) - (size - 1) / 2.0

    def star(flux: float, shift: float = 0.0, width: float = 1.2) -> NDArray[np.float64]:
        made: NDArray[np.float64] = flux * np.exp(-((x - shift) ** 2 + y**2) / (2.0 * width**2))
        return made

    wave = np.sqrt(2.0) * np.sin(12.9898 * x + 78.233 * y + 0.1 * x * y)  # unit variance, no random generator
    other = np.sqrt(2.0) * np.cos(39.425 * x - 7.117 * y + 0.07 * x * x)
    pairs = [(star(height), 0.0 * x) for height in (3.0, 8.0, 30.0)]
    pairs += [(0.0 * x, star(8.0)), (star(80.0, 0.3), star(80.0, -0.3)), (star(40.0, width=0.35), 0.0 * x)]
    pairs += [(star(8.0) + star(60.0, 5.0), star(60.0, 5.0)), (star(8.0), 0.0 * x)]
    cube = np.array([(a + wave, b + other, a - b + (wave - other)) for a, b in pairs])
    cube[-1, :, : size // 3] = np.nan
    snr = np.array([8.0, 21.0, 80.0, -21.0, 60.0, 25.0, 21.0, 21.0])
    return cube.astype(np.float32), snr.astype(np.float32)


def check_scores(model: LoadedModel) -> tuple[float, ...]:
    """Scores of the check stamps, with the S/N as the only measured number.

    A model that is told the chip gets the first ones of its card, after an unknown one.
    """
    cube, snr = check_stamps(model.card.stamp_size)
    names = [item.name for item in model.card.scalars]
    numbers = np.full((len(cube), len(names)), np.nan, np.float32)
    if "snr" in names:
        numbers[:, names.index("snr")] = snr
    sigma = np.tile(np.array([1.0, 1.0, 1.4142135], np.float32), (len(cube), 1))
    known = ("", *model.card.chips)
    chips = None
    if model.card.chips and model.members is None:
        chips = np.array([known[i % len(known)] for i in range(len(cube))], np.str_)
    return tuple(round(float(score), 6) for score in score_stamps(cube, sigma, numbers, model, chips=chips))
