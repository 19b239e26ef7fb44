"""`gueststar explain`: why a candidate has its score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Overwrite, Quiet, Seed, counting_bar, errors, output, override_list, resolve_options
from gueststar.cli.model_options import Channels, Chip, ModelFolder, Sigma

if TYPE_CHECKING:
    from gueststar.datasets.explaining import Explained

__all__ = ["explain"]


def explain(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Products of a pair, an image or a run; a data set; stamps.")
    ],
    candidate: Annotated[
        list[str] | None, typer.Option("--candidate", metavar="ID", help="Candidate by its identifier; again for more.")
    ] = None,
    row: Annotated[
        list[int] | None, typer.Option("--row", metavar="N", help="Candidate by its row, from 0; again for more.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Figure to write, .png, or a folder; else the table only."),
    ] = None,
    model: ModelFolder = "shipped",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="SET", help="Data set whose nearest training examples are shown.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Training examples that are looked at.")
    ] = 2000,
    seed: Seed = 0,
    sigma: Sigma = None,
    channels: Channels = None,
    chip: Chip = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Say why a candidate has its score, as a figure and a short table.

    Shows which pixels of which plane, and which measured numbers, speak for a
    real source and which against. Integrated gradients need a model with
    weights.npz; other models are explained by occlusion alone, and it says so.

    \b
    gueststar explain products --candidate 5eababcffbb8 --out why.png
    gueststar explain my_set --row 17 --row 240 --out why --data my_set
    gueststar explain stamps.npy --row 0 --out why.png --model my_model
    """  # noqa: D301
    from gueststar.datasets.explaining import explain_rows
    from gueststar.datasets.prepared_stamps import ScoreFiles

    given = {"sigma": None if sigma is None else sigma.split(","), "channels": channels, "chip": chip}
    options = resolve_options(ScoreFiles, None, override_list(given))
    with counting_bar("candidates explained", quiet=quiet) as progress:
        found = explain_rows(
            source, out, rows=row or (), ids=candidate or (), model=model, data=data, sample=sample, seed=seed,
            options=options, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    for item in found:
        if not quiet:
            _print(item)
    for text in dict.fromkeys(note for item in found for note in item.warnings):
        errors().print(text, style="yellow", markup=False, soft_wrap=True)


def _print(item: Explained) -> None:
    from rich.table import Table

    output().print(item.headline, style="bold", markup=False, soft_wrap=True)
    table = Table("part", "fall when left out", *(("integrated gradients",) if item.has_gradients else ()))
    for name, fall, share in item.parts:
        table.add_row(name, fall, *((share,) if item.has_gradients else ()))
    output().print(table)
    for line in item.lines:
        output().print(line, markup=False, soft_wrap=True)
    if item.figure is not None:
        output().print(f"Figure: {item.figure}", markup=False, soft_wrap=True)
