"""Weights that take away from a classifier what only the making of the training set has put in.

Artificial reals are drawn from a distribution of signal to noise that somebody chose; artifacts have their own. A
network trained on both as they are learns that choice. Here both classes get the same total weight in every interval
of signal to noise, so that it carries no information about the class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERVALS", "class_weights", "matched_weights", "snr_intervals"]

INTERVALS = 12  #: of signal to noise, with as many rows in each


def class_weights(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Both classes weigh the same; mean weight 1.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact, at least one of each.
    """
    counts = np.bincount(labels, minlength=2)
    return np.asarray(labels.size / (2.0 * counts[labels]), np.float32)


def snr_intervals(snr: NDArray[np.float64], *, n_bins: int = INTERVALS) -> NDArray[np.float64]:
    """Limits between intervals of signal to noise that hold equal numbers of rows, shape (n_bins - 1,)."""
    return np.asarray(np.quantile(snr, np.linspace(0, 1, n_bins + 1)[1:-1]))


def matched_weights(
    labels: NDArray[np.integer], snr: NDArray[np.float64], *, n_bins: int = INTERVALS, largest: float = 10.0
) -> NDArray[np.float32]:
    """In every interval of `snr` both classes weigh the same; mean weight 1.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact, at least one of each.
    snr : ndarray, shape (n,)
        Any positive number; intervals hold equal numbers of rows.
    n_bins : int
        Intervals.
    largest : float
        No row weighs more than this times the mean, however rare its class is in its interval; an interval in which
        one class is absent keeps what `class_weights` gives.

    Returns
    -------
    ndarray, shape (n,), float32
    """
    interval = np.searchsorted(snr_intervals(snr, n_bins=n_bins), snr, side="right")
    weights = class_weights(labels).astype(np.float64)
    for number in range(n_bins):
        inside = interval == number
        counts = np.bincount(labels[inside], minlength=2)
        if counts.min() > 0:
            weights[inside] = counts.sum() / (2.0 * counts[labels[inside]])
    weights = np.minimum(weights / weights.mean(), largest)
    return np.asarray(weights / weights.mean(), np.float32)
