"""Data sets written piece by piece: memory is bounded by one shard's table, size by the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.manifest import (
    MANIFEST_FILE,
    PARTS,
    SET_COLUMNS,
    SMALLEST_STAMP,
    Manifest,
    Shard,
    file_hash,
)
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.types import CANDIDATE_COLUMNS

__all__ = ["ShardWriter"]

_LARGEST = 6.0e4  # below the largest float16, in units of sigma
_NOTES = {column.name: (column.unit, column.description) for column in CANDIDATE_COLUMNS} | {
    name: ("", text) for name, text in SET_COLUMNS.items()
}


class ShardWriter:
    """Folder of a data set that grows by pieces; a context manager.

    The set exists once the block has ended well; otherwise there is no manifest, and the next attempt writes over what
    is left.

    Parameters
    ----------
    folder : path
        New folder, or one without a data set.
    dtype : {'float16', 'float32'}
        Of the stored pixels.
    rows_per_shard : int
        Most rows of a shard; 4096 stamps of 63 px are 98 MB in half precision.
    group_by : sequence of str
        Rows that share a value in any of these columns must be in one part of the split; checked at the end.

    Raises
    ------
    OutputError
        When the folder holds a set already or cannot be written.
    InputError
        On adding, when stamps, labels or columns cannot be right or do not fit the first piece; at the end, when
        nothing was added or groups cross.

    Attributes
    ----------
    provenance : dict
        Plain values for the manifest; may be filled until the block ends.
    n : int
        Rows so far.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        dtype: Literal["float16", "float32"] = "float16",
        rows_per_shard: int = 4096,
        group_by: Sequence[str] = GROUP_COLUMNS,
    ) -> None:
        if rows_per_shard < 1:
            raise InputError(f"rows_per_shard = {rows_per_shard}: at least one row must fit into a shard")
        self.folder = Path(folder)
        self.provenance: dict[str, Any] = {}
        self.n = 0
        self._dtype: Literal["float16", "float32"] = dtype
        self._most = rows_per_shard
        self._group_by = tuple(group_by)
        self._shards: list[Shard] = []
        self._k = 0
        self._schema: pa.Schema | None = None
        self._file: IO[bytes] | None = None
        self._tables: list[pa.Table] = []
        self._filled = 0
        self._places: dict[tuple[str, str], str] = {}  # (column, value) to the part it was seen in
        if (self.folder / MANIFEST_FILE).exists():
            raise OutputError(
                f"{self.folder} holds a data set already; remove it or choose another folder", path=str(folder)
            )

    def __enter__(self) -> Self:
        try:
            (self.folder / "shards").mkdir(parents=True, exist_ok=True)
            for left in (self.folder / "shards").glob("[0-9]" * 5 + ".*"):  # of an attempt that was stopped
                left.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def add(self, cube: NDArray[np.floating[Any]], columns: Mapping[str, Any]) -> None:
        """Append rows; none at all changes nothing.

        Parameters
        ----------
        cube : ndarray, shape (n, 3, k, k)
            Science, reference, difference, each in units of the sky noise of its plane; NaN where there are no data.
            k is odd, at least 21, and the same for all pieces.
        columns : mapping of str to array
            n values for each of `SET_COLUMNS` (one value stands for all), and any of `CANDIDATE_COLUMNS` and others;
            the same columns in all pieces.
        """
        n = len(cube)
        if n == 0:
            return
        table = self._table(n, columns)
        self._check(cube, table)
        self._watch_groups(table)
        self._append(cube, table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            if self._file is not None:
                self._file.close()
            elif not self._shards:
                self._remove_empty()
            return
        self._finish_shard()
        if not self._shards:
            raise InputError("a data set without a single row cannot be written; nothing was left after the choice")
        manifest = Manifest(
            stamp_size=self._k, dtype=self._dtype, n=self.n, group_by=self._group_by, shards=tuple(self._shards),
            provenance=self.provenance,
        )  # fmt: skip
        try:
            manifest.write(self.folder)
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def _remove_empty(self) -> None:
        """Take away folders in which nothing was written."""
        for folder in (self.folder / "shards", self.folder):
            try:
                folder.rmdir()
            except OSError:
                return  # something else is there

    def _append(self, cube: NDArray[np.floating[Any]], table: pa.Table) -> None:
        """Write rows to the open shard, and begin another when it is full."""
        while len(cube):
            room = self._most - self._filled
            try:
                if self._file is None:
                    self._file = self._path("stamps.npy").open("wb")
                    self._write_header()
                for start in range(0, min(room, len(cube)), 512):
                    piece = np.clip(cube[start : min(start + 512, room)], -_LARGEST, _LARGEST)
                    self._file.write(np.ascontiguousarray(piece, self._dtype).tobytes())
            except OSError as error:
                raise self._unwritable(error) from error
            self._tables.append(table.slice(0, room))
            written = min(room, len(cube))
            self._filled += written
            self.n += written
            cube, table = cube[room:], table.slice(room)
            if self._filled == self._most:
                self._finish_shard()

    def _finish_shard(self) -> None:
        if self._file is None:
            return
        stamps, rows = self._path("stamps.npy"), self._path("rows.parquet")
        try:
            self._write_header()
            self._file.close()
            pq.write_table(pa.concat_tables(self._tables), rows, compression="zstd")
            shard = Shard(
                name=self._name, n=self._filled, stamps_bytes=stamps.stat().st_size, stamps_hash=file_hash(stamps),
                rows_bytes=rows.stat().st_size, rows_hash=file_hash(rows),
            )  # fmt: skip
        except OSError as error:
            raise self._unwritable(error) from error
        self._shards.append(shard)
        self._file, self._filled = None, 0
        self._tables.clear()

    @property
    def _name(self) -> str:
        return f"{len(self._shards):05d}"

    def _path(self, ending: str) -> Path:
        return self.folder / "shards" / f"{self._name}.{ending}"

    def _write_header(self) -> None:
        """Header of the array file; NumPy leaves room in it for a longer first axis, so it can be written again."""
        if self._file is not None:
            self._file.seek(0)
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(self._dtype)),
                "fortran_order": False,
                "shape": (self._filled, 3, self._k, self._k),
            }
            np.lib.format.write_array_header_1_0(self._file, header)
            self._file.seek(0, 2)

    def _table(self, n: int, columns: Mapping[str, Any]) -> pa.Table:
        missing = sorted(set(SET_COLUMNS) - set(columns))
        if missing:
            raise InputError(f"rows of a data set need the columns {missing}; give each of {sorted(SET_COLUMNS)}")
        fields, arrays = [], []
        for name in sorted(columns):
            values = np.asarray(columns[name])
            values = np.broadcast_to(values, (n,)) if values.ndim == 0 else values
            if values.shape != (n,):
                raise InputError(f"column {name!r} has shape {values.shape}; expected ({n},), one value a stamp")
            array = pa.array(_native(values))
            unit, text = _NOTES.get(name, ("", ""))
            fields.append(pa.field(name, array.type, metadata={"unit": unit, "description": text}))
            arrays.append(array)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _check(self, cube: NDArray[np.floating[Any]], table: pa.Table) -> None:
        shape, k = cube.shape, cube.shape[-1]
        if len(shape) != 4 or shape[1] != 3 or shape[2] != k or k % 2 == 0 or k < SMALLEST_STAMP:
            raise InputError(
                f"stamps have shape {shape}; expected (n, 3, k, k): science, reference, difference, k odd and at least "
                f"{SMALLEST_STAMP}",
                stamp_size=k,
            )
        labels = np.asarray(table["label"])
        wrong = np.setdiff1d(labels, (-1, 0, 1))
        if wrong.size:
            raise InputError(f"label {wrong[0]}: 1 is real, 0 artifact, -1 neither; there is nothing else")
        parts = set(table["split"].unique().to_pylist()) - {*PARTS, ""}
        if parts:
            raise InputError(f"split {sorted(parts)[0]!r}: one of {', '.join(PARTS)}, or empty")
        if self._schema is None:
            self._k, self._schema = k, table.schema
        if k != self._k or not table.schema.equals(self._schema):
            differ = sorted(set(table.schema.names) ^ set(self._schema.names)) or [
                name for name in table.schema.names if table.schema.field(name).type != self._schema.field(name).type
            ]
            raise InputError(
                f"stamps of {k} px with columns that differ in {differ} do not fit a set of {self._k} px; take "
                "products of one version and one stamp size",
                stamp_size=k,
            )

    def _watch_groups(self, table: pa.Table) -> None:
        """Refuse values of the group columns that are in two parts."""
        for column in self._group_by:
            pairs = table.select([column, "split"]).group_by([column, "split"]).aggregate([])
            for value, part in zip(pairs[column].to_pylist(), pairs["split"].to_pylist(), strict=True):
                before = self._places.setdefault((column, value), part) if part else part
                if before != part:
                    raise InputError(
                        f"{column} {value!r} is in {before} and in {part}; the test would see what was trained on: "
                        f"keep rows that share any of {', '.join(self._group_by)} in one part",
                        column=column,
                        example=value,
                    )

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.folder} cannot be written: {error}", path=str(self.folder))


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, native byte order: what Arrow takes."""
    array = np.ascontiguousarray(values)
    if array.dtype.kind in "UO":
        return array.astype(object)
    return array.astype(array.dtype.newbyteorder("="))
