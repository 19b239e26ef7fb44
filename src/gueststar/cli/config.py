"""`gueststar config`: show, check and begin a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.common import ConfigFile, Overrides, output, resolve

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Show, check and begin a configuration.")


@app.command()
def show(config: ConfigFile = None, set_: Overrides = None) -> None:
    """Print the resolved configuration as TOML.

    It is what a run with these options would use.

    \b
    gueststar config show --set detect.threshold_sigma=6
    """  # noqa: D301
    settings = resolve(config, set_)
    from gueststar.cli.toml import to_toml

    typer.echo(to_toml(settings), nl=False)


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration, a TOML file.")]) -> None:
    """Check a configuration file; says which key is wrong and what is valid.

    \b
    gueststar config check my_run.toml
    """  # noqa: D301
    settings = resolve(file, None)
    from gueststar.config import config_hash
    from gueststar.instruments import load_instrument

    profile = load_instrument(settings.instrument)
    text = f"{file} is sound: instrument {profile.name}, hash {config_hash(settings)}"
    output().print(text, markup=False, soft_wrap=True, style="green")


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")] = Path("gueststar.toml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a configuration with every key at its default, described.

    \b
    gueststar config init my_run.toml
    """  # noqa: D301
    from gueststar.cli.toml import to_toml
    from gueststar.config import Config
    from gueststar.errors import OutputError
    from gueststar.night.folders import replace_file

    if file.exists() and not overwrite:
        raise OutputError(f"{file} exists already; choose another name, or give --overwrite", path=str(file))
    replace_file(file.absolute(), to_toml(Config(), comments=True).encode())
    output().print(f"Wrote {file}; use it with --config {file}", markup=False, soft_wrap=True)
