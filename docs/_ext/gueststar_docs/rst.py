"""Small helpers that write reStructuredText."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["escape", "heading", "list_table", "literal", "none_of"]


def heading(text: str, line: str = "=") -> str:
    """Return a heading with its underline."""
    return f"{text}\n{line * len(text)}\n"


def literal(text: str) -> str:
    """Return inline literal text; empty text gives an empty cell."""
    return f"``{text}``" if text else ""


def escape(text: str) -> str:
    """Escape what reStructuredText would read as markup in plain prose; literals stay."""
    parts = text.split("``")
    for i in range(0, len(parts), 2):
        for sign in ("\\", "*", "|", "_ "):
            parts[i] = parts[i].replace(sign, "\\" + sign)
        parts[i] = parts[i].replace("`", "``")  # single back quotes name code in our help texts
    return "``".join(parts)


def list_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, widths: Sequence[int], title: str = "") -> str:
    """Return a list-table; cells are reStructuredText."""
    lines = [
        f".. list-table:: {title}".rstrip(),
        "   :header-rows: 1",
        f"   :widths: {' '.join(map(str, widths))}",
        "",
    ]
    for row in (header, *rows):
        for i, cell in enumerate(row):
            first, *rest = cell.split("\n")
            lines.append(f"   {'*' if i == 0 else ' '} - {first}".rstrip())
            lines += [f"       {line}".rstrip() for line in rest]
    return "\n".join(lines) + "\n"


def none_of(n: int) -> str:
    """Return what is known of a rate when none of n is found: its bound of 95 %, rows taken as independent."""
    return f"none; below {100 * (1.0 - 0.05 ** (1.0 / n)):.3f} %"
