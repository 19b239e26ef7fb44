"""Training on old and on new labels, each tested on old and on new labels: a better model told from a better test set.

A share c of reals in the *tested* class 0, and a share e of artifacts in the tested class 1, change no model. A wrongly
named row is ranked like one of its own class, so that

    AUC_obs = (1 - c)(1 - e) AUC + ((1 - c) e + c (1 - e)) / 2 + c e (1 - AUC)

which is (1 - c) AUC + c / 2 for e = 0. All four figures come from the same drawings of scenes and seeds, so that every
difference is a paired one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.study.figures import COLOURS, drawn_value, new_figure, tidy, words_of
from gueststar.study.labellings import changes_of
from gueststar.study.paired import Interval, Measured, interval
from gueststar.study.results import Comparison, Findings, Results, Table, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_old_new", "old_and_new"]

_SHARES = ("fnr_at_fpr_0.01", "fpr_at_tpr_0.98")
_MEASURES = ("auc", *_SHARES)
_NAMES = {"auc": "AUC", "fnr_at_fpr_0.01": "missed at FPR 1 %", "fpr_at_tpr_0.98": "FPR at TPR 98 %"}
#: Steps between two of the four figures: key, words for people.
_STEPS = {
    "training, new test": "training made new, tested on new labels",
    "training, old test": "training made new, tested on old labels",
    "test, old training": "test labels made new, trained on old labels",
    "test, new training": "test labels made new, trained on new labels",
    "both": "both made new",
}


@dataclass(frozen=True, slots=True)
class _Four:
    """The models of old and new labels on the test rows by old and by new labels."""

    old: str
    new: str
    on_old: Measured
    on_new: Measured

    @classmethod
    def of(cls, results: Results, old: str, new: str) -> _Four:
        return cls(old, new, results.measure((old, new), labels=results.other_labels), results.measure((old, new)))

    def steps(self, metric: str) -> dict[str, Interval]:
        """Differences, of the same drawings; the two parts of each way add up to 'both'."""
        old_old, new_old = (self.on_old.drawn(arm, metric) for arm in (self.old, self.new))
        old_new, new_new = (self.on_new.drawn(arm, metric) for arm in (self.old, self.new))
        ways = (new_new - old_new, new_old - old_old, old_new - old_old, new_new - new_old, new_new - old_old)
        return {name: interval(way) for name, way in zip(_STEPS, ways, strict=True)}


def old_and_new(results: Results, old: str, new: str) -> Findings:
    """What the change of labels did to training, and apart to the test set.

    Parameters
    ----------
    results : Results
        With `other_labels`, the old labels of the test rows.
    old, new : str
        Arms that were trained on old and on new labels.

    Returns
    -------
    Findings
        Without one of the arms, or old labels, a sentence that says so.
    """
    if not results.has(old, new) or results.other_labels is None:
        return Findings((f"The arms {old!r} and {new!r} are both needed for the table of labels.",))
    other = results.other_labels
    four = _Four.of(results, old, new)
    steps = {metric: four.steps(metric) for metric in _MEASURES}
    c, e = (_share(other == label, results.labels == 1 - label) for label in (0, 1))
    left_out = int(((other >= 0) != (results.labels >= 0)).sum())
    words = f"c = {100 * c:.2f} % of the artifacts of the old test labels are real by the new ones"
    words += f", e = {100 * e:.2f} % of the reals are artifacts" if e else ""
    words += f"; {left_out:,} rows with a label in one of the two only are not in the formula" if left_out else ""
    words += ". The formula holds for wrongly named rows that are ranked like any of their class."
    tables = (_figures(four, c, e, words), _shares(four), _differences(steps))
    told = _changes(results, old, new)
    cells = {
        f"{arm}, tested on {name}": table.value(arm, "auc").as_dict()
        for arm in (old, new)
        for name, table in (("old", four.on_old), ("new", four.on_new))
    }
    return Findings(
        (_four_words(four), _sentence(steps["auc"])),
        _comparisons(steps, old, new),
        tables if told is None else (*tables, told),
        facts={"contamination_of_old_test_labels": c, "artifacts_among_old_test_reals": e, "auc": cells},
        leading=1,
    )


def _share(named: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    return float((named & wrong).sum() / max(int(named.sum()), 1))


def _four_words(four: _Four) -> str:
    """The four figures in one sentence."""
    told = [
        f"{table.value(arm, 'auc').value:.4f} trained on {trained} and tested on {tested}"
        for trained, arm in (("old", four.old), ("new", four.new))
        for tested, table in (("old", four.on_old), ("new", four.on_new))
    ]
    return f"AUC by old and new labels: {'; '.join(told)}."


def _sentence(steps: Mapping[str, Interval]) -> str:
    total, better, cleaner = steps["both"], steps["training, new test"], steps["test, old training"]
    told = "better model" if better.low > 0 else "worse model" if better.high < 0 else "no better model to be told"
    return (
        f"From old labels (training and test) to new ones the AUC changes by {_change(total)}. Of it {_change(better)} "
        f"comes of training: {told}; the cleaner test set alone gives {_change(cleaner)}."
    )


def _change(item: Interval) -> str:
    return f"{item.value:+.5f} ({item.low:+.5f} to {item.high:+.5f})"


def _figures(four: _Four, c: float, e: float, note: str) -> Table:
    rows = []
    for arm in (four.old, four.new):
        pair = [table.value(arm, "auc") for table in (four.on_old, four.on_new)]
        auc = pair[1].value
        expected = (1 - c) * (1 - e) * auc + ((1 - c) * e + c * (1 - e)) / 2 + c * e * (1 - auc)
        cells = (f"{v.value:.5f} ({v.low:.5f} to {v.high:.5f})" for v in pair)
        rows.append([f"trained on: {arm}", *cells, f"{expected:.5f}"])
    formula = "old, by (1 - c) AUC + c/2" if e == 0 else "old, by c and e"
    return Table("Old and new labels", ("AUC", "tested on old labels", "tested on new labels", formula), rows, note)


def _shares(four: _Four) -> Table:
    rows = [
        [_NAMES[metric] + f", trained on: {arm}", *(percent(t.value(arm, metric)) for t in (four.on_old, four.on_new))]
        for metric in _SHARES
        for arm in (four.old, four.new)
    ]
    return Table("Old and new labels: missed reals and false positives",
                 ("share", "tested on old labels", "tested on new labels"), rows)  # fmt: skip


def _differences(steps: Mapping[str, Mapping[str, Interval]]) -> Table:
    rows = [
        [words, _change(steps["auc"][name]), *(_points(steps[metric][name]) for metric in _SHARES)]
        for name, words in _STEPS.items()
    ]
    note = (
        "Paired: both sides of a difference have the same drawn scenes and seeds. Shares change by percentage points. "
        "The first and the third line add up to the last, and so do the second and the fourth; labels that are "
        "wrong in training and test alike help a model that learnt them, so what training alone did is told by the new "
        "test labels."
    )
    return Table("What changed the figures", ("step", *(_NAMES[metric] for metric in _MEASURES)), rows, note)


def _points(item: Interval) -> str:
    value, low, high = (f"{100 * part:+.2f}" for part in (item.value, item.low, item.high))
    return f"{value} ({low} to {high})"


def _changes(results: Results, old: str, new: str) -> Table | None:
    """How many labels of each part differ; None when the runs do not tell."""
    runs = results.of(new) or results.of(old)
    parts: dict[str, Mapping[str, int]] = dict(runs[0].facts.get("label_changes", {})) if runs else {}
    if not parts or results.other_labels is None:
        return None
    parts["test"] = changes_of(results.other_labels, results.labels)
    kinds = [name for name in next(iter(parts.values())) if any(part[name] for part in parts.values())]
    rows = [[name, *(f"{part[kind]:,}" for kind in kinds)] for name, part in parts.items()]
    return Table("Labels that were changed", ("part", *kinds), rows, "Rows by old and by new label.")


def _comparisons(steps: Mapping[str, Mapping[str, Interval]], old: str, new: str) -> tuple[Comparison, ...]:
    """The three of the sentence first."""
    order = ("training, new test", "test, old training", "both", "training, old test", "test, new training")
    sides = {"test, old training": (old, old), "test, new training": (new, new)}
    return tuple(
        Comparison(*sides.get(name, (new, old)), metric, "difference", steps[metric][name], _STEPS[name])
        for metric in _MEASURES
        for name in order
    )


def draw_old_new(results: Results, old: str, new: str) -> Figure:
    """The four figures in two measures, and what each step changed in the AUC."""
    four = _Four.of(results, old, new)
    figure = new_figure(11.6, 3.7)
    axes = figure.subplots(1, 3, gridspec_kw={"width_ratios": (1, 1, 1.25)})
    for panel, metric in zip(axes, ("auc", "fnr_at_fpr_0.01"), strict=False):
        _draw_four(panel, four, metric)
    axes[0].legend(frameon=False, fontsize=8.5, loc="lower left", title="trained on", title_fontsize=8.5)
    _draw_steps(axes[2], four.steps("auc"))
    return figure


def _draw_four(axes: Axes, four: _Four, metric: str) -> None:
    for number, arm in enumerate((four.old, four.new)):
        places = np.arange(2) + (number - 0.5) * 0.14
        items = [table.value(arm, metric) for table in (four.on_old, four.on_new)]
        values = np.array([drawn_value(metric, item.value) for item in items])
        ends = np.array([sorted(drawn_value(metric, end) for end in (item.low, item.high)) for item in items])
        colour = COLOURS[1 - number]
        axes.plot(places, values, "-o", color=colour, ms=6, mec="white", lw=1.2, label=arm)
        axes.vlines(places, ends[:, 0], ends[:, 1], color=colour, lw=2.2, alpha=0.55)
        for place, value, item in zip(places, values, items, strict=True):
            side = 2 * number - 1
            text = f"{item.value:.4f}" if metric == "auc" else f"{100 * item.value:.1f} %"
            axes.annotate(text, (place, value), (9 * side, 0), textcoords="offset points", color=colour, fontsize=8.5,
                          ha="left" if side > 0 else "right", va="center")  # fmt: skip
    axes.set_xticks((0, 1), ("old", "new"))
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tested on labels", fontsize=9)
    words = words_of(metric) + (", points named by AUC" if metric == "auc" else "")
    axes.set_title(words, loc="left", fontsize=9.5)
    if metric != "auc":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    tidy(axes)


def _draw_steps(axes: Axes, steps: Mapping[str, Interval]) -> None:
    colours = (COLOURS[0], COLOURS[0], COLOURS[6], COLOURS[6], COLOURS[7])
    names: list[Any] = []
    for place, (name, item) in enumerate(steps.items()):
        axes.plot((item.low, item.high), (place, place), color=colours[place], lw=2.2, alpha=0.55)
        axes.plot(item.value, place, "o", color=colours[place], ms=6, mec="white")
        names.append(_STEPS[name].replace(", ", ",\n"))
    axes.axvline(0, color=COLOURS[7], lw=0.8, ls=(0, (4, 3)))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title("change of the AUC, 95 %", loc="left", fontsize=9.5)
    tidy(axes)
    axes.tick_params(axis="x", labelsize=8, labelrotation=30)
