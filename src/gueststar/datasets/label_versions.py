"""Decisions about labels: read from a file, checked, and kept as a new version beside the data set."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.errors import InputError, OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.label_versions import (
    VERSION_COLUMNS,
    LabelVersion,
    VersionFacts,
    labels_hash,
    read_label_version,
    version_files,
    version_names,
)
from gueststar.realbogus.manifest import read_manifest
from gueststar.realbogus.stored import StoredDataset, open_dataset

__all__ = ["DECISIONS_FORMAT", "Decisions", "decide_labels", "list_label_versions", "read_decisions"]

DECISIONS_FORMAT = "gueststar-label-decisions"
_WORDS = {"real": 1, "artifact": 0, "neither": -1, "1": 1, "0": 0, "-1": -1, "keep": None}


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided about some rows.

    Parameters
    ----------
    path : Path
        File that tells it.
    rows : tuple of int
        Numbers in the whole set.
    labels : tuple of int or None
        1, 0 or -1; None keeps the label.
    ids : tuple of str
        Candidates, where the file names them; else empty texts.
    reasons : tuple of str
    data_hash, base : str
        Set and version of the labels that they were made for; empty where the file does not tell.
    """

    path: Path
    rows: tuple[int, ...]
    labels: tuple[int | None, ...]
    ids: tuple[str, ...]
    reasons: tuple[str, ...]
    data_hash: str
    base: str


def read_decisions(path: str | Path) -> Decisions:
    """Read decisions of the page of suspects, or such as a program or a person writes.

    JSON: an object with ``decisions``, a list of objects with ``row`` and ``label`` (1, 0, -1, or real, artifact,
    neither, keep), and where wanted ``candidate_id`` and ``reason``. CSV: columns of the same names.

    Raises
    ------
    InputError
        When the file is neither, a row is no number or decided twice, or a decision is something else.
    """
    path = Path(path)
    items, facts = _json(path) if path.suffix == ".json" else _csv(path)
    rows, labels = [], []
    for number, item in enumerate(items, start=1):
        row, label = item.get("row"), item.get("label")
        if isinstance(row, bool) or not str(row).strip().isdigit():
            raise InputError(
                f"{path}: decision {number} is about row {row!r}; expected its number in the set", row=number
            )
        word = "" if label is None else str(label).strip().lower()
        if isinstance(label, bool) or word not in _WORDS:
            raise InputError(
                f"{path}: row {row} is decided to be {label!r}; expected 1 (real), 0 (artifact), -1 (neither) or keep",
                row=int(str(row)),
            )
        rows.append(int(str(row)))
        labels.append(_WORDS[word])
    found, counts = np.unique(np.asarray(rows, np.int64), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path}: row {found[counts > 1][0]} is decided twice; one decision for each row is needed")
    texts = [[str(item.get(name) or "") for item in items] for name in ("candidate_id", "reason")]
    return Decisions(
        path, tuple(rows), tuple(labels), tuple(texts[0]), tuple(texts[1]), str(facts.get("data_hash") or ""),
        str(facts.get("labels") or ""),
    )  # fmt: skip


def _json(path: Path) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}", path=str(path)) from error
    items = values.get("decisions") if isinstance(values, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{path}: expected an object with a list 'decisions' of objects with row and label")
    return items, values


def _csv(path: Path) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]:
    names = ("row", "label", "candidate_id", "reason")
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    try:
        table = pyarrow.csv.read_csv(path, convert_options=convert)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}", path=str(path)) from error
    if not {"row", "label"} <= set(table.column_names):
        raise InputError(f"{path}: columns row and label are needed; it has {', '.join(table.column_names)}")
    return table.select([name for name in names if name in table.column_names]).to_pylist(), {}


def decide_labels(
    data: str | Path,
    decisions: str | Path | Decisions,
    version: str,
    *,
    base: str = "",
    by: str = "",
    note: str = "",
) -> LabelVersion:
    """Write decisions as a new version of the labels of a set; the set itself is not changed.

    Parameters
    ----------
    data : path
        Folder of the set.
    decisions : path or Decisions
    version : str
        Name of the new version.
    base : str
        Version to go on from: its decisions are taken over where there is no new one. Empty: the labels of the set.
    by : str
        Who decided.
    note : str

    Raises
    ------
    ConfigError
        When the name can be none, or the base is not there.
    InputError
        When the decisions are about another set, other labels, or rows that the set does not have.
    OutputError
        When the version is there already, or cannot be written.
    """
    folder, read = Path(data), decisions if isinstance(decisions, Decisions) else read_decisions(decisions)
    table_path, facts_path = version_files(folder, version)
    if facts_path.exists():
        raise OutputError(
            f"{folder} has labels {version!r} already, and a version is never replaced; choose another name, and give "
            f"--base {version} to go on from it",
            path=str(facts_path),
        )
    own = open_dataset(folder)
    before = open_dataset(folder, labels=base)
    _check(read, own, base)
    numbers = own.numbers()
    rows = np.asarray(read.rows, np.int64)
    place = _places(read, numbers, rows, own)
    old = before.labels[place]
    new = np.array([o if label is None else label for o, label in zip(old.tolist(), read.labels, strict=True)], np.int8)
    made = _merged(
        rows, old, new, read.reasons, by, read_label_version(folder, base, own.manifest) if base else None
    )  # fmt: skip
    first = own.labels[np.searchsorted(numbers, made[0])]
    changes = {
        f"{a} to {b}": int(((first == a) & (made[2] == b)).sum()) for a in (1, 0, -1) for b in (1, 0, -1) if a != b
    }
    facts = VersionFacts(
        name=version, data_hash=own.manifest.content_hash, rows_in_set=own.manifest.n,
        labels_hash=labels_hash(made[0], made[2]), base=base, decisions=len(made[0]),
        changes={name: count for name, count in changes.items() if count}, by=by, note=note,
        made=datetime.now(UTC).isoformat(timespec="seconds"), code_version=__version__,
    )  # fmt: skip
    table = pa.table(
        [pa.array(made[0]), pa.array(made[1]), pa.array(made[2]), pa.array(made[3], pa.string()),
         pa.array(made[4], pa.string())],
        names=list(VERSION_COLUMNS),
    )  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    replace_file(table_path, buffer.getvalue())
    # Written last: a version without it is none, so one that was cut short does no harm.
    replace_file(facts_path, (json.dumps(facts.model_dump(mode="json"), indent=1) + "\n").encode())
    return LabelVersion(facts, *made)


def list_label_versions(data: str | Path) -> tuple[LabelVersion, ...]:
    """All versions of the labels of a set, by name.

    Raises
    ------
    InputError
        When it is no data set, or a version is damaged or belongs to another set.
    """
    manifest = read_manifest(data)
    return tuple(read_label_version(data, name, manifest) for name in version_names(data))


def _check(read: Decisions, data: StoredDataset, base: str) -> None:
    if not read.rows:
        raise InputError(f"{read.path} holds no decision; decide on the page of `gueststar labels suspect --page`")
    if read.data_hash and read.data_hash != data.manifest.content_hash:
        raise InputError(
            f"{read.path}: the decisions are about the set {read.data_hash[:12]}; {data.folder} is "
            f"{data.manifest.content_hash[:12]}: another set, or it was changed since",
            path=str(read.path),
        )
    if read.base and read.base != base:
        raise InputError(
            f"{read.path}: the decisions were made on labels {read.base!r}; give --base {read.base}",
            path=str(read.path),
        )


def _places(
    read: Decisions, numbers: NDArray[np.int64], rows: NDArray[np.int64], data: StoredDataset
) -> NDArray[np.int64]:
    """Where the rows are among those that can be read."""
    place = np.minimum(np.searchsorted(numbers, rows), numbers.size - 1)
    unknown = rows[numbers[place] != rows]
    if unknown.size:
        raise InputError(
            f"{read.path}: row {unknown[0]} ({unknown.size} such) is not in {data.folder}, which has rows 0 to "
            f"{data.manifest.n - 1}" + ("; damaged shards are skipped" if data.damaged else ""),
            row=int(unknown[0]),
        )
    if any(read.ids) and "candidate_id" in data.column_names:
        own = data["candidate_id"][place].tolist()
        for row, name, wanted in zip(rows.tolist(), own, read.ids, strict=True):
            if wanted and wanted != name:
                raise InputError(
                    f"{read.path}: row {row} is candidate {name!r} of {data.folder}, but {wanted!r} in the decisions: "
                    "they are about another set",
                    row=row,
                )
    return place


def _merged(
    rows: NDArray[np.int64],
    old: NDArray[np.int8],
    new: NDArray[np.int8],
    reasons: Sequence[str],
    by: str,
    base: LabelVersion | None,
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int8], tuple[str, ...], tuple[str, ...]]:
    """New decisions and those of the base that have no new one, by row."""
    items = {
        row: (o, n, reason, by)
        for row, o, n, reason in zip(rows.tolist(), old.tolist(), new.tolist(), reasons, strict=True)
    }
    if base is not None:
        earlier = zip(base.rows.tolist(), base.old.tolist(), base.new.tolist(), base.reasons, base.by, strict=True)
        items = {row: (o, n, reason, who) for row, o, n, reason, who in earlier} | items
    order = sorted(items)
    return (
        np.asarray(order, np.int64),
        np.asarray([items[row][0] for row in order], np.int8),
        np.asarray([items[row][1] for row in order], np.int8),
        tuple(items[row][2] for row in order),
        tuple(items[row][3] for row in order),
    )
