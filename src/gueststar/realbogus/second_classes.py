"""What a model loses on sources of other kinds than it was trained on, at a fixed threshold.

The completeness of a class of the second injector is compared with that of the first injector's reals *at the same
distribution of signal to noise*: faint sources are missed more often whatever they look like. The first injector's
completeness in intervals of S/N is weighted with the share that the class has there (direct standardisation). Intervals
come from a bootstrap over images, the same images for both (Efron & Tibshirani 1993, ch. 8), as sources of one image
share its faults; they are never narrower than the binomial interval of the class alone, as a bootstrap of a sample
without a miss shows no doubt at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import Rate, clopper_pearson

__all__ = ["FIRST_KINDS", "ClassLoss", "class_losses"]

FIRST_KINDS = ("injected", "faded")  #: kinds of the first injector
_FEWEST_FIRST = 15  # reals of the first injector that an interval of S/N needs
_N_BINS = 10

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassLoss:
    """Completeness of one class, and what it loses against the first injector.

    Parameters
    ----------
    name : str
        Kind of its rows.
    tpr : Rate
        Share at or above the threshold, with its Clopper-Pearson interval.
    own, first : float
        Completeness of the class where it can be compared, and of the first injector at the same distribution of
        signal to noise; NaN when nothing can be compared.
    loss, low, high : float
        `first` less `own`, and its interval of 95 %.
    compared : float
        Share of the class in intervals of S/N that have enough of the first injector's reals.
    images : int
        Images with sources of the class.
    """

    name: str
    tpr: Rate
    own: float
    first: float
    loss: float
    low: float
    high: float
    compared: float
    images: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def class_losses(
    labels: NDArray[Any],
    kinds: NDArray[Any],
    scores: NDArray[Any],
    snr: NDArray[Any],
    images: NDArray[Any],
    *,
    threshold: float,
    rng: np.random.Generator,
    first: Sequence[str] = FIRST_KINDS,
    prefix: str = "second_",
    n_boot: int = 2000,
) -> tuple[ClassLoss, ...]:
    """Compare every class whose kind begins with `prefix` with the first injector's reals.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        Rows other than 1, real, are left out.
    kinds, images : ndarray of str, shape (n,)
        Kind of each row, and the image (or other group) that it comes from.
    scores, snr : ndarray, shape (n,)
        The sign of `snr` is ignored.
    threshold : float
        Scores at or above it are called real; not to be chosen on these rows.
    rng : Generator
        Of the bootstrap.
    first : sequence of str
        Kinds of the first injector's reals.
    n_boot : int
        Bootstrap samples.

    Returns
    -------
    tuple of ClassLoss
        By name; the last one, 'all', is of all classes together.

    Raises
    ------
    InputError
        When there is no class, or no real of the first injector.
    """
    labels, kinds = np.asarray(labels), np.asarray(kinds).astype(str)
    hit, strength = np.asarray(scores) >= threshold, np.abs(np.asarray(snr, np.float64))
    _, image = np.unique(np.asarray(images), return_inverse=True)
    real = labels == 1
    known = np.flatnonzero(real & np.isin(kinds, list(first)))
    second = real & np.char.startswith(kinds, prefix)
    names = np.unique(kinds[second]).tolist()
    if not names or not known.size:
        raise InputError(
            f"{int(second.sum())} reals of kinds {prefix}... and {known.size} of kinds {', '.join(first)}: both are "
            "needed; make a set with both injectors (gueststar.training.second_injector_pass)",
            second=int(second.sum()),
            first=known.size,
        )
    made = []
    for name in [*names, "all"]:
        rows = np.flatnonzero(second if name == "all" else second & (kinds == name))
        made.append(_loss(name, rows, known, hit, strength, image, n_boot=n_boot, rng=rng))
    return tuple(made)


def _loss(
    name: str,
    rows: NDArray[np.int64],
    known: NDArray[np.int64],
    hit: NDArray[np.bool_],
    strength: F8,
    image: NDArray[np.int64],
    *,
    n_boot: int,
    rng: np.random.Generator,
) -> ClassLoss:
    # Brighter and fainter ones than any of the class would be taken for its brightest and faintest.
    known = known[(strength[known] >= strength[rows].min()) & (strength[known] <= strength[rows].max())]
    n_wanted = min(max(known.size // (2 * _FEWEST_FIRST), 1), _N_BINS)
    edges = np.unique(np.quantile(strength[rows], np.linspace(0, 1, n_wanted + 1)[1:-1]))
    interval = np.searchsorted(edges, strength, side="right")
    enough = np.bincount(interval[known], minlength=edges.size + 1) >= _FEWEST_FIRST
    n_images, n_bins = int(image.max()) + 1, edges.size + 1

    def counted(which: NDArray[np.int64]) -> tuple[F8, F8]:
        """Rows, and hits among them, of each image and interval; shape (images, intervals) both."""
        place = image[which] * n_bins + interval[which]
        shape = n_images, n_bins
        counts = (np.bincount(place, weights=w, minlength=n_images * n_bins).reshape(shape) for w in (None, hit[which]))
        total, hits = (np.where(enough, np.asarray(table, np.float64), 0.0) for table in counts)
        return total, hits

    own, other = counted(rows), counted(known)
    used = np.flatnonzero(own[0].sum(axis=1) + other[0].sum(axis=1))
    flat = np.concatenate([table[used] for table in (*own, *other)], axis=1)
    best = _standardised(flat.sum(axis=0)[None])
    hits, trials = int(hit[rows].sum()), int(rows.size)
    tpr = Rate(hits / trials, *clopper_pearson(hits, trials), hits, trials)
    compared, n_own = float(enough[interval[rows]].mean()), int(np.unique(image[rows]).size)
    nan = float("nan")
    if not compared or used.size < 2:
        return ClassLoss(name, tpr, nan, nan, nan, nan, nan, compared, n_own)
    draws = rng.multinomial(used.size, np.full(used.size, 1.0 / used.size), size=n_boot)
    again = _standardised(draws @ flat)
    own_rate, first_rate = (float(values[0]) for values in best)
    exact = clopper_pearson(int(own[1].sum()), int(own[0].sum()))
    low, high = np.nanquantile(again[1] - again[0], (0.025, 0.975))
    low, high = min(float(low), first_rate - exact[1]), max(float(high), first_rate - exact[0])
    return ClassLoss(name, tpr, own_rate, first_rate, first_rate - own_rate, low, high, compared, n_own)


def _standardised(tables: F8) -> tuple[F8, F8]:
    """Completeness of the class, and of the first injector with the class's shares; of tables (m, 4 x intervals)."""
    total, hits, others, other_hits = np.split(tables, 4, axis=1)
    both = (total > 0) & (others > 0)
    shares = np.where(both, total, 0.0)
    rates = np.divide(other_hits, others, out=np.zeros_like(others, dtype=np.float64), where=others > 0)
    n = shares.sum(axis=1)
    n = np.where(n > 0, n, np.nan)
    return np.where(both, hits, 0.0).sum(axis=1) / n, (shares * rates).sum(axis=1) / n
