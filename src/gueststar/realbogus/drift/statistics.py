r"""Has a distribution of measured numbers moved? Two statistics, judged by exchanging whole images.

The population stability index of a group with shares p and a reference with shares q of some bins is

.. math:: \mathrm{PSI} = \sum_b (p_b - q_b) \ln (p_b / q_b),

the symmetric divergence of Kullback & Leibler (1951, Ann. Math. Stat. 22, 79); that of Kolmogorov & Smirnov is the
largest distance of the two cumulative distributions. Neither is 0 for two samples of one population: with B bins the
expectation of the PSI is about (B - 1) (1/n + 1/m) for n and m independent rows (Yurdakul & Naranjo 2020, J. Risk Model
Validation 14, 89), so the usual limits of 0.1 and 0.25 mean nothing for small samples; and the candidates of one image
share its seeing, sky and subtraction, so they are not independent and it is more. Here chance is what comes out when
whole images change sides between group and reference (permutation test, e.g. Ernst 2004, Stat. Sci. 19, 676): images
are what must be exchangeable, candidates need not be.

A group of few rows scatters more than one of many. So that an image is not called strange for being nearly empty, each
statistic is divided by what is expected for as many rows, before draws are compared: ``a (W_g + W_r) + b (1/n + 1/m)``
with W the sum of the squared shares of the images, where a is the scatter between images and b that of single rows,
both fitted to the images of the reference (the square root for the distance of Kolmogorov & Smirnov). The test is right
for any such divisor; a good one makes it sharp.

All is done on counts in bins of each image, so that a reference is kept as its counts. The distance of Kolmogorov &
Smirnov is taken at the edges of fine bins: it may be too small by the share of one bin, in the draws as in the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from gueststar.errors import InputError

__all__ = ["ColumnBins", "Scatter", "bins_of", "count_rows", "permuted", "psi_and_ks", "scatter_of", "selections"]

Floats = NDArray[np.float64]
_CHUNK = 500
_GATHER = 64  # up to so many images are added one by one; a matrix product is faster beyond


@dataclass(frozen=True, slots=True, eq=False)
class ColumnBins:
    """Bins of one column.

    Parameters
    ----------
    name : str
    edges : ndarray, shape (f,)
        Ascending; fine bin i holds edges[i - 1] < value <= edges[i]. The first and the last bin are open. One more
        holds what is missing (NaN).
    coarse : ndarray of int, shape (f + 2,)
        Bin of the PSI that each fine bin and the one of the missing belongs to.
    """

    name: str
    edges: Floats
    coarse: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of fine bins, that of the missing among them."""
        return int(self.edges.size) + 2


def bins_of(name: str, values: NDArray[np.floating], *, coarse: int = 10, fine: int = 64) -> ColumnBins:
    """Quantile bins of the reference.

    Parameters
    ----------
    name : str
    values : ndarray, shape (n,)
        Of the reference; NaN is missing.
    coarse, fine : int
        Bins of the PSI, and at least as many of the cumulative distribution; fewer where many values are equal.

    Raises
    ------
    InputError
        When no value is finite.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        raise InputError(f"column {name}: the reference has no finite value of it; leave it out with --columns")
    # Quantiles that are values: what is equal falls on one side of an edge.
    wide = np.unique(np.quantile(finite, np.arange(1, coarse) / coarse, method="inverted_cdf"))
    narrow = np.unique(np.quantile(finite, np.arange(1, fine) / fine, method="inverted_cdf"))
    edges = np.union1d(wide, narrow)
    upper = np.searchsorted(wide, edges, side="left")
    return ColumnBins(name, edges, np.concatenate((upper, [wide.size, wide.size + 1])))


def count_rows(bins: ColumnBins, values: NDArray[np.floating], image: NDArray[np.integer], n: int) -> NDArray[np.int32]:
    """Rows of each image in each fine bin, shape (n, bins.size); infinite values count as missing.

    Parameters
    ----------
    bins : ColumnBins
    values : ndarray, shape (m,)
    image : ndarray of int, shape (m,)
        Number of the image of each row, below n.
    n : int
    """
    values = np.asarray(values, np.float64)
    at = np.searchsorted(bins.edges, values, side="left")
    at = np.where(np.isfinite(values), at, bins.size - 1)
    flat = np.bincount(image.astype(np.int64) * bins.size + at, minlength=n * bins.size)
    return flat.reshape(n, bins.size).astype(np.int32)


def psi_and_ks(bins: ColumnBins, group: NDArray[np.number], reference: NDArray[np.number]) -> tuple[Floats, Floats]:
    """Both statistics from counts in the fine bins.

    Half a count is put into each bin of the PSI, so that an empty one does not make it infinite. What is missing has a
    bin in the PSI, and is left out of the distance.

    Parameters
    ----------
    bins : ColumnBins
    group, reference : ndarray, shape (..., bins.size)

    Returns
    -------
    psi, ks : ndarray, shape (...)
        NaN where a side has no row; ks NaN where it has no finite value.
    """
    order = np.flatnonzero(np.r_[True, np.diff(bins.coarse) > 0])
    group, reference = np.asarray(group, np.float64), np.asarray(reference, np.float64)
    p, q = (np.add.reduceat(side, order, axis=-1) + 0.5 for side in (group, reference))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    psi = ((p - q) * np.log(p / q)).sum(axis=-1)
    psi = np.where((group.sum(axis=-1) > 0) & (reference.sum(axis=-1) > 0), psi, np.nan)
    sums = [np.cumsum(side[..., :-1], axis=-1) for side in (group, reference)]
    there = (sums[0][..., -1] > 0) & (sums[1][..., -1] > 0)
    shares = [side / np.maximum(side[..., -1:], 1) for side in sums]
    return psi, np.where(there, np.abs(shares[0] - shares[1]).max(axis=-1), np.nan)


@dataclass(frozen=True, slots=True)
class Scatter:
    """What the statistics of two samples of one population are expected to be.

    Parameters
    ----------
    psi : (float, float)
        a and b of the module's formula.
    ks : (float, float)
        The same for the squared distance.
    """

    psi: tuple[float, float]
    ks: tuple[float, float]

    def expected(self, squares: Floats, inverse: Floats) -> tuple[Floats, Floats]:
        """Expected PSI and distance.

        Parameters
        ----------
        squares : ndarray
            Sum of the squared shares of the images, of both sides together.
        inverse : ndarray
            1/n + 1/m of the rows.
        """
        psi, ks = (a * squares + b * inverse for a, b in (self.psi, self.ks))
        return psi, np.sqrt(ks)


def scatter_of(bins: ColumnBins, counts: NDArray[np.integer]) -> Scatter:
    """Fit the scatter between images and between rows to a reference, each image against all others.

    Parameters
    ----------
    bins : ColumnBins
    counts : ndarray of int, shape (r, bins.size)
        Of the images of the reference.
    """
    counts = counts[counts.sum(axis=1) > 0]
    rest = counts.sum(axis=0) - counts
    psi, ks = psi_and_ks(bins, counts, rest)
    n, m = counts.sum(axis=1).astype(np.float64), rest.sum(axis=1).astype(np.float64)
    m = np.maximum(m, 1.0)
    squares = 1.0 + np.maximum((n**2).sum() - n**2, 0.0) / m**2
    terms = np.stack((squares, 1.0 / n + 1.0 / m), axis=1)
    return Scatter(_fit(terms, psi), _fit(terms, ks**2))


def _fit(terms: Floats, values: Floats) -> tuple[float, float]:
    """Non-negative a and b; the scatter of a value is proportional to its expectation."""
    good = np.isfinite(values)
    terms, values = terms[good], values[good]
    plain = (0.0, 1.0)
    if values.size < 3 or not values.any():
        return plain
    expected = np.full(values.size, values.mean())
    found = np.zeros(2)
    for _ in range(5):
        found = nnls(terms / expected[:, None], values / expected)[0]
        expected = np.maximum(terms @ found, 1e-3 * values.mean())
    return (float(found[0]), float(found[1])) if found.any() else plain


def selections(k: int, r: int, draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Choices of k of k + r images, in pieces of shape (draws of the piece, k)."""
    for start in range(0, draws, _CHUNK):
        keys = rng.random((min(_CHUNK, draws - start), k + r), dtype=np.float32)
        yield np.argpartition(keys, k - 1, axis=1)[:, :k]


def permuted(
    columns: Sequence[ColumnBins], scatters: Sequence[Scatter], group: NDArray[np.integer],
    reference: NDArray[np.integer], *, draws: int, rng: np.random.Generator,
) -> Floats:  # fmt: skip
    """Statistics of a group, and of draws in which whole images change sides.

    Parameters
    ----------
    columns, scatters : sequence
    group, reference : ndarray of int, shape (k, b) and (r, b)
        Counts of the images of each side; the bins of all columns side by side.
    draws : int
    rng : Generator

    Returns
    -------
    ndarray, shape (1 + draws, columns, 4)
        PSI, distance, and both divided by what is expected; the group itself first.
    """
    pooled = np.concatenate((group, reference)).astype(np.float64)
    starts = np.cumsum([0, *(column.size for column in columns)])
    rows = np.stack([pooled[:, a:b].sum(axis=1) for a, b in pairwise(starts.tolist())], axis=1)
    pooled = np.concatenate((pooled, rows, rows**2), axis=1)
    total, k = pooled.sum(axis=0), len(group)
    pieces = [_statistics(columns, scatters, pooled[:k].sum(axis=0)[None], total, starts)]
    for chosen in selections(k, len(reference), draws, rng):
        if k <= _GATHER:
            sides = np.zeros((len(chosen), pooled.shape[1]))
            for one in chosen.T:
                sides += pooled[one]
        else:
            matrix = np.zeros((len(chosen), len(pooled)))
            np.put_along_axis(matrix, chosen, 1.0, axis=1)
            sides = matrix @ pooled
        pieces.append(_statistics(columns, scatters, sides, total, starts))
    return np.concatenate(pieces)


def _statistics(
    columns: Sequence[ColumnBins], scatters: Sequence[Scatter], sides: Floats, total: Floats, starts: NDArray[np.int64]
) -> Floats:
    """Of groups (m, b + 2 columns): counts, rows and squared rows of the images."""
    others, made = total - sides, np.empty((len(sides), len(columns), 4))
    for i, (bins, scatter) in enumerate(zip(columns, scatters, strict=True)):
        a, b = starts[i], starts[i + 1]
        psi, ks = psi_and_ks(bins, sides[:, a:b], others[:, a:b])
        at = starts[-1] + i
        n, m = (np.maximum(side[:, at], 1.0) for side in (sides, others))
        squares = sides[:, at + len(columns)] / n**2 + others[:, at + len(columns)] / m**2
        chance, distance = scatter.expected(squares, 1.0 / n + 1.0 / m)
        made[:, i] = np.stack((psi, ks, psi / chance, ks / np.maximum(distance, 1e-12)), axis=1)
    return made
