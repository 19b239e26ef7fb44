"""`gueststar evaluate`: how good a real/bogus model is, as a page, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Overrides, Overwrite, Quiet, errors, output, resolve_options

if TYPE_CHECKING:
    from gueststar.report.evaluation import EvaluationReport
    from gueststar.report.evaluation_results import ModelResults

__all__ = ["evaluate"]

_WORDS = {"score": "stamps scored", "measure": "models measured", "draw": "draws of images", "pictures": "page"}


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set of `gueststar dataset`.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the page, tables and figures.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="DIR",
            help="Model folder, store of models, or shipped (the default); again for others to compare the first with.",
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option("--scores", metavar="FILE", help="Table of scores that are made already, .parquet or .csv."),
    ] = None,
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Part of the set: test, validation, train or all.")
    ] = "test",
    per_night: Annotated[
        int | None, typer.Option("--per-night", metavar="N", help="Artifacts of a night. [default: 20000]")
    ] = None,
    reals: Annotated[float | None, typer.Option("--reals", metavar="N", help="Reals of a night. [default: 5]")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="X", help="Common threshold; that of the model's card.")
    ] = None,
    labels_column: Annotated[
        str | None,
        typer.Option("--labels-column", metavar="NAME", help="Second labels for the same scores; or true_kind."),
    ] = None,
    label_version: Annotated[
        str | None,
        typer.Option(
            "--label-version",
            metavar="NAME",
            help="Second labels for the same scores: a version of `gueststar labels decide`.",
        ),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option("--exclude", metavar="LIST", help="Leave out rows with these reasons of doubt, with commas."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", metavar="COLUMN", help="Tells images apart. [default: image, image_id, ...]"),
    ] = None,
    study: Annotated[
        list[Path] | None, typer.Option("--study", metavar="DIR", help="Study to show; again for more.")
    ] = None,
    efficiency: Annotated[
        Path | None,
        typer.Option("--efficiency", metavar="FILE", help="efficiency.json of a run: completeness of the whole chain."),
    ] = None,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure how good real/bogus models are, on rows that they have not seen.

    Writes one page with all curves, operating points with intervals, parts
    by S/N, chip and kind, comparisons of models, and the stamps of what was
    misjudged; the same as tables and figures. The first model is looked at
    closely. A model is refused on the rows that it was trained on.

    \b
    gueststar evaluate my_set --model my_model --out evaluation
    gueststar evaluate my_set --model new --model old --out comparison --per-night 1000000
    gueststar evaluate test_set --part all --scores scores.parquet --out evaluation --labels-column true_kind
    gueststar evaluate my_set --model my_model --out evaluation --label-version reviewed
    """  # noqa: D301
    from gueststar.report.evaluation import write_evaluation
    from gueststar.report.evaluation_results import EvaluateOptions

    given = {
        "per_night": per_night, "reals_per_night": reals, "threshold": threshold,
        "labels_column": None if labels_column is None else f'"{labels_column}"',
        "label_version": None if label_version is None else f'"{label_version}"',
        "group_by": None if group_by is None else f'"{group_by}"',
    }  # fmt: skip
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(EvaluateOptions, None, [*settings, *(overrides or ())])
    reasons = [name.strip() for name in (exclude or "").split(",") if name.strip()]
    with _bars(quiet=quiet) as progress:
        report = write_evaluation(
            data, out, options, models=model or (), scores=scores or (), part=part, exclude=reasons,
            studies=study or (), efficiency=efficiency, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    for text in report.warnings:
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    if not quiet:
        _print(report)


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """One bar for each stage."""
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(_WORDS.get(stage, stage))
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _print(report: EvaluationReport) -> None:
    from rich.markup import escape

    for model in report.results.models:
        output().print(_words(model), markup=False, soft_wrap=True)
    output().print(report.headline, style="bold", markup=False, soft_wrap=True)
    output().print(f"Page: [bold]{escape(str(report.page))}[/]", soft_wrap=True)


def _words(model: ModelResults) -> str:
    """The figures of a model in one line."""
    from gueststar.report.evaluation_page import percent, upper_of

    at = model.at_threshold
    words = f"{model.name}: {at.tpr.trials:,} reals, {at.fpr.trials:,} artifacts; "
    words += f"at {model.threshold:.3f} TPR {percent(at.tpr)}, FPR {upper_of(at.fpr)}"
    if model.curve is None:
        return words
    rates = [
        f"{upper_of(model.point(f'TPR {wanted:g}').point.fpr)} at TPR {100 * wanted:g} %" for wanted in (0.9, 0.98)
    ]
    low = model.point("FPR 0.001").point
    missed = f"FNR {percent(1.0 - low.tpr.value)} at FPR 1e-3" if low.resolved else "FNR at FPR 1e-3 not resolved"
    return f"{words}; AUC {model.auc:.5f}; FPR {', '.join(rates)}; {missed}"
