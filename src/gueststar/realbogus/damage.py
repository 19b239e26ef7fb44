"""Shards of a data set that are missing, truncated or changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gueststar.errors import InputError
from gueststar.realbogus.manifest import Manifest, Shard, file_hash
from gueststar.realbogus.shard_files import open_stamps

__all__ = ["Damage", "find_damage"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A shard that cannot be read: its name, what is wrong, and how many rows are lost with it."""

    shard: str
    reason: str
    rows: int


def find_damage(folder: Path, shard: Shard, manifest: Manifest, *, check_hashes: bool) -> str:
    """Tell what is wrong with the files of a shard; empty when nothing is."""
    stamps, rows = shard.files(folder)
    for path, size, digest in (
        (stamps, shard.stamps_bytes, shard.stamps_hash),
        (rows, shard.rows_bytes, shard.rows_hash),
    ):
        try:
            found = path.stat().st_size
            if found != size:
                return f"{path.name} has {found} bytes instead of {size}"
            if check_hashes and file_hash(path) != digest:
                return f"{path.name} was changed: its hash is not that of the manifest"
        except OSError as error:
            return f"{path.name} cannot be read: {error.strerror}"
    try:
        file = open_stamps(stamps)
    except InputError as error:
        return error.message
    file.close()
    try:
        n = pq.read_metadata(rows).num_rows
    except (OSError, pa.ArrowInvalid):
        return f"{rows.name} is not a Parquet file"
    k = manifest.stamp_size
    if file.shape != (shard.n, 3, k, k) or n != shard.n or file.dtype != np.dtype(manifest.dtype):
        return (
            f"{shard.name} holds {file.dtype} stamps {file.shape} and {n} rows instead of {manifest.dtype} "
            f"{(shard.n, 3, k, k)}"
        )
    return ""
