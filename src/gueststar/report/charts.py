"""Charts of the report as inline SVG, coloured by the style sheet so that they follow its light and dark theme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Chart", "histogram"]

Transform = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass
class Chart:
    """One chart under construction; `svg` gives the text.

    Parameters
    ----------
    x_range, y_range : (float, float)
        Data ranges.
    x_label, y_label : str
    log_x : bool
        Logarithmic x axis; the range must be positive.
    root_y : bool
        Square-root y axis from 0, which shows the rare beside the common.
    x_ticks, y_ticks : sequence of float
        Labelled ticks.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    log_x: bool = False
    root_y: bool = False
    x_ticks: Sequence[float] = ()
    y_ticks: Sequence[float] = ()
    width: int = 560
    height: int = 300
    _parts: list[str] = field(default_factory=list)
    _keys: list[tuple[str, str]] = field(default_factory=list)

    _left, _right, _top, _bottom = 52, 12, 14, 42

    def x(self, value: ArrayLike) -> NDArray[np.float64]:
        """Horizontal position of data values, SVG units."""
        change: Transform = np.log10 if self.log_x else np.asarray
        low, high = change(np.array(self.x_range, np.float64))
        share = (change(np.asarray(value, np.float64)) - low) / (high - low)
        return np.asarray(self._left + share * (self.width - self._left - self._right), np.float64)

    def y(self, value: ArrayLike) -> NDArray[np.float64]:
        """Vertical position of data values, SVG units."""
        change: Transform = np.sqrt if self.root_y else np.asarray
        low, high = change(np.array(self.y_range, np.float64))
        share = (change(np.asarray(value, np.float64)) - low) / (high - low)
        return np.asarray(self.height - self._bottom - share * (self.height - self._top - self._bottom), np.float64)

    def bars(self, edges: ArrayLike, counts: ArrayLike, *, kind: str, base: ArrayLike = 0.0, label: str = "") -> None:
        """Histogram bars that stand on `base`; `kind` is the class of the style sheet."""
        edge, count = np.asarray(edges, np.float64), np.asarray(counts, np.float64)
        floor = np.broadcast_to(np.asarray(base, np.float64), count.shape)
        left, right = self.x(edge[:-1]), self.x(edge[1:])
        top, bottom = self.y(floor + count), self.y(floor)
        for i in np.flatnonzero(count):
            width, height = max(right[i] - left[i] - 1, 0.5), bottom[i] - top[i]
            self._parts.append(
                f'<rect class="{kind}" x="{left[i]:.1f}" y="{top[i]:.1f}" width="{width:.1f}" height="{height:.1f}">'
                f"<title>{edge[i]:.3g} to {edge[i + 1]:.3g}: {count[i]:g}</title></rect>"
            )
        if label:
            self._keys.append((kind, label))

    def line(self, x: ArrayLike, y: ArrayLike, *, kind: str, label: str = "") -> None:
        """A curve."""
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.x(x), self.y(y), strict=True))
        self._parts.append(f'<polyline class="curve {kind}" points="{points}"/>')
        if label:
            self._keys.append((kind, label))

    def points(
        self,
        x: ArrayLike,
        y: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        kind: str,
        label: str = "",
        titles: Sequence[str] = (),
    ) -> None:
        """Points with vertical error bars; `titles` (their values, when left out) are shown when one is pointed at."""
        places = zip(self.x(x), self.y(y), self.y(low), self.y(high), strict=True)
        shown = titles or [f"{at:.3g}: {value:.3g}" for at, value in zip(np.asarray(x), np.asarray(y), strict=True)]
        for (a, b, b0, b1), title in zip(places, shown, strict=True):
            self._parts.append(
                f'<g class="point {kind}"><line x1="{a:.1f}" x2="{a:.1f}" y1="{b0:.1f}" y2="{b1:.1f}"/>'
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.4"/><title>{escape(title)}</title></g>'
            )
        if label:
            self._keys.append((kind, label))

    def mark(self, x: float, text: str) -> None:
        """A vertical line with a name, such as a threshold."""
        at = float(self.x(x))
        anchor, shift = ("end", -4) if at > self.width * 0.7 else ("start", 4)
        self._parts.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{self._top}" y2="{self.height - self._bottom}"/>'
            f'<text class="tick" x="{at + shift:.1f}" y="{self._top + 10}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self, *, title: str) -> str:
        """The chart as an SVG element; `title` is read by screen readers."""
        base, right = self.height - self._bottom, self.width - self._right
        axes = []
        for value, at in zip(self.y_ticks, self.y(self.y_ticks), strict=True):
            axes.append(f'<line class="grid" x1="{self._left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            axes.append(f'<text class="tick" x="{self._left - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value, at in zip(self.x_ticks, self.x(self.x_ticks), strict=True):
            axes.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
            axes.append(f'<text class="tick" x="{at:.1f}" y="{base + 17}" text-anchor="middle">{value:g}</text>')
        axes.append(f'<line class="axis" x1="{self._left}" x2="{right}" y1="{base}" y2="{base}"/>')
        middle = (self._left + right) / 2
        axes.append(
            f'<text class="label" x="{middle:.0f}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
        )
        axes.append(
            f'<text class="label" transform="translate(13,{(self._top + base) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        keys = "".join(f'<span class="key"><i class="{kind}"></i>{escape(label)}</span>' for kind, label in self._keys)
        drawing = (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(axes)}{''.join(self._parts)}</svg>"
        )
        return f'<figure class="chart"><figcaption>{escape(title)}{keys}</figcaption>{drawing}</figure>'


def histogram(
    series: Sequence[tuple[str, str, NDArray[np.float64]]],
    edges: NDArray[np.float64],
    *,
    title: str,
    x_label: str,
    x_ticks: Sequence[float],
    log_x: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """Stacked histogram on a square-root count axis.

    Parameters
    ----------
    series : sequence of (label, class, values)
        Stacked from bottom to top; values beyond the edges are left out.
    edges : ndarray, shape (m + 1,)
    mark : (x, name), optional
        A vertical line, such as a threshold.
    """
    counts = np.array([np.histogram(values, edges)[0] for _, _, values in series])
    peak = float(max(counts.sum(axis=0).max(initial=0), 1))
    chart = Chart(
        (float(edges[0]), float(edges[-1])), (0.0, 1.1 * peak), x_label, "candidates",
        log_x=log_x, root_y=True, x_ticks=x_ticks, y_ticks=_round_counts(peak),
    )  # fmt: skip
    floor = np.zeros(len(edges) - 1)
    for (label, kind, values), count in zip(series, counts, strict=True):
        chart.bars(edges, count, kind=kind, base=floor, label=f"{label} ({len(values)})")
        floor = floor + count
    if mark is not None:
        chart.mark(*mark)
    return chart.svg(title=title)


def _round_counts(peak: float) -> list[float]:
    """Round counts from 0 to about `peak`, evenly spread on a square-root axis."""
    ticks = [0.0]
    for share in (0.06, 0.25, 0.56, 1.0):
        step = 10.0 ** np.floor(np.log10(max(peak * share, 1.0)))
        value = float(np.floor(peak * share / step) * step)
        if value > ticks[-1]:
            ticks.append(value)
    return ticks
