"""`gueststar simulate`: nights and pairs of which the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import Quiet, Seed, Workers, counting_bar, output, resolve_options, set_option

if TYPE_CHECKING:
    from astropy.table import Table

    from gueststar.instruments import Instrument
    from gueststar.simulate.survey import Survey

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Simulate frames of which the truth is known.")

Shape = Annotated[
    tuple[int, int] | None, typer.Option("--shape", metavar="NY NX", help="Size of a chip, px; that of the camera.")
]
SurveyFile = Annotated[
    Path | None, typer.Option("--survey", metavar="FILE", help="What the survey is like: a TOML file of its options.")
]
SurveySet = Annotated[list[str] | None, set_option("star_density=3")]
InstrumentOption = Annotated[
    str, typer.Option("--instrument", metavar="NAME|FILE", help="Profile of the camera whose files are imitated.")
]


@app.command()
def night(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    instrument: InstrumentOption = "tomoe",
    fields: Annotated[int, typer.Option("--fields", metavar="N", help="Fields of the sky.")] = 1,
    chips: Annotated[
        str,
        typer.Option(
            "--chips", metavar="all|N|LIST", help="All chips of the camera, the first N, or names (Q1-11,Q3-24)."
        ),
    ] = "1",
    visits: Annotated[
        int, typer.Option("--visits", metavar="N", help="Visits of each field, earlier nights included.")
    ] = 5,
    seed: Seed = 0,
    shape: Shape = None,
    survey: SurveyFile = None,
    set_: SurveySet = None,
    fpack: Annotated[bool, typer.Option("--fpack", help="Write compressed .fits.fz files.")] = False,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Write a night of FITS files like the camera's, and its truth.

    The first visits of each field lie on earlier nights; transients appear
    tonight. truth.parquet lists all that was drawn, conditions.parquet what
    each frame was like, orbits.parquet the asteroids. An interrupted night
    goes on where it stopped when the same command is given again.

    \b
    gueststar simulate night my_night --fields 2 --chips 2 --visits 5 --seed 7
    gueststar simulate night all_chips --chips all --visits 6 --fpack
    gueststar run my_night --instrument tomoe --out products
    """  # noqa: D301
    camera, options = _camera(instrument, survey, set_)
    from gueststar.simulate.night import write_night

    with counting_bar("frames", quiet=quiet) as progress:
        paths = write_night(
            out, options, fields=fields, chips=_chips(chips, camera), visits=visits, seed=seed, shape=shape,
            instrument=camera, fpack=fpack, workers=workers or _cores(), progress=progress,
        )  # fmt: skip
    _picture_of(out, paths[options.earlier_visits])
    if not quiet:
        output().print(f"{len(paths)} frames, truth.parquet and picture.png in {out}", markup=False, soft_wrap=True)


@app.command()
def pair(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    instrument: InstrumentOption = "tomoe",
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
    camera, options = _camera(instrument, survey, set_)
    from gueststar.night.folders import staged_folder, write_bytes
    from gueststar.night.products import write_table
    from gueststar.simulate.files import frame_bytes
    from gueststar.simulate.header import survey_of
    from gueststar.simulate.night import CHIP_SHAPE, simulate_pair

    with staged_folder(out) as folder:
        made = simulate_pair(
            survey_of(camera, options), seed=seed, shape=shape or camera.chip_shape or CHIP_SHAPE,
            chip=camera.chips[0] if camera.chips else "", instrument=camera,
        )  # fmt: skip
        write_bytes(folder / "science.fits", frame_bytes(made.science))
        write_bytes(folder / "reference.fits", frame_bytes(made.reference))
        write_table(folder / "truth.parquet", made.truth, provenance={"seed": seed})
        _draw(folder / "picture.png", made.science.data, made.truth, name="science.fits")
    if not quiet:
        words = f"science.fits, reference.fits, truth.parquet and picture.png in {out}"
        output().print(words, markup=False, soft_wrap=True)


def _picture_of(folder: Path, path: Path) -> None:
    """Draw one frame of a night that was written."""
    import pyarrow.parquet as pq
    from astropy.io import fits
    from astropy.table import Table

    name = path.name.removesuffix(".fz").removesuffix(".fits")
    rows = pq.read_table(folder / "truth.parquet", filters=[("image", "=", name)])
    truth = Table({column: rows[column].to_numpy() for column in rows.column_names})
    _draw(folder / "picture.png", fits.getdata(path, 1 if path.suffix == ".fz" else 0), truth, name=path.name)


def _draw(target: Path, data: Any, truth: Table, *, name: str) -> None:
    import io

    from gueststar.night.folders import write_bytes
    from gueststar.report.truth_picture import truth_figure

    ny, nx = data.shape
    subtitle = f"{nx} x {ny} px; {len(truth)} rows of truth; marked is what changes, moves or hits"
    stream = io.BytesIO()
    truth_figure(data, truth, title=f"Simulated: {name}", subtitle=subtitle).savefig(stream, dpi=110)
    write_bytes(target, stream.getvalue())


def _camera(instrument: str, file: Path | None, overrides: list[str] | None) -> tuple[Instrument, Survey]:
    """Profile of the camera, and the survey as the user set it."""
    from gueststar.instruments import load_instrument
    from gueststar.simulate.survey import Survey

    return load_instrument(instrument), resolve_options(Survey, file, overrides or ())


def _cores() -> int:
    """Cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chips(text: str, camera: Instrument) -> list[str]:
    """All chips of the camera, the first N of it, or those named."""
    from gueststar.errors import ConfigError

    names = list(camera.chips) or [""]
    if text == "all":
        return names
    if not text.isdigit():
        return [name.strip() for name in text.split(",")]
    if not 1 <= int(text) <= len(names):
        raise ConfigError(
            f"--chips {text}: the camera {camera.name} has {len(names)} chips; give a number up to that, or 'all'",
            key="chips",
            value=text,
        )
    return names[: int(text)]
