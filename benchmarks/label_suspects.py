"""How many wrong labels are found: reals planted among the artifacts, and a person who looks at the first rows.

    python benchmarks/label_suspects.py
    python benchmarks/label_suspects.py --data my_set --rows 20000 --stamp-size 31 --epochs 12 --out label_suspects.json

For every seed stamps are drawn anew as `planted_labels.py` draws them, or rows of a data set are taken, reals become
artifacts by name until they are 15 % of class 0, and all rows are ranked by networks that have not seen their images.
Counted are the planted rows among the first 1.5 x their number, by the networks alone and together with the other
reasons. The mark is 80 %. A data set's own wrong labels count as false alarms here.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from planted_labels import drawn, parser_of, training_of, write_figures

from gueststar.realbogus.label_cleaning.folds import out_of_fold_logits
from gueststar.realbogus.label_cleaning.physics import PHYSICS_COLUMNS
from gueststar.realbogus.label_cleaning.quality import share_found
from gueststar.realbogus.label_cleaning.ranking import SuspectRules, rank_suspects
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.realbogus.stored import open_dataset
from gueststar.study.planting import Relabelled, plant_in

MARK = 0.8


def one_seed(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What is found of the planted rows."""
    rng = np.random.default_rng(seed)
    if arguments.data:
        data = open_dataset(arguments.data)
        labelled = np.flatnonzero(data.labels >= 0)
        data = data.select(rng.permutation(labelled)[: arguments.rows])
        by = data.manifest.group_by
    else:
        # Half as many come beside those of the training part.
        size = round(arguments.rows / 1.5)
        sizes = argparse.Namespace(train=size, test=0, snr=arguments.snr, stamp_size=arguments.stamp_size)
        data, by = drawn(sizes, rng)[0], GROUP_COLUMNS
    wrong = plant_in(data.labels, np.arange(len(data)), arguments.share, rng)
    labels = data.labels.copy()
    labels[wrong] = 0
    noisy = Relabelled(data, labels)
    options = training_of(arguments, seed)
    start = time.process_time()
    noise = LabelNoise(method=arguments.labels)
    logits = out_of_fold_logits(noisy, options, noise, folds=arguments.folds, by=by)
    seconds = round(time.process_time() - start, 1)
    columns = {name: data[name] for name in PHYSICS_COLUMNS if name in data.column_names}
    suspicion = data["suspicion"] if "suspicion" in data.column_names else None
    # Every real is of a kind that is never doubted: those planted are artifacts by name.
    rules, kinds = SuspectRules(trusted_kinds=("real",)), np.where(labels == 1, "real", "")
    alone = rank_suspects(labels, logits, rules, kinds=kinds)
    both = rank_suspects(labels, logits, rules, kinds=kinds, columns=columns, suspicion=suspicion)
    made: dict[str, Any] = {"seed": seed, "planted": int(wrong.size), "cpu_s": seconds}
    made["estimated_share"] = both.confidence.wrong[0]
    for name, ranking in (("networks", alone), ("all", both)):
        made[name] = {
            f"{budget:g}": asdict(share_found(ranking.rows, wrong, budget=budget)) for budget in (1.0, 1.5, 3)
        }
        at = made[name]["1.5"]
        print(
            f"seed {seed} {name}: {100 * at['found']['value']:.1f} % ({100 * at['found']['low']:.1f} to "
            f"{100 * at['found']['high']:.1f}) of {wrong.size} in the first {at['looked']}; share of wrong labels "
            f"estimated {100 * made['estimated_share']:.1f} %; {seconds} s",
            flush=True,
        )
    return made


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=2400, help="rows that are ranked")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--labels", default="naive", help="what the trainings do about wrong labels")
    arguments = parser.parse_args()
    seeds = [one_seed(arguments.first_seed + number, arguments) for number in range(arguments.seeds)]
    found = float(np.mean([seed["all"]["1.5"]["found"]["value"] for seed in seeds]))
    print(f"found {100 * found:.1f} %: the mark of {100 * MARK:.0f} % is {'reached' if found >= MARK else 'missed'}")
    write_figures(arguments, {"found": found, "seeds": seeds})


if __name__ == "__main__":
    main()
