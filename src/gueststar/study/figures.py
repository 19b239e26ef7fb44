"""Figures of studies, drawn without any global plotting state: values of arms with their intervals, and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gueststar.study.paired import METRICS, Interval
from gueststar.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "arm_panels",
    "dots",
    "drawn_value",
    "lowest",
    "new_figure",
    "percent_axis",
    "seed_values",
    "tidy",
    "words_of",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a939e", "#1c2128")
_INK, _GREY = "#1c2128", "#8a939e"
_WORDS = {"auc": "1 - AUC", "fpr_at_tpr": "false positives at TPR {} %", "fnr_at_fpr": "missed reals at FPR {:g}"}


def words_of(metric: str) -> str:
    """Name of what is drawn for a measure; of the AUC it is what lacks to 1, so that less is better everywhere."""
    kind, _, rate = metric.rpartition("_") if metric != "auc" else (metric, "", "")
    if kind == "fpr_at_tpr":
        return _WORDS[kind].format(f"{100 * float(rate):g}")
    return _WORDS[kind].format(float(rate)) if kind in _WORDS and rate else _WORDS["auc"]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, independent of pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=160, layout="constrained")


def seed_values(results: Results, arm: str, metric: str) -> list[float]:
    """The measure of each seed on all test rows."""
    found = [results.ranked(run).measure() for run in results.of(arm)]
    return [float(value[METRICS.index(metric)]) for value in found]


def lowest(results: Results, metric: str) -> float:
    """Where 0 is drawn on a logarithmic axis: half of a single candidate."""
    if metric == "auc":
        return 1e-7
    return 0.5 / max(results.n_bogus if metric.startswith("fpr") else results.n_real, 1)


def drawn_value(metric: str, value: float) -> float:
    """What is drawn of a value."""
    return 1.0 - value if metric == "auc" else value


def dots(
    axes: Axes,
    names: Sequence[str],
    intervals: Sequence[Interval],
    *,
    points: Sequence[Sequence[float]] | None = None,
    colours: Mapping[str, str] | None = None,
) -> None:
    """Values beside each other, top down, with intervals and the values of single seeds.

    Parameters
    ----------
    axes : Axes
    names : sequence of str
    intervals : sequence of Interval
    points : sequence of sequence of float, optional
        Single values of each.
    colours : mapping, optional
        By name.
    """
    for place, (name, item) in enumerate(zip(names, intervals, strict=True)):
        colour = (colours or {}).get(name, COLOURS[0])
        if math.isfinite(item.low) and math.isfinite(item.high):
            axes.plot((item.low, item.high), (place, place), color=colour, lw=2.2, solid_capstyle="round", alpha=0.55)
        if points is not None:
            axes.plot(points[place], [place + 0.24] * len(points[place]), "|", color=_GREY, ms=7, mew=1.2)
        axes.plot(item.value, place, "o", ms=6, color=colour, mec="white", mew=0.8, zorder=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    tidy(axes)


def arm_panels(results: Results, metrics: Sequence[str], *, arms: Sequence[str] | None = None) -> Figure:
    """One panel for each measure, the arms top down; logarithmic, less is better."""
    shown = [arm for arm in (arms or results.arms) if results.has(arm)]
    measured = results.measured()
    figure = new_figure(3.3 * len(metrics) + 1.6, 0.42 * len(shown) + 1.5)
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics, strict=True):
        found = [measured.value(arm, metric) for arm in shown]
        if metric == "auc":
            found = [Interval(1 - item.value, 1 - item.high, 1 - item.low) for item in found]
        points = [[drawn_value(metric, v) for v in seed_values(results, arm, metric)] for arm in shown]
        floor = lowest(results, metric)
        found = [Interval(*(max(part, floor) for part in (item.value, item.low, item.high))) for item in found]
        dots(axes, shown, found, points=[[max(v, floor) for v in part] for part in points])
        axes.set_xscale("log")
        percent_axis(axes, metric)
        axes.set_title(words_of(metric), loc="left", fontsize=9.5, color=_INK)
    return figure


def percent_axis(axes: Axes, metric: str, *, which: str = "x") -> None:
    """Ticks of a logarithmic axis of shares, in per cent but for the AUC."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axis.set_minor_formatter(NullFormatter())
    unit = "" if metric == "auc" else " %"
    scale = 1.0 if metric == "auc" else 100.0
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{scale * value:.3g}{unit}"))


def tidy(axes: Axes) -> None:
    """The look of every panel."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.grid(visible=True, which="major", color="#e4e7eb", lw=0.6)
    axes.set_axisbelow(True)
