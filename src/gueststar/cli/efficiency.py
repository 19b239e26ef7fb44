"""`gueststar efficiency`: what a run finds, and where it loses the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Quiet, output

if TYPE_CHECKING:
    from gueststar.report.efficiency_page import EfficiencyReport

__all__ = ["efficiency"]


def efficiency(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, best one with `--inject N`.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="truth.parquet of the simulated night that was run, or its folder."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write; RUN/efficiency when left out."),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="LIST",
            help="Simulated sources to look for, with commas; also variable, nucleus. [default: all transients]",
        ),
    ] = None,
    faintest: Annotated[
        float, typer.Option("--faintest", metavar="S/N", min=0.0, help="Simulated changes below are left out.")
    ] = 3.0,
    radius: Annotated[
        float | None,
        typer.Option(
            "--radius",
            metavar="PX",
            min=0.1,
            max=50.0,
            help="A simulated source's candidate lies this near; the run's.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=0, max=200, help="Lost sources shown of each step.")
    ] = 8,
    quiet: Quiet = False,
) -> None:
    """Measure what the whole chain finds, and at which step each missed source was lost.

    Looks at the artificial reals of a run, and at simulated transients when
    the truth of the night is given. Writes a page with curves, limits and
    pictures of what was lost, figures, and tables.

    \b
    gueststar run NIGHT --out products --inject 200
    gueststar efficiency products
    gueststar efficiency products --truth NIGHT --kinds supernova,hostless
    """  # noqa: D301
    from gueststar.efficiency.sources import TRANSIENT_KINDS
    from gueststar.report.efficiency_page import write_efficiency

    report = write_efficiency(
        run, out, truth=truth, kinds=_kinds(kinds) if kinds is not None else TRANSIENT_KINDS, faintest_snr=faintest,
        radius_px=radius, top=top,
    )  # fmt: skip
    if not quiet:
        _print(report)


def _kinds(text: str) -> list[str]:
    """Names in a list with commas."""
    from gueststar.efficiency.sources import KINDS
    from gueststar.errors import ConfigError

    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in KINDS]
    if wrong or not names:
        raise ConfigError(f"--kinds {text}: names among {', '.join(KINDS)} are needed", key="kinds", value=text)
    return names


def _print(report: EfficiencyReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    from gueststar.efficiency.losses import STEPS
    from gueststar.report.efficiency_charts import interval_text, limit_text
    from gueststar.report.efficiency_page import ORIGINS

    for note in report.notes:
        output().print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    steps = [step for step in STEPS if report.losses[step].sum()]
    losses = Table(box=None, pad_edge=False, header_style="dim")
    losses.add_column("source")
    for name in ("number", "real", *steps):
        losses.add_column(name, justify="right")
    for row in report.losses:
        prefix = "artificial, " if row["origin"] == "artificial" else ""
        numbers = [str(int(row[name])) for name in ("n", "real", *steps)]
        losses.add_row(prefix + (str(row["class"]) or "on lost frames").replace("_", " "), *numbers)
    output().print(losses)
    for row in report.limits:
        if row["class"] == "all" and row["axis"] in ("snr", "mag") and row["series"] == "real":
            scale = str(row["axis"])
            value = limit_text(row["value"], row["range_low"], row["range_high"], scale=scale)
            interval = interval_text(*sorted((row["low"], row["high"])), scale=scale)
            unit = "S/N" if scale == "snr" else "mag"
            output().print(
                f"{ORIGINS[str(row['origin'])]}: {100 * row['level']:.0f} % found and scored real at {unit} {value} "
                f"({interval})",
                soft_wrap=True,
            )
    output().print(f"Page: [bold]{escape(str(report.page))}[/]", soft_wrap=True)
