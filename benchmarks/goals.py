"""What trainings of one recipe reach on test sets, on average and from seed to seed, beside another model.

    python benchmarks/goals.py test_set --model seed0 --model seed1 --model seed2 --json docs/measured/goals.json
    python benchmarks/goals.py test_set ccd_set lens_set --model seed0 --model seed1 --before model_of_before

For each test set and from several signals to noise on: area under the ROC curve, false positives at completeness 98 and
90 %, each with a threshold of its own; with the model's own threshold, what it keeps of reals, in all, of the worst
chip and of the chip in the middle, beside how far the worst one falls when images are dealt to chips at random, and the
expected calibration error. All trainings score the same rows. Intervals of 95 % draw images and, where there are
several, trainings, together; what is told beside ``--before`` is the ratio of the false positives, from the same draws.
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
from gueststar.realbogus.evaluation.compare import METRICS, resample
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import error_of, images_of, score_dataset, thresholds_of_rows
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.training.tested import rows_to_test

RATES = (0.90, 0.98)
LEAST = (5.0, 6.0, 7.0, 20.0, 40.0)
_SHOWN = {"auc": "auc", "fpr_at_tpr_0.9": "fpr_at_0.9", "fpr_at_tpr_0.98": "fpr_at_0.98"}  # by its name of METRICS
_DEALT = 2000  # times that images are dealt to chips


def from_snr_on(
    scores: list[NDArray[np.float32]],
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
    rng, n = np.random.default_rng(seed), len(scores)
    compared = [value[use] for value in (*scores, *(() if before is None else (before,)))]
    names = [str(number) for number in range(len(compared))]
    replicas = resample(real[use], compared, images[use], models=names, rng=rng)
    # Images are drawn once for all models; trainings are drawn on top of it.
    taken = rng.integers(n, size=(len(replicas.draws), n, 1))
    drawn = np.take_along_axis(replicas.draws[:, :n], taken, axis=1).mean(axis=1)
    found: dict[str, Any] = {
        "snr_from": least, "reals": int(real[use].sum()), "artifacts": int((~real[use]).sum()),
        "images": replicas.groups,
    }  # fmt: skip
    for place, metric in enumerate(METRICS):
        if metric not in _SHOWN:
            continue
        each = replicas.values[:n, place]
        told = {"mean": float(each.mean()), "interval_95": interval(drawn[:, place]), "each": each.tolist()}
        if before is not None and metric != "auc":
            then = float(replicas.values[n, place])
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = drawn[:, place] / replicas.draws[:, n, place]
            told |= {"before": then}
            if then > 0 and np.isfinite(ratio).all():
                told |= {"ratio": float(each.mean() / then), "ratio_95": interval(ratio)}
        found[_SHOWN[metric]] = told
    return found


def interval(values: NDArray[np.float64]) -> list[float]:
    """Limits of 95 %."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return [float(low), float(high)]


def worst_chip(
    kept: NDArray[np.bool_], chips: NDArray[np.str_], images: NDArray[Any], *, seed: int
) -> dict[str, Any] | None:
    """How far the worst chip lies below the one in the middle, and how far it would if all were alike.

    Parameters
    ----------
    kept : ndarray of bool, shape (n,)
        Of reals: whether the threshold keeps them.
    chips, images : ndarray, shape (n,)
        Images of one chip are dealt to all chips at random to tell what chance alone does.

    Returns
    -------
    dict
        Or None where fewer than two chips are told.
    """
    names, first, image = np.unique(images, return_index=True, return_inverse=True)
    reals, found = np.bincount(image), np.bincount(image, kept)
    _, chip = np.unique(chips[first], return_inverse=True)
    if chip.max(initial=0) < 1 or "" in chips:
        return None

    def shares(of_image: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(of_image, found) / np.bincount(of_image, reals)

    rng, own = np.random.default_rng(seed), shares(chip)
    gaps = [float(np.median(one) - one.min()) for one in (shares(rng.permutation(chip)) for _ in range(_DEALT))]
    return {
        "n": len(own), "images": len(names), "worst": float(own.min()), "median": float(np.median(own)),
        "gap_by_chance": float(np.median(gaps)), "gap_by_chance_95": interval(np.array(gaps)),
    }  # fmt: skip


def at_own_threshold(
    folder: str, data: StoredDataset, rows: NDArray[np.int64], scores: NDArray[Any], *, seed: int
) -> dict[str, Any]:
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
    if "chip" in data.column_names:
        chips = np.asarray(data["chip"], np.str_)[rows]
        found["chips"] = worst_chip(kept[real], chips[real], images_of(data, rows)[real], seed=seed)
    return found


def measure(folder: str, models: list[str], before: str | None, *, seed: int) -> dict[str, Any]:
    """All figures on one test set."""
    data = open_dataset(folder)
    rows = rows_to_test(data)
    real = data.labels[rows] == 1
    snr = np.abs(np.asarray(data["snr"], np.float64))[rows]
    images = images_of(data, rows)
    scores = [score_dataset(load_model(name), data, rows) for name in models]
    old = None if before is None else score_dataset(load_model(before), data, rows)
    steps = (from_snr_on(scores, old, real, snr, images, least=least, seed=seed) for least in LEAST)
    return {
        "name": Path(folder).name,
        "hash": data.content_hash(),
        "reals": int(real.sum()),
        "artifacts": int((~real).sum()),
        "images": int(np.unique(images).size),
        "rates": [step for step in steps if step is not None],
        "own_threshold": [
            at_own_threshold(name, data, rows, value, seed=seed) for name, value in zip(models, scores, strict=True)
        ],
        "before": None if before is None or old is None else at_own_threshold(before, data, rows, old, seed=seed),
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
        Path(arguments.json).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
