"""`gueststar dataset build`: a data set from the products of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.common import (
    OutFolder,
    Quiet,
    SeedOrDefault,
    errors,
    override_list,
    resolve_options,
    set_option,
    stage_bars,
)
from gueststar.cli.dataset.options import SplitSizes, listed, sizes
from gueststar.cli.dataset.shown import print_dataset
from gueststar.cli.model_options import Exclude

__all__ = ["build"]


def build(
    products: Annotated[
        list[Path], typer.Argument(metavar="PRODUCTS...", help="Folders of runs with artificial reals (--inject N).")
    ],
    out: OutFolder,
    balance: Annotated[
        str | None, typer.Option("--balance", metavar="R:A", help="Reals to artifacts, as 1:1; or all. [default: all]")
    ] = None,
    strata: Annotated[
        str | None,
        typer.Option("--strata", metavar="LIST", help="Limits of S/N between intervals that each have the balance."),
    ] = None,
    split: SplitSizes = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by", metavar="LIST", help="What may not be in two parts. [default: tile,night,reference]"
        ),
    ] = None,
    exclude: Exclude = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            "--truth", metavar="FILE", help="truth.parquet of a simulated night that was run; again for more."
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option("--known", metavar="FILE", help="Known asteroids, variables, transients: ra, dec, kind."),
    ] = None,
    seed: SeedOrDefault = None,
    set_: Annotated[list[str] | None, set_option("repeat_visits=3 or dtype=float32")] = None,
    quiet: Quiet = False,
) -> None:
    """Make a data set from the products of runs.

    Class 1 are the artificial reals that were found, class 0 everything else
    that was detected. Rows whose label is doubtful are marked with the reason:
    failed_image, bright_star, flagged, repeated, known_asteroid,
    known_variable, known_transient.

    \b
    gueststar run NIGHT --out products --inject 200
    gueststar dataset build products --out my_set --group-by tile,reference
    gueststar dataset build run1 run2 --out my_set --balance 1:1 --strata 7,10,20 --exclude failed_image
    """  # noqa: D301
    from gueststar.datasets.build import BuildSet, build_dataset

    given = {
        "balance": balance, "strata": listed(strata), "seed": seed, "split": sizes(split),
        "group_by": listed(group_by), "exclude": listed(exclude),
    }  # fmt: skip
    options = resolve_options(BuildSet, None, override_list(given, set_))
    with stage_bars({"look": "images looked at", "write": "images written"}, quiet=quiet) as progress:
        made = build_dataset(products, out, options, truth=truth or (), known=known or (), progress=progress)
    if not quiet:
        for text in made.facts.get("skipped", ()):
            errors().print(f"skipped: {text}", style="yellow", markup=False, soft_wrap=True)
        print_dataset(made)
