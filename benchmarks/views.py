"""What several looks at a candidate, each time turned, are worth, and what they cost.

    python benchmarks/views.py test_set
    python benchmarks/views.py test_set other_set --model my_model --json docs/measured/views.json

The same model with one, four and eight looks, on the same rows: area under the ROC curve and false positives at
completeness 90 and 98 %, each with a threshold of its own, and their ratio to those of one look, with intervals of 95 %
that draw images. Temperature and bias move no rank and play no part. The cost is the time for artifacts alone, as
nearly all candidates of a night are, beside that of one look; the middle of some rounds in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np

from gueststar import __version__
from gueststar.realbogus.evaluation.compare import differences, resample
from gueststar.realbogus.loaded import LoadedModel, Views, load_model, with_views
from gueststar.realbogus.package import images_of, logits_dataset
from gueststar.realbogus.score import stamp_logits
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.training.tested import rows_to_test

VIEWS: tuple[Views, ...] = (1, 4, 8)
SHOWN = {"auc": "auc", "fpr_at_tpr_0.9": "fpr_at_0.9", "fpr_at_tpr_0.98": "fpr_at_0.98"}
_TIMED = 4096  # artifacts


def quality(model: LoadedModel, data: StoredDataset, *, seed: int) -> dict[str, Any]:
    """Figures of each number of looks on the test part of a set."""
    rows = rows_to_test(data)
    real, images = data.labels[rows] == 1, images_of(data, rows)
    first = logits_dataset(with_views(model, 1), data, rows)
    again = first > model.card.views_from
    logits = [first]
    for views in VIEWS[1:]:
        logits.append(first.copy())
        logits[-1][again] = logits_dataset(with_views(model, views), data, rows[again])
    names = [str(views) for views in VIEWS]
    replicas = resample(real, logits, images, models=names, rng=np.random.default_rng(seed))
    ratios = {(item.metric, item.second): item for item in differences(replicas) if item.first == names[0]}
    found = []
    for place, name in enumerate(names):
        told: dict[str, Any] = {"views": VIEWS[place]}
        for metric, shown in SHOWN.items():
            told[shown] = {"value": replicas.value(place, metric), "interval_95": replicas.interval(place, metric)}
            item = ratios.get((metric, name))
            if item is not None and metric != "auc" and np.isfinite([item.ratio_low, item.ratio_high]).all():
                told[shown] |= {"ratio": item.ratio, "ratio_95": [item.ratio_low, item.ratio_high]}
        found.append(told)
    return {
        "hash": data.content_hash(), "reals": int(real.sum()), "artifacts": int((~real).sum()),
        "images": replicas.groups, "looked_at_again": float(again[~real].mean()),
        "views": found,
    }  # fmt: skip


def cost(model: LoadedModel, data: StoredDataset, *, rounds: int, seed: int) -> dict[str, float]:
    """Time of each number of looks for artifacts alone, in units of that of one look."""
    rows = rows_to_test(data)
    rows = rows[data.labels[rows] == 0]
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(_TIMED, rows.size), replace=False))
    cube, sigma = data.stamps(rows, size=model.card.stamp_size), np.ones((rows.size, 3), np.float32)
    numbers = data.scalars([item.name for item in model.card.scalars])[rows]
    times: dict[int, list[float]] = {views: [] for views in VIEWS}
    for _ in range(rounds):
        for views in VIEWS:
            start = time.perf_counter()
            stamp_logits(cube, sigma, numbers, with_views(model, views))
            times[views].append(time.perf_counter() - start)
    once = np.array(times[1])
    return {str(views): float(np.median(np.array(found) / once)) for views, found in times.items()}


def _print(found: dict[str, Any]) -> None:
    print(
        f"{found['name']}: {found['reals']} reals, {found['artifacts']} artifacts, {found['images']} images; "
        f"{100 * found['looked_at_again']:.2f} % of the artifacts looked at again"
    )
    for item in found["views"]:
        words = [f"AUC {item['auc']['value']:.5f}"]
        for name in ("fpr_at_0.98", "fpr_at_0.9"):
            told = item[name]
            low, high = (100 * end for end in told["interval_95"])
            words.append(f"{name} {100 * told['value']:.4f} % ({low:.4f} to {high:.4f})")
            if "ratio" in told:
                words[-1] += f", ratio {told['ratio']:.2f} ({told['ratio_95'][0]:.2f} to {told['ratio_95'][1]:.2f})"
        print(f"  {item['views']} looks: " + "; ".join(words) + f"; time {found['cost'][str(item['views'])]:.2f}")


def main() -> None:
    """Measure and print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET", help="data sets; their test parts are used")
    parser.add_argument("--model", default="shipped", help="one that was trained with several views")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    card = model.card
    report: dict[str, Any] = {
        "version": __version__, "model": f"{card.name} {card.version}", "model_hash": card.weights_hash,
        "views": card.views, "views_from": card.views_from, "sets": [],
    }  # fmt: skip
    for folder in arguments.sets:
        data = open_dataset(folder)
        found = {"name": Path(folder).name, **quality(model, data, seed=arguments.seed)}
        found["cost"] = cost(model, data, rounds=arguments.rounds, seed=arguments.seed)
        report["sets"].append(found)
        _print(found)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
