"""What is measured on the frames of one side: PSF, noise, sharp pixels, stars, drift; the same on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, median_filter, uniform_filter1d
from scipy.optimize import least_squares

from gueststar.align.register import register
from gueststar.simulate.optics.painter import moffat_pixels
from gueststar.types import Mask
from realism_parts.frames import Shot

__all__ = [
    "COUNTED_SNR",
    "column_pairs_e",
    "frame_psf",
    "measure_camera",
    "pattern_excess_e",
    "psf_map",
    "sharp_counts",
    "sky_noise_e",
    "star_counts",
]

F8 = NDArray[np.float64]
COUNTED_SNR = (12.0, 30.0, 80.0)  # stars brighter than these are counted
_FITTED_FWHM = 1.6  # radius of the fit of a Moffat profile, FWHM


def sky_noise_e(shot: Shot) -> float:
    """Noise of the sky per pixel, e- as ingest believes."""
    return float(shot.image.facts["sky_noise_e"] or np.nan)


def fit_moffat(stamp: F8) -> tuple[float, float, float, float]:
    """FWHM (px), beta, e1, e2 of the Moffat profile, integrated over pixels, that is nearest to a stamp of sum 1."""
    k = stamp.shape[0]
    offsets = np.arange(k, dtype=np.float32) - k // 2
    radius = np.hypot(*np.meshgrid(offsets, offsets))
    start = 2.0 * np.sqrt((stamp > 0.5 * stamp.max()).sum() / np.pi)
    near = radius <= max(3.0, _FITTED_FWHM * start)

    def residual(p: F8) -> F8:
        e = np.tanh(p[2:4])
        model = moffat_pixels(offsets[None, :], offsets[:, None], fwhm=np.exp(p[0]), beta=p[1], e1=e[0], e2=e[1])
        return np.asarray((p[4] * model - stamp)[near] / stamp.max(), np.float64)

    first = np.array([np.log(max(start, 1.0)), 3.0, 0.01, 0.01, 1.0])
    bounds = ([np.log(0.6), 1.7, -0.6, -0.6, 0.3], [np.log(20.0), 12.0, 0.6, 0.6, 3.0])
    p = least_squares(residual, first, bounds=bounds).x
    return float(np.exp(p[0])), float(p[1]), float(np.tanh(p[2])), float(np.tanh(p[3]))


def psf_map(shot: Shot) -> F8:
    """FWHM, beta, e1, e2 of the measured PSF at 3 x 3 places; shape (9, 4), the centre in row 4."""
    psf = shot.image.psf
    assert psf is not None
    ny, nx = shot.image.shape
    y, x = (a.ravel() for a in np.meshgrid(*(np.array([0.15, 0.5, 0.85]) * n for n in (ny, nx)), indexing="ij"))
    return np.array([fit_moffat(stamp) for stamp in psf.at(x, y).double().numpy()])


def frame_psf(shot: Shot) -> F8:
    """FWHM, beta, e1, e2 of the measured PSF, mean over the frame: its polynomial is not well known at one place."""
    psf = shot.image.psf
    assert psf is not None
    ny, nx = shot.image.shape
    y, x = (a.ravel() for a in np.meshgrid(*(np.array([0.2, 0.5, 0.8]) * n for n in (ny, nx)), indexing="ij"))
    return np.array(fit_moffat(psf.at(x, y).double().numpy().mean(0)))


def sharp_counts(pair: tuple[Shot, Shot]) -> dict[str, float]:
    """Groups of pixels sharper than the PSF, per Mpx.

    `hot`: in both frames at one place of the detector; `once`: in the science frame alone; `tracks`: those of the
    latter with four pixels or more, which no hot pixel makes.
    """
    masks = [(shot.image.numpy("mask") & int(Mask.COSMIC_RAY)) != 0 for shot in pair]
    groups, number = label(masks[0], structure=np.ones((3, 3)))
    hot = np.zeros(number + 1, bool)
    hot[groups[masks[1] & masks[0]]] = True
    size = np.bincount(groups.ravel(), minlength=number + 1)
    once = ~hot[1:]
    scale = 1e6 / masks[0].size
    return {
        "hot": float((~once).sum() * scale),
        "once": float(once.sum() * scale),
        "tracks": float((once & (size[1:] >= 4)).sum() * scale),
    }


def pattern_excess_e(shot: Shot) -> float:
    """Row and column pattern: scatter of clipped line means, high-pass, beyond that of white noise, e- (both ways)."""
    data, sky = shot.image.numpy("data").astype(np.float64), sky_noise_e(shot)
    dark = (np.abs(data) < 3.0 * sky) & (shot.image.numpy("mask") == 0) & (_nearby_light(shot) < 2.0 * sky)
    total = 0.0
    for axis in (0, 1):
        count = dark.sum(axis)
        lines = (np.where(dark, data, 0.0).sum(axis) / np.maximum(count, 1))[10:-10]
        use = count[10:-10] > 50
        high = (lines - median_filter(lines, 15))[use]
        if high.size > 50:
            expected = (sky**2 / count[10:-10][use]).mean() * (1.0 + 1.57 / 15.0)
            total += float((1.4826 * np.median(np.abs(high - np.median(high)))) ** 2 - expected)
    return float(np.sqrt(max(total, 0.0)))


def column_pairs_e(shot: Shot) -> float:
    """Offset between even and odd columns, anew in each row: its scatter beyond that of white noise, e-."""
    data, sky = shot.image.numpy("data").astype(np.float64), sky_noise_e(shot)
    dark = (np.abs(data) < 3.0 * sky) & (shot.image.numpy("mask") == 0) & (_nearby_light(shot) < 2.0 * sky)
    sides = []
    for first in (0, 1):
        use, pixels = dark[:, first::2], data[:, first::2]
        count = np.maximum(use.sum(axis=1), 1)
        sides.append((np.where(use, pixels, 0.0).sum(axis=1) / count, count))
    (even, n), (odd, m) = sides
    good = (n > 50) & (m > 50)
    if good.sum() < 50:
        return 0.0
    offset = (even - odd)[good]
    spread = 1.4826 * np.median(np.abs(offset - np.median(offset)))
    return float(np.sqrt(max(spread**2 - (sky**2 * (1.0 / n + 1.0 / m))[good].mean(), 0.0)))


def measure_camera(shots: Sequence[Shot], pairs: Sequence[tuple[Shot, Shot]]) -> dict[str, Any]:
    """All that the mimicry takes from the real frames, as plain numbers."""
    maps = np.array([psf_map(shot) for shot in shots])
    centre = np.array([frame_psf(shot) for shot in shots])
    ellipticity = np.hypot(centre[:, 2], centre[:, 3])
    widths = maps[:, :, 0] / np.median(maps[:, :, 0], axis=1, keepdims=True)
    noise = np.array([sky_noise_e(shot) for shot in shots])
    found = [register(science.image, reference.image) for science, reference in pairs]
    moves = np.array([f(np.array([[s.image.shape[1] / 2, s.image.shape[0] / 2]]))[0] - np.array(
        [s.image.shape[1] / 2, s.image.shape[0] / 2]) for f, (s, _) in zip(found, pairs, strict=True)])  # fmt: skip
    sharp = [sharp_counts(pair) for pair in pairs]
    ny, nx = shots[0].image.shape
    return {
        "frames": len(shots),
        "pairs": len(pairs),
        "shape": [ny, nx],
        "seconds": shots[0].seconds,
        "gain_e_adu": shots[0].gain_e_adu,
        "saturation_e": shots[0].saturation_e,
        "sky_noise_e": float(np.median(noise)),
        "fwhm_px": _spread(centre[:, 0]),
        "moffat_beta": _spread(centre[:, 1]),
        "ellipticity": _spread(ellipticity),
        "of_pairs": [_of_pair(pair) for pair in pairs],
        "fwhm_change_over_frame": float(np.median(np.abs(widths - 1.0).max(axis=1))),
        "fwhm_pattern_shared": _shared(widths) if len(shots) > 1 else float("nan"),
        "drift_px": float(np.sqrt((moves**2).mean())),
        "registration_rms_px": float(np.median([f.rms_px for f in found])),
        "hot_per_mpx": float(np.mean([s["hot"] for s in sharp])),
        "sharp_once_per_mpx": float(np.mean([s["once"] for s in sharp])),
        "tracks_per_mpx": float(np.mean([s["tracks"] for s in sharp])),
        "pattern_e": float(np.median([pattern_excess_e(shot) for shot in shots])),
        "column_pairs_e": float(np.median([column_pairs_e(shot) for shot in shots])),
        "fixed_pattern": fixed_pattern(pairs),
        "gradient": float(np.median([_gradient(shot) for shot in shots])),
        "stars_per_frame": star_counts(shots),
    }


def _spread(values: F8) -> list[float]:
    """Lowest, median and highest; of many frames the 10th and 90th percentile, so that one bad frame sets no limit."""
    low, high = (0.0, 1.0) if len(values) < 8 else (0.1, 0.9)
    return [float(np.quantile(values, low)), float(np.median(values)), float(np.quantile(values, high))]


def _of_pair(pair: tuple[Shot, Shot]) -> dict[str, list[float]]:
    """Ranges that the two frames of a pair span: neighbours in time have about the same seeing."""
    centre = np.array([frame_psf(shot) for shot in pair])
    columns = {
        "fwhm_px": centre[:, 0],
        "moffat_beta": centre[:, 1],
        "ellipticity": np.hypot(centre[:, 2], centre[:, 3]),
    }
    return {name: [float(values.min()), float(values.max())] for name, values in columns.items()}


def _shared(widths: F8) -> float:
    """Mean correlation of the maps of the FWHM of neighbouring frames."""
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairwise(widths)]))


def _gradient(shot: Shot) -> float:
    """Change of the sky across the frame, as a share of the photons that its noise tells of."""
    rows = np.median(shot.electrons, axis=1), np.median(shot.electrons, axis=0)
    slopes = [np.polyfit(np.linspace(-0.5, 0.5, line.size), line, 1)[0] for line in rows]
    return float(np.hypot(*slopes) / sky_noise_e(shot) ** 2)


def fixed_pattern(pairs: Sequence[tuple[Shot, Shot]]) -> float:
    """White noise that stays on the same pixels of both frames of a pair, over the variance of the sky, 1/e-."""
    shares = []
    for science, reference in pairs:
        noise = sky_noise_e(science)
        planes = []
        for shot in (science, reference):
            plane = shot.image.numpy("data").astype(np.float64)
            plane -= uniform_filter1d(uniform_filter1d(plane, 5, axis=0), 5, axis=1)
            planes.append(np.where(np.abs(plane) < 4 * noise, plane, np.nan))
        product = planes[0] * planes[1]
        # Light of stars correlates too; where neither frame nor its surroundings have any, only the pixels do.
        dark = np.maximum(*(_nearby_light(s) for s in (science, reference))) < 1.0 * noise
        shares.append(np.sqrt(max(np.nanmean(product[dark]), 0.0)) / noise**2)
    return float(np.median(shares))


def _nearby_light(shot: Shot) -> F8:
    data = shot.image.numpy("data").astype(np.float64)
    return np.asarray(uniform_filter1d(uniform_filter1d(data, 9, axis=0), 9, axis=1) * 3.0)


def star_counts(shots: Sequence[Shot]) -> list[float]:
    counts = []
    for shot in shots:
        stars = shot.image.stars
        assert stars is not None
        good = (stars.flags & int(Mask.COSMIC_RAY)) == 0
        counts.append([float((good & (stars.snr > limit)).sum()) for limit in COUNTED_SNR])
    return [float(n) for n in np.mean(counts, axis=0)]
