"""Base of every options object: frozen, unknown keys forbidden, errors in plain words.

An options object *is* the engine: it is called with core types and returns core types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gueststar.errors import ConfigError

__all__ = ["Options", "explain_validation"]


class Options(BaseModel):
    """Frozen options with bounds, units and a description for each field.

    Raises
    ------
    ConfigError
        From `parse`, when a key is unknown or a value is out of bounds; it names the key, the value and what is valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Make the options from plain values.

        Parameters
        ----------
        values : mapping
            Keys and values, nested as in the TOML file.
        source : str
            Where the values come from; named in the error.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise explain_validation(error, cls, source) from None


def explain_validation(error: ValidationError, model: type[BaseModel], source: str) -> ConfigError:
    """Turn pydantic's report into one error that names the key, the value and what is valid."""
    lines, keys = [], []
    for item in error.errors():
        path, valid = _follow(model, [str(part) for part in item["loc"]])
        key = ".".join(path) or "(top level)"
        value = item.get("input")
        keys.append(key)
        if item["type"] == "extra_forbidden":
            lines.append(f"{key} = {value!r}: unknown key; valid keys here: {', '.join(sorted(valid)) or 'none'}")
        else:
            lines.append(f"{key} = {value!r}: {item['msg']}")
    text = f"{source}: " + "; ".join(lines)
    return ConfigError(text, key=keys[0], value=repr(error.errors()[0].get("input")))


def _follow(model: type[BaseModel], location: list[str]) -> tuple[list[str], set[str]]:
    """The key as a user writes it, and the keys that are valid beside it.

    In the location of an error a discriminated union is followed by the tag of its member, which is no key: it is
    dropped, and narrows the union to that member.
    """
    models: list[type[BaseModel]] = [model]
    path: list[str] = []
    beside: set[str] = set()
    for part in location:
        tagged = [m for m in models if len(models) > 1 and part in _tags(m)]
        if tagged:
            models = tagged
            continue
        path.append(part)
        beside = {name for m in models for name in m.model_fields}
        models = [
            inner for m in models if part in m.model_fields for inner in _models_in(m.model_fields[part].annotation)
        ]
    return path, beside


def _tags(model: type[BaseModel]) -> set[str]:
    """Default values of the fields that can tell a member of a union."""
    return {str(field.default) for field in model.model_fields.values() if isinstance(field.default, str)}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for inner in getattr(annotation, "__args__", ()):
        found += _models_in(inner)
    return found
