"""Pictures of an evaluation: ROC curve with its operating points, and the scores of both classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.evaluate import Evaluation, evaluate, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["roc_figure"]

_REAL, _BOGUS, _INK, _GREY = "#0072b2", "#d55e00", "#1c2128", "#8a939e"
_STRATA = (((0.0, 20.0), "#56b4e9", "S/N < 20"), ((20.0, math.inf), "#009e73", "S/N > 20"))
_SMALL: dict[str, Any] = {"fontsize": 8.5, "color": _INK}


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    real: NDArray[np.bool_]
    scores: NDArray[np.float64]
    snr: NDArray[np.float64]
    result: Evaluation


def roc_figure(
    labels: NDArray[Any],
    scores: NDArray[Any],
    snr: NDArray[Any],
    *,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Draw the ROC curve on a logarithmic false-positive axis beside the histogram of the scores.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        1 real, 0 artifact.
    scores : ndarray, shape (n,)
        0..1.
    snr : ndarray, shape (n,)
        Signal to noise; splits the curve at 20 and gives the curve of S/N alone.
    threshold : float, optional
        Marked in both panels.
    title : str
        Of the whole figure.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot; ``figure.savefig(path)`` writes it.
    """
    from matplotlib.figure import Figure

    real = np.asarray(labels).astype(bool)
    strength = np.abs(np.asarray(snr, np.float64))
    scores = np.asarray(scores, np.float64)
    sample = _Sample(real, scores, strength, evaluate(real, scores, strength))
    figure = Figure(figsize=(9.2, 4.3), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.15, 1.0)})
    _draw_roc(left, sample, threshold)
    _draw_scores(right, sample, threshold)
    if title:
        figure.suptitle(title, fontsize=11, color=_INK, x=0.01, ha="left")
    return figure


def _draw_roc(axes: Axes, sample: _Sample, threshold: float | None) -> None:
    real, scores, snr, result = sample.real, sample.scores, sample.snr, sample.result
    floor = 0.5 / max(result.n_bogus, 1)
    curves = [(np.ones(real.size, bool), scores, _INK, f"all, AUC {result.auc:.4f}", 2.0)]
    for (low, high), colour, name in _STRATA:
        inside = (snr >= low) & (snr < high)
        stratum = next(item for item in result.strata if item.name == name)
        curves.append((inside, scores, colour, f"{name}, AUC {stratum.auc:.4f}", 1.3))
    curves.append((np.ones(real.size, bool), snr, _GREY, f"S/N alone, AUC {result.auc_snr:.3f}", 1.0))
    for rows, values, colour, name, width in curves:
        if real[rows].any() and not real[rows].all():
            fpr, tpr, _ = roc_curve(real[rows], values[rows])
            axes.plot(np.maximum(fpr, floor), tpr, color=colour, lw=width, label=name, drawstyle="steps-post")
    title = f"{result.n_real:,} reals, {result.n_bogus:,} artifacts"
    if threshold is not None and result.n_real and result.n_bogus:
        called = scores >= threshold
        x, y = max(float(called[~real].mean()), floor), float(called[real].mean())
        axes.plot(x, y, "o", ms=6, mfc="white", mec=_INK, mew=1.4, zorder=5)
        title += f"\nat threshold {threshold:.3f} (circle): TPR {100 * y:.1f} %, FPR {100 * called[~real].mean():.2f} %"
    axes.set_xscale("log")
    axes.set_xlim(floor, 1.0)
    axes.set_ylim(0.0, 1.01)
    axes.set_xlabel("false-positive rate")
    axes.set_ylabel("true-positive rate")
    axes.set_title(title, loc="left", **_SMALL)
    if axes.get_lines():
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8.5)
    _clean(axes)


def _draw_scores(axes: Axes, sample: _Sample, threshold: float | None) -> None:
    real, scores = sample.real, sample.scores
    bins = np.linspace(0.0, 1.0, 41).tolist()
    for rows, colour, name in ((~real, _BOGUS, "artifacts"), (real, _REAL, "reals")):
        axes.hist(scores[rows], bins=bins, histtype="stepfilled", fc=colour, alpha=0.18)
        axes.hist(scores[rows], bins=bins, histtype="step", ec=colour, lw=1.4, label=name)
    if threshold is not None:
        axes.axvline(threshold, color=_INK, lw=1.0, ls=(0, (4, 3)))
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("real/bogus score")
    axes.set_ylabel("candidates")
    axes.legend(loc="upper center", frameon=False, fontsize=8.5)
    _clean(axes)


def _clean(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.grid(visible=True, which="major", color="#e4e7eb", lw=0.6)
    axes.set_axisbelow(True)
