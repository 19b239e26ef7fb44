"""How the chain does where a nebula fills the frame, or the sky has patches: stars, PSF, transients, false alarms.

    python benchmarks/nebulae.py                                # nebulae, patches and neither, at two latitudes
    python benchmarks/nebulae.py --seeds 1 --json docs/measured/nebulae.json

Simulated pairs of 1000 x 600 px, in a crowded field (galactic latitude 8 to 12 degrees) and a sparse one (40 to 60).
The nebula's brightness is its median over the field; its ridges are many times as bright. Patches are of other places
in every exposure, and scatter by a share of the sky. A transient of S/N > 8, with
the photon noise of the nebula, counts as found when a candidate lies within 2 px of it; a false alarm is a candidate
that is 5 px away from all that is new or varies, and is scored real above 0.5. Bright stars are the 100 with the
highest S/N, above 20, that are not saturated.
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
from crowds import near, points

from gueststar import __version__, process_pair
from gueststar.errors import GueststarError
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey

SHAPE = (600, 1000)
LATITUDES = ((8.0, 12.0), (40.0, 60.0))
SKIES: tuple[dict[str, float], ...] = (
    {}, *({"nebula_mag_arcsec2": mag} for mag in (22.0, 21.0, 20.0, 19.0)),
    *({"sky_structure": share} for share in (0.03, 0.1, 0.3)),
)  # fmt: skip
SURVEY: dict[str, Any] = {"hostless_per_chip": 60.0, "transient_mag": (14.0, 18.0)}
Row = dict[str, Any]


def measure(sky: dict[str, float], latitude: tuple[float, float], seed: int) -> Row:
    """Counts of one pair."""
    survey = Survey(**{**Survey.quiet().model_dump(), **SURVEY, **sky, "galactic_latitude_deg": latitude})
    pair = simulate_pair(survey, seed=seed, shape=SHAPE)
    truth, facts = pair.truth, pair.science.facts
    kind, snr = np.asarray(truth["kind"]).astype(str), np.asarray(truth["snr"], float)
    inside = ((points(truth) > 8) & (points(truth) < np.array(SHAPE[::-1]) - 9)).all(1)
    stars = truth[(kind == "star") & inside & (snr > 20.0) & ~np.asarray(truth["saturated"], bool)]
    stars = stars[np.argsort(-np.asarray(stars["snr"], float))[:100]]
    new = truth[np.isin(kind, tuple(REAL_KINDS))]
    transients = truth[np.isin(kind, ("hostless", "supernova")) & inside & (snr > 8.0)]
    mag = sky.get("nebula_mag_arcsec2")
    light = sky.get("sky_structure", 0.0)
    if mag is not None:
        light = survey.pixel_scale_arcsec**2 * 10 ** (0.4 * (facts["zeropoint_mag"] - mag)) / facts["sky_e"]
    row: Row = {
        "sky": sky, "latitude": list(latitude), "seed": seed, "share_of_sky": light, "bright_stars": len(stars),
        "transients": len(transients),
    }  # fmt: skip
    begin = time.perf_counter()
    try:
        science, reference = pair.science.image(), pair.reference.image()
        result = process_pair(science, reference)
    except GueststarError as error:
        return {**row, "failed": str(error), "seconds": time.perf_counter() - begin}
    assert science.stars is not None
    assert science.psf is not None
    assert result.quality is not None
    table, numbers = result.candidates.table, result.quality.numbers
    found = points(table)
    alarm = ~near(found, points(new), 5.0)
    seen = np.column_stack((science.stars.x, science.stars.y))
    return {
        **row, "bright_stars_found": int(near(points(stars), seen, 1.0).sum()), "fwhm": science.psf.fwhm,
        "true_fwhm": pair.science.conditions.fwhm_px, "rms_px": numbers["quality_astrometric_rms_px"],
        "level": numbers["quality_background"],
        "rejected": list(result.quality.causes), "transients_found": int(near(points(transients), found, 2.0).sum()),
        "false_alarms": int(alarm.sum()),
        "scored_real": int((alarm & (np.asarray(table["rb_score"], float) > 0.5)).sum()),
        "seconds": time.perf_counter() - begin,
    }  # fmt: skip


def told(row: Row) -> str:
    """One pair in words."""
    name = ", ".join(f"{key} {value:g}" for key, value in row["sky"].items()) or "plain sky"
    low, high = row["latitude"]
    name += f" ({row['share_of_sky']:.2f} of the sky), latitude {low:g} to {high:g}, seed {row['seed']}: "
    if "failed" in row:
        return f"{name}failed: {row['failed'][:90]}"
    return (
        f"{name}stars {row['bright_stars_found']} of {row['bright_stars']}; FWHM {row['fwhm']:.2f} for "
        f"{row['true_fwhm']:.2f} px; registered to {row['rms_px']:.3f} px; transients {row['transients_found']} of "
        f"{row['transients']}, false alarms {row['false_alarms']}, scored real {row['scored_real']}; rejected: "
        f"{', '.join(row['rejected']) or 'no'}; {row['seconds']:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=601)
    parser.add_argument("--json", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for sky in SKIES:
        for latitude in LATITUDES:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                rows.append(measure(sky, latitude, seed))
                print(told(rows[-1]), flush=True)
    if options.json:
        facts = {"version": __version__, "megapixels": float(np.prod(SHAPE)) / 1e6, "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
