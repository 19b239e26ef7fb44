"""Training sets written piece by piece, so that their size is bounded by the disk and not by the memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.dataset import Dataset

__all__ = ["DatasetWriter"]


class DatasetWriter:
    """Folder of a training set that grows by whole data sets; a context manager.

    The set exists once the block has ended well; otherwise its files keep the suffix ``.part`` and are written over by
    the next attempt.

    Parameters
    ----------
    folder : path
        New folder, or one without a training set.

    Raises
    ------
    OutputError
        When the folder holds a set already or cannot be written.
    InputError
        At the end, when nothing was added; on adding, when stamps or columns are not those of the first piece.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts: dict[str, Any] = {}  #: goes to dataset.json at the end
        self.n = 0
        self._k = 0
        self._pixels: IO[bytes] | None = None
        self._rows: pq.ParquetWriter | None = None
        self._sigma: list[NDArray[np.float32]] = []
        self._stack = ExitStack()
        if (self.folder / "dataset.json").exists():
            raise OutputError(
                f"{self.folder} holds a training set already; remove it or choose another folder", path=str(folder)
            )

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pixels = self._stack.enter_context((self.folder / "cube.npy.part").open("wb"))
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written: {error}", path=str(self.folder)) from error
        return self

    def add(self, piece: Dataset) -> None:
        """Append the rows of a set; an empty one changes nothing."""
        if len(piece) == 0:
            return
        table = pa.table({name: pa.array(_native(values)) for name, values in sorted(piece.columns.items())})
        if self._rows is None:
            self._k = piece.cube.shape[-1]
            self._rows = self._stack.enter_context(pq.ParquetWriter(self.folder / "rows.parquet.part", table.schema))
            self._write_header()
        if piece.cube.shape[-1] != self._k or table.schema != self._rows.schema:
            raise InputError(
                f"a piece with stamps of {piece.cube.shape[-1]} px and columns {table.column_names} does not fit a set "
                f"with {self._k} px and {self._rows.schema.names}; make all pieces with one version and one stamp size"
            )
        try:
            for start in range(0, len(piece), 1024):
                self._file.write(np.ascontiguousarray(piece.cube[start : start + 1024], np.float16).tobytes())
            self._rows.write_table(table)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written: {error}", path=str(self.folder)) from error
        self._sigma.append(np.asarray(piece.sigma, np.float32))
        self.n += len(piece)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.n:
            self._write_header()
        self._stack.close()
        if kind is not None:
            return
        if not self.n:
            raise InputError("no stamps at all: no candidate was found in any pair; lower the detection threshold")
        np.save(self.folder / "sigma.npy", np.concatenate(self._sigma))
        for name in ("cube.npy", "rows.parquet"):
            (self.folder / f"{name}.part").replace(self.folder / name)
        # The last file makes the set: without it the folder is not one.
        self._write_facts({**self.facts, "n": self.n})
        self._write_facts({**self.facts, "n": self.n, "hash": Dataset.load(self.folder).content_hash()})

    @property
    def _file(self) -> IO[bytes]:
        if self._pixels is None:
            raise OutputError("a training set is written inside a block: with DatasetWriter(folder) as writer")
        return self._pixels

    def _write_header(self) -> None:
        """Header of the array file; NumPy leaves room in it for a longer first axis, so it can be written again."""
        self._file.seek(0)
        shape = (self.n, 3, self._k, self._k)
        header: Mapping[str, Any] = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, dict(header))
        self._file.seek(0, 2)

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, indent=1, sort_keys=True)
        (self.folder / "dataset.json").write_text(text, encoding="utf-8")


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, native byte order: what Arrow takes."""
    array = np.ascontiguousarray(values)
    if array.dtype.kind in "UO":
        return array.astype(object)
    return array.astype(array.dtype.newbyteorder("="))
