"""What became of one image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as _field
from typing import Any, Literal

import numpy as np

__all__ = ["Fact", "Outcome", "Status"]


Fact = str | int | float | bool | None
Status = Literal["ok", "rejected", "failed", "crashed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Parameters
    ----------
    image : str
        Name of the science file.
    status : {'ok', 'rejected', 'failed', 'crashed'}
        'rejected' by a quality gate, 'failed' with one of our errors, 'crashed' with any other.
    stage, reason : str
        Where and why it did not end well; empty when ok.
    facts : mapping
        Numbers of every stage.
    seconds : mapping
        Wall time per stage.
    products : mapping
        Product name to path, relative to the run's folder.
    counts : mapping
        Numbers of candidates.
    traceback : str
        Kept when crashed.
    """

    image: str
    status: Status
    stage: str = ""
    reason: str = ""
    field: str = ""
    chip: str = ""
    mjd: float | None = None
    facts: Mapping[str, Fact] = _field(default_factory=dict)
    seconds: Mapping[str, float] = _field(default_factory=dict)
    products: Mapping[str, str] = _field(default_factory=dict)
    counts: Mapping[str, int] = _field(default_factory=dict)
    traceback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinity become None."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """The inverse of `as_dict`; unknown keys are left out."""
        return cls(**{name: values[name] for name in _names(cls) if name in values})


def _names(kind: Any) -> Iterable[str]:
    return tuple(kind.__slots__)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
