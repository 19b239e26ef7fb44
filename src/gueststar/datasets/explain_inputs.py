"""Candidates whose scores are to be explained, from products of runs, data sets and files of stamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.datasets.prepared_stamps import ScoreFiles, prepared_pieces
from gueststar.datasets.products import FILES, read_products
from gueststar.datasets.stamp_sources import open_source
from gueststar.errors import InputError
from gueststar.realbogus.chips.names import CHIP_COLUMN
from gueststar.realbogus.explain.candidate import Candidate
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.scalars import scalars_of
from gueststar.realbogus.stored import open_dataset

__all__ = ["ExplainedRow", "read_explained"]

_SHOWN = 12  # identifiers in a message


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedRow:
    """A candidate to be explained.

    Parameters
    ----------
    name : str
    source : str
        Where it comes from, in words.
    candidate : Candidate
    chip : str
        Empty where not known.
    columns : mapping of str to float
        Measured numbers that the source has of it, also those that the model is not shown.
    kind : str
        What it is by its label, in words; empty where there is none.
    row : int
        Its number in the source.
    """

    name: str
    source: str
    candidate: Candidate
    chip: str = ""
    columns: Mapping[str, float] = field(default_factory=dict)
    kind: str = ""
    row: int = -1


def read_explained(
    path: str | Path,
    model: LoadedModel,
    *,
    rows: Sequence[int] = (),
    ids: Sequence[str] = (),
    options: ScoreFiles | None = None,
) -> list[ExplainedRow]:
    """Read candidates.

    Parameters
    ----------
    path : path
        Folder of the products of a pair or of one image of a run, folder of a run, data set, or a file of stamps as
        `gueststar.datasets.stamp_sources.open_source` takes it.
    model : LoadedModel
        Which numbers and what width are wanted.
    rows : sequence of int
        Their numbers, from 0; not for the folder of a run.
    ids : sequence of str
        Their identifiers, or beginnings that fit one candidate only.
    options : ScoreFiles, optional
        How files of stamps are read.

    Returns
    -------
    list of ExplainedRow
        First those of `rows`, then those of `ids`.

    Raises
    ------
    InputError
        When there is no such candidate, or the path holds none.
    """
    path, options = Path(path), options or ScoreFiles()
    if not rows and not ids:
        raise InputError("no candidate is named; give its identifier (--candidate) or its row (--row)")
    if (path / "candidates.parquet").is_file():
        return _of_folders([path], path, model, rows, ids)
    if (path / "run.json").is_file():
        if rows:
            raise InputError(
                f"{path} is a run of many images, whose rows have no common numbers; give --candidate, or the "
                "folder of one image"
            )
        return _of_folders([image.folder for image in read_products([path]).images], path, model, (), ids)
    if path.is_dir():
        return _of_dataset(path, model, rows, ids)
    return _of_file(path, model, rows, ids, options)


def _of_folders(
    folders: Sequence[Path], path: Path, model: LoadedModel, rows: Sequence[int], ids: Sequence[str]
) -> list[ExplainedRow]:
    tables = [(folder, label) for folder in folders for label in FILES if (folder / FILES[label][0]).is_file()]
    names = [_identifiers(folder / FILES[label][0]) for folder, label in tables]
    found = [(0, _checked_row(row, len(names[0]), str(path))) for row in rows]
    ends = np.cumsum([0, *(len(part) for part in names)])
    for number in _numbers_of(ids, np.concatenate(names), str(path)):
        part = int(np.searchsorted(ends, number, side="right")) - 1
        found.append((part, number - int(ends[part])))
    return [_of_product(*tables[part], row, str(names[part][row]), model) for part, row in found]


def _identifiers(path: Path) -> NDArray[np.str_]:
    try:
        return np.asarray(pq.read_table(path, columns=["candidate_id"])["candidate_id"].to_pylist(), np.str_)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is not a readable table of candidates: {error}", path=str(path)) from error


def _of_product(folder: Path, label: int, row: int, name: str, model: LoadedModel) -> ExplainedRow:
    table, stamps = (folder / file for file in FILES[label])
    columns = _plain(pq.read_table(table).slice(row, 1))
    try:
        cube = np.array(np.load(stamps, mmap_mode="r")[row], np.float32)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{stamps} has no stamp of candidate {name}: {error}", path=str(stamps)) from error
    lacking = [column for column in SIGMA_COLUMNS if column not in columns]
    if lacking:
        raise InputError(f"{table} has no column {lacking[0]}; process the image again", path=str(table))
    sigma = np.array([columns[column] for column in SIGMA_COLUMNS], np.float32)
    chip = str(columns.get(CHIP_COLUMN) or "")
    kind = "artificial real" if label else ""
    return ExplainedRow(
        name, f"{folder.name}/{table.name} row {row}", _candidate(cube, sigma, columns, model, str(stamps)), chip,
        _floats(columns), kind, row,
    )  # fmt: skip


def _of_dataset(path: Path, model: LoadedModel, rows: Sequence[int], ids: Sequence[str]) -> list[ExplainedRow]:
    data = open_dataset(path)
    numbers = [_checked_row(row, len(data), str(path)) for row in rows]
    if ids:
        numbers += _numbers_of(ids, data["candidate_id"], str(path))
    made = []
    for number in numbers:
        one = data.select(np.array([number]))
        columns = {name: values[0] for name, values in one.columns(one.column_names).items()}
        words = {1: "real", 0: "artifact", -1: "no label"}[int(one.labels[0])]
        kind = str(columns.get("kind", ""))
        candidate = _candidate(one.stamps(np.array([0]))[0], np.ones(3, np.float32), columns, model, str(path))
        name = str(columns["candidate_id"]) or f"row {number}"
        made.append(
            ExplainedRow(name, f"{path.name} row {number}", candidate, str(columns.get(CHIP_COLUMN, "")),
                         _floats(columns), f"{words}: {kind}" if kind and kind != words else words, number)
        )  # fmt: skip
    return made


def _of_file(
    path: Path, model: LoadedModel, rows: Sequence[int], ids: Sequence[str], options: ScoreFiles
) -> list[ExplainedRow]:
    source = open_source(path)
    wanted: list[int | str] = [*rows, *ids]
    start = 0
    found: dict[int | str, ExplainedRow] = {}
    names = tuple(item.name for item in model.card.scalars)
    for made in prepared_pieces(source, model, options):
        piece_ids = made.piece.ids.tolist()
        for key in wanted:
            at = key - start if isinstance(key, int) else (piece_ids.index(key) if key in piece_ids else -1)
            if key in found or not 0 <= at < len(piece_ids):
                continue
            columns = {name: float(values[at]) for name, values in made.piece.columns.items()}
            candidate = Candidate(made.cube[at], made.sigma[at], made.scalars[at], names)
            words = f"{path.name} row {start + at}; planes {made.planes}; noise {made.noise}"
            found[key] = ExplainedRow(
                str(piece_ids[at]), words, candidate, str(made.chips[at]), columns, row=start + at
            )
        start += len(piece_ids)
        if len(found) == len(wanted):
            break
    lacking = [key for key in wanted if key not in found]
    if lacking:
        what = f"row {lacking[0]}" if isinstance(lacking[0], int) else f"candidate {lacking[0]!r}"
        raise InputError(f"{path} has no {what}: it holds {start} stamps, counted from 0", path=str(path))
    return [found[key] for key in wanted]


def _candidate(
    cube: NDArray[np.float32], sigma: NDArray[np.float32], columns: Mapping[str, Any], model: LoadedModel, path: str
) -> Candidate:
    """Centre of the stamps, and the numbers that the model takes."""
    size, k = model.card.stamp_size, cube.shape[-1]
    if k < size or k % 2 == 0:
        raise InputError(f"{path}: stamps of {k} px; the model sees {size}, and an odd width is needed", path=path)
    margin = (k - size) // 2
    seen = slice(margin, margin + size)
    names = tuple(item.name for item in model.card.scalars)
    parts = {part for name in names for part in name.split("/")}
    numbers = {part: np.array([columns.get(part, np.nan)], np.float64) for part in parts}
    return Candidate(np.ascontiguousarray(cube[:, seen, seen]), sigma, scalars_of(numbers, names, n=1)[0], names)


def _plain(table: pa.Table) -> dict[str, Any]:
    return {name: column[0] for name, column in table.to_pydict().items()}


def _floats(columns: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in columns.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool)
    }


def _checked_row(row: int, n: int, path: str) -> int:
    if not 0 <= row < n:
        raise InputError(f"{path} has no row {row}: it holds {n}, counted from 0", path=path)
    return row


def _numbers_of(ids: Sequence[str], names: NDArray[np.str_], path: str) -> list[int]:
    """Row of each identifier, given whole or by a beginning that only one has."""
    numbers = []
    for wanted in ids:
        whole = np.flatnonzero(names == wanted)
        fitting = (
            whole[:1] if whole.size else np.flatnonzero(np.char.startswith(names, wanted)) if names.size else whole
        )
        if fitting.size != 1:
            shown = ", ".join(names[fitting if fitting.size else slice(None)][:_SHOWN].tolist()) or "none"
            fault = f"{fitting.size} candidates begin with {wanted!r}" if fitting.size else f"no candidate {wanted!r}"
            raise InputError(f"{path}: {fault}; there are {shown}, {names.size} in all", path=path, candidate=wanted)
        numbers.append(int(fitting[0]))
    return numbers
