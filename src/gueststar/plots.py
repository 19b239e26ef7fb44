"""Pictures of one processed pair, drawn without any global plotting state.

The science and the reference panel share one asinh stretch, so that what is equal looks equal; the difference has a
symmetric one around zero. Pixels without data are tinted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.types import Candidates, Difference, Image, Mask, Stamps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["best_rows", "pair_figure", "scores_of", "triplet_pixels"]

NEGATIVE, POSITIVE = "#3d9df3", "#ffb000"
_INK, _SOFT_INK, _PAPER, _TINT = "#1c2128", "#57606a", "#ffffff", np.array([206, 214, 228], np.uint8)
_PANEL_PX = 760


def scores_of(candidates: Candidates) -> NDArray[np.float64]:
    """Real/bogus score of each candidate, NaN where there is none; shape (n,)."""
    if "rb_score" not in candidates.table.colnames:
        return np.full(len(candidates), np.nan)
    return np.asarray(candidates["rb_score"], np.float64)


def best_rows(candidates: Candidates, n: int) -> NDArray[np.intp]:
    """Rows of the n best candidates: highest score first, then highest |S/N|."""
    score = np.nan_to_num(scores_of(candidates), nan=-1.0)
    return np.lexsort((-np.abs(candidates["snr"]), -np.round(score, 3)))[:n]


def triplet_pixels(cube: NDArray[np.float32], *, gap: int = 2, width: int = 41) -> NDArray[np.uint8]:
    """Science, reference and difference stamp side by side as RGB, bottom row first.

    Parameters
    ----------
    cube : ndarray, shape (3, k, k)
        One triplet, e-; NaN where there is no data.
    gap : int
        White columns between the stamps.
    width : int
        Width of the middle part that is shown, px.

    Returns
    -------
    ndarray, shape (w, 3 w + 2 gap, 3), uint8
        w = min(k, width).
    """
    k = cube.shape[-1]
    cut = max((k - width) // 2, 0)
    inner = cube[:, cut : k - cut, cut : k - cut]
    spread = [robust_sigma(plane) for plane in inner]
    sky = [float(np.nanmedian(plane)) if np.isfinite(plane).any() else 0.0 for plane in inner]
    peak = max(float(np.nanmax(plane - level, initial=1.0)) for plane, level in zip(inner[:2], sky[:2], strict=True))
    noise = max(spread[0], spread[1] / 2.0)
    top = max(8.0 * noise, min(peak, 400.0 * noise))
    middle = inner[2][tuple(slice(size // 2 - 7, size // 2 + 8) for size in inner.shape[1:])]
    reach = max(6.0 * spread[2], 0.7 * float(np.nanmax(np.abs(middle), initial=0.0)))
    panels = [grey(plane - level, noise, top) for plane, level in zip(inner[:2], sky[:2], strict=True)]
    panels.append(grey(inner[2], spread[2], reach, symmetric=True))
    column = np.full((inner.shape[1], gap, 3), 255, np.uint8)
    return np.concatenate([panels[0], column, panels[1], column, panels[2]], axis=1)


def grey(plane: NDArray[np.float32], sigma: float, top: float, *, symmetric: bool = False) -> NDArray[np.uint8]:
    """Grey levels of a plane as RGB under an asinh stretch, linear to about 3 sigma (Lupton et al. 1999, AJ 118, 1406).

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Sky at 0; NaN is tinted.
    sigma : float
        Noise of the sky.
    top : float
        Value that is white.
    symmetric : bool
        Zero is mid grey and -top is black; otherwise -2 sigma is black.
    """
    soft = 3.0 * max(sigma, 1e-12)
    value = np.arcsinh(plane / soft)
    high = float(np.arcsinh(max(top, soft) / soft))
    low = -high if symmetric else float(np.arcsinh(-2.0 / 3.0))
    level = np.clip((value - low) / (high - low), 0.0, 1.0)
    shown = np.repeat((np.nan_to_num(level) * 255.0).astype(np.uint8)[..., None], 3, axis=2)
    shown[~np.isfinite(plane)] = _TINT
    return shown


def robust_sigma(plane: NDArray[np.float32]) -> float:
    """Standard deviation of a plane from its quartiles, NaN left out; at least a tiny positive number."""
    finite = plane[np.isfinite(plane)]
    if finite.size == 0:
        return 1.0
    low, high = np.percentile(finite, (25.0, 75.0))
    return max(float(high - low) / 1.349, 1e-6)


def shrink(plane: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean of factor x factor cells, NaN left out; a cell without data is NaN."""
    if factor <= 1:
        return plane
    ny, nx = (size // factor * factor for size in plane.shape)
    cells = plane[:ny, :nx].reshape(ny // factor, factor, nx // factor, factor)
    good = np.isfinite(cells)
    total = np.where(good, cells, np.float32(0.0)).sum(axis=(1, 3))
    count = good.sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def pair_figure(
    science: Image,
    reference: Image,
    difference: Difference,
    candidates: Candidates,
    stamps: Stamps,
    *,
    title: str = "",
    subtitle: str = "",
    threshold: float = 0.5,
    n_best: int = 8,
) -> Figure:
    """Draw science, reference and difference with the candidates circled, and the best triplets below.

    Parameters
    ----------
    science, reference : Image
        On one grid.
    difference : Difference
    candidates : Candidates
        Circled in amber where brighter in the science image, in blue where fainter; bold from `threshold` up.
    stamps : Stamps
    title, subtitle : str
        Headline, and the line below it.
    threshold : float
        Real/bogus score from which a candidate counts as real.
    n_best : int
        Triplets shown.
    """
    from matplotlib.figure import Figure

    rows = best_rows(candidates, n_best)
    ny, nx = science.shape
    panel_height = 5.0 * ny / nx
    strip = 1.72 * (-(-len(rows) // 4)) if len(rows) else 0.3
    height = 1.05 + panel_height + strip
    figure = Figure(figsize=(15.6, height), facecolor=_PAPER)
    figure.text(0.012, 1.0 - 0.22 / height, title, fontsize=12.5, fontweight="bold", color=_INK, va="center")
    figure.text(0.012, 1.0 - 0.47 / height, subtitle, fontsize=10, color=_SOFT_INK, va="center")
    left, width, space = 0.012, 0.32, 0.008
    planes = _panels(science, reference, difference)
    for i, (name, pixels) in enumerate(planes):
        axes = figure.add_axes((left + i * (width + space), (strip + 0.22) / height, width, panel_height / height))
        axes.imshow(pixels, origin="lower", extent=(-0.5, nx - 0.5, -0.5, ny - 0.5), interpolation="nearest")
        axes.set_title(name, fontsize=10.5, color=_INK, pad=4, loc="left")
        _bare(axes)
        if i != 1:
            _circle(axes, candidates, rows, threshold, science.shape)
    _legend(figure, candidates, threshold, height)
    _gallery(figure, candidates, stamps, rows, strip, height)
    return figure


def _panels(science: Image, reference: Image, difference: Difference) -> list[tuple[str, NDArray[np.uint8]]]:
    factor = max(1, -(-max(science.shape) // _PANEL_PX))
    empty = int(Mask.NO_DATA)
    planes = []
    for image in (science, reference, difference):
        data = image.numpy()
        data[(image.numpy("mask") & empty) != 0] = np.nan
        planes.append(shrink(data, factor))
    noise = [robust_sigma(plane) for plane in planes]
    sky = [float(np.nanmedian(plane)) if np.isfinite(plane).any() else 0.0 for plane in planes[:2]]
    top = 60.0 * noise[0]
    return [
        (_caption("Science", science), grey(planes[0] - sky[0], noise[0], top)),
        (_caption("Reference, registered", reference), grey(planes[1] - sky[1], noise[0], top)),
        (f"Difference ({difference.engine})", grey(planes[2], noise[2], 12.0 * noise[2], symmetric=True)),
    ]


def _caption(name: str, image: Image) -> str:
    if image.psf is None or not np.isfinite(image.psf.fwhm):
        return name
    return f"{name}   seeing {image.psf.fwhm:.2f} px"


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor("#8b949e")
        spine.set_linewidth(0.6)


def _circle(
    axes: Axes, candidates: Candidates, rows: NDArray[np.intp], threshold: float, shape: tuple[int, int]
) -> None:
    from matplotlib.collections import EllipseCollection

    ny, nx = shape
    score, positive = np.nan_to_num(scores_of(candidates), nan=0.0), candidates["snr"] > 0
    x, y = candidates["x"], candidates["y"]
    size = 0.022 * max(shape)
    for strong in (False, True):
        keep = (score >= threshold) == strong
        colours = np.where(positive[keep], POSITIVE, NEGATIVE)
        span = np.full(int(keep.sum()), size if strong else 0.55 * size)
        axes.add_collection(
            EllipseCollection(
                span, span, np.zeros_like(span), units="xy", offsets=np.column_stack([x[keep], y[keep]]),
                offset_transform=axes.transData, facecolors="none", edgecolors=list(colours),
                linewidths=1.6 if strong else 0.7, alpha=1.0 if strong else min(0.75, 80.0 / max(len(span), 1) + 0.3),
            )
        )  # fmt: skip
    for rank, row in enumerate(rows, 1):
        above = y[row] < ny - 2.2 * size
        axes.annotate(
            str(rank), (x[row], y[row]), xytext=(0, 7 if above else -7), textcoords="offset points", fontsize=7.5,
            ha="center", va="bottom" if above else "top", color=POSITIVE if positive[row] else NEGATIVE,
            fontweight="bold", annotation_clip=True,
        )  # fmt: skip
    axes.set_xlim(-0.5, nx - 0.5)
    axes.set_ylim(-0.5, ny - 0.5)


def _legend(figure: Figure, candidates: Candidates, threshold: float, height: float) -> None:
    positive = candidates["snr"] > 0
    strong = scores_of(candidates) >= threshold
    y = 1.0 - 0.47 / height
    parts: Sequence[tuple[str, str]] = (
        (f"○ {int(positive.sum())} brighter", "#b87e00"),
        (f"○ {int((~positive).sum())} fainter", "#1f6fbf"),
        (f"{int(strong.sum())} with score ≥ {threshold:.2f} (bold)", _INK),
    )
    for (text, colour), x in zip(parts, (0.676, 0.752, 0.826), strict=True):
        figure.text(x, y, text, fontsize=10, color=colour, va="center")


def _gallery(
    figure: Figure, candidates: Candidates, stamps: Stamps, rows: NDArray[np.intp], strip: float, height: float
) -> None:
    if len(rows) == 0:
        figure.text(0.012, 0.15 / height, "No candidates", fontsize=10, color=_INK)
        return
    where = {str(name): i for i, name in enumerate(stamps.candidate_id)}
    score = scores_of(candidates)
    column, line = 0.2445, 1.72
    for rank, row in enumerate(rows, 1):
        across, down = (rank - 1) % 4, (rank - 1) // 4
        y = strip - (down + 1) * line + 0.1
        axes = figure.add_axes((0.012 + across * column, y / height, column - 0.01, (line - 0.42) / height))
        i = where.get(str(candidates["candidate_id"][row]))
        if i is not None:
            axes.imshow(triplet_pixels(stamps.cube[i]), origin="lower", interpolation="nearest")
        axes.set_anchor("NW")
        _bare(axes)
        shown = "no score" if np.isnan(score[row]) else f"score {score[row]:.3f}"
        px, py, snr = (candidates[name][row] for name in ("x", "y", "snr"))
        text = f"{rank}   {shown}   S/N {snr:+.1f}   x {px:.1f}  y {py:.1f}"
        colour = "#b87e00" if snr > 0 else "#1f6fbf"
        axes.set_title(text, fontsize=9, color=colour, pad=3, loc="left")
