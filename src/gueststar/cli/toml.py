"""Write options as TOML, with their descriptions as comments."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["to_toml"]

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def to_toml(model: BaseModel, *, comments: bool = False) -> str:
    """TOML text of a model and the models in it, in the order of the fields.

    Parameters
    ----------
    model : BaseModel
    comments : bool
        Put the description and bounds above each key. A key whose value is None is written as a comment: TOML has no
        null.

    Returns
    -------
    str
    """
    return "\n".join(_section(model, "", comments=comments)).strip() + "\n"


def _section(model: BaseModel, path: str, *, comments: bool) -> list[str]:
    lines: list[str] = [f"[{path}]"] if path else []
    inner: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            key = f"{path}.{name}" if path else name
            inner += ["", *(_comment(field) if comments else ()), *_section(value, key, comments=comments)]
            continue
        if comments:
            lines += _comment(field)
        lines.append(f"{name} = {_value(value)}" if value is not None else f"# {name} =")
    return lines + inner


def _comment(field: FieldInfo) -> list[str]:
    text = " ".join((field.description or "").split())
    limits = [f"{_BOUNDS[name]} {bound:g}" for name, bound in _bounds(field)]
    choices = _choices(field.annotation)
    if choices:
        limits.append("one of " + ", ".join(json.dumps(choice) for choice in choices))
    if limits:
        text = f"{text} ({', '.join(limits)})"
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="#   ")


def _bounds(field: FieldInfo) -> list[tuple[str, float]]:
    return [
        (name, getattr(item, name))
        for item in field.metadata
        for name in _BOUNDS
        if getattr(item, name, None) is not None
    ]


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        found: tuple[Any, ...] = get_args(annotation)
        return found if len(found) > 1 else ()
    return ()


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, float):
        return "inf" if value == float("inf") else repr(value)
    return str(value)
