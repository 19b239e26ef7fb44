"""How the chain does where stars cover the sky: stars found, PSF, registration, transients and false alarms.

    python benchmarks/crowds.py                                # seven densities, two seeds
    python benchmarks/crowds.py --density 1 5 --seeds 1 --json docs/measured/crowds.json
    python benchmarks/crowds.py --density 1 5 --fwhm 9 10      # wide stars

Simulated pairs of 1000 x 600 px at galactic latitude 1 to 2 degrees; the density multiplies the stars of the simulator.
A transient of S/N > 7 counts as found when a candidate lies within 2 px of it; a false alarm is a candidate that is
5 px away from all that is new or varies. A bright star is one of the 200 brightest that are not saturated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar import __version__, process_pair
from gueststar.errors import GueststarError
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.types import Candidates, Stamps

SHAPE = (600, 1000)
DENSITIES = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
SURVEY: dict[str, Any] = {
    "hostless_per_chip": 120.0, "supernovae_per_chip": 0.0, "transient_mag": (13.0, 18.0),
    "galactic_latitude_deg": (1.0, 2.0), "bright_stars": "drawn", "fwhm_px": (2.6, 2.9),
}  # fmt: skip
Row = dict[str, Any]


def unscored(candidates: Candidates, stamps: Stamps) -> Candidates:
    return candidates


def points(table: Any) -> NDArray[np.float64]:
    return np.column_stack((table["x"], table["y"])).astype(float)


def near(places: NDArray[np.float64], others: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Which places have one of the others within a radius."""
    if len(others) == 0:
        return np.zeros(len(places), bool)
    return np.asarray(cKDTree(others).query(places)[0] < radius)


def measure(density: float, seed: int, fwhm_px: tuple[float, float]) -> Row:
    """Counts of one pair."""
    survey = Survey(**{**Survey.quiet().model_dump(), **SURVEY, "star_density": density, "fwhm_px": fwhm_px})
    pair = simulate_pair(survey, seed=seed, shape=SHAPE)
    begin = time.perf_counter()
    science, reference = pair.science.image(), pair.reference.image()
    truth = pair.truth
    kind, snr = np.asarray(truth["kind"]).astype(str), np.asarray(truth["snr"], float)
    inside = ((points(truth) > 8) & (points(truth) < np.array(SHAPE[::-1]) - 9)).all(1)
    stars = truth[(kind == "star") & inside & ~np.asarray(truth["saturated"], bool)]
    stars = stars[np.argsort(-np.asarray(stars["snr"], float))[:200]]
    assert science.stars is not None
    assert science.psf is not None
    row: Row = {
        "density": density, "seed": seed, "true_stars": int((kind == "star").sum()), "stars": len(science.stars),
        "bright_stars": len(stars),
        "bright_stars_found": int(near(points(stars), np.column_stack((science.stars.x, science.stars.y)), 1.0).sum()),
        "fwhm": science.psf.fwhm, "true_fwhm": pair.science.conditions.fwhm_px,
    }  # fmt: skip
    try:
        result = process_pair(science, reference, classify=unscored)
    except GueststarError as error:
        return {**row, "failed": str(error), "seconds": time.perf_counter() - begin}
    found = points(result.candidates.table)
    new = truth[np.isin(kind, tuple(REAL_KINDS))]
    transients = truth[(kind == "hostless") & inside & (snr > 7.0)]
    assert result.quality is not None
    numbers = result.quality.numbers
    return {
        **row, "crowding": numbers["quality_crowding"], "rms_px": numbers["quality_astrometric_rms_px"],
        "rejected": list(result.quality.causes), "transients": len(transients),
        "transients_found": int(near(points(transients), found, 2.0).sum()),
        "false_alarms": int((~near(found, points(new), 5.0)).sum()), "seconds": time.perf_counter() - begin,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, nargs="+", default=list(DENSITIES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=501)
    parser.add_argument("--fwhm", type=float, nargs=2, default=SURVEY["fwhm_px"], help="narrowest and widest stars, px")
    parser.add_argument("--json", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for density in options.density:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows.append(measure(density, seed, tuple(options.fwhm)))
            one = rows[-1]
            print(
                f"density {density:g}, seed {seed}: {one['true_stars']:,} stars; found {one['stars']:,}, of the bright "
                f"{one['bright_stars_found']} of {one['bright_stars']}; FWHM {one['fwhm']:.2f} for "
                f"{one['true_fwhm']:.2f} px; "
                + (
                    f"failed: {one['failed'][:90]}"
                    if "failed" in one
                    else f"crowding {one['crowding']:.2f}, registered to {one['rms_px']:.3f} px; transients "
                    f"{one['transients_found']} of {one['transients']}, false alarms {one['false_alarms']}; "
                    f"rejected: {', '.join(one['rejected']) or 'no'}"
                )
                + f"; {one['seconds']:.1f} s",
                flush=True,
            )
    if options.json:
        facts = {"version": __version__, "megapixels": float(np.prod(SHAPE)) / 1e6, "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
