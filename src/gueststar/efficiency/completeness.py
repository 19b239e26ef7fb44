"""Share of sources found as a function of their brightness, with intervals.

The curve is a logistic function of the logarithm of the flux with a plateau,
C = A / (1 + exp(-(u - m) / w)) with u = ln(S/N), or u = -0.4 ln(10) mag, fitted by maximum likelihood to found / not
found, unbinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["Completeness", "Scale", "ShareBin", "binomial_interval", "completeness", "share_bins"]

F8 = NDArray[np.float64]
Scale = Literal["snr", "mag"]

_PER_MAG = 0.4 * np.log(10.0)
_PRIOR_SNR = 6.0  # near which S/N the middle of the curve is looked for
_FEWEST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class ShareBin:
    """Share of the sources found in one bin, with its 95 % interval."""

    low: float
    high: float
    n: int
    found: int
    fraction: float
    fraction_low: float
    fraction_high: float


@dataclass(frozen=True, slots=True)
class Completeness:
    """Fitted curve, and the brightness at which given shares are found.

    Parameters
    ----------
    plateau, midpoint, width : float
        A, m and w of the curve.
    levels : tuple of (level, value, low, high)
        S/N or magnitude at which the share `level` is found, with its 95 % bootstrap interval; +inf for S/N and -inf
        for magnitudes: never.
    value_range : (float, float)
        Range of the values given; a level beyond it is an extrapolation.
    n, n_found : int
        Sources, and how many of them were found.
    scale : {'snr', 'mag'}
        Whether the values are S/N or magnitudes.
    """

    plateau: float
    midpoint: float
    width: float
    levels: tuple[tuple[float, float, float, float], ...]
    value_range: tuple[float, float]
    n: int = 0
    n_found: int = 0
    scale: Scale = "snr"

    def __call__(self, values: ArrayLike) -> F8:
        """Share found at given S/N or magnitudes."""
        u = (_strength(np.asarray(values, np.float64), self.scale) - self.midpoint) / self.width
        return np.asarray(self.plateau / (1.0 + np.exp(-np.clip(u, -40.0, 40.0))), np.float64)


def binomial_interval(found: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval for a share (Clopper & Pearson 1934, Biometrika 26, 404)."""
    tail = (1.0 - confidence) / 2.0
    low = float(stats.beta.ppf(tail, found, n - found + 1)) if found > 0 else 0.0
    high = float(stats.beta.ppf(1.0 - tail, found + 1, n - found)) if found < n else 1.0
    return low, high


def share_bins(values: ArrayLike, found: ArrayLike, *, edges: tuple[float, ...]) -> list[ShareBin]:
    """Count the sources found in each bin; empty bins are left out.

    Parameters
    ----------
    values : array_like, shape (n,)
        NaN is in no bin.
    found : array_like of bool, shape (n,)
    edges : tuple of float
        Bin edges, ascending; a bin holds its lower edge.
    """
    value, hit = np.asarray(values, np.float64), np.asarray(found, bool)
    bins = []
    for low, high in pairwise(edges):
        # The largest drawn value may equal the last edge.
        inside = (value >= low) & ((value < high) | ((value == high) & (high == edges[-1])))
        n, k = int(inside.sum()), int(hit[inside].sum())
        if n:
            bins.append(ShareBin(low, high, n, k, k / n, *binomial_interval(k, n)))
    return bins


def completeness(
    values: ArrayLike,
    found: ArrayLike,
    *,
    scale: Scale = "snr",
    groups: ArrayLike | None = None,
    levels: tuple[float, ...] = (0.5, 0.9),
    n_bootstrap: int = 300,
    seed: int = 20190319,
) -> Completeness:
    """Fit the completeness curve.

    Parameters
    ----------
    values : array_like, shape (n,), n > 0
        S/N, positive, or magnitudes; finite.
    found : array_like of bool, shape (n,)
    scale : {'snr', 'mag'}
        What the values are.
    groups : array_like, shape (n,), optional
        What is resampled as a whole, such as the name of each source's frame: a frame that fails takes all its sources
        with it. With fewer than 10 groups, or none, single sources are resampled.
    levels : tuple of float
        Shares whose brightness is wanted.
    n_bootstrap : int
        Resamplings for the intervals.
    seed : int
        Of the resampling.

    Raises
    ------
    ValueError
        When there is no source.
    """
    value, hit = np.asarray(values, np.float64), np.asarray(found, np.float64)
    if value.size == 0:
        raise ValueError("completeness needs at least one artificial real, got none")
    strength = _strength(value, scale)
    # Magnitudes have no natural zero: the middle of the sources stands where the middle of the curve is looked for.
    shift = 0.0 if scale == "snr" else float(np.log(_PRIOR_SNR) - np.median(strength))
    # Sources within 1 % of flux count as alike, which bounds the work however many there are.
    cells = np.column_stack([np.round(strength + shift, 2), hit])
    kinds, which = np.unique(cells, axis=0, return_inverse=True)
    counts = _resampled(which.ravel(), len(kinds), groups, n_bootstrap, np.random.default_rng(seed))
    parameters = _fit(kinds[:, 0], kinds[:, 1], counts)
    rows = []
    for level in levels:
        at = _value(_level(parameters, level) - shift, scale)
        low, high = np.quantile(at[1:], (0.025, 0.975), method="nearest") if n_bootstrap else (np.nan, np.nan)
        rows.append((level, float(at[0]), float(low), float(high)))
    plateau, midpoint, width = (float(p) for p in parameters[0])
    span = float(value.min()), float(value.max())
    return Completeness(plateau, midpoint - shift, width, tuple(rows), span, value.size, int(hit.sum()), scale)


def _strength(values: F8, scale: Scale) -> F8:
    return np.log(values) if scale == "snr" else -_PER_MAG * values


def _value(strength: F8, scale: Scale) -> F8:
    return np.exp(strength) if scale == "snr" else -strength / _PER_MAG


def _resampled(
    which: NDArray[np.intp], n_kinds: int, groups: ArrayLike | None, n_bootstrap: int, rng: np.random.Generator
) -> F8:
    """Counts of each kind: the sample itself in the first row, resampled ones in the others."""
    counts = np.bincount(which, minlength=n_kinds).astype(np.float64)
    names, member = np.unique(np.asarray(groups if groups is not None else which), return_inverse=True)
    if groups is None or len(names) < _FEWEST_GROUPS:
        return np.vstack([counts, rng.multinomial(which.size, counts / which.size, size=n_bootstrap)])
    each = np.zeros((len(names), n_kinds))
    np.add.at(each, (member.ravel(), which), 1.0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=n_bootstrap)
    return np.vstack([counts, drawn @ each])


def _fit(logs: F8, found: F8, weights: F8) -> F8:
    """Fit A, m and w for each row of weights (b, n) at once; shape (b, 3).

    Fisher scoring with Levenberg's damping in (logit A, m, ln w). A wide Gaussian prior holds what the data leave open,
    such as the midpoint when all were found.
    """
    b = len(weights)
    prior, precision = np.array([3.0, np.log(_PRIOR_SNR), np.log(0.15)]), 1.0 / np.array([3.0, 1.5, 1.0]) ** 2
    theta = np.tile(prior, (b, 1))
    damping = np.full(b, 1e-2)
    value, gradient, information = _likelihood(theta, logs, found, weights)
    for _ in range(60):
        slope = gradient - precision * (theta - prior)
        matrix = information + np.diag(precision)
        matrix = matrix * (1.0 + damping[:, None, None] * np.eye(3))
        step = np.clip(np.linalg.solve(matrix, slope[..., None])[..., 0], -1.0, 1.0)
        trial = theta + step
        trial_value, trial_gradient, trial_information = _likelihood(trial, logs, found, weights)
        old = value - 0.5 * (precision * (theta - prior) ** 2).sum(1)
        new = trial_value - 0.5 * (precision * (trial - prior) ** 2).sum(1)
        better = new >= old
        damping = np.where(better, damping * 0.3, damping * 8.0)
        theta = np.where(better[:, None], trial, theta)
        value = np.where(better, trial_value, value)
        gradient = np.where(better[:, None], trial_gradient, gradient)
        information = np.where(better[:, None, None], trial_information, information)
        # A step that was refused comes back smaller, with more damping.
        if np.abs(step).max(initial=0.0) < 1e-5:
            break
    return np.column_stack([1.0 / (1.0 + np.exp(-theta[:, 0])), theta[:, 1], np.exp(theta[:, 2])])


def _likelihood(theta: F8, logs: F8, found: F8, weights: F8) -> tuple[F8, F8, F8]:
    """Log likelihood (b,), its gradient (b, 3) and Fisher information (b, 3, 3)."""
    plateau, width = 1.0 / (1.0 + np.exp(-theta[:, :1])), np.exp(theta[:, 2:])
    u = np.clip((logs - theta[:, 1:2]) / width, -40.0, 40.0)
    rise = 1.0 / (1.0 + np.exp(-u))
    share = np.clip(plateau * rise, 1e-9, 1.0 - 1e-9)
    value = (weights * (found * np.log(share) + (1.0 - found) * np.log1p(-share))).sum(1)
    bend = plateau * rise * (1.0 - rise)
    derivatives = np.stack([plateau * (1.0 - plateau) * rise, -bend / width, -bend * u])
    scale = weights / (share * (1.0 - share))
    gradient = np.einsum("bn,jbn->bj", scale * (found - share), derivatives)
    information = np.einsum("bn,jbn,kbn->bjk", scale, derivatives, derivatives)
    return value, gradient, information


def _level(parameters: F8, share: float) -> F8:
    """Logarithm of the flux at which a share is found, for each row of parameters; inf where the plateau is lower."""
    plateau, midpoint, width = parameters.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = midpoint - width * np.log(plateau / share - 1.0)
    return np.where(share < plateau, at, np.inf)
