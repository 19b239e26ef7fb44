"""Figures of an evaluation: curves with their operating points, and what they mean in a night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gueststar.realbogus.evaluation.chips import chip_name
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.evaluation.curves import Night
from gueststar.report.evaluation_results import ModelResults, Results
from gueststar.report.evaluation_style import BOGUS, GREY, INK, MODELS, REAL, STYLES, axes_of, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_figures"]


def curve_figures(results: Results, night: Night) -> Iterator[tuple[str, Figure]]:
    """Names and figures of all that needs no single rows; nothing for what needs a class that is missing."""
    models = [model for model in results.models if model.curve is not None]
    if models:
        yield "roc", _roc(results, models)
        yield "det", _det(results, models)
        yield "night", _night(models, night)
        yield "precision", _precision(models, night)
        yield "calibration", _calibration(models[0])
        yield "ranks", _ranks(models, night)
    if results.differences:
        yield "differences", _differences(results)
    if models and len(models[0].chips) > 1:
        yield "chips", _chips(models[0])


def _roc(results: Results, models: list[ModelResults]) -> Figure:
    figure, (whole, corner) = axes_of(2, width=11.2, height=4.9)
    # The corner that matters holds the false positives of every model at its threshold, and half as many again.
    reach = max(
        2.0 * max(item.at_threshold.fpr.value for item in models), 10.0 / models[0].at_threshold.fpr.trials, 1e-3
    )
    for axes in (whole, corner):
        for i, model in enumerate(models):
            _curve(axes, model, i, f"{model.name}, AUC {model.auc:.4f}")
        if results.snr_curve is not None:
            axes.plot(results.snr_curve.fpr, results.snr_curve.tpr, color=GREY, lw=1.1, ls=":",
                      label=f"|S/N| alone, AUC {results.auc_snr:.3f}")  # fmt: skip
        for model in models:
            at = model.at_threshold
            axes.plot(at.fpr.value, at.tpr.value, "o", ms=7, mfc="white", mec=INK, mew=1.5, zorder=6,
                      label="its threshold" if model is models[0] else None)  # fmt: skip
    whole.plot([0, 1], [0, 1], color="#d0d5db", lw=0.9, zorder=0)
    whole.set_xlim(-0.01, 1.0)
    whole.set_ylim(0.0, 1.01)
    finish(whole, "false-positive rate", "true-positive rate", title="ROC", legend="lower right")
    point = models[0].point("TPR 0.98").point
    corner.axhline(0.98, color=GREY, lw=0.9, ls="--")
    corner.annotate(
        f"TPR 0.98: FPR {100 * point.fpr.value:.2f} %, score {point.threshold:.3f}", (point.fpr.value, 0.98),
        xytext=(8, -16), textcoords="offset points", fontsize=8.5, color=INK,
    )  # fmt: skip
    floor = min(0.9, *(model.at_threshold.tpr.value - 0.03 for model in models))
    corner.set_xlim(0.0, min(max(reach, 1.4 * point.fpr.value), 1.0))
    corner.set_ylim(max(floor, 0.0), 1.002)
    finish(corner, "false-positive rate", "true-positive rate", title="the corner that matters", legend=None)
    return figure


def _curve(axes: Axes, model: ModelResults, i: int, label: str) -> None:
    curve = model.curve
    if curve is None:
        return
    axes.plot(curve.fpr, curve.tpr, color=MODELS[i % 7], ls=STYLES[i % 7], lw=1.9, label=label,
              drawstyle="steps-post")  # fmt: skip


def _det(results: Results, models: list[ModelResults]) -> Figure:
    figure, (axes,) = axes_of()
    low_x = low_y = 1.0
    for i, model in enumerate(models):
        curve = model.curve
        if curve is None:
            continue
        floor_x, floor_y = 0.5 / curve.n_bogus, 0.5 / curve.n_real
        low_x, low_y = min(low_x, floor_x), min(low_y, floor_y)
        axes.plot(np.maximum(curve.fpr, floor_x), np.maximum(1.0 - curve.tpr, floor_y), color=MODELS[i % 7],
                  ls=STYLES[i % 7], lw=1.9, label=model.name, drawstyle="steps-post")  # fmt: skip
        at = model.at_threshold
        axes.plot(max(at.fpr.value, floor_x), max(1.0 - at.tpr.value, floor_y), "o", ms=7, mfc="white", mec=INK,
                  mew=1.5, zorder=6)  # fmt: skip
    if results.snr_curve is not None:
        axes.plot(np.maximum(results.snr_curve.fpr, low_x), np.maximum(1.0 - results.snr_curve.tpr, low_y), color=GREY,
                  lw=1.1, ls=":", label="|S/N| alone")  # fmt: skip
    for wanted in (1e-2, 1e-3, 2e-4):
        if wanted > low_x:
            axes.axvline(wanted, color="#c3c9d1", lw=0.9, zorder=0)
    few = 10.0 / models[0].at_threshold.fpr.trials
    axes.axvspan(low_x, few, color="#eef1f5", zorder=0, label="fewer than 10 artifacts decide")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low_x, 1.0)
    axes.set_ylim(low_y, 1.05)
    finish(axes, "false-positive rate", "false-negative rate (missed reals)", title="Detection error trade-off")
    return figure


def _night(models: list[ModelResults], night: Night) -> Figure:
    figure, (axes,) = axes_of()
    for i, model in enumerate(models):
        curve = model.curve
        if curve is None:
            continue
        floor = 0.5 * night.artifacts / curve.n_bogus
        axes.plot(100 * curve.tpr, np.maximum(night.artifacts * curve.fpr, floor), color=MODELS[i % 7], lw=1.9,
                  ls=STYLES[i % 7], label=model.name)  # fmt: skip
        at = model.points[0]
        axes.plot(100 * at.point.tpr.value, max(at.false_positives, floor), "o", ms=7, mfc="white", mec=INK, mew=1.5,
                  zorder=6)  # fmt: skip
    for wanted in (90.0, 98.0):
        axes.axvline(wanted, color="#c3c9d1", lw=0.9, zorder=0)
    axes.set_yscale("log")
    axes.set_xlim(50.0, 100.2)
    finish(axes, "completeness, %", f"false positives in a night of {night.artifacts:,} artifacts",
           title="What passes in a night")  # fmt: skip
    return figure


def _precision(models: list[ModelResults], night: Night) -> Figure:
    figure, (axes,) = axes_of()
    for i, model in enumerate(models):
        curve = model.curve
        if curve is None:
            continue
        axes.plot(100 * curve.tpr, curve.purity(night), color=MODELS[i % 7], ls=STYLES[i % 7], lw=1.9,
                  label=f"{model.name}, in a night")  # fmt: skip
        axes.plot(100 * curve.tpr, curve.precision(), color=MODELS[i % 7], ls=STYLES[i % 7], lw=1.0, alpha=0.45,
                  label=f"{model.name}, in this sample")  # fmt: skip
        at = model.points[0]
        axes.plot(100 * at.point.tpr.value, at.purity, "o", ms=7, mfc="white", mec=INK, mew=1.5, zorder=6)
    axes.set_xlim(0.0, 100.5)
    axes.set_yscale("log")
    axes.set_ylim(max(0.3 * min(model.points[0].purity for model in models), 1e-5), 1.15)
    finish(axes, "completeness (recall), %", "purity (precision)",
           title=f"Precision-recall, {night.reals:g} reals among {night.artifacts:,} artifacts",
           legend="lower left")  # fmt: skip
    return figure


def _calibration(model: ModelResults) -> Figure:
    figure, (axes,) = axes_of()
    axes.plot([0, 1], [0, 1], color="#c3c9d1", lw=1.0, label="a chance that is true")
    curves = (
        (model.calibration, REAL, "o", "as in this sample"),
        (model.balanced, BOGUS, "s", "classes of equal weight"),
    )
    for curve, colour, mark, words in curves:
        if curve is None:
            continue
        x, y = ([getattr(item, name) for item in curve.bins] for name in ("score", "share"))
        errors = np.array(
            [[max(item.share - item.low, 0.0), max(item.high - item.share, 0.0)] for item in curve.bins]
        ).T
        axes.errorbar(x, y, errors, fmt=mark, ms=4.5, lw=1.2, color=colour, ls="-", alpha=0.9,
                      label=f"{words}: ECE {curve.ece:.4f}")  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "mean score", "share of reals", title=f"Calibration of {model.name}", legend="upper left")
    return figure


def _ranks(models: list[ModelResults], night: Night) -> Figure:
    figure, (axes,) = axes_of()
    for i, model in enumerate(models):
        axes.plot([rank.k for rank in model.night_ranks], [100 * rank.recall for rank in model.night_ranks], "o",
                  ls=STYLES[i % 7], ms=4.5, lw=1.7, color=MODELS[i % 7], label=model.name)  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(-1.0, 102.0)
    finish(axes, "best K candidates of a night that are looked at", "share of the night's reals among them, %",
           title=f"{night.reals:g} reals among {night.artifacts:,} artifacts", legend="lower right")  # fmt: skip
    return figure


def _differences(results: Results) -> Figure:
    pairs = list(dict.fromkeys((item.first, item.second) for item in results.differences))
    figure, panels = axes_of(len(METRICS), width=15.0, height=1.5 + 0.42 * len(pairs))
    for axes, (metric, (words, more)) in zip(panels, METRICS.items(), strict=True):
        for y, pair in enumerate(pairs):
            item = next(d for d in results.differences if (d.first, d.second) == pair and d.metric == metric)
            colour = GREY if not item.better else REAL if item.better == item.second else BOGUS
            axes.plot([100 * item.low, 100 * item.high], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(100 * item.difference, y, "o", ms=6, color=colour)
        axes.axvline(0.0, color=INK, lw=0.9)
        labels = [f"{second}\nagainst {first}" for first, second in pairs] if axes is panels[0] else [""] * len(pairs)
        axes.set_yticks(range(len(pairs)), labels)
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        finish(axes, f"difference x 100 ({'more' if more else 'less'} is better)", "", title=words, legend=None)
    return figure


def _chips(model: ModelResults) -> Figure:
    """Completeness of every chip at the common threshold, with its interval."""
    chips = [chip for chip in model.chips if chip.n_real]
    figure, (axes,) = axes_of(width=13.0, height=3.9)
    at: Any = np.arange(len(chips))
    share = np.array([100 * chip.tpr.value for chip in chips])
    errors = np.array([[100 * chip.tpr.low, 100 * chip.tpr.high] for chip in chips]).T - share
    axes.errorbar(at, share, np.abs(errors), fmt="o", ms=4, lw=1.1, color=REAL)
    if model.chip_summary is not None:
        axes.axhline(100 * model.chip_summary.median_tpr, color=INK, lw=1.0, label="median of the chips")
        axes.axhline(100 * model.chip_summary.median_tpr - 2.0, color=BOGUS, lw=1.0, ls="--", label="2 points below")
    names = [chip_name(chip.name) or chip.name for chip in chips]
    axes.set_xticks(at, names, rotation=90, fontsize=7 if len(chips) > 40 else 9)
    axes.set_xlim(-0.8, len(chips) - 0.2)
    finish(axes, "", "completeness, %", title="At the common threshold", legend="lower left")
    axes.tick_params(axis="x", labelsize=7 if len(chips) > 40 else 9)
    return figure
