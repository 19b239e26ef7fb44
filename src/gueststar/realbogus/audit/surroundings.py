"""What stands around a candidate in its stamp: sources, the brightest star, level and structure of the difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

__all__ = ["SURROUNDING_COLUMNS", "surroundings"]

F8 = NDArray[np.float64]

#: Columns of `surroundings`.
SURROUNDING_COLUMNS = (
    "sources_near", "covered_share", "brightest_snr", "brightest_flux", "brightest_dx", "brightest_dy", "ring_level",
    "ring_structure", "star_fwhm", "star_elongation", "star_peak_snr", "reference_roughness", "border_px",
)  # fmt: skip
_SOURCE_SNR = 6.0  # of the mean of 3 x 3 pixels
_SECTORS = 8
_HALF = 10  # px; half width of the box in which the shape of a star is measured
_ROUNDS = 4
_NEAR = 12  # px; half width of the box in which the noise of the reference is measured
_FAINT, _FAINT_WIDTH = (0.03, 0.25), 1.2063  # quantiles of its faintest pixels; how far apart they are at unit noise


def surroundings(cube: NDArray[np.floating], sigma: NDArray[np.floating], fwhm: NDArray[np.floating]) -> dict[str, F8]:
    """Measure the surroundings of each candidate.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        Science, reference, difference, e-; NaN where missing.
    sigma : ndarray, shape (n, 3)
        Noise of the sky per pixel, e-.
    fwhm : ndarray, shape (n,)
        Of the PSF in the difference, px.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``sources_near``: sources of the reference per 1000 px; ``covered_share``: pixels of it more than 3 sigma
        above the sky; ``brightest_snr``, ``brightest_flux`` (e-), ``brightest_dx``, ``brightest_dy`` (px from the
        candidate): the brightest source of the science or reference stamp; ``ring_level`` (sigma of a pixel) and
        ``ring_structure`` (scatter of the medians of its eight sectors over what noise gives): the difference around
        the candidate; ``star_fwhm``, ``star_elongation``, ``star_peak_snr``: the brightest science source, from
        Gaussian-weighted moments (Bernstein & Jarvis 2002, AJ 123, 583, Sec. 3); ``reference_roughness``: noise of the
        reference near the candidate, from its faintest pixels there, in units of sigma; ``border_px``: distance
        to the nearest row or column of the stamp that no plane has, k // 2 + 1 with none. NaN where not measurable.
    """
    noise = np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan).astype(np.float64)
    units = np.asarray(cube, np.float64) / noise[:, :, None, None]
    light = [units[:, i] - _sky(units[:, i])[:, None, None] for i in (0, 1)]
    found = _sources(light[1])
    found |= _brightest(light, noise)
    found |= _ring(units[:, 2], fwhm)
    found |= _star_shape(light[0], fwhm)
    found["reference_roughness"] = _roughness(units[:, 1])
    found["border_px"] = _border(np.asarray(np.isfinite(cube).all(axis=1)))
    return {name: found[name] for name in SURROUNDING_COLUMNS}


def _sky(plane: F8) -> F8:
    """A low quantile that stars do not reach: the median of the fainter half, corrected for a Gaussian sky."""
    flat = plane.reshape(len(plane), -1)
    there = np.isfinite(flat)
    count = there.sum(axis=1)
    ordered = np.sort(np.where(there, flat, np.inf), axis=1)
    rows = np.arange(len(flat))
    quarter = ordered[rows, np.clip((0.25 * count).astype(int), 0, flat.shape[1] - 1)]
    middle = ordered[rows, np.clip((0.5 * count).astype(int), 0, flat.shape[1] - 1)]
    # On an empty sky both estimates agree; in a crowd the lower one is nearer to the sky.
    return np.where(count > 20, np.minimum(middle, quarter + 0.6745), np.nan)


def _sources(reference: F8) -> dict[str, F8]:
    there = np.isfinite(reference)
    area = there.sum(axis=(1, 2))
    smooth = uniform_filter(np.nan_to_num(reference), (0, 3, 3)) * 3.0
    peak = (smooth == maximum_filter(smooth, (1, 5, 5))) & (smooth > _SOURCE_SNR)
    count = peak.sum(axis=(1, 2))
    lit = ((reference > 3.0) & there).sum(axis=(1, 2))
    some = area > 100
    return {
        "sources_near": np.where(some, 1000.0 * count / np.maximum(area, 1), np.nan),
        "covered_share": np.where(some, lit / np.maximum(area, 1), np.nan),
    }


def _brightest(light: list[F8], sigma: F8) -> dict[str, F8]:
    n, k = len(light[0]), light[0].shape[-1]
    best = {name: np.full(n, np.nan) for name in ("brightest_snr", "brightest_flux", "brightest_dx", "brightest_dy")}
    best_flux = np.full(n, -np.inf)
    for plane, noise in zip(light, (sigma[:, 0], sigma[:, 1]), strict=True):
        box = uniform_filter(np.nan_to_num(plane), (0, 7, 7)) * 49.0
        place = box.reshape(n, -1).argmax(axis=1)
        snr = box.reshape(n, -1)[np.arange(n), place] / 7.0
        better = np.isfinite(plane).any(axis=(1, 2)) & np.isfinite(noise) & (snr * noise > best_flux)
        best_flux = np.where(better, snr * noise, best_flux)
        values = (snr, snr * 7.0 * noise, place % k - k // 2, place // k - k // 2)
        for name, value in zip(best, values, strict=True):
            best[name] = np.where(better, value, best[name])
    return best


def _ring(difference: F8, fwhm: NDArray[np.floating]) -> dict[str, F8]:
    n, k = len(difference), difference.shape[-1]
    y, x = np.mgrid[:k, :k] - k // 2
    r, sector = np.hypot(x, y), ((np.arctan2(y, x) + np.pi) / (2 * np.pi) * _SECTORS).astype(int) % _SECTORS
    inner = 2.5 * np.where(np.isfinite(fwhm) & (fwhm > 0.5), fwhm, 3.0)
    ring = (r[None] > np.minimum(inner, 0.3 * k)[:, None, None]) & (r <= k // 2)[None]
    medians, errors = np.full((n, _SECTORS), np.nan), np.full((n, _SECTORS), np.nan)
    for number in range(_SECTORS):
        inside = sector == number
        values = np.where(ring & np.isfinite(difference), difference, np.nan)[:, inside]
        count = np.isfinite(values).sum(axis=1)
        ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=1)
        rows = np.arange(n)
        low, middle, high = (ordered[rows, np.clip((q * count).astype(int), 0, values.shape[1] - 1)]
                             for q in (0.25, 0.5, 0.75))  # fmt: skip
        good = count >= 20
        medians[good, number] = middle[good]
        errors[good, number] = 1.2533 * (high[good] - low[good]) / 1.349 / np.sqrt(count[good])
    enough = np.isfinite(medians).sum(axis=1) >= 5
    level, structure = np.full(n, np.nan), np.full(n, np.nan)
    level[enough] = np.nanmedian(medians[enough], axis=1)
    structure[enough] = np.nanstd(medians[enough], axis=1) / np.sqrt(np.nanmean(errors[enough] ** 2, axis=1) + 1e-12)
    return {"ring_level": np.abs(level), "ring_structure": structure}


def _roughness(plane: F8) -> F8:
    """Noise near the centre, from the faintest of its pixels, which stars do not reach."""
    middle = plane.shape[-1] // 2
    at = slice(max(middle - _NEAR, 0), middle + _NEAR + 1)
    near = plane[:, at, at].reshape(len(plane), -1)
    there = np.isfinite(near)
    count = there.sum(axis=1)
    ordered = np.sort(np.where(there, near, np.inf), axis=1)
    rows = np.arange(len(plane))
    low, high = (ordered[rows, np.clip((q * count).astype(int), 0, near.shape[1] - 1)] for q in _FAINT)
    width = np.full(len(plane), np.nan)
    enough = count > 150
    width[enough] = (high[enough] - low[enough]) / _FAINT_WIDTH
    return width


def _border(there: NDArray[np.bool_]) -> F8:
    """Distance from the centre to the nearest row or column without data, px."""
    k = there.shape[-1]
    middle = k // 2
    distance = np.abs(np.arange(k) - middle)
    lines = [~there.any(axis=axis) for axis in (1, 2)]
    nearest = np.minimum(*(np.where(line, distance, middle + 1).min(axis=1) for line in lines))
    return np.where(there.any(axis=(1, 2)), nearest, np.nan).astype(np.float64)


def _star_shape(science: F8, fwhm: NDArray[np.floating]) -> dict[str, F8]:
    """Width and elongation of the brightest science source that lies whole inside the stamp."""
    n, k = len(science), science.shape[-1]
    half = min(_HALF, k // 2 - 1)
    clean = np.nan_to_num(science)
    box = uniform_filter(clean, (0, 3, 3)) * 3.0
    seen = box[:, half : k - half, half : k - half].reshape(n, -1)
    place, width = seen.argmax(axis=1), k - 2 * half
    peak = seen[np.arange(n), place]
    x0, y0 = place % width + half, place // width + half
    grid = np.arange(-half, half + 1)
    cut = clean[np.arange(n)[:, None, None], (y0[:, None] + grid)[:, :, None], (x0[:, None] + grid)[:, None, :]]
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    s2 = (np.where(np.isfinite(fwhm) & (fwhm > 0.5), fwhm, 3.0).astype(np.float64) / 2.3548) ** 2
    xx, yy, xy = s2.copy(), s2.copy(), np.zeros(n)
    cx, cy = np.zeros(n), np.zeros(n)
    for _ in range(_ROUNDS):
        det = np.maximum(xx * yy - xy**2, 0.05)
        dx, dy = x[None] - cx[:, None, None], y[None] - cy[:, None, None]
        a, b, c = (value[:, None, None] for value in (yy / det, xx / det, -xy / det))
        weight = np.exp(-0.5 * np.minimum(a * dx**2 + b * dy**2 + 2 * c * dx * dy, 60.0)) * cut
        total = np.maximum(weight.sum(axis=(1, 2)), 1e-6)
        cx = np.clip(cx + 2.0 * (weight * dx).sum(axis=(1, 2)) / total, -2.0, 2.0)
        cy = np.clip(cy + 2.0 * (weight * dy).sum(axis=(1, 2)) / total, -2.0, 2.0)
        # A Gaussian seen through a weight of its own shape has half its second moments.
        xx = np.clip(2.0 * (weight * dx**2).sum(axis=(1, 2)) / total, 0.3, 60.0)
        yy = np.clip(2.0 * (weight * dy**2).sum(axis=(1, 2)) / total, 0.3, 60.0)
        limit = 0.95 * np.sqrt(xx * yy)
        xy = np.clip(2.0 * (weight * dx * dy).sum(axis=(1, 2)) / total, -limit, limit)
    mean, root = 0.5 * (xx + yy), np.sqrt(0.25 * (xx - yy) ** 2 + xy**2)
    major, minor = mean + root, np.maximum(mean - root, 0.1)
    good = (peak > 15.0) & np.isfinite(peak)
    return {
        "star_fwhm": np.where(good, 2.3548 * (major * minor) ** 0.25, np.nan),
        "star_elongation": np.where(good, np.sqrt(major / minor), np.nan),
        "star_peak_snr": peak,
    }
