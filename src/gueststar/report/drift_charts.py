"""Charts of a drift report: distributions of groups that left, and medians of images that are strange."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gueststar.realbogus.drift.images import judged_images
from gueststar.realbogus.drift.result import Drift, DriftTest, ImageCounts
from gueststar.report.evaluation_style import BOGUS, INK, MODELS, REAL, STYLES, axes_of, figure_uri, finish, png_of

__all__ = ["drift_curves", "group_words", "image_strips"]

_MOST_CURVES, _MOST_GROUPS, _MOST_STRIPS = 6, 4, 6


def group_words(night: str, chip: str) -> str:
    """A group in words; empty is all."""
    if night and chip:
        return f"chip {chip} in night {night}"
    return f"night {night}" if night else f"chip {chip}" if chip else "everything together"


def drift_curves(drift: Drift, data: ImageCounts, reference: ImageCounts) -> list[tuple[str, str]]:
    """Cumulative distributions of the worst columns as data URIs, with the name of each column.

    Parameters
    ----------
    drift : Drift
    data, reference : ImageCounts
        In the same bins.
    """
    ranked = sorted(
        (test for test in drift.tests if not test.reason), key=lambda test: (test.drift, -test.p), reverse=True
    )
    columns = list(dict.fromkeys(test.column for test in ranked))[:_MOST_CURVES]
    made = []
    for column in columns:
        number = [item.name for item in data.columns].index(column)
        mine = [test for test in ranked if test.column == column]
        shown = [test for test in mine if test.drift][:_MOST_GROUPS] or mine[:1]
        made.append((column, figure_uri(_curve(number, shown, data, reference))))
    return made


def image_strips(drift: Drift, data: ImageCounts, reference: ImageCounts, *, image_rows: int) -> str:
    """Medians of images in the columns in which some are strange, as a data URI; empty without such.

    Parameters
    ----------
    drift : Drift
    data, reference : ImageCounts
        In the same bins.
    image_rows : int
        Rows that an image needs for its median to be shown.
    """
    columns = list(dict.fromkeys(item.column for item in drift.standouts))[:_MOST_STRIPS]
    if not columns:
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 1.0 * len(columns) + 0.6), layout="constrained", facecolor="#ffffff")
    panels = figure.subplots(len(columns), 1, squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        number = [item.name for item in data.columns].index(column)
        strange = [item for item in drift.standouts if item.column == column]
        known, mine = (side.medians[judged_images(side, number, image_rows), number] for side in (reference, data))
        odd = np.array([item.median for item in strange])
        axes.plot(known, np.full(known.size, 1.0), "|", color=INK, ms=11, alpha=0.5, label="images of the reference")
        axes.plot(mine, np.zeros(mine.size), "|", color=REAL, ms=11, alpha=0.5, label="images of the data")
        axes.plot(odd, np.zeros(odd.size), "o", color=BOGUS, ms=6, mec="white", label="strange")
        side = 1 if odd[0] < np.nanmedian(known) else -1  # into the panel
        axes.annotate(strange[0].image.name, (odd[0], 0), (6 * side, 7), textcoords="offset points", fontsize=8,
                      ha="left" if side > 0 else "right")  # fmt: skip
        everything = np.r_[known, mine]
        if np.nanmin(everything) > 0 and np.nanmax(everything) > 8 * np.nanmin(everything):
            axes.set_xscale("log")
        axes.set_ylim(-0.7, 1.7)
        axes.set_yticks((0, 1), ("data", "reference"), fontsize=8)
        finish(axes, "", "", legend=None)
        axes.set_title(column, loc="left", fontsize=9.5)
    return figure_uri(png_of(figure))


def _curve(number: int, shown: Sequence[DriftTest], data: ImageCounts, reference: ImageCounts) -> bytes:
    bins = data.columns[number]
    figure, (axes,) = axes_of(width=6.4, height=4.0)

    def cumulative(counts: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(counts[:-1])[:-1] / max(counts[:-1].sum(), 1))

    total = reference.of(number).sum(axis=0)
    axes.plot(
        bins.edges, cumulative(total), color="#1c2128", lw=2.4, label=f"reference, {len(reference.images)} images"
    )
    for i, test in enumerate(shown):
        members = [
            k for k, image in enumerate(data.images)
            if test.night in ("", image.night) and test.chip in ("", image.chip)
        ]  # fmt: skip
        counts = data.of(number)[members].sum(axis=0)
        missing = counts[-1] / max(counts.sum(), 1)
        note = f", {100 * missing:.0f} % missing" if missing > 0.005 else ""
        # A curve that lies on the frame would be looked for in vain.
        ends = {"below": counts[0], "above": counts[-2]}
        for side, rows in ends.items():
            share = rows / max(counts[:-1].sum(), 1)
            note += f", {100 * share:.0f} % {side} all that is drawn" if share > 0.2 else ""
        label = f"{group_words(test.night, test.chip)}{note}{'' if test.drift else ' (no drift)'}"
        axes.plot(bins.edges, cumulative(counts), color=MODELS[i], ls=STYLES[i], lw=1.8, label=label)
    axes.set_ylim(0, 1)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    middle = float(np.median(np.abs(bins.edges)))
    if low > 0 and high > 30 * low:
        axes.set_xscale("log")
    elif max(abs(low), abs(high)) > 30 * max(middle, 1e-9):
        axes.set_xscale("symlog", linthresh=max(middle, 1e-3))
    finish(axes, bins.name, "share of the candidates below", title=bins.name, legend="best")
    return png_of(figure)
