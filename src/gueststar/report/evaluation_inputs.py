"""What an evaluation takes from elsewhere: studies, the efficiency of a run, a second set of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.evaluation.studies import STUDY_METRICS, StudyTable, summarise_study
from gueststar.realbogus.label_versions import read_label_version
from gueststar.realbogus.stored import StoredDataset

__all__ = ["Chain", "read_efficiency", "read_second_labels", "read_studies"]


@dataclass(frozen=True, slots=True)
class Chain:
    """What a whole chain finds, from efficiency.json: where sources are lost, and at which brightness they are found.

    Parameters
    ----------
    run : str
    losses : list of dict
        origin, class, n, real, and the number lost at each step.
    limits : list of dict
        origin, class, axis, series, level, value, low, high, ...
    frames_searched : int
    charts : tuple of str
        Curves as SVG, where efficiency.parquet is beside the file.
    notes : tuple of str
    """

    run: str
    losses: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    frames_searched: int
    charts: tuple[str, ...]
    notes: tuple[str, ...]


def read_second_labels(data: StoredDataset, column: str, *, version: str = "") -> NDArray[np.int8] | None:
    """Second labels of all rows of a set, from a column or a version of its labels; None when neither is named.

    A column of numbers is taken as it is. ``true_kind`` says of artifacts alone: those that are real by the truth are
    left out (-1), which is a cleaner test set.

    Raises
    ------
    ConfigError
        When there is no such column or version, both are named, or the column is a text that is no label.
    InputError
        When the version is damaged or belongs to another set.
    """
    if version and column:
        raise ConfigError(
            f"--labels-column {column} and --label-version {version}: one second set of labels is compared at a time",
            key="label_version",
        )
    if version:
        return read_label_version(data.folder, version, data.manifest).applied(data.labels, data.numbers())
    if not column:
        return None
    if column not in data.column_names:
        raise ConfigError(
            f"--labels-column {column}: the set has {', '.join(data.column_names)}", key="labels_column", value=column
        )
    if column == "true_kind":
        from gueststar.simulate.causes import REAL_KINDS

        codes, texts = data.codes(column)
        wrong = np.array([text in REAL_KINDS for text in texts], bool)[codes] & (data.labels == 0)
        return np.where(wrong, -1, data.labels).astype(np.int8)
    values = data[column]
    if values.dtype.kind not in "iufb" or not np.isin(values, (-1, 0, 1)).all():
        raise ConfigError(
            f"--labels-column {column}: it holds {values[:1].tolist()[0]!r} and others; labels are 1 real, 0 artifact, "
            "-1 neither (or name true_kind)",
            key="labels_column",
            value=column,
        )
    return values.astype(np.int8)


def read_studies(folders: Sequence[str | Path]) -> list[StudyTable]:
    """Studies of some folders, each a study or a folder of studies; see `gueststar.realbogus.evaluation.studies`.

    Raises
    ------
    InputError
        When a folder holds no study.
    """
    studies = []
    for folder in map(Path, folders):
        found = sorted([*folder.glob("study.json"), *folder.glob("*/study.json")])
        if not found:
            raise InputError(
                f"{folder} holds no study: study.json is neither in it nor one folder below; make one with `gueststar "
                "study`",
                path=str(folder),
            )
        studies += [_study(path) for path in found]
    return studies


def _study(path: Path) -> StudyTable:
    facts = _json(path)
    for table in sorted(path.parent.glob("*.parquet"), key=lambda item: (item.name != "results.parquet", item.name)):
        try:
            names = set(pq.read_schema(table).names)
            # Tables by chip and by row have other columns that tell rows apart.
            if "arm" in names and names & set(STUDY_METRICS) and not names & {"chip", "row"}:
                return summarise_study(pq.read_table(table).to_pylist(), facts, name=path.parent.name)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{table} is not a readable Parquet file: {error}", path=str(table)) from error
    raise InputError(
        f"{path.parent}: beside study.json there is no Parquet table with a column 'arm' and one of "
        f"{', '.join(STUDY_METRICS)}",
        path=str(path.parent),
    )


def read_efficiency(file: str | Path) -> Chain:
    """What `gueststar efficiency` wrote: efficiency.json, or the folder that holds it.

    Raises
    ------
    InputError
        When it is no such file.
    """
    path = Path(file)
    path = path / "efficiency.json" if path.is_dir() else path
    values = _json(path)
    losses, limits = values.get("losses"), values.get("limits")
    if not isinstance(losses, list) or not isinstance(limits, list):
        raise InputError(
            f"{path} has no losses and limits; give the efficiency.json of `gueststar efficiency`", path=str(path)
        )
    return Chain(
        run=str(values.get("run", "")),
        losses=losses,
        limits=limits,
        frames_searched=int(values.get("frames_searched") or 0),
        charts=_charts(path.with_suffix(".parquet")),
        notes=tuple(str(text) for text in values.get("notes") or ()),
    )


def _charts(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    from astropy.table import Table

    from gueststar.efficiency.curves import AXES, curve_of, used
    from gueststar.report.efficiency_charts import curve_chart

    try:
        stored = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}", path=str(path)) from error
    columns = {
        field.name: np.array(stored[field.name].to_pylist(), str)
        if pa.types.is_string(field.type)
        else stored[field.name].to_numpy()
        for field in stored.schema
    }
    sources = used(Table(columns))
    charts = []
    for axis in ("snr", "mag"):
        curve = curve_of(sources, AXES[axis])
        if curve.n:
            charts.append(curve_chart(curve))
    return tuple(charts)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", path=str(path)) from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no facts by name", path=str(path))
    return values
