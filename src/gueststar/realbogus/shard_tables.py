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
    """Tables of shards, read anew for every column that is asked for.

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
        if name not in self._schema.names:
            raise InputError(f"the data set has no column {name!r}; it has {', '.join(self.names)}", column=name)
        kind = self._schema.field(name).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            codes, texts = self.codes(name)
            return np.array(texts or ("",), np.str_)[codes]
        pieces = [table[name].to_numpy()[kept] for table, kept in self._tables(name)]
        return np.concatenate(pieces) if pieces else np.empty(0)

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers: code of each row, and the text of each code."""
        known: dict[str, int] = {}
        pieces = []
        for table, kept in self._tables(name, dictionary=True):
            values = table[name].combine_chunks()
            if len(kept) < len(values):
                # Texts of rows that are not used are not kept: a million identifiers weigh.
                values = values.take(pa.array(kept)).cast(pa.string())
            values = values.cast(pa.string()).dictionary_encode() if pa.types.is_null(values.type) else values
            values = values if pa.types.is_dictionary(values.type) else values.cast(pa.string()).dictionary_encode()
            own = [known.setdefault(str(text), len(known)) for text in values.dictionary.to_pylist()]
            pieces.append(np.asarray(own, np.int32)[values.indices.to_numpy(zero_copy_only=False)])
        return (np.concatenate(pieces) if pieces else np.empty(0, np.int32)), tuple(known)

    def _tables(self, name: str, *, dictionary: bool = False) -> Iterator[tuple[pa.Table, NDArray[np.int32]]]:
        """One column of each shard, and which of its rows are used."""
        for path, kept in zip(self._paths, self._kept, strict=True):
            try:
                yield pq.read_table(path, columns=[name], read_dictionary=[name] if dictionary else None), kept
            except (OSError, pa.ArrowInvalid) as error:
                raise InputError(f"{path} cannot be read: {error}; look with `gueststar dataset verify`") from error
