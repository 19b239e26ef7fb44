"""Table of how many planted wrong labels are found, from ``docs/measured/label_suspects.json``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["label_suspects"]


def label_suspects() -> str:
    """Return the figures of ``benchmarks/label_suspects.py`` as a part of a page."""
    report = read_measured("label_suspects.json")
    if report is None:
        return "Not measured yet.\n"
    options, seeds = report["options"], report["seeds"]
    planted = ", ".join(str(seed["planted"]) for seed in seeds)
    lines = [
        f"Version {report['version']}; {len(seeds)} seeds from {options['first_seed']}, each with "
        f"{seeds[0]['rows']} rows of {report['images']} images ({seeds[0]['made_by']}); {planted} reals planted, "
        f"{100 * options['share']:g} % of the artifacts; {options['folds']} folds, {options['epochs']} passes, labels "
        f"taken as {options['labels']}. The mean over seeds, with intervals of 95 % that draw whole images and seeds. "
        f"The mark is {100 * report['mark']:g} % in 1.5 times their number.\n",
        list_table(
            ("Judged by", *(f"Found in the first {name} x" for name in next(iter(report["found"].values())))),
            [
                (report["words"][judge], *(_share(item) for item in shares.values()))
                for judge, shares in report["found"].items()
            ],
            widths=(40, 20, 20, 20),
        ),
    ]
    return "\n".join(lines) + "\n"


def _share(item: dict[str, Any]) -> str:
    ends = "no scatter" if item["low"] is None else f"{100 * item['low']:.1f} to {100 * item['high']:.1f}"
    return f"{100 * item['value']:.1f} % ({ends})"
