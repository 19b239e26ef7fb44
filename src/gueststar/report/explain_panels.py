"""Panels of the figure of an explanation: the triplet, maps of importance, and what planes and numbers contribute.

Blue speaks for a real source and orange for an artifact, a pair that colour-blind readers tell apart; maps of one row
share one scale, as do the science and the reference. Places are in inches from the upper left corner of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.explain.candidate import PLANES
from gueststar.realbogus.explain.explanation import Explanation
from gueststar.report.evaluation_style import BOGUS, GREY, INK, REAL
from gueststar.report.explain_numbers import NumberRow, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "ROW",
    "SOFT",
    "STAMP",
    "axes_at",
    "deletion_panel",
    "map_panels",
    "numbers_panel",
    "parts_panel",
    "signed",
    "text_at",
    "triplet_panels",
]

SOFT = "#57606a"  #: colour of what is said beside
STAMP, ROW = 2.55, 0.25  #: width of a stamp, height of a row of numbers, in
_BAND, _LIGHT = "#dfe5ec", "#e4e7eb"
_MISSING = "#c9a9d6"


def axes_at(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((x / wide, 1 - (y + height) / high, width / wide, height / high))


def text_at(figure: Figure, x: float, y: float, words: str, **style: Any) -> None:
    """Text at a place in inches from the upper left corner."""
    wide, high = figure.get_size_inches()
    figure.text(x / wide, 1 - y / high, words, va="center", **style)


def signed(value: float) -> str:
    """Two digits with the sign."""
    return f"{value:+.2f}".replace("-", "−")


def _diverging() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("real_artifact", ["#8a3a00", BOGUS, "#f7f7f7", REAL, "#003a5c"])


def _row_of_axes(figure: Figure, top: float) -> tuple[list[Axes], list[Axes]]:
    """Three panels and two places for the bars of their colours."""
    panels = [axes_at(figure, x, top, STAMP, STAMP) for x in (0.6, 3.25, 6.5)]
    bars = [axes_at(figure, x, top, 0.1, STAMP) for x in (5.85, 9.1)]
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_color(GREY)
    return panels, bars


def triplet_panels(figure: Figure, top: float, explanation: Explanation) -> None:
    """Science, reference and difference in units of the sky noise."""
    from matplotlib import colormaps
    from matplotlib.colors import AsinhNorm

    with np.errstate(divide="ignore", invalid="ignore"):
        cube = explanation.candidate.cube / explanation.candidate.sigma[:, None, None]
    cube = np.where(np.isfinite(cube), cube, np.nan)
    panels, bars = _row_of_axes(figure, top)
    grey = colormaps["gray"].with_extremes(bad=_MISSING)
    peak = max(10.0, float(np.nanpercentile(cube[:2], 99.8)) if np.isfinite(cube[:2]).any() else 0.0)
    middle = np.abs(cube[2][tuple(slice(n // 4, n - n // 4) for n in cube[2].shape)])
    reach = max(6.0, float(np.nanmax(middle)) if np.isfinite(middle).any() else 0.0)
    norms = [AsinhNorm(3.0, -4.0, peak), AsinhNorm(3.0, -4.0, peak), AsinhNorm(3.0, -reach, reach)]
    pictures = [
        panel.imshow(plane, origin="lower", cmap=grey, norm=norm, interpolation="nearest")
        for panel, plane, norm in zip(panels, cube, norms, strict=True)
    ]
    for panel, name in zip(panels, PLANES, strict=True):
        panel.set_title(name, fontsize=11, color=INK)
    for bar, picture, ticks in ((bars[0], pictures[0], _ticks(peak)), (bars[1], pictures[2], _ticks(reach, both=True))):
        _bar(figure, bar, picture, ticks, "sky σ")
    panels[0].set_ylabel("pixels\nsky σ", fontsize=10.5, color=INK)
    k = cube.shape[-1]
    panels[0].plot([1, 11], [1, 1], color="#ffffff", lw=3)
    panels[0].text(6, 2, "10 px", color="#ffffff", fontsize=8, ha="center", va="bottom")
    for panel in panels:
        _cross(panel, k, "#ffb000")


def _ticks(top: float, *, both: bool = False) -> list[float]:
    chosen = [value for value in (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4, 3e4, 1e5) if value <= top]
    chosen = chosen if len(chosen) <= 4 else chosen[:: -(-len(chosen) // 4)]
    return [*([-value for value in reversed(chosen)] if both else []), 0.0, *chosen]


def _bar(figure: Figure, axes: Axes, picture: Any, ticks: Sequence[float] | None, words: str) -> None:
    made = figure.colorbar(picture, cax=axes)
    if ticks is not None:
        made.set_ticks(list(ticks), labels=[f"{value:g}".replace("-", "−") for value in ticks])
        made.minorticks_off()
    made.outline.set_edgecolor(GREY)
    axes.tick_params(labelsize=7.5, colors=SOFT, length=2)
    axes.set_title(words, fontsize=7.5, color=SOFT, loc="left", pad=4)


def _cross(axes: Axes, k: int, colour: str) -> None:
    """Four ticks around the centre, which leave it free."""
    c, inside, outside = (k - 1) / 2.0, 0.13 * k, 0.2 * k
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        axes.plot([c + x * inside, c + x * outside], [c + y * inside, c + y * outside], color=colour, lw=1.3)
    axes.set_xlim(-0.5, k - 0.5)
    axes.set_ylim(-0.5, k - 0.5)


def map_panels(figure: Figure, top: float, words: str, pixels: NDArray[np.float64], below: Sequence[str]) -> None:
    """Maps (3, k, k) of what each pixel contributes to the logit, with a line beneath each."""
    panels, bars = _row_of_axes(figure, top)
    bars[0].set_axis_off()
    reach = max(float(np.percentile(np.abs(pixels), 99.8)), 1e-6)
    colours = _diverging()
    pictures = [
        panel.imshow(plane, origin="lower", cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
        for panel, plane in zip(panels, pixels, strict=True)
    ]
    for panel, text in zip(panels, below, strict=True):
        panel.set_xlabel(text, fontsize=9, color=SOFT, labelpad=3)
        _cross(panel, pixels.shape[-1], GREY)
    panels[0].set_ylabel(f"{words}\nlogit per px", fontsize=10.5, color=INK)
    _bar(figure, bars[1], pictures[0], None, "")
    for y, text, colour in ((1.045, "real", REAL), (-0.05, "artifact", BOGUS)):
        bars[1].text(
            0.0, y, text, transform=bars[1].transAxes, fontsize=9, fontweight="bold", color=colour, va="center"
        )


def parts_panel(axes: Axes, explanation: Explanation) -> None:
    """Contributions of planes and of the numbers, by both methods."""
    names = [*PLANES, "numbers"]
    ablation = [*explanation.ablation.planes, explanation.ablation.all_numbers]
    gradients = explanation.gradients
    y = np.arange(len(names), dtype=float)
    if gradients is not None:
        names.append("missing px")
        own = [*gradients.planes, gradients.numbers.sum(), gradients.missing.sum()]
        y = np.arange(len(names), dtype=float)
        axes.barh(y - 0.19, own, 0.36, color=[REAL if value >= 0 else BOGUS for value in own])
        axes.barh(y[:4] + 0.19, ablation, 0.36, facecolor="none",
                  edgecolor=[REAL if value >= 0 else BOGUS for value in ablation], hatch="////", lw=0.8)  # fmt: skip
        words = "filled: integrated gradients\nhatched: fall when left out"
    else:
        axes.barh(y, ablation, 0.6, facecolor="none",
                  edgecolor=[REAL if value >= 0 else BOGUS for value in ablation], hatch="////", lw=0.8)  # fmt: skip
        words = "fall of the logit when left out"
    axes.set_yticks(y, names, fontsize=9, color=INK)
    axes.invert_yaxis()
    _plain(axes)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_title(words, fontsize=8.5, color=SOFT, loc="left")
    axes.set_xlabel("logit: ← artifact | real →", fontsize=9, color=INK)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(visible=True, axis="x", color=_LIGHT, lw=0.7)
    axes.set_axisbelow(True)


def deletion_panel(axes: Axes, explanation: Explanation) -> None:
    """How fast the logit falls, in the direction of what was decided."""
    colour = REAL if explanation.logit >= 0 else BOGUS
    sign = 1.0 if explanation.logit >= 0 else -1.0
    for curve, style, line in ((explanation.deletion, "-", colour), (explanation.random_deletion, "--", GREY)):
        axes.plot(100 * curve.share, sign * curve.logit, style, color=line, lw=1.8)
    axes.axhline(0, color=INK, lw=0.6)
    _plain(axes)
    axes.grid(visible=True, axis="y", color=_LIGHT, lw=0.7)
    axes.set_xlabel("pixels removed (%)", fontsize=9, color=INK)
    axes.set_ylabel("logit", fontsize=9, color=INK, labelpad=1)
    axes.set_title("line: most important pixels first\ndashed: pixels at random", fontsize=8.5, color=SOFT, loc="left")


def numbers_panel(figure: Figure, top: float, rows: Sequence[NumberRow]) -> None:
    """Deviation of each number from training, and what it contributes, with the values as text."""
    height = ROW * len(rows)
    place, shares = axes_at(figure, 13.2, top, 1.1, height), axes_at(figure, 14.5, top, 0.9, height)
    place.axvspan(-1, 1, color=_BAND, lw=0)
    place.axvline(0, color=GREY, lw=0.8)
    for i, row in enumerate(rows):
        if np.isfinite(row.deviation):
            place.plot(row.deviation, i, "o", color=INK, ms=5.5)
        y = top + ROW * (i + 0.5)
        text_at(figure, 9.85, y, row.words + ("" if row.seen else " *"), fontsize=8.8, color=INK)
        text_at(figure, 11.95, y, number_text(row.value), fontsize=8.8, fontweight="bold", color=INK, ha="right")
        if np.isfinite(row.low):
            band = f"{number_text(row.low)} … {number_text(row.high)}"
            text_at(figure, 13.05, y, band, fontsize=8.2, color=SOFT, ha="right")
    for x, words in ((9.85, "measured number"), (11.95, "value"), (13.05, "in training")):
        side = "left" if x < 10 else "right"
        text_at(figure, x, top - 0.14, words, fontsize=8.5, color=SOFT, ha=side)
    if any(not row.seen for row in rows):
        text_at(figure, 9.85, top + height + 0.16, "* not shown to the model", fontsize=8.5, color=SOFT)
    text_at(figure, 13.05, top + height + 0.16, "mean ± scatter", fontsize=8.5, color=SOFT, ha="right")
    place.set_yticks([])
    place.set_xticks([-4, 0, 4])
    place.set_xlim(-5.4, 5.4)
    place.set_xlabel("scatters off mean", fontsize=9, color=INK)
    values = np.array([row.contribution if row.seen else 0.0 for row in rows])
    shares.barh(np.arange(len(rows)), values, 0.6, color=[REAL if value >= 0 else BOGUS for value in values])
    shares.axvline(0, color=INK, lw=0.8)
    shares.set_yticks([])
    reach = max(0.5, 1.1 * float(np.abs(values).max(initial=0.0)))
    shares.set_xlim(-reach, reach)
    shares.set_xlabel("logit", fontsize=9, color=INK)
    for axes in (place, shares):
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _plain(axes)
