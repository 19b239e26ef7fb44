"""Compare subtraction engines and peers on simulated fields of known truth, and time the chain against the usual one.

    python benchmarks/frontend.py                                  # every field, three seeds
    python benchmarks/frontend.py --fields sparse crowded --seeds 5 --engines kernel zogy
    python benchmarks/frontend.py --out docs/measured/frontend.json --figure docs/images/frontend.png

Every engine gets the same calibrated pair, registered by gueststar from a header WCS that is wrong by about 0.3 px;
``SWarp + hotpants`` is the usual chain, resampled by the header's own WCS. All differences are scored and searched by
the same code, so that only the pixels differ. Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import torch
from frontend_parts import engines as parts
from frontend_parts.fields import FIELDS, SHAPE, FieldPair, make_pair
from frontend_parts.judge import judge
from frontend_parts.tables import summarise, table_lines

from gueststar import __version__
from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.errors import GueststarError
from gueststar.stamps import CutStamps
from gueststar.types import Difference, Image

Row = dict[str, Any]


def timed(function: Any, *args: Any) -> tuple[Any, float]:
    """Result and processor time."""
    started = time.process_time()
    return function(*args), time.process_time() - started


def chain_times(pair: FieldPair, engine: Any, repeats: int) -> dict[str, float]:
    """Best processor time of each stage of the chain, from images in memory to candidates with stamps."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        aligned, align_s = timed(Align(), pair.science, pair.reference)
        difference, subtract_s = timed(engine, pair.science, aligned)
        candidates, detect_s = timed(Detect(), difference, pair.science, aligned)
        _, stamps_s = timed(CutStamps(), candidates, pair.science, aligned, difference)
        spent = {"align": align_s, "subtract": subtract_s, "detect": detect_s, "stamps": stamps_s}
        spent["chain"] = sum(spent.values())
        best = spent if not best or spent["chain"] < best["chain"] else best
    return best


def judged(pair: FieldPair, aligned: Image, difference: Difference) -> Row:
    """Candidates of a difference, judged."""
    return judge(pair, aligned, difference, Detect()(difference, pair.science, aligned))


def measure(field: str, seed: int, options: argparse.Namespace, found: dict[str, str]) -> list[Row]:
    """All engines and peers on one pair."""
    pair = make_pair(field, seed, tuple(options.shape))
    aligned = Align()(pair.science, pair.reference)
    common = {"field": field, "seed": seed, "sources": len(pair.science.stars), "fwhm_px": pair.science.psf.fwhm}
    rows = []

    def add(name: str, difference: Difference, on: Image, **times: float) -> None:
        rows.append({**common, "engine": name, **judged(pair, on, difference), "seconds": times})
        print("  " + table_lines([summarise([rows[-1]])])[-1], flush=True)

    add("oracle", parts.oracle(pair), aligned)
    for name, engine in parts.engines(options.engines).items():
        try:
            difference = engine(pair.science, aligned)
        except GueststarError as error:
            print(f"  {name}: {error}")
            continue
        add(name, difference, aligned, **chain_times(pair, engine, options.repeats))
    if "hotpants" in found:
        engine = parts.engines(["hotpants"])["hotpants"]
        if "hotpants" not in options.engines:
            add("hotpants, our registration", engine(pair.science, aligned), aligned)
    if {"hotpants", "SWarp"} <= set(found):
        moved, swarp_s = parts.swarp(found["SWarp"], pair)
        times = {"align": swarp_s, "subtract": parts.hotpants_alone(pair, moved, found["hotpants"])}
        difference = engine(pair.science, moved)
        if "extractor" in found:
            times["detect"] = parts.extractor(found["extractor"], difference)
        add("SWarp + hotpants", difference, moved, **times, chain=sum(times.values()))
    if "sfft" in found and seed < options.sfft_seeds:
        difference, seconds = parts.sfft_package(pair, aligned)
        add("sfft package", difference, aligned, subtract=seconds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--engines", nargs="+", default=["kernel"], help="of gueststar (default kernel)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="timings of the chain; the fastest counts (default 3)")
    parser.add_argument("--sfft-seeds", type=int, default=1, help="seeds for the slow package sfft (default 1)")
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPE, metavar=("NY", "NX"))
    parser.add_argument("--no-peers", action="store_true", help="our own engines only")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--figure", type=Path, help="draw them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {} if options.no_peers else parts.available()
    missing = {"SWarp", "hotpants", "extractor", "sfft"} - set(found)
    if missing and not options.no_peers:
        print(f"peers not installed, left out: {', '.join(sorted(missing))}")
    rows = []
    for field in options.fields:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            print(f"{field}, seed {seed}", flush=True)
            rows += measure(field, seed, options, found)
    names = list(dict.fromkeys(row["engine"] for row in rows))
    summary = [
        summarise([row for row in rows if row["field"] == field and row["engine"] == name])
        for field in options.fields
        for name in names
        if any(row["field"] == field and row["engine"] == name for row in rows)
    ]
    print("\n".join(table_lines(summary)))
    report = {
        "version": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread",
        "shape": list(options.shape),
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "summary": summary,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    if options.figure:
        from frontend_parts.figure import draw

        draw(report, options.figure)


if __name__ == "__main__":
    main()
