"""Statistics of one processed pair: stars, point-spread function, noise, candidates by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, percentile_filter, uniform_filter
from scipy.spatial import cKDTree

from gueststar.ingest.psf import psf_photometry
from gueststar.ingest.stars import select_point_sources
from gueststar.pipeline import PairResult
from gueststar.planes import gather_stamps
from gueststar.spline import coefficients, shift_stamps
from gueststar.stamps import CutStamps
from gueststar.types import Candidates, Image, Mask, Stars
from realism_parts.frames import STAMP, Shot
from realism_parts.observed import frame_psf, pattern_excess_e, psf_map, sharp_counts

__all__ = ["CAUSES", "RINGS", "PairFigures", "causes_of", "pair_figures"]

F8 = NDArray[np.float64]
B1 = NDArray[np.bool_]

CAUSES = ("edge", "saturated star", "sharp pixel", "bright star", "star core", "star wing", "empty sky")
RINGS = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.35, 1.75, 2.25, 3.0, 4.0, 5.5, 7.5])  # FWHM
_BRIGHT_SNR = 300.0
_MARGIN = 20


@dataclass(frozen=True, slots=True, eq=False)
class PairFigures:
    """What one pair gives: plain numbers, arrays of stars and of positions on empty sky, candidates, stamps.

    `stars` has one row per star of the science frame, `sky` columns score and pull, `profile` the light in `RINGS`
    per pixel over that of the core.
    """

    numbers: dict[str, float]
    stars: Table
    star_cube: NDArray[np.float32]
    sky: dict[str, F8]
    lags: dict[str, list[float]]
    profile: F8
    candidates: Table
    cube: NDArray[np.float32]
    shape: tuple[int, int]


def pair_figures(result: PairResult, pair: tuple[Shot, Shot], rng: np.random.Generator) -> PairFigures:
    """Measure everything on one processed pair."""
    empty = _empty_sky(result)
    stars, star_cube = _stars(result)
    sky = _sky(result, empty, rng)
    numbers = {**_psf_numbers(result, pair[0]), **_noise_numbers(result, pair[0], empty), **sharp_counts(pair)}
    numbers["registration_rms_px"] = float(result.facts.get("align_rms_px") or np.nan)
    saturated = (pair[0].image.numpy("mask") & int(Mask.SATURATED)) != 0
    numbers["saturated_per_mpx"] = float(saturated.mean() * 1e6)
    numbers["kernel_chi2"] = float(result.facts.get("kernel_chi2") or np.nan)
    numbers["score_scatter_before_scaling"] = float(result.facts.get("score_scatter") or np.nan)
    lags = {
        "science": _autocorrelation(result.science.numpy("data"), result.science.numpy("variance"), empty),
        "difference": _autocorrelation(result.difference.numpy("data"), result.difference.numpy("variance"), empty),
    }
    table = result.candidates.table.copy()
    table["cause"] = causes_of(result)
    cube = _normalised(result.stamps.cube, result.stamps.sigma)
    return PairFigures(numbers, stars, star_cube, sky, lags, _profile(pair[0].image), table, cube, result.science.shape)


def _empty_sky(result: PairResult) -> B1:
    """Pixels without flag and without light of sources for 3 px around, told from the smoothed variance."""
    variance = result.difference.numpy("variance")
    floor = percentile_filter(variance[::8, ::8], 30, size=9)
    floor = np.repeat(np.repeat(floor, 8, 0), 8, 1)[: variance.shape[0], : variance.shape[1]]
    busy = (variance > floor + 1.2 * np.sqrt(floor)) | (result.difference.numpy("mask") != 0)
    empty = ~binary_dilation(busy, iterations=3)
    empty[:_MARGIN], empty[-_MARGIN:], empty[:, :_MARGIN], empty[:, -_MARGIN:] = False, False, False, False
    return np.asarray(empty)


def _stars(result: PairResult) -> tuple[Table, NDArray[np.float32]]:
    """Stars of the science frame away from the edge, what the difference holds there, and their stamps."""
    stars = result.science.stars
    assert stars is not None
    ny, nx = result.science.shape
    keep = (stars.x > _MARGIN) & (stars.x < nx - _MARGIN) & (stars.y > _MARGIN) & (stars.y < ny - _MARGIN)
    keep &= (stars.flags == 0) & (stars.snr > 8.0)
    stars = stars[keep]
    width = result.difference.psf.fwhm
    score = result.difference.numpy("score")
    data, variance = result.difference.numpy("data"), result.difference.numpy("variance")
    ix, iy = np.round(stars.x).astype(int), np.round(stars.y).astype(int)
    reach = 2 * max(1, round(0.7 * width)) + 1
    high, low = maximum_filter(score, reach)[iy, ix], -maximum_filter(-score, reach)[iy, ix]
    box = 2 * max(1, round(0.5 * width)) + 1
    chi2 = uniform_filter((data**2 / variance).astype(np.float64), box)[iy, ix]
    wide = uniform_filter((data**2 / variance).astype(np.float64), 2 * round(2.0 * width) + 1)[iy, ix]
    table = Table(
        {
            "x": stars.x, "y": stars.y, "snr": stars.snr, "score": score[iy, ix],
            "extreme": np.where(high > -low, high, low), "chi2": chi2, "chi2_wide": wide,
            "fwhm_ratio": stars.fwhm / width, "elongation": stars.elongation,
            "peak_share": stars.peak / np.maximum(stars.flux, 1e-9) * width**2,
            **_model_residuals(result.science, stars),
        }
    )  # fmt: skip
    return table, _cut_at(result, stars)


def _cut_at(result: PairResult, stars: Stars) -> NDArray[np.float32]:
    """Triplet stamps at the stars, normalised by the noise."""
    columns: dict[str, Any] = {name: np.zeros(len(stars)) for name in Candidates.empty().table.colnames}
    columns |= {name: np.full(len(stars), "") for name in ("candidate_id", "image_id", "band")}
    at = Candidates.from_columns({**columns, "x": stars.x, "y": stars.y})
    stamps = CutStamps(size=STAMP)(at, result.science, result.reference, result.difference)
    return _normalised(stamps.cube, stamps.sigma)


def _normalised(cube: NDArray[np.float32], sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stamps in units of the noise, compressed; what is not there is 0."""
    units = np.nan_to_num(cube / np.maximum(sigma, 1e-6)[:, :, None, None])
    return np.asarray(np.arcsinh(units / 3.0), np.float32)


def _model_residuals(image: Image, stars: Stars) -> dict[str, F8]:
    """Science frame minus the PSF scaled to each star, within 1 FWHM: rms over the peak, and reduced chi-square."""
    assert image.psf is not None
    psf = image.psf
    flux = psf_photometry(image.data, psf, stars.x, stars.y)
    ix, iy = np.round(stars.x).astype(np.int64), np.round(stars.y).astype(np.int64)
    dx, dy = (torch.as_tensor(a, dtype=torch.float64) for a in (stars.x - ix, stars.y - iy))
    model = shift_stamps(coefficients(psf.at(stars.x, stars.y).double()), dx, dy).numpy() * flux[:, None, None]
    data = gather_stamps(image.data, ix, iy, psf.size).double().numpy()
    variance = gather_stamps(image.variance, ix, iy, psf.size).double().numpy()
    yy, xx = np.mgrid[: psf.size, : psf.size] - psf.size // 2
    near = np.hypot(xx, yy) <= max(1.5, psf.fwhm)
    rest = (data - model)[:, near]
    peak = np.maximum(model[:, near].max(1), 1e-6)
    return {
        "model_rms": np.sqrt((rest**2).mean(1)) / peak,
        "model_chi2": (rest**2 / np.maximum(variance[:, near], 1e-6)).mean(1),
    }


def _psf_numbers(result: PairResult, shot: Shot) -> dict[str, float]:
    places = psf_map(shot)
    image = result.science
    assert image.stars is not None
    index = select_point_sources(image.stars, minimum_snr=50.0, n_most=300)
    widths = image.stars.fwhm[index]
    fwhm, beta, e1, e2 = frame_psf(shot)
    spread = 1.4826 * np.median(np.abs(widths - np.median(widths))) if index.size > 5 else np.nan
    return {
        "fwhm_px": float(fwhm),
        "moffat_beta": float(beta),
        "ellipticity": float(np.hypot(e1, e2)),
        "fwhm_change_over_frame": float(np.abs(places[:, 0] / np.median(places[:, 0]) - 1.0).max()),
        "star_fwhm_scatter": float(spread / np.median(widths)) if index.size > 5 else float("nan"),
        "elongation_median": float(np.median(image.stars.elongation[index])) if index.size > 5 else float("nan"),
    }


def _noise_numbers(result: PairResult, shot: Shot, empty: B1) -> dict[str, float]:
    numbers = {"empty_share": float(empty.mean()), "sky_noise_e": float(shot.image.facts["sky_noise_e"] or np.nan)}
    for name, image in (("science", result.science), ("difference", result.difference)):
        pull = (image.numpy("data") / np.sqrt(image.numpy("variance")))[empty]
        kept = pull[np.abs(pull - np.median(pull)) < 5.0]
        numbers[f"{name}_scatter_over_predicted"] = float(kept.std())
    numbers["pattern_e"] = pattern_excess_e(shot)
    return numbers


def _sky(result: PairResult, empty: B1, rng: np.random.Generator) -> dict[str, F8]:
    """Score, and pull of an aperture of radius 1 FWHM, at random empty positions."""
    y, x = np.nonzero(empty)
    take = rng.choice(y.size, min(40_000, y.size), replace=False) if y.size else np.empty(0, int)
    y, x = y[take], x[take]
    difference = result.difference
    width = difference.psf.fwhm
    radius = int(np.ceil(width))
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.hypot(xx, yy) <= width
    few = slice(0, 8000)
    k = 2 * radius + 1
    gathered = [gather_stamps(getattr(difference, name), x[few], y[few], k) for name in ("data", "variance")]
    planes = [stamps.double().numpy()[:, disc] for stamps in gathered]
    pull = planes[0].sum(1) / np.sqrt(planes[1].sum(1))
    return {"score": difference.numpy("score")[y, x].astype(np.float64), "pull": pull}


def _autocorrelation(data: NDArray[np.float32], variance: NDArray[np.float32], empty: B1) -> list[float]:
    """Correlation of empty pixels at lags 1 to 4, mean of both directions."""
    pull = (data / np.sqrt(variance)).astype(np.float64)
    middle = float(np.median(pull[empty])) if empty.any() else 0.0
    good = empty & (np.abs(pull - middle) < 5.0)
    pull = np.where(good, pull - middle, 0.0)
    power = (pull[good] ** 2).mean() if good.any() else np.nan
    found = []
    for lag in range(1, 5):
        both = [(pull[:, lag:] * pull[:, :-lag], good[:, lag:] & good[:, :-lag])]
        both.append((pull[lag:] * pull[:-lag], good[lag:] & good[:-lag]))
        found.append(float(np.mean([product[use].mean() if use.any() else np.nan for product, use in both]) / power))
    return found


def _profile(image: Image) -> F8:
    """Median light of the brightest stars that are alone and not saturated in rings, over that of the core."""
    stars, psf = image.stars, image.psf
    assert stars is not None
    assert psf is not None
    index = select_point_sources(stars, minimum_snr=100.0, n_most=60)
    if index.size < 5:
        return np.full(RINGS.size - 1, np.nan)
    half = int(np.ceil(RINGS[-1] * psf.fwhm))
    ix, iy = np.round(stars.x[index]).astype(np.int64), np.round(stars.y[index]).astype(np.int64)
    stamps = gather_stamps(image.data, ix, iy, 2 * half + 1).double().numpy()
    flux = psf_photometry(image.data, psf, stars.x[index], stars.y[index])
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    dx, dy = (stars.x[index] - ix)[:, None, None], (stars.y[index] - iy)[:, None, None]
    ring = np.searchsorted(RINGS, np.hypot(xx - dx, yy - dy) / psf.fwhm) - 1
    values = np.full((index.size, RINGS.size - 1), np.nan)
    for i in range(index.size):
        for j in range(RINGS.size - 1):
            inside = stamps[i][ring[i] == j]
            values[i, j] = np.median(inside) / flux[i] * psf.fwhm**2 if inside.size else np.nan
    return np.asarray(np.nanmedian(values, axis=0), np.float64)


def causes_of(result: PairResult) -> NDArray[np.str_]:
    """Cause of each candidate by the pixels and star lists alone, in the order of `CAUSES`; shape (n,)."""
    table, width = result.candidates.table, result.difference.psf.fwhm
    x, y = np.asarray(table["x"], np.float64), np.asarray(table["y"], np.float64)
    ny, nx = result.science.shape
    flags = result.difference.numpy("mask").astype(int)
    near = 2 * max(1, round(width)) + 1
    seen = {bit: maximum_filter(((flags & int(bit)) != 0).astype(np.uint8), near) != 0 for bit in
            (Mask.SATURATED, Mask.COSMIC_RAY, Mask.NO_DATA, Mask.BAD)}  # fmt: skip
    ix, iy = np.clip(np.round(x).astype(int), 0, nx - 1), np.clip(np.round(y).astype(int), 0, ny - 1)
    distance, bright = _nearest(result, x, y)
    far, bright_far = _nearest_bright(result, x, y)
    edge = (np.minimum(x, nx - 1 - x) < 2 * width) | (np.minimum(y, ny - 1 - y) < 2 * width)
    edge |= seen[Mask.NO_DATA][iy, ix]
    sharp = seen[Mask.COSMIC_RAY][iy, ix] | seen[Mask.BAD][iy, ix] | (np.asarray(table["fwhm"]) < 0.65 * width)
    cause = np.full(len(x), "empty sky", dtype="U16")
    cause[distance < 3.0 * width] = "star wing"
    cause[distance < 1.0 * width] = "star core"
    cause[(bright > _BRIGHT_SNR) & (distance < 1.0 * width)] = "bright star"
    cause[(far < 5.0 * width) & (bright_far > 3.0 * _BRIGHT_SNR)] = "bright star"
    cause[sharp] = "sharp pixel"
    cause[seen[Mask.SATURATED][iy, ix]] = "saturated star"
    cause[edge] = "edge"
    return cause


def _sources(result: PairResult) -> tuple[F8, F8]:
    """Positions and S/N of the sources of both images."""
    lists = [image.stars for image in (result.science, result.reference) if image.stars is not None]
    points = np.concatenate([np.column_stack((s.x, s.y)) for s in lists]) if lists else np.empty((0, 2))
    snr = np.concatenate([s.snr for s in lists]) if lists else np.empty(0)
    return points, snr


def _nearest(result: PairResult, x: F8, y: F8) -> tuple[F8, F8]:
    points, snr = _sources(result)
    if not len(points) or not len(x):
        return np.full(len(x), np.inf), np.zeros(len(x))
    distance, index = cKDTree(points).query(np.column_stack((x, y)))
    return distance, snr[index]


def _nearest_bright(result: PairResult, x: F8, y: F8) -> tuple[F8, F8]:
    points, snr = _sources(result)
    bright = snr > 3.0 * _BRIGHT_SNR
    if not bright.any() or not len(x):
        return np.full(len(x), np.inf), np.zeros(len(x))
    distance, index = cKDTree(points[bright]).query(np.column_stack((x, y)))
    return distance, snr[bright][index]
