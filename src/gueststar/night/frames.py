"""Find the FITS files of a night and sort them by what they are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gueststar.errors import InputError
from gueststar.ingest.fits import read_header_facts
from gueststar.ingest.frame import FrameFacts
from gueststar.instruments import load_instrument
from gueststar.night.guard import StageClock
from gueststar.night.stored import read_image_facts

__all__ = ["FoundFrame", "FrameTask", "Group", "digest", "examine", "find_frames", "group_lights", "plain_name", "slug"]

_SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FrameTask:
    """A file that is looked at."""

    name: str
    path: Path
    instrument: str


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """A file that is a frame.

    `name` is unique in the night; `file_id` is a hash of the file; `stored_key` is not empty for an image that
    gueststar wrote.
    """

    name: str
    path: Path
    facts: FrameFacts
    file_id: str
    stored_key: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Light frames of one field, chip and filter, in the order of time."""

    name: str
    field: str
    chip: str
    band: str
    frames: tuple[FoundFrame, ...]


def find_frames(folder: Path, *, instrument: str, leave_out: Sequence[Path] = ()) -> list[FrameTask]:
    """All FITS files below a folder, sorted; hidden ones and those below `leave_out` are not seen.

    Raises
    ------
    InputError
        When it is not a folder, or holds no FITS file.
    """
    if not folder.is_dir():
        what = "is a file; use `gueststar pair` for two files" if folder.is_file() else "no such folder"
        raise InputError(f"{folder}: {what}", path=str(folder))
    hidden = [path.resolve() for path in leave_out]
    paths = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not _SUFFIX.search(path.name) or any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        if any(path.resolve().is_relative_to(other) for other in hidden):
            continue
        paths.append(path)
    if not paths:
        raise InputError(
            f"{folder} holds no FITS file (.fits, .fit, .fts, also with .gz or .fz); give the folder of the frames",
            path=str(folder),
        )
    names = ["__".join(_SUFFIX.sub("", str(path.relative_to(folder))).split("/")) for path in paths]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [
        FrameTask("__".join(path.relative_to(folder).parts) if name in twice else name, path, instrument)
        for name, path in zip(names, paths, strict=True)
    ]


def examine(task: FrameTask, clock: StageClock) -> FoundFrame:
    """Read the header of a file and hash its bytes."""
    with clock("header"):
        stored = read_image_facts(task.path)
        if stored is not None:
            facts, key = stored
        else:
            facts, key = read_header_facts(task.path, instrument=load_instrument(task.instrument)), ""
        with task.path.open("rb") as file:
            file_id = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return FoundFrame(task.name, task.path, facts, file_id, key)


def group_lights(frames: Sequence[FoundFrame]) -> list[Group]:
    """Group light frames by field, chip and filter; those without a time come last, by name."""
    groups: dict[tuple[str, str, str], list[FoundFrame]] = {}
    for frame in frames:
        groups.setdefault((frame.facts.field, frame.facts.chip, frame.facts.band), []).append(frame)
    names = Counter(slug(*key) for key in groups)
    made = []
    for key, members in sorted(groups.items()):
        name = slug(*key) or "all"
        # Fields such as 'M 31' and 'M-31' make one file name.
        name = name if names[slug(*key)] == 1 else f"{name}-{digest(*key)[:6]}"
        made.append(Group(name, *key, tuple(sorted(members, key=_time_order))))
    return made


def _time_order(frame: FoundFrame) -> tuple[float, str]:
    mjd = frame.facts.mjd_mid
    return (mjd if np.isfinite(mjd) else np.inf, frame.name)


def plain_name(path: Path) -> str:
    """Name of a file without the suffixes of FITS."""
    return _SUFFIX.sub("", path.name)


def slug(*parts: str) -> str:
    """File name made of the parts that are not empty."""
    return "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", part).strip("-") for part in parts if part)


def digest(*parts: str) -> str:
    """Hash of texts, 16 hex digits."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
