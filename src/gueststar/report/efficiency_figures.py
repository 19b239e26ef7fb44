"""Efficiency curves as PNG figures, for talks and papers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gueststar.efficiency.curves import BRIGHT_SNR, Curve, GroupShare
from gueststar.report.efficiency_charts import is_log, range_of, ticks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_figures"]

_SERIES = (("detected", "#d18700"), ("detected and scored real", "#2f81d8"))
_INK = "#1c2128"


def curve_figures(
    curves: Mapping[str, Sequence[Curve]], chips: Mapping[str, Sequence[GroupShare]]
) -> Iterator[tuple[str, bytes]]:
    """File names and PNG data: one figure for each curve of each origin, and one by chip.

    Parameters
    ----------
    curves : mapping
        Origin to its curves.
    chips : mapping
        Origin to the shares of its chips.
    """
    for origin, members in curves.items():
        for curve in members:
            yield f"{origin}_{curve.axis.name}.png", _png(_curve_figure(curve, origin))
        shares = [share for share in chips.get(origin, ()) if share.n]
        if len(shares) > 1:
            yield f"{origin}_chip.png", _png(_chip_figure(shares, origin))


def _curve_figure(curve: Curve, origin: str) -> Figure:
    figure, axes = _start(
        origin, curve.axis.label if curve.axis.scale else f"{curve.axis.label} (S/N ≥ {BRIGHT_SNR:g})"
    )
    low, high = range_of(curve)
    log = is_log(curve)
    if log:
        axes.set_xscale("log")
    for i, (label, colour) in enumerate(_SERIES):
        bins = [pair[i] for pair in curve.bins]
        ends = [(max(b.low, low), min(b.high, high)) for b in bins]
        middle = np.array([np.sqrt(a * b) if log else (a + b) / 2 for a, b in ends])
        middle = middle * (high / low) ** (0.006 * (2 * i - 1)) if log else middle + 0.006 * (2 * i - 1) * (high - low)
        share = np.array([b.fraction for b in bins])
        errors = np.abs(np.array([[b.fraction_low, b.fraction_high] for b in bins]).T - share)
        axes.errorbar(middle, share, errors, fmt="o", ms=4.5, lw=1.3, color=colour, label=label)
        if curve.fits:
            fit = curve.fits[i]
            first, last = max(fit.value_range[0], low), min(fit.value_range[1], high)
            at = np.geomspace(first, last, 200) if log else np.linspace(first, last, 200)
            axes.plot(at, fit(at), color=colour, lw=1.6)
    ticks = ticks_of(curve)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)
    return _finish(figure, axes)


def _chip_figure(shares: Sequence[GroupShare], origin: str) -> Figure:
    figure, axes = _start(origin, f"chip (S/N ≥ {BRIGHT_SNR:g})", width=max(7.0, 0.16 * len(shares)))
    at = np.arange(len(shares))
    for i, (label, colour) in enumerate(_SERIES):
        share = np.array([(s.real if i else s.found) / s.n for s in shares])
        ends = np.array([s.real_interval if i else s.found_interval for s in shares]).T
        axes.errorbar(at + 0.12 * (2 * i - 1), share, np.abs(ends - share), fmt="o", ms=4.5, lw=1.3, color=colour,
                      label=label)  # fmt: skip
    axes.set_xticks(at, [s.name for s in shares], rotation=90 if len(shares) > 8 else 0, fontsize=8)
    return _finish(figure, axes)


def _start(origin: str, label: str, *, width: float = 7.0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.2), layout="constrained", facecolor="#ffffff")
    axes = figure.add_subplot()
    axes.set_xlabel(label)
    axes.set_ylabel("share found")
    words = {"artificial": "Artificial reals", "simulated": "Simulated transients"}
    axes.set_title(words.get(origin, origin), loc="left", fontsize=11, fontweight="bold", color=_INK)
    return figure, axes


def _finish(figure: Figure, axes: Axes) -> Figure:
    axes.set_ylim(0.0, 1.03)
    axes.grid(axis="y", color="#dfe3e8")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    return buffer.getvalue()
