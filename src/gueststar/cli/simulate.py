"""`gueststar simulate`: nights and pairs of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import Quiet, errors, output, resolve_options

if TYPE_CHECKING:
    from gueststar.simulate.survey import Survey

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Simulate frames of which the truth is known.")

Shape = Annotated[
    tuple[int, int] | None, typer.Option("--shape", metavar="NY NX", help="Size of a chip, px; that of the camera.")
]
SurveyFile = Annotated[
    Path | None, typer.Option("--survey", metavar="FILE", help="What the survey is like: a TOML file of its options.")
]
SurveySet = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one option of the survey, such as star_density=3."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same frames.")]


@app.command()
def night(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    fields: Annotated[int, typer.Option("--fields", metavar="N", help="Fields of the sky.")] = 1,
    chips: Annotated[
        str,
        typer.Option("--chips", metavar="N|NAMES", help="How many chips, or their names with commas (Q1-11,Q1-12)."),
    ] = "1",
    visits: Annotated[
        int, typer.Option("--visits", metavar="N", help="Visits of each field, earlier nights included.")
    ] = 5,
    seed: Seed = 0,
    shape: Shape = None,
    survey: SurveyFile = None,
    set_: SurveySet = None,
    fpack: Annotated[bool, typer.Option("--fpack", help="Write compressed .fits.fz files.")] = False,
    workers: Annotated[int, typer.Option("--workers", "-j", metavar="N", help="Processes.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Write a night of FITS files like those of Tomo-e Gozen, and its truth.

    The first visits of each field lie on earlier nights; transients appear
    tonight. truth.parquet lists all that was drawn.

    \b
    gueststar simulate night my_night --fields 2 --chips 2 --visits 5 --seed 7
    gueststar run my_night --instrument tomoe --out products
    """  # noqa: D301
    options = _survey(survey, set_)
    from gueststar.simulate.night import write_night

    with _bar("frames", quiet=quiet) as progress:
        paths = write_night(
            out, options, fields=fields, chips=_chips(chips), visits=visits, seed=seed, shape=shape or _shape(),
            fpack=fpack, workers=workers, progress=progress,
        )  # fmt: skip
    if not quiet:
        output().print(f"{len(paths)} frames and truth.parquet in {out}", markup=False, soft_wrap=True)


@app.command()
def pair(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    seed: Seed = 0,
    shape: Shape = None,
    survey: SurveyFile = None,
    set_: SurveySet = None,
    quiet: Quiet = False,
) -> None:
    """Write one science and one reference frame, and their truth.

    \b
    gueststar simulate pair my_pair --seed 3
    gueststar pair my_pair/science.fits my_pair/reference.fits --instrument tomoe --out pair
    """  # noqa: D301
    options = _survey(survey, set_)
    from gueststar.night.folders import staged_folder, write_bytes
    from gueststar.night.products import fits_bytes, write_table
    from gueststar.simulate.night import simulate_pair

    with staged_folder(out) as folder:
        made = simulate_pair(options, seed=seed, shape=shape or _shape())
        write_bytes(folder / "science.fits", fits_bytes(made.science.data, made.science.header))
        write_bytes(folder / "reference.fits", fits_bytes(made.reference.data, made.reference.header))
        write_table(folder / "truth.parquet", made.truth, provenance={"seed": seed})
    if not quiet:
        output().print(f"science.fits, reference.fits and truth.parquet in {out}", markup=False, soft_wrap=True)


def _survey(file: Path | None, overrides: list[str] | None) -> Survey:
    from gueststar.simulate.survey import Survey

    return resolve_options(Survey, file, overrides or ())


def _shape() -> tuple[int, int]:
    """Size of a chip of the simulated camera."""
    from gueststar.instruments import load_instrument

    return load_instrument("tomoe").chip_shape or (1128, 2000)


def _chips(text: str) -> list[str]:
    """Names of chips, or the first N of the camera."""
    from gueststar.errors import ConfigError
    from gueststar.instruments import load_instrument

    if not text.isdigit():
        return [name.strip() for name in text.split(",")]
    names = load_instrument("tomoe").chips
    if not 1 <= int(text) <= len(names):
        raise ConfigError(f"--chips {text}: the camera has {len(names)} chips", key="chips", value=text)
    return list(names[: int(text)])


@contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=errors(), transient=True) as bar:
        task: Any = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
