"""Our engines and the peers on real frames, on equal terms: artificial reals found, fluxes, candidates left.

    python benchmarks/real_engines.py DATA --out docs/measured/real_engines.json

DATA is that of `real_frames.py`, and its frames are calibrated as there. Of each camera some frames get the same
artificial reals for every engine; each engine subtracts the same registered pair, and its difference is searched and
scored alike. Candidates are those left on the frame without artificial reals. SWarp has no part: most of these frames
have no WCS. Packages that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from frontend_parts.engines import available, engines
from frontend_parts.packages import PACKAGES, PackageError, run_package
from real_frames import CAMERAS

from gueststar import Image, __version__, process_pair
from gueststar.config import Config
from gueststar.efficiency.completeness import binomial_interval
from gueststar.errors import GueststarError
from gueststar.night import pair as night_pair
from gueststar.night.artificial_reals import find_artificial_reals
from gueststar.night.run import run_night
from gueststar.pipeline import PairResult
from gueststar.types import Difference

EDGES = (5.0, 7.0, 10.0, 20.0, 50.0)
Row = dict[str, Any]


def pairs_of(folder: Path, instrument: str, most: int) -> Iterator[tuple[str, Image, Image]]:
    """Name, science image and reference of the first frames of a folder, as a run of it makes them."""
    kept: list[tuple[str, Image, Image]] = []
    process = night_pair.process_images

    def keep(science: Image, reference: Image, out: Path, config: Config, names: Any, **more: Any) -> Any:
        kept.append((names.image, science, reference))
        return process(science, reference, out, config, names, **more)

    config = Config.parse({"instrument": instrument, "night": {"pictures": False, "keep_difference": False}})
    with tempfile.TemporaryDirectory() as name, mock.patch("gueststar.night.steps.process_images", keep):
        run_night(folder, Path(name) / "run", config, mapper=map)
    yield from kept[:most]


def subtractors(names: list[str], found: dict[str, str], timeout_s: float) -> dict[str, Callable[..., Difference]]:
    """Our engines and the installed peers, by label."""
    chosen: dict[str, Callable[..., Difference]] = dict(engines(names))
    if "hotpants" in found:
        chosen |= engines(["hotpants"])

    def package(name: str) -> Callable[[Image, Image], Difference]:
        return lambda science, aligned: run_package(name, science, aligned, timeout_s=timeout_s)[0]

    return chosen | {label: package(name) for name, (label, _) in PACKAGES.items() if name in found}


def measure(name: str, science: Image, reference: Image, engine: Callable[..., Difference], config: Config) -> Row:
    """One engine on one frame."""

    def process(image: Image) -> PairResult:
        return process_pair(image, reference, subtract=engine)

    result = process(science)
    table = find_artificial_reals(result, config, name, threshold=0.5, process=process).table
    use = (np.asarray(table["status"]) == "injected") & ~np.asarray(table["occupied"], bool)
    table, snr = table[use], np.asarray(result.candidates["snr"])
    flux, error = (np.asarray(table[key], float) for key in ("candidate_flux", "candidate_flux_err"))
    sure = np.asarray(table["found"], bool) & np.isfinite(flux) & (np.asarray(table["snr"]) > 10.0)
    true = np.asarray(table["flux_e"], float)
    return {
        "positive": int((snr > 0).sum()), "negative": int((snr < 0).sum()),
        "snr": np.asarray(table["snr"], float).tolist(), "found": np.asarray(table["found"], int).tolist(),
        "ratio": (flux / true)[sure].tolist(), "pull": ((flux - true) / error)[sure].tolist(),
    }  # fmt: skip


def summarise(rows: list[Row]) -> Row:
    """One engine on one camera."""
    snr, found, ratio, pull = (np.concatenate([row[key] for row in rows]) for key in ("snr", "found", "ratio", "pull"))
    done: Row = {"frames": len(rows)}
    for sign in ("positive", "negative"):
        done[sign] = float(np.median([row[sign] for row in rows]))
    done["bins"] = []
    for low, high in pairwise(EDGES):
        inside = (snr >= low) & (snr < high)
        n, k = int(inside.sum()), int(found[inside].sum())
        if n:
            done["bins"].append({"snr": [low, high], "n": n, "found": k, "interval": binomial_interval(k, n)})
    if ratio.size > 5:
        done["bias"] = round(float(np.median(ratio)) - 1.0, 4)
        done["bias_err"] = round(
            float(1.2533 * 1.4826 * np.median(np.abs(ratio - np.median(ratio))) / ratio.size**0.5), 4
        )
        done["pull_median"] = round(float(np.median(pull)), 3)
        done["pull_scatter"] = round(float(1.4826 * np.median(np.abs(pull - np.median(pull)))), 3)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with one folder per camera")
    parser.add_argument("--engines", nargs="+", default=["kernel", "sfft", "zogy"], help="of gueststar")
    parser.add_argument("--frames", type=int, default=2, help="science frames of each camera (default 2)")
    parser.add_argument("--inject", type=int, default=150, help="artificial reals in each (default 150)")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds a package may take (default 300)")
    parser.add_argument("--no-packages", action="store_true", help="our engines and hotpants only")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = available()
    if options.no_packages:
        found = {name: path for name, path in found.items() if name not in PACKAGES}
    config = Config.parse({"night": {"inject": options.inject}})
    report: Row = {"version": __version__, "inject": options.inject, "cameras": {}}
    for folder, instrument in CAMERAS.items():
        if not (options.data / folder).is_dir():
            print(f"left out, not there: {options.data / folder}")
            continue
        rows: dict[str, list[Row]] = {}
        for name, science, reference in pairs_of(options.data / folder, instrument, options.frames):
            for label, engine in subtractors(options.engines, found, options.timeout).items():
                try:
                    rows.setdefault(label, []).append(measure(name, science, reference, engine, config))
                except (GueststarError, PackageError) as error:
                    print(f"  {folder} {label}: {error}")
        report["cameras"][folder] = {label: summarise(group) for label, group in rows.items() if group}
        print(folder)
        for label, figures in report["cameras"][folder].items():
            bins = ", ".join(f"{b['found']}/{b['n']}" for b in figures["bins"])
            bias, pull = figures.get("bias"), (figures.get("pull_median"), figures.get("pull_scatter"))
            print(
                f"  {label:20s} +{figures['positive']:g} -{figures['negative']:g}  {bins}  bias {bias}  pull {pull}",
                flush=True,
            )
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
