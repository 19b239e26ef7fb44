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
    lines = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        key = ".".join(path) or "(top level)"
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            valid = ", ".join(sorted(_fields_at(model, path[:-1]))) or "none"
            lines.append(f"{key} = {value!r}: unknown key; valid keys here: {valid}")
        else:
            lines.append(f"{key} = {value!r}: {item['msg']}")
    first = error.errors()[0]
    text = f"{source}: " + "; ".join(lines)
    return ConfigError(text, key=".".join(str(p) for p in first["loc"]), value=repr(first.get("input")))


def _fields_at(model: type[BaseModel], path: list[str]) -> set[str]:
    """Names of the fields of the (nested) model at `path`; discriminated unions name their member in the path."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        following = []
        for candidate in models:
            field = candidate.model_fields.get(part)
            following += _models_in(field.annotation) if field is not None else [candidate]
        models = following
    return {name for candidate in models for name in candidate.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for inner in getattr(annotation, "__args__", ()):
        found += _models_in(inner)
    return found
