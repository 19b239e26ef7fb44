"""How fast each network is trained and scored on one core, on drawn stamps.

    python benchmarks/network_speed.py
    python benchmarks/network_speed.py --steps 20 --out network_speed.json

Training: whole steps of 256 stamps, reading and symmetries included. Two stages: steps of the second stage, with the
smoothness. Scoring: ONNX Runtime on raw stamps of the width that the network sees, preprocessing
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

from gueststar import __version__
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.network import StampNet, count_parameters
from gueststar.realbogus.networks import NetworkName
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train
from realbogus_stamps import dataset


def trained(data: Dataset, name: NetworkName, method: str) -> tuple[StampNet, float]:
    """A network after one pass, and stamps for each second of processor time between its first and last step."""
    split = split_groups(data.columns, rng=np.random.default_rng(0))
    options = Train(network=name, epochs=1, threads=1)
    # So that nearly no row loses its label, of networks that have learnt nothing yet.
    noise = LabelNoise(method=method, folds=2, flag_above=0.999)
    ends: list[float] = []

    def note(stage: str, *_: int) -> None:
        if stage == "train":
            ends.append(time.process_time())

    network = train_robust(data, split, options, noise, progress=note).network
    return network, split.train.size / len(ends) * (len(ends) - 1) / (ends[-1] - ends[0])


def scored(network: StampNet, batch: int = 64, seconds: float = 2.0) -> float:
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
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    data = dataset(2 * 256 * (arguments.steps + 1), np.random.default_rng(0), size=63)
    found: dict[str, Any] = {"version": __version__, "networks": {}}
    print(f"{'network':18} {'weights':>9} {'trained/s':>10} {'two-stage/s':>12} {'scored/s':>9}")
    for name in get_args(NetworkName):
        network, naive = trained(data, name, "naive")
        figures = {
            "weights": count_parameters(network),
            "trained": naive,
            "two_stage": trained(data, name, "two-stage")[1],
            "scored": scored(network),
        }
        found["networks"][name] = figures
        print("{:18} {weights:9d} {trained:10.0f} {two_stage:12.0f} {scored:9.0f}".format(name, **figures), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
