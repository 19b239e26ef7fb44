"""Table of how well the step of a missed real is named, from ``docs/measured/missed_steps.json``."""

from __future__ import annotations

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["missed_steps"]


def missed_steps() -> str:
    """Return the figures of ``benchmarks/missed_steps.py`` as a part of a page."""
    report = read_measured("missed_steps.json")
    if report is None:
        return "Not measured yet.\n"
    low, high = (f"{100 * value:.2f}" for value in report["wilson_95"])
    lines = [
        f"Version {report['gueststar']}, seed {report['seed']}, {report['images']} simulated pairs with "
        f"{report['n_each']} sources of each kind and a night of files: the step was right for "
        f"{report['step_right']} of {report['n']} missed "
        f"sources, {100 * report['share']:.2f} % (Wilson 95 %: {low} to {high} %), the reason for "
        f"{report['reason_right']}. Planted ones that were found all the same are not counted.\n",
        list_table(
            ("Lost by construction", "Sources", "Step right"),
            [(f"``{name}``", str(n), str(right)) for name, (n, right) in report["by_reason"].items()],
            widths=(40, 30, 30),
        ),
    ]
    return "\n".join(lines) + "\n"
