"""Shifted stars against new sources: how well `snr_beyond_shift` tells them apart.

    python benchmarks/shifted_stars.py
    python benchmarks/shifted_stars.py --out docs/measured/shifted_stars.json

*Shifted*: a star of some S/N in the reference, known to its catalogue, is shifted by 0.05 to 1 px. *New*: a source of
some S/N on top of, or beside, a star that was subtracted with a shift of 0.03 px rms in each axis, which bright stars
show. Photon noise of both. The positive candidate nearest to each place is judged by the ratio of `snr_beyond_shift` to
`snr`; a shifted star is one whose ratio is below the cut.
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
from drawn import F8, Moffat, difference_of, image_of, paint, places, stars_at
from scipy.spatial import cKDTree

from gueststar import __version__
from gueststar.detect import Detect

SHIFTS_PX = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
STAR_SNR = (20.0, 50.0, 100.0, 300.0, 1000.0)
OFFSETS_FWHM = (0.0, 0.3, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
NEW_SNR = (8.0, 15.0, 40.0, 150.0)
RESIDUAL_PX = 0.03
CUT = 0.5
_NEAR_PX = 5.0
Row = dict[str, Any]


def judged(light: F8, photons: F8, stars: tuple[F8, F8, F8], at: tuple[F8, F8], rng: np.random.Generator) -> Row:
    """Ratio, dipole columns and S/N of the positive candidate at each place that has one."""
    options = Detect(trails=False)
    found = options(difference_of(light, rng, Moffat(), photons), image_of(), image_of(stars_at(*stars)))
    table = found.table[found["snr"] > 0]
    if len(table) == 0:
        return {"ratio": np.empty(0), "dipole_ratio": np.empty(0), "snr": np.empty(0)}
    distance, index = cKDTree(np.column_stack((table["x"], table["y"]))).query(np.column_stack(at))
    table = table[index[distance < _NEAR_PX]]
    snr = np.asarray(table["snr"], float)
    return {
        "ratio": np.asarray(table["snr_beyond_shift"], float) / snr,
        "dipole_ratio": np.asarray(table["dipole_ratio"], float),
        "snr": snr,
    }


def shifted(snr: float, shift: float, seed: int) -> Row:
    rng, profile = np.random.default_rng(seed), Moffat()
    x, y = places(rng)
    flux, angle = np.full(x.size, snr * profile.flux_error), rng.uniform(0, 2 * np.pi, x.size)
    before = paint(x, y, flux, profile)
    after = paint(x + shift * np.cos(angle), y + shift * np.sin(angle), flux, profile)
    return judged(after - before, before + after, (x, y, flux), (x, y), rng)


def new(star_snr: float, snr: float, offset: float, seed: int) -> Row:
    rng, profile = np.random.default_rng(seed), Moffat()
    x, y = places(rng)
    angle, apart = rng.uniform(0, 2 * np.pi, x.size), offset * profile.fwhm
    star, flux = (np.full(x.size, value * profile.flux_error) for value in (star_snr, snr))
    at = x + apart * np.cos(angle), y + apart * np.sin(angle)
    before, source = paint(x, y, star, profile), paint(*at, flux, profile)
    moved = (a + rng.normal(0.0, RESIDUAL_PX, x.size) for a in (x, y))
    after = paint(*moved, star, profile) + source
    return judged(after - before, before + after, (x, y, star), at, rng)


def area_under(high: F8, low: F8) -> float:
    """Chance that one of `high` exceeds one of `low`."""
    order = np.sort(low)
    return float((np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")).mean() / (2 * low.size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=800)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seed, moved_rows, new_rows = arguments.first_seed, [], []
    moved_all, new_all = [], []
    for snr in STAR_SNR:
        for shift in SHIFTS_PX:
            found = shifted(snr, shift, seed)
            seed += 1
            n = len(found["ratio"])
            if n < 10:
                continue
            moved_all.append(found["ratio"])
            row = {
                "star_snr": snr, "shift_px": shift, "candidates": n, "snr": round(float(np.median(found["snr"])), 1),
                "called_new": int((found["ratio"] >= CUT).sum()),
                "ratio_median": round(float(np.median(found["ratio"])), 3),
                "ratio_p95": round(float(np.quantile(found["ratio"], 0.95)), 3),
                "by_dipole_ratio": int((found["dipole_ratio"] < 0.5).sum()),
            }  # fmt: skip
            moved_rows.append(row)
            print("shifted", row, flush=True)
    for star_snr in STAR_SNR:
        for snr in NEW_SNR:
            for offset in OFFSETS_FWHM:
                found = new(star_snr, snr, offset, seed)
                seed += 1
                n = len(found["ratio"])
                if n < 10:
                    continue
                new_all.append(found["ratio"])
                row = {
                    "star_snr": star_snr, "new_snr": snr, "offset_fwhm": offset, "candidates": n,
                    "kept": int((found["ratio"] >= CUT).sum()),
                    "ratio_median": round(float(np.median(found["ratio"])), 3),
                    "ratio_p05": round(float(np.quantile(found["ratio"], 0.05)), 3),
                    "by_dipole_ratio": int((found["dipole_ratio"] < 0.5).sum()),
                }  # fmt: skip
                new_rows.append(row)
                print("new", row, flush=True)
    moved, fresh = np.concatenate(moved_all), np.concatenate(new_all)
    cuts = np.round(np.arange(0.1, 1.0, 0.1), 1)
    roc = [
        {
            "cut": float(c),
            "new_kept": round(float((fresh >= c).mean()), 4),
            "shifted_kept": round(float((moved >= c).mean()), 4),
        }
        for c in cuts
    ]
    auc = round(area_under(fresh, moved), 4)
    print("AUC", auc, "of", fresh.size, "new and", moved.size, "shifted;", roc)
    if arguments.out:
        report = {
            "version": __version__, "first_seed": arguments.first_seed, "cut": CUT, "auc": auc, "roc": roc,
            "shifted": moved_rows, "new": new_rows,
        }  # fmt: skip
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
