"""Whole simulated nights as FITS files, named and headed as the instrument's, with the truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from astropy.table import Table

from gueststar.errors import ConfigError
from gueststar.instruments import Instrument, load_instrument
from gueststar.simulate.files import NightFolder
from gueststar.simulate.frame import RawFrame
from gueststar.simulate.header import survey_of
from gueststar.simulate.sky.bright_catalog import wants_catalog
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import (
    CHIP_SHAPE,
    SimulatedPair,
    Visit,
    field_sky,
    simulate_frame,
    simulate_pair,
)

__all__ = [
    "CHIP_SHAPE",
    "RawFrame",
    "SimulatedPair",
    "Survey",
    "Visit",
    "simulate_frame",
    "simulate_pair",
    "write_night",
]

_ORBIT_COLUMNS = (
    "name", "kind", "mag", "a_au", "e", "i_deg", "node_deg", "peri_deg", "mean_anomaly_deg", "epoch_mjd", "source_id",
)  # fmt: skip


def write_night(
    out: str | Path,
    survey: Survey | None = None,
    *,
    fields: int = 1,
    chips: Sequence[str] = ("Q1-11",),
    visits: int = 5,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
    tonight_mjd: float = 61000.45,
    instrument: str | Instrument = "tomoe",
    fpack: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a simulated night: FITS files named and headed as the instrument's, and the truth about them.

    The first `survey.earlier_visits` visits of each field lie on nights before; most transients are absent there. The
    others follow each other tonight. A night that was interrupted goes on where it stopped when the same call is made
    again; every frame is the same whenever and with whatever others it is made.

    Parameters
    ----------
    out : path
        Folder; made when absent.
    survey : Survey, optional
    fields, visits : int
        Number of fields, and of visits of each, earlier ones included.
    chips : sequence of str
        Names such as 'Q1-11'.
    seed : int
    shape : (int, int), optional
        (ny, nx) of the chips; that of the camera when left out.
    tonight_mjd : float
        First exposure of tonight, UTC.
    instrument : str or Instrument
        Profile of the camera, or its name; what `survey` does not set is taken from it.
    fpack : bool
        Write ``.fits.fz`` (Rice, quantised to a quarter of the noise) instead of ``.fits``.
    workers : int
        Processes.
    progress : callable, optional
        Called with (images done, all images).

    Returns
    -------
    list of Path
        The FITS files, by field, chip and visit. Beside them lie ``truth.parquet`` (a row per source, trail, particle
        and fault of each image), ``conditions.parquet`` (a row per image), ``orbits.parquet`` (the elements of the
        asteroids) and ``night.json`` (what was asked for).

    Raises
    ------
    ConfigError
        For senseless numbers or names of chips.
    OutputError
        When the folder holds another night, or the disk is full or cannot be written to; what was written stays.
    """
    camera = load_instrument(instrument) if isinstance(instrument, str) else instrument
    survey = survey_of(camera, survey)
    # As found here: a night that goes on elsewhere, without the catalogue, must not change its stars.
    survey = survey.model_copy(update={"bright_stars": "catalog" if wants_catalog(survey.bright_stars) else "drawn"})
    shape = shape or camera.chip_shape or CHIP_SHAPE
    _check_night(survey, camera, fields, chips, visits, workers)
    todo = [Visit(f, chip, v) for f in range(fields) for chip in chips for v in range(visits)]
    folder = NightFolder(Path(out), fpack=fpack)
    folder.open(
        {
            "survey": survey.model_dump(mode="json"), "instrument": camera.model_dump(mode="json"), "fields": fields,
            "chips": list(chips), "visits": visits, "seed": seed, "shape": list(shape), "tonight_mjd": tonight_mjd,
        }
    )  # fmt: skip
    make = partial(
        _write_frame, folder=folder, survey=survey, seed=seed, shape=shape, tonight_mjd=tonight_mjd, instrument=camera
    )
    names: list[str] = []
    for name in _mapped(make, todo, workers):
        names.append(name)
        if progress is not None:
            progress(len(names), len(todo))
    movers: list[Table] = []
    for field in range(fields):
        for chip in chips:
            sky = field_sky(survey, field, chip, seed=seed, shape=shape, tonight_mjd=tonight_mjd, instrument=camera)
            movers.append(sky[list(_ORBIT_COLUMNS)][sky["a_au"] > 0])
    folder.finish(names, movers)
    return [folder.frame_path(name) for name in names]


def _check_night(
    survey: Survey, camera: Instrument, fields: int, chips: Sequence[str], visits: int, workers: int
) -> None:
    if visits <= survey.earlier_visits:
        raise ConfigError(
            f"visits = {visits}: the survey's first {survey.earlier_visits} visits are the earlier ones; "
            f"at least {survey.earlier_visits + 1} are needed, or a smaller survey.earlier_visits",
            key="visits",
            value=visits,
        )
    for key, value, most in (("fields", fields, 999), ("workers", workers, 1024)):
        if not 1 <= value <= most:
            raise ConfigError(f"{key} = {value}: a number from 1 to {most} is needed", key=key, value=value)
    bad = [chip for chip in chips if camera.chips and chip not in camera.chips]
    if bad or not chips:
        raise ConfigError(
            f"chips = {bad or list(chips)}: names of the camera's {len(camera.chips)} chips are needed, such as "
            f"{', '.join(camera.chips[:3]) or 'any'}",
            key="chips",
        )
    if len(set(chips)) < len(chips):
        raise ConfigError(f"chips = {list(chips)}: the same chip twice", key="chips")


def _mapped(make: Callable[[Visit], str], todo: list[Visit], workers: int) -> Iterator[str]:
    """Names in order, from this process or a pool of fresh ones (a forked torch may hang)."""
    if workers == 1:
        yield from map(make, todo)
        return
    pool = ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(make, todo)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # after an error the frames that wait are not begun


def _write_frame(
    visit: Visit,
    *,
    folder: NightFolder,
    survey: Survey,
    seed: int,
    shape: tuple[int, int],
    tonight_mjd: float,
    instrument: Instrument,
) -> str:
    """Make and write one frame and its truth, unless both are there; returns the frame's name."""
    key = f"{visit.field}_{visit.chip}_{visit.visit}"
    done = folder.done(key)
    if done is not None:
        return done
    frame, truth = simulate_frame(survey, visit, seed=seed, shape=shape, tonight_mjd=tonight_mjd, instrument=instrument)
    row = Table([{"image": frame.name, "field": frame.place.field, "chip": frame.place.chip, "visit": visit.visit,
                  "latitude_deg": frame.place.latitude_deg, **frame.conditions.as_row(), **frame.facts}])  # fmt: skip
    folder.write(key, frame, truth, row)
    return frame.name
