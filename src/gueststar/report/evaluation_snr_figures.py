"""Figures of an evaluation by signal to noise: the histograms of the founding slides, and ROC curves by cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.evaluate import Threshold
from gueststar.realbogus.evaluation.strata import SNR_CUTS, Judged, rocs_of_cuts
from gueststar.report.evaluation_models import threshold_text
from gueststar.report.evaluation_results import ModelResults
from gueststar.report.evaluation_style import BOGUS, INK, MODELS, REAL, STYLES, axes_of, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["snr_figures"]


def snr_figures(
    real: NDArray[np.bool_], scores: NDArray[Any], snr: NDArray[Any], model: ModelResults
) -> Iterator[tuple[str, Figure]]:
    """Names and figures.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores, snr : ndarray, shape (n,)
        Of the model; |S/N|, NaN where unknown.
    model : ModelResults
    """
    yield "scores", _scores(real, scores, model.threshold)
    if np.isfinite(snr).any():
        yield "snr_histograms", _histograms(real, scores >= model.threshold, snr)
        yield "snr_scores", _by_strength(real, scores >= model.threshold, snr)
        if real.any() and not real.all():
            yield "snr_roc", _roc(Judged(real, scores, model.threshold), snr, model)


def _histograms(real: NDArray[np.bool_], called: NDArray[np.bool_], snr: NDArray[Any]) -> Figure:
    """All data, what the model calls real, and what of it is true and false."""
    figure, panels = axes_of(3, width=14.0, height=4.3)
    known = snr[np.isfinite(snr)]
    edges = np.geomspace(max(float(known.min()), 0.5), max(float(np.quantile(known, 0.999)), 50.0), 46)
    clipped = np.clip(snr, edges[0], edges[-1])
    views = (
        ("All data", ((~real, BOGUS, "artifacts"), (real, REAL, "reals"))),
        ("What the model calls real", ((called, INK, "called real"),)),
        (
            "True and false positives",
            ((called & ~real, BOGUS, "false positives"), (called & real, REAL, "true positives")),
        ),
    )
    for axes, (title, series) in zip(panels, views, strict=True):
        for rows, colour, words in series:
            values = clipped[rows & np.isfinite(snr)]
            bins = edges.tolist()
            axes.hist(values, bins=bins, histtype="stepfilled", fc=colour, alpha=0.2)
            axes.hist(values, bins=bins, histtype="step", ec=colour, lw=1.5, label=f"{words} ({int(rows.sum()):,})")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6)
        ticks = [tick for tick in (1, 2, 5, 10, 20, 40, 100, 200, 500, 1000) if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
        axes.minorticks_off()
        finish(axes, "|S/N| (the last bin: and more)", "candidates", title=title)
    return figure


def _roc(judged: Judged, snr: NDArray[Any], model: ModelResults) -> Figure:
    figure, (whole, log) = axes_of(2, width=11.2, height=4.9)
    n_bogus = int((~judged.real).sum())
    floor = 0.5 / max(n_bogus, 1)
    curve = model.curve
    series = rocs_of_cuts(judged, snr, SNR_CUTS)
    areas = {item.name: item for item in model.cuts}
    for axes in (whole, log):
        if curve is not None:
            axes.plot(np.maximum(curve.fpr, floor), curve.tpr, color=INK, lw=2.2, label=f"all, AUC {model.auc:.4f}")
        for i, (name, (fpr, tpr)) in enumerate(series.items()):
            item = areas[name]
            words = f"S/N {name}, AUC {item.auc:.4f} ({item.n_real:,} : {item.n_bogus:,})"
            axes.plot(np.maximum(fpr, floor), tpr, color=MODELS[i % 7], ls=STYLES[i % 7], lw=1.5, label=words,
                      drawstyle="steps-post")  # fmt: skip
    whole.set_xlim(-0.005, 0.3)
    whole.set_ylim(0.7, 1.005)
    log.set_xscale("log")
    log.set_xlim(floor, 1.0)
    log.set_ylim(0.0, 1.01)
    finish(whole, "false-positive rate, of the artifacts of the interval", "true-positive rate", title="ROC by S/N",
           legend="lower right")  # fmt: skip
    finish(log, "the same, logarithmic", "true-positive rate", legend=None)
    return figure


def _scores(real: NDArray[np.bool_], scores: NDArray[Any], threshold: Threshold) -> Figure:
    figure, (axes,) = axes_of()
    bins = np.linspace(0.0, 1.0, 51).tolist()
    for rows, colour, words in ((~real, BOGUS, "artifacts"), (real, REAL, "reals")):
        axes.hist(scores[rows], bins=bins, histtype="stepfilled", fc=colour, alpha=0.2)
        axes.hist(scores[rows], bins=bins, histtype="step", ec=colour, lw=1.5, label=f"{words} ({int(rows.sum()):,})")
    for limit in np.unique(threshold)[[0, -1]].tolist():
        axes.axvline(limit, color=INK, lw=1.1, ls="--")
    axes.plot([], [], color=INK, lw=1.1, ls="--", label=f"threshold {threshold_text(threshold)}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.6)
    axes.set_xlim(0.0, 1.0)
    finish(axes, "real/bogus score", "candidates", title="Scores of both classes", legend="upper center")
    return figure


def _by_strength(real: NDArray[np.bool_], called: NDArray[np.bool_], snr: NDArray[Any]) -> Figure:
    """Misses and false positives along the S/N, at the common threshold."""
    from gueststar.realbogus.evaluate import rate

    figure, (axes,) = axes_of()
    known = np.isfinite(snr)
    edges = [0.0, 5.0, 6.0, 7.0, 8.5, 10.0, 14.0, 20.0, 30.0, 40.0, 60.0, 100.0, np.inf]
    for rows, colour, words, miss in ((real, REAL, "reals missed", True), (~real, BOGUS, "artifacts that pass", False)):
        at, share, low, high = [], [], [], []
        for a, b in pairwise(edges):
            mine = rows & known & (snr >= a) & (snr < b)
            if mine.sum() >= 5:
                hits = int(called[mine].sum())
                found = rate(int(mine.sum()) - hits if miss else hits, int(mine.sum()))
                at.append(float(np.median(snr[mine])))
                share.append(100 * found.value)
                low.append(100 * (found.value - found.low))
                high.append(100 * (found.high - found.value))
        axes.errorbar(at, share, [low, high], fmt="o", ls="-", ms=4.5, lw=1.3, color=colour, label=words)
    axes.set_xscale("log")
    ticks = [tick for tick in (3, 5, 7, 10, 20, 40, 100, 200) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(-0.02, 110.0)
    axes.set_yticks([0, 0.1, 1, 10, 100], ["0", "0.1", "1", "10", "100"])
    finish(axes, "|S/N|", "share at the common threshold, %", title="Errors by S/N")
    return figure
