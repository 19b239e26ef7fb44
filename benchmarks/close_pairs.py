"""Close pairs of new sources: how many are told apart, and how true their fluxes and positions are; and false splits.

    python benchmarks/close_pairs.py
    python benchmarks/close_pairs.py --out docs/measured/close_pairs.json

Each cell has 256 pairs of one separation, flux ratio and signal to noise of the fainter source, at random angles and
fractions of a pixel, with photon noise. Single stars are searched with the true PSF and with wrong ones.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from drawn import Moffat, difference_of, image_of, paint, places
from scipy.spatial import cKDTree

from gueststar import __version__
from gueststar.detect import Detect

SEPARATIONS_FWHM = (0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
RATIOS = (1.0, 3.0, 10.0)
FAINT_SNR = (10.0, 30.0)
SINGLE_SNR = (100.0, 300.0, 1000.0)
#: Relative error of the width of the PSF, and its missing ellipticity.
PSF_ERRORS = ((0.0, 0.0), (0.02, 0.0), (-0.02, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.0, 0.05))


def scatter(pulls: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(pulls - np.median(pulls))))


def pairs(separation: float, ratio: float, snr: float, seed: int, options: Detect) -> dict[str, Any]:
    """One cell."""
    rng, profile = np.random.default_rng(seed), Moffat()
    x, y = places(rng)
    angle, apart = rng.uniform(0.0, 2.0 * np.pi, x.size), separation * profile.fwhm
    x2, y2 = x + apart * np.cos(angle), y + apart * np.sin(angle)
    faint = snr * profile.flux_error
    flux = np.concatenate((np.full(x.size, ratio * faint), np.full(x.size, faint)))
    points = np.column_stack((np.append(x, x2), np.append(y, y2)))
    light = paint(points[:, 0], points[:, 1], flux, profile)
    found = options(difference_of(light, rng, profile), image_of(), image_of())
    distance, index = cKDTree(np.column_stack((found["x"], found["y"]))).query(points)
    n = x.size
    hit = (distance[:n] < 0.5 * apart) & (distance[n:] < 0.5 * apart) & (index[:n] != index[n:])
    row: dict[str, Any] = {
        "separation_fwhm": separation, "ratio": ratio, "faint_snr": snr, "pairs": n, "both": int(hit.sum()),
        "extra": int(len(found) - len(set(index[distance < 0.5 * apart]))),
    }  # fmt: skip
    if hit.sum() >= 20:
        for name, part in (("bright", slice(0, n)), ("faint", slice(n, None))):
            chosen, true = index[part][hit], flux[part][hit]
            pull = (found["flux"][chosen] - true) / found["flux_err"][chosen]
            where = np.concatenate(
                [(found[a][chosen] - points[part][hit, i]) / found[f"{a}_err"][chosen] for i, a in enumerate("xy")]
            )
            row[name] = {
                "flux_bias": round(float(np.mean(found["flux"][chosen] / true) - 1.0), 4),
                "flux_bias_median": round(float(np.median(found["flux"][chosen] / true) - 1.0), 4),
                "pull_mean": round(float(np.mean(np.clip(pull, -6, 6))), 3), "pull_scatter": round(scatter(pull), 3),
                "error": round(float(np.median(found["flux_err"][chosen] / true)), 4),
                "position_pull_scatter": round(scatter(where), 3),
            }  # fmt: skip
    return row


def singles(snr: float, error: tuple[float, float], seed: int, options: Detect) -> dict[str, Any]:
    """Single stars; the PSF that the search is given is the one without the error."""
    rng, true = np.random.default_rng(seed), Moffat(2.8 * (1.0 + error[0]), ellipticity=error[1])
    x, y = places(rng)
    light = paint(x, y, np.full(x.size, snr * true.flux_error), true)
    found = options(difference_of(light, rng, Moffat()), image_of(), image_of())
    near, _ = cKDTree(np.column_stack((x, y))).query(np.column_stack((found["x"], found["y"])))
    positive = found["snr"] > 0
    return {
        "snr": snr, "width_error": error[0], "ellipticity": error[1], "stars": int(x.size),
        "extra": int(((near < 9.0) & positive).sum() - x.size), "negative": int(((near < 9.0) & ~positive).sum()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=700)
    parser.add_argument("--no-deblend", action="store_true", help="each peak alone, for comparison")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Rows of bright sources, as they are drawn here, would pass for trails.
    options, seed = Detect(deblend=not arguments.no_deblend, trails=False), arguments.first_seed
    rows = []
    for snr in FAINT_SNR:
        for ratio in RATIOS:
            for separation in SEPARATIONS_FWHM:
                rows.append(row := pairs(separation, ratio, snr, seed, options))
                seed += 1
                parts = [
                    f"{name}: bias {100 * one['flux_bias']:+.1f} ({100 * one['flux_bias_median']:+.1f}) % pull "
                    f"{one['pull_mean']:+.2f} {one['pull_scatter']:.2f} pos {one['position_pull_scatter']:.2f}"
                    for name, one in row.items()
                    if name in ("bright", "faint")
                ]
                print(
                    f"faint S/N {snr:.0f} 1:{ratio:.0f} {separation:.1f} FWHM: both "
                    f"{100 * row['both'] / row['pairs']:.1f} %, extra {row['extra']}; " + "; ".join(parts),
                    flush=True,
                )
    alone = []
    for snr in SINGLE_SNR:
        for error in PSF_ERRORS:
            alone.append(row := singles(snr, error, seed, options))
            seed += 1
            print(
                f"single S/N {snr:.0f}, PSF {error}: {row['extra']} extra, {row['negative']} negative of {row['stars']}"
            )
    if arguments.out:
        report = {"version": __version__, "first_seed": arguments.first_seed, "pairs": rows, "singles": alone}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
