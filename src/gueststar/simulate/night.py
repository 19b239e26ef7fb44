"""Whole simulated nights as FITS files, named and headed as the instrument's, with the truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from gueststar.errors import ConfigError, OutputError
from gueststar.simulate.exposure import RawFrame
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import CHIP_NAME, CHIP_SHAPE, SimulatedPair, Visit, simulate_frame, simulate_pair

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


def write_night(
    out: str | Path,
    survey: Survey | None = None,
    *,
    fields: int = 1,
    chips: Sequence[str] = ("Q1-11",),
    visits: int = 5,
    seed: int = 0,
    shape: tuple[int, int] = CHIP_SHAPE,
    tonight_mjd: float = 61000.45,
    fpack: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a simulated night: FITS files named and headed as the instrument's, and the truth about them.

    The first `survey.earlier_visits` visits of each field lie on nights before; transients are absent there. The
    others are half an hour apart tonight.

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
    shape : (int, int)
        (ny, nx) of the chips.
    tonight_mjd : float
        First exposure of tonight, UTC.
    fpack : bool
        Write ``.fits.fz`` (Rice, quantised to a quarter of the noise) instead of ``.fits``.
    workers : int
        Processes.
    progress : callable, optional
        Called with (images done, all images).

    Returns
    -------
    list of Path
        The FITS files, by field, chip and visit. Beside them lie ``truth.parquet`` (a row per source and cosmic ray
        of each image) and ``conditions.parquet`` (a row per image).

    Raises
    ------
    ConfigError
        For senseless numbers or names of chips.
    OutputError
        When a file is there already or the folder cannot be written to.
    """
    survey = survey or Survey()
    _check_night(survey, fields, chips, visits, workers)
    folder = _make_folder(Path(out))
    todo = [Visit(f, chip, v) for f in range(fields) for chip in chips for v in range(visits)]
    make = partial(
        _write_frame, folder=folder, survey=survey, seed=seed, shape=shape, tonight_mjd=tonight_mjd, fpack=fpack
    )
    paths: list[Path] = []
    truth, conditions = _ParquetTable(folder / "truth.parquet"), _ParquetTable(folder / "conditions.parquet")
    with truth, conditions:
        for path, rows, row in _mapped(make, todo, workers):
            truth.add(rows)
            conditions.add(row)
            paths.append(path)
            if progress is not None:
                progress(len(paths), len(todo))
    return paths


def _check_night(survey: Survey, fields: int, chips: Sequence[str], visits: int, workers: int) -> None:
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
    bad = [chip for chip in chips if not CHIP_NAME.fullmatch(chip)]
    if bad or not chips:
        raise ConfigError(
            f"chips = {list(chips)}: names such as 'Q1-11' are needed (quadrant 1-4, then the chip)", key="chips"
        )


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}", path=str(folder)) from error
    if (folder / "truth.parquet").exists():
        raise OutputError(
            f"{folder}: holds a simulated night already (truth.parquet); choose another folder", path=str(folder)
        )
    return folder


def _mapped(
    make: Callable[[Visit], tuple[Path, Table, Table]], todo: list[Visit], workers: int
) -> Iterator[tuple[Path, Table, Table]]:
    """Results in order, from this process or a pool of fresh ones (a forked torch may hang)."""
    if workers == 1:
        yield from map(make, todo)
        return
    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, todo)


def _write_frame(
    visit: Visit, *, folder: Path, survey: Survey, seed: int, shape: tuple[int, int], tonight_mjd: float, fpack: bool
) -> tuple[Path, Table, Table]:
    frame, truth = simulate_frame(survey, visit, seed=seed, shape=shape, tonight_mjd=tonight_mjd)
    path = folder / f"{frame.name}.fits{'.fz' if fpack else ''}"
    _write_fits(frame, path, fpack=fpack)
    row = Table([{"image": frame.name, "field": frame.place.field, "chip": frame.place.chip, "visit": visit.visit,
                  "latitude_deg": frame.place.latitude_deg, **frame.conditions.as_row(), **frame.facts}])  # fmt: skip
    return path, truth, row


def _write_fits(frame: RawFrame, path: Path, *, fpack: bool) -> None:
    """Write under another name, then rename: a file that is there is whole."""
    header = fits.Header({k: v for k, v in frame.header.items() if not k.startswith("NAXIS")})
    hdus: list[Any]
    if fpack:
        packed = fits.CompImageHDU(
            frame.data, header, compression_type="RICE_1", quantize_level=4.0, quantize_method=1, dither_seed=1
        )
        hdus = [fits.PrimaryHDU(), packed]
    else:
        hdus = [fits.PrimaryHDU(frame.data, header)]
    partial_path = path.with_name(path.name + ".part")
    try:
        with partial_path.open("wb") as stream:
            fits.HDUList(hdus).writeto(stream)
        if path.exists():
            raise OutputError(f"{path}: exists already; choose another folder", path=str(path))
        partial_path.rename(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}", path=str(path)) from error
    finally:
        partial_path.unlink(missing_ok=True)


class _ParquetTable:
    """A Parquet file to which tables are added; renamed into place when all went well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".part")
        self._writer: Any = None

    def __enter__(self) -> _ParquetTable:
        return self

    def add(self, table: Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        batch = pa.table({name: np.asarray(table[name]) for name in table.colnames})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._partial, batch.schema)
        self._writer.write_table(batch)

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._writer is not None:
            self._writer.close()
            if kind is None:
                self._partial.rename(self._path)
        if kind is not None:
            self._partial.unlink(missing_ok=True)
