"""`gueststar dataset info` and `verify`: what is in a data set, and whether all of it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gueststar.cli.common import Quiet, comma_names, counting_bar, errors, output, warn_of_damage
from gueststar.cli.dataset.options import DataFolder
from gueststar.cli.model_options import Exclude

if TYPE_CHECKING:
    from gueststar.realbogus.stored import StoredDataset

__all__ = ["info", "print_dataset", "verify"]

_MOST_CHIPS = 12  # more are listed in a line of text


def info(folder: DataFolder, exclude: Exclude = None) -> None:
    """Show what is in a data set: by part, S/N, chip, doubt and truth.

    \b
    gueststar dataset info my_set
    gueststar dataset info my_set --exclude bright_star,flagged
    """  # noqa: D301
    from gueststar.realbogus.stored import open_dataset

    print_dataset(open_dataset(folder, exclude=comma_names(exclude)))


def verify(folder: DataFolder, quiet: Quiet = False) -> None:
    """Read every byte of a data set and compare it with its manifest.

    Names every shard that is missing, truncated or changed, and groups that
    are in two parts of the split. The exit code is 1 when anything is wrong.

    \b
    gueststar dataset verify my_set
    """  # noqa: D301
    from gueststar.datasets.summary import verify_dataset

    with counting_bar("shards", quiet=quiet) as progress:
        result = verify_dataset(folder, progress=progress)
    warn_of_damage(result.damaged)
    for text in result.problems:
        errors().print(text, style="red", markup=False, soft_wrap=True)
    if not result.sound:
        lost = sum(item.rows for item in result.damaged)
        errors().print(
            f"{len(result.damaged)} of {result.shards} shards are damaged, {lost} of {result.rows} rows are lost",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    if not quiet:
        output().print(f"{result.shards} shards, {result.rows} rows: all as the manifest says", soft_wrap=True)


def print_dataset(data: StoredDataset) -> None:
    """Print the tables of a data set."""
    import math

    from rich.table import Table

    from gueststar.datasets.summary import summarise

    summary = summarise(data)
    warn_of_damage(summary.damaged)
    words = f"{summary.n} stamps of {summary.stamp_size} px in {data.folder}"
    output().print(words, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("by")
    table.add_column("")
    for name in ("reals", "artifacts", "neither"):
        table.add_column(name, justify="right")
    for title, rows in summary.tables.items():
        if title == "chip" and len(rows) > _MOST_CHIPS:
            continue
        for number, (name, *counts) in enumerate(rows):
            table.add_row(title if number == 0 else "", name, *map(str, counts))
    output().print(table)
    chips = summary.tables.get("chip", [])
    if len(chips) > _MOST_CHIPS:
        listed = ", ".join(f"{name} {reals}/{artifacts}" for name, reals, artifacts, _ in chips)
        output().print(f"{len(chips)} chips, reals/artifacts: {listed}", markup=False)
    output().print(f"{100 * summary.missing:.2g} % of the pixels have no data", soft_wrap=True)
    if math.isfinite(summary.contamination):
        output().print(f"{100 * summary.contamination:.1f} % of the artifacts are real by the truth", soft_wrap=True)
