"""Triplets of the Zwicky Transient Facility: tables of stamps, and Avro alert packets.

A table is a file NAME.npz with `science`, `template` and `difference` (n, k, k), each with its `<plane>_scale` and
`<plane>_offset` (n,) or in plain units without them, and NAME.csv beside it, with `row`, the index, and the names of
ZTF's alerts (Masci et al. 2019, PASP 131, 018003).

Where `isdiffpos` is f, the alert's difference is reference minus science; it is turned over, and S/N and flux are
negative, as everywhere here.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from astropy.io import fits
from numpy.typing import NDArray

from gueststar.datasets.importing import ImportSet, Piece, write_pieces
from gueststar.errors import InputError, MissingPartError
from gueststar.realbogus.channels import PLANES
from gueststar.realbogus.stored import StoredDataset

__all__ = ["alert_pieces", "import_ztf_alerts", "import_ztf_table", "table_pieces"]

_BANDS = {1: "g", 2: "r", 3: "i"}
_ROWS = 1024
_READOUT = (3080, 3072)  # (ny, nx) of a quadrant, px
_SIZE = 63  # px, of a cutout that no edge has made smaller
_CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
#: Fields of an alert that are kept under their own names: numbers and texts.
_NUMBERS = (
    "fid", "rb", "drb", "classtar", "distnr", "magnr", "distpsnr1", "sgscore1", "ssdistnr", "ssmagnr", "ndethist",
    "ncovhist", "programid", "nbad", "nneg", "scorr", "seeratio", "magdiff",
)  # fmt: skip
_TEXTS = ("objectId", "candid", "isdiffpos", "ssnamenr")


def import_ztf_table(
    files: Sequence[str | Path],
    out: str | Path,
    options: ImportSet | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> StoredDataset:
    """Make a data set from tables of ZTF triplets.

    The label comes from the column `ImportSet.label_column`; ``weak_label`` and ``real_hint`` and all other columns of
    the table are kept, ``real_hint`` as ``true_kind``, too. Detections of one object stay in one part of the split.

    Parameters
    ----------
    files : sequence of path
        Files NAME.npz, each with NAME.csv beside it.
    out : path
        New folder of the set.
    options : ImportSet, optional
    progress : callable, optional
        Called with the number of rows written.

    Raises
    ------
    InputError
        When a file is missing or does not fit, or a label is not 0 or 1.
    """
    options = options or ImportSet()
    paths = [path for path in map(Path, files) if path.suffix != ".csv"]
    facts = {"format": "ztf", "files": [path.name for path in paths]}
    pieces = (piece for path in paths for piece in table_pieces(path, options.label_column))
    return write_pieces(
        pieces, out, options, order=PLANES, source="ztf", group_by=("tile",), facts=facts, progress=progress
    )


def import_ztf_alerts(
    files: Sequence[str | Path],
    out: str | Path,
    options: ImportSet | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> StoredDataset:
    """Make a data set from ZTF alert packets (Avro); their label is that of the options, -1 by default.

    Cutouts that the edge of a readout quadrant has made smaller are filled up with NaN on the side of that edge.

    Parameters
    ----------
    files : sequence of path
        Avro files of one or more packets.
    out : path
        New folder of the set.
    options : ImportSet, optional
    progress : callable, optional
        Called with the number of rows written.

    Raises
    ------
    MissingPartError
        Without the package fastavro.
    InputError
        When a packet cannot be read or lacks a cutout.
    """
    paths = [Path(path) for path in files]
    facts = {"format": "avro", "files": len(paths)}
    return write_pieces(
        alert_pieces(paths), out, options or ImportSet(), order=PLANES, source="ztf", group_by=("tile",), facts=facts,
        progress=progress,
    )  # fmt: skip


def table_pieces(path: Path, label_column: str | None) -> Iterator[Piece]:
    """Triplets of a file NAME.npz with NAME.csv beside it; without a column for the label it is -1.

    Raises
    ------
    InputError
        When a file is missing or does not fit, or a label is not 0 or 1.
    """
    table = path.with_suffix(".csv")
    try:
        with np.load(path) as arrays:
            planes = [_plane(arrays, name) for name in ("science", "template", "difference")]
        rows = pyarrow.csv.read_csv(table)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} and {table.name} cannot be read: {error}", path=str(path)) from error
    n = len(planes[0])
    index = np.asarray(rows["row"].to_numpy()) if "row" in rows.column_names else np.arange(rows.num_rows)
    if index.size != n or not np.array_equal(np.sort(index), np.arange(n)):
        raise InputError(f"{table} has {index.size} rows for {n} stamps of {path.name}; one each", path=str(table))
    plain = {name: _values(rows[name]) for name in rows.column_names}
    label = np.full(n, -1.0) if label_column is None else _labels(plain, label_column, table)
    for start in range(0, n, _ROWS):
        part = slice(start, start + _ROWS)
        named = {name: values[part] for name, values in plain.items()}
        columns = _columns(named) | {name: named[name] for name in named if name not in ("row", "height", "width")}
        columns |= _candidate(named) | {"label": label[part].astype(np.int8)}
        if "real_hint" in named:
            columns["true_kind"] = named["real_hint"]
        where = index[part]
        cube = np.stack([plane(where) for plane in planes], axis=1)
        yield Piece(cube, columns, turned=columns["isdiffpos"] == "f")


def _labels(plain: Mapping[str, NDArray[Any]], column: str, table: Path) -> NDArray[Any]:
    if column not in plain:
        raise InputError(
            f"{table} has no column {column!r} for the label; it has {', '.join(plain)}: name another one with "
            "--label-column",
            path=str(table),
        )
    label = np.asarray(plain[column])
    if label.dtype.kind != "f" or not np.isin(label, (0.0, 1.0)).all():
        wrong = label[~np.isin(label, (0.0, 1.0))][0] if label.dtype.kind == "f" else label[0]
        raise InputError(f"{table}: label {wrong} in {column!r}; 1 is real, 0 artifact", path=str(table))
    return label


class _Scaled:
    """Plane of a table in plain units, made for the rows that are asked for."""

    def __init__(self, values: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]) -> None:
        self._values, self._scale, self._offset = values, scale, offset

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        values = self._values[rows].astype(np.float32)
        made: NDArray[np.float32] = values * self._scale[rows, None, None] + self._offset[rows, None, None]
        return made


def _plane(arrays: Mapping[str, NDArray[Any]], name: str) -> _Scaled:
    values = arrays[name]
    ones, zeros = np.ones(len(values), np.float32), np.zeros(len(values), np.float32)
    return _Scaled(values, arrays.get(f"{name}_scale", ones), arrays.get(f"{name}_offset", zeros))


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Numbers as float64 with NaN for missing ones (large whole numbers as text); all else as text."""
    kind = column.type
    if pa.types.is_integer(kind) and column.null_count == 0 and np.abs(column.to_numpy()).max(initial=0) > 2**53:
        return np.array([str(item) for item in column.to_pylist()])
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    return np.array(["" if item is None else str(item) for item in column.to_pylist()])


def _columns(named: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Fields of alerts under their own names; missing ones are NaN or empty."""
    n = len(next(iter(named.values())))
    numbers = {name: named.get(name, np.full(n, np.nan)) for name in _NUMBERS}
    texts = {name: np.asarray(named.get(name, np.full(n, ""))).astype(str) for name in _TEXTS}
    return {name: _number(values) for name, values in numbers.items()} | texts


def _candidate(named: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Columns of `Candidates` that the fields of alerts tell."""
    n = len(next(iter(named.values())))

    def get(name: str) -> NDArray[np.float64]:
        return _number(named.get(name, np.full(n, np.nan)))

    sign = np.where(np.isin(np.asarray(named.get("isdiffpos", np.full(n, "t"))).astype(str), ("t", "1")), 1.0, -1.0)
    fid = get("fid")
    texts = {name: np.asarray(named.get(name, np.full(n, ""))).astype(str) for name in ("objectId", "candid")}
    quadrant = get("rcid")
    return {
        "candidate_id": texts["candid"], "tile": texts["objectId"], "ra": get("ra"), "dec": get("dec"),
        "snr": (sign * np.abs(get("scorr"))).astype(np.float32), "mag": get("magpsf").astype(np.float32),
        "mag_err": get("sigmapsf").astype(np.float32), "fwhm": get("fwhm").astype(np.float32),
        "elongation": get("elong").astype(np.float32), "mjd": get("jd") - 2400000.5,
        "night": np.array([f"mjd{int(jd - 2400000.5)}" if np.isfinite(jd) else "" for jd in get("jd")]),
        "band": np.array([_BANDS.get(int(f), "") if np.isfinite(f) else "" for f in fid]),
        "field": np.array([str(int(f)) if np.isfinite(f) else "" for f in get("field")]),
        "chip": np.array([str(int(q)) if np.isfinite(q) else "" for q in quadrant]),
        "isdiffpos": np.where(sign > 0, "t", "f"),
    }  # fmt: skip


def _number(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind in "fiu":
        return np.asarray(values, np.float64)
    return np.array([_float(item) for item in values.tolist()], np.float64)


def _float(item: Any) -> float:
    try:
        return float(item)
    except (TypeError, ValueError):
        return float("nan")


def alert_pieces(paths: Sequence[Path]) -> Iterator[Piece]:
    """Triplets of alert packets.

    Raises
    ------
    MissingPartError
        Without the package fastavro.
    InputError
        When a packet cannot be read or lacks a cutout.
    """
    stamps: list[NDArray[np.float32]] = []
    records: list[Mapping[str, Any]] = []
    for packet, path in _packets(paths):
        stamps.append(_triplet(packet, path))
        candidate = dict(packet.get("candidate") or {})
        records.append(candidate | {"objectId": packet.get("objectId"), "candid": packet.get("candid")})
        if len(stamps) == _ROWS:
            yield _alerts(stamps, records)
            stamps, records = [], []
    if stamps:
        yield _alerts(stamps, records)


def _packets(paths: Sequence[Path]) -> Iterator[tuple[Mapping[str, Any], Path]]:
    try:
        import fastavro
    except ImportError as error:
        raise MissingPartError(
            "alert packets are read by the package fastavro, which is not installed: pip install 'gueststar[avro]'",
            package="fastavro",
        ) from error
    for path in paths:
        try:
            with path.open("rb") as file:
                for packet in fastavro.reader(file):
                    if not isinstance(packet, dict):
                        raise InputError(f"{path}: holds records that are no alerts", path=str(path))
                    yield packet, path
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: not a readable Avro file: {error}", path=str(path)) from error


def _alerts(stamps: Sequence[NDArray[np.float32]], records: Sequence[Mapping[str, Any]]) -> Piece:
    names = {*_NUMBERS, *_TEXTS, "ra", "dec", "magpsf", "sigmapsf", "fwhm", "elong", "jd", "field", "rcid"}
    named: dict[str, NDArray[Any]] = {}
    for name in names:
        values = [record.get(name) for record in records]
        if name in _TEXTS:
            named[name] = np.array(["" if value is None else str(value) for value in values])
        else:
            named[name] = np.array([_float(value) for value in values])
    columns = _columns(named) | _candidate(named)
    return Piece(np.stack(stamps), columns, turned=columns["isdiffpos"] == "f")


def _triplet(packet: Mapping[str, Any], path: Path) -> NDArray[np.float32]:
    """Science, template and difference of a packet, of one square shape."""
    planes = []
    for name in _CUTOUTS:
        cutout = packet.get(name)
        data = cutout.get("stampData") if isinstance(cutout, dict) else None
        if not isinstance(data, bytes):
            raise InputError(f"{path}: alert {packet.get('candid')} has no {name}", path=str(path))
        try:
            with fits.open(io.BytesIO(gzip.decompress(data))) as hdus:
                planes.append(np.asarray(hdus[0].data, np.float32))
        except (OSError, EOFError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: {name} of alert {packet.get('candid')} is no gzipped FITS image: {error}", path=str(path)
            ) from error
    size = max(_SIZE, *(max(plane.shape) for plane in planes))
    candidate = packet.get("candidate") or {}
    place = [_float(candidate.get(name)) for name in ("ypos", "xpos")]
    return np.stack([_filled(plane, size, place) for plane in planes])


def _filled(plane: NDArray[np.float32], size: int, place: Sequence[float]) -> NDArray[np.float32]:
    """A cutout of full size; what the edge of the quadrant cut off is NaN."""
    full = np.full((size, size), np.nan, np.float32)
    slices = []
    for length, position, extent in zip(plane.shape, place, _READOUT, strict=True):
        start = size - length if position < extent / 2 else 0
        slices.append(slice(start, start + length))
    full[slices[0], slices[1]] = plane
    return full
