"""A small divided data set on disk with images and chips, for the tests of the studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from gueststar.errors import InputError
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Progress
from gueststar.study.base import Arm, Scored, Study
from gueststar.study.figures import arm_panels
from gueststar.study.material import Material
from gueststar.study.results import Findings, Results
from realbogus_stamps import dataset


def write_set(
    folder: Path,
    *,
    n: int = 320,
    size: int = 23,
    pairs: int = 16,
    chips: int = 2,
    seed: int = 3,
    all_train: bool = False,
    label: int | None = None,
    unlabelled: float = 0.0,
) -> Path:
    """Points against dipoles, cosmic rays and rings; a quarter of the images is to test on.

    A share `unlabelled` of the artifacts has an old label only; `label` is that of all rows where it is given.
    """
    drawn = dataset(n, np.random.default_rng(seed), size=size, pairs=pairs)
    split = split_groups(drawn.columns, rng=np.random.default_rng(1))
    part = np.full(n, "train", "U10")
    for name, rows in split.parts().items() if not all_train else ():
        part[rows] = name
    pair = np.arange(n) * pairs // n
    # Chips are dealt within each part, so that every part has all of them.
    place = {number: i for name in ("train", "validation", "test") for i, number in enumerate(set(pair[part == name]))}
    chip = np.array([f"{11 + place[number] % chips}" for number in pair])
    sigma = {f"sky_sigma_{plane}": drawn.sigma[:, i] for i, plane in enumerate(("science", "reference", "difference"))}
    columns: dict[str, Any] = {**drawn.columns, **sigma, "split": part, "suspicion": "", "true_kind": ""}
    columns |= {"image_id": np.array([f"s{seed}image{number:03d}" for number in pair]), "chip": chip}
    columns["old_label"] = np.where((np.arange(n) % 5 == 0) & (drawn.labels == 1), 0, drawn.labels).astype(np.int8)
    labels = drawn.labels if label is None else np.full(n, label, np.int8)
    columns["label"] = np.where((labels == 0) & (np.arange(n) % 100 < 100 * unlabelled), -1, labels).astype(np.int8)
    with ShardWriter(folder, rows_per_shard=100) as writer:
        writer.add(drawn.cube, columns)
        writer.provenance["maker"] = "test"
    return folder


class CheapStudy(Study):
    """Scores that are drawn, not trained: for the tests of what is kept and told."""

    name: ClassVar[str] = "cheap"
    title: ClassVar[str] = "Drawn scores"

    noise: float = 1.0
    broken: str = ""

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        return Arm("a", "narrow"), Arm("b", "wide", 2.0), Arm("c", "wider")

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        if arm == self.broken:
            raise InputError("nothing can be drawn for it; take another")
        width = {"a": 0.5, "b": 1.0, "c": 2.0}[arm] * self.noise
        rng = np.random.default_rng(seed)
        scores = 2.0 * material.labels + width * rng.normal(size=material.labels.size)
        if progress is not None:
            progress("train", 1, 1)
        return Scored(scores.astype(np.float32), 7, 3, {"seed": seed})

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        return ("Everything.",)

    def conclude(self, results: Results) -> Findings:
        return Findings((f"{len(results.runs)} runs",))

    def draw(self, results: Results, findings: Findings) -> Figure:
        return arm_panels(results, ("auc", "fpr_at_tpr_0.9"))
