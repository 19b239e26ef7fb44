"""From the figures of many pairs to the numbers of a report: both sides of a camera, binned, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.stats import chi2

from realism_parts.classify import Samples
from realism_parts.statistics import CAUSES, PairFigures

__all__ = ["SNR_EDGES", "artifact_samples", "side_summary", "star_samples"]

F8 = NDArray[np.float64]

SNR_EDGES = (8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 1000.0, 3000.0)
_FEATURES = (
    "snr", "snr_aper/snr", "fwhm/psf_fwhm", "elongation", "psf_chi2", "dipole_separation", "dipole_ratio",
    "dipole_dchi2", "science_snr", "reference_snr", "star_distance", "mask_fraction",
)  # fmt: skip
_STAR_FEATURES = ("snr", "score", "extreme", "chi2", "chi2_wide", "fwhm_ratio", "elongation", "peak_share",
                  "model_rms", "model_chi2")  # fmt: skip


def side_summary(pairs: Sequence[PairFigures], rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of one side: medians over pairs, stars by S/N, noise, candidates by sign and cause."""
    area = sum(p.shape[0] * p.shape[1] for p in pairs) / 1e6
    names = pairs[0].numbers
    return {
        "pairs": len(pairs),
        "mpx": round(area, 3),
        "medians": {name: _rounded(np.nanmedian([p.numbers[name] for p in pairs])) for name in names},
        "scatter_between_pairs": {name: _rounded(np.nanstd([p.numbers[name] for p in pairs])) for name in names},
        "stars": _star_bins(vstack([p.stars for p in pairs], metadata_conflicts="silent"), rng),
        "sky": _sky(pairs),
        "autocorrelation": {
            plane: [_rounded(v) for v in np.nanmean([p.lags[plane] for p in pairs], axis=0)]
            for plane in ("science", "difference")
        },
        "profile": [_rounded(v, 6) for v in np.nanmedian([p.profile for p in pairs], axis=0)],
        "candidates": {f"{limit:g}": _candidates(pairs, limit, area) for limit in (4.0, 5.0)},
    }


def _rounded(value: float | np.floating[Any], digits: int = 4) -> float | None:
    return None if not np.isfinite(value) else round(float(value), digits)


def _star_bins(stars: Table, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Running median and 90 % of |score| and chi-square at stars, 95 % intervals from bootstraps over stars."""
    rows = []
    for low, high in pairwise(SNR_EDGES):
        inside = (stars["snr"] >= low) & (stars["snr"] < high)
        n = int(inside.sum())
        row: dict[str, Any] = {"snr": [low, high], "n": n}
        if n >= 5:
            score = np.abs(np.asarray(stars["extreme"][inside], np.float64))
            core = np.asarray(stars["chi2"][inside], np.float64)
            model = np.asarray(stars["model_chi2"][inside], np.float64)
            rms = np.asarray(stars["model_rms"][inside], np.float64)
            for name, values, level in (
                ("score_median", score, 0.5), ("score_90", score, 0.9), ("chi2_median", core, 0.5),
                ("chi2_90", core, 0.9), ("model_chi2_median", model, 0.5), ("model_rms_median", rms, 0.5),
            ):  # fmt: skip
                draws = np.quantile(values[rng.integers(0, n, (300, n))], level, axis=1)
                limits = np.quantile(draws, (0.025, 0.975))
                row[name] = [_rounded(v) for v in (np.quantile(values, level), *limits)]
        rows.append(row)
    return rows


def _sky(pairs: Sequence[PairFigures]) -> dict[str, Any]:
    score = np.concatenate([p.sky["score"] for p in pairs])
    pull = np.concatenate([p.sky["pull"] for p in pairs])
    if score.size < 100:
        return {"positions": int(score.size)}
    z = (score - score.mean()) / score.std()
    edges = np.linspace(-6.0, 6.0, 49)
    return {
        "positions": int(score.size),
        "score_mean": _rounded(score.mean()),
        "score_std": _rounded(score.std()),
        "score_kurtosis": _rounded((z**4).mean() - 3.0),
        "beyond": {str(k): _rounded((np.abs(score) > k).mean(), 7) for k in (3, 4, 5)},
        "aperture_pull_std": _rounded(1.4826 * np.median(np.abs(pull - np.median(pull)))),
        "histogram": [int(n) for n in np.histogram(score, edges)[0]],
    }


def _candidates(pairs: Sequence[PairFigures], limit: float, area: float) -> dict[str, Any]:
    """Number by sign and, per Mpx with 95 % Poisson intervals (Garwood 1936), by cause."""
    snr = np.concatenate([np.asarray(p.candidates["snr"], np.float64) for p in pairs])
    cause = np.concatenate([np.asarray(p.candidates["cause"]) for p in pairs])
    use = np.abs(snr) >= limit
    positive, negative = int((snr[use] > 0).sum()), int((snr[use] < 0).sum())
    per_mpx = {}
    for name in CAUSES:
        n = int((cause[use] == name).sum())
        low, high = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0, chi2.ppf(0.975, 2 * n + 2) / 2
        per_mpx[name] = [_rounded(v / area, 3) for v in (n, low, high)]
    share = negative / max(positive + negative, 1)
    error = 1.96 * np.sqrt(max(share * (1 - share), 0.25 / max(positive + negative, 1)) / max(positive + negative, 1))
    return {
        "positive": positive,
        "negative": negative,
        "negative_share": [_rounded(share), _rounded(max(share - error, 0.0)), _rounded(min(share + error, 1.0))],
        "per_mpx": per_mpx,
    }


def _cells(x: F8, shape: tuple[int, int], y: F8, pair: int) -> NDArray[np.int64]:
    column, row = (np.clip((v / n * 4).astype(int), 0, 3) for v, n in ((x, shape[1]), (y, shape[0])))
    return np.asarray(pair * 16 + row * 4 + column, np.int64)


def artifact_samples(pairs: Sequence[PairFigures]) -> Samples:
    """All peaks of the pairs, as stamps and as features."""
    columns = []
    for p in pairs:
        table = p.candidates
        columns.append(np.stack([_feature(table, name) for name in _FEATURES], axis=1))
    return _samples(pairs, [p.cube for p in pairs], columns, _FEATURES, [p.candidates for p in pairs])


def _feature(table: Table, name: str) -> F8:
    first, _, second = name.partition("/")
    values = np.asarray(table[first], np.float64)
    return values / np.asarray(table[second], np.float64) if second else values


def star_samples(
    pairs: Sequence[PairFigures], *, like: F8 | None = None, rng: np.random.Generator, most: int = 800
) -> Samples:
    """Stars of the pairs; with `like` as many in each range of S/N as there, so that brightness tells nothing."""
    columns = [np.stack([np.asarray(p.stars[n], np.float64) for n in _STAR_FEATURES], axis=1) for p in pairs]
    all_stars = _samples(pairs, [p.star_cube for p in pairs], columns, _STAR_FEATURES, [p.stars for p in pairs])
    snr = all_stars.features[:, 0]
    if like is None:
        few = min(most, len(all_stars))
        return all_stars.take(np.sort(rng.choice(len(all_stars), few, replace=False)))
    edges = np.quantile(like, np.linspace(0, 1, 13))
    chosen = []
    for low, high in pairwise(edges):
        inside = np.flatnonzero((snr >= low) & (snr < high))
        wanted = min(inside.size, max(1, most // 12))
        chosen.append(rng.choice(inside, wanted, replace=False))
    return all_stars.take(np.sort(np.concatenate(chosen)))


def _samples(
    pairs: Sequence[PairFigures],
    cubes: Sequence[NDArray[np.float32]],
    features: Sequence[F8],
    names: tuple[str, ...],
    tables: Sequence[Table],
) -> Samples:
    x = [np.asarray(t["x"], np.float64) for t in tables]
    y = [np.asarray(t["y"], np.float64) for t in tables]
    return Samples(
        cube=np.concatenate(cubes),
        features=np.concatenate(features),
        names=names,
        pair=np.concatenate([np.full(len(t), i) for i, t in enumerate(tables)]),
        half=np.concatenate([(v > p.shape[1] / 2).astype(np.int64) for v, p in zip(x, pairs, strict=True)]),
        cell=np.concatenate([_cells(u, p.shape, v, i) for i, (u, v, p) in enumerate(zip(x, y, pairs, strict=True))]),
    )
