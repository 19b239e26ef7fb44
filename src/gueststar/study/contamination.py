"""What wrong labels of class 0 cost, and what each method wins back; how much of a better figure is a cleaner test set.

A share c of reals in the *tested* class 0 changes no model and gives AUC_obs = (1 - c) AUC + c / 2: a real among the
artifacts is above another real half of the time. Training on old and on new labels, each tested on old and on new
labels, tells a better model from a better test set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.label_noise.flagged import without
from gueststar.realbogus.split import Split
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, train_and_score
from gueststar.study.figures import COLOURS, arm_panels, dots, new_figure, tidy
from gueststar.study.material import Material, open_material
from gueststar.study.paired import Measured, interval
from gueststar.study.planting import Relabelled, plant, plant_in
from gueststar.study.results import Comparison, Findings, Results, Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ContaminationStudy"]

_METHODS = {
    "naive": ("all labels are believed", 1.0),
    "ensemble": ("the mean of two networks that believe all labels", 2.0),
    "drop-flagged": ("artifacts that networks trained on other rows call real are left out", 5.0),
    "coteach": ("two networks, each leaves out the artifacts that the other finds most like reals", 2.0),
    "two-stage": ("flagged artifacts become unlabelled rows of a second training", 7.0),
}
_ORACLE = "oracle"
_OLD, _NEW = "old labels", "new labels"
_MEASURES = ("auc", "fnr_at_fpr_0.01", "fnr_at_fpr_0.001")


class ContaminationStudy(Study):
    """Reals among the artifacts: planted ones, or those of an older labelling."""

    name: ClassVar[str] = "contamination"
    title: ClassVar[str] = "Real sources among the artifacts"
    selection: ClassVar[frozenset[str]] = Study.selection | {"methods"}

    share: float = Field(
        0.15, ge=0, lt=0.5, description="Share of the artifacts that is real in training and validation"
    )
    methods: tuple[str, ...] = Field(
        tuple(_METHODS),
        min_length=1,
        description="Methods of label_noise that are compared; those unknown are left out",
    )
    old_labels: str | None = Field(
        None, description="Column of older labels (1, 0, -1): training on old and new is tested on old and new"
    )

    def open(self, data: str | Path, *, test: str | Path | None = None, exclude: Sequence[str] = ()) -> Material:
        """Open the data with the rows that have an old label only."""
        return open_material(data, test=test, exclude=exclude, max_train=self.max_train, old_labels=self.old_labels)

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """The methods with planted labels and the oracle, or the two labellings."""
        if self.old_labels is not None:
            self._old(material.dataset)
            column = self.old_labels
            return Arm(_OLD, f"trained on the column {column}"), Arm(_NEW, "trained on the labels of the set")
        known = LabelNoise.model_fields["method"].annotation
        there = getattr(known, "__args__", ())
        arms = [Arm(name, *_METHODS.get(name, (name, 2.0))) for name in self.methods if name in there]
        planted = f"{100 * self.share:g} % of class 0 planted"
        arms = [Arm(arm.name, f"{arm.words}; {planted}", arm.cost) for arm in arms]
        return (*arms, Arm(_ORACLE, "trained without the planted rows"))

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train on wrong labels with one method; the test rows keep theirs."""
        options = self.seeded(seed)
        if self.old_labels is not None:
            data = self._relabelled(material.dataset) if arm == _OLD else material.dataset
            split = _labelled(material.every, data.labels)
            return train_and_score(material, options, self.label_noise, dataset=data, split=split, progress=progress)
        noisy, wrong = plant(material.dataset, material.split, self.share, np.random.default_rng([seed, 2]))
        split, noise = material.split, self.label_noise
        if arm == _ORACLE:
            split, noise = without(split, wrong), LabelNoise(method="naive")
        else:
            noise = LabelNoise.parse({**noise.model_dump(), "method": arm})
        scored = train_and_score(material, options, noise, dataset=noisy, split=split, progress=progress)
        facts = {
            **scored.facts,
            "planted_rows": int(wrong.size),
            "planted_share": _share_of(noisy, material.split, wrong),
        }
        return Scored(scored.scores, scored.n_train, scored.steps, facts)

    def other_labels(self, material: Material) -> NDArray[np.int8]:
        """The old labels of the test rows, or planted ones, which only show what such labels do to the figures."""
        labels = material.test.labels
        if self.old_labels is not None:
            return self._old(material.test)[material.test_rows]
        wrong = plant_in(labels, material.test_rows, self.share, np.random.default_rng(2))
        other = labels.copy()
        other[wrong] = 0
        return other[material.test_rows]

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What is the same in every arm."""
        same = "Network, steps, schedule and test rows are the same."
        if self.old_labels is not None:
            return (same, "Rows that a labelling calls neither are neither trained nor tested on with it: what the new "
                    "labels leave out is part of the old sets.")  # fmt: skip
        return (
            same,
            "With one seed the same reals of the training and validation parts are called artifacts in every arm. The "
            "labels of the test part are never changed for the figures of the arms.",
            "The oracle is trained without the planted rows, so it has fewer rows; it has the steps of as many passes.",
            "The passes of every network are the same: methods that train several networks take so much longer.",
        )

    def conclude(self, results: Results) -> Findings:
        """Share of the gap that each method closes, and the table of labels."""
        if self.old_labels is not None:
            return self._old_and_new(results, _OLD, _NEW)
        sentences: list[str] = []
        comparisons: list[Comparison] = []
        tables: list[Table] = []
        notes: list[str] = []
        facts: dict[str, Any] = {"share": self.share}
        if results.has("naive", _ORACLE):
            self._gaps(results, sentences, comparisons, tables, notes)
            found = self._old_and_new(results, "naive", _ORACLE)
            sentences += [text.replace("old labels", "planted labels") for text in found.sentences]
            tables += found.tables
            facts |= found.facts
        else:
            sentences.append("The arms 'naive' and 'oracle' are both needed to tell how much of the gap is closed.")
        notes.append(
            "Planted reals look like artificial ones. Those of a sky may be of other kinds: variables on stars, trails."
        )
        return Findings(tuple(sentences), tuple(comparisons), tuple(tables), tuple(notes), facts)

    def _gaps(
        self,
        results: Results,
        sentences: list[str],
        comparisons: list[Comparison],
        tables: list[Table],
        notes: list[str],
    ) -> None:
        measured = results.measured()
        rows = []
        for metric in _MEASURES:
            gap = measured.difference("naive", _ORACLE, metric)
            comparisons.append(Comparison("naive", _ORACLE, metric, "difference", gap))
            if gap.low <= 0 <= gap.high:
                notes.append(
                    f"In {metric} naive training and the oracle are not told apart: shares of that gap say nothing."
                )
        for arm in results.arms:
            if arm in ("naive", _ORACLE):
                continue
            row = [arm]
            for metric in _MEASURES:
                item = measured.gap_closed(arm, low="naive", high=_ORACLE, metric=metric)
                comparisons.append(Comparison(arm, "naive", metric, "gap closed", item))
                row.append(percent(item, 0))
            rows.append(row)
            closed = measured.gap_closed(arm, low="naive", high=_ORACLE, metric="fnr_at_fpr_0.001")
            sentences.append(
                f"{arm} closes {percent(closed, 0)} of the gap to the oracle in missed reals at FPR 0.1 %."
            )
        naive, best = (measured.value(arm, "fnr_at_fpr_0.001") for arm in ("naive", _ORACLE))
        sentences.insert(
            0,
            f"With {100 * self.share:g} % of reals among the artifacts naive training misses {percent(naive)} "
            f"of the reals at "
            f"FPR 0.1 %, the oracle {percent(best)}.",
        )
        header = ("method", "AUC", "missed at FPR 1 %", "missed at FPR 0.1 %")
        tables.append(Table("Share of the gap from naive to oracle that is closed", header, rows))

    def _old_and_new(self, results: Results, old: str, new: str) -> Findings:
        """Training on old and new labels, each tested on old and new labels."""
        if not results.has(old, new) or results.other_labels is None:
            return Findings((f"The arms {old!r} and {new!r} are both needed for the table of labels.",))
        other = results.other_labels
        on_new, on_old = results.measure((old, new)), results.measure((old, new), labels=other)
        c = float(((other == 0) & (results.labels == 1)).sum() / max(int((other == 0).sum()), 1))
        # The two parts add up: first the test labels are made new, then the training.
        cleaner = interval(on_new.drawn(old, "auc") - on_old.drawn(old, "auc"))
        better = on_new.difference(new, old, "auc")
        total = interval(on_new.drawn(new, "auc") - on_old.drawn(old, "auc"))
        rows = []
        for arm in (old, new):
            pair = [table.value(arm, "auc") for table in (on_old, on_new)]
            expected = (1 - c) * pair[1].value + c / 2
            rows.append([f"trained on: {arm}", *(f"{v.value:.5f} ({v.low:.5f} to {v.high:.5f})" for v in pair),
                         f"{expected:.5f}"])  # fmt: skip
        header = ("AUC", "tested on old labels", "tested on new labels", "old, by (1 - c) AUC + c/2")
        words = f"c = {100 * c:.2f} % of the artifacts of the old test labels are real by the new ones."
        told = "better model" if better.low > 0 else "worse model" if better.high < 0 else "no better model to be told"
        sentence = (
            f"From old labels (training and test) to new ones the AUC changes by {total.value:+.5f} "
            f"({total.low:+.5f} to "
            f"{total.high:+.5f}). Of it {better.value:+.5f} ({better.low:+.5f} to {better.high:+.5f}) comes of "
            f"training: "
            f"{told}; the cleaner test set alone gives {cleaner.value:+.5f} ({cleaner.low:+.5f} to "
            f"{cleaner.high:+.5f})."
        )
        comparisons = (
            Comparison(new, old, "auc", "difference", better, "trained on new labels instead of old, new test labels"),
            Comparison(old, old, "auc", "difference", cleaner, "new test labels instead of old, trained on old labels"),
            Comparison(new, old, "auc", "difference", total, "both"),
        )
        cells = {
            f"{arm}, tested on {name}": table.value(arm, "auc").as_dict()
            for arm in (old, new)
            for name, table in (("old", on_old), ("new", on_new))
        }
        return Findings((sentence,), comparisons, (Table("Old and new labels", header, rows, words),),
                        facts={"contamination_of_old_test_labels": c, "auc": cells})  # fmt: skip

    def draw(self, results: Results, findings: Findings) -> Figure:
        """Missed reals of every arm and the shares of the gap, or the table of labels."""
        if self.old_labels is not None or not results.has("naive", _ORACLE):
            return arm_panels(results, _MEASURES)
        arms = [arm for arm in results.arms if arm not in ("naive", _ORACLE)]
        if not arms:
            return arm_panels(results, _MEASURES)
        measured = results.measured()
        figure = new_figure(10.6, 0.5 * max(len(results.arms), 4) + 1.4)
        left, right = figure.subplots(1, 2)
        dots(left, results.arms, [measured.value(arm, "fnr_at_fpr_0.001") for arm in results.arms],
             colours={"naive": COLOURS[1], _ORACLE: COLOURS[2]})  # fmt: skip
        left.set_title("missed reals at FPR 0.1 %", loc="left", fontsize=9.5)
        left.set_xlim(left=0)
        left.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        _draw_gaps(right, arms, measured)
        return figure

    def _old(self, dataset: LabelledStamps) -> NDArray[np.int8]:
        labels = np.asarray(dataset[str(self.old_labels)])
        if not np.isin(labels, (-1, 0, 1)).all():
            raise InputError(
                f"column {self.old_labels!r} holds {labels[~np.isin(labels, (-1, 0, 1))][0]!r}: old labels are "
                f"1 real, 0 "
                "artifact, -1 neither",
                column=self.old_labels,
            )
        return labels.astype(np.int8)

    def _relabelled(self, dataset: LabelledStamps) -> Relabelled:
        return Relabelled(dataset, self._old(dataset))


def _draw_gaps(axes: Any, arms: list[str], measured: Measured) -> None:
    step = 0.26
    for i, (metric, name) in enumerate((("fnr_at_fpr_0.01", "FPR 1 %"), ("fnr_at_fpr_0.001", "FPR 0.1 %"))):
        for place, arm in enumerate(arms):
            item = measured.gap_closed(arm, low="naive", high=_ORACLE, metric=metric)
            if not math.isfinite(item.value):
                continue
            at = place + (i - 0.5) * step
            ends = [min(max(end, -0.5), 1.5) for end in (item.low, item.high)]
            axes.plot(ends, (at, at), color=COLOURS[i], lw=2.2, alpha=0.55, solid_capstyle="round")
            axes.plot(min(max(item.value, -0.5), 1.5), at, "o", color=COLOURS[i], ms=6, mec="white",
                      label=name if place == 0 else None)  # fmt: skip
    for value, colour in ((0.0, COLOURS[1]), (1.0, COLOURS[2])):
        axes.axvline(value, color=colour, lw=1, ls=(0, (4, 3)))
    axes.set_xlim(-0.55, 1.55)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks(range(len(arms)), arms)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_title("share of the gap closed: naive 0 %, oracle 100 %", loc="left", fontsize=9.5)
    axes.legend(frameon=False, fontsize=8.5, loc="best")
    tidy(axes)


def _labelled(split: Split, labels: NDArray[np.int8]) -> Split:
    return Split(*(rows[labels[rows] >= 0] for rows in (split.train, split.validation, split.test)))


def _share_of(noisy: Relabelled, split: Split, wrong: NDArray[np.int64]) -> dict[str, float]:
    """Share of the artifacts that is planted, by part."""
    return {
        name: float(np.isin(rows, wrong).sum() / max(int((noisy.labels[rows] == 0).sum()), 1))
        for name, rows in split.parts().items()
        if name != "test"
    }
