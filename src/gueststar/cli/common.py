"""What the commands share: options, the configuration made from them, consoles."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gueststar.options import Options

if TYPE_CHECKING:
    from rich.console import Console

    from gueststar.config import Config

T = TypeVar("T", bound=Options)

__all__ = [
    "Catalog",
    "ConfigFile",
    "Darks",
    "Device",
    "Engine",
    "Flats",
    "Gain",
    "Instrument",
    "Overrides",
    "Overwrite",
    "Quiet",
    "counting_bar",
    "errors",
    "number",
    "output",
    "resolve",
    "resolve_options",
]

Instrument = Annotated[
    str | None,
    typer.Option(
        "--instrument", "-i", metavar="NAME", help="Instrument profile: a name such as tomoe, or a .toml file."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration, a TOML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set one key of the configuration, such as detect.threshold_sigma=6."
    ),
]
Engine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Subtraction engine: kernel, sfft, zogy or hotpants.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="Where planes live: cpu, cuda or cuda:N.")]
Gain = Annotated[
    float | None, typer.Option("--gain", metavar="E_PER_ADU", help="Gain; overrides header and instrument profile.")
]
Darks = Annotated[list[Path] | None, typer.Option("--dark", metavar="FILE", help="Dark frame; give it again for more.")]
Flats = Annotated[list[Path] | None, typer.Option("--flat", metavar="FILE", help="Flat frame; give it again for more.")]
Catalog = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="Stars with ra, dec, mag (AB) for the zero point; needs a WCS."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace products of gueststar that are there already.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@cache
def output() -> Console:
    """Console of results."""
    from rich.console import Console

    return Console(highlight=False)


@cache
def errors() -> Console:
    """Console of progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def resolve(file: Path | None, overrides: Sequence[str] | None, **options: Any) -> Config:
    """Make the configuration: file, then options of the command line, then ``--set``.

    Parameters
    ----------
    file : Path or None
    overrides : sequence of str or None
        ``key=value`` as given.
    **options
        Values by key, with ``__`` for the dot; None leaves the key alone.

    Raises
    ------
    ConfigError
        For an unknown key or a value out of bounds.
    """
    from gueststar.config import load_config

    # JSON text of a string, number or list is TOML too.
    given = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return load_config(file, [*given, *(overrides or ())])


@contextmanager
def counting_bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the console of errors; gives a function of (done, total), or None when nothing is to be shown."""
    if quiet:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=errors(), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def number(value: float, digits: int) -> str:
    """Fixed digits; a dash for no number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def resolve_options(model: type[T], file: Path | None, overrides: Sequence[str]) -> T:
    """Make options that are not part of the configuration, such as those of the simulator.

    Parameters
    ----------
    model : type
        A subclass of `Options`.
    file : Path or None
        TOML file.
    overrides : sequence of str
        ``key=value``; the value is TOML, or a plain word.

    Raises
    ------
    ConfigError
        For an unreadable file, an unknown key or a value out of bounds.
    """
    from gueststar.errors import ConfigError

    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file}: not a readable TOML file: {error}", path=str(file)) from None
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"override {override!r}: expected key=value", value=override)
        *sections, last = key.strip().split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = _toml_value(text.strip())
    return model.parse(values, source=" ".join([str(file or "defaults"), *overrides]))


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
