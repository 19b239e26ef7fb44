"""A picture of a simulated frame: the whole of it with what is true marked, and the most telling places close up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.plots import grey, robust_sigma, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["truth_figure"]

# Kinds that are shown, in the order in which their close-ups stand, with their words and colours.
_SHOWN = {
    "supernova": ("supernova", "#ffb000"),
    "hostless": ("without host", "#ff7f0e"),
    "flare": ("flare", "#f25ca2"),
    "asteroid": ("asteroid", "#2fbf71"),
    "near_earth": ("near-Earth", "#2fbf71"),
    "variable": ("variable", "#b07aff"),
    "nucleus": ("active nucleus", "#b07aff"),
    "satellite": ("satellite", "#3d9df3"),
    "cosmic_ray": ("cosmic ray", "#e05252"),
    "telegraph": ("unsteady pixel", "#e05252"),
    "hot_pixel": ("hot pixel", "#e05252"),
    "bad_column": ("bad column", "#e05252"),
    "hole": ("hole", "#e05252"),
    "ghost": ("ghost", "#8b949e"),
    "star": ("brightest star", "#8b949e"),
    "galaxy": ("brightest galaxy", "#8b949e"),
}
_MARKED = ("supernova", "hostless", "flare", "asteroid", "near_earth", "variable", "nucleus", "satellite", "cosmic_ray")
_PANEL_PX, _CLOSE_PX, _CLOSE_UPS = 1400, 61, 14
_INK, _SOFT_INK = "#1c2128", "#57606a"


def truth_figure(data: NDArray[np.float32], truth: Table, *, title: str = "", subtitle: str = "") -> Figure:
    """Draw a simulated frame and what is true about it.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Counts or electrons; NaN where there is no data.
    truth : Table
        With the columns kind, x, y, change_e, flux_e, snr and length_px.
    title, subtitle : str
        Headline, and the line below it.
    """
    from matplotlib.figure import Figure

    ny, nx = data.shape
    width = 13.0
    panel = width * 0.98 * ny / nx
    close = _close_ups(truth, data.shape)
    rows = -(-len(close) // 7)
    height = 0.97 + panel + 1.98 * rows + 0.15
    figure = Figure(figsize=(width, height), facecolor="#ffffff")
    figure.text(0.01, 1.0 - 0.22 / height, title, fontsize=12.5, fontweight="bold", color=_INK, va="center")
    figure.text(0.01, 1.0 - 0.48 / height, subtitle, fontsize=10, color=_SOFT_INK, va="center")
    sky, noise = float(np.nanmedian(data)), robust_sigma(data)
    small = shrink(data, max(1, -(-max(data.shape) // _PANEL_PX)))
    shrunk = robust_sigma(small)
    axes = figure.add_axes((0.01, 1.0 - (0.75 + panel) / height, 0.98, panel / height))
    axes.imshow(grey(small - sky, shrunk, 150.0 * shrunk), origin="lower", extent=(-0.5, nx - 0.5, -0.5, ny - 0.5))
    _bare(axes)
    _mark(axes, truth)
    axes.set_xlim(-0.5, nx - 0.5)
    axes.set_ylim(-0.5, ny - 0.5)
    for i, (kind, row) in enumerate(close):
        line, column = divmod(i, 7)
        box = (0.01 + column * 0.1405, 1.0 - (0.97 + panel + 1.98 * (line + 1) - 0.22) / height, 0.134, 1.72 / height)
        _close_up(figure.add_axes(box), data - sky, row, _SHOWN[kind], noise)
    return figure


def _close_ups(truth: Table, shape: tuple[int, int]) -> list[tuple[str, Table]]:
    """The most telling row of each kind that is on the frame, away from its edge where possible."""
    ny, nx = shape
    x, y = np.asarray(truth["x"], np.float64), np.asarray(truth["y"], np.float64)
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    inner = inside & (np.minimum.reduce([x, y, nx - 1 - x, ny - 1 - y]) > _CLOSE_PX // 2)
    change = np.abs(np.nan_to_num(np.asarray(truth["change_e"], np.float64)))
    flux = np.nan_to_num(np.asarray(truth["flux_e"], np.float64))
    found = []
    for kind in _SHOWN:
        rows = np.asarray(truth["kind"]) == kind
        weight = flux if kind in ("star", "galaxy", "ghost") else np.where(change > 0, change, flux)
        for part in (rows & inner, rows & inside):
            members = np.flatnonzero(part)
            if members.size:
                found.append((kind, truth[members[np.argmax(weight[members])]]))
                break
    return found[:_CLOSE_UPS]


def _mark(axes: Axes, truth: Table) -> None:
    kinds = np.asarray(truth["kind"])
    for kind in _MARKED:
        rows = truth[kinds == kind]
        if kind in ("variable", "nucleus") and len(rows):
            share = np.abs(rows["change_e"]) / np.maximum(rows["flux_e"], 1e-9) * rows["snr"]
            rows = rows[np.asarray(share) > 5.0]
        if len(rows) == 0:
            continue
        word, colour = _SHOWN[kind]
        axes.scatter(
            rows["x"],
            rows["y"],
            s=60,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.2,
            label=f"{word} ({len(rows)})",
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize=9, framealpha=0.9, ncols=3)


def _close_up(axes: Axes, data: NDArray[np.float32], row: Table, shown: tuple[str, str], noise: float) -> None:
    length = float(row["length_px"])
    half = _CLOSE_PX // 2
    if shown[0] in ("ghost", "hole", "satellite", "brightest star", "brightest galaxy"):
        half = int(np.clip(0.7 * np.nan_to_num(length), 60, 150))
    ny, nx = data.shape
    x, y = round(float(row["x"])), round(float(row["y"]))
    stamp = np.full((2 * half + 1, 2 * half + 1), np.nan, np.float32)
    y0, y1, x0, x1 = max(0, y - half), min(ny, y + half + 1), max(0, x - half), min(nx, x + half + 1)
    stamp[y0 - y + half : y1 - y + half, x0 - x + half : x1 - x + half] = data[y0:y1, x0:x1]
    middle = stamp[half - 4 : half + 5, half - 4 : half + 5]
    top = float(np.clip(np.nanmax(middle, initial=0.0), 10.0 * noise, 400.0 * noise))
    axes.imshow(grey(stamp, noise, top), origin="lower")
    mag = float(row["mag"])
    words = shown[0] + (f"  {mag:.1f} mag" if np.isfinite(mag) and shown[0] != "satellite" else "")
    axes.set_title(words, fontsize=9, color=_INK, pad=3, loc="left")
    _bare(axes, shown[1])


def _bare(axes: Axes, colour: str = "#8b949e") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
