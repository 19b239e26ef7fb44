"""Causes that `gueststar audit` names against causes that were planted, on simulated nights.

    python benchmarks/audit_causes.py --seeds 5 6 7 8 --fields 24 --work nights --out docs/measured/audit_causes.json

Each field of a night has a reference of three sound frames and frames of tonight, all spoilt in one way: a
registration that leaves a shift field, trailing, defocus or bad seeing, a crowd, a bright star, a high or uneven sky, a
detector with faults, or many variables and movers; some are sound. The kinds come about as often as the founding slides
found them, faults of the detector and wrong labels added. A chain that is worse than the default (`CHAIN`) leaves
artifacts of each kind, and the threshold is lowered until there are false positives to explain. The audit sees the run,
a catalogue of half the variables and asteroids, and one of the bright stars, never what was planted.

The true cause of a false positive is what lies under it (a real source, a fault of the detector whose charge accounts
for a third of the signal, a bright star), else what spoilt its image, else the edge of a frame (a source where some
frames of the reference do not reach, or within 8 px of there or of the end of the image), else the network's own error;
that of a file is the most frequent one among its false positives. The weights of the clues were chosen on seeds 1 to
12; test on others.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table, vstack

from gueststar.config import load_config
from gueststar.datasets.audit import AuditOptions, audit
from gueststar.datasets.known import Truth, read_truth
from gueststar.datasets.products import read_products
from gueststar.night.run import run_night
from gueststar.realbogus.audit.decision import CAUSES
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.files import frame_bytes
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import Visit, field_sky, simulate_frame
from gueststar.subtract import star_noise

RATES = ("trailing_rate", "defocus_rate", "bad_seeing_rate", "cloud_patch_rate", "wcs_failure_rate")
SOUND: dict[str, Any] = {
    **dict.fromkeys(RATES, 0.0), "galactic_latitude_deg": (12.0, 40.0), "bright_stars": "drawn", "psf_variation": 0.02,
    "optics_change": 0.05, "variable_fraction": 0.002, "active_nuclei": 0.002, "asteroid_density": 0.3,
    "flares_per_chip": 0.0, "supernovae_per_chip": 0.0, "hostless_per_chip": 0.0, "wobble_px": 0.02,
    "wcs_gradient_px": 0.03, "wcs_rotation_px": 0.03,
}  # fmt: skip
#: What is set to plant a cause; several ways of one cause come in turn.
PLANTED: dict[str, tuple[dict[str, Any], ...]] = {
    "misalignment": ({"wcs_gradient_px": 1.5}, {"wobble_px": 0.5}, {"wcs_gradient_px": 0.8, "wobble_px": 0.3}),
    "psf_shape": ({"trailing_rate": 1.0, "trailing_px": (3.0, 8.0)}, {"defocus_rate": 1.0, "defocus_px": (5.0, 10.0)},
                  {"bad_seeing_rate": 1.0, "bad_seeing_px": (5.0, 6.7), "psf_variation": 0.2}),
    "crowded_field": ({"galactic_latitude_deg": (1.0, 4.0)},),
    "bright_star": ({"bright": 7.0},),
    "background": ({"sky_structure": 0.03},
                   {"cloud_patch_rate": 1.0, "cloud_patch_mag": (0.8, 1.5), "sky_structure": 0.02},
                   {"sky_mag": (15.5, 16.5), "sky_gradient": (0.5, 1.0), "sky_structure": 0.01}),
    "real_object": ({"variable_fraction": 0.12, "variable_amplitude_mag": (0.3, 1.0), "asteroid_density": 60.0,
                     "hostless_per_chip": 40.0, "supernovae_per_chip": 40.0},),
    "detector_fault": ({"cosmic_rays_per_chip": 1000.0}, {"hot_pixels": 0.01, "hot_left": 0.3},
                       {"bad_columns_per_chip": 30.0}),
    "network_error": ({},),
}  # fmt: skip
#: How often each comes: six, six, five and three of twenty in the slides; wrong labels and the detector beside them.
SHARES = {"misalignment": 6, "psf_shape": 6, "crowded_field": 5, "network_error": 2, "bright_star": 3, "background": 3,
          "real_object": 3, "detector_fault": 3}  # fmt: skip
#: The chain that leaves artifacts of each kind.
CHAIN = ("align.order=0", "subtract.order=0", "subtract.radius_px=2", "detect.masked_peaks=true",
         "detect.threshold_sigma=4.5",
         "ingest.cosmic_rays.enabled=false", "night.pictures=false", "instrument=tomoe")  # fmt: skip
SHAPE = (640, 640)
WELL_INSIDE_DEG = 0.08  # from the centre of the chip along either axis; the chip ends at 0.105
FIELDS_TRIED = 3000  # for a bright star; one field in a hundred has one
EDGE_PX = 8.0
WHOLE = 0.9  # part of the reference's weight from which on its frames are all there
FEWEST = 3  # false positives of a file that is counted


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
    """The first field from a number on that has a star this bright on the chip, well inside its edges."""
    for number in range(first, first + FIELDS_TRIED):
        if bright > 90:
            return number
        sky = field_sky(survey, number, "Q1-11", seed=seed, shape=SHAPE)
        stars = sky[np.asarray(sky["kind"]) == "star"]
        ra, dec, mag = (np.asarray(stars[name], np.float64) for name in ("ra", "dec", "mag"))
        centre = np.median(ra), np.median(dec)  # stars fill the chip and a margin around it evenly
        off = np.maximum(np.abs(ra - centre[0]) * np.cos(np.radians(centre[1])), np.abs(dec - centre[1]))
        if ((mag < bright) & (off < WELL_INSIDE_DEG)).any():
            return number
    raise SystemExit(f"no field with a star brighter than {bright}")


def write_planted(folder: Path, fields: int, visits: int, seed: int) -> list[dict[str, Any]]:
    """Frames of a night with planted causes, its truth, and half of its variables and movers as a catalogue."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed + 1)
    planted, truths = [], []
    for i, (cause, way) in enumerate(plan_of(fields, seed)):
        before, tonight, bright = survey_of(cause, way)
        field = field_number(before, 1 + 20 * i if bright > 90 else 1000 + FIELDS_TRIED * i, seed, bright)
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
    if not (root / "night" / "stars.parquet").is_file():
        write_stars(root / "night")
    return root


def write_stars(night: Path) -> None:
    """The bright stars of the night as a catalogue."""
    truth = pq.read_table(night / "truth.parquet", columns=["kind", "source_id", "ra", "dec", "mag"])
    columns = {name: truth[name].to_numpy(zero_copy_only=False) for name in truth.column_names}
    bright = (columns["kind"] == "star") & (columns["mag"] < 12.0)
    # Numbers of sources are those of a field only.
    places = np.round(np.stack([columns["ra"], columns["dec"]])[:, bright], 3)
    number, first = np.unique(places, axis=1, return_index=True)
    chosen = {name: columns[name][bright][first] for name in ("ra", "dec", "mag")}
    pq.write_table(pa.table({**chosen, "name": [f"star {i}" for i in range(number.shape[1])]}), night / "stars.parquet")


def true_cause(kind: str, planted: str, share: float) -> str:
    """Cause of one false positive by the truth: what lies under it, else what spoilt its image.

    `share` is the part of the reference's weight that its frames have at the place, as in `least_share`.
    """
    if kind in (*REAL_KINDS, "satellite"):
        return "real_object"
    if kind in ("cosmic_ray", "hot_pixel", "bad_column", "hole"):
        return "detector_fault"
    if planted in ("misalignment", "psf_shape", "crowded_field", "background"):
        return planted
    if kind in ("bright_star", "ghost", "saturated"):
        return "bright_star"
    return "frame_edge" if kind in ("star", "galaxy") and share < WHOLE else "network_error"


def least_share(truth: Truth, x: Any, y: Any, image: str, frames: Sequence[str]) -> Any:
    """Part of the reference's weight that its frames have within 8 px of each place; 0 near the end of the image."""
    steps = ((0, 0), (EDGE_PX, 0), (-EDGE_PX, 0), (0, EDGE_PX), (0, -EDGE_PX))
    shares = [truth.reference_share(x + dx, y + dy, image, frames, shape=SHAPE) for dx, dy in steps]
    border = np.minimum.reduce([x, y, SHAPE[1] - 1 - x, SHAPE[0] - 1 - y])
    return np.where(border < EDGE_PX, 0.0, np.fmin.reduce(shares))


def judge(root: Path, threshold: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """True and named cause of each file of a night, of each false positive, and the seconds of the audit."""
    night = root / "night"
    start = time.perf_counter()
    found, _ = audit(
        [root / "run"], AuditOptions(threshold=threshold), known=[night / "known.parquet"],
        catalog=night / "stars.parquet",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    planted = {item["image"]: item["cause"] for item in json.loads((root / "planted.json").read_text())}
    products = read_products([root / "run"])
    references = {image.outcome.image: image.reference_name for image in products.images}
    truth = read_truth([night])
    files, single = [], []
    for file in found.files:
        mine, fp = file.rows, found.found
        frames = products.records[0]["references"].get(references[file.name], {}).get("frames", ())
        fwhm = float(np.nanmedian(fp.numbers["psf_fwhm"][mine]))
        kinds = truth.kinds(fp.x[mine], fp.y[mine], file.name, frames, shape=SHAPE, fwhm_px=fwhm,
                            snr=fp.snr[mine])  # fmt: skip
        shares = least_share(truth, fp.x[mine], fp.y[mine], file.name, frames)
        causes = [true_cause(str(k), planted[file.name], float(s)) for k, s in zip(kinds, shares, strict=True)]
        single += [{"true": t, "named": str(n)} for t, n in zip(causes, fp.decided.cause[mine], strict=True)]
        (first, k), *others = Counter(causes).most_common()
        tie = bool(others) and others[0][1] == k
        files.append(
            {"file": file.name, "planted": planted[file.name], "true": first, "named": file.cause,
             "confidence": file.confidence, "n": len(mine), "counts": len(mine) >= FEWEST and not tie}
        )  # fmt: skip
    return files, single, seconds


def table_of(items: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """True causes against named ones."""
    return {t: dict(Counter(item["named"] for item in items if item["true"] == t)) for t in CAUSES
            if any(item["true"] == t for item in items)}  # fmt: skip


def share(hits: int, n: int) -> dict[str, float]:
    """A share with its Wilson interval of 95 % (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    if n == 0:
        return {"n": 0, "value": float("nan"), "low": 0.0, "high": 1.0}
    z, p = 1.96, hits / n
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return {"n": n, "value": p, "low": float((middle - half) / scale), "high": float((middle + half) / scale)}


def report(items: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    """Print a confusion table, and give it with accuracy and recalls."""
    table = table_of(items)
    named = [cause for cause in CAUSES if any(cause in row for row in table.values())]
    right = share(sum(item["true"] == item["named"] for item in items), len(items))
    span = f"{100 * right['low']:.1f} - {100 * right['high']:.1f}"
    print(f"\n{what}: {100 * right['value']:.1f} % right ({span}) of {len(items)}")
    print(f"{'true cause':16s}" + "".join(f"{name[:11]:>13s}" for name in named) + "   recall")
    recalls = {}
    for cause, row in table.items():
        recalls[cause] = share(row.get(cause, 0), sum(row.values()))
        cells = "".join(f"{row.get(name, 0):13d}" for name in named)
        r = recalls[cause]
        print(f"{cause:16s}{cells}   {100 * r['value']:.0f} % ({100 * r['low']:.0f} - {100 * r['high']:.0f})")
    return {"accuracy": right, "recall": recalls, "confusion": table}


def main() -> None:
    """Make the nights, audit them, print and store the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--fields", type=int, default=16, help="fields of a night, each spoilt in one way")
    parser.add_argument("--visits", type=int, default=3, help="frames of each field tonight")
    parser.add_argument("--threshold", type=float, default=0.001, help="score from which on a candidate counts as real")
    parser.add_argument("--work", type=Path, required=True, help="for nights and runs; what is there is used again")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    files: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    seconds = 0.0
    for seed in given.seeds:
        more, ones, spent = judge(make(given.work, given.fields, given.visits, seed), given.threshold)
        files += [{"seed": seed, **item} for item in more]
        single += ones
        seconds += spent
    counted = [item for item in files if item["counts"]]
    for item in counted:
        if item["true"] != item["named"]:
            print("wrong:", item)
    print(f"left out: {len(files) - len(counted)} files with fewer than {FEWEST} false positives, or without a most "
          "frequent cause")  # fmt: skip
    result = {
        "seeds": given.seeds, "fields": given.fields, "visits": given.visits, "threshold": given.threshold,
        "false_positives": len(single), "seconds_of_audits": round(seconds, 1), "left_out": len(files) - len(counted),
        "files": report(counted, "files"), "single": report(single, "single false positives"),
    }  # fmt: skip
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
