"""Count peaks of pure noise against the expectation for a Gaussian field, and the width of the score on empty sky.

    python benchmarks/false_alarms.py                                      # 5 x 60 Mpx of noise, 6 fields, 3 seeds
    python benchmarks/false_alarms.py --megapixels 20 --seeds 0            # noise only, quick
    python benchmarks/false_alarms.py --out docs/measured/false_alarms.json

*Noise*: two planes of noise; one is resampled, convolved and subtracted from the other as in the real chain, then
levelled and scored. There are no stars, so every peak is a false alarm. *Fields*: simulated pairs through the whole
chain; only peaks and pixels far from every source of either frame, by the truth, are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from frontend_parts.fields import FIELDS, make_pair
from frontend_parts.judge import _empty_sky
from numpy.typing import NDArray

from gueststar import Image, __version__
from gueststar.align import Align
from gueststar.align.resample import resample
from gueststar.detect import find_peaks
from gueststar.detect.false_alarms import correlation_of, false_alarm_rate
from gueststar.planes import Tiling, as_float, convolve
from gueststar.subtract.bins import Bins, any_in_bin, unbinned
from gueststar.subtract.finish import light
from gueststar.subtract.kernel import Kernel
from gueststar.subtract.level import fit_level
from gueststar.subtract.score import score_difference
from gueststar.types import Psf

THRESHOLDS = (3.5, 4.0, 4.5, 5.0, 5.5)
SHAPE = (1152, 2048)
_EDGE = 16
_MERGE_FWHM = 0.8
Row = dict[str, Any]

#: FWHM of the science image and of the reference, px; noise of the reference over that of the science image; axis
#: ratio of the PSF; electrons of sky a pixel in the science image, none for Gaussian noise.
NOISE: dict[str, dict[str, float]] = {
    "FWHM 2.1, equal noise": {"science": 2.1, "reference": 2.1, "depth": 1.0},
    "FWHM 2.8, equal noise": {"science": 2.8, "reference": 2.4, "depth": 1.0},
    "FWHM 2.8, reference deeper": {"science": 2.8, "reference": 2.4, "depth": 0.4},
    "FWHM 3.4, equal noise": {"science": 3.4, "reference": 2.6, "depth": 1.0},
    "trailed 2.6 x 4, equal noise": {"science": 3.2, "reference": 2.5, "depth": 1.0, "axis_ratio": 0.65},
    "FWHM 2.8, sky 100 e-": {"science": 2.8, "reference": 2.4, "depth": 0.4, "sky_e": 100.0},
}


def gaussian(fwhm: float, axis_ratio: float = 1.0, half: int = 12) -> NDArray[np.float64]:
    """A Gaussian stamp of sum 1, its major axis at 30 degrees."""
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    u, v = (np.sqrt(3) * xx + yy) / 2.0, (np.sqrt(3) * yy - xx) / 2.0
    sigma2 = (fwhm / 2.3548) ** 2
    stamp = np.exp(-0.5 * (u**2 * axis_ratio + v**2 / axis_ratio) / sigma2)
    return np.asarray(stamp / stamp.sum())


def matching(science: float, reference: float, axis_ratio: float, half: int = 6) -> torch.Tensor:
    """The Gaussian that takes one PSF to the other; a single pixel when both are alike."""
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    u, v = (np.sqrt(3) * xx + yy) / 2.0, (np.sqrt(3) * yy - xx) / 2.0
    widths = [(science**2 * q - reference**2) / 2.3548**2 for q in (1.0 / axis_ratio, axis_ratio)]
    if min(widths) < 0.05:
        kernel = ((xx == 0) & (yy == 0)).astype(float)
    else:
        kernel = np.exp(-0.5 * (u**2 / widths[0] + v**2 / widths[1]))
    return torch.from_numpy((kernel / kernel.sum()).astype(np.float32))[None]


def noise_plane(rng: torch.Generator, shape: tuple[int, int], sigma: float, sky_e: float) -> torch.Tensor:
    if sky_e:
        return (torch.poisson(torch.full(shape, sky_e), generator=rng) - sky_e) * (sigma / sky_e**0.5)
    return torch.randn(shape, generator=rng) * sigma


def scored_noise(kind: dict[str, float], seed: int, shape: tuple[int, int]) -> tuple[torch.Tensor, Psf]:
    """Score of one difference of pure noise."""
    rng = torch.Generator().manual_seed(seed)
    ratio = kind.get("axis_ratio", 1.0)
    psf = Psf.from_stamp(gaussian(kind["science"], ratio))
    frame = Image(torch.zeros(shape), torch.ones(shape), torch.zeros(shape, dtype=torch.int16))
    depth = kind["depth"]
    science = replace(frame, data=noise_plane(rng, shape, 1.0, kind.get("sky_e", 0.0)))
    reference = replace(frame, data=torch.randn(shape, generator=rng) * depth, variance=frame.variance * depth**2)
    draw = np.random.default_rng(seed)
    shift, turn = draw.uniform(-3.0, 3.0, 2), draw.normal(0.0, 2e-4)
    matrix = np.array([[1.0, -turn], [turn, 1.0]]) * (1.0 + draw.normal(0.0, 1e-4))
    moved, _ = resample(reference, lambda points: points @ matrix.T + shift, science)
    kernel, tiling = matching(kind["science"], kind["reference"], ratio), Tiling(shape, 64)
    data = science.data - convolve(moved.data, kernel, tiling)
    variance = convolve(moved.variance, kernel**2, tiling).add_(science.variance)
    sources = light(science) | light(moved)
    bins = Bins.of(data, variance, moved.mask)
    data = data.sub_(unbinned(fit_level(bins, any_in_bin(sources)), shape)).mul_(as_float(moved.mask == 0))
    return score_difference(data, variance, moved.mask, psf, sources).score, psf


def peaks_above(score: torch.Tensor, fwhm: float, free: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Positive and negative peaks above each threshold, shape (2, n)."""
    mask = torch.zeros(score.shape, dtype=torch.int16)
    x, y = find_peaks(score, mask, threshold=THRESHOLDS[0], radius=_MERGE_FWHM * fwhm, edge=_EDGE)
    if free is not None:
        x, y = x[free[y, x]], y[free[y, x]]
    values = score.numpy()[y, x]
    return np.array([[int((sign * values > t).sum()) for t in THRESHOLDS] for sign in (1, -1)])


def row_of(name: str, kind: str, counts: NDArray[np.int64], expected: NDArray[np.float64], std: list[float]) -> Row:
    total = counts.sum(0)
    print(
        f"{kind:6s} {name:32s} std {np.mean(std):.4f}  "
        + "  ".join(
            f"{t}: {int(n)} ({p}+ {m}-) / {e:.1f}"
            for t, n, p, m, e in zip(THRESHOLDS, total, *counts.tolist(), expected, strict=True)
        ),
        flush=True,
    )
    return {
        "name": name, "kind": kind, "score_std": round(float(np.mean(std)), 4), "score_stds": np.round(std, 4).tolist(),
        "positive": counts[0].tolist(), "negative": counts[1].tolist(), "expected": np.round(expected, 2).tolist(),
    }  # fmt: skip


def of_noise(name: str, megapixels: float, first_seed: int, shape: tuple[int, int]) -> Row:
    """Pure noise of one kind."""
    counts, expected, std, searched = np.zeros((2, 5), np.int64), np.zeros(5), [], 0
    seed = first_seed
    while searched < megapixels * 1e6:
        score, psf = scored_noise(NOISE[name], seed, shape)
        inner = score[_EDGE:-_EDGE, _EDGE:-_EDGE]
        good = int((inner != 0).sum())
        counts += peaks_above(score, psf.fwhm)
        expected += [2.0 * good * false_alarm_rate(t, correlation_of(psf)) for t in THRESHOLDS]
        std.append(float(inner[inner != 0].std()))
        searched, seed = searched + good, seed + 1
    return {**row_of(name, "noise", counts, expected, std), "megapixels": round(searched / 1e6, 1)}


def of_field(name: str, seeds: range, shape: tuple[int, int]) -> Row:
    """Empty sky of simulated pairs of one kind."""
    counts, expected, std, searched = np.zeros((2, 5), np.int64), np.zeros(5), [], 0
    for seed in seeds:
        pair = make_pair(name, seed, shape)
        aligned = Align()(pair.science, pair.reference)
        difference = Kernel()(pair.science, aligned)
        free = _empty_sky(pair, difference, 2.0 * pair.science.psf.fwhm)
        free[:_EDGE], free[-_EDGE:], free[:, :_EDGE], free[:, -_EDGE:] = (False,) * 4
        values = difference.numpy("score")[free]
        std.append(float(values[np.abs(values) < 5.5].std()))
        counts += peaks_above(difference.score, difference.psf.fwhm, free)
        expected += [2.0 * values.size * false_alarm_rate(t, correlation_of(difference.psf)) for t in THRESHOLDS]
        searched += values.size
    return {**row_of(name, "field", counts, expected, std), "megapixels": round(searched / 1e6, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=60.0, help="of noise of each kind (default 60)")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of each field (default 3)")
    parser.add_argument("--first-seed", type=int, default=30)
    parser.add_argument("--fields", nargs="*", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--noise", nargs="*", default=list(NOISE), choices=list(NOISE))
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPE, metavar=("NY", "NX"))
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, shape = time.process_time(), tuple(options.shape)
    rows = [of_noise(name, options.megapixels, 1000 * i, shape) for i, name in enumerate(options.noise)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    rows += [of_field(name, seeds, shape) for name in options.fields if options.seeds]
    print(
        f"{sum(row['megapixels'] for row in rows):.0f} Mpx in {time.process_time() - started:.0f} s of processor time"
    )
    if options.out:
        report = {
            "version": __version__, "thresholds": THRESHOLDS, "shape": shape, "first_seed": options.first_seed,
            "seeds": options.seeds, "rows": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
