"""What each pass of a training reached: a table and a picture for the folder of the model."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gueststar.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gueststar.realbogus.trained import Epoch, Trained

__all__ = ["CURVES_FILE", "HISTORY_FILE", "history_figure", "write_history"]

HISTORY_FILE = "training.csv"
CURVES_FILE = "training.png"
_INK, _GREY, _TRAIN, _VALIDATION = "#1c2128", "#8a939e", "#e69f00", "#0072b2"
_WIDE = 5.0  # ratio of the largest to the smallest loss from which the axis is logarithmic
_REASONS = {
    "patience": "stopped: no better pass came within the patience",
    "epochs": "stopped: all passes were made",
}


def write_history(folder: str | Path, trained: Trained, *, title: str = "") -> None:
    """Write ``training.csv`` and ``training.png`` into a folder; files that are there are replaced.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    path = Path(folder)
    picture = history_figure(trained.history, trained.best_epoch, stopped=trained.stopped, title=title)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / HISTORY_FILE).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("pass", "train_loss", "validation_loss", "validation_auc", "learning_rate", "best"))
            for number, epoch in enumerate(trained.history):
                values = (epoch.train_loss, epoch.validation_loss, epoch.validation_auc, epoch.learning_rate)
                table.writerow((number + 1, *(f"{value:.6g}" for value in values), int(number == trained.best_epoch)))
        picture.savefig(path / CURVES_FILE)
    except OSError as error:
        raise OutputError(f"the curves of the training cannot be written to {path}: {error}", path=str(path)) from error


def history_figure(history: Sequence[Epoch], best: int, *, stopped: str = "", title: str = "") -> Figure:
    """Draw losses of training and validation, and the area under the ROC curve, over the passes.

    Parameters
    ----------
    history : sequence of Epoch
    best : int
        The pass whose weights are the model, from 0; marked.
    stopped : {'patience', 'epochs', ''}
        Why it ended; told.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.0), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    passes = np.arange(1, len(history) + 1)
    train = np.array([epoch.train_loss for epoch in history])
    validation = np.array([epoch.validation_loss for epoch in history])
    left.plot(passes, train, color=_TRAIN, lw=1.6, marker="o", ms=2.5, label="training, augmented and with dropout")
    left.plot(passes, validation, color=_VALIDATION, lw=1.8, marker="o", ms=2.5, label="validation")
    _mark(left, passes, validation, best)
    known = np.concatenate((train, validation))
    known = known[np.isfinite(known) & (known > 0)]
    if known.size and known.max() > _WIDE * known.min():
        left.set_yscale("log")
    left.set_ylabel("weighted cross-entropy")
    missed = np.array([1.0 - epoch.validation_auc for epoch in history])
    shown = np.where(missed > 0, missed, np.nan)
    right.plot(passes, shown, color=_VALIDATION, lw=1.8, marker="o", ms=2.5)
    _mark(right, passes, shown, best)
    if np.isfinite(shown).any():
        right.set_yscale("log")
    right.set_ylabel("1 − area under the ROC curve, validation")
    for axes in (left, right):
        _clean(axes, len(history))
    left.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8.5)
    if 0 <= best < len(history):
        epoch = history[best]
        reason = _REASONS.get(stopped, "")
        text = (
            f"best pass {best + 1} of {len(history)}: loss {epoch.validation_loss:.4g}, AUC {epoch.validation_auc:.5f}"
        )
        left.set_title("\n".join(line for line in (text, reason) if line), loc="left", fontsize=8.5, color=_INK)
    if title:
        figure.suptitle(title, fontsize=11, color=_INK, x=0.01, ha="left")
    return figure


def _mark(axes: Axes, passes: np.ndarray, values: np.ndarray, best: int) -> None:
    """A line and a circle at the best pass."""
    if 0 <= best < len(passes) and math.isfinite(values[best]):
        axes.axvline(float(passes[best]), color=_GREY, lw=1.0, ls=(0, (4, 3)), zorder=0)
        axes.plot(passes[best], values[best], "o", ms=8, mfc="none", mec=_INK, mew=1.5, zorder=5, label="best pass")


def _clean(axes: Axes, n: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("pass")
    axes.set_xlim(0.5, max(n, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.grid(visible=True, which="major", color="#e4e7eb", lw=0.6)
    axes.set_axisbelow(True)
