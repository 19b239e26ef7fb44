"""`gueststar evaluate`: how good a real/bogus model is, as a page, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import (
    Overwrite,
    Quiet,
    comma_names,
    errors,
    output,
    override_list,
    resolve_options,
    set_option,
    stage_bars,
)
from gueststar.cli.model_options import Exclude

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
    exclude: Exclude = None,
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
    set_: Annotated[list[str] | None, set_option("top_files=40")] = None,
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
        "per_night": per_night, "reals_per_night": reals, "threshold": threshold, "labels_column": labels_column,
        "label_version": label_version, "group_by": group_by,
    }  # fmt: skip
    options = resolve_options(EvaluateOptions, None, override_list(given, set_))
    with stage_bars(_WORDS, quiet=quiet) as progress:
        report = write_evaluation(
            data, out, options, models=model or (), scores=scores or (), part=part, exclude=comma_names(exclude),
            studies=study or (), efficiency=efficiency, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    for text in report.warnings:
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    if not quiet:
        _print(report)


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
    words += f"at {model.threshold_text} TPR {percent(at.tpr)}, FPR {upper_of(at.fpr)}"
    if model.curve is None:
        return words
    rates = [
        f"{upper_of(model.point(f'TPR {wanted:g}').point.fpr)} at TPR {100 * wanted:g} %" for wanted in (0.9, 0.98)
    ]
    low = model.point("FPR 0.001").point
    missed = f"FNR {percent(1.0 - low.tpr.value)} at FPR 1e-3" if low.resolved else "FNR at FPR 1e-3 not resolved"
    return f"{words}; AUC {model.auc:.5f}; FPR {', '.join(rates)}; {missed}"
