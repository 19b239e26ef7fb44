"""Likely wrong labels of a data set on disk: judged, ranked, and written as a table."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import logit

from gueststar import __version__
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.night.folders import replace_file
from gueststar.options import Options
from gueststar.realbogus.label_cleaning.folds import out_of_fold_logits
from gueststar.realbogus.label_cleaning.physics import PHYSICS_COLUMNS
from gueststar.realbogus.label_cleaning.ranking import SuspectRules, Suspects, rank_suspects
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.stored import StoredDataset
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.watch import Watch
from gueststar.report.evaluation_checks import check_training
from gueststar.report.evaluation_models import Contender, read_scores, score_model
from gueststar.report.evaluation_sample import EvaluatedRows, choose_rows

__all__ = [
    "SUSPECT_COLUMNS",
    "FindSuspects",
    "FoundSuspects",
    "check_suspects_path",
    "find_suspects",
    "read_suspects",
    "write_suspects",
]

#: Columns of a table of suspects, with their meaning.
SUSPECT_COLUMNS: Mapping[str, str] = {
    "rank": "1 is the most suspicious",
    "row": "number of the row in the whole set, from 0",
    "candidate_id": "the candidate; empty where the set does not tell",
    "image": "image that it comes from",
    "chip": "detector chip; empty where unknown",
    "label": "1 real, 0 artifact: what is doubted",
    "kind": "what the set calls it",
    "oof_score": "chance to be real by networks that have not seen it; none where it was not judged",
    "self_confidence": "chance of the label that it has",
    "contradiction": "logit of the other class above that class's threshold; 0 and more contradict the label",
    "physics": "weight of the other reasons",
    "physics_reasons": "names of the other reasons, with commas",
    "suspicion": "what the rank is by: weight of the networks times contradiction, plus physics",
    "suspect": "whether it is among as many as are likely wrong, or a catalogue speaks against it",
    "proposed_label": "1, 0, -1: what the evidence proposes; the label itself where it is no suspect",
    "reasons": "all of it in words",
}
_KEY = b"gueststar"
_CERTAIN = 1e-7  # scores are taken to be no closer to 0 or 1


class FindSuspects(Options):
    """How likely wrong labels are looked for."""

    folds: int | None = Field(
        None,
        ge=3,
        le=50,
        description="Folds of images, each judged by a network trained on the others; none: 5 without models and "
        "scores, no training with them",
    )
    rules: SuspectRules = Field(SuspectRules(), description="What is doubted, and what the evidence weighs")
    train: Train = Field(Train(), description="Training of each network")
    label_noise: LabelNoise = Field(LabelNoise(), description="What each training does about wrong labels")


@dataclass(frozen=True, slots=True, eq=False)
class FoundSuspects:
    """Likely wrong labels of a set.

    Parameters
    ----------
    suspects : Suspects
    table : Table
        One row for each doubted label, most suspicious first, see `SUSPECT_COLUMNS`; facts in its metadata.
    facts : mapping
        Of which set, judged by what, with which options.
    warnings : tuple of str
        What the judgements may have seen.
    """

    suspects: Suspects
    table: pa.Table
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]


def find_suspects(
    data: StoredDataset,
    options: FindSuspects | None = None,
    *,
    models: Sequence[str | Path] = (),
    scores: Sequence[str | Path] = (),
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> FoundSuspects:
    """Rank the rows of a set by how likely their label is wrong.

    Several judgements of a row count as the mean of their logits.

    Parameters
    ----------
    data : StoredDataset
    options : FindSuspects, optional
    models : sequence of path
        Models that have not seen the set: 'shipped', model folders, or stores.
    scores : sequence of path
        Tables of scores of such models.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'score' and 'folds'.
    watch : Watch, optional
        Told what the trainings reach.

    Raises
    ------
    ConfigError
        When a model was trained on the set.
    InputError
        When the set has too few groups of images, a class is missing, or scores do not fit the set.
    ModelError
        When a model is missing or damaged.
    """
    options = options or FindSuspects()
    chosen = choose_rows(data, "all")
    judges = [
        score_model(chosen, model, progress=_of_model(progress, i, len(models))) for i, model in enumerate(models)
    ]
    judges += [read_scores(chosen, path, unscored=float("nan")) for path in scores]
    warnings = [text for judge in judges for text in _unseen(chosen, judge)]
    given = [_logits(chosen, judge) for judge in judges]
    words = [f"{judge.name} ({judge.origin})" for judge in judges]
    folds = options.folds or (None if judges else 5)
    if folds is not None:
        given.append(
            out_of_fold_logits(
                data, options.train, options.label_noise, folds=folds, by=data.manifest.group_by, progress=progress,
                watch=watch,
            )
        )  # fmt: skip
        words.append(f"{folds} networks, each trained without the images that it judges")
    columns = {name: data[name] for name in PHYSICS_COLUMNS if name in data.column_names}
    suspects = rank_suspects(
        data.labels, _mean(np.array(given)), options.rules, kinds=_texts(data, "kind"), columns=columns,
        suspicion=_texts(data, "suspicion"),
    )  # fmt: skip
    confidence = suspects.confidence
    facts = {
        "format": "gueststar-suspects", "data": data.folder.name, "data_hash": data.manifest.content_hash,
        "labels": data.label_version, "judged_by": words, "trusted": suspects.trusted,
        "thresholds": {"artifact": confidence.thresholds[0], "real": confidence.thresholds[1]},
        "likely_wrong": {"artifact": confidence.wrong[0], "real": confidence.wrong[1]},
        "rules": options.rules.model_dump(mode="json"), "code_version": __version__, "warnings": warnings,
    }  # fmt: skip
    return FoundSuspects(suspects, _table(data, chosen, suspects, facts), facts, tuple(warnings))


def write_suspects(path: str | Path, table: pa.Table, *, overwrite: bool = False) -> None:
    """Write a table of suspects as ``.parquet`` or ``.csv``.

    Raises
    ------
    ConfigError
        For another suffix.
    OutputError
        When it is there already or cannot be written.
    """
    path = check_suspects_path(path, overwrite=overwrite)
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, buffer)
    else:
        pq.write_table(table, buffer, compression="zstd")
    replace_file(path, buffer.getvalue())


def check_suspects_path(path: str | Path, *, overwrite: bool) -> Path:
    """The path of a table, when one can be written there; asked before a long training, too."""
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--out {path}: expected a name that ends in .parquet or .csv", key="out", value=str(path))
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or give --overwrite", path=str(path))
    return path


def read_suspects(path: str | Path) -> tuple[pa.Table, Mapping[str, Any]]:
    """Read a table of suspects and its facts.

    Raises
    ------
    InputError
        When it is none; a CSV file has lost which set it belongs to.
    """
    path = Path(path)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path} is no table of suspects as Parquet: {error}; make one with `gueststar labels suspect --out "
            "NAME.parquet`",
            path=str(path),
        ) from error
    text = (table.schema.metadata or {}).get(_KEY)
    missing = [name for name in SUSPECT_COLUMNS if name not in table.column_names]
    if text is None or missing:
        raise InputError(
            f"{path} is no table of suspects: it lacks {', '.join(missing) or 'its facts'}", path=str(path)
        )
    return table, dict(json.loads(text))


def _unseen(chosen: EvaluatedRows, judge: Contender) -> list[str]:
    try:
        return check_training(chosen, judge)
    except ConfigError as error:
        raise ConfigError(
            f"{judge.name} was trained on {chosen.data.folder}, so it has learnt the labels to be judged; give a "
            "model that has not seen the set, or none: then networks are trained on other images",
            key="model",
            value=judge.origin,
        ) from error


def _logits(chosen: EvaluatedRows, judge: Contender) -> NDArray[np.float64]:
    """Logits of all rows of the set; NaN where there is no score."""
    found = np.full(len(chosen.data), np.nan)
    found[chosen.rows] = logit(np.clip(judge.scores.astype(np.float64), _CERTAIN, 1.0 - _CERTAIN))
    return found


def _mean(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of those that are there."""
    there = ~np.isnan(logits)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, logits, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _texts(data: StoredDataset, name: str) -> NDArray[np.str_]:
    return np.asarray(data[name], np.str_) if name in data.column_names else np.full(len(data), "")


def _table(data: StoredDataset, chosen: EvaluatedRows, suspects: Suspects, facts: Mapping[str, Any]) -> pa.Table:
    rows = suspects.rows
    texts = {
        name: _texts(data, column)[rows].tolist()
        for name, column in (
            ("candidate_id", "candidate_id"),
            ("image", chosen.group_by),
            ("chip", "chip"),
            ("kind", "kind"),
        )
    }
    values: dict[str, Any] = {
        "rank": np.arange(1, len(rows) + 1), "row": data.numbers()[rows], **texts, "label": suspects.labels,
        "oof_score": pa.array(suspects.score, mask=np.isnan(suspects.score)),
        "self_confidence": pa.array(suspects.self_confidence, mask=np.isnan(suspects.self_confidence)),
        "contradiction": pa.array(suspects.contradiction, mask=np.isnan(suspects.contradiction)),
        "physics": suspects.physics, "physics_reasons": suspects.reasons.tolist(), "suspicion": suspects.suspicion,
        "suspect": suspects.suspect, "proposed_label": suspects.proposed, "reasons": suspects.words(),
    }  # fmt: skip
    for name in (*texts, "physics_reasons", "reasons"):
        values[name] = pa.array(values[name], pa.string())
    table = pa.table([values[name] for name in SUSPECT_COLUMNS], names=list(SUSPECT_COLUMNS))
    return table.replace_schema_metadata({_KEY: json.dumps(facts)})


def _of_model(progress: Progress | None, number: int, models: int) -> Any:
    if progress is None:
        return None
    return lambda done, total: progress("score", number * total + done, models * total)
