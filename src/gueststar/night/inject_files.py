"""Artificial reals into FITS files: copies of frames with sources in their counts, and tables of what was put in."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gueststar import __version__
from gueststar.config import Config, config_hash
from gueststar.errors import GueststarError, OutputError
from gueststar.ingest.calibrate import calibrate
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.ingest.frame import Frame
from gueststar.ingest.header import CELLS
from gueststar.ingest.zeropoint import Catalog
from gueststar.night.calibration import apply_masters, group_masters, make_masters, masters_from_files
from gueststar.night.catalogs import read_catalog
from gueststar.night.edited_fits import edited_fits
from gueststar.night.folders import clean_leftovers, replace_file
from gueststar.night.frames import digest, examine
from gueststar.night.guard import StageClock
from gueststar.night.inject_targets import TRUTH, Target, file_hash, find_targets, refuse_others
from gueststar.night.injected_truth import joined_truth, read_truth, truth_bytes, truth_key, truth_of
from gueststar.night.injection import image_rng
from gueststar.night.source_lists import read_source_list, sources_for
from gueststar.options import Options
from gueststar.simulate.inject import Placement, describe_sources, draw_artificial_reals, point_light
from gueststar.simulate.inject.brightness import Distribution
from gueststar.simulate.inject.light import Light
from gueststar.simulate.inject.raw_counts import add_to_counts, mosaic_shares, response_of
from gueststar.simulate.inject.second_injector import second_light
from gueststar.types import Image

__all__ = ["InjectedFile", "Injection", "inject_files"]

Injector = Literal["psf", "second", "ellipse", "empirical", "trail", "variable", "nucleus"]
Progress = Callable[[int, int], None]


class Injection(Options):
    """What is put into each image."""

    n: int = Field(100, ge=0, le=100_000, description="Sources in each image")
    snr: tuple[float, float] | None = Field(None, description="Lowest and highest S/N (PSF) in the image itself")
    mag: tuple[float, float] | None = Field(None, description="Brightest and faintest AB magnitude")
    distribution: Distribution = Field("log-uniform", description="Law between the two")
    placement: Placement = Field("mixed", description="Where they are put")
    injector: Injector = Field("psf", description="How they are made")
    separation_px: float = Field(25.0, ge=0, le=1e5, description="Smallest distance between two, px")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed; the name of the image is mixed in")

    @model_validator(mode="after")
    def _one_brightness(self) -> Injection:
        if self.snr is not None and self.mag is not None:
            raise ValueError("snr and mag are both given; give one of them")
        if self.snr is not None and not 0 < self.snr[0] <= self.snr[1] < np.inf:
            raise ValueError(f"snr = {self.snr}: positive numbers are needed, the lowest first")
        if self.mag is not None and not -np.inf < self.mag[0] <= self.mag[1] < np.inf:
            raise ValueError(f"mag = {self.mag}: two magnitudes are needed, the brightest first")
        if self.injector != "psf" and self.mag is not None:
            raise ValueError(f"injector = {self.injector!r} is for tests and takes S/N only; give snr instead of mag")
        return self


@dataclass(frozen=True, slots=True)
class InjectedFile:
    """What became of one file.

    Parameters
    ----------
    name : str
        Name of the image.
    path : Path
        The file that is written.
    status : {'ok', 'kept', 'copied', 'failed'}
        Written now; there from an earlier call with the same options; a dark, flat or bias, copied as it is; or not
        written, for the `reason`.
    asked, random_instead : int
        Sources wanted, and those wanted on a galaxy or star for which no place was found.
    counts : mapping
        Sources 'injected', 'outside' and 'masked'.
    """

    name: str
    path: Path
    status: str
    asked: int = 0
    random_instead: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    """What all images share."""

    config: Config
    options: Injection
    rows: Table | None
    catalog: Catalog | None
    zeropoint_mag: float | None
    calibrated: Callable[[Frame], Frame]
    key: str


def inject_files(
    inputs: Sequence[Path],
    out: Path,
    config: Config,
    options: Injection,
    *,
    table: Path | None = None,
    darks: Sequence[Path] = (),
    flats: Sequence[Path] = (),
    catalog: Path | None = None,
    zeropoint_mag: float | None = None,
    progress: Progress | None = None,
) -> list[InjectedFile]:
    """Put sources into FITS files and folders of them.

    The frames keep type, header, scale and compression. Beside each lies NAME.truth.parquet, and in `out` truth.parquet
    with all of them. The frames of a folder keep their places in it; its darks, flats and bias frames are applied to
    measure the others, as in a run, and copied as they are. The same call again keeps what it has written before.

    Parameters
    ----------
    inputs : sequence of Path
        Files or folders.
    out : Path
        Folder to write.
    config : Config
        Instrument, gain and how images are measured.
    options : Injection
    table : Path, optional
        List of sources instead of drawn ones; see `gueststar.night.source_lists.read_source_list`.
    darks, flats : sequence of Path
        Calibration frames, instead of those in the folders.
    catalog : Path, optional
        Stars of known magnitude for the zero point.
    zeropoint_mag : float, optional
        AB magnitude of 1 ADU of the calibrated frame, instead of that of the header.
    progress : callable, optional
        Called with the number of files done and of all.

    Returns
    -------
    list of InjectedFile
        In the order of the files. One that cannot be used is 'failed', and the others go on.

    Raises
    ------
    OutputError
        When a file that is not of an earlier equal call is in the way, or the disk is full.
    InputError
        When an input is not there, two have one name, or a list cannot be used.
    """
    found = find_targets(inputs, out, config.instrument)
    rows = read_source_list(table) if table is not None else None
    stars = read_catalog(catalog) if catalog is not None else None
    notes = [__version__, options.model_dump_json(), config_hash(config), str(zeropoint_mag)]
    used = [path for path in (table, catalog, *darks, *flats) if path is not None]
    used += [target.task.path for target in found if target.kind not in ("light", "")]
    key = digest(*notes, *(file_hash(path) for path in used))
    refuse_others(found, out, key)
    clean_leftovers(out)
    done = []
    with tempfile.TemporaryDirectory(prefix="gueststar-") as scratch:
        calibrated = _calibration(found, darks, flats, config.instrument, Path(scratch))
        job = _Job(config, options, rows, stars, zeropoint_mag, calibrated, key)
        for number, target in enumerate(found):
            if progress is not None:
                progress(number, len(found))
            done.append(_write_one(target, job))
    if progress is not None:
        progress(len(found), len(found))
    _join_truth(out, key)
    return sorted(done, key=lambda item: str(item.path))


def _join_truth(out: Path, key: str) -> None:
    """Write truth.parquet of all frames in the folder that calls like this one have written."""
    paths = [path for path in sorted(out.rglob(f"*.{TRUTH}")) if truth_key(path, "call") == key]
    if paths:
        joined = joined_truth([read_truth(path) for path in paths])
        replace_file(out / TRUTH, truth_bytes(joined, {"call": key, "gueststar": __version__}))


def _calibration(
    found: Sequence[Target], darks: Sequence[Path], flats: Sequence[Path], instrument: str, scratch: Path
) -> Callable[[Frame], Frame]:
    """What is done to a raw frame before it is measured."""
    if darks or flats:
        dark, flat = masters_from_files(darks, flats, instrument=instrument)
        return lambda frame: calibrate(frame, dark=dark, flat=flat)
    clock = StageClock()
    others = [examine(target.task, clock) for target in found if target.kind not in ("light", "")]
    kinds = {"dark": [f for f in others if f.facts.kind in ("dark", "bias")]}
    kinds["flat"] = [f for f in others if f.facts.kind == "flat"]
    masters: list[Any] = []
    for kind, frames in kinds.items():
        for task in group_masters(frames, kind, out=scratch, instrument=instrument, darks=masters):
            masters += make_masters(task, clock).masters
    return lambda frame: apply_masters(frame, masters)


def _write_one(target: Target, job: _Job) -> InjectedFile:
    """Inject into one file; a trouble with its content is told in the result, one with the disk is raised."""
    name, path = target.task.name, target.path
    if target.reason:
        return InjectedFile(name, path, "failed", reason=target.reason)
    if target.kind != "light":
        if not path.exists():
            replace_file(path, target.task.path.read_bytes())
        return InjectedFile(name, path, "copied")
    if target.truth.exists() and path.exists():
        return _described(target, "kept", read_truth(target.truth))
    try:
        data, truth = _injected(target, job)
    except OutputError:
        raise
    except GueststarError as error:
        return InjectedFile(name, path, "failed", reason=error.message)
    notes: dict[str, Any] = {"key": target.key(job.key), "call": job.key, "gueststar": __version__}
    notes |= {"options": job.options.model_dump(mode="json"), **truth.meta}
    # The table comes first: a frame in the folder always has one.
    replace_file(target.truth, truth_bytes(truth, notes))
    replace_file(path, data)
    return _described(target, "ok", truth)


def _described(target: Target, status: str, truth: Table) -> InjectedFile:
    counts = Counter(str(word) for word in truth["status"])
    asked = int(truth.meta.get("asked", len(truth)))
    instead = int(truth.meta.get("random_instead", 0))
    return InjectedFile(target.task.name, target.path, status, asked, instead, counts)


def _injected(target: Target, job: _Job) -> tuple[bytes, Table]:
    """The new file, and what was put into it."""
    config, name = job.config, target.task.name
    frame = read_frame(target.task.path, instrument=config.instrument, gain_e_adu=config.gain_e_adu)
    image = frame_image(job.calibrated(frame), ingest=config.ingest, catalog=job.catalog)
    if job.zeropoint_mag is not None:
        zeropoint = job.zeropoint_mag + 2.5 * float(np.log10(frame.gain_e_adu))
        image = replace(image, zeropoint=zeropoint, zeropoint_source="header")
    rng = image_rng(job.options.seed, name)
    light = _light(image, job, rng, name=name, file=target.task.path.name)
    response = response_of(frame, job.calibrated)

    def change(stored: NDArray[Any], scale: float, zero: float) -> NDArray[Any]:
        mosaic = frame.instrument.mosaic
        # The level of a mosaic frame is that of a whole cell.
        full = None if frame.saturation_adu is None else frame.saturation_adu / CELLS[mosaic]
        return add_to_counts(
            stored, image, light.patches, gain_e_adu=frame.gain_e_adu, rng=rng, response=response, step_adu=scale,
            full=None if full is None else (full - zero) / scale, shares=mosaic_shares(stored, image, mosaic),
        )  # fmt: skip

    counts = light.counts
    cards = {
        "GSINJECT": (counts["injected"], "artificial sources in this image"),
        "GSINJBY": (job.options.injector if job.rows is None else "list", "how they were made"),
        "GSINJSED": (job.options.seed, "seed of the injection"),
    }
    history = f"gueststar {__version__}: {counts['injected']} artificial sources added, see {target.truth.name}"
    data = edited_fits(target.task.path, change, cards=cards, history=history)
    return data, truth_of(light, image, frame, name)


def _light(image: Image, job: _Job, rng: np.random.Generator, *, name: str, file: str) -> Light:
    """What is put in: the list, or drawn by one of the injectors."""
    options = job.options
    if job.rows is not None:
        return point_light(image, describe_sources(image, sources_for(job.rows, image, name=name, file=file)))
    if options.injector == "psf":
        drawn = draw_artificial_reals(
            image, options.n, rng=rng, snr=options.snr, mag=options.mag, distribution=options.distribution,
            placement=options.placement, minimum_separation_px=options.separation_px,
        )  # fmt: skip
        return point_light(image, drawn)
    kind = "mixed" if options.injector == "second" else options.injector
    return second_light(
        image, options.n, kind=kind, rng=rng, snr=options.snr or (5.0, 50.0),
        minimum_separation_px=options.separation_px,
    )  # fmt: skip
