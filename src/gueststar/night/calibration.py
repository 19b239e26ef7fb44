"""The night's darks and flats: which belong together, and which fit a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gueststar.errors import InputError
from gueststar.ingest.calibrate import calibrate, combine_darks, combine_flats
from gueststar.ingest.fits import read_frame
from gueststar.ingest.frame import Frame
from gueststar.instruments import load_instrument
from gueststar.night.frames import FoundFrame, FrameTask, digest, slug
from gueststar.night.guard import Guarded, StageClock
from gueststar.night.stored import read_master, write_master
from gueststar.types import Outcome

__all__ = [
    "MadeMasters",
    "Master",
    "MasterTask",
    "apply_masters",
    "group_masters",
    "make_masters",
    "masters_from_files",
]


@dataclass(frozen=True, slots=True)
class Master:
    """A combined dark or flat on disk, and what it fits."""

    path: Path
    kind: str
    chip: str
    band: str
    exposure_s: float
    shape: tuple[int, int]
    key: str


@dataclass(frozen=True, slots=True)
class MasterTask:
    """Frames of one kind, chip and filter (flats) or exposure time (darks) that are combined."""

    name: str
    kind: str
    frames: tuple[FoundFrame, ...]
    key: str
    out: Path
    instrument: str
    darks: tuple[Master, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeMasters:
    """What a group of calibration frames gave, and which of them could not be read."""

    masters: tuple[Master, ...]
    used: tuple[str, ...]
    failures: tuple[Outcome, ...]


def group_masters(
    frames: Iterable[FoundFrame], kind: str, *, out: Path, instrument: str, darks: Sequence[Master] = ()
) -> list[MasterTask]:
    """Group darks (bias frames are darks of 0 s) or flats into what is combined."""
    groups: dict[tuple[str, str], list[FoundFrame]] = {}
    for frame in frames:
        exposure = 0.0 if frame.facts.kind == "bias" else frame.facts.exposure_s
        label = f"{round(exposure, 2):g}s" if kind == "dark" else frame.facts.band
        groups.setdefault((frame.facts.chip, label), []).append(frame)
    tasks = []
    for (chip, label), members in sorted(groups.items()):
        name = slug(kind, chip, label)
        key = digest(kind, *(frame.file_id for frame in members), *(dark.key for dark in darks))
        tasks.append(MasterTask(name, kind, tuple(members), key, out, instrument, tuple(darks)))
    return tasks


def make_masters(task: MasterTask, clock: StageClock) -> MadeMasters:
    """Combine the frames of one group, one master for each shape, and write them.

    Raises
    ------
    InputError
        When no frame can be read, or they cannot be combined.
    """
    frames: list[Frame] = []
    failures: list[Outcome] = []
    with clock("read"):
        for frame in task.frames:
            done = Guarded(_read)(FrameTask(frame.name, frame.path, task.instrument))
            if done.value is None:
                failures.append(done.outcome)
            else:
                frames.append(done.value)
    if not frames:
        raise InputError(f"none of {len(failures)} {task.kind} frames can be read; the first: {failures[0].reason}")
    masters = []
    with clock(task.kind):
        for shape in sorted({frame.data.shape for frame in frames}):
            combined = _combine([frame for frame in frames if frame.data.shape == shape], task)
            size = (int(shape[0]), int(shape[1]))
            path = task.out / f"{task.name}_{size[1]}x{size[0]}.fits"
            write_master(path, combined)
            masters.append(Master(path, task.kind, combined.chip, combined.band, combined.exposure_s, size, task.key))
    return MadeMasters(tuple(masters), tuple(frame.name for frame in frames), tuple(failures))


def _read(task: FrameTask, _clock: StageClock) -> Frame:
    return read_frame(task.path, instrument=task.instrument, gain_e_adu=1.0)


def _combine(frames: list[Frame], task: MasterTask) -> Frame:
    if task.kind == "dark":
        return combine_darks(frames)
    return combine_flats(frames, dark=_nearest_dark(frames[0], task.darks))


def masters_from_files(
    darks: Sequence[Path], flats: Sequence[Path], *, instrument: str
) -> tuple[Frame | None, Frame | None]:
    """Combine files given by name.

    Raises
    ------
    InputError
        When they do not belong together.
    """
    profile = load_instrument(instrument)
    dark = None
    if darks:
        dark = combine_darks([read_frame(path, instrument=profile, gain_e_adu=1.0) for path in darks])
    flat = None
    if flats:
        flat = combine_flats([read_frame(path, instrument=profile, gain_e_adu=1.0) for path in flats], dark=dark)
    return dark, flat


def apply_masters(frame: Frame, masters: Sequence[Master]) -> Frame:
    """Calibrate a frame with the masters that fit it: same shape and chip; nearest exposure, same filter."""
    if frame.instrument.calibrated or not masters:
        return frame
    dark = _nearest_dark(frame, masters)
    flats = [m for m in _fitting(frame, masters, "flat") if m.band == frame.band]
    flat = read_master(flats[0].path) if flats else None
    return calibrate(frame, dark=dark, flat=flat)


def _nearest_dark(frame: Frame, masters: Sequence[Master]) -> Frame | None:
    darks = _fitting(frame, masters, "dark")
    if not darks:
        return None
    exposure = np.nan_to_num(frame.exposure_s)
    best = min(darks, key=lambda m: (abs(np.nan_to_num(m.exposure_s) - exposure), str(m.path)))
    return read_master(best.path)


def _fitting(frame: Frame, masters: Sequence[Master], kind: str) -> list[Master]:
    return [
        master
        for master in masters
        if master.kind == kind
        and master.shape == frame.data.shape
        and (not master.chip or not frame.chip or master.chip == frame.chip)
    ]
