"""`gueststar inject`: artificial reals into FITS files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gueststar.cli.common import (
    Catalog,
    ConfigFile,
    Darks,
    Flats,
    Gain,
    Instrument,
    Overrides,
    Quiet,
    Seed,
    counting_bar,
    errors,
    output,
    resolve,
)

if TYPE_CHECKING:
    from gueststar.night.inject_files import InjectedFile

__all__ = ["inject"]

_SHOWN = 10


def inject(
    images: Annotated[list[Path], typer.Argument(help="FITS files, or folders of them.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the copies with sources in them.")
    ],
    n: Annotated[int, typer.Option("--n", metavar="N", help="Sources in each image.")] = 100,
    snr: Annotated[
        tuple[float, float] | None,
        typer.Option("--snr", metavar="LOW HIGH", help="Range of their S/N in the image (PSF); 5 to 50 if not given."),
    ] = None,
    mag: Annotated[
        tuple[float, float] | None,
        typer.Option("--mag", metavar="BRIGHT FAINT", help="Range of AB magnitudes instead; needs a zero point."),
    ] = None,
    distribution: Annotated[
        Literal["log-uniform", "uniform", "euclidean"],
        typer.Option(
            "--distribution",
            help="As many in each magnitude, in each unit of S/N, or brighter than f as f^-3/2.",
        ),
    ] = "log-uniform",
    placement: Annotated[
        Literal["mixed", "random", "galaxy", "star", "nucleus"],
        typer.Option(
            "--placement",
            help="Anywhere; on galaxies at the offsets of supernovae; within 5 FWHM of stars; within 1 FWHM of "
            "galaxies' nuclei; mixed: half random, half galaxy.",
        ),
    ] = "mixed",
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help="Own list instead, as CSV, ECSV, FITS or Parquet: x, y (px, first pixel is 0) or ra, dec (deg); "
            "flux_e (e-), mag or snr; image (file name) if rows are for one image only.",
        ),
    ] = None,
    injector: Annotated[
        Literal["psf", "second", "ellipse", "empirical", "trail", "variable", "nucleus"],
        typer.Option(
            "--injector",
            help="psf: the image's own PSF. The others are for tests of a classifier only: ellipse, empirical (a "
            "star's own pixels), trail, variable (stars that change), nucleus; second is all of these.",
        ),
    ] = "psf",
    separation: Annotated[
        float, typer.Option("--separation", metavar="PX", help="Smallest distance between two sources, px.")
    ] = 25.0,
    seed: Seed = 0,
    instrument: Instrument = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    dark: Darks = None,
    flat: Flats = None,
    catalog: Catalog = None,
    zeropoint: Annotated[
        float | None,
        typer.Option("--zeropoint", metavar="MAG", help="AB magnitude of 1 ADU, when the header has none."),
    ] = None,
    gain: Gain = None,
    quiet: Quiet = False,
) -> None:
    """Put artificial sources into frames, before anything is subtracted.

    Writes copies that are like the input in type, units, header and
    compression, with the sources in their counts, and NAME.truth.parquet
    beside each; truth.parquet has all of them. Sources have the image's own
    PSF, photon noise and saturation. Nothing is ever replaced; the same call
    again goes on where the last one stopped.

    Raw frames: give their darks and flats, or a folder that holds them, and
    each source is dimmed as the flat says at its place. Without, a source has
    its counts on the frame as it is. On a colour mosaic its light is shared
    among the colours as that of the frame's stars.

    \b
    gueststar inject science.fits --out injected --n 50 --snr 5 30 --instrument tomoe
    gueststar inject NIGHT --out injected --mag 16 20 --zeropoint 26.2 --placement galaxy
    gueststar inject light.fits --dark dark.fits --flat flat.fits --table sources.csv --out injected
    """  # noqa: D301
    settings = resolve(config, set_, instrument=instrument, gain_e_adu=gain)
    from gueststar.night.inject_files import Injection, inject_files

    given = {"n": n, "snr": snr, "mag": mag, "distribution": distribution, "placement": placement}
    options = Injection.parse(
        {**given, "injector": injector, "separation_px": separation, "seed": seed}, source="inject"
    )
    with counting_bar("files", quiet=quiet) as progress:
        done = inject_files(
            images, out, settings, options, table=table, darks=dark or (), flats=flat or (), catalog=catalog,
            zeropoint_mag=zeropoint, progress=progress,
        )  # fmt: skip
    _print_troubles(done)
    if not quiet:
        _print_result(done, out)
    failed = sum(item.status == "failed" for item in done)
    if failed:
        raise typer.Exit(3 if any(item.status in ("ok", "kept") for item in done) else 1)


def _print_troubles(done: list[InjectedFile]) -> None:
    for item in done:
        if item.status == "failed":
            errors().print("[red]failed[/]", end=" ")
            errors().print(f"{item.name}: {item.reason}", markup=False, soft_wrap=True)


def _print_result(done: list[InjectedFile], out: Path) -> None:
    images = [item for item in done if item.status in ("ok", "kept")]
    if not images:
        output().print("No image was written.")
        return
    total = {word: sum(item.counts[word] for item in images) for word in ("injected", "outside", "masked")}
    kept, copied = (sum(item.status == status for item in done) for status in ("kept", "copied"))
    asked = sum(item.asked for item in images)
    output().print(f"[bold]{total['injected']}[/] sources in {_some(len(images), 'image')}, {asked} asked for")
    for word, why in (("outside", "the place is not on the frame"), ("masked", "on saturated, bad or flagged pixels")):
        if total[word]:
            output().print(f"[yellow]{total[word]} {word}[/]: not put in, {why}")
    missing = asked - sum(total.values())
    if missing > 0:
        output().print(f"[yellow]{missing} without a place[/]: no room left at this --separation, or no fitting star")
    instead = sum(item.random_instead for item in images)
    if instead:
        output().print(f"[yellow]{instead} placed at random[/]: no galaxy or star with room for them was found")
    few = [item for item in images if item.counts["injected"] < item.asked]
    for item in few[:_SHOWN] if len(images) > 1 else ():
        output().print(f"  {item.name}: {item.counts['injected']} of {item.asked}", markup=False)
    if len(few) > _SHOWN:
        output().print(f"  and {len(few) - _SHOWN} more images")
    notes = [f"{kept} kept from an earlier call"] * bool(kept) + [f"{copied} darks, flats or bias copied"] * bool(
        copied
    )
    if notes:
        output().print(f"[dim]{', '.join(notes)}[/]")
    output().print(f"Frames and truth tables in {out}", markup=False, soft_wrap=True, style="bold")


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
