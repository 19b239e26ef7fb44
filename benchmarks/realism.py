"""Compare simulated frames with the real frames of four cameras after the same processing.

    python benchmarks/realism.py                       # all cameras; ten minutes on one core
    python benchmarks/realism.py --quick               # one camera, one pair, no files written
    python benchmarks/realism.py --data FOLDER --only toros_eso085

For each camera a survey is made from what is measured on its frames, pairs are simulated with it, and both sides go
through the same ingest, registration, subtraction and detection. Numbers go to docs/measured/realism.json, tables to
docs/measured/realism.inc, figures to docs/images/realism_*.png. Frames that are not there are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import torch
from realism_parts.classify import separability
from realism_parts.figures import draw_figures
from realism_parts.frames import CAMERAS, LOW_SIGMA, Camera, Shot, load_shots, processed, real_pairs
from realism_parts.mimic import mimic, simulated_pairs
from realism_parts.observed import measure_camera
from realism_parts.statistics import PairFigures, pair_figures
from realism_parts.summary import artifact_samples, side_summary, star_samples
from realism_parts.tables import tables_text

from gueststar import __version__
from gueststar.errors import GueststarError

ROOT = Path(__file__).resolve().parents[1]
_SHOWN = (
    "star_density", "zeropoint_mag", "hot_pixels", "cosmic_rays_per_chip", "pattern_e", "dark_pattern_e", "flat_error",
    "read_noise_e", "gain_e_adu", "psf_variation", "dither_px", "wobble_px", "sky_mag", "aureole",
)  # fmt: skip


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def all_figures(
    pairs: list[tuple[Shot, Shot]], rng: np.random.Generator, label: str
) -> tuple[list[PairFigures], list[str]]:
    """Process pairs one after another; what fails is told, not passed over in silence."""
    done, failed = [], []
    for number, pair in enumerate(pairs, start=1):
        start = time.perf_counter()
        try:
            done.append(pair_figures(processed(*pair), pair, rng))
        except GueststarError as error:
            failed.append(f"{type(error).__name__}: {error.message}"[:200])
        say(f"  {label} pair {number}/{len(pairs)}: {time.perf_counter() - start:.1f} s")
    return done, failed


def compare(camera: Camera, folder: Path, *, seed: int, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything about one camera: numbers for the report, and a few stamps for a figure."""
    shots = load_shots(folder, camera.instrument)
    pairs = real_pairs(shots)[: 1 if quick else None]
    measured = measure_camera(shots, pairs)
    say(f"  {len(shots)} real frames, {len(pairs)} pairs; fitting a survey to them")
    *_, (survey, factor, _) = mimic(camera, measured, seed=seed, rounds=1 if quick else 3, pairs=1 if quick else 3)
    n_simulated = 1 if quick else max(6, len(pairs))
    seeds = list(range(seed + 100, seed + 100 + n_simulated))
    rng = np.random.default_rng(seed)
    real, real_failed = all_figures(pairs, rng, "real")
    made = list(simulated_pairs(survey, measured, seeds=seeds, gain_e_adu=measured["gain_e_adu"], fwhm_factor=factor))
    simulated, simulated_failed = all_figures(made, rng, "simulated")
    if not real or not simulated:
        return {"title": camera.title, "failed": real_failed + simulated_failed}, {}
    report = {
        "title": camera.title,
        "seeds": seeds,
        "measured": measured,
        "survey": {name: getattr(survey, name) for name in _SHOWN} | {"fwhm_factor": factor},
        "failed": {"real": real_failed, "simulated": simulated_failed},
        "real": side_summary(real, rng),
        "simulated": side_summary(simulated, rng),
        "classifier": _classifiers(real, simulated, rng, quick=quick),
    }
    shown = {"real": [p.cube for p in real], "simulated": [p.cube for p in simulated]}
    return report, shown


def _classifiers(
    real: list[PairFigures], simulated: list[PairFigures], rng: np.random.Generator, *, quick: bool
) -> dict[str, Any]:
    """Real against simulated, and simulated against simulated: what the method finds where there is nothing."""
    out: dict[str, Any] = {}
    # Of ten simulated pairs five are held against the other five.
    n = min(len(real), len(simulated) // 2)
    for kind in ("artifacts", "stars"):

        def samples(side: list[PairFigures], like: Any = None, kind: str = kind) -> Any:
            return artifact_samples(side) if kind == "artifacts" else star_samples(side, like=like, rng=rng)

        one = samples(real)
        start = time.perf_counter()
        other = samples(simulated, one.features[:, 0])
        out[kind] = separability(one, other, rng=rng, cnn=not quick)
        both = f"trees {out[kind].get('trees')}, network {out[kind].get('cnn')}"
        say(f"  classifiers of {kind}: {time.perf_counter() - start:.0f} s: {both}")
        if n == 0 or quick:
            continue
        nulls = []
        for first in range(0, min(len(simulated), 2 * n), n):
            held = simulated[first : first + n]
            rest = simulated[:first] + simulated[first + n :]
            two = samples(held)
            null = separability(two, samples(rest, two.features[:, 0]), rng=rng, cnn=first == 0, importance=False)
            nulls.append({key: null[key] for key in ("trees", "cnn") if key in null})
        out[kind]["simulated_against_simulated"] = nulls
    return out


def _plain(value: Any) -> Any:
    """For JSON: numpy numbers as plain ones, what is not finite as null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with one folder per camera (default: shared/data beside the repository)",
    )
    parser.add_argument(
        "--only", action="append", help="one camera's folder; may be given again; writes only with --out"
    )
    parser.add_argument("--quick", action="store_true", help="one camera, one pair, no network; writes only with --out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of docs to write to (default: docs of the repository)")
    options = parser.parse_args()
    data = options.data or ROOT.parent / "shared" / "data"
    if not data.is_dir():
        print(f"left out: no folder {data} with real frames; give one with --data")
        return
    wanted = options.only or [camera.folder for camera in CAMERAS]
    unknown = set(wanted) - {camera.folder for camera in CAMERAS}
    if unknown:
        parser.error(f"unknown camera {sorted(unknown)}; known ones: {', '.join(c.folder for c in CAMERAS)}")
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "version": __version__, "seed": options.seed, "peaks_above_sigma": LOW_SIGMA, "cameras": {},
    }  # fmt: skip
    stamps: dict[str, Any] = {}
    there = [camera for camera in CAMERAS if camera.folder in wanted and (data / camera.folder).is_dir()]
    for camera in CAMERAS:
        if camera.folder in wanted and camera not in there:
            print(f"left out, not there: {data / camera.folder}")
    if options.quick and not options.only:
        there = [c for c in there if c.folder == "toros_eso085"] or there[:1]
    for number, camera in enumerate(there, start=1):
        say(f"camera {number}/{len(there)}: {camera.title}")
        figures, shown = compare(camera, data / camera.folder, seed=options.seed, quick=options.quick)
        report["cameras"][camera.folder], stamps[camera.folder] = _plain(figures), shown
    if not report["cameras"]:
        print(f"nothing to compare: no camera's folder in {data}")
        return
    # The docs hold all cameras or none.
    if (options.quick or options.only) and options.out is None:
        print(json.dumps(report, indent=1))
        return
    docs = options.out or ROOT / "docs"
    for folder in ("measured", "images"):
        (docs / folder).mkdir(parents=True, exist_ok=True)
    (docs / "measured" / "realism.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (docs / "measured" / "realism.inc").write_text(tables_text(report), encoding="utf-8")
    for path in draw_figures(report, stamps, docs / "images"):
        say(f"wrote {path.name}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
