"""What it costs to tell a network the chip, and to score with one model for each chip.

    python benchmarks/chip_cost.py
    python benchmarks/chip_cost.py --rounds 9 --chips 84 --out chip_cost.json

Stamps are noise: nothing is learned here. All take turns in every round, so that a busy machine slows all; the median
of the rounds and their range are told, and the ratio to the first is taken within each round. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import hashlib

import numpy as np
import torch

from gueststar import __version__
from gueststar.realbogus.card import Card, read_model, weights_hash, write_model
from gueststar.realbogus.chips.model_set import ChipEntry, ModelSet, SetMember, chip_folder, write_set
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.loaded import open_model
from gueststar.realbogus.network import RealBogusNet, count_parameters
from gueststar.realbogus.score import LoadedModel, load_model, score_stamps

_BATCH = 256


def networks(n_chips: int) -> dict[str, RealBogusNet]:
    """The same network without and with the chip."""
    torch.manual_seed(0)
    plain = RealBogusNet()
    torch.manual_seed(0)
    told = RealBogusNet().condition([f"chip{i}" for i in range(n_chips)])
    return {"plain": plain, "told the chip": told}


def training_step(network: RealBogusNet) -> Callable[[], int]:
    """One step of training on a batch; returns its stamps."""
    optimiser = torch.optim.AdamW(network.parameters())
    m = len(network.preprocess.scalars)
    inputs = (torch.randn(_BATCH, 3, 31, 31), torch.ones(_BATCH, 3), torch.randn(_BATCH, m))
    chip = torch.randint(1, len(network.chips) + 1, (_BATCH,)) if network.chips else None
    target = torch.randint(0, 2, (_BATCH,)).float()

    def step() -> int:
        network.train()
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(*inputs, chip), target)
        loss.backward()
        optimiser.step()
        return _BATCH

    return step


def scoring(model: LoadedModel, chips: np.ndarray) -> Callable[[], int]:
    """Scores of stamps of several chips; returns their number."""
    rng = np.random.default_rng(0)
    n = chips.size
    cube = rng.normal(size=(n, 3, 31, 31)).astype(np.float32)
    sigma, numbers = np.ones((n, 3), np.float32), rng.normal(size=(n, len(model.card.scalars))).astype(np.float32)

    def score() -> int:
        score_stamps(cube, sigma, numbers, model, chips=chips)
        return n

    return score


def model_of(network: RealBogusNet) -> tuple[Card, bytes]:
    """The network as a model, with the card of the shipped one."""
    weights, (card, _) = onnx_bytes(network.eval()), read_model("shipped")
    changes = {"chips": network.chips, "weights_hash": weights_hash(weights), "check_scores": ()}
    return card.model_copy(update=changes), weights


def set_of(network: RealBogusNet, chips: list[str], folder: Path) -> Path:
    """A set in which each chip has a copy of one model."""
    card, weights = model_of(network)

    def member(name: str) -> SetMember:
        write_model(folder / name, card, weights)
        digest = hashlib.sha256((folder / name / "card.json").read_bytes()).hexdigest()
        return SetMember(folder=name, weights_hash=card.weights_hash, card_hash=digest)

    entries = {chip: ChipEntry(own=member(chip_folder(chip))) for chip in chips}
    models = ModelSet(
        name="copies", version="1", fallback=member("fallback"), fallback_from="a copy", chips=entries,
        code_version=__version__,
    )  # fmt: skip
    write_set(folder, models)
    return folder


def compared(works: dict[str, Callable[[], int]], rounds: int, *, repeat: int) -> dict[str, Any]:
    """Stamps a second of each, in turns; the first one is what the others are compared with."""
    speeds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            n = sum(work() for _ in range(repeat))
            speeds[name].append(n / (time.perf_counter() - start))
    first = next(iter(speeds.values()))
    return {
        name: {
            "stamps_per_s": round(statistics.median(values)),
            "range": [round(min(values)), round(max(values))],
            "time_over_first": round(statistics.median(a / b for a, b in zip(first, values, strict=True)), 3),
        }
        for name, values in speeds.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chips", type=int, default=84)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = networks(options.chips)
    chips = [f"chip{i}" for i in range(options.chips)]
    found: dict[str, Any] = {"parameters": {name: count_parameters(network) for name, network in made.items()}}
    found["training"] = compared({k: training_step(v) for k, v in made.items()}, options.rounds, repeat=2)
    models = {name: open_model(*model_of(network)) for name, network in made.items()}
    one, mixed = np.array(chips[:1] * 1024), np.resize(np.array(chips), 1024)
    with tempfile.TemporaryDirectory() as place:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        loaded = load_model(set_of(made["plain"], chips, Path(place)))
        works = {name: scoring(model, mixed) for name, model in models.items()}
        works["set, stamps of one chip"] = scoring(loaded, one)
        works["set, stamps of all chips mixed"] = scoring(loaded, mixed)
        works["set, stamps of all chips mixed"]()
        found["set_open_s"] = round(time.perf_counter() - start, 2)
        found["set_memory_mb"] = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
        found["scoring"] = compared(works, options.rounds, repeat=2)
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
