"""What wrong labels cost, and what each method wins back: reals planted among the artifacts of a training set.

    python benchmarks/label_noise.py
    python benchmarks/label_noise.py --data my_set --stamp-size 31 --out label_noise.json

For every seed stamps are drawn anew (faint points against dipoles, sharp points and wrong widths that are close to
them), or a share of the training and validation rows of a data set is taken, reals become artifacts by name until they
are 15 % of class 0, and every method is trained. The test part has its true labels (a data set: as true as its labels
are). Intervals are those of a bootstrap over seeds and over the test rows of each. The oracle is trained without the
planted rows.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from planted_labels import drawn, parser_of, training_of, write_figures

from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.label_noise.flagged import without
from gueststar.realbogus.network import MeanNet
from gueststar.realbogus.split import Split
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.train import predict, train_network
from gueststar.study.paired import METRICS, Ranked, bootstrap, mean_over_seeds
from gueststar.study.planting import plant

RATES = (1e-2, 1e-3)
NAMES = ("auc", *(f"fnr_at_fpr_{rate:g}" for rate in RATES))
METHODS = (
    "naive", "ensemble", "correct", "drop-flagged", "two-stage", "coteach", "coteach, mean of both", "oracle",
)  # fmt: skip


def one_seed(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Logits of every method on the test part, and what it said about the labels."""
    rng = np.random.default_rng(seed)
    if arguments.data:
        data = open_dataset(arguments.data)
        whole = data.split()
        kept = [rng.permutation(part)[:most] for part, most in
                ((whole.train, arguments.train), (whole.validation, arguments.train // 2))]  # fmt: skip
        split = Split(kept[0], kept[1], whole.test[: arguments.test])
    else:
        data, split = drawn(arguments, rng)
    noisy, wrong = plant(data, split, arguments.share, rng)
    test = split.test[data.labels[split.test] >= 0]
    options = training_of(arguments, seed)
    found: dict[str, Any] = {"real": data.labels[test] == 1, "logits": {}, "facts": {}, "cpu_s": {}}
    for method in METHODS:
        if method == "coteach, mean of both":  # comes with coteach
            continue
        start = time.process_time()
        if method == "oracle":
            trained = train_network(noisy, without(split, wrong), options)
        else:
            trained = train_robust(noisy, split, options, LabelNoise(method=method, average=True))
        found["cpu_s"][method] = round(time.process_time() - start, 1)
        found["facts"][method] = dict(trained.label_noise)
        network = trained.network
        if method == "coteach" and isinstance(network, MeanNet):
            found["logits"]["coteach, mean of both"] = predict(network, data, test)
            network = network.members[int(np.argmin(trained.label_noise["validation_losses"]))]
        found["logits"][method] = predict(network, data, test)
        print(f"seed {seed} {method}: {_line(found['real'], found['logits'][method])}", flush=True)
    return found


def measures(real: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """AUC and misses at each rate."""
    return Ranked(real, logits, np.arange(real.size)).measure()[[METRICS.index(name) for name in NAMES]]


def _line(real: np.ndarray, logits: np.ndarray) -> str:
    area, *missed = measures(real, logits)
    return f"AUC {area:.4f}, " + ", ".join(
        f"FNR {100 * value:.1f} % at FPR {rate:g}" for rate, value in zip(RATES, missed, strict=True)
    )


def gap_closed(table: np.ndarray) -> np.ndarray:
    """Share of the way from naive to oracle; shape as `table`."""
    gap = table[-1] - table[0]
    return (table - table[0]) / np.where(gap == 0, np.nan, gap)


def report(seeds: list[dict[str, Any]], boots: int) -> list[dict[str, Any]]:
    """Figures of each method with intervals of 95 %."""
    rng = np.random.default_rng(0)
    drawn = []
    for seed in seeds:  # every seed has its own test rows
        n = seed["real"].size
        runs = [Ranked(seed["real"], seed["logits"][method], np.arange(n)) for method in METHODS]
        drawn.append(bootstrap(runs, n, boots=boots, rng=rng)[:, :, [METRICS.index(name) for name in NAMES]])
    mean = mean_over_seeds(np.stack(drawn, axis=2), rng)
    best, tables = mean[0], mean[1:]
    gaps = np.array([gap_closed(table) for table in tables])
    low, high = np.quantile(tables, (0.025, 0.975), axis=0)
    gap_low, gap_high = np.nanquantile(gaps, (0.025, 0.975), axis=0)
    names, out = ("auc", *(f"fnr_at_{rate:g}" for rate in RATES)), []
    for i, method in enumerate(METHODS):
        out.append(row := {"method": method})
        for j, name in enumerate(names):
            row[name] = [round(float(v[i, j]), 5) for v in (best, low, high)]
            row[f"{name}_gap_closed"] = [round(float(v[i, j]), 3) for v in (gap_closed(best), gap_low, gap_high)]
        print(f"{method:>22}: " + "; ".join(
            f"{name} {row[name][0]:.4f} ({row[name][1]:.4f} to {row[name][2]:.4f}), gap closed "
            f"{100 * row[f'{name}_gap_closed'][0]:.0f} % ({100 * row[f'{name}_gap_closed'][1]:.0f} to "
            f"{100 * row[f'{name}_gap_closed'][2]:.0f})" for name in names))  # fmt: skip
    return out


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--train", type=int, default=1200, help="rows of the training part; half as many for validation"
    )
    parser.add_argument("--test", type=int, default=10000, help="rows of the test part")
    parser.add_argument("--boots", type=int, default=200)
    arguments = parser.parse_args()
    seeds = [one_seed(arguments.first_seed + number, arguments) for number in range(arguments.seeds)]
    rows = report(seeds, arguments.boots)
    for seed in seeds:
        print(
            {method: facts.get("forget_rate", facts.get("left_out_share")) for method, facts in seed["facts"].items()}
        )
        print(seed["cpu_s"])
    facts = [{"facts": seed["facts"], "cpu_s": seed["cpu_s"]} for seed in seeds]
    write_figures(arguments, {"methods": rows, "seeds": facts})


if __name__ == "__main__":
    main()
