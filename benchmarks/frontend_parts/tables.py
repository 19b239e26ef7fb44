"""From the rows of single pairs to medians over seeds, and to lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["summarise", "table_lines", "wcs_error_of"]

Row = dict[str, Any]


def summarise(rows: Sequence[Row]) -> Row:
    """Medians over the seeds of one field and engine; fluxes, pulls and recall of all their transients together."""
    ratios = np.array([pair for row in rows for pair in row["ratios"]]).reshape(-1, 2)
    pulls = np.array([pull for row in rows for pull in row["pulls"]])
    found, offered = (sum(row[name] for row in rows) for name in ("found", "transients"))
    summary: Row = {"field": rows[0]["field"], "engine": rows[0]["engine"], "pairs": len(rows)}
    for name in ("sources", "artifacts_positive", "artifacts_negative", "noise_peaks", "chi2_p90", "score_std"):
        values = np.array([row[name] for row in rows], float)
        summary[name] = round(float(np.nanmedian(values)), 3) if np.isfinite(values).any() else None
    summary["noise_peaks_all"] = int(sum(row["noise_peaks"] for row in rows))
    if len(ratios):
        weight = 1.0 / (ratios[:, 1] ** 2 + 1e-4)
        summary["flux_bias"] = round(float((weight * ratios[:, 0]).sum() / weight.sum() - 1.0), 5)
        summary["flux_bias_err"] = round(float(weight.sum() ** -0.5), 5)
    if len(pulls) > 5:
        summary["pull_mean"] = round(float(np.mean(np.clip(pulls, -6, 6))), 3)
        summary["pull_std"] = round(float(1.4826 * np.median(np.abs(pulls - np.median(pulls)))), 3)
        summary["pull_n"] = len(pulls)
    summary["recall"] = round(found / offered, 4) if offered else None
    summary["transients"] = int(offered)
    stages = {stage for row in rows for stage in row["seconds"]}
    summary["seconds"] = {
        stage: round(float(np.median([row["seconds"][stage] for row in rows if stage in row["seconds"]])), 4)
        for stage in sorted(stages)
    }
    causes: dict[str, int] = {}
    for row in rows:
        for cause, count in row["causes"].items():
            causes[cause] = causes.get(cause, 0) + count
    summary["causes"] = dict(sorted(causes.items(), key=lambda item: -item[1]))
    return summary


def wcs_error_of(rows: Sequence[Row]) -> dict[str, float]:
    """Median over the pairs of the error of the headers' WCS and of its parts, rms px, as they are and 'perfect'."""
    done: dict[str, float] = {}
    for prefix, names in (("", ("oracle",)), ("perfect_", ("kernel, perfect WCS",))):
        chosen = [row["wcs_error"] for row in rows if row["engine"] in names]
        if chosen:
            done |= {prefix + key: round(float(np.median([one[key] for one in chosen])), 4) for key in chosen[0]}
    return done


def table_lines(summary: Sequence[Row]) -> list[str]:
    """A table to read in a terminal."""
    lines = [
        f"{'field':13s}{'engine':28s}{'art +':>7s}{'art -':>7s}{'chi2':>7s}{'bias %':>14s}{'pull':>7s}{'recall':>8s}"
        f"{'score':>7s}{'align':>7s}{'subtr':>7s}{'chain':>7s}"
    ]
    for row in summary:
        bias = f"{100 * row['flux_bias']:+.2f}+-{100 * row['flux_bias_err']:.2f}" if "flux_bias" in row else ""
        seconds = row["seconds"]
        numbers = [row[name] for name in ("artifacts_positive", "artifacts_negative", "chi2_p90")]
        lines.append(
            f"{row['field']:13s}{row['engine']:28s}"
            + "".join(f"{_text(number):>7s}" for number in numbers)
            + f"{bias:>14s}{_text(row.get('pull_std')):>7s}{_text(row['recall'], 4):>8s}"
            + f"{_text(row['score_std'], 3):>7s}"
            + "".join(f"{_text(seconds.get(stage)):>7s}" for stage in ("align", "subtract", "chain"))
        )
    return lines


def _text(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() and digits == 2 and value > 3 else f"{value:.{digits}f}"
