"""What wrong labels of class 0 cost, and what each method wins back; how much of a better figure is a cleaner test set.

A share c of reals in the *tested* class 0 changes no model and gives AUC_obs = (1 - c) AUC + c / 2: a real among the
artifacts is above another real half of the time. Training on old and on new labels, each tested on old and on new
labels, tells a better model from a better test set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gueststar.errors import InputError
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.label_noise.flagged import without
from gueststar.realbogus.split import Split
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, train_and_score
from gueststar.study.figures import COLOURS, arm_panels, dots, new_figure, tidy
from gueststar.study.labellings import LabelPair, changes_of
from gueststar.study.material import Material, open_material
from gueststar.study.old_new import draw_old_new, old_and_new
from gueststar.study.paired import Measured
from gueststar.study.planting import Relabelled, plant, plant_in
from gueststar.study.results import Comparison, Findings, Results, Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ContaminationStudy"]

_METHODS = {
    "naive": ("all labels are believed", 1.0),
    "ensemble": ("the mean of two networks that believe all labels", 2.0),
    "correct": ("the loss counts with reals among the artifacts of each interval of signal to noise", 1.0),
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
    old_version: str | None = Field(
        None, description="The same with versions of the labels: the older one; empty: the labels of the set"
    )
    new_version: str | None = Field(None, description="The newer version; empty: the labels of the set")
    test_old_version: str | None = Field(
        None, description="Older version of the labels of the test set; empty: its own; none: named as that of the data"
    )
    test_new_version: str | None = Field(
        None, description="Newer version of the labels of the test set; empty: its own; none: named as that of the data"
    )

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        own, tested = (self.old_version, self.new_version), (self.test_old_version, self.test_new_version)
        if self.old_labels is not None and (*own, *tested) != (None,) * 4:
            raise ValueError("older labels are a column (old_labels) or versions (old_version, new_version), not both")
        if own == (None, None) and tested != (None, None):
            raise ValueError("versions of the test labels need old_version or new_version of what is trained on")
        if own != (None, None) and (self.old_version or "") == (self.new_version or ""):
            raise ValueError("old_version and new_version are the same labels: two are needed to compare them")
        return self

    @property
    def compares_labels(self) -> bool:
        """Whether two labellings are compared, and nothing is planted."""
        return (self.old_labels, self.old_version, self.new_version) != (None, None, None)

    def pair(self) -> LabelPair | None:
        """The versions that are compared; None without such."""
        if self.old_version is None and self.new_version is None:
            return None
        old, new = self.old_version or "", self.new_version or ""
        test_old, test_new = self.test_old_version, self.test_new_version
        return LabelPair(old, new, old if test_old is None else test_old, new if test_new is None else test_new)

    def open(self, data: str | Path, *, test: str | Path | None = None, exclude: Sequence[str] = ()) -> Material:
        """Open the data with the rows that have an old label only."""
        return open_material(
            data, test=test, exclude=exclude, max_train=self.max_train, old_labels=self.old_labels,
            versions=self.pair(),
        )  # fmt: skip

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """The methods with planted labels and the oracle, or the two labellings."""
        if self.compares_labels:
            pair = self.pair() or LabelPair("", "", "", "")
            old = f"the column {self.old_labels}" if self.old_labels is not None else _words(pair.old)
            return Arm(_OLD, f"trained on {old}"), Arm(_NEW, f"trained on {_words(pair.new)}")
        known = LabelNoise.model_fields["method"].annotation
        there = getattr(known, "__args__", ())
        arms = [Arm(name, *_METHODS.get(name, (name, 2.0))) for name in self.methods if name in there]
        planted = f"{100 * self.share:g} % of class 0 planted"
        arms = [Arm(arm.name, f"{arm.words}; {planted}", arm.cost) for arm in arms]
        return (*arms, Arm(_ORACLE, "trained without the planted rows"))

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train on wrong labels with one method; the test rows keep theirs."""
        options = self.seeded(seed)
        if self.compares_labels:
            old = _given(material.old_labels)
            data = Relabelled(material.dataset, old) if arm == _OLD else material.dataset
            split = _labelled(material.every, data.labels)
            scored = train_and_score(material, options, self.label_noise, dataset=data, split=split, progress=progress)
            parts = {"train": material.every.train, "validation": material.every.validation}
            changes = {name: changes_of(old[rows], material.dataset.labels[rows]) for name, rows in parts.items()}
            return Scored(scored.scores, scored.n_train, scored.steps, {**scored.facts, "label_changes": changes})
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
        if self.compares_labels:
            return _given(material.old_test_labels)
        wrong = plant_in(labels, material.test_rows, self.share, np.random.default_rng(2))
        other = labels.copy()
        other[wrong] = 0
        return other[material.test_rows]

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What is the same in every arm."""
        same = "Network, steps, schedule and test rows are the same."
        if self.compares_labels:
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
        if self.compares_labels:
            return old_and_new(results, _OLD, _NEW)
        sentences: list[str] = []
        comparisons: list[Comparison] = []
        tables: list[Table] = []
        notes: list[str] = []
        facts: dict[str, Any] = {"share": self.share}
        if results.has("naive", _ORACLE):
            self._gaps(results, sentences, comparisons, tables, notes)
            found = old_and_new(results, "naive", _ORACLE)
            sentences += [text.replace("old labels", "planted labels") for text in found.sentences[-1:]]
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

    def draw(self, results: Results, findings: Findings) -> Figure:
        """Missed reals of every arm and the shares of the gap, or the table of labels."""
        if self.compares_labels and results.has(_OLD, _NEW):
            return draw_old_new(results, _OLD, _NEW)
        if not results.has("naive", _ORACLE):
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


def _words(version: str) -> str:
    return f"version {version} of the labels" if version else "the labels of the set"


def _given(labels: NDArray[np.int8] | None) -> NDArray[np.int8]:
    """Older labels of a material that was opened for them."""
    if labels is None:
        raise InputError("the material has no older labels; open it with the study itself")
    return labels
