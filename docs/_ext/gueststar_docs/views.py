"""Table of what several looks of a model are worth, from ``docs/measured/views.json``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["views"]


def views() -> str:
    """Return the figures of ``benchmarks/views.py`` as a part of a page."""
    report = read_measured("views.json")
    if report is None:
        return "Not measured yet.\n"
    head = (
        f"Network of {report['model']}, program {report['version']}. Intervals of 95 % draw images, the same for all.\n"
    )
    return "\n".join([head, *(_part(found) for found in report["sets"])]) + "\n"


def _part(found: dict[str, Any]) -> str:
    """One test set."""
    words = (
        f"Test set ``{found['name']}``: {found['reals']:,} reals, {found['artifacts']:,} artifacts, "
        f"{found['images']} images; {100 * found['looked_at_again']:.1f} % of the artifacts are looked at again.\n"
    )
    table = list_table(
        ("Looks", "AUC", "FPR at TPR 98 %", "FPR at TPR 90 %", "Time for artifacts"),
        [
            (
                str(item["views"]),
                f"{item['auc']['value']:.5f}",
                _rate(item["fpr_at_0.98"]),
                _rate(item["fpr_at_0.9"]),
                f"{found['cost'][str(item['views'])]:.2f}",
            )
            for item in found["views"]
        ],
        widths=(10, 14, 34, 34, 14),
    )
    return f"{words}\n{table}"


def _rate(told: dict[str, Any]) -> str:
    """A rate in per cent with its interval, and the ratio to one look."""
    low, high = (100 * end for end in told["interval_95"])
    text = f"{100 * told['value']:.3f} % ({low:.3f} to {high:.3f})"
    if "ratio" not in told:
        return text
    low, high = told["ratio_95"]
    return f"{text}; {told['ratio']:.2f} ({low:.2f} to {high:.2f})"
