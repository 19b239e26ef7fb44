"""The figures of a model card in words: each with its interval, and what that interval counts as independent.

Cards of gueststar 0.1 before the drawing of images have intervals that count rows as independent; these are shown as
such.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gueststar.realbogus.evaluation.drawn_images import AT_THRESHOLD, FEW_IMAGES

__all__ = ["CardFigure", "few_images", "figures_of", "how_drawn", "images_text", "interval_text", "measured_parts"]

_AS_ROWS = "rows counted as independent"


@dataclass(frozen=True, slots=True)
class CardFigure:
    """One figure of one test sample.

    Parameters
    ----------
    name : str
        In words, such as 'FPR at TPR 0.98'.
    value, low, high : float
        With its interval of 95 %; NaN where unknown.
    threshold : float
        NaN where it belongs to none, or rows have different ones.
    by_images : bool
        Whether the interval is from drawing whole images; otherwise rows are counted as independent.
    resolved : bool
        False when fewer than ten rows decide it.
    is_rate : bool
        Whether it is a share, shown in per cent.
    """

    name: str
    value: float
    low: float
    high: float
    threshold: float = math.nan
    by_images: bool = True
    resolved: bool = True
    is_rate: bool = True


def measured_parts(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The test samples of a card's `metrics` that have an area under the curve."""
    return [part for part in metrics.values() if isinstance(part, Mapping) and part.get("auc") is not None]


def figures_of(part: Mapping[str, Any]) -> Iterator[CardFigure]:
    """The figures of one sample: area, the rates at each condition, and those at the model's own threshold."""
    drawn = dict(part.get("images") or {}).get("measures") or {}
    value, error = _number(part["auc"]), 1.96 * _number(part.get("auc_err"))
    rows = (max(value - error, 0.0), min(value + error, 1.0)) if error > 0 else (math.nan, math.nan)
    yield _figure("AUC", value, drawn.get("auc"), rows, is_rate=False)
    for point in part.get("points") or ():
        kind, wanted = str(point["name"]).split()
        rate = point["fpr"] if kind == "TPR" else point["tpr"]
        value, low, high = (_number(rate[key]) for key in ("value", "low", "high"))
        name, key = f"FPR at TPR {wanted}", f"fpr_at_tpr_{float(wanted):g}"
        if kind == "FPR":
            name, key = f"FNR at FPR {wanted}", f"fnr_at_fpr_{float(wanted):g}"
            value, low, high = 1.0 - value, 1.0 - high, 1.0 - low
        threshold, resolved = _number(point.get("threshold")), bool(point.get("resolved", True))
        yield _figure(name, value, drawn.get(key), (low, high), threshold=threshold, resolved=resolved)
    for key, name in AT_THRESHOLD.items():
        if key in drawn:
            value = _number(drawn[key]["value"])
            yield _figure(name, value, drawn[key], (math.nan, math.nan), threshold=_number(part.get("threshold")))


def interval_text(figure: CardFigure, digits: int = 4) -> str:
    """Value and interval: rates in per cent, an area with `digits`."""
    scale, digits, unit = (100.0, 2, " %") if figure.is_rate else (1.0, digits, "")
    value, low, high = (f"{scale * number:.{digits}f}" for number in (figure.value, figure.low, figure.high))
    if math.isnan(figure.value):
        return "unknown"
    return f"{value}{unit} (interval unknown)" if math.isnan(figure.low) else f"{value}{unit} ({low} to {high})"


def images_text(part: Mapping[str, Any]) -> str:
    """How many images a sample has, such as '394 images', or '60 nights' where nights are the least that is told."""
    images = dict(part.get("images") or {})
    if not images:
        return "images not counted"
    n = int(images["n"])
    return f"{n} {_unit(images)}{'' if n == 1 else 's'}"


def how_drawn(part: Mapping[str, Any]) -> str:
    """What the intervals of a sample are."""
    images = dict(part.get("images") or {})
    if not images:
        return f"intervals of 95 %: {_AS_ROWS}; those of one image are not, so the intervals are too narrow"
    if not images["draws"]:
        return f"intervals of 95 %: {_AS_ROWS}, as all are of one image and none can be drawn; they are too narrow"
    return f"intervals of 95 %: {images['draws']} draws of whole {_unit(images)}s"


def few_images(part: Mapping[str, Any]) -> str:
    """Warning that a sample has too few images for its intervals; empty when enough, or when they were not counted."""
    images = dict(part.get("images") or {})
    if not images:
        return ""
    found = [
        f"{name} are of {images[key]}"
        for key, name in (("with_real", "reals"), ("with_bogus", "artifacts"))
        if int(images[key]) < FEW_IMAGES
    ]
    if not found:
        return ""
    return f"too few {_unit(images)}s: {' and '.join(found)}; below {FEW_IMAGES} the intervals are not to be trusted"


def _unit(images: Mapping[str, Any]) -> str:
    """What is drawn as a whole."""
    by = str(images["by"])
    return "image" if by in ("", "image", "image_id") else by


def _figure(
    name: str, value: float, drawn: Mapping[str, Any] | None, rows: tuple[float, float], **more: Any
) -> CardFigure:
    low, high = (_number(drawn[key]) for key in ("low", "high")) if drawn is not None else (math.nan, math.nan)
    if math.isnan(low) or math.isnan(high):
        return CardFigure(name, value, *rows, by_images=False, **more)
    return CardFigure(name, value, low, high, **more)


def _number(value: Any) -> float:
    """A number of a card, whose NaN is null in JSON."""
    return math.nan if value is None else float(value)
