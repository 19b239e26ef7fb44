"""Tables of scores, written row group by row group as Parquet, CSV or JSON; they appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gueststar.errors import ConfigError, OutputError

__all__ = ["SCHEMA", "TableWriter", "open_table"]

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), metadata={"description": "file or data set that holds the stamp"}),
        pa.field("id", pa.string(), metadata={"description": "identifier of the stamp, or its number in the file"}),
        pa.field("rb_score", pa.float32(), metadata={"description": "0 artifact, 1 real; none where it has a reason"}),
        pa.field("is_real", pa.bool_(), metadata={"description": "at or above the threshold; none without a score"}),
        pa.field(
            "mask_fraction", pa.float32(), metadata={"description": "share of missing pixels that the model sees"}
        ),
        pa.field("reason", pa.string(), metadata={"description": "why there is no score; empty where there is one"}),
        pa.field("rb_threshold", pa.float32(), metadata={"description": "threshold that is_real stands for"}),
        pa.field("rb_model", pa.string(), metadata={"description": "name and version of the model"}),
        pa.field(
            "rb_model_hash", pa.string(), metadata={"description": "first 16 digits of the SHA-256 of its weights"}
        ),
    ]
)  #: columns of a table of scores


class TableWriter(Protocol):
    """Takes pieces of a table of `SCHEMA`."""

    def write(self, table: pa.Table) -> None:
        """Write some rows."""

    def close(self) -> None:
        """End the file."""


@contextmanager
def open_table(path: str | Path, *, overwrite: bool = False) -> Iterator[TableWriter]:
    """Open a table of scores for writing; the form is told by the suffix.

    The file appears under its name when all is written.

    Parameters
    ----------
    path : path
        ``.parquet``, ``.csv`` or ``.json``.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    ConfigError
        For another suffix.
    OutputError
        When the file exists already or cannot be written.
    """
    path = Path(path)
    made = _WRITERS.get(path.suffix)
    if made is None:
        raise ConfigError(
            f"--out {path}: expected a name that ends in {', '.join(_WRITERS)}", key="out", value=str(path)
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or give --overwrite", path=str(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = made(part)
        yield writer
        writer.close()
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}", path=str(path)) from error
    finally:
        part.unlink(missing_ok=True)


class _Parquet:
    def __init__(self, path: Path) -> None:
        texts = ["file", "reason", "rb_model", "rb_model_hash"]
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=texts)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _Csv:
    def __init__(self, path: Path) -> None:
        self._writer = pyarrow.csv.CSVWriter(path, SCHEMA)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _Json:
    """A list of objects, one a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._file.write("[")
        self._between = "\n"

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._file.write(self._between + json.dumps(_plain(row), ensure_ascii=False, allow_nan=False))
            self._between = ",\n"

    def close(self) -> None:
        self._file.write("\n]\n")
        self._file.close()


_WRITERS: dict[str, Callable[[Path], TableWriter]] = {".parquet": _Parquet, ".csv": _Csv, ".json": _Json}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of single precision with the digits that they have."""
    return {
        key: (float(f"{value:.7g}") if math.isfinite(value) else None) if isinstance(value, float) else value
        for key, value in row.items()
    }
