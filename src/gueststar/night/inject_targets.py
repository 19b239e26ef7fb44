"""Which files are injected and where the copies go; nothing that is there is replaced."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gueststar.errors import GueststarError, InputError, OutputError
from gueststar.ingest.fits import read_header_facts
from gueststar.instruments import load_instrument
from gueststar.night.frames import FrameTask, digest, find_frames, plain_name
from gueststar.night.injected_truth import truth_key

__all__ = ["TRUTH", "Target", "file_hash", "find_targets", "refuse_others"]

TRUTH = "truth.parquet"


@dataclass(frozen=True, slots=True)
class Target:
    """A file to read and the one to write.

    `kind` is light, dark, flat or bias, or empty for what is no frame, for the `reason`.
    """

    task: FrameTask
    kind: str
    path: Path

    reason: str = ""

    @property
    def truth(self) -> Path:
        """Table of what is put in."""
        return self.path.parent / f"{plain_name(self.path)}.{TRUTH}"

    def key(self, call: str) -> str:
        """Changes with the call and with the bytes of the file."""
        return digest(call, file_hash(self.task.path))


def find_targets(inputs: Sequence[Path], out: Path, instrument: str) -> list[Target]:
    """Files below the inputs, and where they go.

    Raises
    ------
    InputError
        When an input is not there, or two files would be written as one.
    OutputError
        When a file would be written over itself.
    """
    tasks: list[tuple[FrameTask, Path]] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder", path=str(path))
        if path.is_dir():
            for task in find_frames(path, instrument=instrument, leave_out=[out]):
                tasks.append((task, out / task.path.relative_to(path)))
        else:
            tasks.append((FrameTask(plain_name(path), path, instrument), out / path.name))
    profile = load_instrument(instrument)
    found = []
    for task, path in tasks:
        if path.resolve() == task.path.resolve():
            raise OutputError(f"{path} would be written over itself; choose another --out", path=str(path))
        try:
            kind = read_header_facts(task.path, instrument=profile).kind
        except GueststarError as error:
            found.append(Target(task, "", path, error.message))
        else:
            found.append(Target(task, kind, path))
    twice = [path for path, n in Counter(path for _, path in tasks).items() if n > 1]
    twice += [target.truth for target in found if target.truth == out / TRUTH]
    if twice:
        raise InputError(
            f"two files would be written as {twice[0]}; inject them into different folders, or give the folder that "
            "holds both",
            path=str(twice[0]),
        )
    return found


def refuse_others(found: Sequence[Target], out: Path, key: str) -> None:
    """Raise `OutputError` when something is in the way that was not written by a call with this key."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; a folder is written here: choose another --out", path=str(out))
    for target in found:
        known = target.truth.exists() and truth_key(target.truth) == target.key(key)
        known = known or (target.kind != "light" and target.path.exists() and _same(target.path, target.task.path))
        for path in (target.path, target.truth):
            if path.exists() and not known:
                raise OutputError(
                    f"{path} exists already, of other options, another input or another program; nothing is replaced: "
                    "choose another --out",
                    path=str(path),
                )
    if (out / TRUTH).exists() and truth_key(out / TRUTH, "call") != key:
        raise OutputError(f"{out / TRUTH} exists already; choose another --out", path=str(out / TRUTH))


def _same(path: Path, other: Path) -> bool:
    return file_hash(path) == file_hash(other)


def file_hash(path: Path) -> str:
    """Hash of the bytes of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
