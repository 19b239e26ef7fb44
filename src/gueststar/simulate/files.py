"""The folder of a simulated night: frames appear whole or not at all, and an interrupted night can be gone on with."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack

from gueststar.errors import OutputError
from gueststar.simulate.frame import RawFrame

__all__ = ["NightFolder", "frame_bytes"]

_PLAN, _PARTS = "night.json", ".parts"


@dataclass(frozen=True, slots=True)
class NightFolder:
    """Where a simulated night is written.

    While a night is being made, the truth of each frame lies in a file of its own in ``.parts``; it is written after
    the frame, so a frame with a truth is whole.

    Parameters
    ----------
    path : Path
        Folder.
    fpack : bool
        Frames are compressed.
    """

    path: Path
    fpack: bool = False

    def frame_path(self, name: str) -> Path:
        """File of a frame."""
        return self.path / f"{name}.fits{'.fz' if self.fpack else ''}"

    def open(self, plan: Mapping[str, Any]) -> None:
        """Make the folder, or go on with the same night.

        Raises
        ------
        OutputError
            When the folder holds a finished night or another one, or cannot be made.
        """
        plan = json.loads(json.dumps({**plan, "fpack": self.fpack}))
        with _plain_errors(self.path, "make the folder"):
            self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / "truth.parquet").exists():
            raise OutputError(
                f"{self.path}: holds a simulated night already (truth.parquet); choose another folder",
                path=str(self.path),
            )
        there = self.path / _PLAN
        if there.exists():
            self._check_same(json.loads(there.read_text(encoding="utf-8")), plan)
        with _plain_errors(self.path, "make the folder"):
            (self.path / _PARTS).mkdir(exist_ok=True)
            for leftover in (*self.path.glob("*.part"), *(self.path / _PARTS).glob("*.part")):
                leftover.unlink()  # of a writer that was killed
        self._replace(there, json.dumps(plan, indent=1).encode())

    def _check_same(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        if differing:
            raise OutputError(
                f"{self.path}: holds an unfinished night with another {', '.join(differing)}; give the same options to "
                "go on with it, or choose another folder",
                path=str(self.path),
                differing=", ".join(differing),
            )

    def done(self, key: str) -> str | None:
        """Name of the frame of this key when it and its truth are there."""
        note = self.path / _PARTS / f"{key}.json"
        if not note.exists():
            return None
        name = str(json.loads(note.read_text(encoding="utf-8"))["image"])
        return name if self.frame_path(name).exists() and self._part(name).exists() else None

    def write(self, key: str, frame: RawFrame, truth: Table, conditions: Table) -> None:
        """Write a frame, its truth and its conditions.

        Raises
        ------
        OutputError
            When the disk is full or cannot be written to.
        """
        self._replace(self.frame_path(frame.name), frame_bytes(frame, fpack=self.fpack))
        self._replace(self._part(frame.name), _parquet(truth))
        self._replace(self._part(frame.name, "conditions"), _parquet(conditions))
        self._replace(self.path / _PARTS / f"{key}.json", json.dumps({"image": frame.name}).encode())

    def finish(self, names: Sequence[str], movers: Sequence[Table]) -> None:
        """Join the truth of the frames to one file, write the orbits, and clear the parts away."""
        for kind in ("conditions", "truth"):
            # The truth comes last: with it the night is finished.
            if kind == "truth":
                rows = vstack(list(movers), metadata_conflicts="silent")
                self._replace(self.path / "orbits.parquet", _parquet(rows))
            self._join([self._part(name, kind) for name in names], self.path / f"{kind}.parquet")
        shutil.rmtree(self.path / _PARTS)

    def _part(self, name: str, kind: str = "truth") -> Path:
        return self.path / _PARTS / f"{name}.{kind}.parquet"

    def _join(self, parts: Sequence[Path], target: Path) -> None:
        import pyarrow.parquet as pq

        partial = target.with_name(target.name + ".part")
        with _plain_errors(target, "write"):
            try:
                with pq.ParquetWriter(partial, pq.read_schema(parts[0])) as writer:
                    for part in parts:
                        writer.write_table(pq.read_table(part))
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)

    def _replace(self, target: Path, data: bytes) -> None:
        """Write under another name, then rename: a file that is there is whole."""
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        with _plain_errors(target, "write"):
            try:
                partial.write_bytes(data)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)


def frame_bytes(frame: RawFrame, *, fpack: bool = False) -> bytes:
    """A frame as a FITS file; with `fpack` Rice-compressed, quantised to a quarter of the noise."""
    header = fits.Header({k: v for k, v in frame.header.items() if not k.startswith("NAXIS")})
    hdus: list[Any] = [fits.PrimaryHDU(frame.data, header)]
    if fpack:
        packed = fits.CompImageHDU(
            frame.data, header, compression_type="RICE_1", quantize_level=4.0, quantize_method=1, dither_seed=1
        )
        hdus = [fits.PrimaryHDU(), packed]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


def _parquet(table: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), stream)
    return stream.getvalue()


@contextmanager
def _plain_errors(path: Path, what: str) -> Iterator[None]:
    """Turn an operating-system error into one that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "no space is left on the disk; free some and give the same command again, it goes on from here"
        raise OutputError(f"{path}: cannot {what}: {reason}", path=str(path), errno=error.errno) from error
