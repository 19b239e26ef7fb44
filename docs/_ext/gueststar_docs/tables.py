"""Reference tables of the candidate columns, the errors and the mask bits."""

from __future__ import annotations

import textwrap

from sphinx.pycode import ModuleAnalyzer

from gueststar_docs.rst import escape, heading, list_table, literal

__all__ = ["column_page", "error_page", "mask_page"]

_KINDS = {"U": "text", "f": "float", "i": "integer"}


def column_page() -> str:
    """Return the page of the columns of a candidate table."""
    from gueststar.types import CANDIDATE_COLUMNS

    rows = [
        (literal(c.name), _dtype(c.dtype), "px" if c.unit == "pix" else c.unit, escape(c.description))
        for c in CANDIDATE_COLUMNS
    ]
    intro = "Every candidate table has these columns, an empty one as well. Later stages only add columns.\n"
    return "\n".join((heading("Candidate columns"), intro, _table(("Column", "Type", "Unit", "Meaning"), rows)))


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return list_table(header, rows, widths=(22, 14, 12, 52))


def _dtype(code: str) -> str:
    kind, width = code[0], int(code[1:])
    return f"{_KINDS[kind]}, {width} characters" if kind == "U" else f"{_KINDS[kind]}{8 * width}"


def error_page() -> str:
    """Return the page of the exception tree."""
    from gueststar import errors

    text = errors.__doc__ or ""
    tree = text.split("::\n", 1)[1].split("\n\nEach", 1)[0]
    tree = textwrap.dedent(tree).strip()
    return "\n".join(
        (
            heading("Errors"),
            "Every error that gueststar raises on purpose is a ``GueststarError``. It carries its facts as the mapping",
            "``facts`` beside the message, so that a program can act on them.\n",
            ".. code-block:: text\n",
            "\n".join(f"   {line}".rstrip() for line in tree.splitlines()),
            "",
            *(f".. autoexception:: gueststar.errors.{name}\n" for name in _by_tree(tree)),
        )
    )


def _by_tree(tree: str) -> list[str]:
    from gueststar.errors import __all__

    return sorted(__all__, key=tree.index)


def mask_page() -> str:
    """Return the page of the bits of a mask plane."""
    from gueststar.types import Mask

    notes = ModuleAnalyzer.for_module("gueststar.types.mask").find_attr_docs()
    rows = [
        (literal(bit.name or ""), str(bit.value), "", escape(" ".join(notes.get(("Mask", bit.name), [""])).strip()))
        for bit in Mask
    ]
    rows = [(name, value, text) for name, value, _, text in rows]
    intro = (
        "A mask plane holds these bits as 16-bit integers; zero is a good pixel. The mask of a difference joins the\n"
        "bits of both images, and ``REFERENCE`` says that a flag comes from the reference.\n"
    )
    return "\n".join((heading("Mask bits"), intro, list_table(("Name", "Value", "Meaning"), rows, widths=(22, 10, 68))))
