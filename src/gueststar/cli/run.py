"""`gueststar run`: a whole night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import (
    Catalog,
    ConfigFile,
    Device,
    Engine,
    Gain,
    Instrument,
    Overrides,
    Overwrite,
    Quiet,
    Workers,
    errors,
    output,
    resolve,
)

if TYPE_CHECKING:
    from gueststar.night.ledger import Progress
    from gueststar.night.run import NightResult
    from gueststar.types import Outcome

__all__ = ["run"]

_COLOURS = {"ok": "green", "rejected": "magenta", "failed": "yellow", "crashed": "red"}


def run(
    night: Annotated[Path, typer.Argument(metavar="NIGHT_DIR", help="Folder of FITS files, with its subfolders.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run; an earlier run goes on.")],
    instrument: Instrument = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    engine: Engine = None,
    reference_dir: Annotated[
        Path | None,
        typer.Option("--reference-dir", metavar="DIR", help="Take references from here: another run's, or frames."),
    ] = None,
    n_reference: Annotated[
        int | None, typer.Option("--n-reference", metavar="N", help="First frames of a field that make its reference.")
    ] = None,
    workers: Workers = None,
    inject: Annotated[
        int | None,
        typer.Option("--inject", metavar="N", help="Process each image again with N artificial reals: how deep is it?"),
    ] = None,
    inject_snr: Annotated[
        tuple[float, float] | None, typer.Option("--inject-snr", metavar="LOW HIGH", help="Range of their S/N.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the artificial reals.")] = None,
    catalog: Catalog = None,
    device: Device = None,
    gain: Gain = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Process a folder of frames on all cores, and write a report.

    Darks and flats are combined and applied. Light frames are grouped by
    field, chip and filter; the first ones of each group make its reference,
    and each of the rest gets a folder of products. A bad image does not stop
    the others. The same call again goes on where the last one stopped.

    \b
    gueststar run NIGHT --instrument tomoe --out products
    gueststar run NIGHT --out products --workers 8 --inject 200 --inject-snr 5 50
    """  # noqa: D301
    settings = resolve(
        config, set_, instrument=instrument, subtract__engine=engine, device=device, gain_e_adu=gain,
        night__workers=workers, night__n_reference=n_reference, night__inject=inject,
        night__inject_snr=list(inject_snr) if inject_snr else None, night__seed=seed,
    )  # fmt: skip
    from gueststar.night.run import run_night
    from gueststar.report import write_report

    with _progress(quiet=quiet) as progress:
        result = run_night(
            night, out, settings, reference_dir=reference_dir, catalog=catalog, overwrite=overwrite, progress=progress
        )
    report = write_report(out)
    if not quiet:
        _print_result(result, report)
    raise typer.Exit(_exit_code(result))


def _exit_code(result: NightResult) -> int:
    if result.interrupted:
        return 130
    if result.totals["crashed"]:
        return 3
    return 1 if result.outcomes and not (result.totals["ok"] or result.totals["rejected"]) else 0


def _print_result(result: NightResult, report: Path) -> None:
    from rich.markup import escape

    parts = [f"[{_COLOURS[status]}]{n} {status}[/]" for status, n in result.totals.items() if n]
    kept = f"   [dim]{result.kept} kept from an earlier run[/]" if result.kept else ""
    output().print(f"{len(result.outcomes)} images: {', '.join(parts) or 'none'}{kept}")
    done = [outcome for outcome in result.outcomes if outcome.status == "ok"]
    if done:
        total = {name: sum(outcome.counts.get(name, 0) for outcome in done) for name in ("candidates", "real")}
        output().print(
            f"{total['candidates'] / len(done):.1f} candidates per image, "
            f"{total['real'] / len(done):.1f} above the score threshold"
        )
    for note in sorted({str(outcome.facts["rb_chip_note"]) for outcome in done if "rb_chip_note" in outcome.facts}):
        output().print(note, style="yellow", markup=False, soft_wrap=True)
    if any("injected" in outcome.counts for outcome in done):
        _print_recovery(result)
    if result.interrupted:
        output().print("[yellow]Stopped.[/] The same command goes on from here.")
    output().print(f"Report: [bold]{escape(str(report))}[/]", soft_wrap=True)


def _print_recovery(result: NightResult) -> None:
    from gueststar.report.collect import collect
    from gueststar.report.page import level_text, recovery_of

    recovery = recovery_of(collect(result.out, top=0).injected)
    if recovery is None:
        return
    parts = [
        f"{100 * row[0]:.0f} % at S/N {level_text(row, recovery.detected)} ({row[2]:.1f}–{row[3]:.1f})"
        for row in recovery.detected.levels
    ]
    output().print(f"{recovery.n} artificial reals: found {', '.join(parts)}", soft_wrap=True)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A bar for each stage, with the counts of outcomes; troubles are printed as they come."""
    if quiet:
        yield None
        return
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description:<11}"), BarColumn(bar_width=32), MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        console=errors(),
    )  # fmt: skip
    tasks, counts = {}, Counter[str]()

    def show(stage: str, done: int, total: int, outcome: Outcome | None) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total, counts="", visible=total > 0)
        if outcome is not None:
            counts[outcome.status] += 1
            if outcome.status != "ok":
                text = escape(f"{outcome.image}: {outcome.reason}")
                bar.console.print(f"[{_COLOURS[outcome.status]}]{outcome.status}[/] {text}", soft_wrap=True)
        text = " ".join(f"[{_COLOURS[status]}]{n} {status}[/]" for status, n in counts.items())
        bar.update(tasks[stage], completed=done, counts=text if stage == "images" else "")

    with bar:
        yield show
