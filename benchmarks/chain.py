"""Time the whole chain on one chip pair, stage by stage, against SWarp + hotpants + source-extractor in the same run.

    python benchmarks/chain.py                      # 3 seeds, one chip of 2048 x 1152 px
    python benchmarks/chain.py --seeds 5 --out results.json

Both sides start from the same calibrated, sky-subtracted pair with the same (slightly wrong) WCS. Ours begins with
arrays in memory and ends with scored candidates and stamps; the peers begin with FITS files on disk, as they must, and
end with a catalogue of positive detections. Peers that are not installed are left out and named. One thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="simulated pairs (default 3)")
    parser.add_argument("--shape", type=int, nargs=2, default=(1152, 2048), metavar=("NY", "NX"))
    parser.add_argument("--density", type=float, default=1.0, help="factor on the star counts")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the program does
    watch, found = Watch(), programs()
    counts: list[dict[str, Any]] = []
    survey = Survey(star_density=options.density)
    ours(simulate_pair(survey, seed=99, shape=(512, 512)), Watch())  # first calls load libraries and the model
    for seed in range(options.seeds):
        pair = simulate_pair(survey, seed=seed, shape=tuple(options.shape))
        science, reference, table = ours(pair, watch)
        if seed == 0:
            # Of this process so far, the simulator included: an upper bound for the chain.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        detections = peers(science, reference, watch, found)
        counts.append({"seed": seed, "sources": len(science.stars), "ours": len(table), "peers_positive": detections})
    report = {
        "version": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread",
        "shape": list(options.shape),
        "seeds": options.seeds,
        "wall_s": medians(watch.wall),
        "cpu_s": medians(watch.cpu),
        "peak_rss_mb": round(peak),
        "counts": counts,
    }
    if watch.wall["peers"]:
        ratios = [peer / own for peer, own in zip(watch.cpu["peers"], watch.cpu["chain"], strict=True)]
        report["cpu_ratio_peers_to_chain"] = [round(value, 2) for value in sorted(ratios)]
    print(f"{'stage':20s} {'wall s':>8s} {'cpu s':>8s}   medians over {options.seeds} seeds, {report['machine']}")
    for stage, value in report["wall_s"].items():
        print(f"{stage:20s} {value:8.3f} {report['cpu_s'][stage]:8.3f}")
    print(f"peak memory {report['peak_rss_mb']} MB; candidates {counts}")
    if "cpu_ratio_peers_to_chain" in report:
        print(f"peers / chain, processor time, each seed: {report['cpu_ratio_peers_to_chain']}")
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
