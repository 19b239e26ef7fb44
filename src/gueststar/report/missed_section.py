"""Missed reals as a section of a page, and as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Row

from gueststar import __version__
from gueststar.realbogus.audit.missed import MissedReals
from gueststar.realbogus.audit.missed_steps import REASONS, STEP_WORDS, STEPS
from gueststar.report.missed_pictures import missed_picture
from gueststar.types import Mask

__all__ = ["missed_page", "missed_section"]

_ORIGINS = {"artificial": "artificial reals", "simulated": "simulated transients", "listed": "listed transients"}
_MOST_ROWS = 500


def missed_section(run: str | Path, missed: MissedReals, *, most: int = 12) -> str:
    """The section as a fragment of HTML with its own style, for a page that has the style sheet of the reports.

    Parameters
    ----------
    run : path
        Folder of the run, which the pictures come from.
    missed : MissedReals
    most : int
        Pictures for each reason.
    """
    return _rendered("missed_section.html.j2", Path(run), missed, most)


def missed_page(run: str | Path, missed: MissedReals, *, most: int = 12) -> str:
    """The section as a page that needs nothing beside it; parameters as for `missed_section`."""
    return _rendered("missed.html.j2", Path(run), missed, most)


def _rendered(template: str, run: Path, missed: MissedReals, most: int) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    rows = _ranked(missed)
    facts: dict[str, Any] = {
        "version": __version__, "facts": missed.facts, "notes": missed.notes, "m": missed,
        "origins": _origins(missed), "chart": _chart(missed), "step_words": STEP_WORDS,
        "reason_words": {reason: words for reason, (_, words) in REASONS.items()},
        "steps": _step_rows(missed), "rows": [_table_row(row) for row in rows[:_MOST_ROWS]], "n_rows": len(rows),
        "galleries": _galleries(run, missed, most), "transients": _transients(missed), "percent": _percent,
    }  # fmt: skip
    return environment.get_template(template).render(facts)


def _ranked(missed: MissedReals) -> list[Row]:
    """Missed rows, the most significant first; those of unknown significance last."""
    table = missed.missed
    return [table[int(i)] for i in np.argsort(-np.nan_to_num(_significance(table), nan=-1.0), kind="stable")]


def _significance(table: Any) -> Any:
    """S/N in the difference, else that in the science image."""
    difference = np.asarray(table["snr_difference"], np.float64)
    return np.where(np.isfinite(difference), difference, np.asarray(table["snr"], np.float64))


def _origins(missed: MissedReals) -> list[tuple[str, int, int]]:
    origin = np.asarray(missed.sources["origin"])
    lost = np.asarray(missed.sources["lost_at"]) != ""
    return [
        (words, int((origin == name).sum()), int((lost & (origin == name)).sum()))
        for name, words in _ORIGINS.items()
        if (origin == name).any()
    ]


def _step_rows(missed: MissedReals) -> list[dict[str, Any]]:
    return [
        {
            "origin": _ORIGINS[count.origin], "step": count.step, "k": count.share.k, "n": count.share.n,
            "share": _percent(count.share.fraction),
            "interval": " – ".join(_percent(value) for value in count.share.interval),
            "reasons": [(REASONS[reason][1] if reason in REASONS else reason, k) for reason, k in count.reasons],
        }
        for count in missed.steps
    ]  # fmt: skip


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if np.isfinite(value) else "–"


def _chart(missed: MissedReals) -> str:
    """Bars of the number lost at each step, of all origins, as inline SVG."""
    lost = np.asarray(missed.missed["lost_at"])
    counts = [(step, int((lost == step).sum())) for step in STEPS]
    counts = [(step, n) for step, n in counts if n]
    if not counts:
        return ""
    most, left, width, line = max(n for _, n in counts), 110, 620, 26
    parts = []
    for i, (step, n) in enumerate(counts):
        y, length = 6 + i * line, (width - left - 90) * n / most
        share = f"{100 * n / len(lost):.0f} %"
        parts.append(
            f'<text class="label" x="{left - 8}" y="{y + 14}" text-anchor="end">{step}</text>'
            f'<rect class="bar {step}" x="{left}" y="{y}" width="{max(length, 1):.1f}" height="18" rx="2">'
            f"<title>{escape(STEP_WORDS[step])}</title></rect>"
            f'<text class="label" x="{left + length + 6:.1f}" y="{y + 14}">{n} ({share})</text>'
        )
    return (
        f'<svg viewBox="0 0 {width} {12 + line * len(counts)}" role="img" '
        f'aria-label="Missed reals by the step that lost them">{"".join(parts)}</svg>'
    )


def _table_row(row: Row) -> dict[str, Any]:
    return {
        "source": str(row["name"]) or f"{row['kind']}".replace("_", " "), "image": str(row["image"]),
        "chip": str(row["chip"]), "x": _number(row["x"], 1), "y": _number(row["y"], 1),
        "snr": _number(_significance(row), 1),
        "mag": _number(row["mag"], 2), "step": str(row["lost_at"]), "why": str(row["lost_why"]),
        "peak": _number(row["peak_snr"], 2), "score": _number(row["rb_score"], 3), "setting": str(row["setting"]),
        "remedy": str(row["remedy"]), "failed": _yes(row["on_failed"], row["failed_known"]),
        "host": _yes(row["on_host"], row["host_known"]),
    }  # fmt: skip


def _number(value: Any, digits: int) -> str:
    return f"{float(value):.{digits}f}" if np.isfinite(float(value)) else ""


def _yes(value: Any, known: Any) -> str:
    return ("yes" if value else "no") if known else "unknown"


def _galleries(run: Path, missed: MissedReals, most: int) -> list[dict[str, Any]]:
    """For each reason the most significant ones, those with a picture first."""
    made = []
    ranked = _ranked(missed)
    for reason, (step, words) in REASONS.items():
        rows = [row for row in ranked if row["lost_why"] == reason and row["status"] != "outside"]
        if not rows or reason in ("failed", "outside"):
            continue
        rows.sort(key=lambda row: row["origin"] == "artificial" and row["stamp"] < 0 and row["status"] == "injected")
        figures = []
        for row in rows[:most]:
            uri, shown = missed_picture(run, row)
            figures.append({**_table_row(row), "uri": uri, "shown": shown, "words": _words(row)})
        made.append({"step": step, "reason": reason, "words": words, "n": len(rows), "figures": figures})
    order = {step: i for i, step in enumerate(STEPS)}
    return sorted(made, key=lambda gallery: order[gallery["step"]])


def _words(row: Row) -> str:
    """The numbers that name the step of a source."""
    parts = []
    if np.isfinite(row["snr_difference"]):
        parts.append(f"S/N {row['snr_difference']:.1f} expected")
    if np.isfinite(row["peak_snr"]):
        parts.append(f"{row['peak_snr']:.2f} at its peak")
    if np.isfinite(row["beside_px"]):
        parts.append(f"{row['beside_px']:.1f} px to what holds its light")
    if np.isfinite(row["rb_score"]):
        parts.append(f"score {row['rb_score']:.3f}")
    if np.isfinite(row["local_scatter"]):
        parts.append(f"scatter around {row['local_scatter']:.2f}")
    if np.isfinite(row["residual_snr"]):
        parts.append(f"residual before {row['residual_snr']:.1f}")
    if row["lost_at"] == "mask" and row["mask_flags"]:
        names = [str(flag.name).lower().replace("_", " ") for flag in Mask if int(row["mask_flags"]) & int(flag)]
        parts.append("flags: " + ", ".join(names))
    if row["gate_reason"]:
        parts.append(str(row["gate_reason"]))
    if row["otherwise"]:
        parts.append("without the gate: " + str(row["otherwise"]))
    return "; ".join(parts)


def _transients(missed: MissedReals) -> list[dict[str, Any]]:
    table: Sequence[Row] = missed.transients
    return [
        {
            "name": str(row["name"]), "ra": f"{row['ra']:.5f}", "dec": f"{row['dec']:+.5f}",
            "mag": _number(row["mag"], 2),
            "frames": int(row["frames"]), "found": int(row["found"]), "step": str(row["lost_at"]),
            "image": str(row["image"]), "score": _number(row["rb_score"], 3),
        }
        for row in table
    ]  # fmt: skip
