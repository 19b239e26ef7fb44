"""Studies in an evaluation: the training-size curve, and the arms of each study beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gueststar.realbogus.evaluation.studies import STUDY_METRICS, StudyTable
from gueststar.report.evaluation_style import MODELS, REAL, STYLES, axes_of, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["study_figures", "study_rows"]

_SHOWN = ("auc", "fpr_at_tpr_0.9", "fpr_at_tpr_0.98", "fnr_at_fpr_0.001")


def study_figures(studies: Sequence[StudyTable]) -> Iterator[tuple[str, Figure]]:
    """Names, as in 'study_0', and figures; nothing for a study of one arm."""
    for number, study in enumerate(studies):
        if len(study.arms) > 1:
            yield f"study_{number}", _by_size(study) if study.by_size else _by_arm(study)


def study_rows(studies: Sequence[StudyTable]) -> pa.Table:
    """All arms of all studies, one row each."""
    rows = []
    for study in studies:
        for arm in study.arms:
            row: dict[str, str | int | float] = {"study": study.name, "arm": arm.arm, "seeds": arm.seeds}
            row["n_train"] = arm.n_train
            for name in STUDY_METRICS:
                spread = arm.metrics.get(name)
                for of in ("mean", "low", "high"):
                    row[f"{name}_{of}"] = getattr(spread, of) if spread is not None else float("nan")
            rows.append(row)
    return pa.Table.from_pylist(rows)


def _by_size(study: StudyTable) -> Figure:
    """Measures against the number of rows that were trained on."""
    figure, (left, right) = axes_of(2, width=11.2, height=4.3)
    arms = sorted(study.arms, key=lambda arm: arm.n_train)
    sizes = [arm.n_train for arm in arms]
    for i, name in enumerate(name for name in STUDY_METRICS if name in arms[0].metrics):
        mean = np.array([arm.metrics[name].mean for arm in arms])
        spread = np.array([[arm.metrics[name].low, arm.metrics[name].high] for arm in arms]).T
        axes, scale = (left, 1.0) if name == "auc" else (right, 100.0)
        axes.errorbar(sizes, scale * mean, scale * np.abs(spread - mean), fmt="o", ls=STYLES[i % 7], ms=5, lw=1.5,
                      color=MODELS[i % 7], label=STUDY_METRICS[name])  # fmt: skip
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.minorticks_off()
    finish(left, "rows trained on", "AUC", title=study.title, legend=None)
    finish(right, "rows trained on", "rate, %")
    return figure


def _by_arm(study: StudyTable) -> Figure:
    """One panel for each measure, the arms top down; bars reach from the smallest to the largest seed."""
    names = [name for name in _SHOWN if name in study.arms[0].metrics]
    figure, panels = axes_of(len(names), width=3.3 * len(names) + 1.6, height=1.5 + 0.36 * len(study.arms))
    at = np.arange(len(study.arms))
    for axes, name in zip(panels, names, strict=True):
        scale = 1.0 if name == "auc" else 100.0
        mean = np.array([arm.metrics[name].mean for arm in study.arms])
        spread = np.array([[arm.metrics[name].low, arm.metrics[name].high] for arm in study.arms]).T
        axes.errorbar(scale * mean, at, xerr=scale * np.abs(spread - mean), fmt="o", ms=6, lw=1.5, color=REAL)
        axes.set_yticks(at, [arm.arm for arm in study.arms] if axes is panels[0] else [""] * len(at))
        axes.set_ylim(len(at) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=5)
        finish(axes, "AUC" if name == "auc" else "%", "", title=STUDY_METRICS[name], legend=None)
    return figure
