"""Compare subtraction engines and peers on simulated fields of known truth, and time the chain against the usual one.

    python benchmarks/frontend.py                                  # every field, three seeds
    python benchmarks/frontend.py --fields sparse crowded --seeds 5 --engines kernel zogy --slow-peers 2
    python benchmarks/frontend.py --out docs/measured/frontend.json --figure docs/images/frontend.png

Every engine gets the same calibrated pair, registered by gueststar from a header WCS that is wrong by about 0.4 px;
``SWarp + hotpants`` is the usual chain, resampled by the header's own WCS. All differences are scored and searched by
the same code, so that only the pixels differ. Published packages are run where they are installed, on the first seeds
only, for they are slow. Peers that are not installed are left out and named. The same skies with a perfect WCS tell
what the error of the WCS does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import torch
from frontend_parts import engines as parts
from frontend_parts.fields import FIELDS, SHAPE, FieldPair, make_pair
from frontend_parts.judge import judge
from frontend_parts.packages import PACKAGES, PackageError, run_package
from frontend_parts.tables import summarise, table_lines, wcs_error_of

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
    """All engines and peers on one pair, and the usual chains again on the same sky with a perfect WCS."""
    pair = make_pair(field, seed, tuple(options.shape))
    aligned = Align()(pair.science, pair.reference)
    rows: list[Row] = []
    _add(rows, pair, "oracle", parts.oracle(pair), aligned, field, seed)
    for name, engine in parts.engines(options.engines).items():
        try:
            difference = engine(pair.science, aligned)
        except GueststarError as error:
            print(f"  {name}: {error}")
            continue
        _add(rows, pair, name, difference, aligned, field, seed, **chain_times(pair, engine, options.repeats))
    if "hotpants" in found and "hotpants" not in options.engines:
        difference = parts.engines(["hotpants"])["hotpants"](pair.science, aligned)
        _add(rows, pair, "hotpants, our registration", difference, aligned, field, seed)
    if {"hotpants", "SWarp"} <= set(found):
        _usual_chain(rows, pair, "SWarp + hotpants", field, seed, found)
    if seed < options.first_seed + options.slow_peers:
        for name, (label, _) in PACKAGES.items():
            if name not in found:
                continue
            try:
                difference, seconds = run_package(name, pair.science, aligned, timeout_s=options.timeout)
            except PackageError as error:
                print(f"  {label}: {error}")
                continue
            _add(rows, pair, label, difference, aligned, field, seed, subtract=seconds)
    if not options.no_perfect_wcs:
        exact = make_pair(field, seed, tuple(options.shape), perfect_wcs=True)
        aligned = Align()(exact.science, exact.reference)
        difference = parts.engines(["kernel"])["kernel"](exact.science, aligned)
        _add(rows, exact, "kernel, perfect WCS", difference, aligned, field, seed)
        if {"hotpants", "SWarp"} <= set(found):
            _usual_chain(rows, exact, "SWarp + hotpants, perfect WCS", field, seed, found)
    return rows


def _add(
    rows: list[Row], pair: FieldPair, name: str, difference: Difference, on: Image, field: str, seed: int,
    **times: float,
) -> None:  # fmt: skip
    """Judge a difference, keep the row, and show it."""
    common = {"field": field, "seed": seed, "sources": len(pair.science.stars), "fwhm_px": pair.science.psf.fwhm}
    rows.append(
        {**common, "wcs_error": pair.wcs_error, "engine": name, **judged(pair, on, difference), "seconds": times}
    )
    print("  " + table_lines([summarise([rows[-1]])])[-1], flush=True)


def _usual_chain(rows: list[Row], pair: FieldPair, name: str, field: str, seed: int, found: dict[str, str]) -> None:
    """SWarp by the headers' WCS, hotpants, and source-extractor for its time; the detections are our own."""
    moved, swarp_s = parts.swarp(found["SWarp"], pair)
    times = {"align": swarp_s, "subtract": parts.hotpants_alone(pair, moved, found["hotpants"])}
    difference = parts.engines(["hotpants"])["hotpants"](pair.science, moved)
    if "extractor" in found:
        times["detect"] = parts.extractor(found["extractor"], difference)
    _add(rows, pair, name, difference, moved, field, seed, **times, chain=sum(times.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--engines", nargs="+", default=["kernel"], help="of gueststar (default kernel)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="timings of the chain; the fastest counts (default 3)")
    parser.add_argument(
        "--slow-peers",
        type=int,
        default=1,
        metavar="N",
        help="run the packages, 3 to 60 s a chip, on the first N seeds only (default 1)",
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a package may take (default 600)")
    parser.add_argument("--no-perfect-wcs", action="store_true", help="leave out the same skies with a perfect WCS")
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPE, metavar=("NY", "NX"))
    parser.add_argument("--no-peers", action="store_true", help="our own engines only")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--figure", type=Path, help="draw them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {} if options.no_peers else parts.available()
    rows: list[Row] = []
    started = parts.cpu_seconds()
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
    print(f"processor time: {parts.cpu_seconds() - started:.0f} s")
    report = {
        "version": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread",
        "shape": list(options.shape),
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "slow_peers": min(options.slow_peers, options.seeds),
        "missing": sorted(({"SWarp", "hotpants", "extractor"} | set(PACKAGES)) - set(found)),
        "wcs_error": wcs_error_of(rows),
        "summary": summary,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    if options.figure:
        from frontend_parts.figure import draw

        draw(report, options.figure)


if __name__ == "__main__":
    main()
