"""How many artificial reals are found at which S/N, with intervals.

The completeness curve is a logistic function of ln(S/N) with a plateau,
C(s) = A / (1 + exp(-(ln s - m) / w)), fitted by maximum likelihood to found / not found, unbinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["SNR_EDGES", "Completeness", "RecoveryBin", "binomial_interval", "completeness", "recovery_bins"]

#: S/N bins of the recovery table; those beyond the drawn range are left out.
SNR_EDGES = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0)


@dataclass(frozen=True, slots=True)
class RecoveryBin:
    """Share of the artificial reals found in one S/N bin, with its 95 % interval."""

    low: float
    high: float
    n: int
    found: int
    fraction: float
    fraction_low: float
    fraction_high: float


@dataclass(frozen=True, slots=True)
class Completeness:
    """Fitted curve, and the S/N at which given shares are found.

    Parameters
    ----------
    plateau, midpoint, width : float
        A, m and w of the curve.
    levels : tuple of (level, snr, low, high)
        S/N at which the share `level` is found, with its 95 % bootstrap interval over sources; inf: never.
    snr_range : (float, float)
        Range of the S/N that were drawn; a value beyond it is an extrapolation.
    """

    plateau: float
    midpoint: float
    width: float
    levels: tuple[tuple[float, float, float, float], ...]
    snr_range: tuple[float, float]

    def __call__(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Share found at given S/N."""
        u = (np.log(np.asarray(snr, np.float64)) - self.midpoint) / self.width
        return np.asarray(self.plateau / (1.0 + np.exp(-np.clip(u, -40.0, 40.0))), np.float64)


def binomial_interval(found: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval for a share (Clopper & Pearson 1934, Biometrika 26, 404)."""
    tail = (1.0 - confidence) / 2.0
    low = float(stats.beta.ppf(tail, found, n - found + 1)) if found > 0 else 0.0
    high = float(stats.beta.ppf(1.0 - tail, found + 1, n - found)) if found < n else 1.0
    return low, high


def recovery_bins(snr: ArrayLike, found: ArrayLike, *, edges: tuple[float, ...] = SNR_EDGES) -> list[RecoveryBin]:
    """Count the artificial reals found in each S/N bin; empty bins are left out.

    Parameters
    ----------
    snr : array_like, shape (n,)
        Injected S/N.
    found : array_like of bool, shape (n,)
    edges : tuple of float
        Bin edges, ascending; a bin holds its lower edge.
    """
    value, hit = np.asarray(snr, np.float64), np.asarray(found, bool)
    bins = []
    for low, high in pairwise(edges):
        # The largest drawn S/N may equal the last edge.
        inside = (value >= low) & ((value < high) | ((value == high) & (high == edges[-1])))
        n, k = int(inside.sum()), int(hit[inside].sum())
        if n:
            bins.append(RecoveryBin(low, high, n, k, k / n, *binomial_interval(k, n)))
    return bins


def completeness(
    snr: ArrayLike,
    found: ArrayLike,
    *,
    levels: tuple[float, ...] = (0.5, 0.9),
    n_bootstrap: int = 300,
    seed: int = 20190319,
) -> Completeness:
    """Fit the completeness curve.

    Parameters
    ----------
    snr : array_like, shape (n,), n > 0
        Injected S/N, positive.
    found : array_like of bool, shape (n,)
    levels : tuple of float
        Shares whose S/N is wanted.
    n_bootstrap : int
        Resamplings of the sources for the intervals.
    seed : int
        Of the resampling.

    Raises
    ------
    ValueError
        When there is no source.
    """
    value, hit = np.asarray(snr, np.float64), np.asarray(found, np.float64)
    if value.size == 0:
        raise ValueError("completeness needs at least one artificial real, got none")
    # Sources within 1 % of S/N count as alike, which bounds the work however many there are.
    kinds, counts = np.unique(np.column_stack([np.round(np.log(value), 2), hit]), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(value.size, counts / value.size, size=n_bootstrap)
    # The first row is the sample itself, the others are resampled from it.
    parameters = _fit(kinds[:, 0], kinds[:, 1], np.vstack([counts, drawn]).astype(np.float64))
    rows = []
    for level in levels:
        at = _level(parameters, level)
        low, high = np.quantile(at[1:], (0.025, 0.975), method="nearest") if n_bootstrap else (np.nan, np.nan)
        rows.append((level, float(at[0]), float(low), float(high)))
    plateau, midpoint, width = (float(p) for p in parameters[0])
    return Completeness(plateau, midpoint, width, tuple(rows), (float(value.min()), float(value.max())))


def _fit(logs: NDArray[np.float64], found: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit A, m and w for each row of weights (b, n) at once; shape (b, 3).

    Fisher scoring with Levenberg's damping in (logit A, m, ln w). A wide Gaussian prior holds what the data leave open,
    such as the midpoint when all were found.
    """
    b = len(weights)
    prior, precision = np.array([3.0, np.log(6.0), np.log(0.15)]), 1.0 / np.array([3.0, 1.5, 1.0]) ** 2
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
        if np.abs(step[better]).max(initial=0.0) < 1e-5:
            break
    return np.column_stack([1.0 / (1.0 + np.exp(-theta[:, 0])), theta[:, 1], np.exp(theta[:, 2])])


def _likelihood(
    theta: NDArray[np.float64], logs: NDArray[np.float64], found: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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


def _level(parameters: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """S/N at which a share is found, for each row of parameters; inf where the plateau is lower."""
    plateau, midpoint, width = parameters.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.exp(midpoint - width * np.log(plateau / share - 1.0))
    return np.where(share < plateau, at, np.inf)
