"""Figures of one model with intervals that know that rows of one image go together.

An exact interval of a rate, and DeLong's error of an area, take rows for independent drawings. Candidates of one image
share its seeing, its registration and its stars, so such intervals are too narrow. Here whole images are drawn with
replacement (cluster bootstrap: Davison & Hinkley 1997, Bootstrap Methods, Sec. 3.8), and thresholds that a sample gave
are found anew in each draw, by `gueststar.realbogus.evaluation.compare.resample`; the model's own threshold stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluation.compare import METRICS, resample

__all__ = ["AT_THRESHOLD", "FEW_IMAGES", "Drawn", "DrawnImages", "draw_images", "draw_threshold"]

#: Below so many images with reals, or with artifacts, an interval is not to be trusted: draws of few are much alike.
FEW_IMAGES = 10
#: What is measured at the model's own threshold, with words.
AT_THRESHOLD: dict[str, str] = {
    "tpr_at_threshold": "completeness at the threshold",
    "fpr_at_threshold": "FPR at the threshold",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A measure with its interval of 95 %; the ends are NaN where the draws have no scatter that could tell them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DrawnImages:
    """Measures of a model on draws of whole images.

    Parameters
    ----------
    by : str
        Column that tells images apart; empty when none does.
    n, with_real, with_bogus : int
        Images in all, and those with at least one real, and one artifact.
    draws : int
        0 when nothing could be drawn, as all rows are of one image.
    measures : dict of str to Drawn
        By the names of `gueststar.realbogus.evaluation.compare.METRICS` and `AT_THRESHOLD`; empty without draws, and
        without what needs a class that is missing.
    """

    by: str
    n: int
    with_real: int
    with_bogus: int
    draws: int
    measures: dict[str, Drawn] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a model card or JSON."""
        return asdict(self)


def draw_images(
    real: NDArray[np.bool_],
    scores: NDArray[Any],
    called: NDArray[np.bool_],
    images: NDArray[Any],
    *,
    by: str,
    rng: np.random.Generator,
    draws: int = 500,
) -> DrawnImages:
    """Measure a model on draws of whole images.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
        Higher is more real.
    called : ndarray of bool, shape (n,)
        Whether the model's own threshold calls each row real.
    images : ndarray, shape (n,)
        Image of each row, any type that can be sorted.
    by : str
        Column that they come from.
    rng : Generator
    draws : int

    Raises
    ------
    InputError
        When lengths differ.
    """
    real, called = np.asarray(real, bool), np.asarray(called, bool)
    if not real.shape == np.shape(scores) == called.shape == np.shape(images) or real.ndim != 1:
        raise InputError(
            f"labels {real.shape}, scores {np.shape(scores)}, calls {called.shape} and images {np.shape(images)} must "
            "be (n,) alike"
        )
    names, image = np.unique(np.asarray(images), return_inverse=True)
    counts = names.size, np.unique(image[real]).size, np.unique(image[~real]).size
    if names.size < 2:
        return DrawnImages(by, *counts, 0)
    measures: dict[str, Drawn] = {}
    if real.any() and not real.all():
        replicas = resample(real, [scores], image, models=[""], rng=rng, draws=draws)
        measures = {name: _drawn(replicas.value(0, name), *replicas.interval(0, name)) for name in METRICS}
    measures |= draw_threshold(real, called, image, rng=rng, draws=draws)
    return DrawnImages(by, *counts, draws, measures)


def draw_threshold(
    real: NDArray[np.bool_],
    called: NDArray[np.bool_],
    image: NDArray[np.integer[Any]],
    *,
    rng: np.random.Generator,
    draws: int = 500,
) -> Mapping[str, Drawn]:
    """Shares of reals and of artifacts that a fixed threshold calls real, on draws of whole images.

    Parameters
    ----------
    real, called : ndarray of bool, shape (n,)
    image : ndarray of int, shape (n,)
        Number of the image of each row, from 0.
    rng : Generator
    draws : int

    Returns
    -------
    mapping of str to Drawn
        By the names of `AT_THRESHOLD`; a class that is missing has none.
    """
    n = int(image.max(initial=-1)) + 1
    times = rng.multinomial(n, np.full(n, 1.0 / n), size=draws)
    found = {}
    for name, rows in zip(AT_THRESHOLD, (np.flatnonzero(real), np.flatnonzero(~real)), strict=True):
        if not rows.size:
            continue
        hits = np.bincount(image[rows], weights=called[rows], minlength=n)
        trials = np.bincount(image[rows], minlength=n)
        counted = times @ trials
        shares = (times @ hits)[counted > 0] / counted[counted > 0]
        low, high = np.quantile(shares, (0.025, 0.975), method="nearest") if shares.size else (math.nan, math.nan)
        found[name] = _drawn(float(hits.sum() / trials.sum()), float(low), float(high))
    return found


def _drawn(value: float, low: float, high: float) -> Drawn:
    # Without a single error, or with errors alone, every draw is like the sample: that is no interval of no width.
    return Drawn(value, low, high) if low < high else Drawn(value, math.nan, math.nan)
