"""`gueststar dataset import` and `export`: stamps in the formats of surveys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import (
    OutFolder,
    Quiet,
    SeedOrDefault,
    comma_names,
    counting_bar,
    output,
    override_list,
    resolve_options,
    set_option,
    warn_of_damage,
)
from gueststar.cli.dataset.options import DataFolder, SplitSizes, sizes
from gueststar.cli.dataset.shown import print_dataset
from gueststar.cli.model_options import Exclude

if TYPE_CHECKING:
    from gueststar.realbogus.stored import StoredDataset

__all__ = ["export", "import_"]


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files, or a folder of them.")],
    out: OutFolder,
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
    split: SplitSizes = None,
    seed: SeedOrDefault = None,
    set_: Annotated[list[str] | None, set_option("fwhm_px=3")] = None,
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
        "order": order, "check": False if no_check else None, "keep_sky": keep_sky or None, "label": label,
        "seed": seed, "label_column": label_column, "split": sizes(split),
    }  # fmt: skip
    options = resolve_options(ImportSet, None, override_list(given, set_))
    reader, found = _reader(files, form)
    with counting_bar("rows written", quiet=quiet) as bar:
        made = reader(found, out, options, progress=None if bar is None else lambda done: bar(done, done))
    if not quiet:
        pixels = made.facts.get("planes_by_pixels") or "not looked at"
        words = f"planes taken as {','.join(made.facts['planes_in_files'])}; by their pixels: {pixels}"
        output().print(words, markup=False, soft_wrap=True)
        print_dataset(made)


def export(
    folder: DataFolder,
    out: OutFolder,
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
    data = open_dataset(folder, exclude=comma_names(exclude))
    warn_of_damage(data.damaged)
    written = export_tomoe(data, out, order=parse_order(order), size=size)
    if not quiet:
        total = sum(written.values())
        words = (
            f"{total} stamps of {len(written)} detectors in {out}; {len(data) - total} rows are neither and left out"
        )
        output().print(words, markup=False, soft_wrap=True)


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
