"""Paired bootstrap over images and seeds: how sure a difference between two ways of training is.

Candidates of one image share its seeing, its registration and its faults, so the image is what is drawn again, not the
candidate (Davison & Hinkley 1997, Bootstrap Methods, sec. 3.8). Every run is measured on the same drawn images, and the
same seeds are drawn for every arm: what an image or a seed does to both sides of a difference cancels.

With n seeds the spread between them is drawn a factor (n - 1) / n too small in variance; the intervals of three seeds
are so much too narrow where seeds, not images, decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["FNR_AT", "FPR_AT", "METRICS", "Interval", "Measured", "Ranked", "bootstrap", "interval", "mean_over_seeds"]

FPR_AT = (0.9, 0.98)  #: completeness at which the false-positive rate is told
FNR_AT = (1e-2, 1e-3, 2e-4)  #: false-positive rates at which the share of missed reals is told
#: Names of what is measured, in the order of every array of them.
METRICS: tuple[str, ...] = (
    "auc", *(f"fpr_at_tpr_{rate:g}" for rate in FPR_AT), *(f"fnr_at_fpr_{rate:g}" for rate in FNR_AT),
)  # fmt: skip
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval of 95 %."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Plain values; None for no number."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


class Ranked:
    """Scores of one run, sorted once, so that each drawing of images costs a cumulative sum.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
        Higher is more real; rows with NaN are left out.
    image : ndarray of int, shape (n,)
        Number of the image of each row.
    """

    def __init__(self, real: NDArray[np.bool_], scores: NDArray[Any], image: NDArray[np.integer[Any]]) -> None:
        if not real.shape == scores.shape == image.shape or real.ndim != 1:
            raise InputError(f"labels {real.shape}, scores {scores.shape} and images {image.shape} must be (n,) alike")
        used = np.flatnonzero(~np.isnan(scores))
        order = used[np.argsort(-np.asarray(scores[used], np.float64), kind="stable")]
        values = scores[order]
        self._real = real[order]
        self._image = image[order]
        self._last = np.append(np.flatnonzero(np.diff(values)), values.size - 1) if values.size else np.empty(0, int)
        self.n_real = int(self._real.sum())
        self.n_bogus = self._real.size - self.n_real

    def measure(self, drawn: NDArray[np.integer[Any]] | None = None) -> NDArray[np.float64]:
        """What `METRICS` names, shape (len(METRICS),); NaN without both classes.

        Parameters
        ----------
        drawn : ndarray of int, shape (images,), optional
            How often each image counts; None: once.
        """
        times = np.ones(self._real.size) if drawn is None else drawn[self._image].astype(np.float64)
        hits = np.cumsum(times * self._real)
        alarms = np.cumsum(times) - hits
        if not self._last.size or hits[-1] == 0 or alarms[-1] == 0:
            return np.full(len(METRICS), np.nan)
        # Sums of small whole numbers are exact; the share of the last entry is 1.
        tpr = np.concatenate(([0.0], hits[self._last] / hits[-1]))
        fpr = np.concatenate(([0.0], alarms[self._last] / alarms[-1]))
        area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2.0))
        at_tpr = [float(fpr[np.searchsorted(tpr, rate - 1e-12)]) for rate in FPR_AT]
        at_fpr = [1.0 - float(tpr[np.searchsorted(fpr, rate + 1e-12, side="right") - 1]) for rate in FNR_AT]
        return np.array([area, *at_tpr, *at_fpr])


def bootstrap(runs: Sequence[Ranked], images: int, *, boots: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Measure every run on the images as they are, then on images drawn with replacement, the same for every run.

    Parameters
    ----------
    runs : sequence of Ranked
    images : int
        How many images there are.
    boots : int
        Drawings.
    rng : Generator

    Returns
    -------
    ndarray, shape (boots + 1, len(runs), len(METRICS))
        The first entry is that of the images as they are.
    """
    table = np.empty((boots + 1, len(runs), len(METRICS)))
    for number in range(boots + 1):
        drawn = np.bincount(rng.integers(0, images, images), minlength=images) if number else None
        table[number] = [run.measure(drawn) for run in runs]
    return table


def mean_over_seeds(table: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean over seeds, these drawn with replacement, too, and the same for every arm.

    Parameters
    ----------
    table : ndarray, shape (boots + 1, arms, seeds, ...)
        The first entry holds the values as they are.
    rng : Generator

    Returns
    -------
    ndarray, shape (boots + 1, arms, ...)
    """
    seeds = table.shape[2]
    chosen = rng.integers(0, seeds, (len(table), seeds))
    chosen[0] = np.arange(seeds)
    mean: NDArray[np.float64] = np.stack(
        [part[:, which].mean(axis=1) for part, which in zip(table, chosen, strict=True)]
    )
    return mean


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Mean over seeds of every arm, as it is and as it is drawn again.

    Parameters
    ----------
    arms : tuple of str
    table : ndarray, shape (boots + 1, arms, len(METRICS))
    """

    arms: tuple[str, ...]
    table: NDArray[np.float64]

    def drawn(self, arm: str, metric: str) -> NDArray[np.float64]:
        """Values of one arm, shape (boots + 1,), the one of all images first."""
        if arm not in self.arms or metric not in METRICS:
            raise InputError(f"{arm!r}, {metric!r}: arms are {', '.join(self.arms)}; metrics {', '.join(METRICS)}")
        return np.asarray(self.table[:, self.arms.index(arm), METRICS.index(metric)])

    def value(self, arm: str, metric: str) -> Interval:
        """One arm."""
        return interval(self.drawn(arm, metric))

    def difference(self, arm: str, base: str, metric: str) -> Interval:
        """`arm` minus `base`."""
        return interval(self.drawn(arm, metric) - self.drawn(base, metric))

    def ratio(self, arm: str, base: str, metric: str) -> Interval:
        """`arm` over `base`; NaN where the base is 0."""
        below = self.drawn(base, metric)
        return interval(np.divide(self.drawn(arm, metric), below, out=np.full(below.shape, np.nan), where=below != 0))

    def gap_closed(self, arm: str, *, low: str, high: str, metric: str) -> Interval:
        """Share of the way from the arm `low` to the arm `high`; NaN where the two are equal."""
        start = self.drawn(low, metric)
        way = self.drawn(high, metric) - start
        gone = self.drawn(arm, metric) - start
        return interval(np.divide(gone, way, out=np.full(way.shape, np.nan), where=way != 0))


def interval(drawn: NDArray[np.float64]) -> Interval:
    """The first value with the quantiles of the others; drawings without a number are left out."""
    again = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(again, (_TAIL, 1.0 - _TAIL)) if again.size else (math.nan, math.nan)
    return Interval(float(drawn[0]), float(low), float(high))
