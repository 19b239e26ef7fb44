"""Fill the page of a night's report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gueststar.night.folders import replace_file
from gueststar.report.charts import Chart, histogram
from gueststar.report.collect import Injected, NightRecord, collect, read_run
from gueststar.report.pictures import picture_uri, triplet_uris
from gueststar.report.recovery import Completeness, RecoveryBin, completeness, recovery_bins
from gueststar.types import Outcome

__all__ = ["Recovery", "level_text", "recovery_of", "write_report"]

_SNR_TICKS = (5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Artificial reals of a run: the bins and the curve of detection alone, and of detection and score."""

    n: int
    occupied: int
    bins: tuple[tuple[RecoveryBin, RecoveryBin], ...]
    detected: Completeness
    real: Completeness
    pull_mean: float
    pull_std: float


def write_report(out: str | Path) -> Path:
    """Write report.html into the folder of a run.

    Parameters
    ----------
    out : path
        Folder that `run_night` wrote.

    Returns
    -------
    Path
        The report: one file with all pictures in it.

    Raises
    ------
    InputError
        When `out` is not the folder of a run.
    OutputError
        When the report cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    out = Path(out)
    settings = read_run(out).get("config", {}).get("night", {})
    night = collect(out, top=int(settings.get("report_top", 48)))
    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["num"] = _number
    page = environment.get_template("report.html.j2").render(_context(night, int(settings.get("report_pictures", 48))))
    path = out / "report.html"
    replace_file(path, page.encode())
    return path


def recovery_of(injected: Injected) -> Recovery | None:
    """Statistics of the artificial reals; None when there were none.

    Those put where a candidate was already are left out: finding them proves nothing.
    """
    use = ~injected.occupied
    if not use.any():
        return None
    snr, found, real = injected.snr[use], injected.found[use], injected.real[use]
    pairs = zip(recovery_bins(snr, found), recovery_bins(snr, real), strict=True)
    # Near the threshold only those are found that noise has made brighter.
    pull = injected.pull[use & injected.found & (injected.snr >= 10.0)]
    pull = pull[np.isfinite(pull)]
    middle, spread = (float(np.median(pull)), _robust_std(pull)) if pull.size else (np.nan, np.nan)
    return Recovery(
        int(use.sum()),
        int((~use).sum()),
        tuple(pairs),
        completeness(snr, found),
        completeness(snr, real),
        middle,
        spread,
    )


def _robust_std(values: NDArray[np.float64]) -> float:
    low, high = np.percentile(values, (15.865, 84.135))
    return float(high - low) / 2.0


def _context(night: NightRecord, n_pictures: int) -> dict[str, Any]:
    ok = [outcome for outcome in night.outcomes if outcome.status == "ok"]
    recovery = recovery_of(night.injected)
    threshold = _common(ok, "rb_threshold")
    return {
        "run": night.run,
        "ok": ok,
        "outcomes": night.outcomes,
        "troubles": [outcome for outcome in night.outcomes if outcome.status != "ok"],
        "damaged": night.damaged,
        "totals": _totals(night, ok),
        "threshold": threshold,
        "model": _common(ok, "rb_model"),
        "engine": _common(ok, "engine"),
        "gallery": list(zip(night.best, triplet_uris(night.out, night.best), strict=True)),
        "pictures": _pictures(night, ok, n_pictures),
        "charts": _charts(night, threshold),
        "recovery": recovery,
        "recovery_chart": _recovery_chart(recovery) if recovery is not None else "",
        "stages": _stages(ok),
        "zip": zip,
        "level": level_text,
        "link": quote,
    }


def _common(outcomes: list[Outcome], key: str) -> Any:
    """Value of a fact that all images share; the most frequent one when they do not."""
    values = [outcome.facts.get(key) for outcome in outcomes if outcome.facts.get(key) is not None]
    return max(set(values), key=values.count) if values else None


def _totals(night: NightRecord, ok: list[Outcome]) -> dict[str, Any]:
    counts = {
        name: sum(outcome.counts.get(name, 0) for outcome in ok)
        for name in ("positive", "negative", "real", "real_positive")
    }
    n = max(len(ok), 1)
    per_frame = {f"{name}_per_frame": value / n for name, value in counts.items()}
    statuses = {
        status: sum(o.status == status for o in night.outcomes) for status in ("ok", "rejected", "failed", "crashed")
    }
    return {**counts, **per_frame, **statuses, "images": len(night.outcomes)}


def _pictures(night: NightRecord, ok: list[Outcome], most: int) -> list[tuple[Outcome, str]]:
    shown = []
    for outcome in ok[:most]:
        name = outcome.products.get("picture")
        uri = picture_uri(night.out / name) if name else ""
        if uri:
            shown.append((outcome, uri))
    return shown


def _charts(night: NightRecord, threshold: float | None) -> list[str]:
    if night.snr.size == 0:
        return []
    positive = night.snr > 0
    size = np.abs(night.snr)
    top = float(np.clip(np.nanmax(size) * 1.05, 20.0, 1000.0))
    low = float(max(np.floor(size.min()), 1.0))
    edges = np.geomspace(low, top, 37)
    size = np.clip(size, edges[0], edges[-1] * 0.999)
    signs = (("brighter", "up", positive), ("fainter", "down", ~positive))
    charts = [
        histogram(
            [(label, kind, size[which]) for label, kind, which in signs],
            edges,
            title="S/N of the candidates",
            x_label="|S/N|",
            x_ticks=[tick for tick in _SNR_TICKS if low <= tick <= top],
            log_x=True,
        )
    ]
    if np.isfinite(night.score).any():
        charts.append(
            histogram(
                [(label, kind, night.score[which & np.isfinite(night.score)]) for label, kind, which in signs],
                np.linspace(0.0, 1.0, 41),
                title="Real/bogus score",
                x_label="score",
                x_ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
                mark=None if threshold is None else (threshold, f"threshold {threshold:.3g}"),
            )
        )
    return charts


def _recovery_chart(recovery: Recovery) -> str:
    low, high = recovery.detected.value_range
    ticks = [tick for tick in _SNR_TICKS if low * 0.95 <= tick <= high * 1.05]
    chart = Chart(
        (low * 0.93, high * 1.07), (0.0, 1.04), "S/N of the artificial real in the science image", "share found",
        log_x=True, x_ticks=ticks, y_ticks=(0.0, 0.25, 0.5, 0.75, 1.0), width=720, height=340,
    )  # fmt: skip
    at = np.geomspace(low, high, 160)
    series = (
        ("detected", "up", recovery.detected, [pair[0] for pair in recovery.bins], 0.994),
        ("detected and above the score threshold", "down", recovery.real, [pair[1] for pair in recovery.bins], 1.006),
    )
    for label, kind, curve, bins, shift in series:
        chart.line(at, curve(at), kind=kind, label=label)
        # Within the drawn range; the two series a little apart, so that their bars do not cover each other.
        middle = [np.sqrt(max(b.low, low) * min(b.high, high)) * shift for b in bins]
        chart.points(
            middle,
            [b.fraction for b in bins],
            [b.fraction_low for b in bins],
            [b.fraction_high for b in bins],
            kind=kind,
        )
    return chart.svg(title="Artificial reals found")


def _stages(ok: list[Outcome]) -> list[dict[str, Any]]:
    """Median and 90 % time of each stage, and its share."""
    names: list[str] = []
    for outcome in ok:
        names += [name for name in outcome.seconds if name not in names]
    total = sum(sum(outcome.seconds.values()) for outcome in ok) or 1.0
    rows = []
    for name in names:
        values = np.array([outcome.seconds.get(name, 0.0) for outcome in ok])
        rows.append(
            {"name": name, "median": float(np.median(values)), "p90": float(np.percentile(values, 90)),
             "share": float(values.sum()) / total}
        )  # fmt: skip
    return rows


def level_text(row: tuple[float, float, float, float], curve: Completeness) -> str:
    """S/N at which a share is found; told as a bound where it lies beyond the S/N that were drawn."""
    low, high = curve.value_range
    if row[1] < low:
        return f"< {low:.1f}"
    return f"> {high:.0f}" if row[1] > high else f"{row[1]:.1f}"


def _number(value: Any, digits: int = 2) -> str:
    """A number with fixed digits; a dash for none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, float) and np.isinf(value):
        return "∞"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
