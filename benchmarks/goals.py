"""What trainings of one recipe reach on test sets, on average and from seed to seed, beside another model.

    python benchmarks/goals.py test_set --model seed0 --model seed1 --model seed2 --json docs/measured/goals.json
    python benchmarks/goals.py test_set ccd_set lens_set --model seed0 --model seed1 --before model_of_before

For each test set and from several signals to noise on: area under the ROC curve, false positives at completeness 98 and
90 %, each with a threshold of its own; with the model's own threshold, what it keeps of reals, in all, of the worst
chip and of the chip in the middle, and the expected calibration error. All trainings score the same rows. Intervals of
95 % draw images and, where there are several, trainings, together; what is told beside ``--before`` is the ratio of the
false positives, from the same draws.
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

from gueststar import __version__
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import error_of, images_of, score_dataset, thresholds_of_rows
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.training.tested import rows_to_test

RATES = (0.90, 0.98)
LEAST = (5.0, 6.0, 7.0, 20.0, 40.0)
_BOOTS = 500
_LEAST_REALS = 50  # of a chip, to tell how many of its reals are kept


class Sorted:
    """Rows of one model by falling score: what each draw of images needs."""

    def __init__(self, scores: NDArray[np.float32], real: NDArray[np.bool_], image: NDArray[np.int64]) -> None:
        order = np.argsort(-scores, kind="stable")
        self.real, self.image = real[order].astype(np.float64), image[order]

    def figures(self, of_image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Area, and false-positive rate at each of `RATES`, with images counted so often."""
        weight = of_image[self.image]
        reals, others = weight * self.real, weight * (1.0 - self.real)
        found, false = np.cumsum(reals), np.cumsum(others)
        if found[-1] == 0 or false[-1] == 0:
            return np.full(1 + len(RATES), np.nan)
        area = 1.0 - float((reals * false).sum()) / (found[-1] * false[-1])
        cuts = [false[min(int(np.searchsorted(found, rate * found[-1])), false.size - 1)] for rate in RATES]
        return np.array([area, *(cut / false[-1] for cut in cuts)])


def draws(models: list[list[Sorted]], images: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Means over trainings drawn anew of each list, with images drawn once for all of them; shape (draws, figures)."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in models]
    for _ in range(_BOOTS):
        of_image = np.bincount(rng.integers(0, images, images), minlength=images).astype(np.float64)
        for place, some in enumerate(models):
            taken, counts = np.unique(rng.integers(0, len(some), len(some)), return_counts=True)
            each = np.stack([some[i].figures(of_image) for i in taken])
            found[place].append(np.average(each, axis=0, weights=counts))
    return [np.stack(each) for each in found]


def interval(values: NDArray[np.float64]) -> list[float]:
    """Limits of 95 %."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return [float(low), float(high)]


def from_snr_on(
    scores: dict[str, NDArray[np.float32]],
    before: NDArray[np.float32] | None,
    real: NDArray[np.bool_],
    snr: NDArray[np.float64],
    images: NDArray[Any],
    *,
    least: float,
    seed: int,
) -> dict[str, Any] | None:
    """Figures of the rows from a signal to noise on; None without both classes."""
    use = snr >= least
    if not use.any() or real[use].all() or not real[use].any():
        return None
    names, image = np.unique(images[use], return_inverse=True)
    lists = [[Sorted(value[use], real[use], image) for value in scores.values()]]
    if before is not None:
        lists.append([Sorted(before[use], real[use], image)])
    once = np.ones(names.size)
    own = np.stack([item.figures(once) for item in lists[0]])
    own[:, 0] = [auc(real[use], value[use]) for value in scores.values()]
    drawn = draws(lists, names.size, np.random.default_rng(seed))
    found: dict[str, Any] = {
        "snr_from": least, "reals": int(real[use].sum()), "artifacts": int((~real[use]).sum()),
        "images": int(names.size), "auc": _told(own[:, 0], drawn[0][:, 0]),
    }  # fmt: skip
    for place, rate in enumerate(RATES, start=1):
        told = _told(own[:, place], drawn[0][:, place])
        if before is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                then = lists[1][0].figures(once)[place]
                ratio = drawn[0][:, place] / drawn[1][:, place]
            told |= {"before": float(then)}
            if then > 0 and np.isfinite(ratio).all():
                told |= {"ratio": float(own[:, place].mean() / then), "ratio_95": interval(ratio)}
        found[f"fpr_at_{rate:g}"] = told
    return found


def _told(each: NDArray[np.float64], drawn: NDArray[np.float64]) -> dict[str, Any]:
    return {"mean": float(each.mean()), "interval_95": interval(drawn), "each": each.tolist()}


def at_own_threshold(folder: str, data: StoredDataset, rows: NDArray[np.int64], scores: NDArray[Any]) -> dict[str, Any]:
    """What a model's own threshold keeps, in all and chip by chip, and how well its scores are chances."""
    model = load_model(folder)
    real = data.labels[rows] == 1
    kept = scores >= thresholds_of_rows(model, data, rows)
    error = error_of(model.card, data, rows, scores)
    found: dict[str, Any] = {
        "model": f"{model.card.name} {model.card.version}", "hash": model.card.weights_hash,
        "threshold": float(model.card.threshold), "kept": float(kept[real].mean()),
        "false": float(kept[~real].mean()), "ece": None if error is None else error.ece,
    }  # fmt: skip
    chips = np.asarray(data["chip"])[rows] if "chip" in data.column_names else np.full(rows.size, "")
    shares = [
        float(kept[real & (chips == chip)].mean())
        for chip in np.unique(chips[real])
        if chip and (real & (chips == chip)).sum() >= _LEAST_REALS
    ]
    if shares:
        found["chips"] = {"n": len(shares), "worst": min(shares), "median": float(np.median(shares))}
    return found


def measure(folder: str, models: list[str], before: str | None, *, seed: int) -> dict[str, Any]:
    """All figures on one test set."""
    data = open_dataset(folder)
    rows = rows_to_test(data)
    real = data.labels[rows] == 1
    snr = np.abs(np.asarray(data["snr"], np.float64))[rows]
    images = images_of(data, rows)
    scores = {name: score_dataset(load_model(name), data, rows) for name in models}
    old = None if before is None else score_dataset(load_model(before), data, rows)
    steps = (from_snr_on(scores, old, real, snr, images, least=least, seed=seed) for least in LEAST)
    return {
        "name": Path(folder).name,
        "hash": data.content_hash(),
        "reals": int(real.sum()),
        "artifacts": int((~real).sum()),
        "images": int(np.unique(images).size),
        "rates": [step for step in steps if step is not None],
        "own_threshold": [at_own_threshold(name, data, rows, value) for name, value in scores.items()],
        "before": None if before is None or old is None else at_own_threshold(before, data, rows, old),
    }


def _print(found: dict[str, Any]) -> None:
    print(f"{found['name']}: {found['reals']} reals, {found['artifacts']} artifacts, {found['images']} images")
    for item in found["rates"]:
        words = [f"AUC {item['auc']['mean']:.5f}"]
        for rate in RATES:
            told = item[f"fpr_at_{rate:g}"]
            low, high = (100 * end for end in told["interval_95"])
            words.append(f"FPR at TPR {rate:g}: {100 * told['mean']:.4f} % ({low:.4f} to {high:.4f})")
            if "ratio" in told:
                words[-1] += f", ratio {told['ratio']:.2f} ({told['ratio_95'][0]:.2f} to {told['ratio_95'][1]:.2f})"
        print(f"  S/N >= {item['snr_from']:g}: " + "; ".join(words))
    for item in [*found["own_threshold"], *([found["before"]] if found["before"] else [])]:
        print(
            f"  {item['model']} at its threshold: keeps {100 * item['kept']:.2f} %, false {100 * item['false']:.3f} %, "
            f"ECE {item['ece']}, chips {item.get('chips')}"
        )


def main() -> None:
    """Measure and print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET", help="data sets; their test parts are used")
    parser.add_argument("--model", action="append", required=True, help="folder of a training; again for each seed")
    parser.add_argument("--before", help="model that they are compared with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"version": __version__, "trainings": len(arguments.model), "sets": []}
    for folder in arguments.sets:
        report["sets"].append(measure(folder, arguments.model, arguments.before, seed=arguments.seed))
        _print(report["sets"][-1])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
