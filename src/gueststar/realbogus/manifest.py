"""What a data set on disk says about itself: its shards with their sizes and hashes, its stamps, its origin.

A data set is a folder with ``manifest.json`` and a folder ``shards`` that holds, for each shard,

- ``NAME.stamps.npy`` (n, 3, k, k) float16 or float32: science, aligned reference, difference, each in units of the sky
  noise of its plane, NaN where there are no data. Half precision keeps 3 digits, finer than the noise by far;
- ``NAME.rows.parquet``: n rows, the columns of `Candidates` and those of `SET_COLUMNS`.

The manifest is written last, so a folder without one is no data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from gueststar.errors import InputError
from gueststar.options import Options, explain_validation
from gueststar.realbogus.dataset import ROW_COLUMNS
from gueststar.realbogus.split import GROUP_COLUMNS

__all__ = [
    "MANIFEST_FILE",
    "PARTS",
    "SCHEMA_VERSION",
    "SET_COLUMNS",
    "SIGMA_COLUMNS",
    "SMALLEST_STAMP",
    "Manifest",
    "Shard",
    "file_hash",
    "read_manifest",
]

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
SMALLEST_STAMP = 21  #: px; smaller ones show too little beside the source
PARTS = ("train", "validation", "test")

#: Sky noise of each plane, e-: what a stamp has to be multiplied with to be in electrons again.
SIGMA_COLUMNS = ("sky_sigma_science", "sky_sigma_reference", "sky_sigma_difference")

#: Columns that every row has beside those that were measured, with their meaning.
SET_COLUMNS: Mapping[str, str] = {
    **ROW_COLUMNS,
    "split": "part of the set: 'train', 'validation', 'test'; empty for none",
    "suspicion": "reasons for which the label is doubtful, with commas; empty for none",
    "true_kind": "what it is by the truth of a simulated night, or by a survey's own catalogues; empty where unknown",
    "sky_sigma_science": "noise of the sky per pixel in the science stamp, e-",
    "sky_sigma_reference": "noise of the sky per pixel in the reference stamp, e-",
    "sky_sigma_difference": "noise of the sky per pixel in the difference stamp, e-",
}


class Shard(Options):
    """One piece of a data set; hashes are BLAKE2b of 16 bytes, in hexadecimal digits."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="Name of its two files, without their endings")
    n: int = Field(ge=1, description="Rows")
    stamps_bytes: int = Field(ge=1, description="Size of the file of stamps")
    stamps_hash: str = Field(description="Hash of the file of stamps")
    rows_bytes: int = Field(ge=1, description="Size of the file of rows")
    rows_hash: str = Field(description="Hash of the file of rows")

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Its stamps and its rows."""
        return folder / "shards" / f"{self.name}.stamps.npy", folder / "shards" / f"{self.name}.rows.parquet"


class Manifest(Options):
    """Contents of manifest.json."""

    format: Literal["gueststar-dataset"] = Field("gueststar-dataset", description="What this file belongs to")
    schema_version: int = Field(SCHEMA_VERSION, ge=1, description="Version of the format")
    stamp_size: int = Field(ge=SMALLEST_STAMP, description="Width of the stamps, px, odd")
    dtype: Literal["float16", "float32"] = Field("float16", description="Type of the pixels")
    channels: tuple[str, str, str] = Field(("science", "reference", "difference"), description="Planes of a stamp")
    n: int = Field(ge=1, description="Rows of all shards")
    group_by: tuple[str, ...] = Field(
        GROUP_COLUMNS, description="Rows that share a value in any of these columns are in one part of the split"
    )
    shards: tuple[Shard, ...] = Field(min_length=1, description="The shards, in the order of the rows")
    provenance: dict[str, Any] = Field(default_factory=dict, description="What it was made from, and how")

    @field_validator("stamp_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that a stamp has a central pixel")
        return value

    @property
    def content_hash(self) -> str:
        """Hash of all that the shards hold, 32 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            digest.update(f"{shard.stamps_hash}{shard.rows_hash}".encode())
        return digest.hexdigest()

    def text(self) -> str:
        """JSON as it is written."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write manifest.json, as a whole or not at all; an OSError is the caller's."""
        part = folder / f"{MANIFEST_FILE}.part"
        part.write_text(self.text(), encoding="utf-8")
        part.replace(folder / MANIFEST_FILE)


def read_manifest(folder: str | Path) -> Manifest:
    """Read manifest.json of a data set.

    Raises
    ------
    InputError
        When the folder is not a data set, or one of a later version of the format.
    """
    path = Path(folder) / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not a data set: {MANIFEST_FILE} cannot be read: {error}; make one with `gueststar dataset "
            "build` or `gueststar dataset import`",
            path=str(folder),
        ) from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: version {version} of the format; this program reads up to {SCHEMA_VERSION}: install a newer one",
            path=str(path),
            version=version,
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise InputError(str(explain_validation(error, Manifest, str(path))), path=str(path)) from None
    if sum(shard.n for shard in manifest.shards) != manifest.n:
        raise InputError(f"{path}: its shards do not hold the {manifest.n} rows that it tells of", path=str(path))
    return manifest


def file_hash(path: Path) -> str:
    """Hash of a file, as in `Shard`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
