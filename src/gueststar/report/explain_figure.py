"""One picture of why a candidate has its score: the triplet, what speaks for and against, and the measured numbers.

Blue speaks for a real source and orange for an artifact, a pair that colour-blind readers tell apart; maps of one row
share one scale, as do the science and the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.explain.candidate import PLANES
from gueststar.realbogus.explain.explanation import Explanation
from gueststar.realbogus.explain.standard import Standard
from gueststar.report.evaluation_style import BOGUS, GREY, INK, REAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpecBase, SubplotSpec

__all__ = ["Example", "NumberRow", "explain_figure", "number_rows", "number_text"]

_SOFT, _BAND, _LIGHT = "#57606a", "#dfe5ec", "#e4e7eb"
_MISSING = "#c9a9d6"
_WORDS = {
    "snr": "S/N", "snr_aper/snr": "S/N in 1 FWHM / S/N", "fwhm": "FWHM (px)", "elongation": "elongation a/b",
    "dipole_separation": "dipole: separation (px)", "dipole_ratio": "dipole: flux ratio of lobes",
    "dipole_dchi2": "dipole: chi-square gained", "science_snr": "S/N in the science image",
    "reference_snr": "S/N in the reference", "mask_fraction": "flagged pixels, share",
    "fwhm/psf_fwhm": "FWHM / FWHM of the PSF", "psf_chi2": "chi-square of the PSF fit",
    "snr_beyond_shift": "S/N beyond a shifted star", "local_scatter": "local scatter of the difference",
}  # fmt: skip
_OTHERS = ("fwhm/psf_fwhm", "psf_chi2", "snr_beyond_shift", "local_scatter")


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A training example beside the candidate: stamps (3, k, k) in sigma, its label and kind in words, distance."""

    cube: NDArray[np.float32]
    words: str
    real: bool | None
    distance: float


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A measured number: its words, value, range of mean ± scatter in training, deviation from it, contribution.

    What is not known is NaN; `seen` tells whether the model is shown it.
    """

    words: str
    value: float
    low: float
    high: float
    deviation: float
    contribution: float
    seen: bool


def number_rows(
    explanation: Explanation, standard: Standard | None, columns: dict[str, float] | None = None
) -> list[NumberRow]:
    """Rows of the measured numbers, those that the model is shown first.

    Parameters
    ----------
    explanation : Explanation
    standard : Standard, optional
        What they were in training.
    columns : dict, optional
        Other measured numbers of the candidate.
    """
    names, m = explanation.candidate.names, len(explanation.candidate.names)
    unknown = np.full(m, np.nan)
    order = explanation.candidate.number_order
    low, high = (unknown, unknown) if standard is None else (standard.typical(-1.0)[order], standard.typical(1.0)[order])
    parts = explanation.ablation.numbers if explanation.gradients is None else explanation.gradients.numbers
    rows = [
        NumberRow(
            _WORDS.get(name, name), float(explanation.candidate.scalars[i]), float(low[i]), float(high[i]),
            float(explanation.deviations[i]), float(parts[i]), seen=True,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    given = columns or {}
    for name in _OTHERS:
        above, _, below = name.partition("/")
        if name in names or above not in given or (below and not given.get(below, 0) > 0):
            continue
        value = given[above] / (given[below] if below else 1.0)
        rows.append(NumberRow(_WORDS[name], value, *[float("nan")] * 4, seen=False))
    return rows


def number_text(value: float) -> str:
    """Three digits; a dash for no number."""
    return f"{value:.3g}".replace("-", "−") if np.isfinite(value) else "–"


def explain_figure(
    explanation: Explanation,
    rows: Sequence[NumberRow],
    *,
    title: str,
    model: str,
    notes: Sequence[str] = (),
    examples: Sequence[Example] = (),
    looked_at: int = 0,
) -> Figure:
    """Draw an explanation.

    Parameters
    ----------
    explanation : Explanation
    rows : sequence of NumberRow
        As `number_rows` makes them.
    title : str
        The candidate, in words.
    model : str
        Its name and version.
    notes : sequence of str
        Lines beneath the title.
    examples : sequence of Example
        Nearest training examples.
    looked_at : int
        How many they were chosen from.
    """
    from matplotlib.figure import Figure

    maps = [] if explanation.gradients is None else [("integrated gradients", explanation.gradients.pixels)]
    maps.append(("occlusion", explanation.occlusion.pixels))
    lines = 1 + len(maps)
    top, foot = 1.15 + 0.19 * len(notes), 1.95 if examples else 0.0
    height = top + 2.35 * lines + foot + 0.35 + (2.2 if len(maps) == 1 else 0.0)
    body = 2.35 * lines + (2.2 if len(maps) == 1 else 0.0)
    figure = Figure(figsize=(14.0, height), facecolor="#ffffff")
    _heading(figure, explanation, title, model, notes, height)
    upper, lower = 1 - top / height, 1 - (top + body) / height
    left = figure.add_gridspec(lines, 1, left=0.045, right=0.52, top=upper, bottom=lower + 0.03, hspace=0.16)
    _triplet(figure, left[0], explanation)
    for i, (words, pixels) in enumerate(maps, start=1):
        _map(figure, left[i], words, pixels)
    right = figure.add_gridspec(
        2, 2, left=0.69, right=0.985, top=upper - 0.01, bottom=lower + 0.05, hspace=0.32, wspace=0.3,
        height_ratios=(0.36, 0.64),
    )  # fmt: skip
    _parts(figure.add_subplot(right[0, 0]), explanation)
    _deletion(figure.add_subplot(right[0, 1]), explanation)
    _numbers(figure, right, rows)
    if examples:
        _examples(figure, examples, looked_at, top=lower - 0.55 / height, bottom=0.25 / height)
    return figure


def _heading(
    figure: Figure, explanation: Explanation, title: str, model: str, notes: Sequence[str], height: float
) -> None:
    called = "real" if explanation.is_real else "artifact"
    figure.text(0.02, 1 - 0.3 / height, title, fontsize=14, fontweight="bold", color=INK, va="center")
    words = f"score {explanation.score:.4f}: {called}"
    figure.text(0.02, 1 - 0.58 / height, words, fontsize=12, fontweight="bold",
                color=REAL if explanation.is_real else BOGUS, va="center")  # fmt: skip
    rest = f"threshold {explanation.threshold:.3f}   logit {explanation.logit:+.2f}   model {model}"
    figure.text(0.17, 1 - 0.58 / height, rest, fontsize=10.5, color=_SOFT, va="center")
    for i, note in enumerate(notes):
        figure.text(0.02, 1 - (0.82 + 0.19 * i) / height, note, fontsize=9.5, color=_SOFT, va="center")


def _diverging() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    made = LinearSegmentedColormap.from_list("real_artifact", ["#8a3a00", BOGUS, "#f7f7f7", REAL, "#003a5c"])
    made.set_bad(_MISSING)
    return made


def _row_of_axes(figure: Figure, place: SubplotSpec) -> tuple[list[Axes], list[Axes]]:
    """Three panels and two places for the bars of their colours."""
    inner = place.subgridspec(1, 6, width_ratios=(1, 1, 0.05, 0.16, 1, 0.05), wspace=0.06)
    panels = [figure.add_subplot(inner[0, i]) for i in (0, 1, 4)]
    bars = [figure.add_subplot(inner[0, i]) for i in (2, 5)]
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_color(GREY)
    return panels, bars


def _triplet(figure: Figure, place: SubplotSpec, explanation: Explanation) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import AsinhNorm

    with np.errstate(divide="ignore", invalid="ignore"):
        cube = explanation.candidate.cube / explanation.candidate.sigma[:, None, None]
    cube = np.where(np.isfinite(cube), cube, np.nan)
    panels, bars = _row_of_axes(figure, place)
    grey = colormaps["gray"].with_extremes(bad=_MISSING)
    top = max(10.0, float(np.nanpercentile(cube[:2], 99.8)) if np.isfinite(cube[:2]).any() else 0.0)
    middle = np.abs(cube[2][tuple(slice(n // 4, n - n // 4) for n in cube[2].shape)])
    reach = max(6.0, float(np.nanmax(middle)) if np.isfinite(middle).any() else 0.0)
    norms = [AsinhNorm(3.0, -4.0, top), AsinhNorm(3.0, -4.0, top), AsinhNorm(3.0, -reach, reach)]
    pictures = [
        panel.imshow(plane, origin="lower", cmap=grey, norm=norm, interpolation="nearest")
        for panel, plane, norm in zip(panels, cube, norms, strict=True)
    ]
    for panel, name in zip(panels, PLANES, strict=True):
        panel.set_title(name, fontsize=11, color=INK)
    for bar, picture, ticks in ((bars[0], pictures[0], _ticks(top)), (bars[1], pictures[2], _ticks(reach, both=True))):
        _bar(figure, bar, picture, ticks, "sky noise")
    panels[0].set_ylabel("pixels", fontsize=10.5, color=INK)
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
    made.outline.set_edgecolor(GREY)  # type: ignore[operator]
    axes.tick_params(labelsize=7.5, colors=_SOFT, length=2)
    axes.set_title(words, fontsize=7.5, color=_SOFT, loc="left", pad=4)


def _cross(axes: Axes, k: int, colour: str) -> None:
    """Four ticks around the centre, which leave it free."""
    c, inside, outside = (k - 1) / 2.0, 0.13 * k, 0.2 * k
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        axes.plot([c + x * inside, c + x * outside], [c + y * inside, c + y * outside], color=colour, lw=1.3)
    axes.set_xlim(-0.5, k - 0.5)
    axes.set_ylim(-0.5, k - 0.5)


def _map(figure: Figure, place: SubplotSpec, words: str, pixels: NDArray[np.float64]) -> None:
    panels, bars = _row_of_axes(figure, place)
    bars[0].set_axis_off()
    reach = max(float(np.percentile(np.abs(pixels), 99.8)), 1e-6)
    colours = _diverging()
    pictures = [
        panel.imshow(plane, origin="lower", cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
        for panel, plane in zip(panels, pixels, strict=True)
    ]
    for panel, plane in zip(panels, pixels, strict=True):
        panel.set_xlabel(f"sum {plane.sum():+.2f}".replace("-", "−"), fontsize=8.5, color=_SOFT, labelpad=2)
        _cross(panel, plane.shape[-1], GREY)
    panels[0].set_ylabel(words, fontsize=10.5, color=INK)
    _bar(figure, bars[1], pictures[0], None, "logit per px")


def _parts(axes: Axes, explanation: Explanation) -> None:
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
    axes.set_title(words, fontsize=8.5, color=_SOFT, loc="left")
    axes.set_xlabel("logit: ← artifact | real →", fontsize=9, color=INK)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(visible=True, axis="x", color=_LIGHT, lw=0.7)
    axes.set_axisbelow(True)


def _deletion(axes: Axes, explanation: Explanation) -> None:
    """How fast the logit falls, in the direction of what was decided."""
    colour = REAL if explanation.logit >= 0 else BOGUS
    sign = 1.0 if explanation.logit >= 0 else -1.0
    for curve, style, words in (
        (explanation.deletion, "-", "most important first"),
        (explanation.random_deletion, "--", "at random"),
    ):
        axes.plot(100 * curve.share, sign * curve.logit, style, color=colour if style == "-" else GREY, lw=1.8, label=words)
    axes.axhline(0, color=INK, lw=0.6)
    _plain(axes)
    axes.grid(visible=True, axis="y", color=_LIGHT, lw=0.7)
    axes.set_xlabel("pixels removed (%)", fontsize=9, color=INK)
    axes.set_ylabel("logit", fontsize=9, color=INK, labelpad=1)
    axes.set_title("does the map matter?", fontsize=8.5, color=_SOFT, loc="left")
    axes.legend(fontsize=7.5, frameon=False)


def _numbers(figure: Figure, right: GridSpecBase, rows: Sequence[NumberRow]) -> None:
    """Deviation of each number from training, and what it contributes, with the values as text."""
    place, shares = figure.add_subplot(right[1, 0]), figure.add_subplot(right[1, 1])
    y = np.arange(len(rows), dtype=float)
    place.axvspan(-1, 1, color=_BAND, lw=0)
    place.axvline(0, color=GREY, lw=0.8)
    known = np.array([np.isfinite(row.deviation) for row in rows], bool)
    at = np.array([row.deviation if np.isfinite(row.deviation) else 0.0 for row in rows])
    place.plot(at[known], y[known], "o", color=INK, ms=6)
    place.set_xlim(-5.4, 5.4)
    for i, row in enumerate(rows):
        text = number_text(row.value)
        band = f"  ({number_text(row.low)} … {number_text(row.high)})" if np.isfinite(row.low) else ""
        words = f"{row.words}" + ("" if row.seen else " *")
        place.text(-0.05, i, f"{words}\n", transform=place.get_yaxis_transform(), fontsize=8.6, color=INK, ha="right",
                   va="center", linespacing=0.9)  # fmt: skip
        place.text(-0.05, i, f"\n{text}{band}", transform=place.get_yaxis_transform(), fontsize=8.2, color=_SOFT,
                   ha="right", va="center", linespacing=0.9)  # fmt: skip
    place.set_yticks([])
    place.set_xlabel("scatters from the mean in training", fontsize=9, color=INK)
    place.set_title("value (mean ± scatter in training)", fontsize=8.5, color=_SOFT, loc="right")
    values = np.array([row.contribution if row.seen else 0.0 for row in rows])
    shares.barh(y, values, 0.6, color=[REAL if value >= 0 else BOGUS for value in values])
    shares.axvline(0, color=INK, lw=0.8)
    shares.set_yticks([])
    shares.set_xlabel("contribution to the logit", fontsize=9, color=INK)
    if any(not row.seen for row in rows):
        shares.set_title("* not shown to the model", fontsize=8.5, color=_SOFT, loc="right")
    for axes in (place, shares):
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _plain(axes)


def _examples(figure: Figure, examples: Sequence[Example], looked_at: int, *, top: float, bottom: float) -> None:
    """Nearest training examples as triplets."""
    from gueststar.plots import triplet_pixels

    words = f"Nearest of {looked_at:,} training examples in the network's features: science, reference, difference"
    figure.text(0.02, top + 0.045, words, fontsize=10.5, color=INK, fontweight="bold", va="center")
    grid = figure.add_gridspec(1, len(examples), left=0.02, right=0.985, top=top, bottom=bottom, wspace=0.06)
    for i, example in enumerate(examples):
        axes = figure.add_subplot(grid[0, i])
        axes.imshow(triplet_pixels(example.cube), origin="lower", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        colour = GREY if example.real is None else REAL if example.real else BOGUS
        axes.spines[:].set_color(colour)
        axes.spines[:].set_linewidth(2)
        axes.set_title(example.words, fontsize=9, color=colour, loc="left", pad=3)
        axes.set_xlabel(f"distance {example.distance:.2f}", fontsize=8, color=_SOFT, labelpad=2)
