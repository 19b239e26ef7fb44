"""Charts of an efficiency page as inline SVG, and the words for its limits."""

from __future__ import annotations

import numpy as np

from gueststar.efficiency.curves import BRIGHT_SNR, Curve
from gueststar.report.charts import Chart

__all__ = ["curve_chart", "interval_text", "is_log", "limit_text", "range_of", "ticks_of"]

_SERIES = (("detected", "up"), ("detected and scored real", "down"))


def curve_chart(curve: Curve) -> str:
    """Shares along one axis, with the fitted curves where there are any."""
    axis = curve.axis
    low, high = range_of(curve)
    log = is_log(curve)
    chart = Chart(
        (low, high), (0.0, 1.04), axis.label, "share found", log_x=log, x_ticks=ticks_of(curve),
        y_ticks=(0.0, 0.25, 0.5, 0.75, 1.0),
    )  # fmt: skip
    for i, (label, kind) in enumerate(_SERIES):
        if curve.fits:
            first, last = curve.fits[i].value_range
            first, last = max(first, low), min(last, high)
            at = np.geomspace(first, last, 160) if log else np.linspace(first, last, 160)
            chart.line(at, curve.fits[i](at), kind=kind, label=label)
        bins = [pair[i] for pair in curve.bins]
        middle = [_middle(max(b.low, low), min(b.high, high), log=log) for b in bins]
        # The two series a little apart, so that their bars do not cover each other.
        step = 0.006 if i else -0.006
        shown = [m * (high / low) ** step if log else m + step * (high - low) for m in middle]
        chart.points(
            shown, [b.fraction for b in bins], [b.fraction_low for b in bins], [b.fraction_high for b in bins],
            kind=kind, label="" if curve.fits else label,
            titles=[f"{b.low:g} to {b.high:g}: {b.found} of {b.n}" for b in bins],
        )  # fmt: skip
    which = "" if axis.scale else f", S/N ≥ {BRIGHT_SNR:g}"
    return chart.svg(title=f"By {axis.short}{which} ({curve.n})")


def range_of(curve: Curve) -> tuple[float, float]:
    """Part of the axis that is shown: a little more than the values of the sources."""
    low, high = curve.value_range
    if is_log(curve):
        low = max(low, curve.axis.edges[1] / 2.0) if curve.axis.name == "surface_e_px" else low
        return low * 0.95, max(high, low * 1.5) * 1.05
    if curve.axis.scale == "mag" or curve.axis.name == "surface_mag_arcsec2":
        return low - 0.1, max(high, low + 0.5) + 0.1
    return 0.0, max(high, curve.axis.edges[1]) * 1.03


def is_log(curve: Curve) -> bool:
    """Whether its axis is logarithmic."""
    return curve.axis.scale == "snr" or curve.axis.name == "surface_e_px"


def ticks_of(curve: Curve) -> list[float]:
    """Labelled values of the axis, some way apart from each other."""
    low, high = range_of(curve)
    if curve.axis.scale == "mag" or curve.axis.name == "surface_mag_arcsec2":
        step = 1.0 if high - low > 3.0 else 0.5
        return [float(value) for value in np.arange(np.ceil(low / step) * step, high + 1e-9, step)]
    position = np.log if is_log(curve) else np.asarray
    kept: list[float] = []
    for edge in curve.axis.edges:
        if low <= edge <= high:
            gap = (
                1.0 if not kept else float(position(edge) - position(kept[-1])) / float(position(high) - position(low))
            )
            kept += [edge] if gap >= 0.055 else []
    return kept


def limit_text(value: float, low: float, high: float, *, scale: str) -> str:
    """A limit; as a bound where it lies beyond the values that there were, from `low` to `high`."""
    if not np.isfinite(value):
        return "not reached"
    digits = 1 if scale == "snr" else 2
    if value < low:
        return f"< {low:.{digits}f}"
    return f"> {high:.{digits}f}" if value > high else f"{value:.{digits}f}"


def interval_text(low: float, high: float, *, scale: str) -> str:
    """An interval of a limit; an infinite end says that the share is not reached at all."""
    digits = 1 if scale == "snr" else 2
    ends = [f"{value:.{digits}f}" if np.isfinite(value) else "never" for value in (low, high)]
    return "–" if ends == ["never", "never"] else " – ".join(ends)


def _middle(low: float, high: float, *, log: bool) -> float:
    return float(np.sqrt(low * high)) if log else 0.5 * (low + high)
