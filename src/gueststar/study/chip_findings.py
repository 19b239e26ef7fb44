"""What models for chips are worth: means over chips, the worst chip, chips that were never seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.study.figures import COLOURS, dots, new_figure, tidy
from gueststar.study.paired import METRICS, Interval, Measured
from gueststar.study.results import Comparison, Findings, Results, Run, Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["chip_findings", "draw_chips", "over_chips"]

_MAIN = "fpr_at_tpr_0.98"
_SHOWN = ("auc", "fpr_at_tpr_0.9", _MAIN)


def over_chips(results: Results, arms: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Measures of every chip, each with its own threshold, on the same drawings of images and seeds.

    Returns
    -------
    chips : tuple of str
        Those on which every arm has scores of both classes.
    tables : ndarray, shape (chips, boots + 1, arms, len(METRICS))
    """
    names, tables = [], []
    for chip in np.unique(results.chip):
        inside = results.chip == chip
        if chip == "" or np.unique(results.labels[inside & (results.labels >= 0)]).size < 2:
            continue
        table = results.measure(arms, keep=lambda run, inside=inside: inside).table  # type: ignore[misc]
        if np.isfinite(table[0]).all():
            names.append(str(chip))
            tables.append(table)
    return tuple(names), np.array(tables)


def chip_findings(results: Results, *, shared: Sequence[str], suffix: str) -> Findings:
    """Name the winner by the mean over chips of false positives at TPR 98 %, and say how sure it is.

    Parameters
    ----------
    results : Results
    shared : sequence of str
        Arms that one model serves.
    suffix : str
        What the name of an arm without some chips ends with.
    """
    arms = [arm for arm in results.arms if not arm.endswith(suffix)]
    if not arms:
        return Findings(("No arm was trained with all chips: there is nothing to compare.",))
    chips, tables = over_chips(results, arms)
    if not chips:
        return Findings(("No chip has test rows of both classes.",))
    macro = Measured(tuple(arms), np.nanmean(tables, axis=0))
    worst = Measured(tuple(arms), _worst(tables))
    sentences, comparisons, winner = _winner(macro, len(chips))
    rows = [
        [arm, *(_text(name, macro.value(arm, name)) for name in _SHOWN),
         *(_text(name, worst.value(arm, name)) for name in ("auc", _MAIN))] for arm in arms
    ]  # fmt: skip
    header = ("arm", "mean AUC", "mean FPR at TPR 90 %", "mean FPR at TPR 98 %", "worst AUC", "worst FPR at TPR 98 %")
    note = f"Over {len(chips)} chips, each with its own threshold. The worst of many is also the unluckiest."
    found = [Table("Mean over chips and worst chip", header, rows, note)]
    unseen, more, table = _unseen(results, shared, suffix)
    found += table
    facts = {
        "winner": winner, "chips": list(chips),
        "macro": {arm: {name: macro.value(arm, name).as_dict() for name in METRICS} for arm in arms},
        "worst": {arm: {name: worst.value(arm, name).as_dict() for name in METRICS} for arm in arms},
    }  # fmt: skip
    return Findings((*sentences, *unseen), (*comparisons, *more), tuple(found), facts=facts)


def _winner(macro: Measured, n: int) -> tuple[list[str], list[Comparison], str]:
    order = sorted(macro.arms, key=lambda arm: macro.value(arm, _MAIN).value)
    best = order[0]
    comparisons, open_against = [], []
    texts = []
    for arm in order[1:]:
        item = macro.difference(best, arm, _MAIN)
        comparisons.append(Comparison(best, arm, _MAIN, "difference", item, "mean over chips"))
        comparisons.append(
            Comparison(best, arm, "auc", "difference", macro.difference(best, arm, "auc"), "mean over chips")
        )
        comparisons.append(Comparison(best, arm, _MAIN, "ratio", macro.ratio(best, arm, _MAIN), "mean over chips"))
        values = f"{100 * item.value:+.3f} points ({100 * item.low:+.3f} to {100 * item.high:+.3f})"
        texts.append(f"{best} against {arm}: {values} of false positives at TPR 98 %, mean over chips.")
        if item.high >= 0:
            open_against.append(arm)
    words = (
        f"Winner: {best}, {percent(macro.value(best, _MAIN))} false positives at TPR 98 % in the mean over {n} chips"
    )
    if open_against:
        words += f"; not told apart from {', '.join(open_against)}."
    elif len(order) > 1:
        words += "; every other arm has more, with the whole interval."
    else:
        words += "; no other arm was run."
    return [words, *texts], comparisons, best


def _unseen(results: Results, shared: Sequence[str], suffix: str) -> tuple[list[str], list[Comparison], list[Table]]:
    """Shared arms on chips that they were not trained on, against the same with them."""
    sentences, comparisons, rows = [], [], []
    for arm in shared:
        other = f"{arm}{suffix}"
        if not results.has(arm, other):
            continue
        left_out = {run.seed: run.facts["unseen_chips"] for run in results.of(other)}

        def keep(run: Run, left_out: dict[int, list[str]] = left_out) -> NDArray[np.bool_]:
            return np.isin(results.chip, left_out[run.seed])

        measured = results.measure((arm, other), keep=keep)
        change = measured.difference(other, arm, _MAIN)
        comparisons.append(Comparison(other, arm, _MAIN, "difference", change, "chips that were left out"))
        comparisons.append(
            Comparison(
                other, arm, "auc", "difference", measured.difference(other, arm, "auc"), "chips that were left out"
            )
        )
        rows.append([arm, *(_text(name, measured.value(a, name)) for name in ("auc", _MAIN) for a in (arm, other))])
        told = "worse" if change.low > 0 else "better" if change.high < 0 else "not to be told apart"
        sentences.append(
            f"{arm} on chips that it has never seen: {100 * change.value:+.3f} points ({100 * change.low:+.3f} to "
            f"{100 * change.high:+.3f}) of false positives at TPR 98 % against the same with these chips: {told}."
        )
    header = ("arm", "AUC, chips seen", "AUC, unseen", "FPR at TPR 98 %, seen", "FPR at TPR 98 %, unseen")
    note = "On the same test rows, those of the chips that were left out; one threshold for all of them."
    return sentences, comparisons, [Table("Chips that were left out of training", header, rows, note)] if rows else []


def _worst(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """The worst chip in each drawing: smallest AUC, largest of the rates."""
    worst: NDArray[np.float64] = np.nanmax(tables, axis=0)
    auc = METRICS.index("auc")
    worst[..., auc] = np.nanmin(tables[..., auc], axis=0)
    return worst


def _text(metric: str, item: Interval) -> str:
    return f"{item.value:.5f} ({item.low:.5f} to {item.high:.5f})" if metric == "auc" else percent(item)


def draw_chips(results: Results, findings: Findings, *, suffix: str) -> Figure:
    """Mean over chips of false positives at TPR 98 %, and those of every chip, means over seeds."""
    arms = [arm for arm in results.arms if not arm.endswith(suffix)]
    figure = new_figure(10.6, 0.55 * max(len(arms), 3) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    macro = findings.facts.get("macro", {})
    intervals = [Interval(*(float(macro[arm][_MAIN][end] or 0) for end in ("value", "low", "high"))) for arm in macro]
    winner = str(findings.facts.get("winner", ""))
    dots(left, list(macro), intervals, colours={winner: COLOURS[2]})
    left.set_title("false positives at TPR 98 %, mean over chips", loc="left", fontsize=9.5)
    names = [chip for chip in findings.facts.get("chips", ())]
    for place, arm in enumerate(macro):
        values = []
        for chip in names:
            inside = results.chip == chip
            found = [results.ranked(run, keep=lambda _, inside=inside: inside).measure() for run in results.of(arm)]  # type: ignore[misc]
            values.append(float(np.mean([value[METRICS.index(_MAIN)] for value in found])))
        spread = place + 0.5 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
        right.plot(np.sort(values), spread, ".", color=COLOURS[2] if arm == winner else COLOURS[0], ms=5, alpha=0.7)
        if values:
            right.plot(max(values), spread[-1], "o", mfc="none", mec=COLOURS[1], ms=8)
    right.set_title("every chip, mean over seeds; circle: the worst", loc="left", fontsize=9.5)
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        tidy(axes)
    return figure
