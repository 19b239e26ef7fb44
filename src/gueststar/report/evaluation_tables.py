"""Tables of an evaluation for programs: each as Parquet and as CSV, and everything but single rows in one JSON file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gueststar.realbogus.evaluate import Rate
from gueststar.realbogus.evaluation.chips import chip_name
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.evaluation.curves import NightPoint
from gueststar.realbogus.evaluation.strata import Stratum
from gueststar.report.evaluation_models import Contender
from gueststar.report.evaluation_results import ModelResults, Results
from gueststar.report.evaluation_sample import EvaluatedRows

__all__ = ["TABLES", "csv_bytes", "json_text", "parquet_bytes", "result_tables", "score_table"]

#: Tables that are written, with what a row of each is.
TABLES: dict[str, str] = {
    "operating_points": "a threshold of a model: rates with intervals, confusion table, what it means in a night",
    "curve": "a threshold along the ROC curve of a model, about 2,000 of them",
    "strata": "a part of the sample and a model: by S/N, kind, night, chain, crowding and whatever the set tells",
    "chips": "a chip and a model",
    "calibration": "a bin of scores of a model, as sampled and with classes of equal weight",
    "ranks": "a number K of best candidates of a model, in the sample and in a night",
    "differences": "a measure of two models and its difference, by paired bootstrap",
    "intervals": "a measure of one model with its interval from drawing whole images",
    "label_sets": "a model against one of two sets of labels",
    "false_positive_files": "an image with false positives of the first model",
    "false_positives": "a false positive of the first model",
    "false_negatives": "a real that the first model misses, lowest score first",
    "studies": "an arm of a study",
}


def result_tables(results: Results, chosen: EvaluatedRows, contenders: Sequence[Contender]) -> dict[str, pa.Table]:
    """Tables by name; those without rows are left out."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for model in results.models:
        _rows_of_model(rows, model)
    rows["differences"] = [asdict(item) for item in results.differences]
    replicas = results.replicas
    if replicas is not None:
        for i, name in enumerate(replicas.models):
            for metric in METRICS:
                low, high = replicas.interval(i, metric)
                rows["intervals"].append(
                    {"model": name, "metric": metric, "value": replicas.value(i, metric), "low": low, "high": high}
                )
    for model, drawn in zip(results.models, results.drawn_threshold, strict=False):
        rows["intervals"] += [{"model": model.name, "metric": key, **asdict(item)} for key, item in drawn.items()]
    for item in results.label_sets:
        for labelled in (item.first, item.second):
            entry: dict[str, Any] = {"model": item.model, "labels": labelled.labels, "n_real": labelled.n_real}
            entry |= {"n_bogus": labelled.n_bogus, "auc": labelled.auc, "auc_err": labelled.auc_err}
            for point in labelled.points:
                entry |= {f"{point.name} tpr": point.tpr.value, f"{point.name} fpr": point.fpr.value}
            rows["label_sets"].append(entry)
    if results.false_positives is not None:
        for rank, file in enumerate(results.false_positives.files, start=1):
            causes = ", ".join(f"{name} {n}" for name, n in file.causes)
            rows["false_positive_files"].append(
                {"rank": rank, "image": file.name, "false_positives": len(file.rows), "artifacts": file.n_bogus,
                 "share_of_all": file.share, "likely_causes": causes}
            )  # fmt: skip
    made = {name: pa.Table.from_pylist([_plain_row(row) for row in mine]) for name, mine in rows.items() if mine}
    for name, where, likely in (
        ("false_positives", results.fp_rows, results.fp_causes),
        ("false_negatives", results.fn_rows, results.fn_causes),
    ):
        if where.size:
            table = score_table(chosen, contenders, where)
            made[name] = table.append_column("likely_cause", pa.array(likely.tolist(), pa.string()))
    return made


def _rows_of_model(rows: dict[str, list[dict[str, Any]]], model: ModelResults) -> None:
    name = {"model": model.name}
    rows["operating_points"] += [name | point_row(point) for point in model.points]
    if model.curve is not None:
        columns = zip(model.curve.threshold, model.curve.tpr, model.curve.fpr, strict=True)
        rows["curve"] += [name | {"threshold": float(c), "tpr": float(t), "fpr": float(f)} for c, t, f in columns]
    parts = [("snr_cut", model.cuts), ("snr_interval", model.intervals), *model.strata.items()]
    for column, strata in parts:
        rows["strata"] += [name | {"column": column} | stratum_row(item) for item in strata]
    for item in model.chips:
        rows["chips"].append(name | stratum_row(item) | {"chip": chip_name(item.name) or item.name})
    for kind, curve in (("as sampled", model.calibration), ("equal classes", model.balanced)):
        if curve is not None:
            rows["calibration"] += [name | {"weights": kind} | asdict(item) for item in curve.bins]
    for of, ranks in (("sample", model.ranks), ("night", model.night_ranks)):
        rows["ranks"] += [name | {"of": of} | asdict(rank) for rank in ranks]


def point_row(item: NightPoint) -> dict[str, Any]:
    """An operating point as one row."""
    point = item.point
    return {
        "point": point.name, "threshold": point.threshold, "resolved": point.resolved,
        **_rate("tpr", point.tpr), **_rate("fpr", point.fpr),
        "fnr": 1.0 - point.tpr.value, "fnr_low": 1.0 - point.tpr.high, "fnr_high": 1.0 - point.tpr.low,
        "tp": point.tpr.hits, "fp": point.fpr.hits, "tn": point.fpr.trials - point.fpr.hits,
        "fn": point.tpr.trials - point.tpr.hits, "false_positives_per_night": item.false_positives,
        "false_positives_per_night_low": item.low, "false_positives_per_night_high": item.high,
        "found_per_night": item.found, "purity_in_night": item.purity,
    }  # fmt: skip


def stratum_row(item: Stratum) -> dict[str, Any]:
    """A part of the sample as one row."""
    tp, fp, tn, fn = item.confusion
    return {
        "group": item.group, "name": item.name, "n_real": item.n_real, "n_bogus": item.n_bogus, "auc": item.auc,
        "auc_err": item.auc_err, "auc_all": item.auc_all, **_rate("tpr", item.tpr), **_rate("fpr", item.fpr),
        "tp": tp, "fp": fp, "tn": tn, "fn": fn, "own_threshold": item.threshold, "resolved": item.resolved,
        **_rate("fpr_own", item.fpr_own), **_rate("fpr_all", item.fpr_all),
    }  # fmt: skip


def _rate(name: str, rate: Rate) -> dict[str, float]:
    return {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}


def score_table(chosen: EvaluatedRows, contenders: Sequence[Contender], where: Any = None) -> pa.Table:
    """Scores of rows with what tells them apart: number in the set, identifier, image, label, S/N."""
    at = np.arange(len(chosen)) if where is None else where
    rows = chosen.rows[at]
    columns: dict[str, Any] = {"row": rows}
    for name in ("candidate_id", chosen.group_by, "chip", "kind", "true_kind"):
        if chosen.has(name):
            codes, texts = chosen.data.codes(name)
            there, keys = np.unique(codes[rows], return_inverse=True)
            names = pa.array([texts[code] for code in there.tolist()], pa.string())
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(keys.astype(np.int32)), names)
    columns["label"] = chosen.real[at].astype(np.int8)
    columns["snr"] = chosen.snr[at]
    for number, contender in enumerate(contenders):
        columns["rb_score" if number == 0 else f"rb_score {contender.name}"] = contender.scores[at]
    table = pa.table(columns)
    first = contenders[0]
    if where is None and np.isfinite(first.threshold).all():
        # What an evaluation of these scores needs to know of the model.
        limits = np.broadcast_to(np.asarray(first.threshold, np.float32), len(table))
        table = table.append_column("rb_threshold", pa.array(limits))
        table = table.append_column("rb_model", pa.repeat(first.name, len(table)).dictionary_encode())
    return table


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def csv_bytes(table: pa.Table) -> bytes:
    """A table as CSV."""
    buffer = io.BytesIO()
    columns = {
        name: table[name].cast(pa.string()) if pa.types.is_dictionary(table.schema.field(name).type) else table[name]
        for name in table.column_names
    }
    pyarrow.csv.write_csv(pa.table(columns), buffer)
    return buffer.getvalue()


def json_text(values: Mapping[str, Any]) -> str:
    """JSON of plain values, numbers that are none as null."""
    return json.dumps(_plain(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) if isinstance(value, np.floating) else value for key, value in row.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
