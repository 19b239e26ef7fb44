"""The published format of the Tomo-e Gozen real/bogus data (Takahashi et al. 2022, PASJ 74, 946), read and written.

For each detector a file ``images{det}.npy`` of shape (N, 29, 29, 3), channels last, and ``params{det}.csv`` of N rows
with the column ``object_type``: 'artifact', or 'rand_artificial_real' and 'galx_artificial_real', which are labels 0
and 1. The authors' programs treat the three channels alike and do not name them, so their order is an option.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from gueststar.datasets.importing import ImportSet, Piece, write_pieces
from gueststar.errors import InputError, OutputError
from gueststar.realbogus.channels import PLANES
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.stored import StoredDataset
from gueststar.types import CANDIDATE_COLUMNS

__all__ = ["OBJECT_TYPES", "TOMOE_ORDER", "export_tomoe", "import_tomoe"]

#: Order that is assumed: that in which the survey names its triplets.
TOMOE_ORDER = ("reference", "science", "difference")
#: Label, kind and placement of each object type.
OBJECT_TYPES = {
    "artifact": (0, "artifact", ""),
    "rand_artificial_real": (1, "injected", "random"),
    "galx_artificial_real": (1, "injected", "galaxy"),
}
_IMAGES = re.compile(r"images(\w*)\.npy$")
_ROWS = 2048
_KEPT = ("suspicion", "true_kind", "chip", "image", "field")
_TEXTS = (*_KEPT, "object_type", *(column.name for column in CANDIDATE_COLUMNS if column.dtype.startswith("U")))
_EXPORTED = ("candidate_id", "image", "field", "chip", "split", "suspicion", "true_kind", *SIGMA_COLUMNS)


def import_tomoe(
    files: Sequence[str | Path],
    out: str | Path,
    options: ImportSet | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> StoredDataset:
    """Make a data set from the published format.

    Parameters
    ----------
    files : sequence of path
        Files ``images{det}.npy``, each with its ``params{det}.csv`` beside it, or folders of such.
    out : path
        New folder of the set.
    options : ImportSet, optional
    progress : callable, optional
        Called with the number of rows written.

    Raises
    ------
    InputError
        When a file is missing, shapes or numbers of rows do not fit, or an object type is unknown.
    """
    images = _image_files([Path(path) for path in files])
    facts = {"format": "tomoe", "files": [path.name for path in images]}
    pieces = (piece for path in images for piece in _pieces(path))
    return write_pieces(
        pieces, out, options or ImportSet(), order=TOMOE_ORDER, source="tomoe", facts=facts, progress=progress
    )


def _image_files(given: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += sorted(item for item in path.iterdir() if _IMAGES.match(item.name))
        elif _IMAGES.match(path.name):
            found.append(path)
        elif not path.name.startswith("params"):
            raise InputError(f"{path}: not a file images(det).npy of the Tomo-e format", path=str(path))
    if not found:
        raise InputError(f"{', '.join(map(str, given))}: no file images(det).npy there")
    return found


def _pieces(path: Path) -> Iterator[Piece]:
    matched = _IMAGES.match(path.name)
    detector = matched[1] if matched else ""
    table = path.with_name(f"params{detector}.csv")
    try:
        images = np.load(path, mmap_mode="r")
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_TEXTS, pa.string()))
        rows = pyarrow.csv.read_csv(table, convert_options=texts)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} and {table.name} cannot be read: {error}", path=str(path)) from error
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"{path} has shape {images.shape}; expected (N, k, k, 3), channels last", path=str(path))
    if len(images) != rows.num_rows or "object_type" not in rows.column_names:
        raise InputError(
            f"{table} has {rows.num_rows} rows and columns {', '.join(rows.column_names)} for {len(images)} stamps; "
            "one row a stamp and the column object_type are expected",
            path=str(table),
        )
    columns = _columns(rows, table, detector)
    for start in range(0, len(images), _ROWS):
        part = slice(start, start + _ROWS)
        yield Piece(
            np.moveaxis(np.asarray(images[part]), 3, 1),
            {name: values[part] if np.ndim(values) else values for name, values in columns.items()},
        )


def _columns(rows: pa.Table, path: Path, detector: str) -> dict[str, Any]:
    types = rows["object_type"].to_pylist()
    unknown = sorted({str(item) for item in types} - set(OBJECT_TYPES))
    if unknown:
        raise InputError(
            f"{path}: object type {unknown[0]!r} is unknown; there are {', '.join(OBJECT_TYPES)}", path=str(path)
        )
    known = {column.name: column.dtype for column in CANDIDATE_COLUMNS}
    columns: dict[str, Any] = {
        "candidate_id": np.array([f"{detector}-{i}" for i in range(rows.num_rows)]),
        "label": np.array([OBJECT_TYPES[item][0] for item in types], np.int8),
        "kind": np.array([OBJECT_TYPES[item][1] for item in types]),
        "placement": np.array([OBJECT_TYPES[item][2] for item in types]),
        "object_type": np.array(types), "chip": detector,
    }  # fmt: skip
    for name in rows.column_names:
        if name == "object_type" or name in SIGMA_COLUMNS or name == "split":
            continue
        values = _plain(rows[name])
        if name in known:
            columns[name] = _as_known(values, np.dtype(known[name]), path, name)
        elif name in _KEPT:
            columns[name] = values
        else:
            columns[f"param_{name}"] = values
    return columns


def _plain(values: pa.ChunkedArray) -> NDArray[Any]:
    """Numbers as float64, all else as text; missing ones are NaN or empty."""
    kind = values.type
    if any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)):
        return np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)
    return np.array(["" if item is None else str(item) for item in values.to_pylist()])


def _as_known(values: NDArray[Any], kind: np.dtype[Any], path: Path, name: str) -> NDArray[Any]:
    """Values of a column of `Candidates` in its type; a text column without a single value is empty."""
    if kind.kind == "U":
        return values
    try:
        return (np.nan_to_num(values) if kind.kind == "i" else values).astype(kind)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column {name} is no number: {error}", path=str(path), column=name) from error


def export_tomoe(
    data: StoredDataset, out: str | Path, *, order: Sequence[str] = TOMOE_ORDER, size: int = 29
) -> dict[str, int]:
    """Write a data set in the published format, in the units of its stamps; rows that are neither are left out.

    Parameters
    ----------
    data : StoredDataset
    out : path
        New folder.
    order : sequence of str
        Planes in the files.
    size : int
        Width of the centres that are written, px, odd.

    Returns
    -------
    dict
        Rows written for each detector. The format wants numbers for detectors: chips that are none are numbered in the
        order of their names; the column ``chip`` keeps the names.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; choose another --out", path=str(folder))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}", path=str(folder)) from error
    there = set(data.column_names)
    codes, chips = data.codes("chip") if "chip" in there else (np.zeros(len(data), np.int32), ("0",))
    numbers = _detectors(chips)
    names = [name for name in (*(column.name for column in CANDIDATE_COLUMNS), *_EXPORTED) if name in there]
    columns = list(dict.fromkeys(names))
    written = {}
    for code, detector in sorted(numbers.items(), key=lambda item: item[1]):
        rows = np.flatnonzero((codes == code) & (data.labels >= 0))
        if rows.size:
            _export_detector(data, folder, detector, rows, columns, [PLANES.index(name) for name in order], size)
            written[detector] = int(rows.size)
    return written


def _detectors(chips: Sequence[str]) -> dict[int, str]:
    """Number of each chip, by its code."""
    if all(chip.isdigit() for chip in chips):
        return dict(enumerate(chips))
    return {chips.index(chip): str(number) for number, chip in enumerate(sorted(chips))}


def _export_detector(
    data: StoredDataset,
    folder: Path,
    detector: str,
    rows: NDArray[np.int64],
    columns: Sequence[str],
    order: Sequence[int],
    size: int,
) -> None:
    values = {name: data[name][rows] for name in columns}
    sigma = data.sigma(rows)
    placement = data["placement"][rows] if "placement" in data.column_names else np.full(rows.size, "")
    types = np.where(placement == "galaxy", "galx_artificial_real", "rand_artificial_real")
    types = np.where(data.labels[rows] == 1, types, "artifact")
    try:
        images = np.lib.format.open_memmap(
            folder / f"images{detector}.npy", mode="w+", dtype=np.float32, shape=(rows.size, size, size, 3)
        )
        for start in range(0, rows.size, _ROWS):
            part = slice(start, start + _ROWS)
            cube = data.stamps(rows[part], size=size) * sigma[part][:, :, None, None]
            images[part] = np.moveaxis(cube[:, order], 1, 3)
        images.flush()
        with (folder / f"params{detector}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["object_type", *columns])
            writer.writerows(zip(types.tolist(), *(values[name].tolist() for name in columns), strict=True))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}", path=str(folder)) from error
