"""One picture of the comparison: artifacts of each engine on each kind of field, and residuals at bright stars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw"]

_COLOURS = {"oracle": "#8c959f", "kernel": "#e8710a"}
_OTHERS = (
    "#1f6feb", "#2da44e", "#8250df", "#bf3989", "#0a7ea4", "#9a6700", "#82cfff", "#57606a", "#d4a72c", "#cf222e",
)  # fmt: skip
Rows = dict[tuple[str, str], dict[str, Any]]


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the summary of a report into a PNG file."""
    rows: Rows = {(row["field"], row["engine"]): row for row in report["summary"]}
    fields = list(dict.fromkeys(field for field, _ in rows))
    # A perfect WCS changes little: those rows stand in the tables.
    engines = [name for name in dict.fromkeys(engine for _, engine in rows) if not name.endswith("perfect WCS")]
    others = iter(_OTHERS)
    colours = {engine: _COLOURS.get(engine) or next(others) for engine in engines}
    figure = Figure(figsize=(12.5, 7.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    _bars(upper, rows, fields, colours, lambda row: row["artifacts_positive"] + row["artifacts_negative"])
    upper.set_ylabel("artifacts per chip, both signs")
    upper.set_yscale("symlog", linthresh=5.0)
    counts = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    upper.set_yticks(counts, [str(count) for count in counts])
    upper.minorticks_off()
    upper.set_ylim(0, upper.get_ylim()[1] * 1.3)
    figure.legend(
        *upper.get_legend_handles_labels(), ncols=6, frameon=False, fontsize=9, loc="outside lower center",
        handlelength=1.2, columnspacing=1.6,
    )  # fmt: skip
    _bars(lower, rows, fields, colours, lambda row: row["chi2_p90"])
    lower.set_ylabel("chi-square at bright stars,\n90th percentile")
    lower.set_yscale("log")
    ticks = [1, 1.5, 2, 3, 5, 10, 20, 50, 100]
    high = lower.get_ylim()[1]
    lower.set_ylim(1.0, high)
    ticks = [tick for tick in ticks if tick <= high]
    lower.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    lower.minorticks_off()
    lower.set_xticks(np.arange(len(fields)), fields)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
        axes.set_axisbelow(True)
    ny, nx = report["shape"]
    words = f"Simulated pairs of {nx} x {ny} px, medians over {report['seeds']} seeds"
    if (slow := report.get("slow_peers", report["seeds"])) < report["seeds"]:
        words += f"; the packages on {slow} of them"
    figure.suptitle(words, fontsize=11)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _bars(axes: Axes, rows: Rows, fields: list[str], colours: dict[str, str], value: Any) -> None:
    width = 0.84 / len(colours)
    for i, (engine, colour) in enumerate(colours.items()):
        x = np.arange(len(fields)) + (i - 0.5 * (len(colours) - 1)) * width
        heights = [np.nan if (row := rows.get((field, engine))) is None else _number(value(row)) for field in fields]
        axes.bar(x, heights, width=0.9 * width, color=colour, label=engine)
        for place, height in zip(x, heights, strict=True):
            if height == 0:  # nothing to see is the best result: say so
                axes.text(place, 0, "0", ha="center", va="bottom", fontsize=8, color=colour)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
