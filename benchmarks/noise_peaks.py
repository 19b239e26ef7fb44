"""False positives of a model by signal to noise, beside the peaks that noise alone makes there.

    python benchmarks/noise_peaks.py test_set --json docs/measured/noise_peaks.json
    python benchmarks/noise_peaks.py test_set --chain default --json docs/measured/noise_peaks_default.json
    python benchmarks/noise_peaks.py test_set other_test_set --model my_model --megapixels 0.59

A peak of noise at the detection limit has the shape of the point-spread function and lies where nothing else is: no
classifier can tell it from a faint real but by its signal to noise. How many there are follows from the threshold, the
width and the area of an image (`gueststar.detect.false_alarms`). Sets are test sets of one chain or several; images are
told apart by the column ``image``. Passes over one image find the same peak again, so places count, too: candidates
within 3 px in one image are one. Intervals of 95 % draw images.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar import __version__
from gueststar.detect.false_alarms import expected_false_alarms
from gueststar.realbogus.card import read_model
from gueststar.realbogus.loaded import open_model
from gueststar.realbogus.package import logits_dataset
from gueststar.realbogus.stored import open_dataset
from gueststar.training.tested import rows_to_test

RATES = (0.90, 0.98)
EDGES = (5.0, 5.25, 5.5, 6.0, 7.0, 10.0, 20.0, np.inf)
LEAST = (5.0, 5.5, 6.0, 7.0, 10.0, 20.0)
_ONE_PLACE_PX = 3.0
_BOOTS = 1000


def read(folders: list[str], model: Any, chain: str | None) -> dict[str, NDArray[Any]]:
    """Rows of all test parts, or those of one chain: logit, whether real, |S/N|, image, place and width of the PSF."""
    pieces: dict[str, list[NDArray[Any]]] = {}
    for folder in folders:
        data = open_dataset(folder)
        rows = rows_to_test(data)
        rows = rows if chain is None else rows[np.asarray(data["chain"])[rows] == chain]
        found = {
            "logit": logits_dataset(model, data, rows),
            "real": data.labels[rows] == 1,
            "snr": np.abs(np.asarray(data["snr"], np.float64))[rows],
            **{name: np.asarray(data[name])[rows] for name in ("image", "x", "y", "psf_fwhm")},
        }
        for name, values in found.items():
            pieces.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in pieces.items()}


def places(rows: NDArray[np.int64], table: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """One row of each place."""
    kept = []
    for image in np.unique(table["image"][rows]):
        own = rows[table["image"][rows] == image]
        near = cKDTree(np.column_stack((table["x"][own], table["y"][own]))).query_ball_point(
            np.column_stack((table["x"][own], table["y"][own])), _ONE_PLACE_PX
        )
        taken = np.zeros(own.size, bool)
        for i, others in enumerate(near):
            if not taken[i]:
                kept.append(own[i])
                taken[others] = True
    return np.asarray(kept, np.int64)


def rate(table: dict[str, NDArray[Any]], least: float, tpr: float, rng: np.random.Generator) -> dict[str, Any]:
    """False-positive rate among artifacts from an S/N on, at the threshold that keeps so many reals from it on."""
    use = table["snr"] >= least
    real, logit = table["real"][use], table["logit"][use]
    _, image = np.unique(table["image"][use], return_inverse=True)
    order = np.argsort(-logit, kind="stable")
    real, image = real[order], image[order]

    def measured(weight: NDArray[Any]) -> float:
        found, others = np.cumsum(weight * real), weight * ~real
        cut = int(np.searchsorted(found, tpr * found[-1]))
        # A draw of images without a single artifact, where few have any, measures nothing.
        return float(others[: cut + 1].sum() / others.sum()) if others.any() else float("nan")

    n = int(image.max()) + 1
    draws = [measured(np.bincount(rng.integers(0, n, n), minlength=n)[image]) for _ in range(_BOOTS)]
    threshold = logit[order][int(np.searchsorted(np.cumsum(real), tpr * real.sum()))]
    false = np.flatnonzero(use & ~table["real"] & (table["logit"] >= threshold))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return {
        "snr_from": least, "tpr": tpr, "reals": int(real.sum()), "artifacts": int((~real).sum()),
        "fpr": measured(np.ones(real.size)), "interval_95": [float(low), float(high)],
        "false_positives": int(false.size), "places": int(places(false, table).size),
    }  # fmt: skip


def intervals(table: dict[str, NDArray[Any]], tpr: float, megapixels: float) -> list[dict[str, Any]]:
    """False positives at one threshold in every interval of S/N, and the peaks that noise makes in so many images."""
    threshold = np.quantile(table["logit"][table["real"]], 1.0 - tpr)
    false = np.flatnonzero(~table["real"] & (table["logit"] >= threshold))
    _, first = np.unique(table["image"], return_index=True)
    found = []
    for low, high in pairwise(EDGES):
        inside = (table["snr"] >= low) & (table["snr"] < high)
        peaks = sum(
            expected_false_alarms(low, float(fwhm), megapixels=megapixels)
            - (expected_false_alarms(high, float(fwhm), megapixels=megapixels) if np.isfinite(high) else 0.0)
            for fwhm in table["psf_fwhm"][first]
        )
        own = false[inside[false]]
        found.append({
            "snr": [low, float(high) if np.isfinite(high) else None], "artifacts": int((inside & ~table["real"]).sum()),
            "false_positives": int(own.size), "places": int(places(own, table).size), "noise_peaks": round(peaks, 2),
        })  # fmt: skip
    return found


def main() -> None:
    """Measure and print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET", help="data sets; their test parts are used")
    parser.add_argument("--model", default="shipped", help="folder of a model")
    parser.add_argument("--megapixels", type=float, default=768 * 768 / 1e6, help="area of one image")
    parser.add_argument("--chain", help="rows of this chain alone, such as default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    card, weights = read_model(arguments.model)
    table = read(arguments.sets, open_model(card, weights), arguments.chain)
    rng = np.random.default_rng(arguments.seed)
    report = {
        "version": __version__, "model": f"{card.name} {card.version}", "hash": card.weights_hash,
        "sets": [{"name": Path(name).name, "hash": open_dataset(name).content_hash()} for name in arguments.sets],
        "chain": arguments.chain, "images": int(np.unique(table["image"]).size), "reals": int(table["real"].sum()),
        "artifacts": int((~table["real"]).sum()), "megapixels": arguments.megapixels,
        "rates": [rate(table, least, tpr, rng) for tpr in RATES for least in LEAST],
        "intervals": {f"{tpr:g}": intervals(table, tpr, arguments.megapixels) for tpr in RATES},
    }  # fmt: skip
    for item in report["rates"]:
        low, high = (100 * end for end in item["interval_95"])
        print(
            f"TPR {item['tpr']:.2f}, S/N >= {item['snr_from']:g}: FPR {100 * item['fpr']:.4f} % ({low:.4f} to "
            f"{high:.4f}), {item['false_positives']} rows at {item['places']} places, of {item['artifacts']}"
        )
    for tpr, items in report["intervals"].items():
        for item in items:
            print(
                f"TPR {tpr}, S/N {item['snr']}: {item['false_positives']} false positives at {item['places']} places, "
                f"{item['noise_peaks']} peaks of noise expected"
            )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
