"""`gueststar labels`: find likely wrong labels of a data set, decide about them, keep the decisions as versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import (
    Overwrite,
    Quiet,
    comma_names,
    counting_bar,
    errors,
    output,
    override_list,
    resolve_options,
    set_option,
    warn_of_damage,
)
from gueststar.cli.model_options import Epochs, TrainingDevice
from gueststar.cli.training_bars import training_bars

if TYPE_CHECKING:
    import pyarrow as pa

    from gueststar.realbogus.stored import StoredDataset

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Find likely wrong labels of a data set, and keep decisions about them as versions."
)

_NAMES = {1: "real", 0: "artifact", -1: "neither"}

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the data set.")]
Page = Annotated[
    Path | None,
    typer.Option("--page", metavar="FILE", help="Page to decide on, an .html file that needs nothing beside it."),
]
Most = Annotated[int, typer.Option("--most", metavar="N", min=1, max=5000, help="Rows on the page.")]


@app.command()
def suspect(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="TABLE", help="Table to write, .parquet or .csv.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="DIR", help="Model that has not seen the set; again for more."),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option("--scores", metavar="FILE", help="Scores of a model that has not seen the set, .parquet or .csv."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            help="Train K networks, each judging images it has not seen. [default: 5; none with --model, --scores]",
        ),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            "--trust", metavar="LIST", help="Kinds of reals never doubted, with commas; none. [default: injected,faded]"
        ),
    ] = None,
    label_version: Annotated[
        str | None, typer.Option("--label-version", metavar="NAME", help="Doubt this version of the labels.")
    ] = None,
    page: Page = None,
    most: Most = 200,
    epochs: Epochs = None,
    device: TrainingDevice = None,
    set_: Annotated[list[str] | None, set_option("label_noise.method=coteach")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Rank rows by how likely their label is wrong, with the reasons.

    What counts: networks that have not seen a row contradict its label
    (confident learning); a known asteroid, variable or transient is at the
    place of an artifact, or other visits have something there; the shape is
    that of a new point source, or of an artifact. Artificial reals are not
    doubted. Nothing is changed: see `gueststar labels decide`.

    \b
    gueststar labels suspect my_set --out suspects.parquet --page suspects.html
    gueststar labels suspect my_set --out suspects.parquet --folds 8 --set label_noise.method=coteach
    gueststar labels suspect my_set --out suspects.csv --model other_model
    gueststar labels suspect my_set --out suspects.parquet --scores scores.parquet --trust none
    """  # noqa: D301
    from gueststar.datasets.suspects import FindSuspects, check_suspects_path, find_suspects, write_suspects
    from gueststar.realbogus.stored import open_dataset

    check_suspects_path(out, overwrite=overwrite)
    _check_page(page, overwrite=overwrite)
    kinds = None if trust is None else [] if trust == "none" else comma_names(trust)
    given = {"folds": folds, "train.epochs": epochs, "train.device": device, "rules.trusted_kinds": kinds}
    options = resolve_options(FindSuspects, None, override_list(given, set_))
    dataset = open_dataset(data, labels=label_version or "")
    warn_of_damage(dataset.damaged)
    with training_bars(quiet=quiet) as bars:
        more: dict[str, Any] = {} if bars is None else {"progress": bars.progress, "watch": bars.watch}
        found = find_suspects(dataset, options, models=model or (), scores=scores or (), **more)
    write_suspects(out, found.table, overwrite=overwrite)
    for text in found.warnings:
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    if page is not None:
        _write_page(page, dataset, found.table, found.facts, most=most, quiet=quiet)
    if not quiet:
        _print_summary(found.table, found.facts)
        output().print(f"Table: {out}" + (f"\nPage: {page}" if page else ""), markup=False, soft_wrap=True)


@app.command()
def show(
    data: Data,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Parquet table of `gueststar labels suspect`.")],
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="Rows that are printed.")] = 20,
    page: Page = None,
    most: Most = 200,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Print the most suspicious rows with their reasons, or make the page to decide on.

    \b
    gueststar labels show my_set suspects.parquet --top 50
    gueststar labels show my_set suspects.parquet --page suspects.html --most 500
    """  # noqa: D301
    from rich.table import Table

    from gueststar.datasets.suspects import read_suspects
    from gueststar.realbogus.stored import open_dataset

    _check_page(page, overwrite=overwrite)
    found, facts = read_suspects(table)
    if page is not None:
        dataset = open_dataset(data)
        warn_of_damage(dataset.damaged)
        _write_page(page, dataset, found, facts, most=most, quiet=quiet)
    if quiet:
        return
    _print_summary(found, facts)
    rows = Table(box=None)
    for name in ("rank", "row", "label", "proposed", "chip", "reasons"):
        rows.add_column(name, justify="right" if name in ("rank", "row") else "left", overflow="fold")
    for row in found.slice(0, top).to_pylist():
        label, proposed = _NAMES[row["label"]], _NAMES[row["proposed_label"]]
        rows.add_row(
            str(row["rank"]), str(row["row"]), label, proposed if proposed != label else "", row["chip"], row["reasons"]
        )
    output().print(rows)
    if page is not None:
        output().print(f"Page: {page}", markup=False, soft_wrap=True)


@app.command()
def decide(
    data: Data,
    decisions: Annotated[
        Path, typer.Option("--decisions", metavar="FILE", help="Decisions, .json or .csv, as the page downloads them.")
    ],
    version: Annotated[str, typer.Option("--version", metavar="NAME", help="Name of the new version of the labels.")],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="NAME", help="Version to go on from. [default: labels of the set]"),
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="Who decided.")] = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What should be known about it.")] = "",
    quiet: Quiet = False,
) -> None:
    """Keep decisions as a new version of the labels; the data set itself is never changed.

    A version is written once: labels/NAME.parquet and labels/NAME.json in the
    folder of the set, with the hash of the set.

    \b
    gueststar labels decide my_set --decisions decisions.json --version reviewed --by Ada
    gueststar labels decide my_set --decisions more.csv --version reviewed2 --base reviewed --note "chip Q3"
    gueststar train --out my_model --data my_set --label-version reviewed
    gueststar evaluate my_set --model my_model --out evaluation --label-version reviewed
    """  # noqa: D301
    from gueststar.datasets.label_versions import decide_labels

    made = decide_labels(data, decisions, version, base=base or "", by=by, note=note)
    if not quiet:
        text = f"Version {version} of the labels of {data}: {made.facts.decisions} rows decided"
        text += f", {_changes(made.facts.changes)}"
        output().print(text, markup=False, soft_wrap=True)


@app.command("list")
def list_versions(data: Data) -> None:
    """List the versions of the labels of a data set.

    \b
    gueststar labels list my_set
    """  # noqa: D301
    from rich.table import Table

    from gueststar.datasets.label_versions import list_label_versions

    versions = list_label_versions(data)
    if not versions:
        text = f"{data} has the labels it was made with, and no version beside them"
        output().print(text, markup=False, soft_wrap=True)
        return
    table = Table(box=None)
    for name in ("version", "rows decided", "changes", "from", "by", "made", "note"):
        table.add_column(name, overflow="fold")
    for item in versions:
        facts = item.facts
        table.add_row(
            facts.name, str(facts.decisions), _changes(facts.changes), facts.base or "the set", facts.by, facts.made,
            facts.note,
        )  # fmt: skip
    output().print(table)


def _changes(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} from {name}" for name, count in changes.items()) or "no label changed"


def _check_page(page: Path | None, *, overwrite: bool) -> None:
    from gueststar.errors import ConfigError, OutputError

    if page is None:
        return
    if page.suffix != ".html":
        raise ConfigError(f"--page {page}: expected a name that ends in .html", key="page", value=str(page))
    if page.exists() and not overwrite:
        raise OutputError(f"{page} exists already; choose another name or give --overwrite", path=str(page))


def _write_page(
    page: Path, dataset: StoredDataset, table: pa.Table, facts: Mapping[str, Any], *, most: int, quiet: bool
) -> None:
    from gueststar.night.folders import replace_file
    from gueststar.report.labels_page import labels_page

    with counting_bar("stamps drawn", quiet=quiet) as bar:
        text = labels_page(dataset, table, facts, most=most, progress=bar)
    replace_file(page, text.encode())


def _print_summary(table: pa.Table, facts: Mapping[str, Any]) -> None:
    suspects = table.filter(table["suspect"])
    counts = {label: suspects["label"].to_pylist().count(label) for label in (0, 1)}
    wrong = facts["likely_wrong"]
    lines = [
        f"{len(table)} labels doubted, judged by {'; '.join(facts['judged_by'])}; {facts['trusted']} artificial reals "
        "not doubted",
        f"likely wrong: {100 * wrong['artifact']:.1f} % of the artifacts, {100 * wrong['real']:.1f} % of the reals; "
        f"suspects: {counts[0]} artifacts, {counts[1]} reals",
    ]
    for line in lines:
        output().print(line, markup=False, soft_wrap=True)
