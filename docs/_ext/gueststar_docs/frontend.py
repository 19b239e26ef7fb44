"""Tables of the front-end benchmark, from ``docs/measured/frontend.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import escape, heading, list_table

__all__ = ["frontend_page"]

_PICTURE = """
.. figure:: /images/frontend.png
   :alt: Artifacts and chi-square at bright stars, by engine and kind of field
   :width: 100%

   Artifacts and residuals of every engine on every kind of field. The oracle subtracts the true scene.
"""
_WORDS = """
Every pair is simulated with known truth and calibrated once; every engine gets the same two images. The header's WCS is
wrong by about 0.4 px (shift, rotation, gradient), save in the rows "perfect WCS", where the same skies were taken with
headers that are right. All are registered by gueststar, save "SWarp + hotpants", which is
the usual chain and takes the header at its word. All differences are scored and searched by the same code, so that only
their pixels differ. The published packages get the registration of gueststar, and its PSFs where they take any.

*Artifacts* are detections above 5 sigma that are no transient, cosmic ray, hot pixel or saturated star, brighter and
fainter, median per chip. *Chi-square* is the 90th percentile over unsaturated stars of S/N > 200, on discs of 1.5 FWHM,
with the noise of the truth and not the engine's own claim; that of the *oracle*, which subtracts the true scene, is not
1 but what errors of the flat field and the scatter of so few pixels make. *Bias* is that of the flux of transients of
S/N > 20, in units of that of lone bright stars of the same image, as a zero point makes it; *pull* the robust scatter
of (measured - true flux) / error at S/N > 8; *recall* the share found of all transients of S/N > 5. Times are processor
seconds of one thread.
"""


def frontend_page() -> str:
    """Return the figures of ``benchmarks/frontend.py``."""
    report = read_measured("frontend.json")
    title = heading("Engines compared")
    if report is None:
        return title + "\nNot measured yet: run ``python benchmarks/frontend.py``.\n"
    ny, nx = report["shape"]
    intro = f"Chips of {nx} x {ny} px, {report['seeds']} seeds; version {report['version']}; {report['machine']}.\n"
    parts = [title, intro, _WORDS, _circumstances(report)]
    if (Path(__file__).resolve().parents[2] / "images" / "frontend.png").is_file():
        parts.append(_PICTURE)
    for field in dict.fromkeys(row["field"] for row in report["summary"]):
        rows = [row for row in report["summary"] if row["field"] == field]
        parts += [heading(f"{field.capitalize()} fields", "-"), _table(rows)]
    return "\n".join(parts)


def _circumstances(report: dict[str, Any]) -> str:
    """How wrong the WCS was, how many pairs the packages had, and who was missing."""
    words = []
    if error := report.get("wcs_error"):
        words.append(
            f"The headers put the stars of the reference {error['rms_px']:.2f} px (rms, median of the pairs) from\n"
            f"where they are on the science frame: {error['shift_px']:.2f} px of shift, {error['linear_px']:.2f} px\n"
            f"of rotation and scale, {error['curved_px']:.2f} px of higher order."
        )
    if (pairs := report.get("slow_peers")) is not None:
        words.append(f"The packages, which are slow, were run on {pairs} of the {report['seeds']} pairs of each field.")
    if report.get("missing"):
        words.append(f"Not installed and left out: {', '.join(report['missing'])}.")
    return "\n".join(words) + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    header = ("Engine", "Artifacts + / -", "Chi-square", "Bias, %", "Pull", "Recall, %", "Subtract, s", "Chain, s")
    cells = [
        (
            escape(row["engine"]),
            f"{row['artifacts_positive']:g} / {row['artifacts_negative']:g}",
            _text(row["chi2_p90"]),
            f"{100 * row['flux_bias']:+.2f} ± {100 * row['flux_bias_err']:.2f}" if "flux_bias" in row else "",
            _text(row.get("pull_std")),
            _text(None if row["recall"] is None else 100 * row["recall"], 1),
            _text(row["seconds"].get("subtract")),
            _text(row["seconds"].get("chain")),
        )
        for row in rows
    ]
    return list_table(header, cells, widths=(26, 14, 10, 14, 8, 10, 9, 9))


def _text(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"
