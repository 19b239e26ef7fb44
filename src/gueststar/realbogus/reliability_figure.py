"""Picture of a calibration: the share of reals against the score, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gueststar.realbogus.calibrate import chance, population_weights, reliability
from gueststar.realbogus.recalibrate import Calibrated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reliability_figure"]

_BEFORE, _AFTER, _INK, _GREY = "#d55e00", "#0072b2", "#1c2128", "#8a939e"


def reliability_figure(made: Calibrated) -> Figure:
    """Draw share of reals against mean score, the distance of both, and the scores, of rows that were not fitted on.

    Both are for as many reals as artifacts: the shift to another prior is exact arithmetic and shows nothing.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot; ``figure.savefig(path)`` writes it.
    """
    from matplotlib.figure import Figure

    rows, card, old = made.judged, made.card, made.old
    weights = population_weights(rows.real.astype(np.int8), rows.snr, made.population)
    first = made.judged_before.logits
    curves = (
        ("before", _BEFORE, "s", made.before, chance(first, temperature=old.temperature, bias=old.bias)),
        ("after", _AFTER, "o", made.after, chance(rows.logits, temperature=card.temperature, bias=card.bias)),
    )
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
    middle.axhline(0.0, color=_GREY, lw=1, ls="--")
    for name, colour, marker, error, scores in curves:
        mean, share, spread = reliability(rows.real, scores, weights)
        label = f"{name}: ECE {error.ece:.4f} ({error.low:.4f} to {error.high:.4f})"
        style = {"color": colour, "marker": marker, "ms": 4, "lw": 1, "capsize": 2}
        left.errorbar(mean, share, yerr=spread, label=label, **style)
        logit = np.log(np.clip(mean, 1e-6, None)) - np.log(np.clip(1 - mean, 1e-6, None))
        middle.errorbar(logit, share - mean, yerr=spread, **style)
        right.hist(scores, bins=np.linspace(0, 1, 41), weights=weights, histtype="step", color=colour, lw=1.2)
    left.set(xlabel="mean score", ylabel="share of reals", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    middle.set(xlabel="log odds of the mean score", ylabel="share of reals less score")
    right.set(xlabel="score", ylabel="rows (weighted)", yscale="log", xlim=(0, 1))
    left.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (left, middle, right):
        axes.tick_params(labelsize=8.5, colors=_INK)
        axes.spines[["top", "right"]].set_visible(False)
    where = "as many reals as artifacts" + (" at every S/N" if made.population == "snr" else "")
    title = f"{card.name} {card.version}: {rows.real.size} rows of {made.after.images} images not fitted on, {where}"
    figure.suptitle(title, fontsize=10, color=_INK)
    return figure
