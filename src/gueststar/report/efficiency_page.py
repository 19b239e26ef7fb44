"""The efficiency of a run as a page, figures and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Row, Table

from gueststar import __version__
from gueststar.efficiency.curves import (
    AXES,
    BRIGHT_SNR,
    Curve,
    curve_of,
    group_shares,
    limit_table,
    loss_table,
    used,
    with_class,
)
from gueststar.efficiency.losses import STEPS
from gueststar.efficiency.sources import TRANSIENT_KINDS
from gueststar.night.folders import replace_file, write_bytes
from gueststar.night.products import write_table
from gueststar.realbogus.audit.missed_steps import STEP_WORDS
from gueststar.report.efficiency_charts import curve_chart, interval_text, limit_text
from gueststar.report.efficiency_figures import curve_figures
from gueststar.report.known_sources import KnownSources, read_known_sources
from gueststar.report.lost_pictures import lost_pictures
from gueststar.types import Mask

__all__ = ["ORIGINS", "EfficiencyReport", "write_efficiency"]

ORIGINS = {"artificial": "Artificial reals", "simulated": "Simulated transients"}


@dataclass(frozen=True, slots=True, eq=False)
class EfficiencyReport:
    """What was written, and the numbers in it.

    Parameters
    ----------
    page : Path
        efficiency.html.
    sources : Table
        The rows of efficiency.parquet, those that do not count among them.
    limits : Table
        See `gueststar.efficiency.curves.limit_table`.
    losses : Table
        See `gueststar.efficiency.curves.loss_table`.
    notes : tuple of str
        What was left out and why.
    """

    page: Path
    sources: Table
    limits: Table
    losses: Table
    notes: tuple[str, ...]


def write_efficiency(
    run: str | Path,
    out: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    kinds: Sequence[str] = TRANSIENT_KINDS,
    faintest_snr: float = 3.0,
    radius_px: float | None = None,
    top: int = 8,
) -> EfficiencyReport:
    """Measure what a run finds and where it loses the rest, and write a page about it.

    Parameters
    ----------
    run : path
        Folder of a run.
    out : path, optional
        Folder to write efficiency.html, efficiency.parquet, efficiency.json and figures into; ``efficiency`` in the
        folder of the run when left out.
    truth : path, optional
        truth.parquet of the simulated night that was run, or its folder.
    kinds : sequence of str
        Simulated sources that are wanted.
    faintest_snr : float
        Simulated changes with less than this S/N are left out.
    radius_px : float, optional
        Largest distance of a simulated source and its candidate; that of the run when left out.
    top : int
        Lost sources shown of each step.

    Raises
    ------
    InputError
        See `read_known_sources`.
    OutputError
        When the folder cannot be written to.
    """
    run = Path(run)
    known = read_known_sources(
        run, truth=Path(truth) if truth is not None else None, kinds=kinds, faintest_snr=faintest_snr,
        radius_px=radius_px,
    )  # fmt: skip
    folder = Path(out) if out is not None else run / "efficiency"
    sources = used(known.table)
    limits, losses = limit_table(sources), loss_table(sources)
    curves = _curves(sources)
    settings = {"kinds": list(kinds), "faintest_snr": faintest_snr, "radius_px": radius_px}
    page = _page(known, sources, limits, losses, curves, truth=truth, top=top)
    replace_file(folder / "efficiency.html", page.encode())
    write_table(folder / "efficiency.parquet", known.table, provenance={"gueststar": __version__, **settings})
    replace_file(folder / "efficiency.json", _json(known, limits, losses, settings).encode())
    for name in (f"{origin}_{axis}.png" for origin in ORIGINS for axis in (*AXES, "chip")):
        (folder / name).unlink(missing_ok=True)
    for name, data in curve_figures(curves, {origin: group_shares(_of(sources, origin), "chip") for origin in curves}):
        write_bytes(folder / name, data)
    return EfficiencyReport(folder / "efficiency.html", known.table, limits, losses, tuple(known.notes))


def _of(sources: Table, origin: str) -> Table:
    return sources[np.asarray(sources["origin"]) == origin]


def _curves(sources: Table) -> dict[str, list[Curve]]:
    """Curves of each origin that has sources, those with values only."""
    curves = {}
    for origin in ORIGINS:
        members = _of(sources, origin)
        if len(members):
            made = [curve_of(members, axis) for axis in AXES.values()]
            # Electrons stand in where there is no zero point.
            calibrated = any(curve.axis.name == "surface_mag_arcsec2" and curve.n for curve in made)
            curves[origin] = [c for c in made if c.n and not (calibrated and c.axis.name == "surface_e_px")]
    return curves


def _page(
    known: KnownSources, sources: Table, limits: Table, losses: Table, curves: dict[str, list[Curve]], *,
    truth: str | Path | None, top: int,
) -> str:  # fmt: skip
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    facts = {
        "run": known.run, "version": __version__, "name": known.run.get("night", known.out.name).split("/")[-1],
        "truth": Path(truth).name if truth is not None else "", "notes": known.notes, "searched": known.searched,
        "lost_frames": known.lost_frames, "n": len(sources), "n_real": int(np.asarray(sources["real"]).sum()),
        "origins": [(origin, ORIGINS[origin], len(_of(sources, origin))) for origin in curves],
        "cards": _cards(limits), "losses": _loss_rows(losses),
        "steps": [step for step in STEPS if losses[step].sum()], "step_words": STEP_WORDS,
        "lost": _lost_totals(losses), "flags": _flags(sources), "limits": _limit_rows(limits),
        "bright": BRIGHT_SNR, "examples": lost_pictures(known.out, sources, most=top), "words_of": words_of,
        "charts": [
            (ORIGINS[origin], [curve_chart(curve) for curve in members])
            for origin, members in curves.items()
        ],
        "groups": _groups(sources, list(curves)), "limit": limit_text,
    }  # fmt: skip
    return environment.get_template("efficiency.html.j2").render(facts)


def _cards(limits: Table) -> list[dict[str, str]]:
    """The limits that matter most, for the head of the page."""
    cards = []
    for origin, words in ORIGINS.items():
        for axis, unit in (("snr", "S/N"), ("mag", "mag")):
            rows = [
                row
                for row in limits
                if (row["origin"], row["class"], row["axis"], row["series"]) == (origin, "all", axis, "real")
            ]
            if rows:
                half, nine = (limit_text(row["value"], row["range_low"], row["range_high"], scale=axis) for row in rows)
                more = f"90 % at {unit} {nine}" if nine != "not reached" else "90 % is not reached"
                cards.append(
                    {
                        "value": f"{unit} {half}",
                        "words": f"50 % of the {words.lower()} found and scored real",
                        "small": f"{more}; plateau {100 * rows[0]['plateau']:.0f} %",
                    }
                )
    return cards


def _loss_rows(losses: Table) -> list[dict[str, Any]]:
    rows = []
    for row in losses:
        n = max(int(row["n"]), 1)
        parts = [(step, int(row[step]), 100.0 * int(row[step]) / n) for step in ("real", *STEPS)
                 if step == "real" or losses[step].sum()]  # fmt: skip
        rows.append({"origin": str(row["origin"]), "name": str(row["class"]) or "on lost frames", "n": int(row["n"]),
                     "parts": parts})  # fmt: skip
    return rows


def _lost_totals(losses: Table) -> list[tuple[str, int, float]]:
    total = max(int(np.sum(losses["n"])), 1)
    return [
        (step, int(np.sum(losses[step])), 100.0 * int(np.sum(losses[step])) / total)
        for step in STEPS
        if losses[step].sum()
    ]


def _flags(sources: Table) -> list[tuple[str, int]]:
    """How many of those lost at the mask lie on which flag; one source may have several."""
    masked = np.asarray(sources["mask_flags"])[np.asarray(sources["lost_at"]) == "mask"]
    counts: Counter[str] = Counter()
    for flag in Mask:
        counts[str(flag.name)] += int((masked & int(flag) != 0).sum())
    return [(name.lower().replace("_", " "), n) for name, n in counts.most_common() if n]


def _limit_rows(limits: Table) -> list[dict[str, Any]]:
    """One row for each origin, class and axis, with all its limits as text."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in limits:
        key = tuple(str(row[name]) for name in ("origin", "class", "axis"))
        scale = AXES[key[2]].scale or "snr"
        entry = rows.setdefault(key, {"origin": ORIGINS[key[0]], "name": key[1], "axis": AXES[key[2]].short,
                                      "n": int(row["n"]), "cells": {}})  # fmt: skip
        entry[f"plateau_{row['series']}"] = float(row["plateau"])
        entry["cells"][f"{row['series']} {100 * row['level']:.0f}"] = (
            limit_text(row["value"], row["range_low"], row["range_high"], scale=scale),
            interval_text(*sorted((row["low"], row["high"])), scale=scale),
        )
    return list(rows.values())


def _groups(sources: Table, origins: Sequence[str]) -> list[tuple[str, str, list[Any]]]:
    """Shares by chip, and by placement or kind, of each origin that has more than one of them."""
    groups = []
    labelled = with_class(sources)
    for origin in origins:
        members = _of(labelled, origin)
        for column, word in (("class", "placement" if origin == "artificial" else "kind"), ("chip", "chip")):
            # Artificial reals of lost frames have no placement, and files that cannot be read no chip.
            shares = [share for share in group_shares(members, column) if share.name]
            if len(shares) > 1:
                groups.append((ORIGINS[origin], word, shares))
    return groups


def words_of(row: Row) -> str:
    """What is known of a lost source, for its caption."""
    parts = []
    if np.isfinite(row["snr_difference"]):
        parts.append(f"{row['snr_difference']:.1f} in the difference")
    if np.isfinite(row["mag"]):
        parts.append(f"{row['mag']:.1f} mag")
    if np.isfinite(row["host_offset_r25"]):
        parts.append(f"{row['host_offset_r25']:.2f} R25 from its host")
    if np.isfinite(row["star_mag"]):
        parts.append("beside a star")
    if row["mask_flags"]:
        names = [str(flag.name).lower().replace("_", " ") for flag in Mask if int(row["mask_flags"]) & int(flag)]
        parts.append("flags: " + ", ".join(names))
    if np.isfinite(row["rb_score"]):
        parts.append(f"score {row['rb_score']:.3f}")
    return "; ".join(parts)


def _json(known: KnownSources, limits: Table, losses: Table, settings: dict[str, Any]) -> str:
    def plain(table: Table) -> list[dict[str, Any]]:
        rows = [dict(zip(table.colnames, row.as_void().item(), strict=True)) for row in table]
        return [
            {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
            for row in rows
        ]

    values = {
        "gueststar": __version__, "run": str(known.run.get("night", "")), "settings": settings,
        "frames_searched": known.searched,
        "frames_lost": [
            {"image": outcome.image, "status": outcome.status, "stage": outcome.stage, "reason": outcome.reason,
             "sources": n}
            for outcome, n in known.lost_frames
        ],
        "losses": plain(losses), "limits": plain(limits), "notes": known.notes,
    }  # fmt: skip
    return json.dumps(values, indent=1, allow_nan=False) + "\n"
