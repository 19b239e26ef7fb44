"""What a model is worth on stamps of another survey: as it is, with its head trained further, and against a new one.

    gueststar dataset import shared/data/ztf_alert_stamps/ztf.npz --out ztf_set
    python benchmarks/finetune.py ztf_set --out docs/measured/finetune.json

The objects are dealt to folds, the classes alike in each. Of every fold the others are trained on: three quarters of
their objects, or N rows of these, a quarter to choose the pass. Areas under the curve are taken within folds, where all
scores come of one network, and their mean over folds and seeds is told. Intervals of 95 % draw objects and seeds anew,
the same for every arm.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from gueststar import __version__
from gueststar.realbogus.chips.finetune import FineTune, fine_tune
from gueststar.realbogus.chips.weights_file import read_trainable
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import logits_dataset
from gueststar.realbogus.predict import predict
from gueststar.realbogus.split import Split
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.realbogus.train import Train, train_network
from gueststar.study.paired import METRICS, Ranked, bootstrap, mean_over_seeds


def folds(labels: NDArray[np.int8], objects: NDArray[np.int64], n: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each fold; an object is in one of them."""
    dealt = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    return [test for _, test in dealt.split(labels, labels, objects)]


def divided(labels: NDArray[np.int8], objects: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> Split:
    """The rest of the rows, three quarters to train on."""
    rest = np.setdiff1d(np.arange(labels.size), test)
    inner = folds(labels[rest], objects[rest], 4, seed)
    return Split(np.setdiff1d(rest, rest[inner[0]]), rest[inner[0]], test)


def train_arms(data: StoredDataset, split: Split, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Logits of the test rows, by arm, and the numbers of rows that were trained on."""
    model = load_model(arguments.model)
    found = {"as it is": (logits_dataset(model, data, split.test), 0)}
    options = Train(epochs=arguments.epochs, batch_size=arguments.batch_size, seed=seed, patience=arguments.epochs)
    for n in (*arguments.rows, None):
        if n is not None and n >= split.train.size:
            continue
        _, network = read_trainable(arguments.model)
        trained = fine_tune(network, data, split, options, FineTune(rows=n))
        name = "head, all rows" if n is None else f"head, {n} rows"
        found[name] = (predict(trained.network, data, split.test), n or split.train.size)
    trained = train_network(data, split, options)
    found["from nothing, all rows"] = (predict(trained.network, data, split.test), split.train.size)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set, from `gueststar dataset import`")
    parser.add_argument("--model", default="shipped", help="model to start from")
    parser.add_argument("--rows", type=int, nargs="*", default=[50, 100, 200], help="rows that the head is trained on")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--boots", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    data = open_dataset(arguments.data)
    used = np.flatnonzero(data.labels >= 0)
    labels = data.labels[used]
    _, objects = np.unique(np.asarray(data["tile"])[used], return_inverse=True)
    n_objects, arms, sizes = int(objects.max()) + 1, [], {}
    runs: list[list[list[Ranked]]] = []  # seeds, folds, arms
    for seed in range(arguments.seeds):
        runs.append([])
        for number, test in enumerate(folds(labels, objects, arguments.folds, seed)):
            inner = divided(labels, objects, test, seed)
            split = Split(*(used[part] for part in (inner.train, inner.validation, inner.test)))
            found = train_arms(data, split, arguments, seed)
            arms = list(found)
            for name, (_, n) in found.items():
                sizes.setdefault(name, []).append(n)
            runs[-1].append([Ranked(labels[test] == 1, logits, objects[test]) for logits, _ in found.values()])
            line = ", ".join(f"{name} {run.measure()[0]:.3f}" for name, run in zip(found, runs[-1][-1], strict=True))
            print(f"seed {seed}, fold {number + 1} of {arguments.folds}: {line}", flush=True)
    flat = [run for seed in runs for fold in seed for run in fold]
    table = bootstrap(flat, n_objects, boots=arguments.boots, rng=np.random.default_rng(0))[:, :, METRICS.index("auc")]
    table = np.nanmean(table.reshape(-1, arguments.seeds, arguments.folds, len(arms)), axis=2)
    areas = mean_over_seeds(np.swapaxes(table, 1, 2), np.random.default_rng(1))
    report = []
    for i, name in enumerate(arms):
        row: dict[str, Any] = {"arm": name, "rows": round(float(np.mean(sizes[name])))}
        for key, values in (("auc", areas[:, i]), ("more_than_as_it_is", areas[:, i] - areas[:, 0])):
            row[key] = [round(float(v), 4) for v in (values[0], *np.quantile(values[1:], (0.025, 0.975)))]
        report.append(row)
        value, low, high = row["auc"]
        gain = (
            "" if i == 0 else "; {:+.4f} ({:+.4f} to {:+.4f}) to the model as it is".format(*row["more_than_as_it_is"])
        )
        print(f"{name:>22}: AUC {value:.4f} ({low:.4f} to {high:.4f}){gain}")
    if arguments.out:
        facts = {
            "version": __version__, "n_real": int((labels == 1).sum()), "n_bogus": int((labels == 0).sum()),
            "objects": n_objects, "folds": arguments.folds, "seeds": arguments.seeds, "epochs": arguments.epochs,
            "arms": report,
        }  # fmt: skip
        arguments.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
