"""What becomes of a logit when parts of a candidate are replaced by empty sky: needs no gradient, only scores.

A patch that slides over each plane is filled with sky, 0, and the fall of the logit is noted (Zeiler & Fergus 2014,
ECCV, sect. 4.2); whole planes and single numbers are replaced likewise. Pixels that are missing stay missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.explain.candidate import Candidate, Logits

__all__ = ["Ablation", "Occlusion", "ablate", "occlude", "rank_agreement"]


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """Fall of the logit when a patch of one plane is empty sky; positive: the patch speaks for a real source.

    Parameters
    ----------
    patches : ndarray, shape (3, p, p)
        Of each patch.
    starts : ndarray of int, shape (p,)
        First row, or column, of the patches, px.
    patch : int
        Width of a patch, px.
    pixels : ndarray, shape (3, k, k)
        The same per pixel: mean over the patches that cover it, divided by their area.
    """

    patches: NDArray[np.float64]
    starts: NDArray[np.intp]
    patch: int
    pixels: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """Fall of the logit when a part is replaced as a whole; positive: the part speaks for a real source.

    Parameters
    ----------
    planes : ndarray, shape (3,)
        Each plane by empty sky.
    numbers : ndarray, shape (m,)
        Each measured number by its mean in training.
    all_numbers : float
        All of them.
    """

    planes: NDArray[np.float64]
    numbers: NDArray[np.float64]
    all_numbers: float


def occlude(logits: Logits, candidate: Candidate, *, patch: int = 5, stride: int = 2) -> Occlusion:
    """Slide a patch of empty sky over each plane.

    Parameters
    ----------
    logits : callable
        See `gueststar.realbogus.explain.candidate.model_logits`.
    candidate : Candidate
    patch, stride : int
        Width and step of the patch, px.

    Raises
    ------
    InputError
        When the patch does not fit into the stamp.
    """
    k = candidate.cube.shape[-1]
    if not 1 <= patch <= k or stride < 1:
        raise InputError(f"a patch of {patch} px with a step of {stride} px; expected 1 to {k}, and at least 1")
    starts = np.unique(np.append(np.arange(0, k - patch + 1, stride), k - patch))
    whole = candidate.logits(logits, candidate.cube[None])[0]
    patches = np.empty((3, starts.size, starts.size))
    total, count = np.zeros((3, k, k)), np.zeros((k, k))
    for plane in range(3):
        cubes = np.repeat(candidate.cube[None], starts.size**2, axis=0)
        for i, (y, x) in enumerate((y, x) for y in starts for x in starts):
            _fill(cubes[i, plane, y : y + patch, x : x + patch])
        patches[plane] = (whole - candidate.logits(logits, cubes)).reshape(starts.size, starts.size)
    for i, y in enumerate(starts):
        for j, x in enumerate(starts):
            total[:, y : y + patch, x : x + patch] += patches[:, i, j, None, None]
            count[y : y + patch, x : x + patch] += 1
    pixels = np.divide(total, count * patch**2, out=np.zeros_like(total), where=count > 0)
    return Occlusion(patches, starts, patch, pixels)


def ablate(logits: Logits, candidate: Candidate) -> Ablation:
    """Replace whole planes by empty sky, and measured numbers by their mean in training.

    Parameters
    ----------
    logits : callable
    candidate : Candidate
    """
    whole = candidate.logits(logits, candidate.cube[None])[0]
    cubes = np.repeat(candidate.cube[None], 3, axis=0)
    for plane in range(3):
        _fill(cubes[plane, plane])
    # Without its sign the S/N turns nothing over, so the candidate is turned over before.
    upright, m = candidate.upright(), len(candidate.names)
    scalars = np.tile(upright.scalars, (m + 1, 1))
    scalars[np.arange(m), np.arange(m)] = np.nan
    scalars[m] = np.nan
    stamps, sigma = np.repeat(upright.cube[None], m + 1, axis=0), np.tile(upright.sigma, (m + 1, 1))
    falls = whole - np.asarray(logits(stamps, sigma, scalars), np.float64)
    return Ablation(whole - candidate.logits(logits, cubes), falls[:m][candidate.number_order], float(falls[m]))


def rank_agreement(attribution: NDArray[np.floating], occlusion: Occlusion) -> float:
    """Spearman's rank correlation of an attribution, summed over the patches, with the occlusion of the patches.

    Parameters
    ----------
    attribution : ndarray, shape (3, k, k)
    occlusion : Occlusion

    Returns
    -------
    float
        -1..1, over the patches of all planes; NaN where one of them is constant.
    """
    from scipy.stats import spearmanr

    windows = sliding_window_view(attribution, (occlusion.patch, occlusion.patch), axis=(1, 2))
    sums = windows.sum(axis=(-1, -2))[:, occlusion.starts][:, :, occlusion.starts]
    if np.ptp(sums) == 0 or np.ptp(occlusion.patches) == 0:
        return float("nan")
    return float(spearmanr(sums.ravel(), occlusion.patches.ravel()).statistic)


def _fill(pixels: NDArray[np.float32]) -> None:
    """Empty sky in a view of an array that was made here."""
    pixels[np.isfinite(pixels)] = 0.0
