"""Charts of an audit: share of the false positives by file, and where on the chip they lie, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.audit.counts import Counted, cumulative_share
from gueststar.realbogus.audit.result import Audited, FalsePositives
from gueststar.report.charts import Chart

__all__ = ["CAUSE_COLOURS", "cause_map", "share_chart"]

F8 = NDArray[np.float64]

#: One colour for each cause: the seven of Okabe & Ito (2008, "Color Universal Design"), which colour-blind readers tell
#: apart, a brown that is darker than these, and greys for what no image is to blame for.
CAUSE_COLOURS: Mapping[str, str] = {
    "misalignment": "#0072b2", "psf_shape": "#e69f00", "crowded_field": "#009e73", "bright_star": "#f0e442",
    "background": "#56b4e9", "frame_edge": "#9a6324", "real_object": "#cc79a7", "detector_fault": "#d55e00",
    "network_error": "#8a939e", "unknown": "#3b424c",
}  # fmt: skip
_MOST_ARROWS = 400
_LONGEST_PX = 26.0  # of an arrow, in the units of the drawing


def share_chart(by_file: Sequence[Counted], top: int) -> str:
    """Cumulative share of the false positives, worst file first."""
    shares = 100.0 * cumulative_share(by_file)
    n = len(shares)
    if n < 2:
        return ""
    ticks = sorted({1, *(round(n * part) for part in (0.25, 0.5, 0.75, 1.0))})
    chart = Chart(
        (0.0, float(n)), (0.0, 100.0), "files, those with most false positives first", "% of all false positives",
        x_ticks=ticks, y_ticks=(0, 25, 50, 75, 100),
    )  # fmt: skip
    chart.line(np.arange(n + 1), np.concatenate([[0.0], shares]), kind="up", label="this audit")
    weights = np.sort([item.candidates for item in by_file])[::-1]
    even = 100.0 * np.cumsum(weights) / max(float(weights.sum()), 1.0)
    chart.line(
        np.arange(n + 1), np.concatenate([[0.0], even]), kind="down", label="share of the artifacts in as many files"
    )
    if 0 < top < n:
        chart.mark(float(top), f"{top} files: {shares[top - 1]:.0f} %")
    return chart.svg(title="How the false positives gather in files")


def cause_map(found: FalsePositives, rows: NDArray[np.integer], *, title: str, arrows: bool, size: int = 340) -> str:
    """False positives on the chip, coloured by cause; with the shift of the stars as arrows where wanted.

    Parameters
    ----------
    found : FalsePositives
    rows : ndarray of int, shape (m,)
        Which of them.
    title : str
    arrows : bool
        Draw the shift that was measured at each, many times enlarged.
    size : int
        Width of the drawing.
    """
    x, y = found.x[rows], found.y[rows]
    there = np.isfinite(x) & np.isfinite(y)
    rows, x, y = rows[there], x[there], y[there]
    if rows.size == 0:
        return ""
    # The frame is not stored with the candidates: the chip is as wide as all false positives of the audit reach.
    wide = float(np.nanmax(found.x)) + 20.0
    high = float(np.nanmax(found.y)) + 20.0
    height = round(float(np.clip(size * high / wide, 0.4 * size, 2.0 * size)))
    to_x, to_y = size / wide, height / high
    marks, lines = [], []
    shift_x, shift_y = (found.numbers.get(name, np.full(len(found), np.nan))[rows] for name in ("shift_x", "shift_y"))
    length = np.hypot(shift_x, shift_y)
    scale = _LONGEST_PX / max(float(np.nanpercentile(length, 90)) if np.isfinite(length).any() else 1.0, 1e-3)
    for i in range(rows.size):
        cause = str(found.decided.cause[rows[i]])
        a, b = x[i] * to_x, height - y[i] * to_y
        marks.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{CAUSE_COLOURS[cause]}"><title>'
            f"{escape(cause.replace('_', ' '))}: x {x[i]:.0f}, y {y[i]:.0f}, S/N {found.snr[rows[i]]:.1f}</title>"
            "</circle>"
        )
        if arrows and np.isfinite(length[i]) and i < _MOST_ARROWS and length[i] < 5.0:
            lines.append(
                f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{a + scale * shift_x[i]:.1f}" y2="{b - scale * shift_y[i]:.1f}" '
                'class="shift"/>'
            )
    words = ""
    if lines:
        words = f"shift of the stars, {scale / to_x:.0f} times enlarged; median {np.nanmedian(length):.2f} px"
        words = f"<small>lines: {words}</small>"
    drawing = (
        f'<svg viewBox="0 0 {size} {height}" role="img" aria-label="{escape(title)}">'
        f'<rect class="frame" x="0.5" y="0.5" width="{size - 1}" height="{height - 1}"/>'
        f"{''.join(lines)}{''.join(marks)}</svg>"
    )
    return f'<figure class="chipmap"><figcaption>{escape(title)}{words}</figcaption>{drawing}</figure>'


def causes_of_all(audited: Audited) -> list[tuple[str, int, int]]:
    """Cause, false positives, and files, most false positives first."""
    causes, counts = np.unique(audited.found.decided.cause, return_counts=True)
    files = [item.cause for item in audited.files]
    found = [(str(c), int(k), files.count(str(c))) for c, k in zip(causes, counts, strict=True)]
    found += [(c, 0, files.count(c)) for c in sorted(set(files)) if c not in set(causes.tolist())]
    return sorted(found, key=lambda item: -item[1])
