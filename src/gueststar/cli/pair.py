"""`gueststar pair`: two FITS files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import (
    Catalog,
    ConfigFile,
    Darks,
    Device,
    Engine,
    Flats,
    Gain,
    Instrument,
    Overrides,
    Overwrite,
    Quiet,
    errors,
    number,
    output,
    resolve,
)

if TYPE_CHECKING:
    from rich.table import Table

    from gueststar.night.pair import Observe
    from gueststar.types import Candidates, Outcome

__all__ = ["pair"]

_WORDS = {
    "quality": "judging the quality",
    "load": "reading and measuring both images",
    "measure": "measuring stars and PSF",
    "align": "registering the reference",
    "subtract": "matching and subtracting",
    "detect": "finding candidates",
    "stamps": "cutting stamps",
    "classify": "scoring",
    "write": "writing products",
    "picture": "drawing",
    "inject": "looking for artificial reals",
}


def pair(
    science: Annotated[Path, typer.Argument(metavar="SCIENCE", help="FITS file of the science image.")],
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="FITS file that is subtracted.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make for the products.")],
    engine: Engine = None,
    instrument: Instrument = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    dark: Darks = None,
    flat: Flats = None,
    catalog: Catalog = None,
    device: Device = None,
    gain: Gain = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Difference two images and score what is left.

    Writes difference.fits, candidates.parquet, stamps.npy, outcome.json and
    pair.png into a new folder. Frames without a WCS are registered by the
    patterns of their stars.

    \b
    gueststar pair science.fits reference.fits --out pair
    gueststar pair light.fits earlier.fits --dark dark.fits --flat flat.fits --gain 1.5 --out pair
    """  # noqa: D301
    settings = resolve(config, set_, instrument=instrument, subtract__engine=engine, device=device, gain_e_adu=gain)
    from rich.markup import escape

    from gueststar.night.pair import run_pair
    from gueststar.night.products import read_candidates

    with _stages(quiet=quiet) as observe:
        outcome = run_pair(
            science, reference, out, settings, darks=dark or (), flats=flat or (), catalog=catalog,
            overwrite=overwrite, observe=observe,
        )  # fmt: skip
    if not quiet:
        output().print(_summary(outcome))
        if outcome.status == "rejected":
            output().print(f"[bold magenta]Rejected by a quality gate[/] {escape(outcome.reason)}", soft_wrap=True)
        if outcome.facts.get("rb_chip_note"):
            errors().print(str(outcome.facts["rb_chip_note"]), style="yellow", markup=False, soft_wrap=True)
        candidates = read_candidates(out / "candidates.parquet")
        if len(candidates):
            output().print(_table(candidates))
        output().print(f"[dim]{_seconds(outcome)}[/]")
        picture = f"; look at {out / 'pair.png'}" if "picture" in outcome.products else ""
        output().print(f"Products in {out}{picture}", markup=False, soft_wrap=True, style="bold")


@contextmanager
def _stages(*, quiet: bool) -> Iterator[Observe | None]:
    """A spinner that names the stage."""
    if quiet:
        yield None
        return
    with errors().status("starting") as status:

        @contextmanager
        def observe(stage: str) -> Iterator[None]:
            status.update(_WORDS.get(stage, stage))
            yield

        yield observe


def _summary(outcome: Outcome) -> str:
    facts, counts = outcome.facts, outcome.counts
    return (
        f"[bold]{counts['candidates']}[/] candidates: {counts['positive']} brighter, {counts['negative']} fainter, "
        f"[bold]{counts['real']}[/] with score ≥ {facts['rb_threshold']:.3g}   "
        f"[dim]seeing {facts['seeing_px']:.2f} px, reference {facts['reference_seeing_px']:.2f} px, "
        f"registered to {facts['align_rms_px']:.3f} px, score σ {facts['score_std']:.3f}, "
        f"zero point {facts['zeropoint_mag']:.2f} ({facts['zeropoint_source']})[/]"
    )


def _seconds(outcome: Outcome) -> str:
    times = [f"{stage} {seconds:.2f}" for stage, seconds in outcome.seconds.items() if seconds >= 0.005]
    return f"{sum(outcome.seconds.values()):.2f} s: {', '.join(times)}"


def _table(candidates: Candidates, n: int = 10) -> Table:
    """The best candidates."""
    from rich.table import Table

    from gueststar.plots import best_rows, scores_of

    table = Table(title=f"Best {min(n, len(candidates))} of {len(candidates)}", title_justify="left", box=None)
    for name in ("score", "S/N", "x", "y", "RA deg", "Dec deg", "flux e-", "FWHM px"):
        table.add_column(name, justify="right")
    score = scores_of(candidates)
    for row in best_rows(candidates, n):
        values = [number(float(score[row]), 3), f"{candidates['snr'][row]:+.1f}"]
        values += [number(float(candidates[name][row]), 1) for name in ("x", "y")]
        values += [number(float(candidates[name][row]), 5) for name in ("ra", "dec")]
        values += [number(float(candidates["flux"][row]), 0), number(float(candidates["fwhm"][row]), 2)]
        table.add_row(*values, style="blue" if candidates["snr"][row] < 0 else "yellow")
    return table
