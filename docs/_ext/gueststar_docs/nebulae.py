"""Table of the chain where a nebula fills the frame or the sky has patches, from ``docs/measured/nebulae.json``."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table

__all__ = ["nebulae"]


def nebulae() -> str:
    """Return the figures of ``benchmarks/nebulae.py`` as a part of a page."""
    report = read_measured("nebulae.json")
    if report is None:
        return "Not measured yet.\n"
    rows = report["rows"]
    latitudes = sorted({tuple(row["latitude"]) for row in rows})
    table = list_table(
        ("Sky (share of it)", *(f"Bright stars found, latitude {low:g} to {high:g}°" for low, high in latitudes),
         "FWHM over the true one", "Transients found", "False alarms per Mpx (scored real)", "Pairs rejected"),
        [
            _row(list(some), latitudes, report["megapixels"])
            for _, some in groupby(rows, key=lambda row: row["sky"])
        ],
        widths=(20, 15, 15, 14, 12, 14, 10),
    )  # fmt: skip
    seeds = sorted({row["seed"] for row in rows})
    pairs = len(seeds) * len(latitudes)
    return f"Program {report['version']}, seeds {', '.join(map(str, seeds))}, {pairs} pairs of each sky.\n\n{table}\n"


def _row(rows: list[dict[str, Any]], latitudes: list[tuple[float, ...]], area: float) -> tuple[str, ...]:
    """All pairs of one sky; of pairs that failed, only that they did."""
    sky, shares = rows[0]["sky"], [row["share_of_sky"] for row in rows]
    name = "plain"
    if "nebula_mag_arcsec2" in sky:
        name = f"nebula of {sky['nebula_mag_arcsec2']:g} mag ({min(shares):.2f} to {max(shares):.2f})"
    elif sky:
        name = f"patches ({sky['sky_structure']:g})"
    done = [row for row in rows if "failed" not in row]
    stars = []
    for latitude in latitudes:
        here = [row for row in done if tuple(row["latitude"]) == latitude]
        stars.append(" of ".join(str(sum(row[key] for row in here)) for key in ("bright_stars_found", "bright_stars")))
    if not done:
        return (name, *stars, "failed", "", "", "")
    widths = [row["fwhm"] / row["true_fwhm"] for row in done]
    found, there = (sum(row[key] for row in done) for key in ("transients_found", "transients"))
    alarms, real = (sum(row[key] for row in done) / (area * len(done)) for key in ("false_alarms", "scored_real"))
    rejected = sum(bool(row["rejected"]) for row in done)
    failed = f"; {len(rows) - len(done)} failed" if len(done) < len(rows) else ""
    return (
        name, *stars, f"{min(widths):.2f} to {max(widths):.2f}", f"{found} of {there}{failed}",
        f"{alarms:.1f} ({real:.1f})", f"{rejected} of {len(done)}",
    )  # fmt: skip
