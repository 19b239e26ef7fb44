"""What the commands share: options, the configuration made from them, consoles."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gueststar.options import Options

if TYPE_CHECKING:
    from rich.console import Console

    from gueststar.config import Config
    from gueststar.realbogus.damage import Damage

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
    "OptionsFile",
    "OutFolder",
    "Overrides",
    "Overwrite",
    "Quiet",
    "Seed",
    "SeedOrDefault",
    "Workers",
    "comma_names",
    "counting_bar",
    "errors",
    "number",
    "output",
    "override_list",
    "resolve",
    "resolve_options",
    "set_option",
    "stage_bars",
    "warn_of_damage",
]

# The configuration, and what it takes from the command line.
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

# Any command.
OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace products of gueststar that are there already.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Workers = Annotated[int | None, typer.Option("--workers", "-j", metavar="N", min=0, help="Processes; 0: one per core.")]
_SEED = typer.Option("--seed", metavar="N", help="Of all that is drawn; the same seed gives the same result.")
Seed = Annotated[int, _SEED]
SeedOrDefault = Annotated[int | None, _SEED]  # None: that of the options

# Commands with options of their own, beside the configuration.
OptionsFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Options of the command, a TOML file.")
]


def set_option(example: str) -> Any:
    """``--set`` of a command with options of its own, such as ``folds=8``."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"Set one option of the command, such as {example}.")


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

    given = {key.replace("__", "."): value for key, value in options.items()}
    return load_config(file, override_list(given, overrides))


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


@contextmanager
def stage_bars(words: Mapping[str, str], *, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar for each stage on the console of errors; gives a function of (stage, done, total), or None.

    Parameters
    ----------
    words : mapping of str to str
        What is shown for a stage; one that is not in it is shown by its name.
    """
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(words.get(stage, stage))
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def warn_of_damage(damaged: Sequence[Damage]) -> None:
    """Say which shards of a data set cannot be read."""
    for item in damaged:
        text = f"shard {item.shard} is skipped, {item.rows} rows: {item.reason}"
        errors().print(text, style="yellow", markup=False, soft_wrap=True)


def comma_names(text: str | None) -> list[str]:
    """Names of a list with commas; none of None."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def number(value: float, digits: int) -> str:
    """Fixed digits; a dash for no number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def override_list(given: Mapping[str, Any], overrides: Sequence[str] | None = None) -> list[str]:
    """``key=value`` of those options that were given, then those of ``--set``.

    Parameters
    ----------
    given : mapping of str to str, number or list
        By key; None leaves it alone.
    overrides : sequence of str, optional
        As given with ``--set``.
    """
    # JSON text of a string, number or list is TOML too.
    return [*(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None), *(overrides or ())]


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
