"""Table of the chain where stars cover the sky, from ``docs/measured/crowds.json``."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["crowds"]


def crowds() -> str:
    """Return the figures of ``benchmarks/crowds.py`` as a part of a page."""
    report = read_measured("crowds.json")
    if report is None:
        return "Not measured yet.\n"
    area = report["megapixels"]
    table = list_table(
        ("True stars per Mpx", "Bright stars found", "``quality_crowding``", "Registration", "Transients found",
         "False alarms per Mpx"),
        [_row(list(rows), area) for _, rows in groupby(report["rows"], key=lambda row: row["density"])],
        widths=(16, 18, 16, 16, 18, 16),
    )  # fmt: skip
    seeds = sorted({row["seed"] for row in report["rows"]})
    return f"Program {report['version']}, seeds {', '.join(map(str, seeds))}.\n\n{table}\n"


def _row(rows: list[dict[str, Any]], area: float) -> tuple[str, ...]:
    """All pairs of one density."""
    total = {name: sum(row.get(name, 0) for row in rows) for name in ("bright_stars_found", "bright_stars")}
    done = [row for row in rows if "failed" not in row]
    stars = f"{np.mean([row['true_stars'] for row in rows]) / area:,.0f}"
    bright = f"{total['bright_stars_found']} of {total['bright_stars']}"
    if not done:
        return (stars, bright, "", "failed", "", "")
    crowding, rms = ([row[name] for row in done] for name in ("crowding", "rms_px"))
    found, there = (sum(row[name] for row in done) for name in ("transients_found", "transients"))
    alarms = sum(row["false_alarms"] for row in done) / (area * len(done))
    failed = "" if len(done) == len(rows) else f"; {len(rows) - len(done)} failed"
    return (
        stars, bright, f"{min(crowding):.2f} to {max(crowding):.2f}", f"{max(rms):.3f} px{failed}",
        f"{found} of {there}", f"{alarms:.1f}",
    )  # fmt: skip
