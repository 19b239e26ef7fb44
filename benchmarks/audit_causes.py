"""Causes that `gueststar audit` names against causes that were planted, on simulated nights.

    python benchmarks/audit_causes.py --seeds 11 12 --fields 16 --out docs/measured/audit_causes.json

Each field of a night has a reference of three sound frames and frames of tonight, all spoilt in one way: a registration
that leaves a shift field, trailing, defocus or bad seeing, a crowd, a bright star, a high or uneven sky, a detector with
faults, or many variables and movers; some are sound. The kinds come as often as the founding slides found them, faults of
the detector and wrong labels added. A chain that is worse than the default (`CHAIN`) leaves artifacts of each kind, and
the threshold is lowered until there are false positives to explain. The audit sees the run and a catalogue of half the
variables and asteroids, never what was planted.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table, vstack

from gueststar.config import load_config
from gueststar.night.run import run_night
from gueststar.simulate.files import frame_bytes
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import Visit, field_sky, simulate_frame
from gueststar.subtract import star_noise

RATES = ("trailing_rate", "defocus_rate", "bad_seeing_rate", "cloud_patch_rate", "wcs_failure_rate")
SOUND: dict[str, Any] = {**dict.fromkeys(RATES, 0.0), "galactic_latitude_deg": (12.0, 40.0), "bright_stars": "drawn", "psf_variation": 0.02, "optics_change": 0.05,
                         "variable_fraction": 0.002, "active_nuclei": 0.002, "asteroid_density": 0.3, "flares_per_chip": 0.0,
                         "supernovae_per_chip": 0.0, "hostless_per_chip": 0.0, "wobble_px": 0.02, "wcs_gradient_px": 0.03, "wcs_rotation_px": 0.03}  # fmt: skip
#: What is set to plant a cause; several ways of one cause come in turn.
PLANTED: dict[str, tuple[dict[str, Any], ...]] = {
    "misalignment": ({"wcs_gradient_px": 1.5}, {"wobble_px": 0.5}, {"wcs_gradient_px": 0.8, "wobble_px": 0.3}),
    "psf_shape": ({"trailing_rate": 1.0, "trailing_px": (3.0, 8.0)}, {"defocus_rate": 1.0, "defocus_px": (5.0, 10.0)},
                  {"bad_seeing_rate": 1.0, "bad_seeing_px": (5.0, 6.7), "psf_variation": 0.2}),
    "crowded_field": ({"galactic_latitude_deg": (1.0, 4.0)},),
    "bright_star": ({"bright": 5.5},),
    "background": ({"sky_structure": 0.03}, {"cloud_patch_rate": 1.0, "cloud_patch_mag": (0.8, 1.5), "sky_structure": 0.02},
                   {"sky_mag": (15.5, 16.5), "sky_gradient": (0.5, 1.0), "sky_structure": 0.01}),
    "real_object": ({"variable_fraction": 0.12, "variable_amplitude_mag": (0.3, 1.0), "asteroid_density": 60.0,
                     "hostless_per_chip": 40.0, "supernovae_per_chip": 40.0},),
    "detector_fault": ({"cosmic_rays_per_chip": 250.0}, {"hot_pixels": 0.004, "hot_left": 0.3}, {"bad_columns_per_chip": 30.0}),
    "network_error": ({},),
}  # fmt: skip
#: How often each comes: six, six, five and three of twenty in the slides; wrong labels and the detector beside them.
SHARES = {"misalignment": 6, "psf_shape": 6, "crowded_field": 5, "network_error": 2, "bright_star": 3, "background": 3,
          "real_object": 3, "detector_fault": 3}  # fmt: skip
#: The chain that leaves artifacts of each kind.
CHAIN = ("align.order=0", "subtract.order=0", "subtract.radius_px=2", "detect.masked_peaks=true", "detect.threshold_sigma=4.5",
         "ingest.cosmic_rays.enabled=false", "night.pictures=false", "instrument=tomoe")  # fmt: skip
SHAPE = (640, 640)


def plan_of(fields: int, seed: int) -> list[tuple[str, int]]:
    """Cause and way of each field: every cause once, the rest by `SHARES`."""
    rng = np.random.default_rng(seed)
    names = list(SHARES)
    weights = np.array([SHARES[name] for name in names], float)
    more = rng.choice(len(names), max(fields - len(names), 0), p=weights / weights.sum())
    chosen = [*names, *(names[i] for i in more)][:fields]
    return [(name, int(rng.integers(len(PLANTED[name])))) for name in chosen]


def survey_of(cause: str, way: int) -> tuple[Survey, Survey, float]:
    """Survey of the earlier visits, of tonight, and the magnitude of the star that the field must have (or 99)."""
    changed = dict(PLANTED[cause][way])
    bright = float(changed.pop("bright", 99.0))
    lasting = {key: value for key, value in changed.items() if key not in (*RATES, "wobble_px", "wcs_gradient_px",
               "sky_structure", "sky_mag", "sky_gradient", "cosmic_rays_per_chip", "trailing_px", "defocus_px",
               "bad_seeing_px", "cloud_patch_mag")}  # fmt: skip
    return Survey(**{**SOUND, **lasting}), Survey(**{**SOUND, **changed}), bright


def field_number(survey: Survey, first: int, seed: int, bright: float) -> int:
    """The first field from a number on that has a star this bright, or none of magnitude 8.5."""
    for number in range(first, first + 400):
        if bright > 90:
            return number
        sky = field_sky(survey, number, "Q1-11", seed=seed, shape=SHAPE)
        if len(sky) and float(np.min(sky["mag"][sky["kind"] == "star"])) < bright:
            return number
    raise SystemExit(f"no field with a star brighter than {bright}")


def write_planted(folder: Path, fields: int, visits: int, seed: int) -> list[dict[str, Any]]:
    """Frames of a night with planted causes, its truth, and half of its variables and movers as a catalogue."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed + 1)
    planted, truths = [], []
    for i, (cause, way) in enumerate(plan_of(fields, seed)):
        before, tonight, bright = survey_of(cause, way)
        field = field_number(before, 1 + 20 * i if bright > 90 else 1000 + 400 * i, seed, bright)
        for visit in range(before.earlier_visits + visits):
            survey = before if visit < before.earlier_visits else tonight
            frame, truth = simulate_frame(survey, Visit(field, "Q1-11", visit), seed=seed, shape=SHAPE)
            (folder / f"{frame.name}.fits").write_bytes(frame_bytes(frame))
            truth["image"], truth["mjd"] = frame.name, frame.conditions.mjd + 0.5 * before.exposure_s / 86400.0
            truths.append(truth)
            planted.append({"image": frame.name, "cause": cause, "way": way, "tonight": visit >= before.earlier_visits})
    truth = vstack(truths, metadata_conflicts="silent")
    pq.write_table(pa.table({name: np.asarray(truth[name]) for name in truth.colnames}), folder / "truth.parquet")
    write_known(folder / "known.parquet", truth, rng)
    return planted


def write_known(path: Path, truth: Table, rng: np.random.Generator) -> None:
    """A catalogue of half of what varies or moves, with the errors of one."""
    kinds = np.asarray(truth["kind"])
    known = truth[np.isin(kinds, ("variable", "nucleus", "asteroid"))]
    names = np.unique(np.asarray(known["source_id"]))
    known = known[np.isin(np.asarray(known["source_id"]), rng.permutation(names)[: len(names) // 2])]
    moving = np.asarray(known["kind"]) == "asteroid"
    scatter = rng.normal(0.0, 0.3 / 3600.0, (2, len(known)))
    pq.write_table(
        pa.table({
            "ra": np.asarray(known["ra"]) + scatter[0], "dec": np.asarray(known["dec"]) + scatter[1],
            "kind": np.asarray(known["kind"]).astype(str),
            "mjd": np.where(moving, np.asarray(known["mjd"]), np.nan),
        }), path,
    )  # fmt: skip


def run_planted(night: Path, out: Path) -> None:
    """The night through the chain, in this process, with little of the noise that the chain adds at stars."""
    star_noise._MOST_SHARE, star_noise._MOST_PX = 0.02, 0.05  # type: ignore[misc]
    run_night(night, out, load_config(None, list(CHAIN)), mapper=map)


def make(folder: Path, fields: int, visits: int, seed: int) -> Path:
    """A night and its run, unless they are there."""
    root = folder / f"seed{seed}"
    if not (root / "planted.json").is_file():
        planted = write_planted(root / "night", fields, visits, seed)
        run_planted(root / "night", root / "run")
        (root / "planted.json").write_text(json.dumps(planted, indent=1))
    return root


if __name__ == "__main__":
    import sys

    for seed in map(int, sys.argv[3:]):
        t = time.time()
        make(Path(sys.argv[1]), int(sys.argv[2]), 3, seed)
        print(seed, time.time() - t, flush=True)
