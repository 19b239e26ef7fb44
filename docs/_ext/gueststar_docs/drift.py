"""Table of how sure a warning of drift is, from ``docs/measured/drift.json``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["drift_figures"]

_WORDS = {
    "p <= 0.05": "tests with p up to 0.05, which are to be 5 %",
    "certain": "nights with a certain difference, which are to be 5 % at most",
    "warned": "nights warned of",
    "image called strange": "nights of which a good image is called strange",
    "found": "warned of",
    "three images": "the same change in three of the five images of a chip: warned of",
    "of these blamed": "of these, the first image named is one of the three",
    "other chips": "other chips warned of",
    "named": "the image is named",
    "a good image named": "a good image is named",
    "night warned of": "the whole night is warned of",
}


def drift_figures() -> str:
    """Return the figures of ``benchmarks/drift.py`` as a part of a page."""
    report = read_measured("drift.json")
    if report is None:
        return "Not measured yet.\n"
    options = report["options"]
    intro = (
        f"Version {report['version']}, seed {options['seed']}: {options['reference']} images of a reference, a night "
        f"of {options['chips']} chips with {options['images']} images each, {options['draws']} draws, and "
        f"{options['most_draws']} where it is close; {report['cpu_s']:.0f} s of one core in all.\n"
    )
    rows = [
        (arm if number == 0 else "", _WORDS[name], f"{100 * item['value']:.1f} %",
         f"{100 * item['low']:.1f} to {100 * item['high']:.1f} %", str(item["n"]))
        for arm, figures in report["found"].items()
        for number, (name, item) in enumerate(_made(figures))
    ]  # fmt: skip
    heads = ("Planted", "What is counted", "Share", "95 %", "Of")
    return intro + "\n" + list_table(heads, rows, widths=(24, 42, 10, 16, 8)) + "\n"


def _made(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, item) for name, item in figures.items() if item["n"]]
