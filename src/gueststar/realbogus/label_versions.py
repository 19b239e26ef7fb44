"""Versions of the labels of a data set: decisions of people, kept beside the set, which itself never changes.

A version NAME is two files in the folder ``labels`` of the set:

- ``NAME.parquet``: one row for each decision, see `VERSION_COLUMNS`; rows that are not in it keep their label;
- ``NAME.json``: which set it belongs to, by hash, and who made it from what.

`gueststar.datasets.label_versions.decide_labels` writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gueststar.errors import ConfigError, InputError
from gueststar.options import Options, explain_validation
from gueststar.realbogus.manifest import Manifest

__all__ = [
    "LABELS_FOLDER",
    "VERSION_COLUMNS",
    "LabelVersion",
    "VersionFacts",
    "check_version_name",
    "labels_hash",
    "read_label_version",
    "version_files",
    "version_names",
]

LABELS_FOLDER = "labels"
#: Columns of NAME.parquet, with their meaning.
VERSION_COLUMNS: Mapping[str, str] = {
    "row": "number of the row in the whole set, from 0, in the order of the shards",
    "old": "label before: that of the set, or of the version it is based on",
    "new": "label after: 1 real, 0 artifact, -1 neither; the same as before where it was looked at and kept",
    "reason": "why",
    "by": "who decided",
}


class VersionFacts(Options):
    """Contents of NAME.json."""

    format: Literal["gueststar-labels"] = Field("gueststar-labels", description="What this file belongs to")
    schema_version: int = Field(1, ge=1, le=1, description="Version of the format")
    name: str = Field(description="Name of the version")
    data_hash: str = Field(description="Hash of all that the set holds, as its manifest tells it")
    rows_in_set: int = Field(ge=1, description="Rows of the set")
    labels_hash: str = Field(description="Hash of rows and new labels of the Parquet file")
    base: str = Field("", description="Version that it goes on from; empty: the labels of the set")
    decisions: int = Field(ge=0, description="Rows of the Parquet file")
    changes: dict[str, int] = Field(
        default_factory=dict,
        description="Rows by label of the set and new label, as in '0 to 1'; kept rows not counted",
    )
    by: str = Field("", description="Who decided")
    note: str = Field("", description="What the maker says about it")
    made: str = Field("", description="When, UTC")
    code_version: str = Field("", description="Version of gueststar that wrote it")


@dataclass(frozen=True, slots=True, eq=False)
class LabelVersion:
    """Decisions about rows of a set.

    Parameters
    ----------
    facts : VersionFacts
    rows : ndarray of int64, shape (m,)
        Sorted numbers in the whole set.
    old, new : ndarray of int8, shape (m,)
    reasons, by : tuple of str
        Of each row.
    """

    facts: VersionFacts
    rows: NDArray[np.int64]
    old: NDArray[np.int8]
    new: NDArray[np.int8]
    reasons: tuple[str, ...]
    by: tuple[str, ...]

    def applied(self, labels: NDArray[np.int8], numbers: NDArray[np.int64]) -> NDArray[np.int8]:
        """Labels with the decisions, shape (n,).

        Parameters
        ----------
        labels : ndarray of int8, shape (n,)
        numbers : ndarray of int64, shape (n,)
            Number of each row in the whole set; decisions about other rows are passed over.
        """
        if not self.rows.size:
            return labels.copy()
        place = np.minimum(np.searchsorted(self.rows, numbers), self.rows.size - 1)
        return np.where(self.rows[place] == numbers, self.new[place], labels).astype(np.int8)


def check_version_name(name: str) -> str:
    """The name, when it can be that of two files.

    Raises
    ------
    ConfigError
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", name):
        raise ConfigError(
            f"version {name!r}: up to 60 letters, digits, dots, dashes and underscores, the first a letter or digit",
            key="version",
            value=name,
        )
    return name


def version_files(folder: str | Path, name: str) -> tuple[Path, Path]:
    """Parquet and JSON file of a version."""
    place = Path(folder) / LABELS_FOLDER
    return place / f"{check_version_name(name)}.parquet", place / f"{name}.json"


def version_names(folder: str | Path) -> tuple[str, ...]:
    """Versions that a set has, sorted."""
    return tuple(sorted(path.stem for path in (Path(folder) / LABELS_FOLDER).glob("*.json")))


def labels_hash(rows: NDArray[np.int64], new: NDArray[np.int8]) -> str:
    """Hash of decisions, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(rows, "<i8").tobytes())
    digest.update(np.ascontiguousarray(new, np.int8).tobytes())
    return digest.hexdigest()


def read_label_version(folder: str | Path, name: str, manifest: Manifest) -> LabelVersion:
    """Read a version of the labels of a set.

    Parameters
    ----------
    folder : path
        Of the data set.
    name : str
    manifest : Manifest
        Of the same set.

    Raises
    ------
    ConfigError
        When the name can be none, or there is no such version.
    InputError
        When its files are damaged, or the set is not the one that it was made for.
    """
    table_path, facts_path = version_files(folder, name)
    there = version_names(folder)
    if name not in there:
        raise ConfigError(
            f"{folder} has no labels {name!r}; it has {', '.join(there) or 'those of the set alone'}; make a version "
            "with `gueststar labels decide`",
            key="version",
            value=name,
        )
    facts = _facts(facts_path)
    if facts.data_hash != manifest.content_hash or facts.rows_in_set != manifest.n:
        raise InputError(
            f"{facts_path}: made for a set of {facts.rows_in_set} rows with hash {facts.data_hash[:12]}; this one has "
            f"{manifest.n} and {manifest.content_hash[:12]}: the set was changed, so its rows may be others; take the "
            "set that it was made for, or decide again",
            path=str(facts_path),
        )
    try:
        table = pq.read_table(table_path, columns=list(VERSION_COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{table_path} cannot be read: {error}", path=str(table_path)) from error
    rows = np.asarray(table["row"].to_numpy(), np.int64)
    old, new = (np.asarray(table[column].to_numpy(), np.int8) for column in ("old", "new"))
    if labels_hash(rows, new) != facts.labels_hash:
        raise InputError(
            f"{table_path} was changed: its labels do not have the hash that {facts_path.name} tells; restore it",
            path=str(table_path),
        )
    reasons, by = (tuple(str(text) for text in table[column].to_pylist()) for column in ("reason", "by"))
    return LabelVersion(facts, rows, old, new, reasons, by)


def _facts(path: Path) -> VersionFacts:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return VersionFacts.model_validate(values)
    except (OSError, ValueError) as error:
        told = explain_validation(error, VersionFacts, str(path)) if isinstance(error, ValidationError) else error
        raise InputError(f"{path} does not describe a version of labels: {told}", path=str(path)) from None
