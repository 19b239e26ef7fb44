"""Figures of the comparison: one column per camera, real frames dark and simulated ones orange throughout."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from realism_parts.frames import STAMP
from realism_parts.statistics import CAUSES, RINGS

__all__ = ["draw_figures"]

REAL, SIMULATED, QUIET = "#1c2128", "#e8710a", "#8c959f"
_SIDES: tuple[Side, Side] = (("real", REAL, "o", "-"), ("simulated", SIMULATED, "s", "--"))
Cameras = list[dict[str, Any]]
Side = tuple[str, str, str, Literal["-", "--"]]


def draw_figures(report: dict[str, Any], stamps: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Draw and save all figures; yields their paths."""
    cameras = [camera for camera in report["cameras"].values() if "real" in camera]
    shown = [stamps[name] for name, camera in report["cameras"].items() if "real" in camera]
    if not cameras:
        return
    makers: dict[str, Callable[[], Figure]] = {
        "stars": lambda: _stars(cameras),
        "psf": lambda: _psf(cameras),
        "noise": lambda: _noise(cameras),
        "causes": lambda: _causes(cameras),
        "classifier": lambda: _classifier(cameras),
        "stamps": lambda: _stamps(cameras, shown),
    }
    for name, make in makers.items():
        path = folder / f"realism_{name}.png"
        buffer = io.BytesIO()
        make().savefig(buffer, dpi=85 if name == "stamps" else 100, metadata={"Software": None})
        # Stamps are noise, which no compression makes small; 48 colours are enough for all figures.
        with Image.open(buffer) as picture:
            picture.convert("RGB").quantize(48).save(path, optimize=True)
        yield path


def _grid(cameras: Cameras, rows: int, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(3.0 * max(len(cameras), 2), height), layout="constrained")
    axes = figure.subplots(rows, len(cameras), squeeze=False)
    for ax, camera in zip(axes[0], cameras, strict=True):
        ax.set_title(camera["title"].replace(", ", "\n"), fontsize=9)
    for ax in axes.flat:
        ax.tick_params(labelsize=7)
        ax.grid(color="#d0d7de", linewidth=0.4)
        ax.set_axisbelow(True)
    handles = [Line2D([], [], color=c, marker=m, linestyle=s, markersize=4, label=n) for n, c, m, s in _SIDES]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure, axes


def _curve(
    ax: Axes, rows: list[dict[str, Any]], name: str, side: tuple[str, str, str, str], *, faint: bool = False
) -> None:
    rows = [row for row in rows if name in row]
    if not rows:
        return
    x = [float(np.sqrt(row["snr"][0] * row["snr"][1])) for row in rows]
    y, low, high = (np.array([row[name][i] for row in rows], float) for i in range(3))
    _, colour, marker, style = side
    ax.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    ax.plot(x, y, color=colour, marker=marker, linestyle=style, markersize=3, linewidth=0.8 if faint else 1.4)


def _plain_ticks(axis: Axis) -> None:
    """1, 3, 10, 30 ... instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _stars(cameras: Cameras) -> Figure:
    """Residual at stars against their S/N."""
    figure, axes = _grid(cameras, 2, 5.6)
    for j, camera in enumerate(cameras):
        for side in _SIDES:
            rows = camera[side[0]]["stars"]
            _curve(axes[0, j], rows, "score_median", side)
            _curve(axes[0, j], rows, "score_90", side, faint=True)
            _curve(axes[1, j], rows, "chi2_median", side)
            _curve(axes[1, j], rows, "chi2_90", side, faint=True)
        for ax in axes[:, j]:
            ax.set_xscale("log")
            ax.set_yscale("log")
            for axis in (ax.xaxis, ax.yaxis):
                _plain_ticks(axis)
        axes[1, j].set_xlabel("S/N of the star in the science frame", fontsize=8)
    axes[0, 0].set_ylabel("largest |score| at the star\n(thick: median, thin: 90 %)", fontsize=8)
    axes[1, 0].set_ylabel("difference² / variance in the core\n(thick: median, thin: 90 %)", fontsize=8)
    figure.suptitle("What is left of stars after subtraction", x=0.01, ha="left", fontsize=11)
    return figure


def _psf(cameras: Cameras) -> Figure:
    """Profile of stars and residual from the PSF model."""
    figure, axes = _grid(cameras, 2, 5.6)
    middle = 0.5 * (RINGS[1:] + RINGS[:-1])
    for j, camera in enumerate(cameras):
        for side in _SIDES:
            values = np.array([np.nan if v is None else v for v in camera[side[0]]["profile"]], float)
            values[values <= 0] = np.nan
            axes[0, j].plot(middle, values, color=side[1], marker=side[2], linestyle=side[3], markersize=3)
            _curve(axes[1, j], camera[side[0]]["stars"], "model_rms_median", side)
        axes[0, j].set_yscale("log")
        axes[0, j].set_xlabel("distance from the star, FWHM", fontsize=8)
        axes[1, j].set_xscale("log")
        axes[1, j].set_yscale("log")
        for axis in (axes[1, j].xaxis, axes[1, j].yaxis):
            _plain_ticks(axis)
        axes[1, j].set_xlabel("S/N of the star", fontsize=8)
    axes[0, 0].set_ylabel("light per FWHM² over the PSF flux", fontsize=8)
    axes[1, 0].set_ylabel("rms of frame minus PSF model\nwithin 1 FWHM, share of the peak", fontsize=8)
    figure.suptitle("Profiles of stars, and how well the measured PSF fits them", x=0.01, ha="left", fontsize=11)
    return figure


def _noise(cameras: Cameras) -> Figure:
    """Tails of the score on empty sky, and correlation of the noise."""
    figure, axes = _grid(cameras, 3, 7.6)
    edges = np.linspace(-6.0, 6.0, 49)
    centre, step = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    for j, camera in enumerate(cameras):
        axes[0, j].plot(centre, np.exp(-0.5 * centre**2) / np.sqrt(2 * np.pi), color=QUIET, linewidth=1.0)
        for side in _SIDES:
            sky = camera[side[0]]["sky"]
            if "histogram" in sky:
                counts = np.array(sky["histogram"], float)
                density = np.where(counts > 0, counts / counts.sum() / step, np.nan)
                style = {"color": side[1], "marker": side[2], "linestyle": side[3], "linewidth": 0.9}
                axes[0, j].plot(centre, density, markersize=2, **style)
            for row, plane in ((1, "science"), (2, "difference")):
                values = [np.nan if v is None else v for v in camera[side[0]]["autocorrelation"][plane]]
                axes[row, j].plot(range(1, 5), values, color=side[1], marker=side[2], linestyle=side[3], markersize=4)
        axes[0, j].set_yscale("log")
        axes[0, j].set_ylim(1e-5, 1.0)
        axes[0, j].set_xlabel("score on empty sky", fontsize=8)
        for row in (1, 2):
            axes[row, j].axhline(0.0, color=QUIET, linewidth=0.8)
            axes[row, j].set_xticks(range(1, 5))
            axes[row, j].set_xlabel("lag, px", fontsize=8)
    axes[0, 0].set_ylabel("density (grey: normal law)", fontsize=8)
    axes[1, 0].set_ylabel("autocorrelation of the\nscience frame's sky", fontsize=8)
    axes[2, 0].set_ylabel("autocorrelation of the\ndifference's sky", fontsize=8)
    figure.suptitle("Noise on empty sky", x=0.01, ha="left", fontsize=11)
    return figure


def _causes(cameras: Cameras) -> Figure:
    """Candidates per Mpx by cause, with 95 % intervals."""
    figure, axes = _grid(cameras, 2, 6.0)
    places = np.arange(len(CAUSES))
    for j, camera in enumerate(cameras):
        for row, limit in enumerate(("4", "5")):
            ax = axes[row, j]
            everything = []
            for k, side in enumerate(_SIDES):
                rates = camera[side[0]]["candidates"][limit]["per_mpx"]
                n, low, high = (np.array([rates[cause][i] for cause in CAUSES]) for i in range(3))
                everything += [n[n > 0], high]
                at = places + (k - 0.5) * 0.3
                ax.hlines(at, np.maximum(low, 1e-3), high, color=side[1], linewidth=1.6)
                ax.plot(np.where(n > 0, n, np.nan), at, color=side[1], marker=side[2], linestyle="", markersize=4)
                ax.plot(np.where(n > 0, np.nan, high), at, color=side[1], marker="<", linestyle="", markersize=4)
            values = np.concatenate(everything)
            ax.set_xscale("log")
            ax.set_xlim(max(0.05, values.min() / 4), values.max() * 2)
            ax.set_yticks(places, CAUSES if j == 0 else [""] * len(CAUSES), fontsize=8)
            ax.invert_yaxis()
            ax.set_xlabel(f"peaks above {limit} sigma per Mpx", fontsize=8)
    figure.suptitle("Candidates by cause (arrow: none, upper limit)", x=0.01, ha="left", fontsize=11)
    return figure


def _classifier(cameras: Cameras) -> Figure:
    """Area under the ROC curve of real against simulated, with the same for simulated against simulated."""
    figure = Figure(figsize=(9.0, 0.9 + 1.25 * len(cameras)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    methods = (("cnn", "network on stamps"), ("trees", "trees on features"))
    for ax, kind in zip(axes, ("artifacts", "stars"), strict=True):
        ticks, labels = [], []
        for i, camera in enumerate(cameras):
            found = camera["classifier"][kind]
            for k, (method, label) in enumerate(methods):
                at = 2.6 * i + k
                ticks.append(at)
                labels.append(f"{camera['title'].split(',')[0]}: {label}")
                for null in found.get("simulated_against_simulated", []):
                    if method in null:
                        ax.plot(null[method][0], at + 0.22, "|", color=QUIET, markersize=9, markeredgewidth=1.6)
                if method in found:
                    value, low, high = found[method]
                    ax.hlines(at, low, high, color=SIMULATED, linewidth=2)
                    ax.plot(value, at, "o", color=SIMULATED, markersize=5)
                else:
                    ax.text(0.52, at, "too few stamps", fontsize=7, color=QUIET, va="center")
        ax.axvline(0.5, color=QUIET, linewidth=1.0)
        ax.set_xlim(0.15, 1.02)
        ax.set_yticks(ticks, labels, fontsize=7)
        ax.set_xlabel("area under the ROC curve", fontsize=8)
        ax.set_title(f"{kind} (peaks above 4 sigma)" if kind == "artifacts" else "stars of equal S/N", fontsize=9)
        ax.tick_params(labelsize=7)
        ax.grid(axis="x", color="#d0d7de", linewidth=0.4)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], color=SIMULATED, marker="o", label="real against simulated, 95 %"),
        Line2D([], [], color=QUIET, marker="|", linestyle="", markersize=9, label="simulated against simulated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle("Can a classifier tell them apart? (0.5: no)", x=0.01, ha="left", fontsize=11)
    return figure


def _stamps(cameras: Cameras, shown: list[dict[str, Any]]) -> Figure:
    """Some artifacts of each camera, real above simulated: science, reference, difference."""
    columns = 7
    figure = Figure(figsize=(11.0, 1.25 * len(cameras) + 0.5), layout="constrained")
    axes = figure.subplots(2 * len(cameras), columns, squeeze=False)
    rng = np.random.default_rng(0)
    for i, (camera, sides) in enumerate(zip(cameras, shown, strict=True)):
        for k, side in enumerate(_SIDES):
            cube = np.concatenate(sides[side[0]])
            picks: Any = rng.choice(len(cube), min(columns, len(cube)), replace=False) if len(cube) else []
            for j in range(columns):
                ax = axes[2 * i + k, j]
                ax.set_xticks([])
                ax.set_yticks([])
                for edge in ax.spines.values():
                    edge.set_color(side[1])
                if j < len(picks):
                    three = cube[picks[j]]
                    gap = np.full((STAMP, 2), np.nan)
                    strip = np.concatenate([three[0], gap, three[1], gap, three[2]], axis=1)
                    ax.imshow(strip, cmap="gray", vmin=-1.2, vmax=3.0, origin="lower", interpolation="nearest")
            text = f"{camera['title'].split(',')[0]}\n{side[0]}"
            axes[2 * i + k, 0].set_ylabel(text, fontsize=6.5, color=side[1], rotation=0, ha="right", va="center")
    figure.suptitle("Artifacts drawn at random: science, reference, difference", x=0.01, ha="left", fontsize=11)
    return figure
