"""Figures of the studies that decided how the shipped model is made, from ``docs/measured/study_*.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import escape, heading, list_table

__all__ = ["STUDIES", "finetune_table", "study_results"]

#: Name of each study and its title on the page.
STUDIES = {
    "chips": "Chips: one model for each, or one for all",
    "chips_unseen": "Chips: as many rows as one has, and chips that were never seen",
    "contamination": "Wrong labels",
    "labels": "Older labels and newer",
    "size": "Size of the training set",
    "channels": "Planes, numbers, stamp widths",
    "baselines": "Published networks",
}
_METRICS = {"auc": "AUC", "fpr_at_tpr_0.9": "FPR at TPR 90 %", "fpr_at_tpr_0.98": "FPR at TPR 98 %"}


def study_results() -> str:
    """Return conclusions and figures of every study that was measured, as a part of a page."""
    parts = []
    for name, title in STUDIES.items():
        report = read_measured(f"study_{name}.json")
        if report is not None:
            parts.append(heading(title, "~") + "\n" + _study(report))
    return "\n".join(parts) if parts else "Not measured yet.\n"


def finetune_table() -> str:
    """Return the figures of ``benchmarks/finetune.py`` as a part of a page."""
    report = read_measured("finetune.json")
    if report is None:
        return "Not measured yet.\n"
    rows = []
    for i, arm in enumerate(report["arms"]):
        value, low, high = arm["auc"]
        gain = "" if i == 0 else "{:+.4f} ({:+.4f} to {:+.4f})".format(*arm["more_than_as_it_is"])
        rows.append((escape(arm["arm"]), str(arm["rows"]), f"{value:.4f} ({low:.4f} to {high:.4f})", gain))
    words = (
        f"Version {report['version']}, {report['n_real']} reals and {report['n_bogus']} artifacts of "
        f"{report['objects']} objects in {report['folds']} folds, {report['seeds']} seeds, at most "
        f"{report['epochs']} passes. AUC within folds, intervals of 95 % from drawing objects and seeds.\n\n"
    )
    return words + list_table(("Model", "Rows", "AUC", "More than the model as it is"), rows, widths=(30, 10, 30, 30))


def _study(report: Mapping[str, Any]) -> str:
    data, test, options = report["data"], report["test"], report["options"]
    seeds, passes = len(options["seeds"]), options["train"]["epochs"]
    lines = [
        f"Version {report['version']}; {data['rows']['train']:,} rows to train on, at most {passes} passes, "
        f"{seeds} seed{'s' if seeds > 1 else ''}; tested on {test['n_real']:,} reals and {test['n_bogus']:,} artifacts "
        f"of {test['images']} other images. Means over seeds, intervals of 95 %.\n",
    ]
    rows = [(escape(arm["arm"]), *(_cell(arm["metrics"].get(key), key) for key in _METRICS)) for arm in report["arms"]]
    lines.append(list_table(("Arm", *_METRICS.values()), rows, widths=(28, 24, 24, 24)))
    lines += [f"- {escape(text)}" for text in report["conclusions"]]
    return "\n".join(lines) + "\n"


def _cell(found: Mapping[str, float | None] | None, metric: str) -> str:
    if found is None or found["value"] is None:
        return ""
    numbers = [found[key] for key in ("value", "low", "high")]
    if metric == "auc":
        shown = [f"{x:.5f}" if x is not None else "?" for x in numbers]
        return f"{shown[0]} ({shown[1]} to {shown[2]})"
    shown = [f"{100 * x:.2f}" if x is not None else "?" for x in numbers]
    return f"{shown[0]} % ({shown[1]} to {shown[2]})"
