"""Stamps to be scored, from whatever holds them: arrays, data sets, triplets and alert packets of ZTF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.datasets.importing import Piece
from gueststar.datasets.stamp_streams import ArrayStream, archive_streams, array_stream
from gueststar.datasets.ztf import alert_pieces, table_pieces
from gueststar.errors import InputError
from gueststar.realbogus.chips.names import CHIP_COLUMN
from gueststar.realbogus.stored import open_dataset

__all__ = ["StampPiece", "StampSource", "open_source"]

_ROWS = 1024
_NAMES = {"science": ("science",), "reference": ("reference", "template"), "difference": ("difference",)}


@dataclass(frozen=True, slots=True, eq=False)
class StampPiece:
    """Some stamps of a source.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        In the units and the order of the source.
    ids : ndarray of str, shape (n,)
    columns : mapping of str to ndarray
        Measured numbers by their names in a candidate table, as far as known.
    sigma : ndarray, shape (n, 3), optional
        Noise of each plane in the units of the stamps, which are then free of sky; None: to be measured.
    turned : ndarray of bool, shape (n,), optional
        Stamps whose difference is reference minus science.
    chips : ndarray of str, shape (n,), optional
        Chip that each stamp comes from; None: not told.
    """

    cube: NDArray[Any]
    ids: NDArray[np.str_]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sigma: NDArray[Any] | None = None
    turned: NDArray[np.bool_] | None = None
    chips: NDArray[np.str_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StampSource:
    """A file or folder of stamps.

    Parameters
    ----------
    path : Path
    n : int or None
        Stamps in it; None where only reading tells.
    pieces : callable
        Gives the pieces, from the first to the last.
    known_planes : bool
        It was checked before which plane is which.
    warnings : tuple of str
        What is left out of it.
    """

    path: Path
    n: int | None
    pieces: Callable[[], Iterator[StampPiece]]
    known_planes: bool = False
    warnings: tuple[str, ...] = ()


def open_source(path: str | Path, *, scalars: Sequence[str] = ()) -> StampSource:
    """Open a file of stamps, or the folder of a data set.

    Parameters
    ----------
    path : path
        ``.npy`` (n, 3, k, k); ``.npz`` with science, reference (or template) and difference (n, k, k), and, where
        known, ``id``, ``chip``, ``sigma`` (n, 3) and measured numbers under their names in a candidate table;
        ``.avro``; a data set.
    scalars : sequence of str
        Measured numbers that are wanted of a data set.

    Raises
    ------
    InputError
        When it is none of these.
    """
    path = Path(path)
    if path.is_dir():
        return _dataset(path, scalars)
    if not path.is_file():
        raise InputError(f"{path} is not there; expected a file of stamps or the folder of a data set", path=str(path))
    if path.suffix == ".npy":
        with array_stream(path) as stream:
            _check(stream.shape, str(path))
            return StampSource(path, stream.shape[0], lambda: _of_array(path))
    if path.suffix == ".npz":
        if path.with_suffix(".csv").is_file():
            return StampSource(path, None, lambda: _of_foreign(table_pieces(path, None)))
        return _archive(path)
    if path.suffix == ".avro":
        return StampSource(path, None, lambda: _of_foreign(alert_pieces([path])))
    raise InputError(
        f"{path}: stamps are read from .npy, .npz and .avro files and from data sets, not from "
        f"{path.suffix or 'a file without a suffix'}",
        path=str(path),
    )


def _check(shape: Sequence[int], name: str) -> None:
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise InputError(
            f"{name} has shape {tuple(shape)}; expected (n, 3, k, k): science, reference, difference of k x k pixels",
            path=name,
        )


def _of_array(path: Path) -> Iterator[StampPiece]:
    with array_stream(path) as stream:
        for start in range(0, stream.shape[0], _ROWS):
            cube = stream.read(min(_ROWS, stream.shape[0] - start))
            yield StampPiece(cube, _numbered(start, len(cube)))


def _numbered(start: int, n: int) -> NDArray[np.str_]:
    return np.arange(start, start + n).astype(np.str_)


def _archive(path: Path) -> StampSource:
    with archive_streams(path) as streams:
        planes, _ = _parts(path, streams)
        n = planes["science"].shape[0]
    return StampSource(path, n, lambda: _of_archive(path))


def _parts(path: Path, streams: Mapping[str, ArrayStream]) -> tuple[dict[str, ArrayStream], dict[str, ArrayStream]]:
    """The three planes by the names that they have in an archive, and whatever else has a value for each stamp."""
    planes = {}
    for plane, names in _NAMES.items():
        found = next((name for name in names if name in streams), None)
        if found is None:
            raise InputError(
                f"{path} has no array {' or '.join(names)}; it has {', '.join(sorted(streams)) or 'none'}: needed are "
                "science, reference and difference, each (n, k, k)",
                path=str(path),
                plane=plane,
            )
        planes[found] = streams[found]
    shape = planes["science"].shape
    if any(plane.shape != shape for plane in planes.values()) or len(shape) != 3:
        told = ", ".join(str(plane.shape) for plane in planes.values())
        raise InputError(f"{path}: the planes have shapes {told}; expected (n, k, k) of each alike", path=str(path))
    _check((shape[0], 3, *shape[1:]), str(path))
    n = shape[0]
    if "sigma" in streams and streams["sigma"].shape != (n, 3):
        raise InputError(f"{path}: sigma has shape {streams['sigma'].shape}; expected ({n}, 3)", path=str(path))
    others = {name: stream for name, stream in streams.items() if stream.shape == (n,) or name == "sigma"}
    return planes, others


def _of_archive(path: Path) -> Iterator[StampPiece]:
    with archive_streams(path) as streams:
        planes, others = _parts(path, streams)
        n = planes["science"].shape[0]
        for start in range(0, n, _ROWS):
            rows = min(_ROWS, n - start)
            values = {name: stream.read(rows) for name, stream in others.items()}
            cube = np.empty((rows, 3, *planes["science"].shape[1:]), np.float32)
            for i, (name, stream) in enumerate(planes.items()):
                cube[:, i] = stream.read(rows)
                cube[:, i] *= np.asarray(values.pop(f"{name}_scale", np.ones(rows)), np.float32)[:, None, None]
                cube[:, i] += np.asarray(values.pop(f"{name}_offset", np.zeros(rows)), np.float32)[:, None, None]
            sigma, own = values.pop("sigma", None), values.pop("candidate_id", _numbered(start, rows))
            ids = np.asarray(values.pop("id", own)).astype(np.str_)
            chips = values.pop(CHIP_COLUMN, None)
            numbers = {name: column for name, column in values.items() if column.dtype.kind in "fiu"}
            yield StampPiece(cube, ids, numbers, sigma, chips=None if chips is None else chips.astype(np.str_))


def _of_foreign(pieces: Iterator[Piece]) -> Iterator[StampPiece]:
    start = 0
    for piece in pieces:
        n = len(piece.cube)
        ids = np.asarray(piece.columns.get("candidate_id", np.full(n, ""))).astype(np.str_)
        ids = np.where(ids == "", _numbered(start, n), ids)
        chips = piece.columns.get(CHIP_COLUMN)
        chips = None if chips is None else np.asarray(chips).astype(np.str_)
        numbers = {name: np.asarray(column) for name, column in piece.columns.items() if name != CHIP_COLUMN}
        numbers = {name: column for name, column in numbers.items() if column.dtype.kind in "fiu"}
        yield StampPiece(piece.cube, ids, numbers, turned=piece.turned, chips=chips)
        start += n


def _dataset(path: Path, scalars: Sequence[str]) -> StampSource:
    data = open_dataset(path)
    there = set(data.column_names)
    own = (CHIP_COLUMN,) if CHIP_COLUMN in there else ()
    parts = sorted({part for name in scalars for part in name.split("/")} & there)

    def pieces() -> Iterator[StampPiece]:
        for batch in data.batches(batch_size=_ROWS, columns=(*parts, *own, "candidate_id")):
            columns = dict(batch.columns)
            ids = np.asarray(columns.pop("candidate_id")).astype(np.str_)
            ids = np.where(ids == "", batch.rows.astype(np.str_), ids)
            chips = columns.pop(CHIP_COLUMN, None)
            sigma = np.ones((len(batch), 3), np.float32)
            yield StampPiece(batch.cube, ids, columns, sigma, chips=None if chips is None else chips.astype(np.str_))

    told = tuple(f"shard {item.shard} is skipped, {item.rows} rows: {item.reason}" for item in data.damaged)
    return StampSource(path, len(data), pieces, known_planes=True, warnings=told)
