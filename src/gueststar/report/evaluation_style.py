"""One look for the figures of an evaluation: colours that colour-blind readers tell apart, thin axes, white ground.

The colours are those of Okabe & Ito (2008, "Color Universal Design").
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = Literal["best", "lower left", "lower right", "upper left", "upper center", "center left"]

__all__ = ["BOGUS", "GREY", "INK", "MODELS", "REAL", "STYLES", "axes_of", "figure_uri", "finish", "heat", "png_of"]

REAL, BOGUS, INK, GREY = "#0072b2", "#d55e00", "#1c2128", "#8a939e"
#: One for each model, and dashes so that they differ without colour, too.
MODELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6470")
STYLES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1)), (0, (7, 2)), (0, (3, 3)))
#: Steps of cividis, dark to light, for cells (Nuñez, Anderton & Renslow 2018, PLoS ONE 13, e0199239).
_CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)


def axes_of(n: int = 1, *, width: float = 6.4, height: float = 4.5) -> tuple[Figure, list[Axes]]:
    """A figure with n panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="#ffffff")
    panels = figure.subplots(1, n, squeeze=False)[0]
    return figure, list(panels)


def finish(axes: Axes, x: str, y: str, *, title: str = "", legend: Place | None = "best") -> None:
    """Labels, grid and legend of a panel."""
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    if title:
        axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=9, colors=INK, which="both")
    axes.grid(visible=True, which="major", color="#e4e7eb", lw=0.7)
    axes.set_axisbelow(True)
    if legend is not None and axes.get_legend_handles_labels()[0]:
        axes.legend(loc=legend, fontsize=8.5, frameon=True, framealpha=0.92, edgecolor="none")


def png_of(figure: Figure) -> bytes:
    """A figure as PNG, the same bytes every time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def figure_uri(data: bytes) -> str:
    """PNG data as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def heat(share: float) -> tuple[str, str]:
    """Colours of a cell and of the text in it, for a share from 0 (bad, dark) to 1 (good, light)."""
    at = min(max(round(share * (len(_CIVIDIS) - 1)), 0), len(_CIVIDIS) - 1)
    return _CIVIDIS[at], "#ffffff" if at < 5 else "#10141c"
