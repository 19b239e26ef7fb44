"""How many stamps a second the training of the default network takes, and where the time goes.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --data my_set --rounds 8

Every way is timed in turn, round after round, so that whatever else the machine does meets all of them; the best and
the middle round are told, with the load of the machine. On a machine that is busy only stamps per second of processor
time mean anything, and only those of one thread: threads that wait for each other use it, too. ``plain`` is a training
without what was made for speed: channels apart, batches read between the steps. Without --data stamps are drawn and
kept on disk, 63 px wide.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import torch

from gueststar.realbogus.augment import Change
from gueststar.realbogus.dataset import symmetry
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.feed import Batch
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import Split
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.realbogus.train import Loop, Train, new_network
from gueststar.realbogus.training_rows import prepare
from realbogus_stamps import dataset

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "plain": (1, {"plain": True}),
    "plain, 2 threads": (2, {"plain": True}),
    "as it is": (1, {}),
    "as it is, 2 threads": (2, {}),
    "bfloat16": (1, {"precision": "bfloat16"}),
    "bfloat16, 2 threads": (2, {"precision": "bfloat16"}),
}


def drawn_set(folder: Path, n: int) -> StoredDataset:
    """Write a set of drawn stamps."""
    drawn = dataset(n, np.random.default_rng(0), size=63, pairs=60)
    sigma = {f"sky_sigma_{name}": drawn.sigma[:, i] for i, name in enumerate(("science", "reference", "difference"))}
    with ShardWriter(folder, rows_per_shard=2000) as writer:
        writer.add(drawn.cube, {**drawn.columns, **sigma, "split": "train", "suspicion": "", "true_kind": ""})
    return open_dataset(folder)


def new_loop(data: StoredDataset, split: Split, *, plain: bool = False, **options: Any) -> Loop:
    """A training that has not begun."""
    settings = Train(**options)
    rows = prepare(data, split, settings)
    network = new_network(rows, settings)
    return Loop(rows, network.to(memory_format=torch.contiguous_format) if plain else network, settings)


def batches(loop: Loop, number: int, *, plain: bool) -> Iterator[Batch]:
    """Batches of a pass, read ahead or not."""
    if not plain:
        return (batch for _, batch in loop.feed.batches(number))
    return (loop.feed.read(rows, number, step) for step, rows in enumerate(loop.feed.order(number)))


def speed(loop: Loop, number: int, steps: int, *, plain: bool) -> tuple[float, float]:
    """Stamps per second, and per second of processor time, over some steps; the first is not counted."""
    seen, start, used = 0, 0.0, 0.0
    for i, batch in enumerate(batches(loop, number, plain=plain)):
        if i == 1:
            start, used = time.perf_counter(), time.process_time()
        loop.clear()
        loop._learn(batch, len(batch))
        loop.descend()
        seen += len(batch) if i else 0
        if i == steps:
            break
    return seen / (time.perf_counter() - start), seen / (time.process_time() - used)


def parts(loop: Loop) -> dict[str, float]:
    """Milliseconds of each part of a step, one thread: the best of some tries."""
    rows = loop.feed.order(0)[0]
    size, change = loop.network.preprocess.size, Change.draw(loop.options.augment, rows.size, np.random.default_rng(0))
    cube = loop.rows.dataset.stamps(rows, size=size)
    batch = loop.feed.read(rows, 0, 0)
    loop.network.train()

    def forward() -> torch.Tensor:
        return loop.loss(batch)

    def whole() -> None:
        loop.clear()
        forward().backward()

    whole()
    found = {
        "reading, float16 to float32, centre cut out": _best(lambda: loop.rows.dataset.stamps(rows, size=size)),
        "symmetry": _best(lambda: symmetry(cube, change.turn)),
        "preprocessing in the network": _best(lambda: loop.network.preprocess(*batch.inputs)),
        "forward, preprocessing included": _best(forward),
    }
    found["backward"] = _best(whole) - found["forward, preprocessing included"]
    found["clipping, optimiser, schedule"] = _best(loop.descend)
    return {name: 1000.0 * value for name, value in found.items()}


def _best(work: Callable[[], Any], tries: int = 7) -> float:
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Time all ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set on disk; its rows are all used")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of 256 stamps in each round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = open_dataset(given.data) if given.data else drawn_set(Path(folder) / "set", 6400)
        rows = np.random.default_rng(0).permutation(np.flatnonzero(data.labels >= 0))
        # All groups on one side: nothing is learnt here, and the validation rows are not looked at.
        data.check_split = lambda _: None  # type: ignore[method-assign]
        split = Split(np.sort(rows[64:]), np.sort(rows[:64]), np.empty(0, np.int64))
        measure(data, split, given.rounds, given.steps)


def measure(data: StoredDataset, split: Split, rounds: int, steps: int) -> None:
    """Print what is measured."""
    with deterministic(0, threads=1):
        plain, loop = new_loop(data, split, plain=True), new_loop(data, split)
        print(f"one step of 256 stamps, one thread, ms (load {os.getloadavg()[0]:.1f})")
        apart = parts(plain)
        for name, value in parts(loop).items():
            print(f"  {name:46s} {value:7.1f}   plain {apart[name]:7.1f}")
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    loops = {}
    for number in range(rounds):
        for name, (threads, options) in WAYS.items():
            with deterministic(0, threads=threads):
                loops.setdefault(name, new_loop(data, split, **options))
                speeds[name].append(speed(loops[name], number, steps, plain=options.get("plain", False)))
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print("stamps per second, best and middle round; per second of processor time, best; s for 209,000 at the best")
    for name, found in speeds.items():
        wall, used = np.array(found).T
        row = (wall.max(), np.median(wall), used.max(), 209_000 / wall.max())
        print(f"  {name:22s}" + "".join(f"{value:9.0f}" for value in row))


if __name__ == "__main__":
    main()
