"""The card of the shipped real/bogus model as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from gueststar.realbogus.card_figures import (
    CardFigure,
    few_images,
    figures_of,
    how_drawn,
    images_text,
    interval_text,
)
from gueststar_docs.rst import escape, heading, list_table, literal

__all__ = ["card_text", "model_card_page"]

_TITLE = "Card of the shipped model"
_RATES = ("FPR at TPR 0.9", "FPR at TPR 0.98")
_LEFT_OUT = ("metrics", "training_data", "training", "scalars")


def model_card_page() -> str:
    """Return the page of the shipped ``card.json``."""
    path = resources.files("gueststar.realbogus") / "shipped" / "card.json"
    if not path.is_file():
        return heading(_TITLE) + "\nThis source tree holds no model; ``make train`` makes one.\n"
    return card_text(json.loads(path.read_text(encoding="utf-8")))


def card_text(card: Mapping[str, Any]) -> str:
    """Return a card as a page: what it is, how good, what it was trained on."""
    lines = [
        heading(_TITLE),
        "What the shipped model is, what was measured, and what it was trained on, as the training command wrote it",
        "into ``card.json`` beside the weights. Intervals are 95 %.\n",
        _entries({key: value for key, value in card.items() if key not in _LEFT_OUT}),
        heading("Measured quality", "-"),
        "Test samples are not a night: multiply a false-positive rate by the artifacts of a night. *S/N alone* is the",
        "area under the curve that the signal to noise would reach by itself. A dagger marks a rate that fewer than",
        "ten objects of the sample decide, an asterisk an interval that counts rows as independent; those of one image",
        "are not, so such an interval is too narrow.\n",
    ]
    for metrics in card["metrics"].values():
        lines += _evaluation(metrics)
    lines += [heading("Training data", "-"), _parts(card["training_data"]["parts"])]
    lines.append(_entries({k: v for k, v in card["training_data"].items() if not isinstance(v, dict | list)}))
    lines.append(_joined_sets(card["training_data"].get("sets", [])))
    lines += _before(card["training"].get("finetune"))
    lines += [heading("Training", "-"), _history(card["training"])]
    lines += [heading("Measured numbers that the network takes", "-"), _records(card["scalars"])]
    return "\n".join(lines)


def _evaluation(metrics: Mapping[str, Any]) -> Iterator[str]:
    if "auc" not in metrics:
        return
    yield heading(_sentence(str(metrics["name"])), "~")
    yield (
        f"{metrics['n_real']} reals, {metrics['n_bogus']} artifacts, {images_text(metrics)}; {how_drawn(metrics)}. "
        f"S/N alone has an area of {_number(metrics['auc_snr'])}.\n"
    )
    if few := few_images(metrics):
        yield f".. warning::\n\n   {few[0].upper()}{few[1:]}.\n"
    rows = [
        (escape(figure.name[0].upper() + figure.name[1:]), _number(figure.threshold, 4), _figure(figure))
        for figure in figures_of(metrics)
    ]
    yield list_table(("Figure", "Threshold", "Value with interval"), rows, widths=(40, 20, 40))
    if metrics.get("strata"):
        yield list_table(
            ("S/N", "Reals", "Artifacts", "AUC", "S/N alone", *_RATES),
            [_stratum(stratum) for stratum in metrics["strata"]],
            widths=(8, 8, 9, 29, 8, 19, 19),
        )
    kinds = metrics.get("called_real_of_kind")
    if kinds:
        yield "Share called real at the threshold of the card, by what it is in truth:\n"
        rows = [(escape(_sentence(k)), str(n), f"{100 * called / max(n, 1):.1f} %") for k, (called, n) in kinds.items()]
        yield list_table(("Kind", "Number", "Called real"), rows, widths=(40, 30, 30))


def _figure(figure: CardFigure) -> str:
    rows = "" if figure.by_images or math.isnan(figure.low) else r" \*"
    return f"{interval_text(figure, 5)}{rows}{'' if figure.resolved else ' †'}"


def _stratum(stratum: Mapping[str, Any]) -> tuple[str, ...]:
    figures = {figure.name: figure for figure in figures_of(stratum)} if stratum["auc"] is not None else {}
    cells = (_figure(figures[name]) if name in figures else "–" for name in ("AUC", *_RATES))
    area, *rates = cells
    name = escape(str(stratum["name"]).removeprefix("S/N "))
    n_real, n_bogus = (str(stratum[key]) for key in ("n_real", "n_bogus"))
    return name, n_real, n_bogus, area, _number(stratum["auc_snr"]), *rates


def _parts(parts: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = sorted({kind for part in parts.values() for kind in part.get("kinds", {})})
    rows = [
        (escape(_sentence(name)), *(str(part[name]) for part in parts.values()))
        for name in ("real", "artifact", "left_out")
    ]
    rows += [
        (f"of kind {kind.replace('_', ' ')}", *(str(p["kinds"].get(kind, 0)) for p in parts.values())) for kind in kinds
    ]
    return list_table(("Rows", *map(_sentence, parts)), rows, widths=(40, *[60 // len(parts)] * len(parts)))


def _joined_sets(sets: Sequence[Mapping[str, Any]]) -> str:
    """Table of the data sets that were joined; empty where there was one."""
    rows = []
    for one in sets:
        made = one.get("provenance", {})
        options = made.get("options", {})
        real = ", ".join(f"{passes} passes over {field}" for field, passes in made.get("real_passes", {}).items())
        cells = (options.get("n_pairs", "–"), options.get("seed", "–"), len(options.get("chips", ())) or "–")
        rows.append((escape(str(one["name"])), *map(str, cells), escape(real) or "–"))
    if not rows:
        return ""
    header = ("Set", "Simulated pairs of frames", "Seed", "Chips told apart", "Real frames")
    return "These sets were joined:\n\n" + list_table(header, rows, widths=(22, 20, 10, 16, 32))


def _before(finetune: Mapping[str, Any] | None) -> Iterator[str]:
    """What the model that was trained further had been trained on, back to the first."""
    while finetune:
        data = finetune.get("from_data") or {}
        layers = "Every layer" if finetune["part"] == "all" else "The head"
        yield heading(f"Before that: {escape(finetune['from'])}", "~")
        yield (
            f"{layers} of {escape(finetune['from'])} (weights ``{finetune['from_hash'][:12]}``) went on from there. "
            "The tables above are of the later rows; it had been trained on these:\n"
        )
        if data.get("parts"):
            yield _parts(data["parts"])
        yield _joined_sets(data.get("sets", []))
        finetune = finetune.get("from_finetune")


def _history(training: Mapping[str, Any]) -> str:
    history = training.get("history") or []
    best = training.get("best_epoch")
    words = "" if best is None else f"; the weights are those after pass {best + 1}"
    return f"{len(history)} passes over the training part{words}.\n\n" + _records(history)


def _records(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    header = [_sentence(name) for name in names]
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    return list_table(header, cells, widths=[max(1, 100 // len(names))] * len(names))


def _entries(values: Mapping[str, Any]) -> str:
    rows = [(escape(_sentence(key)), _text(value)) for key, value in values.items()]
    return list_table(("Entry", "Value"), rows, widths=(30, 70))


def _sentence(name: str) -> str:
    return name.replace("_", " ").capitalize() if "_" in name or name.islower() else name


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not measured"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and any(isinstance(item, str) and " " in item for item in value):
        return "\n".join(f"- {escape(' '.join(item.split()))}" for item in value)
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{_sentence(str(name)).lower()}: {_text(item)}" for name, item in value.items())
    text = " ".join(str(value).split())
    return literal(text) if len(text) in (16, 32, 40, 64) and text.isalnum() else escape(text)
