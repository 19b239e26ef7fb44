"""Time the whole chain on one chip pair, stage by stage, against SWarp + hotpants + source-extractor in the same run.

    python benchmarks/chain.py                      # 3 seeds of a sparse and of a crowded chip of 2048 x 1152 px
    python benchmarks/chain.py --seeds 5 --out results.json

Both sides start from the same calibrated, sky-subtracted pair with the same (slightly wrong) WCS. Ours begins with
arrays in memory and ends with scored candidates and stamps; the peers begin with FITS files on disk, as they must, and
end with a catalogue of positive detections. Peak memory is that of a fresh process with the pair in memory. Peers that
are not installed are left out and named. One thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from peers import call, cpu_seconds, extract, programs, run_swarp, written_for_extractor, written_for_swarp

from gueststar import Image, __version__, process_pair
from gueststar.align import Align
from gueststar.memory import keep_freed_memory
from gueststar.simulate.night import SimulatedPair, simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.subtract.hotpants import Hotpants

#: What is set in the survey for each kind of field; about 30,000 stars of S/N > 5 when crowded.
FIELDS: dict[str, dict[str, Any]] = {
    "sparse": {},
    "crowded": {"galactic_latitude_deg": (3.0, 5.0), "star_density": 2.0},
}
Seconds = dict[str, list[float]]


class Watch:
    """Wall and processor time of named stages."""

    def __init__(self) -> None:
        self.wall: Seconds = defaultdict(list)
        self.cpu: Seconds = defaultdict(list)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), cpu_seconds()
        yield
        self.wall[stage].append(time.perf_counter() - wall)
        self.cpu[stage].append(cpu_seconds() - cpu)


def ours(pair: SimulatedPair, watch: Watch) -> tuple[Image, Image, Table]:
    """Ingest both frames (timed apart), then the chain from images to scored candidates."""
    with watch("ingest one frame"):
        science = pair.science.image()
    reference = pair.reference.image()
    with watch("chain"):
        result = process_pair(science, reference, observe=watch)
    return science, reference, result.candidates.table


def peers(science: Image, reference: Image, watch: Watch, found: dict[str, str]) -> int | None:
    """SWarp, hotpants and source-extractor on the same pixels; the number of positive detections."""
    if not {"SWarp", "hotpants", "extractor"} <= set(found):
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written_for_swarp(folder, science, reference)
        written_for_extractor(folder, science.psf.fwhm)
        with watch("peers"):
            with watch("SWarp"):
                run_swarp(found["SWarp"], folder)
            aligned = np.ascontiguousarray(fits.getdata(folder / "coadd.fits"), dtype=np.float32)
            with watch("hotpants"):
                engine = Hotpants()
                _write_hotpants(folder, science, reference, aligned)
                call(engine._command(found["hotpants"], folder, science, reference), folder)
            with watch("source-extractor"):
                return extract(found["extractor"], folder)


def _write_hotpants(folder: Path, science: Image, reference: Image, aligned: np.ndarray) -> None:
    moved = Align()(science, reference)
    planes = {
        "science": science.numpy() + 1000.0,
        "science_noise": np.sqrt(science.numpy("variance")),
        "science_mask": (science.numpy("mask") != 0).astype(np.int16),
        "reference": aligned + 1000.0,
        "reference_noise": np.sqrt(moved.numpy("variance")),
        "reference_mask": (moved.numpy("mask") != 0).astype(np.int16),
    }
    for label, plane in planes.items():
        fits.writeto(folder / f"{label}.fits", plane.astype(plane.dtype.newbyteorder("=")), overwrite=True)


def medians(times: Seconds) -> dict[str, float]:
    return {stage: round(statistics.median(values), 4) for stage, values in times.items()}


def memory(science: Image, reference: Image) -> dict[str, int]:
    """Peaks of a fresh process that has the two images and runs the chain, MB."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "pair.pickle"
        path.write_bytes(pickle.dumps((science, reference)))
        command = [sys.executable, str(Path(__file__).with_name("chain_memory.py")), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"chain_memory.py failed: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


def measure(kind: str, options: argparse.Namespace, found: dict[str, str]) -> dict[str, Any]:
    """Times, memory and counts on one kind of field."""
    watch, counts, peaks = Watch(), [], []
    survey = Survey(**FIELDS[kind])
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        pair = simulate_pair(survey, seed=seed, shape=tuple(options.shape))
        science, reference, table = ours(pair, watch)
        peaks.append(memory(science, reference))
        detections = peers(science, reference, watch, found)
        stars = int(((pair.truth["kind"] == "star") & (pair.truth["snr"] > 5)).sum())
        counts.append({
            "seed": seed, "stars": stars, "sources": len(science.stars), "ours": len(table),
            "peers_positive": detections,
        })  # fmt: skip
    report: dict[str, Any] = {"wall_s": medians(watch.wall), "cpu_s": medians(watch.cpu), "counts": counts}
    report["peak_mb"] = {name: max(peak[name] for peak in peaks) for name in ("imported", "images", "chain")}
    if watch.wall["peers"]:
        ratios = [peer / own for peer, own in zip(watch.cpu["peers"], watch.cpu["chain"], strict=True)]
        report["cpu_ratio_peers_to_chain"] = [round(value, 2) for value in sorted(ratios)]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="simulated pairs of each kind of field (default 3)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--shape", type=int, nargs=2, default=(1152, 2048), metavar=("NY", "NX"))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the program does
    found = programs()
    ours(simulate_pair(Survey(), seed=99, shape=(512, 512)), Watch())  # first calls load libraries and the model
    report = {
        "version": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread",
        "shape": list(options.shape),
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "fields": {kind: measure(kind, options, found) for kind in options.fields},
    }
    for kind, figures in report["fields"].items():
        print(f"\n{kind}: {[count['stars'] for count in figures['counts']]} stars")
        print(f"{'stage':20s} {'wall s':>8s} {'cpu s':>8s}   medians over {options.seeds} seeds, {report['machine']}")
        for stage, value in figures["wall_s"].items():
            print(f"{stage:20s} {value:8.3f} {figures['cpu_s'][stage]:8.3f}")
        print(f"peak memory, MB: {figures['peak_mb']}; {figures['counts']}")
        if "cpu_ratio_peers_to_chain" in figures:
            print(f"peers / chain, processor time, each seed: {figures['cpu_ratio_peers_to_chain']}")
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
