"""One picture of why a candidate has its score: the triplet, what speaks for and against, and the measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.explain.explanation import Explanation
from gueststar.report.evaluation_style import BOGUS, GREY, INK, REAL
from gueststar.report.explain_numbers import NumberRow
from gueststar.report.explain_panels import (
    ROW,
    SOFT,
    STAMP,
    axes_at,
    deletion_panel,
    map_panels,
    numbers_panel,
    parts_panel,
    signed,
    text_at,
    triplet_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Example", "explain_figure"]

_WIDTH, _GAP = 15.6, 0.46  # in


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A training example beside the candidate: stamps (3, k, k) in sigma, its label and kind in words, distance."""

    cube: NDArray[np.float32]
    words: str
    real: bool | None
    distance: float


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

    gradients, ablation = explanation.gradients, explanation.ablation
    maps = [("occlusion", explanation.occlusion.pixels, "fall when left out", ablation.planes)]
    if gradients is not None:
        maps.insert(0, ("integrated gradients", gradients.pixels, "sum", gradients.planes))
    head = 1.15 + 0.2 * len(notes)
    body = max(0.35 + (STAMP + _GAP) * (1 + len(maps)), 3.7 + ROW * len(rows))
    figure = Figure(figsize=(_WIDTH, head + body + (2.1 if examples else 0.2)), facecolor="#ffffff")
    _heading(figure, explanation, title, model, notes)
    top = head + 0.3
    triplet_panels(figure, top, explanation)
    for words, pixels, sums, values in maps:
        top += STAMP + _GAP
        map_panels(figure, top, words, pixels, [f"{sums} {signed(value)}" for value in values])
    parts_panel(axes_at(figure, 10.75, head + 0.2, 1.9, 2.2), explanation)
    deletion_panel(axes_at(figure, 13.4, head + 0.2, 1.9, 2.2), explanation)
    numbers_panel(figure, head + 3.2, rows)
    if examples:
        _examples(figure, examples, looked_at, head + body)
    return figure


def _heading(figure: Figure, explanation: Explanation, title: str, model: str, notes: Sequence[str]) -> None:
    called, colour = ("real", REAL) if explanation.is_real else ("artifact", BOGUS)
    text_at(figure, 0.3, 0.3, title, fontsize=14, fontweight="bold", color=INK)
    text_at(
        figure, 0.3, 0.62, f"score {explanation.score:.4f}: {called}", fontsize=12.5, fontweight="bold", color=colour
    )
    rest = f"threshold {explanation.threshold:.3f}   {explanation.logit_text}   model {model}"
    text_at(figure, 2.9, 0.62, rest, fontsize=10.5, color=SOFT)
    for i, note in enumerate(notes):
        text_at(figure, 0.3, 0.92 + 0.2 * i, note, fontsize=9.5, color=SOFT)


def _examples(figure: Figure, examples: Sequence[Example], looked_at: int, top: float) -> None:
    """Nearest training examples as triplets."""
    from gueststar.plots import triplet_pixels

    words = f"Nearest of {looked_at:,} training examples in the network's features (science, reference, difference)"
    text_at(figure, 0.3, top + 0.2, words, fontsize=10.5, color=INK, fontweight="bold")
    step = (_WIDTH - 0.6) / max(len(examples), 6)
    for i, example in enumerate(examples):
        pixels = triplet_pixels(example.cube)
        width = step - 0.14
        axes = axes_at(figure, 0.3 + i * step, top + 0.65, width, width * pixels.shape[0] / pixels.shape[1])
        axes.imshow(pixels, origin="lower", interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        colour = GREY if example.real is None else REAL if example.real else BOGUS
        axes.spines[:].set_color(colour)
        axes.spines[:].set_linewidth(2)
        axes.set_title(example.words, fontsize=9, color=colour, loc="left", pad=4)
        axes.set_xlabel(f"distance {example.distance:.2f}", fontsize=8.5, color=SOFT, labelpad=3)
