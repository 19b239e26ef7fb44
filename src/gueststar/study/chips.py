"""One model for each detector chip, or one for all: the question of the founding slides, answered by data.

N rows of C chips and S steps, those of `train.epochs` passes over all N, are what every arm has:

- ``each``: C models, each on the rows of its chip, for `train.epochs` passes over them: S steps together;
- ``mix``: one model on N / C rows drawn from all chips, the amount that one chip has, repeated to S steps;
- ``all``: one model on all N rows;
- ``film``: the same, told the chip of each candidate, which modulates its last two stages;
- ``head``: a model on all rows for a part of the passes, whose head goes on with the rows of each chip for the rest.

Takahashi et al. 2022 (PASJ 74, 946) compare the first three. Those that one model serves are trained again without some
chips, which differ from seed to seed, and tested on these: a chip that was never seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gueststar.errors import InputError
from gueststar.realbogus.chips.finetune import FineTune, fine_tune
from gueststar.realbogus.chips.names import CHIP_COLUMN, dataset_chips
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.predict import predict
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import train_network
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, steps_of, train_and_score
from gueststar.study.chip_findings import chip_findings, draw_chips
from gueststar.study.material import Material
from gueststar.study.results import Findings, Results
from gueststar.study.size import repeated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ChipStudy"]

_NONE = np.empty(0, np.int64)
_UNSEEN = ", unseen chips"
_WORDS = {
    "each": "one model for each chip, on its rows",
    "mix": "one model on as many rows as one chip has, of all chips",
    "all": "one model on all rows",
    "film": "one model on all rows that is told the chip",
    "head": "one model on all rows, whose head goes on with the rows of each chip",
}


class ChipStudy(Study):
    """Models for chips."""

    name: ClassVar[str] = "chips"
    title: ClassVar[str] = "One model for each chip, or one for all"

    fewest: int = Field(
        30,
        ge=1,
        description="Reals, and artifacts, in the training part of a chip that takes part; 5 in the other parts",
    )
    left_out: int = Field(
        4, ge=0, le=1000, description="Chips that are left out of training to test on; 0: no such arms"
    )
    head_share: float = Field(0.25, gt=0, lt=1, description="Share of the passes that the heads of 'head' get")
    finetune: FineTune = Field(FineTune(), description="How the heads go on")

    @model_validator(mode="after")
    def _sound(self) -> ChipStudy:
        if self.train.chips != "none" or self.train.network != "gueststar" or self.label_noise.method != "naive":
            raise ValueError(
                "the arms themselves say who is told the chip; train.chips='none', train.network='gueststar' and "
                "label_noise.method='naive' are needed"
            )
        return self

    def chips(self, material: Material) -> tuple[str, ...]:
        """Chips that take part, by name.

        Raises
        ------
        InputError
            When fewer than two have enough rows.
        """
        counted = []
        for data, rows in (
            (material.dataset, material.split.train),
            (material.dataset, material.split.validation),
            (material.test, material.test_rows),
        ):
            codes, names = dataset_chips(data)
            labels = data.labels[rows]
            found = [np.bincount(codes[rows[labels == label]], minlength=len(names)) for label in (0, 1)]
            counted.append({name: int(least) for name, least in zip(names, np.minimum(*found), strict=True) if name})
        train, *others = counted
        chips = [name for name, n in train.items() if n >= self.fewest and all(o.get(name, 0) >= 5 for o in others)]
        if len(chips) < 2:
            most = max(train.values(), default=0)
            raise InputError(
                f"{len(chips)} chips have {self.fewest} reals and artifacts to train on and 5 to validate and to test; "
                f"at least two are needed. The fullest of {len(train)} has {most}: lower `fewest`, or take more data",
                chips=len(chips),
            )
        return tuple(sorted(chips))

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """Five ways, and the shared ones without some chips where there are enough."""
        chips = self.chips(material)
        arms = [Arm(name, words) for name, words in _WORDS.items()]
        if 0 < self.left_out <= len(chips) - 2:
            words = f"; trained without {self.left_out} chips, others for each seed, and tested on these"
            arms += [Arm(f"{name}{_UNSEEN}", _WORDS[name] + words) for name in ("mix", "all", "film")]
        return tuple(arms)

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train one way; rows of chips that do not take part, and those that an arm is not tested on, have no score."""
        chips = self.chips(material)
        split = _of_chips(material, chips)
        total, unseen = split.train.size, ()
        if arm.endswith(_UNSEEN):
            drawn = np.random.default_rng([seed, 3]).permutation(len(chips))[: self.left_out]
            unseen = tuple(chips[i] for i in np.sort(drawn))
            split = _of_chips(material, [chip for chip in chips if chip not in unseen])
        kind = arm.removesuffix(_UNSEEN)
        if kind == "each":
            scored = self._each(seed, material, chips, progress)
        elif kind == "head":
            scored = self._head(seed, material, split, chips, progress)
        else:
            rng = np.random.default_rng([seed, 4])
            rows = self._mixed(material, split.train, len(chips), rng) if kind == "mix" else split.train
            if rows.size < total:
                rows = repeated(rows, total, rng)
            options = self.seeded(seed, chips="film" if kind == "film" else "none")
            own = Split(rows, split.validation, _NONE)
            scored = train_and_score(material, options, self.label_noise, split=own, progress=progress)
        tested = np.isin(material.column(CHIP_COLUMN), unseen or chips)
        scores = np.where(tested, scored.scores, np.nan).astype(np.float32)
        facts = {**scored.facts, "chips": list(chips), "unseen_chips": list(unseen)}
        return Scored(scores, scored.n_train, scored.steps, facts)

    def _mixed(
        self, material: Material, rows: NDArray[np.int64], chips: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """One in `chips` rows of each chip and class, at least one."""
        codes, _ = dataset_chips(material.dataset)
        cell = codes[rows].astype(np.int64) * 2 + material.dataset.labels[rows]
        parts = [rng.permutation(rows[cell == number]) for number in np.unique(cell)]
        return np.sort(np.concatenate([part[: max(round(part.size / chips), 1)] for part in parts]))

    def _each(self, seed: int, material: Material, chips: tuple[str, ...], progress: Progress | None) -> Scored:
        options = self.seeded(seed)

        def train(chip: str, note: Progress | None) -> Scored:
            split, rows = _of_chips(material, (chip,)), _test_rows(material, (chip,))
            trained = train_network(material.dataset, split, options, progress=note)
            scores = predict(trained.network, material.test, rows)
            return Scored(scores, split.train.size, steps_of(trained, split, options))

        return _of_each(material, chips, train, progress)

    def _head(
        self, seed: int, material: Material, split: Split, chips: tuple[str, ...], progress: Progress | None
    ) -> Scored:
        tuned = max(round(self.head_share * self.train.epochs), 1)
        options = self.seeded(seed, epochs=max(self.train.epochs - tuned, 1))
        half = None if progress is None else _share(progress, 0.0, 1.0 - self.head_share)
        base = train_network(material.dataset, split, options, progress=half)
        if not isinstance(base.network, RealBogusNet):
            raise InputError(f"network {self.train.network!r} has no head that can go on; 'gueststar' has")
        network, later = base.network, self.seeded(seed, epochs=tuned)

        def train(chip: str, note: Progress | None) -> Scored:
            own, rows = _of_chips(material, (chip,)), _test_rows(material, (chip,))
            trained = fine_tune(copy.deepcopy(network), material.dataset, own, later, self.finetune, progress=note)
            scores = predict(trained.network, material.test, rows)
            return Scored(scores, own.train.size, steps_of(trained, own, later))

        rest = None if progress is None else _share(progress, 1.0 - self.head_share, self.head_share)
        heads = _of_each(material, chips, train, rest)
        return Scored(heads.scores, split.train.size, heads.steps + steps_of(base, split, options))

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What every arm has."""
        chips = self.chips(material)
        split = _of_chips(material, chips)
        steps = math.ceil(split.train.size / self.train.batch_size) * self.train.epochs
        return (
            f"{len(chips)} chips with enough rows take part, with {split.train.size:,} training rows together. "
            f"Every arm "
            f"has about the same number of steps in all of its models together, at most {steps:,}; a step over "
            f"the rows "
            "of a chip that has fewer than a batch is smaller.",
            "'mix' has the number of rows of one chip, drawn from every chip and class alike, and repeats them to the "
            "same number of steps. The others have all rows.",
            f"'head': {100 * (1 - self.head_share):.0f} % of the passes on all rows, the others on the rows of "
            f"each chip.",
            "The best pass of a model is chosen on its own validation rows: those of its chip for 'each' and 'head'.",
        )

    def conclude(self, results: Results) -> Findings:
        """Name the winner by the mean over chips."""
        return chip_findings(results, shared=("mix", "all", "film"), suffix=_UNSEEN)

    def draw(self, results: Results, findings: Findings) -> Figure:
        """Means over chips, and every chip."""
        return draw_chips(results, findings, suffix=_UNSEEN)


def _of_chips(material: Material, chips: tuple[str, ...] | list[str]) -> Split:
    """The training and validation rows of some chips."""
    codes, names = dataset_chips(material.dataset)
    inside = np.isin(np.array(names), chips)[codes]
    train, validation = (rows[inside[rows]] for rows in (material.split.train, material.split.validation))
    return Split(train, validation, _NONE)


def _test_rows(material: Material, chips: tuple[str, ...]) -> NDArray[np.int64]:
    codes, names = dataset_chips(material.test)
    rows = material.test_rows
    return rows[np.isin(np.array(names), chips)[codes[rows]]]


def _of_each(
    material: Material,
    chips: tuple[str, ...],
    train: Callable[[str, Progress | None], Scored],
    progress: Progress | None,
) -> Scored:
    """One model for each chip, and the scores of each on the test rows of its chip."""
    scores = np.full(material.test_rows.size, np.nan, np.float32)
    steps = n_train = 0
    for number, chip in enumerate(chips):
        note = None if progress is None else _share(progress, number / len(chips), 1.0 / len(chips))
        found = train(chip, note)
        scores[np.isin(material.test_rows, _test_rows(material, (chip,)))] = found.scores
        steps, n_train = steps + found.steps, n_train + found.n_train
    return Scored(scores, n_train, steps)


def _share(progress: Progress, start: float, share: float) -> Progress:
    """Report one of several trainings as a part of the whole, in thousandths."""
    return lambda stage, done, total: progress(stage, round(1000 * (start + share * done / max(total, 1))), 1000)
