"""The card of the shipped real/bogus model as a page."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from gueststar_docs.rst import escape, heading, list_table, literal

__all__ = ["model_card_page"]

_LINES = "=-~^"


def model_card_page() -> str:
    """Return the shipped ``card.json`` as tables: one section for each of its nested parts."""
    path = resources.files("gueststar.realbogus") / "shipped" / "card.json"
    if not path.is_file():
        return heading("Card of the shipped model") + "\nThis source tree holds no model; ``make train`` makes one.\n"
    card = json.loads(path.read_text(encoding="utf-8"))
    intro = (
        "What the shipped model is, what it was trained on and what was measured, as written by the training command\n"
        "into ``card.json`` beside the weights.\n"
    )
    return "\n".join((heading("Card of the shipped model"), intro, *_section(card, 1)))


def _section(values: dict[str, Any], level: int) -> list[str]:
    plain = {key: value for key, value in values.items() if not _is_nested(value)}
    out = []
    if plain:
        rows = [(escape(key.replace("_", " ")), _text(value)) for key, value in plain.items()]
        out.append(list_table(("Entry", "Value"), rows, widths=(35, 65)))
    for key, value in values.items():
        if _is_nested(value):
            out += [heading(key.replace("_", " ").capitalize(), _LINES[min(level, 3)])]
            out += _section(value, level + 1) if isinstance(value, dict) else [_records(value)]
    return out


def _is_nested(value: Any) -> bool:
    return bool(value) and (isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict)))


def _records(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    header = [escape(name.replace("_", " ")) for name in names]
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    return list_table(header, cells, widths=[max(1, 100 // len(names))] * len(names))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not measured"}[value]
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    text = str(value)
    return literal(text) if len(text) in (16, 40, 64) and text.isalnum() else escape(text)
