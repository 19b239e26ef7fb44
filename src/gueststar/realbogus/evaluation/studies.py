"""Tables of studies in one form: what each arm gave, over its seeds.

A study is a folder with ``study.json`` and a Parquet table of its runs, one row for each arm and seed:

- ``arm`` (text) and ``seed`` (number) are needed, and at least one measure;
- ``n_train``: rows that it was trained on; arms that differ in it make a training-size curve;
- measures: those of `STUDY_METRICS`; others are kept, not shown.

``study.json`` may have ``title``, ``conclusions`` and ``notes`` (lists of sentences); nothing in it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gueststar.errors import InputError

__all__ = ["STUDY_METRICS", "ArmMean", "Spread", "StudyTable", "summarise_study"]

#: Measures of a run, with the words for them.
STUDY_METRICS: dict[str, str] = {
    "auc": "AUC",
    "fpr_at_tpr_0.9": "FPR at TPR 0.90",
    "fpr_at_tpr_0.98": "FPR at TPR 0.98",
    "fnr_at_fpr_0.01": "FNR at FPR 1e-2",
    "fnr_at_fpr_0.001": "FNR at FPR 1e-3",
    "fnr_at_fpr_0.0002": "FNR at FPR 2e-4",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over the seeds of an arm: mean, smallest, largest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ArmMean:
    """One arm: its name, its seeds, mean number of rows it was trained on (NaN unknown), and measures by name."""

    arm: str
    seeds: int
    n_train: float
    metrics: dict[str, Spread]


@dataclass(frozen=True, slots=True)
class StudyTable:
    """A study.

    Parameters
    ----------
    name, title : str
    conclusions, notes : tuple of str
    arms : tuple of ArmMean
        In the order of the table.
    by_size : bool
        Whether the arms differ in the number of rows that they were trained on, and in nothing that is known.
    """

    name: str
    title: str
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]
    arms: tuple[ArmMean, ...]
    by_size: bool


def summarise_study(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], *, name: str) -> StudyTable:
    """Means over seeds of a table of runs.

    Parameters
    ----------
    rows : sequence of mapping
        One for each run.
    facts : mapping
        Contents of study.json.
    name : str
        What the study is called where the facts do not say.

    Raises
    ------
    InputError
        When a row has no arm, or no row has a measure.
    """
    if not rows or any("arm" not in row for row in rows):
        raise InputError(f"study {name!r}: a table of runs with a column 'arm' is needed, one row for each run")
    known = [metric for metric in STUDY_METRICS if any(math.isfinite(_number(row.get(metric))) for row in rows)]
    if not known:
        raise InputError(f"study {name!r}: its table has none of the measures {', '.join(STUDY_METRICS)}")
    arms = []
    for arm in dict.fromkeys(str(row["arm"]) for row in rows):
        mine = [row for row in rows if str(row["arm"]) == arm]
        spreads = {metric: _spread([_number(row.get(metric)) for row in mine]) for metric in known}
        sizes = [_number(row.get("n_train")) for row in mine]
        arms.append(ArmMean(arm, len(mine), _spread(sizes).mean, spreads))
    sizes = [arm.n_train for arm in arms]
    study = str(facts.get("study") or facts.get("name") or name)
    varied = len(arms) > 2 and all(map(math.isfinite, sizes)) and max(sizes) > 1.5 * min(sizes)
    return StudyTable(
        study,
        str(facts.get("title") or study),
        _sentences(facts.get("conclusions")),
        _sentences(facts.get("notes")),
        tuple(arms),
        varied,
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _spread(values: Sequence[float]) -> Spread:
    known = np.array([value for value in values if math.isfinite(value)])
    if not known.size:
        return Spread(math.nan, math.nan, math.nan)
    return Spread(float(known.mean()), float(known.min()), float(known.max()))


def _sentences(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()
