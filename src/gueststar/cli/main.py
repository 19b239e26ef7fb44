"""The `gueststar` program: its commands, and how errors become exit codes.

0: all went well. 1: the run itself failed. 2: wrong usage or configuration. 3: a night went through, but at least one
image crashed. 130: stopped by the user.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gueststar import __version__
from gueststar.cli import (
    audit,
    calibrate,
    config,
    dataset,
    doctor,
    drift,
    efficiency,
    evaluate,
    explain,
    inject,
    labels,
    missed,
    model,
    pair,
    run,
    score,
    simulate,
    solve,
    study,
    train,
)
from gueststar.cli.common import errors
from gueststar.errors import ConfigError, GueststarError
from gueststar.memory import keep_freed_memory

__all__ = ["app", "main"]


class Commands(TyperGroup):
    """The root group: shows our errors as one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error of ours becomes an exit code."""
        try:
            return super().invoke(ctx)
        except GueststarError as error:
            if ctx.params.get("debug"):
                raise
            errors().print(f"[bold red]{type(error).__name__}[/]", end=" ")
            errors().print(error.message, style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


app = typer.Typer(
    cls=Commands,
    name="gueststar",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gueststar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
) -> None:
    """Find what is new in the sky: difference two images, detect and score what is left.

    \b
    gueststar pair science.fits reference.fits --out pair
    gueststar run NIGHT --instrument tomoe --out products
    """  # noqa: D301


app.command("pair")(pair.pair)
app.command("run")(run.run)
app.command("inject")(inject.inject)
app.command("efficiency")(efficiency.efficiency)
app.command("missed")(missed.missed)
app.add_typer(simulate.app, name="simulate")
app.add_typer(dataset.app, name="dataset")
app.add_typer(labels.app, name="labels")
app.command("solve")(solve.solve)
app.command("train")(train.train)
app.add_typer(study.app, name="study")
app.add_typer(model.app, name="model")
app.command("calibrate")(calibrate.calibrate)
app.command("score")(score.score)
app.command("explain")(explain.explain)
app.command("evaluate")(evaluate.evaluate)
app.command("audit")(audit.audit)
app.command("drift")(drift.drift)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the program.

    Numerical libraries read their number of threads when they are loaded, which is after this. One is right: a chip's
    arrays are too small to share, and on a busy machine threads that wait for each other make the chain many times
    slower. Who sets the variables decides.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    keep_freed_memory()
    app()
