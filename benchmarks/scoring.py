"""Stamps scored per second on one core, from raw stamps in memory to scores, preprocessing included.

    python benchmarks/scoring.py                                   # the shipped model, in single precision
    python benchmarks/scoring.py my_model my_model_int8 --json docs/measured/scoring.json

Each model is run in ONNX Runtime, and in OpenVINO where it is installed, on stamps of 31 and of 63 px (of which the
centre is seen), one look at each: what the further looks of a model cost on a night's candidates is measured by
``benchmarks/views.py``. Runs of all take turns, so that a busy machine is as busy for each; medians
and fastest are of the processor time of one thread. Then the share of preprocessing is told, by ONNX Runtime's own
profile of the first model, and how far the scores of the runtimes differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import onnxruntime

from gueststar import __version__
from gueststar.errors import MissingPartError
from gueststar.realbogus.card import read_model
from gueststar.realbogus.loaded import LoadedModel, load_model, with_views
from gueststar.realbogus.score import score_stamps

WIDTHS = (31, 63)
RUNTIMES = ("onnxruntime", "openvino")


def stamps(n: int, width: int, names: list[str], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Stars on a noisy sky with some missing pixels, noise, and numbers of a usual size."""
    y, x = np.indices((width, width)) - (width - 1) / 2.0
    star = np.exp(-(x**2 + y**2) / 3.0) * rng.uniform(20.0, 2000.0, (n, 1, 1))
    planes = rng.normal(0.0, 10.0, (n, 2, width, width)) + 50.0 * np.exp(-((x - 6) ** 2 + y**2) / 3.0)
    planes[:, 0] += star
    cube = np.concatenate([planes, planes[:, :1] - planes[:, 1:]], axis=1).astype(np.float32)
    cube[::10, :, : width // 2] = np.nan
    numbers = rng.uniform(0.5, 5.0, (n, len(names))).astype(np.float32)
    numbers[:, names.index("snr")] = rng.uniform(5.0, 60.0, n) * rng.choice([-1.0, 1.0], n)
    return cube, np.tile(np.float32([10.0, 10.0, 14.1]), (n, 1)), numbers


def ready(models: list[str]) -> tuple[list[tuple[str, str, LoadedModel]], list[str]]:
    """Every model in every runtime that is installed; those that are not."""
    found, missing = [], []
    for model in models:
        for runtime in RUNTIMES:
            try:
                loaded = load_model(model, runtime=runtime)  # type: ignore[arg-type]
            except MissingPartError as error:
                missing.append(error.message)
                continue
            found.append((f"{loaded.card.name} {loaded.card.version}", runtime, with_views(loaded, 1)))
    return found, sorted(set(missing))


def preprocessing_share(model: str, cube: np.ndarray, sigma: np.ndarray, numbers: np.ndarray) -> float:
    """Share of the time of the network that goes into its preprocessing."""
    card, weights = read_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        margin = (cube.shape[-1] - card.stamp_size) // 2
        seen = slice(margin, margin + card.stamp_size)
        feeds = {"cube": np.ascontiguousarray(cube[:64, :, seen, seen]), "sigma": sigma[:64], "scalars": numbers[:64]}
        for _ in range(40):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[bool, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent["preprocess" in event["name"]] += event["dur"]
    return spent[True] / (spent[True] + spent[False])


def measure(given: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sessions, missing = ready(given.models)
    rows, scores = [], {}
    for width in WIDTHS:
        rates: dict[int, list[float]] = defaultdict(list)
        names = [item.name for item in sessions[0][2].card.scalars]
        inputs = stamps(given.stamps, width, names, rng)
        for repeat in range(given.repeats + 1):
            for i, (_, _, loaded) in enumerate(sessions):
                start = time.process_time()
                found = score_stamps(*inputs, loaded, batch_size=given.batch)
                spent = time.process_time() - start
                if repeat:  # the first one warms up
                    rates[i].append(given.stamps / spent)
                scores[width, i] = found
        for i, (name, runtime, _) in enumerate(sessions):
            first = next(j for j, other in enumerate(sessions) if other[0] == name)
            rows.append({
                "model": name, "runtime": runtime, "stamp_px": width,
                "stamps_per_s": round(statistics.median(rates[i])), "fastest": round(max(rates[i])),
                "largest_change_between_runtimes": float(np.abs(scores[width, i] - scores[width, first]).max()),
            })  # fmt: skip
    share = preprocessing_share(given.models[0], *inputs)
    return {"rows": rows, "missing": missing, "preprocessing_share": round(share, 3)}


def processor() -> str:
    """Name of the processor, and which of its instructions matter here."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in facts.items()}
    flags = [
        name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if name in known.get("flags", "").split()
    ]
    return f"{known.get('model name', platform.machine())} with {', '.join(flags) or 'no AVX'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["shipped"], help="model folders, stores of models, or shipped")
    parser.add_argument("--stamps", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64, help="stamps at once (default 64)")
    parser.add_argument("--json", type=Path, help="write the figures")
    given = parser.parse_args()
    report = {
        "version": __version__,
        "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread; onnxruntime {onnxruntime.__version__}",
        "load": [round(value, 1) for value in os.getloadavg()],
        "stamps": given.stamps, "repeats": given.repeats, "batch": given.batch, **measure(given),
    }  # fmt: skip
    print(f"{report['machine']}; load {report['load'][0]}")
    print(f"{'model':24s} {'runtime':12s} {'px':>4s} {'stamps/s':>9s} {'fastest':>8s}  largest change between runtimes")
    for row in report["rows"]:
        print(
            f"{row['model']:24s} {row['runtime']:12s} {row['stamp_px']:4d} {row['stamps_per_s']:9d} "
            f"{row['fastest']:8d}  {row['largest_change_between_runtimes']:.2g}"
        )
    print(f"preprocessing takes {100 * report['preprocessing_share']:.0f} % of the first model's network")
    for text in report["missing"]:
        print(f"left out: {text}")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
