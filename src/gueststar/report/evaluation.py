"""An evaluation of real/bogus models: from a data set and models to a page, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as chain_of
from pathlib import Path
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.errors import OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.evaluate import single_threshold
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.evaluation.studies import StudyTable
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.report.evaluation_checks import check_sample, check_training, contamination, time_note
from gueststar.report.evaluation_figures import curve_figures
from gueststar.report.evaluation_inputs import Chain, read_efficiency, read_second_labels, read_studies
from gueststar.report.evaluation_models import Contender, distinct_names, read_scores, score_model
from gueststar.report.evaluation_page import PageParts, evaluation_page, headline
from gueststar.report.evaluation_pictures import gallery_of_files, gallery_of_misses
from gueststar.report.evaluation_results import EvaluateOptions, Results, measure
from gueststar.report.evaluation_sample import EvaluatedRows, choose_rows
from gueststar.report.evaluation_snr_figures import snr_figures
from gueststar.report.evaluation_studies import study_figures, study_rows
from gueststar.report.evaluation_style import figure_uri, png_of
from gueststar.report.evaluation_tables import (
    csv_bytes,
    json_text,
    parquet_bytes,
    point_row,
    result_tables,
    score_table,
    stratum_row,
)

__all__ = ["EvaluationReport", "write_evaluation"]

PAGE, FACTS = "evaluation.html", "evaluation.json"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """What was written, and the numbers in it.

    Parameters
    ----------
    page : Path
        evaluation.html.
    results : Results
    headline : str
        The one sentence.
    warnings : tuple of str
    tables : tuple of str
        Names of the tables, each as .parquet and .csv in the folder ``tables``.
    """

    page: Path
    results: Results
    headline: str
    warnings: tuple[str, ...]
    tables: tuple[str, ...]


def write_evaluation(
    data: str | Path | StoredDataset,
    out: str | Path,
    options: EvaluateOptions | None = None,
    *,
    models: Sequence[str | Path] = (),
    scores: Sequence[str | Path] = (),
    part: str = "test",
    exclude: Sequence[str] = (),
    studies: Sequence[str | Path] = (),
    efficiency: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Evaluate models on a data set, and write a page with tables and figures.

    Parameters
    ----------
    data : path or StoredDataset
    out : path
        Folder for evaluation.html, evaluation.json, ``tables`` and ``figures``.
    options : EvaluateOptions, optional
    models : sequence of path
        'shipped', model folders or stores; the first is looked at closely. 'shipped' when neither models nor scores
        are given.
    scores : sequence of path
        Tables of scores that are made already; they come after the models.
    part : str
        'test', 'validation', 'train' or 'all'.
    exclude : sequence of str
        Reasons of suspicion whose rows are left out.
    studies : sequence of path
        Folders of studies.
    efficiency : path, optional
        efficiency.json of a run.
    overwrite : bool
        Replace an evaluation that is there.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'score', 'measure', 'draw' and 'pictures'.

    Raises
    ------
    ConfigError
        When an option does not fit the data, or a model is to be judged on what it was trained on.
    InputError
        When something that is read cannot be used.
    ModelError
        When a model is missing or damaged.
    OutputError
        When an evaluation is there already or cannot be written.
    """
    options, folder = options or EvaluateOptions(), Path(out)
    if (folder / FACTS).exists() and not overwrite:
        raise OutputError(
            f"{folder} holds an evaluation already; choose another --out, or give --overwrite", path=str(folder)
        )
    made = read_studies(studies)
    chain = read_efficiency(efficiency) if efficiency is not None else None
    dataset = data if isinstance(data, StoredDataset) else open_dataset(data, exclude=exclude)
    second = read_second_labels(dataset, options.labels_column, version=options.label_version)
    chosen = choose_rows(dataset, part, group_by=options.group_by)
    contenders = _contenders(chosen, models, scores, progress)
    warnings = [text for item in contenders for text in check_training(chosen, item)]
    warnings += check_sample(chosen, contenders)
    results = measure(chosen, contenders, options, second_labels=second, progress=progress)
    first = contenders[0]
    figures = _figures(results, chosen, first, made, options) if options.figures else {}
    if progress is not None:
        progress("pictures", 0, 1)
    parts = PageParts(
        results, chosen, contenders, options, warnings, time_note(chosen, first),
        {name: figure_uri(png) for name, png in figures.items()},
        gallery_of_files(results, chosen, first, most=options.most_stamps),
        gallery_of_misses(results, chosen, first, most=options.false_negatives), made, chain,
    )  # fmt: skip
    tables = result_tables(results, chosen, contenders)
    if made:
        tables["studies"] = study_rows(made)
    page = evaluation_page(parts)
    _clear(folder)
    for name, table in tables.items():
        replace_file(folder / "tables" / f"{name}.parquet", parquet_bytes(table))
        replace_file(folder / "tables" / f"{name}.csv", csv_bytes(table))
    replace_file(folder / "tables" / "scores.parquet", parquet_bytes(score_table(chosen, contenders)))
    for name, png in figures.items():
        replace_file(folder / "figures" / f"{name}.png", png)
    replace_file(folder / PAGE, page.encode())
    replace_file(folder / FACTS, json_text(_facts(parts, chain)).encode())
    if progress is not None:
        progress("pictures", 1, 1)
    return EvaluationReport(folder / PAGE, results, headline(results, options), tuple(warnings), (*tables, "scores"))


def _contenders(
    chosen: EvaluatedRows, models: Sequence[str | Path], scores: Sequence[str | Path], progress: Progress | None
) -> list[Contender]:
    wanted = models or (() if scores else ("shipped",))
    found = []
    for number, model in enumerate(wanted):
        done, total = number * len(chosen), len(wanted) * len(chosen)

        def show(rows: int, _: int, done: int = done, total: int = total) -> None:
            if progress is not None:
                progress("score", done + rows, total)

        found.append(score_model(chosen, model, progress=show))
    return distinct_names([*found, *(read_scores(chosen, path) for path in scores)])


def _figures(
    results: Results,
    chosen: EvaluatedRows,
    first: Contender,
    studies: Sequence[StudyTable],
    options: EvaluateOptions,
) -> dict[str, bytes]:
    """All figures as PNG data."""
    by_snr = snr_figures(chosen.real, first.scores.astype(np.float64), chosen.snr, results.models[0])
    drawn = chain_of(curve_figures(results, options.night), by_snr, study_figures(studies))
    return {name: png_of(figure) for name, figure in drawn}


def _clear(folder: Path) -> None:
    """Remove figures and tables of an evaluation that is replaced, so that none of another choice is left."""
    if (folder / FACTS).exists():
        for pattern in ("tables/*.parquet", "tables/*.csv", "figures/*.png"):
            for path in folder.glob(pattern):
                path.unlink()


def _facts(parts: PageParts, chain: Chain | None) -> Mapping[str, Any]:
    """Everything but single rows, as plain values."""
    results, chosen = parts.results, parts.chosen
    models = []
    for i, model in enumerate(results.models):
        contender = parts.contenders[i]
        bounds: dict[str, tuple[float, float]] = {}
        if results.replicas is not None:
            bounds = {name: results.replicas.interval(i, name) for name in METRICS}
        if results.drawn_threshold:
            bounds |= {name: (item.low, item.high) for name, item in results.drawn_threshold[i].items()}
        models.append(
            {
                "name": model.name, "origin": contender.origin, "facts": dict(contender.facts), "auc": model.auc,
                "auc_err": model.auc_err, "threshold": single_threshold(model.threshold),
                "threshold_text": model.threshold_text, "threshold_meaning": model.threshold_words,
                "points": [point_row(item) for item in model.points],
                "snr_cuts": [stratum_row(item) for item in model.cuts],
                "snr_intervals": [stratum_row(item) for item in model.intervals],
                "chips": [stratum_row(item) for item in model.chips], "chip_summary": model.chip_summary,
                "strata": {name: [stratum_row(item) for item in items] for name, items in model.strata.items()},
                "calibration": model.calibration, "calibration_equal_classes": model.balanced,
                "ranks_in_sample": model.ranks, "ranks_in_night": model.night_ranks, "bootstrap_intervals": bounds,
            }
        )  # fmt: skip
    fp = results.false_positives
    files = [] if fp is None else [
        {"image": item.name, "false_positives": len(item.rows), "artifacts": item.n_bogus, "share": item.share,
         "likely_causes": dict(item.causes)} for item in fp.files
    ]  # fmt: skip
    return {
        "format": "gueststar-evaluation", "gueststar": __version__, "headline": headline(results, parts.options),
        "data": {
            "name": chosen.data.folder.name, "hash": chosen.data.content_hash(), "part": chosen.part,
            "n": len(chosen), "n_real": int(chosen.real.sum()), "n_bogus": int((~chosen.real).sum()),
            "neither": chosen.neither, "excluded": list(chosen.data.excluded), "group_by": chosen.group_by,
            "groups": int(np.unique(chosen.image).size), "contamination": contamination(chosen),
        },
        "options": parts.options.model_dump(), "warnings": list(parts.warnings), "time": parts.time_note,
        "auc_snr_alone": results.auc_snr, "models": models, "differences": results.differences,
        "label_sets": results.label_sets,
        "false_positives": None if fp is None else {
            "n": fp.n, "files": fp.n_files, "files_with": fp.n_files_with, "top": files, "share_of_top": fp.share,
            "share_by_chance": fp.expected_share, "likely_causes": dict(fp.causes),
        },
        "false_negatives": {"n": int(results.fn_rows.size), "likely_causes": _counts(results.fn_causes)},
        "studies": list(parts.studies),
        "chain": None if chain is None else {"run": chain.run, "losses": chain.losses, "limits": chain.limits},
    }  # fmt: skip


def _counts(names: Any) -> dict[str, int]:
    found, numbers = np.unique(names, return_counts=True)
    return dict(zip(found.tolist(), numbers.tolist(), strict=True))
