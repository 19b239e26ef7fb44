"""`gueststar dataset`: make, look at, check and convert the data sets that models are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Quiet, counting_bar, errors, output, resolve_options

if TYPE_CHECKING:
    from gueststar.realbogus.stored import Damage, StoredDataset

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Make, look at, check and convert the data sets that models are trained on."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")]
Exclude = Annotated[
    str | None,
    typer.Option("--exclude", metavar="LIST", help="Reasons of suspicion whose rows are left out, with commas."),
]


@app.command()
def build(
    products: Annotated[
        list[Path], typer.Argument(metavar="PRODUCTS...", help="Folders of runs with artificial reals (--inject N).")
    ],
    out: Out,
    balance: Annotated[
        str | None, typer.Option("--balance", metavar="R:A", help="Reals to artifacts, as 1:1; or all. [default: all]")
    ] = None,
    strata: Annotated[
        str | None,
        typer.Option("--strata", metavar="LIST", help="Limits of S/N between intervals that each have the balance."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="A:B:C", help="Sizes of train, validation and test. [default: 2:1:1]"),
    ] = None,
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
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of split and balance.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one option, such as repeat_visits=3 or dtype=float32."),
    ] = None,
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
        "balance": None if balance is None else f'"{balance}"', "strata": _list(strata), "seed": seed,
        "split": None if split is None else _list(split.replace(":", ",")), "group_by": _list(group_by, quoted=True),
        "exclude": _list(exclude, quoted=True),
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(BuildSet, None, [*overrides, *(set_ or ())])
    with _stages({"look": "images looked at", "write": "images written"}, quiet=quiet) as progress:
        made = build_dataset(products, out, options, truth=truth or (), known=known or (), progress=progress)
    if not quiet:
        for text in made.facts.get("skipped", ()):
            errors().print(f"skipped: {text}", style="yellow", markup=False, soft_wrap=True)
        _print(made)


@app.command()
def info(folder: Folder, exclude: Exclude = None) -> None:
    """Show what is in a data set: by part, S/N, chip, doubt and truth.

    \b
    gueststar dataset info my_set
    gueststar dataset info my_set --exclude bright_star,flagged
    """  # noqa: D301
    from gueststar.realbogus.stored import open_dataset

    _print(open_dataset(folder, exclude=_names(exclude)))


@app.command()
def verify(folder: Folder, quiet: Quiet = False) -> None:
    """Read every byte of a data set and compare it with its manifest.

    Names every shard that is missing, truncated or changed, and groups that
    are in two parts of the split. The exit code is 1 when anything is wrong.

    \b
    gueststar dataset verify my_set
    """  # noqa: D301
    from gueststar.datasets.summary import verify_dataset

    with counting_bar("shards", quiet=quiet) as progress:
        result = verify_dataset(folder, progress=progress)
    _warn(result.damaged)
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


def _list(text: str | None, *, quoted: bool = False) -> str | None:
    """A list with commas as TOML; None for none."""
    if text is None:
        return None
    items = [item.strip() for item in text.split(",") if item.strip()]
    return "[" + ", ".join(f'"{item}"' if quoted else item for item in items) + "]"


def _names(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


@contextmanager
def _stages(words: dict[str, str], *, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar for each stage of something long."""
    if quiet:
        yield None
        return
    from rich.progress import Progress, TaskID

    with Progress(console=errors(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(words.get(stage, stage))
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _warn(damaged: tuple[Damage, ...]) -> None:
    for item in damaged:
        text = f"shard {item.shard} is skipped, {item.rows} rows: {item.reason}"
        errors().print(text, style="yellow", markup=False, soft_wrap=True)


def _print(data: StoredDataset) -> None:
    import math

    from rich.table import Table

    from gueststar.datasets.summary import summarise

    summary = summarise(data)
    _warn(summary.damaged)
    words = f"{summary.n} stamps of {summary.stamp_size} px in {data.folder}"
    output().print(words, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("by")
    table.add_column("")
    for name in ("reals", "artifacts", "neither"):
        table.add_column(name, justify="right")
    for title, rows in summary.tables.items():
        for number, (name, *counts) in enumerate(rows):
            table.add_row(title if number == 0 else "", name, *map(str, counts))
    output().print(table)
    output().print(f"{100 * summary.missing:.2g} % of the pixels have no data", soft_wrap=True)
    if math.isfinite(summary.contamination):
        output().print(f"{100 * summary.contamination:.1f} % of the artifacts are real by the truth", soft_wrap=True)
