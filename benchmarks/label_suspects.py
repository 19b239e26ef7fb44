"""How many wrong labels are found: reals planted among the artifacts, and a person who looks at the first rows.

    python benchmarks/label_suspects.py
    python benchmarks/label_suspects.py --data my_set --rows 10000 --stamp-size 31 --epochs 6 --batch-size 128 \\
        --precision bfloat16 --model shipped --out docs/measured/label_suspects.json

For every seed stamps are drawn anew as `planted_labels.py` draws them, or rows of a data set are taken, reals become
artifacts by name until they are 15 % of class 0, and all rows are ranked by networks that have not seen their images.
Counted are the planted rows among the first 1.5 x their number, by the networks alone and together with the other
reasons; with ``--model``, by a model that has not seen the set, too, which must be a set of other frames. The mark is
80 %. A data set's own wrong labels count as false alarms here. Intervals draw whole images, the same ones for all
seeds, and seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from planted_labels import drawn, parser_of, training_of, write_figures

from gueststar.realbogus.label_cleaning.folds import out_of_fold_logits
from gueststar.realbogus.label_cleaning.physics import PHYSICS_COLUMNS
from gueststar.realbogus.label_cleaning.quality import share_found, share_found_of_images
from gueststar.realbogus.label_cleaning.ranking import SuspectRules, Suspects, rank_suspects
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.lineage import seen_groups
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import images_of, logits_dataset
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.realbogus.stored import open_dataset
from gueststar.study.paired import interval, mean_over_seeds
from gueststar.study.planting import Relabelled, plant_in

MARK = 0.8
BUDGETS = (1.0, 1.5, 3.0)
WORDS = {
    "networks": "networks that have not seen the images",
    "all": "these, and the other reasons",
    "model": "the model given, trained on other frames",
    "model, all": "that, and the other reasons",
}


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """What one seed ranked: the rows in order for each judge, the planted ones, and the image of every row."""

    orders: dict[str, np.ndarray]
    wrong: np.ndarray
    images: np.ndarray


def one_seed(seed: int, arguments: argparse.Namespace) -> tuple[dict[str, Any], Ranked]:
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
    start = time.process_time()
    noise = LabelNoise(method=arguments.labels)
    judged = out_of_fold_logits(
        Relabelled(data, labels), training_of(arguments, seed), noise, folds=arguments.folds, by=by
    )
    images = images_of(data, np.arange(len(data)))
    made: dict[str, Any] = {
        "seed": seed, "rows": len(data), "artifacts": int((labels == 0).sum()), "planted": int(wrong.size),
        "images": int(np.unique(images).size), "made_by": str(data.facts.get("made_by", "drawn stamps")),
        "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip
    rankings = _rankings(data, labels, {"networks": judged, "all": judged})
    if arguments.model:
        model = load_model(arguments.model)
        seen = seen_groups(model.card.training_data, {name: data[name].tolist() for name in GROUP_COLUMNS})
        if seen:
            raise SystemExit(
                f"{arguments.model} was trained on frames of the set ({seen}); it cannot judge their labels"
            )
        other = logits_dataset(model, data, np.arange(len(data)))
        rankings |= _rankings(data, labels, {"model": other, "model, all": other})
    for name, ranking in rankings.items():
        made[name] = {"estimated_share": ranking.confidence.wrong[0]}
        made[name] |= {f"{budget:g}": asdict(share_found(ranking.rows, wrong, budget=budget)) for budget in BUDGETS}
        at = made[name]["1.5"]
        share, estimated = at["found"]["value"], ranking.confidence.wrong[0]
        found = f"{100 * share:.1f} % of {wrong.size} in the first {at['looked']}"
        print(
            f"seed {seed} {name}: {found}; estimated to be wrong {100 * estimated:.1f} %; {made['cpu_s']} s", flush=True
        )
    return made, Ranked({name: ranking.rows for name, ranking in rankings.items()}, wrong, images)


def _rankings(data: Any, labels: np.ndarray, judgements: dict[str, np.ndarray]) -> dict[str, Suspects]:
    """All rows by suspicion, for each judgement; the other reasons count where its name says so."""
    columns = {name: data[name] for name in PHYSICS_COLUMNS if name in data.column_names}
    suspicion = data["suspicion"] if "suspicion" in data.column_names else None
    # Every real is of a kind that is never doubted: those planted are artifacts by name.
    rules, kinds = SuspectRules(trusted_kinds=("real",)), np.where(labels == 1, "real", "")
    found = {}
    for name, logits in judgements.items():
        more = {"columns": columns, "suspicion": suspicion} if name.endswith("all") else {}
        found[name] = rank_suspects(labels, logits, rules, kinds=kinds, **more)
    return found


def over_seeds(ranked: Sequence[Ranked], boots: int) -> dict[str, dict[str, Any]]:
    """Mean share over the seeds for each judge and budget, with its interval over images and seeds."""
    names, codes = np.unique(np.concatenate([item.images for item in ranked]), return_inverse=True)
    own = np.split(codes, np.cumsum([item.images.size for item in ranked])[:-1])
    rng, n = np.random.default_rng(0), names.size
    times = np.vstack([np.ones(n, np.int64), rng.multinomial(n, np.full(n, 1.0 / n), size=boots)])
    found: dict[str, dict[str, Any]] = {}
    for judge in ranked[0].orders:
        for budget in BUDGETS:
            shares = [
                share_found_of_images(item.orders[judge], item.wrong, image, times, budget=budget)
                for item, image in zip(ranked, own, strict=True)
            ]
            table = np.stack(shares, axis=1)[:, None, :]  # one arm
            mean = mean_over_seeds(table, np.random.default_rng(0))[:, 0]
            made = interval(mean).as_dict()
            if made["low"] == made["high"]:  # all are found in every draw: that is no interval of no width
                made |= {"low": None, "high": None}
            found.setdefault(judge, {})[f"{budget:g}"] = made
    return found


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=2400, help="rows that are ranked")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--labels", default="naive", help="what the trainings do about wrong labels")
    parser.add_argument("--model", default="", help="a model that has not seen the set judges, too")
    parser.add_argument("--boots", type=int, default=500, help="draws of images for the intervals")
    arguments = parser.parse_args()
    made = [one_seed(arguments.first_seed + number, arguments) for number in range(arguments.seeds)]
    found = over_seeds([ranked for _, ranked in made], arguments.boots)
    for judge, shares in found.items():
        at = shares["1.5"]
        verdict = "reached" if at["value"] >= MARK else "missed"
        ends = "no scatter" if at["low"] is None else f"{100 * at['low']:.1f} to {100 * at['high']:.1f}"
        share = f"{100 * at['value']:.1f} % ({ends}) in the first 1.5 x"
        print(f"{WORDS[judge]}: {share}; the mark of {100 * MARK:.0f} % is {verdict}")
    images = int(np.unique(np.concatenate([ranked.images for _, ranked in made])).size)
    figures = {"mark": MARK, "images": images, "found": found, "words": {name: WORDS[name] for name in found}}
    write_figures(arguments, {**figures, "seeds": [facts for facts, _ in made]})


if __name__ == "__main__":
    main()
