"""Every error that gueststar raises on purpose.

::

    GueststarError
    ├── ConfigError            a configuration key or command option is unknown or out of bounds   (exit 2)
    ├── InputError             something given to gueststar cannot be used
    │   ├── FrameError         a file that is not a usable FITS image
    │   ├── KeywordError       a header keyword that is needed is missing or senseless
    │   └── PixelError         the pixels cannot be measured: all NaN, constant, no sky
    ├── StageError             a stage could not do its work on sound input
    │   ├── AlignmentError     science and reference cannot be registered
    │   ├── AstrometryError    no plate solution of an image could be found
    │   ├── SubtractionError   no matching kernel could be found
    │   ├── QualityError       an image failed a quality gate where only sound ones will do
    │   └── ModelError         a real/bogus model is missing, damaged or does not fit the stamps
    ├── MissingPartError       an optional program or package is not installed
    └── OutputError            a product cannot be written, or exists already

Each carries its facts as fields beside the message, so that a program can act on them.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AlignmentError",
    "AstrometryError",
    "ConfigError",
    "FrameError",
    "GueststarError",
    "InputError",
    "KeywordError",
    "MissingPartError",
    "ModelError",
    "OutputError",
    "PixelError",
    "QualityError",
    "StageError",
    "SubtractionError",
]

Fact = str | int | float | bool | None


class GueststarError(Exception):
    """Base of all errors that gueststar raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, the value, what was expected and what to do.
    **facts
        The same as values; kept in `facts` and stored with the outcome of an image.
    """

    def __init__(self, message: str, **facts: Fact) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, Fact] = facts

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes; the default pickling would lose the keyword facts.
        return (_rebuild, (type(self), self.message, dict(self.facts)))


def _rebuild(kind: type[GueststarError], message: str, facts: dict[str, Fact]) -> GueststarError:
    return kind(message, **facts)


class ConfigError(GueststarError):
    """A configuration key or option is unknown or out of bounds."""


class InputError(GueststarError):
    """Something given to gueststar cannot be used."""


class FrameError(InputError):
    """A file is not a usable FITS image."""


class KeywordError(InputError):
    """A header keyword that is needed is missing or senseless."""


class PixelError(InputError):
    """The pixels cannot be measured: all NaN, constant, or no sky."""


class StageError(GueststarError):
    """A stage could not do its work on sound input."""


class AlignmentError(StageError):
    """Science and reference cannot be registered on each other."""


class AstrometryError(StageError):
    """No plate solution of an image could be found."""


class SubtractionError(StageError):
    """No matching kernel could be found."""


class QualityError(StageError):
    """An image failed a quality gate where only sound ones will do."""


class ModelError(StageError):
    """A real/bogus model is missing, damaged or does not fit the stamps."""


class MissingPartError(GueststarError):
    """An optional program or package is not installed."""


class OutputError(GueststarError):
    """A product cannot be written, or exists already."""
