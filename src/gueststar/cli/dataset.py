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

_MOST_CHIPS = 12  # more are listed in a line of text

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
def simulate(
    out: Out,
    pairs: Annotated[
        int | None, typer.Option("--pairs", metavar="N", help="Simulated pairs of frames, each of another field.")
    ] = None,
    chips: Annotated[
        str | None,
        typer.Option("--chips", metavar="LIST", help="Chips of Tomo-e Gozen to which pairs are dealt in turn; or all."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="A:B:C", help="Sizes of train, validation and test. [default: 2:1:1]"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of everything that is drawn.")] = None,
    real: Annotated[
        list[Path] | None,
        typer.Option("--real", metavar="DIR", help="Real frames that artificial reals are put into; again for more."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Options of the set, a TOML file.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one option, such as pairs.worse_passes=4."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", metavar="N", help="Processes; one per core.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a data set from simulated pairs of frames.

    Artificial reals and simulated transients go in before the subtraction;
    artifacts are what else is found, by the chain as it is and by chains with
    worse settings, which find more. With --chips each chip has faults of its
    own. --split 0:0:1 makes a test set. A folder of real frames (--real) is
    read as `gueststar run` reads it; a file instrument.toml in it is its
    instrument profile.

    \b
    gueststar dataset simulate --out my_set --pairs 400
    gueststar dataset simulate --out chips_set --pairs 840 --chips all --seed 2
    gueststar dataset simulate --out test_set --pairs 200 --split 0:0:1 --seed 3
    """  # noqa: D301
    from gueststar.cli.train import load_frames
    from gueststar.datasets.simulated import SimulateSet, simulate_dataset
    from gueststar.instruments import load_instrument
    from gueststar.night.pool import available_cores

    names = load_instrument("tomoe").chips if chips == "all" else _names(chips)
    given = {
        "pairs.n_pairs": pairs, "pairs.seed": seed, "split": None if split is None else _list(split.replace(":", ",")),
        "pairs.chips": _list(",".join(names), quoted=True) if names else None,
        "pairs.workers": available_cores() if workers in (None, 0) else workers,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(SimulateSet, config, [*overrides, *(set_ or ())])
    with _stages({"pairs": "pairs of frames"}, quiet=quiet) as progress:
        frames = load_frames(real, None, None, progress)
        made = simulate_dataset(out, options, real_images=frames, progress=progress)
    if not quiet:
        for text in made.facts.get("failures", ()):
            errors().print(f"a pass failed: {text}", style="yellow", markup=False, soft_wrap=True)
        _print(made)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files, or a folder of them.")],
    out: Out,
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="tomoe, ztf or avro; told by the names of the files.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", metavar="LIST", help="Planes in the files, as reference,science,difference; or auto."),
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Take the order as it is told, whatever the pixels look like.")
    ] = False,
    keep_sky: Annotated[bool, typer.Option("--keep-sky", help="The stamps are free of sky; leave them so.")] = False,
    label: Annotated[
        int | None, typer.Option("--label", metavar="N", help="Label of rows without one: 1 real, 0 artifact.")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", metavar="NAME", help="Format ztf: column with the label. [default: weak_label]"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="A:B:C", help="Sizes of train, validation and test. [default: 2:1:1]"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the split.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one option, such as fwhm_px=3.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a data set from stamps of other surveys.

    tomoe: images*.npy of shape (N, k, k, 3) and params*.csv with the column
    object_type. ztf: NAME.npz of triplets and NAME.csv. avro: alert packets
    of ZTF (needs the package fastavro).

    \b
    gueststar dataset import real_bogus1 --out tomoe_set
    gueststar dataset import images112.npy --out one_chip --order science,reference,difference
    gueststar dataset import alerts/*.avro --out ztf_set --label 1
    """  # noqa: D301
    from gueststar.datasets.importing import ImportSet

    given = {
        "order": None if order is None else f'"{order}"', "check": "false" if no_check else None,
        "keep_sky": "true" if keep_sky else None, "label": label, "seed": seed,
        "label_column": None if label_column is None else f'"{label_column}"',
        "split": None if split is None else _list(split.replace(":", ",")),
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(ImportSet, None, [*overrides, *(set_ or ())])
    reader, found = _reader(files, form)
    with counting_bar("rows written", quiet=quiet) as bar:
        made = reader(found, out, options, progress=None if bar is None else lambda done: bar(done, done))
    if not quiet:
        pixels = made.facts.get("planes_by_pixels") or "not looked at"
        words = f"planes taken as {','.join(made.facts['planes_in_files'])}; by their pixels: {pixels}"
        output().print(words, markup=False, soft_wrap=True)
        _print(made)


@app.command()
def export(
    folder: Folder,
    out: Out,
    form: Annotated[str, typer.Option("--format", metavar="NAME", help="tomoe.")] = "tomoe",
    order: Annotated[
        str, typer.Option("--order", metavar="LIST", help="Planes in the files.")
    ] = "reference,science,difference",
    size: Annotated[
        int, typer.Option("--size", metavar="PX", min=21, help="Width of the centres that are written.")
    ] = 29,
    exclude: Exclude = None,
    quiet: Quiet = False,
) -> None:
    """Write a data set in the format that the Tomo-e Gozen survey published.

    For each detector images*.npy of shape (N, 29, 29, 3) and params*.csv with
    the column object_type, and those of the candidates.

    \b
    gueststar dataset export my_set --out published
    gueststar dataset export my_set --out published --size 31 --order science,reference,difference
    """  # noqa: D301
    from gueststar.datasets.tomoe import export_tomoe
    from gueststar.errors import ConfigError
    from gueststar.realbogus.channels import parse_order
    from gueststar.realbogus.stored import open_dataset

    if form != "tomoe":
        raise ConfigError(f"--format {form}: only tomoe can be written", key="format", value=form)
    data = open_dataset(folder, exclude=_names(exclude))
    _warn(data.damaged)
    written = export_tomoe(data, out, order=parse_order(order), size=size)
    if not quiet:
        total = sum(written.values())
        words = (
            f"{total} stamps of {len(written)} detectors in {out}; {len(data) - total} rows are neither and left out"
        )
        output().print(words, markup=False, soft_wrap=True)


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


def _reader(files: list[Path], form: str | None) -> tuple[Callable[..., StoredDataset], list[Path]]:
    """The function that reads a format, and the files it is given: folders give theirs."""
    from gueststar.datasets.tomoe import import_tomoe
    from gueststar.datasets.ztf import import_ztf_alerts, import_ztf_table
    from gueststar.errors import ConfigError

    every = sorted({item for path in files for item in (path.iterdir() if path.is_dir() else [path])})
    formats = {
        "tomoe": (import_tomoe, [path for path in every if path.name.startswith("images") and path.suffix == ".npy"]),
        "ztf": (import_ztf_table, [path for path in every if path.suffix == ".npz"]),
        "avro": (import_ztf_alerts, [path for path in every if path.suffix == ".avro"]),
    }
    if form is None:
        form = next((name for name, (_, mine) in formats.items() if mine), "")
    if form not in formats or not formats[form][1]:
        raise ConfigError(
            f"no files of format {form or 'tomoe, ztf or avro'!r} among {', '.join(map(str, files))}; expected "
            "images*.npy, *.npz with *.csv, or *.avro",
            key="format",
        )
    return formats[form]


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
