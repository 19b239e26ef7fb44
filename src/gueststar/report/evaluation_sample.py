"""The rows that are evaluated, and the scores of every model on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.manifest import PARTS
from gueststar.realbogus.package import score_dataset
from gueststar.realbogus.score import load_model
from gueststar.realbogus.split import IMAGE_COLUMNS
from gueststar.realbogus.stored import StoredDataset

__all__ = ["Contender", "EvaluatedRows", "choose_rows", "distinct_names", "read_scores", "score_model"]

_SCORES = ("rb_score", "score")


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedRows:
    """The rows of a set that are evaluated; rows that are neither real nor artifact are not among them.

    Parameters
    ----------
    data : StoredDataset
    part : str
        'train', 'validation', 'test' or 'all'.
    rows : ndarray of int, shape (n,)
        Their numbers in the set.
    real : ndarray of bool, shape (n,)
    snr : ndarray, shape (n,)
        |S/N|, NaN where unknown.
    neither : int
        Rows of the part that were left out.
    group_by : str
        Column that tells images apart.
    image : ndarray of int, shape (n,)
        Number of the image of each row.
    image_names : tuple of str
    """

    data: StoredDataset
    part: str
    rows: NDArray[np.int64]
    real: NDArray[np.bool_]
    snr: NDArray[np.float32]
    neither: int
    group_by: str
    image: NDArray[np.int32]
    image_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, name: str) -> bool:
        """Whether the set has a column."""
        return name in self.data.column_names

    def number(self, name: str) -> NDArray[np.float32]:
        """A numeric column, shape (n,)."""
        return np.asarray(self.data[name][self.rows], np.float32)

    def text(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers, shape (n,), and the text of each number."""
        codes, texts = self.data.codes(name)
        return codes[self.rows], texts


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model and its scores.

    Parameters
    ----------
    name : str
    scores : ndarray, shape (n,), float32
    threshold : float
        In single precision, as scores are; NaN where none is known.
    threshold_meaning : str
    origin : str
        Where the scores come from.
    training : mapping
        What its card says of the data that it was trained on; empty where unknown.
    facts : mapping
        For the page: version, hash, parameters.
    unscored : int
        Rows without a score, which count as 0: they are never called real.
    """

    name: str
    scores: NDArray[np.float32]
    threshold: float
    threshold_meaning: str
    origin: str
    training: Mapping[str, Any]
    facts: Mapping[str, str]
    unscored: int = 0


def choose_rows(data: StoredDataset, part: str, *, group_by: str = "") -> EvaluatedRows:
    """Rows of a part that are real or artifact.

    Raises
    ------
    ConfigError
        When the part or the column is unknown.
    InputError
        When the part holds no such row.
    """
    if part not in (*PARTS, "all"):
        raise ConfigError(f"part {part!r}: one of {', '.join(PARTS)}, all", key="part", value=part)
    rows = np.arange(len(data)) if part == "all" else data.split().parts()[part]
    used = rows[data.labels[rows] >= 0]
    if not used.size:
        sizes = ", ".join(f"{name} {len(mine)}" for name, mine in data.split().parts().items())
        raise InputError(
            f"the part {part} of {data.folder} has {rows.size} rows, none of them real or artifact ({sizes}); give "
            "another one with --part, or --part all for a set that is a test as a whole",
            part=part,
        )
    if group_by and group_by not in data.column_names:
        raise ConfigError(
            f"group_by {group_by!r}: the set has {', '.join(data.column_names)}", key="group_by", value=group_by
        )
    column = group_by or next(name for name in IMAGE_COLUMNS if _tells_apart(data, name))
    codes, names = data.codes(column)
    image = codes[used]
    if "" in names:  # a row without a name is a group of its own
        lone = np.flatnonzero(image == names.index(""))
        image = image.copy()
        image[lone] = len(names) + np.arange(lone.size)
        names = (*names, *(f"row {row}" for row in used[lone].tolist()))
    snr = (
        np.abs(np.asarray(data["snr"][used], np.float32))
        if "snr" in data.column_names
        else np.full(used.size, np.nan, np.float32)
    )
    return EvaluatedRows(
        data, part, used, data.labels[used] == 1, snr, int(rows.size - used.size), column, image, names
    )


def _tells_apart(data: StoredDataset, name: str) -> bool:
    # Every set has a tile, so the search ends.
    return name == IMAGE_COLUMNS[-1] or (name in data.column_names and any(data.codes(name)[1]))


def score_model(
    chosen: EvaluatedRows, model: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Contender:
    """Scores of a model folder, or of the one in use of a store."""
    loaded = load_model(model)
    card = loaded.card
    scores = score_dataset(loaded, chosen.data, chosen.rows, progress=progress)
    facts = {
        "version": card.version, "hash": card.weights_hash[:16], "trained weights": f"{card.parameters:,}",
        "score": card.score_meaning, "threshold": card.threshold_meaning, "code": card.code_version,
        "training data": str(card.training_data.get("hash", "unknown")),
    }  # fmt: skip
    return Contender(
        f"{card.name} {card.version}".strip(), scores, float(np.float32(card.threshold)), card.threshold_meaning,
        str(model), card.training_data, facts,
    )  # fmt: skip


def read_scores(chosen: EvaluatedRows, path: str | Path, *, unscored: float = 0.0) -> Contender:
    """Scores that are made already, from a table of `gueststar score` or of an earlier evaluation.

    Rows are found by the column ``row`` (number in the set), else by ``candidate_id`` or ``id``, else by their order
    when there are as many as rows in the set or in the part. Rows without a score get `unscored`.

    Raises
    ------
    InputError
        When it is no such table, or a row of the part is not in it.
    """
    path = Path(path)
    table = _read_table(path)
    name = next((name for name in _SCORES if name in table.column_names), None)
    if name is None:
        raise InputError(f"{path}: no column {' or '.join(_SCORES)}; it has {', '.join(table.column_names)}")
    values = np.asarray(table[name].cast(pa.float32()).to_numpy(zero_copy_only=False), np.float32)
    scores = values[_places(chosen, table, path)]
    missing = int(np.isnan(scores).sum())
    threshold = math.nan
    if "rb_threshold" in table.column_names and len(table):
        threshold = float(table["rb_threshold"][0].as_py() or math.nan)
    model = str(table["rb_model"][0].as_py()) if "rb_model" in table.column_names and len(table) else path.stem
    digest = str(table["rb_model_hash"][0].as_py()) if "rb_model_hash" in table.column_names and len(table) else ""
    facts = {"scores": path.name, "hash": digest}
    scores = np.where(np.isnan(scores), np.float32(unscored), scores)
    meaning = "threshold of the table of scores" if math.isfinite(threshold) else ""
    return Contender(model, scores, threshold, meaning, str(path), {}, facts, missing)


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            # Identifiers may look like numbers, and must not lose their zeros.
            convert = pyarrow.csv.ConvertOptions(column_types={"id": pa.string(), "candidate_id": pa.string()})
            return pyarrow.csv.read_csv(path, convert_options=convert)
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no table of scores (.parquet or .csv): {error}", path=str(path)) from error


def _places(chosen: EvaluatedRows, table: pa.Table, path: Path) -> NDArray[np.int64]:
    """Where each evaluated row is in a table."""
    if "row" in table.column_names:
        return _found(table["row"].to_numpy(), chosen.rows, path, "row")
    key = next((name for name in ("candidate_id", "id") if name in table.column_names), None)
    if key is not None and chosen.has("candidate_id"):
        theirs = np.asarray(table[key].cast(pa.string()).to_pylist(), np.str_)
        own = np.asarray(chosen.data["candidate_id"])
        own = np.where(own == "", np.arange(len(own)).astype(np.str_), own)
        if np.array_equal(theirs, own):
            return chosen.rows
        if len(np.unique(theirs)) == len(theirs):
            return _found(theirs, own[chosen.rows], path, key)
    if len(table) == len(chosen.data):
        return chosen.rows
    if len(table) == len(chosen):
        return np.arange(len(chosen))
    raise InputError(
        f"{path} has {len(table)} rows that cannot be told apart; the set has {len(chosen.data)}, its part "
        f"{chosen.part} {len(chosen)}: a column 'row' with the number in the set is needed",
        path=str(path),
    )


def _found(theirs: NDArray[Any], wanted: NDArray[Any], path: Path, key: str) -> NDArray[np.int64]:
    order = np.argsort(theirs, kind="stable")
    at = np.minimum(np.searchsorted(theirs, wanted, sorter=order), len(theirs) - 1)
    places = order[at] if len(theirs) else np.empty(0, np.int64)
    lacking = len(wanted) if not len(theirs) else int((theirs[places] != wanted).sum())
    if lacking:
        raise InputError(
            f"{path}: {lacking} of {len(wanted)} evaluated rows are not in it (by {key}); score the same set again",
            path=str(path),
        )
    return np.asarray(places, np.int64)


def distinct_names(contenders: Sequence[Contender]) -> list[Contender]:
    """The same with names that differ: those that are shared get their folder, or a number."""
    from dataclasses import replace

    names = [item.name for item in contenders]
    made: list[Contender] = []
    for item in contenders:
        name = item.name
        if names.count(name) > 1:
            name = f"{name} ({Path(item.origin).name})"
        taken = [other.name for other in made]
        made.append(replace(item, name=name if name not in taken else f"{name} #{len(made) + 1}"))
    return made
