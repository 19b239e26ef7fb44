"""How fast each network is trained and scored on one core, on drawn stamps.

    python benchmarks/network_speed.py
    python benchmarks/network_speed.py --steps 20 --out network_speed.json

Training: whole steps of 256 stamps, drawing of the batch and symmetries included. Two stages: a step of the second
stage, with the smoothness. Scoring: ONNX Runtime on raw stamps of the width that the network sees, preprocessing
included. Times are processor times of one thread, so that other programs on the machine disturb them less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, get_args

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import onnxruntime
import torch

from gueststar import __version__
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.label_noise import two_stage
from gueststar.realbogus.network import count_parameters
from gueststar.realbogus.networks import NetworkName
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Loop, Train, new_network, prepare
from realbogus_stamps import dataset


def trained(loop: Loop, steps: int) -> float:
    """Stamps for each second of processor time, after one step to warm up."""
    loop.descend(loop.loss(*chosen(loop)))
    start = time.process_time()
    for _ in range(steps):
        loop.descend(loop.loss(*chosen(loop)))
    return steps * loop.options.batch_size / (time.process_time() - start)


def chosen(loop: Loop) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one step and how they are turned."""
    rows = loop.rng.permutation(loop.rows.parts["train"])[: loop.options.batch_size]
    return rows, loop.rng.integers(0, 8, rows.size)


def scored(network: Any, batch: int = 64, seconds: float = 2.0) -> float:
    """Stamps for each second of processor time, through ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes(network), options, providers=["CPUExecutionProvider"])
    k, m = network.preprocess.size, len(network.preprocess.scalars)
    rng = np.random.default_rng(0)
    inputs = {
        "cube": rng.normal(0, 10, (batch, 3, k, k)).astype(np.float32),
        "sigma": np.full((batch, 3), 10, np.float32),
        "scalars": np.full((batch, m), 10, np.float32),
    }
    session.run(None, inputs)
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        session.run(None, inputs)
        done += batch
    return done / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = dataset(1024, np.random.default_rng(0), size=63)
    split = split_groups(data.columns, rng=np.random.default_rng(0))
    found: dict[str, Any] = {"version": __version__, "networks": {}}
    print(f"{'network':18} {'weights':>9} {'trained/s':>10} {'two-stage/s':>12} {'scored/s':>9}")
    for name in get_args(NetworkName):
        options = Train(network=name, epochs=1000)
        rows = prepare(data, split, options)
        network = new_network(rows, options)
        none = np.empty(0, np.int64)
        smooth = two_stage.SmoothLoop(rows, new_network(rows, options), options, none, alpha=1.0, epsilon=1.0)
        figures = {
            "weights": count_parameters(network),
            "trained": trained(Loop(rows, network, options), arguments.steps),
            "two_stage": trained(smooth, max(arguments.steps // 2, 1)),
            "scored": scored(network),
        }
        found["networks"][name] = figures
        print("{:18} {weights:9d} {trained:10.0f} {two_stage:12.0f} {scored:9.0f}".format(name, **figures), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
