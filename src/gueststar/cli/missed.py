"""`gueststar missed`: the step that lost each real of a night, and what would have saved it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Quiet, output

if TYPE_CHECKING:
    from gueststar.realbogus.audit.missed import MissedReals

__all__ = ["missed"]


def missed(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, best one with `--inject N`.")],
    known: Annotated[
        Path | None,
        typer.Option(
            "--known",
            metavar="FILE",
            help="List of known transients, such as TNS's CSV export: name, ra, dec, discovery date, magnitude.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="truth.parquet of the simulated night that was run, or its folder."
        ),
    ] = None,
    objects: Annotated[
        list[Path] | None,
        typer.Option(
            "--objects",
            metavar="FILE",
            help="Variables and asteroids that are not alerted on: ra, dec, kind. Give it again for more.",
        ),
    ] = None,
    days: Annotated[
        tuple[float, float],
        typer.Option(
            "--days", metavar="BEFORE AFTER", help="Frames count for a listed transient in this span of its discovery."
        ),
    ] = (0.0, 100.0),
    faintest: Annotated[
        float, typer.Option("--faintest", metavar="S/N", min=0.0, help="Simulated changes below are left out.")
    ] = 3.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder to write; RUN/missed when left out.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, max=500, help="Pictures for each reason.")] = 12,
    quiet: Quiet = False,
) -> None:
    """Name the step that lost each real that a night missed, and what would have saved it.

    Looks at the artificial reals of a run, at known transients from a list,
    and at those of a simulated night when its truth is given. Writes a page
    with pictures, and tables.

    \b
    gueststar run NIGHT --out products --inject 200
    gueststar missed products
    gueststar missed products --known tns.csv --out report
    """  # noqa: D301
    from gueststar.datasets.missed import write_missed

    page, found = write_missed(
        run, out, most=top, known=known, truth=truth, objects=objects or (), days=days, faintest_snr=faintest
    )
    if not quiet:
        _print(page, found)


def _print(page: Path, found: MissedReals) -> None:
    from rich.markup import escape
    from rich.table import Table

    for note in found.notes:
        output().print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    facts = found.facts
    output().print(f"{facts['missed']} of {facts['sources']} known sources missed")
    if facts["transients"]:
        output().print(
            f"{facts['transients_found']} of {facts['transients_covered']} listed transients on the frames found; "
            f"{facts['junk']} other candidates scored real",
            soft_wrap=True,
        )
    if found.steps:
        steps = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("source", "step", "lost", "of", "reasons"):
            steps.add_column(name, justify="right" if name in ("lost", "of") else "left")
        for count in found.steps:
            reasons = ", ".join(f"{reason.replace('_', ' ')} {k}" for reason, k in count.reasons)
            steps.add_row(count.origin, count.step, str(count.share.k), str(count.share.n), reasons)
        output().print(steps)
    if found.remedies:
        saved = "; ".join(f"{remedy.name} {remedy.n}" for remedy in found.remedies)
        output().print(f"What would have saved them: {saved}", soft_wrap=True)
    output().print(f"Page: [bold]{escape(str(page))}[/]", soft_wrap=True)
