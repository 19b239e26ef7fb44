"""The models that an evaluation compares, and the scores of each on the rows that are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.card import Card
from gueststar.realbogus.card_figures import few_images, figures_of, images_text, interval_text, measured_parts
from gueststar.realbogus.chips.names import dataset_chips
from gueststar.realbogus.chips.routing import Members
from gueststar.realbogus.evaluate import Threshold
from gueststar.realbogus.lineage import fitted_here, joined_training
from gueststar.realbogus.loaded import LoadedModel, load_model, model_of_chip
from gueststar.realbogus.package import score_dataset, thresholds_of_rows
from gueststar.report.evaluation_sample import EvaluatedRows

__all__ = ["Contender", "distinct_names", "read_scores", "score_model", "threshold_text"]

_SCORES = ("rb_score", "score")


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model and its scores.

    Parameters
    ----------
    name : str
    scores : ndarray, shape (n,), float32
    threshold : float or ndarray, shape (n,)
        In single precision, as scores are, an array where rows have different ones; NaN where none is known.
    threshold_meaning : str
    origin : str
        Where the scores come from.
    training : mapping
        What its card says of the data that it was trained on; empty where unknown.
    facts : mapping
        For the page: version, hash, parameters.
    unscored : int
        Rows without a score, which count as 0: they are never called real.
    fitted : mapping of str to str
        What was fitted on rows of this part of the set, and on which in words; see `fitted_here`.
    """

    name: str
    scores: NDArray[np.float32]
    threshold: Threshold
    threshold_meaning: str
    origin: str
    training: Mapping[str, Any]
    facts: Mapping[str, str]
    unscored: int = 0
    fitted: Mapping[str, str] = field(default_factory=dict)


def threshold_text(threshold: Threshold, digits: int = 3) -> str:
    """A threshold, or from the lowest to the highest where rows have different ones."""
    low, high = float(np.min(threshold)), float(np.max(threshold))
    return f"{low:.{digits}f}" if low == high else f"{low:.{digits}f} to {high:.{digits}f}, one for each model"


def score_model(
    chosen: EvaluatedRows, model: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Contender:
    """Scores of a model folder, of a set of models, or of the model in use of a store."""
    loaded = load_model(model)
    card = loaded.card
    scores = score_dataset(loaded, chosen.data, chosen.rows, progress=progress)
    if loaded.members is not None:
        return _contender_of_set(chosen, loaded, loaded.members, scores, str(model))
    facts = {
        "version": card.version, "hash": card.weights_hash[:16], "trained weights": f"{card.parameters:,}",
        "score": card.score_meaning, "threshold": card.threshold_meaning, "code": card.code_version,
        "training data": str(card.training_data.get("hash", "unknown")), "its card": _card_text(card),
    }  # fmt: skip
    return Contender(
        f"{card.name} {card.version}".strip(), scores, float(np.float32(card.threshold)), card.threshold_meaning,
        str(model), card.training_data, facts, fitted=fitted_here(card, chosen.data, chosen.part),
    )  # fmt: skip


def _card_text(card: Card) -> str:
    """What the card of a model says of other samples, with the intervals."""
    told = []
    for part in measured_parts(card.metrics):
        figures = [
            f"{figure.name} {interval_text(figure)}{'' if figure.by_images else ', rows counted as independent'}"
            for figure in figures_of(part)
            if figure.name in ("AUC", "FPR at TPR 0.98")
        ]
        few = f" ({few})" if (few := few_images(part)) else ""
        told.append(f"{part['name']} ({images_text(part)}): {', '.join(figures)}{few}")
    return " · ".join(told)


def _contender_of_set(
    chosen: EvaluatedRows, loaded: LoadedModel, members: Members, scores: NDArray[np.float32], origin: str
) -> Contender:
    """What a set of models says of itself; each row is judged by the threshold of the model of its chip."""
    models, fallback = members.models, loaded.card
    codes, names = dataset_chips(chosen.data)
    chips = [names[code] for code in np.unique(codes[chosen.rows]).tolist()]
    cards = {id(used.card): used.card for used in (model_of_chip(loaded, chip) for chip in chips)}
    meanings = sorted({card.threshold_meaning for card in cards.values()})
    own = [chip for chip in chips if members.own(chip)]
    fitted = [fitted_here(card, chosen.data, chosen.part) for card in cards.values()]
    facts = {
        "version": models.version, "hash": members.digest[:16],
        "models": f"{len(cards)} for {len(chips)} chips of these rows, {len(own)} of which have their own",
        "fallback": f"{fallback.name} {fallback.version}: {models.fallback_from}",
        "trained weights": f"{fallback.parameters:,} each", "score": fallback.score_meaning,
        "threshold": "; or ".join(meanings), "code": models.code_version,
        "training data": str(models.training_data.get("hash", "unknown")),
    }  # fmt: skip
    return Contender(
        f"{models.name} {models.version}".strip(), scores,
        np.asarray(thresholds_of_rows(loaded, chosen.data, chosen.rows), np.float32), "; or ".join(meanings), origin,
        joined_training(models.training_data, [card.training_data for card in (fallback, *cards.values())]), facts,
        fitted={what: rows for each in fitted for what, rows in each.items()},
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
    places = _places(chosen, table, path)
    scores = _numbers(table, name)[places]
    missing = int(np.isnan(scores).sum())
    threshold: Threshold = math.nan
    if "rb_threshold" in table.column_names and len(table):
        threshold = _numbers(table, "rb_threshold")[places]
        threshold = float(threshold[0]) if np.unique(threshold).size == 1 else threshold
    model, digest = (_only(table, column) for column in ("rb_model", "rb_model_hash"))
    facts = {"scores": path.name, "hash": digest}
    scores = np.where(np.isnan(scores), np.float32(unscored), scores)
    meaning = "threshold of the table of scores" if np.isfinite(threshold).all() else ""
    return Contender(model or path.stem, scores, threshold, meaning, str(path), {}, facts, missing)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float32]:
    return np.asarray(table[name].cast(pa.float32()).to_numpy(zero_copy_only=False), np.float32)


def _only(table: pa.Table, name: str) -> str:
    """The one text of a column; empty without it, and where rows have different ones, as those of a set of models."""
    there = table[name].unique().to_pylist() if name in table.column_names else []
    return str(there[0]) if len(there) == 1 else ""


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
    names = [item.name for item in contenders]
    made: list[Contender] = []
    for item in contenders:
        name = item.name
        if names.count(name) > 1:
            name = f"{name} ({Path(item.origin).name})"
        taken = [other.name for other in made]
        made.append(replace(item, name=name if name not in taken else f"{name} #{len(made) + 1}"))
    return made
