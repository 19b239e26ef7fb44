"""Tables of what detection was measured to do: false alarms, close pairs, shifted stars."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import heading, list_table

__all__ = ["detection_page"]

_ALARMS = """
Peaks of pure noise above a threshold, found / expected for a Gaussian field on the pixel grid
(:mod:`gueststar.detect.false_alarms`). *Noise* is two frames of noise through resampling, convolution and score;
*field* the sky of simulated pairs far from every source, where the fit to stars takes part. Photon noise of 100
electrons a pixel makes more of the positive and fewer of the negative ones; their sum stays. How many to expect in one
image is among its facts: ``false_alarms_expected``.
"""
_PAIRS = """
Share of pairs of which both sources are found, 256 pairs in each cell, and the bias of the flux of the fainter one.
S/N is that of the fainter source alone.
"""
_SHIFTED = """
A candidate whose ``snr_beyond_shift`` is below half of its ``snr`` is taken for a shifted star. The table counts
candidates at shifted stars (S/N 20 to 1000, 0.05 to 1 px) and new sources (S/N 8 to 150, 0 to 3 FWHM from a star of S/N
20 to 1000 that is itself shifted by 0.03 px rms) that pass a cut on the ratio of both. New sources that fail are mostly
those of S/N 8 and 15 beside a star of S/N 1000, whose own residual is as strong.
"""


def detection_page() -> str:
    """Return the figures of ``benchmarks/false_alarms.py``, ``close_pairs.py`` and ``shifted_stars.py``."""
    parts = [heading("Detection measured"), heading("False alarms", "-")]
    for name, page in (("false_alarms", _alarms), ("close_pairs", _pairs), ("shifted_stars", _shifted)):
        report = read_measured(f"{name}.json")
        missing = f"Not measured yet: run ``python benchmarks/{name}.py``.\n"
        parts.append(missing if report is None else page(report))
    return "\n".join(parts)


def _alarms(report: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['kind']}: {row['name']}", f"{row['megapixels']:g}", f"{row['score_std']:.3f}",
            *(f"{a + b} / {e:.1f}" for a, b, e in zip(row["positive"], row["negative"], row["expected"], strict=True)),
        )
        for row in report["rows"]
    ]  # fmt: skip
    header = ("Sky", "Mpx", "Scatter of the score", *(f"{t:g} sigma" for t in report["thresholds"]))
    return _ALARMS + "\n" + list_table(header, rows, widths=(26, 8, 11, 13, 12, 10, 10, 10))


def _pairs(report: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['faint_snr']:g}", f"1:{row['ratio']:g}", f"{row['separation_fwhm']:g}",
            f"{100 * row['both'] / row['pairs']:.1f}",
            *_faint(row),
        )
        for row in report["pairs"]
    ]  # fmt: skip
    header = ("S/N", "Fluxes", "Separation, FWHM", "Both found, %", "Bias of the fainter, %", "Scatter of its pulls")
    alone = report["singles"]
    split, stars = sum(row["extra"] for row in alone), sum(row["stars"] for row in alone)
    ends = (
        f"Of {stars} single stars of S/N 100, 300 and 1000, with PSFs that are right, 2 and 5 % too narrow or\n"
        f"too wide, or miss an ellipticity of 0.05, there is a further candidate beside {split}.\n"
    )
    table = list_table(header, rows, widths=(10, 12, 18, 18, 22, 20))
    return "\n".join((heading("Close pairs", "-"), _PAIRS, table, ends))


def _faint(row: dict[str, Any]) -> tuple[str, str]:
    if "faint" not in row:
        return "", ""
    return f"{100 * row['faint']['flux_bias']:+.1f}", f"{row['faint']['pull_scatter']:.2f}"


def _shifted(report: dict[str, Any]) -> str:
    rows = [
        (f"{row['cut']:g}", f"{100 * row['new_kept']:.2f}", f"{100 * row['shifted_kept']:.2f}") for row in report["roc"]
    ]
    table = list_table(("Ratio above", "New sources, %", "Shifted stars, %"), rows, widths=(30, 35, 35))
    return "\n".join(
        (heading("Shifted stars", "-"), _SHIFTED, f"The area under the curve is {report['auc']:.4f}.\n", table)
    )
