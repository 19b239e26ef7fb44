"""Columns read from the tables of a data set, those rows of each shard that are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["ShardTables"]


class ShardTables:
    """Tables of shards, read anew whenever columns are asked for.

    Parameters
    ----------
    paths : sequence of Path
        Parquet files of one schema, at least one.
    kept : sequence of ndarray of int
        Rows of each table that are used.
    """

    def __init__(self, paths: Sequence[Path], kept: Sequence[NDArray[np.int32]]) -> None:
        self._paths, self._kept = tuple(paths), tuple(kept)
        self._schema = pq.read_schema(paths[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that can be asked for."""
        return tuple(self._schema.names)

    def column(self, name: str) -> NDArray[Any]:
        """One column; texts as fixed-width strings.

        Raises
        ------
        InputError
            When there is no such column, or a file cannot be read.
        """
        return self.columns([name])[name]

    def columns(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Several columns, as `column` gives each; every table is opened once for all of them.

        Raises
        ------
        InputError
            When there is no such column, or a file cannot be read.
        """
        for name in names:
            if name not in self._schema.names:
                raise InputError(f"the data set has no column {name!r}; it has {', '.join(self.names)}", column=name)
        texts = {name: _Texts() for name in names if self._is_text(name)}
        numbers: dict[str, list[NDArray[Any]]] = {name: [] for name in names if name not in texts}
        if names:
            for table, kept in self._tables(names, dictionaries=list(texts)):
                for name, text in texts.items():
                    text.add(table[name], kept)
                for name, pieces in numbers.items():
                    pieces.append(table[name].to_numpy()[kept])
        found = {name: np.concatenate(pieces) if pieces else np.empty(0) for name, pieces in numbers.items()}
        for name, text in texts.items():
            codes, words = text.all()
            found[name] = np.array(words or ("",), np.str_)[codes]
        return {name: found[name] for name in names}

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers: code of each row, and the text of each code."""
        texts = _Texts()
        for table, kept in self._tables([name], dictionaries=[name]):
            texts.add(table[name], kept)
        return texts.all()

    def _is_text(self, name: str) -> bool:
        kind = self._schema.field(name).type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    def _tables(
        self, names: Sequence[str], *, dictionaries: Sequence[str] = ()
    ) -> Iterator[tuple[pa.Table, NDArray[np.int32]]]:
        """Columns of each shard, and which of its rows are used."""
        for path, kept in zip(self._paths, self._kept, strict=True):
            try:
                with pq.ParquetFile(path, read_dictionary=list(dictionaries)) as file:
                    table = file.read(columns=list(names))
            except (OSError, pa.ArrowInvalid) as error:
                raise InputError(f"{path} cannot be read: {error}; look with `gueststar dataset verify`") from error
            lacking = [name for name in names if name not in table.column_names]
            if lacking:
                raise InputError(f"{path} has no column {lacking[0]!r}; look with `gueststar dataset verify`")
            yield table, kept


class _Texts:
    """A text column as it is read table after table: code of each row, and the text of each code."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._pieces: list[NDArray[np.int32]] = []

    def add(self, column: pa.ChunkedArray, kept: NDArray[np.int32]) -> None:
        """Take the rows of a table that are used."""
        values = column.combine_chunks()
        if len(kept) < len(values):
            # Texts of rows that are not used are not kept: a million identifiers weigh.
            values = values.take(pa.array(kept)).cast(pa.string())
        values = values.cast(pa.string()).dictionary_encode() if pa.types.is_null(values.type) else values
        values = values if pa.types.is_dictionary(values.type) else values.cast(pa.string()).dictionary_encode()
        known = self._known
        own = [known.setdefault(str(text), len(known)) for text in values.dictionary.to_pylist()]
        self._pieces.append(np.asarray(own, np.int32)[values.indices.to_numpy(zero_copy_only=False)])

    def all(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Codes of all rows, and their texts."""
        return (np.concatenate(self._pieces) if self._pieces else np.empty(0, np.int32)), tuple(self._known)
