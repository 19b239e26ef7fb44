"""How many rays and hot pixels the mask takes away, and how many point sources with them.

    python benchmarks/cosmic_rays.py                     # three widths, four seeds
    python benchmarks/cosmic_rays.py --fwhm 2.1 --seeds 2 --out docs/measured/cosmic_rays.json

A simulated pair with many rays is processed with the search for them switched off and on. Those that become candidates
when it is off and none when it is on were caught. A star or a transient of S/N > 5, unsaturated and at least 8 px from
any ray, is lost when one of its central 3 x 3 pixels is flagged.
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
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar import __version__, process_pair
from gueststar.ingest.mask import FindCosmicRays
from gueststar.ingest.prepare import Ingest
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.types import Candidates, Mask, Stamps

SHAPE = (1152, 1024)
SURVEY: dict[str, Any] = {
    "cosmic_rays_per_chip": 250.0, "hot_pixels": 3e-4, "hostless_per_chip": 120.0, "supernovae_per_chip": 0.0,
    "transient_mag": (14.0, 18.3), "galactic_latitude_deg": (25.0, 60.0), "bright_stars": "drawn",
}  # fmt: skip


def unscored(candidates: Candidates, stamps: Stamps) -> Candidates:
    return candidates


def places(table: Table) -> NDArray[np.float64]:
    return np.column_stack((table["x"], table["y"])).astype(float)


def lost(sources: Table, rays: NDArray[np.float64], flags: NDArray[np.int16]) -> tuple[int, int]:
    """Number of clean point sources, and of those with a flagged core."""
    sources = sources[(np.asarray(sources["snr"]) > 5.0) & ~np.asarray(sources["saturated"], bool)]
    x, y = (np.round(np.asarray(sources[name])).astype(int) for name in ("x", "y"))
    ny, nx = flags.shape
    clean = (x > 5) & (y > 5) & (x < nx - 6) & (y < ny - 6)
    clean &= cKDTree(rays).query(places(sources))[0] > 8.0
    cores = [
        (flags[j - 1 : j + 2, i - 1 : i + 2] & Mask.COSMIC_RAY).any() for i, j in zip(x[clean], y[clean], strict=True)
    ]
    return len(cores), int(np.sum(cores))


def measure(fwhm: float, seed: int) -> dict[str, int]:
    """Counts of one pair."""
    survey = Survey(**{**Survey.quiet().model_dump(), **SURVEY, "fwhm_px": (fwhm - 0.05, fwhm + 0.05)})
    pair = simulate_pair(survey, seed=seed, shape=SHAPE)
    reference = pair.reference.image()
    found = []
    for enabled in (False, True):
        science = pair.science.image(ingest=Ingest(cosmic_rays=FindCosmicRays(enabled=enabled)))
        found.append(cKDTree(places(process_pair(science, reference, classify=unscored).candidates.table)))
    kind = np.asarray(pair.truth["kind"])
    rays = pair.truth[np.isin(kind, ("cosmic_ray", "hot_pixel"))]
    transients = pair.truth[kind == "hostless"]
    xy, reach = places(rays), 2.5 + np.nan_to_num(np.asarray(rays["length_px"], float)) / 2.0
    off, on = (tree.query(xy)[0] < reach for tree in found)
    off &= cKDTree(places(transients)).query(xy)[0] > 6.0
    flags = science.numpy("mask")
    stars, stars_lost = lost(pair.truth[kind == "star"], xy, flags)
    new, new_lost = lost(transients, xy, flags)
    return {
        "rays": int(off.sum()), "caught": int((off & ~on).sum()), "stars": stars, "stars_lost": stars_lost,
        "transients": new, "transients_lost": new_lost,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fwhm", type=float, nargs="+", default=[2.1, 2.8, 3.4])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=60)
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for fwhm in options.fwhm:
        counts = [measure(fwhm, options.first_seed + i) for i in range(options.seeds)]
        total = {name: sum(one[name] for one in counts) for name in counts[0]}
        rows.append({"fwhm_px": fwhm, **total})
        print(
            f"FWHM {fwhm:.1f} px: {total['caught']} of {total['rays']} rays caught "
            f"({100 * total['caught'] / max(total['rays'], 1):.1f} %); lost {total['stars_lost']} of {total['stars']} "
            f"stars, {total['transients_lost']} of {total['transients']} transients",
            flush=True,
        )
    if options.out:
        report = {"version": __version__, "first_seed": options.first_seed, "seeds": options.seeds, "rows": rows}
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
