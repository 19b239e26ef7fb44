"""How many of the artifacts are real, in every interval of signal to noise, and what the true ones then weigh.

Reals among the artifacts have the signal to noise of reals. Where artifacts are rare, above a signal to noise of 20 for
instance, half of what is called an artifact can be real although it is a seventh of all; and weights that make both
classes equal there raise it further. What is done about wrong labels is therefore done in intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.label_noise.forget import estimate_contamination
from gueststar.realbogus.training_rows import TrainingRows
from gueststar.realbogus.weights import INTERVALS, snr_intervals

__all__ = ["LARGEST_SHARE", "Shares"]

LARGEST_SHARE = 0.9  #: no interval counts with more reals among its artifacts
_PARTS = ("train", "validation")
_MOST = 20_000  # rows that tell the shares of the training part
_FEWEST = 30  # rows of each class from which an interval has an estimate of its own


class Shares:
    """Share of the artifacts that is real, by interval.

    Parameters
    ----------
    rows : TrainingRows
        What is trained on.
    rate : float, optional
        Share of all artifacts that is real, with the signal to noise of class 1. None: to be estimated.

    Attributes
    ----------
    limits : ndarray
        |S/N| between the intervals; each holds as many rows of the training part.
    interval : ndarray of int, shape (n,)
        Of every row of the set.
    values : dict of str to ndarray
        Share in each interval of the training and of the validation part: other images, other artifacts.
    sample : ndarray of int
        Rows of the training part whose scores tell its shares, at most 20,000.
    """

    def __init__(self, rows: TrainingRows, rate: float | None) -> None:
        self.rows, self.given = rows, rate
        strength = np.abs(np.asarray(rows.dataset["snr"], np.float64))
        self.limits = snr_intervals(strength[rows.parts["train"]])
        self.interval = np.searchsorted(self.limits, strength, side="right")
        self.values = {
            name: np.zeros(INTERVALS) if rate is None else self.as_reals(rows.parts[name], rate) for name in _PARTS
        }
        drawn = np.random.default_rng(0).permutation(rows.parts["train"])[:_MOST]
        self.sample = np.sort(drawn)

    @property
    def total(self) -> float:
        """Share of all artifacts of the training part."""
        part = self.rows.parts["train"]
        artifacts = part[self.rows.labels[part] < 0.5]
        return float(self.values["train"][self.interval[artifacts]].mean())

    def as_reals(self, part: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
        """Shares by interval when a share of all artifacts of a part is real, with the signal to noise of class 1."""
        labels, interval = self.rows.labels[part] > 0.5, self.interval[part]
        reals, artifacts = (np.bincount(interval[own], minlength=INTERVALS) for own in (labels, ~labels))
        expected = rate * artifacts.sum() * reals / max(int(reals.sum()), 1)
        return np.asarray(np.clip(expected / np.maximum(artifacts, 1), 0.0, LARGEST_SHARE))

    def estimate(self, sample: NDArray[np.floating], validation: NDArray[np.floating]) -> None:
        """Set the shares from the scores of `sample` and of the validation part; those that were given stay.

        What was trained on tells its shares nearly as well as other rows do: a network that leaves wrong labels out, or
        counts with them, does not learn them by heart.
        """
        if self.given is None:
            self.values = {
                "train": self._estimated(self.sample, sample),
                "validation": self._estimated(self.rows.parts["validation"], validation),
            }

    def _estimated(self, part: NDArray[np.int64], logits: NDArray[np.floating]) -> NDArray[np.float64]:
        labels, interval = self.rows.labels[part] > 0.5, self.interval[part]
        found = self.as_reals(part, estimate_contamination(labels, logits))
        for number in range(INTERVALS):
            inside = interval == number
            if min((inside & labels).sum(), (inside & ~labels).sum()) >= _FEWEST:
                found[number] = estimate_contamination(labels[inside], logits[inside], largest=LARGEST_SHARE)
        return np.clip(found, 0.0, LARGEST_SHARE)

    def most_real(
        self, name: str, part: NDArray[np.int64], logits: NDArray[np.floating], *, ramp: float = 1.0
    ) -> NDArray[np.bool_]:
        """Mark, in every interval, the share of the artifacts that scores highest.

        Parameters
        ----------
        name : {'train', 'validation'}
            Whose shares.
        part : ndarray of int, shape (m,)
            Rows of that part.
        logits : ndarray, shape (m,)
            Any measure that grows with being real.
        ramp : float
            The shares are multiplied with it.

        Returns
        -------
        ndarray of bool, shape (m,)
            Never a real, never the last artifact of an interval.
        """
        marked = np.zeros(part.size, bool)
        artifacts = np.flatnonzero(self.rows.labels[part] < 0.5)
        interval = self.interval[part[artifacts]]
        for number in range(INTERVALS):
            own = artifacts[interval == number]
            count = min(int(np.floor(ramp * self.values[name][number] * own.size + 0.5)), own.size - 1)
            if count > 0:
                order = np.argsort(-np.asarray(logits, np.float64)[own], kind="stable")
                marked[own[order[:count]]] = True
        return marked

    def kept_weights(self, part: NDArray[np.int64], marked: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Weights of rows without the marked ones; what is left of the artifacts of an interval weighs what all did."""
        weights = self.rows.weights[part].astype(np.float64)
        kept = np.where(marked, 0.0, weights)
        artifacts, interval = self.rows.labels[part] < 0.5, self.interval[part]
        for number in range(INTERVALS):
            own = artifacts & (interval == number)
            if (left := kept[own].sum()) > 0:
                kept[own] *= weights[own].sum() / left
        return kept.astype(np.float32)
