"""`gueststar dataset`: make, look at, check and convert the data sets that models are trained on."""

from __future__ import annotations

import typer

from gueststar.cli.dataset.build import build
from gueststar.cli.dataset.exchange import export, import_
from gueststar.cli.dataset.join import join
from gueststar.cli.dataset.shown import info, verify
from gueststar.cli.dataset.simulate import simulate

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Make, look at, check and convert the data sets that models are trained on."
)
app.command("build")(build)
app.command("simulate")(simulate)
app.command("join")(join)
app.command("import")(import_)
app.command("export")(export)
app.command("info")(info)
app.command("verify")(verify)
