"""How many artificial reals are found at which S/N, with intervals.

The completeness curve is a logistic function of ln(S/N) with a plateau,
C(s) = A / (1 + exp(-(ln s - m) / w)), fitted by maximum likelihood to found / not found, unbinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

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
        return _curve(np.array([self.plateau, self.midpoint, self.width]), np.log(np.asarray(snr, np.float64)))


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
    logs = np.log(value)
    best = _fit(logs, hit, np.ones(value.size))
    rng = np.random.default_rng(seed)
    samples = np.array(
        [
            _levels(_fit(logs, hit, rng.multinomial(value.size, np.full(value.size, 1.0 / value.size)), best), levels)
            for _ in range(n_bootstrap)
        ]
    ).reshape(n_bootstrap, len(levels))
    rows = []
    for i, (level, at) in enumerate(zip(levels, _levels(best, levels), strict=True)):
        low, high = np.quantile(samples[:, i], (0.025, 0.975), method="nearest") if n_bootstrap else (np.nan, np.nan)
        rows.append((level, float(at), float(low), float(high)))
    plateau, midpoint, width = (float(p) for p in best)
    return Completeness(plateau, midpoint, width, tuple(rows), (float(value.min()), float(value.max())))


def _curve(parameters: NDArray[np.float64], logs: NDArray[np.float64]) -> NDArray[np.float64]:
    plateau, midpoint, width = parameters
    return np.asarray(plateau / (1.0 + np.exp(-np.clip((logs - midpoint) / width, -60.0, 60.0))), np.float64)


def _fit(
    logs: NDArray[np.float64],
    found: NDArray[np.float64],
    weight: NDArray[np.float64] | NDArray[np.int64],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    bounds = [(0.01, 0.9999), (logs.min() - 1.0, logs.max() + 1.0), (0.01, 1.0)]
    if start is None:
        start = np.array([0.95, np.log(6.0), 0.15])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        plateau, midpoint, width = parameters
        u = np.clip((logs - midpoint) / width, -60.0, 60.0)
        rise = 1.0 / (1.0 + np.exp(-u))
        share = np.clip(plateau * rise, 1e-9, 1.0 - 1e-9)
        value = -np.sum(weight * (found * np.log(share) + (1.0 - found) * np.log1p(-share)))
        slope = -weight * (found / share - (1.0 - found) / (1.0 - share))
        by_u = plateau * rise * (1.0 - rise)
        gradient = np.array([slope @ rise, -(slope @ by_u) / width, -(slope @ (by_u * u)) / width])
        return float(value), gradient

    start = np.clip(start, [low for low, _ in bounds], [high for _, high in bounds])
    result = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return np.asarray(result.x, np.float64)


def _levels(parameters: NDArray[np.float64], levels: tuple[float, ...]) -> list[float]:
    plateau, midpoint, width = parameters
    return [float(np.exp(midpoint - width * np.log(plateau / q - 1.0))) if q < plateau else np.inf for q in levels]
