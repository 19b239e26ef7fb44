"""Each failure of an image against the verdict of the gates, on simulated nights with all failures in equal numbers.

    python benchmarks/quality_gates.py --night 103 104 --out docs/measured/quality_gates.json

A night has some fields. Each has a reference of three sound frames, and of each kind of failure one science frame (two
of a sound one), all of the survey as it is otherwise: satellites, variables, bright stars, cosmic rays. A frame is
registered, subtracted, searched and judged by the chain as a user runs it; then artificial reals are put into it and it
is processed again, so that recall and false candidates are known of the images that pass and of those that do not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from astropy.table import Table, vstack
from simulated_night import on_frame

from gueststar import Image, __version__, process_pair
from gueststar.config import Config
from gueststar.efficiency.completeness import binomial_interval
from gueststar.errors import GueststarError
from gueststar.night.artificial_reals import find_artificial_reals
from gueststar.pipeline import PairResult
from gueststar.reference import MakeReference
from gueststar.simulate.causes import REAL_KINDS, causes_of
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import Visit, simulate_frame

#: What is set in the survey to spoil every frame in one way.
KINDS: dict[str, dict[str, float]] = {
    "sound": {},
    "trailed": {"trailing_rate": 1.0},
    "defocused": {"defocus_rate": 1.0},
    "bad seeing": {"bad_seeing_rate": 1.0},
    "clouds": {"cloud_patch_rate": 1.0},
    "misregistered": {"wcs_failure_rate": 1.0},
}
RATES = ("trailing_rate", "defocus_rate", "bad_seeing_rate", "cloud_patch_rate", "wcs_failure_rate")
EDGES = (5.0, 7.0, 10.0, 20.0, 50.0)
THRESHOLD = 0.5
Row = dict[str, Any]


def survey_of(kind: str) -> Survey:
    """The default survey, with all frames spoilt in one way and in no other."""
    return Survey(**{**dict.fromkeys(RATES, 0.0), **KINDS[kind]})


def measure_field(night: int, field: int, shape: tuple[int, int], config: Config) -> list[Row]:
    """One science frame of each kind, two of a sound one, against the same reference."""
    earlier, chip = Survey().earlier_visits, "Q1-11"
    before = [simulate_frame(survey_of("sound"), Visit(field, chip, i), seed=night, shape=shape) for i in range(3)]
    reference = MakeReference()([frame.image() for frame, _ in before])
    rows = []
    for number, kind in enumerate(("sound", *KINDS)):
        frame, truth = simulate_frame(survey_of(kind), Visit(field, chip, earlier + number), seed=night, shape=shape)
        earlier_truth = on_frame(vstack([table for _, table in before]), truth, frame.header)
        row: Row = {"night": night, "field": field, "kind": kind, "sources": int((truth["snr"] > 5).sum())}
        row |= {
            key: frame.facts[key]
            for key in ("trail_px", "defocus_px", "cloud_mag", "fwhm_px", "wcs_failed_x_px", "wcs_failed_y_px")
            if key in frame.facts
        }
        try:
            row |= judged(frame.image(), reference, truth, earlier_truth, config, f"{night}-{field}-{kind}-{number}")
        except GueststarError as error:
            row |= {"verdict": "failed", "causes": [type(error).__name__], "reason": error.message}
        rows.append(row)
    return rows


def judged(science: Image, reference: Image, truth: Table, reference_truth: Table, config: Config, name: str) -> Row:
    """Verdict of the gates, candidates by what they are, and artificial reals found."""

    def process(image: Image) -> PairResult:
        return process_pair(image, reference)

    result = process(science)
    table = result.candidates.table
    causes = causes_of(
        table["x"], table["y"], truth, reference_truth, shape=science.shape,
        fwhm_px=max(science.psf.fwhm, reference.psf.fwhm),
    )  # fmt: skip
    artifact = ~np.isin(causes, (*REAL_KINDS, "satellite"))
    real = np.asarray(table["rb_score"]) >= THRESHOLD
    injected = find_artificial_reals(result, config, name, threshold=THRESHOLD, process=process).table
    use = ~np.asarray(injected["occupied"], bool) & (np.asarray(injected["status"]) == "injected")
    injected = injected[use]
    report = result.quality
    return {
        "verdict": "passed" if report.passed else "rejected",
        "causes": list(report.causes),
        "reason": report.reason,
        "numbers": dict(report.numbers),
        "candidates": len(table),
        "artifacts": int(artifact.sum()),
        "false_reals": int((artifact & real).sum()),
        "snr": [round(float(v), 2) for v in injected["snr"]],
        "found": [int(v) for v in injected["found"]],
        "real": [int(v) for v in injected["real"]],
    }


def share(hits: int, n: int) -> Row:
    """A share with its 95 % interval."""
    low, high = binomial_interval(hits, n) if n else (0.0, 1.0)
    return {"n": n, "hits": hits, "low": round(low, 4), "high": round(high, 4)}


def summary_of(rows: list[Row]) -> list[Row]:
    """One row for each kind of failure and verdict."""
    out = []
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        rejected = share(sum(row["verdict"] != "passed" for row in mine), len(mine))
        for verdict in ("passed", "rejected", "failed"):
            group = [row for row in mine if row["verdict"] == verdict]
            if group:
                out.append({"kind": kind, "of": len(mine), "stopped": rejected, "verdict": verdict, **of_group(group)})
    return out


def of_group(group: list[Row]) -> Row:
    """Counts, causes and recall of the images of one kind and verdict."""
    done: Row = {"images": len(group), "causes": dict(Counter(c for row in group for c in row["causes"]).most_common())}
    if group[0]["verdict"] == "failed":
        return done
    for name in ("candidates", "artifacts", "false_reals"):
        counts = np.array([row[name] for row in group])
        done[name] = {
            "median": float(np.median(counts)),
            "p90": float(np.percentile(counts, 90)),
            "most": int(counts.max()),
        }
    snr, found, real = (np.concatenate([row[name] for row in group]) for name in ("snr", "found", "real"))
    done["recall"] = [
        {"snr": [low, high], "found": share(int(found[inside].sum()), int(inside.sum())),
         "real": share(int(real[inside].sum()), int(inside.sum()))}
        for low, high in pairwise(EDGES)
        if (inside := (snr >= low) & (snr < high)).any()
    ]  # fmt: skip
    return done


def lines(summary: list[Row]) -> list[str]:
    """A table to read in a terminal."""
    counted = ("candidates", "artifacts", "false_reals")
    names = "".join(f"{name:>16s}" for name in counted)
    text = [f"{'kind':14s} {'verdict':9s} {'images':>8s}{names}   found at S/N > 10   causes"]
    for row in summary:
        start = f"{row['kind']:14s} {row['verdict']:9s} {row['images']:>4d}/{row['of']:<3d}"
        if "recall" not in row:
            text.append(f"{start} {row['causes']}")
            continue
        n, k = (sum(b["found"][name] for b in row["recall"] if b["snr"][0] >= 10) for name in ("n", "hits"))
        counts = [f"{row[name]['median']:.0f} ({row[name]['most']})" for name in counted]
        cells = "".join(f"{count:>16s}" for count in counts)
        text.append(f"{start}{cells}   {k}/{n} = {k / max(n, 1):.3f}   {row['causes']}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--night", type=int, nargs="+", default=[103, 104], help="seeds (default 103 104)")
    parser.add_argument("--fields", type=int, default=12, help="fields of each night (default 12)")
    parser.add_argument("--shape", type=int, nargs=2, default=(1128, 1000), metavar=("NY", "NX"))
    parser.add_argument("--inject", type=int, default=60, help="artificial reals in each image (default 60)")
    parser.add_argument("--rows", type=Path, help="write what was measured of every image as JSON")
    parser.add_argument("--out", type=Path, help="write the summary as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = Config.parse({"night": {"inject": options.inject}})
    started, rows = time.process_time(), []
    for night in options.night:
        for field in range(options.fields):
            rows += measure_field(night, field, tuple(options.shape), config)
            last = ", ".join(f"{row['kind']} {row['verdict']}" for row in rows[-7:])
            print(f"night {night}, field {field}: {last}", flush=True)
            if options.rows:
                options.rows.write_text(json.dumps(rows))
    summary = summary_of(rows)
    print("\n".join(lines(summary)))
    print(f"processor time {time.process_time() - started:.0f} s")
    if options.out:
        report = {
            "version": __version__, "nights": options.night, "fields": options.fields, "shape": list(options.shape),
            "inject": options.inject, "summary": summary,
        }  # fmt: skip
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
