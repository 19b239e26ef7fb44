"""`gueststar drift`: nights and chips whose candidates have left a reference, and the images that are the cause."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import (
    Overwrite,
    Quiet,
    comma_names,
    counting_bar,
    errors,
    output,
    override_list,
    resolve_options,
    set_option,
)

if TYPE_CHECKING:
    from gueststar.datasets.drifting import DriftReport
    from gueststar.realbogus.drift.profile import Profile
    from gueststar.realbogus.drift.result import Drift

__all__ = ["drift"]

_MOST = 10  # warnings of a kind that are printed


def drift(
    against: Annotated[
        Path, typer.Option("--against", metavar="REFERENCE", help="Model, data set, run, or profile, a .json file.")
    ],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Data set or run; left out: write the profile only.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for the page and the tables.")
    ] = None,
    write_profile: Annotated[
        Path | None,
        typer.Option("--write-profile", metavar="FILE", help="Keep the reference as counts of each image, .json."),
    ] = None,
    rows: Annotated[
        str, typer.Option("--rows", metavar="KIND", help="Rows of data sets: artifacts, reals or all.")
    ] = "artifacts",
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Part of DATA: test, validation, train or all.")
    ] = "all",
    against_part: Annotated[
        str, typer.Option("--against-part", metavar="NAME", help="Part of the reference, such as train.")
    ] = "all",
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="LIST", help="Columns to compare, with commas.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Scores of a data set, .parquet or .csv.")
    ] = None,
    against_scores: Annotated[
        Path | None, typer.Option("--against-scores", metavar="FILE", help="Scores of the reference by the same model.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", metavar="COLUMN", help="Tells images of data sets apart. [default: image, ...]"),
    ] = None,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Leave with 1 when there is a warning.")
    ] = False,
    set_: Annotated[list[str] | None, set_option("q=0.01")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Warn of nights and chips whose candidates look unlike a reference, such as the training set.

    Scores and measured numbers of every chip of every night are compared;
    chance is judged by exchanging whole images. Names the images that are
    the cause, and those that are strange by themselves. A warning is not an
    error, so the program leaves with 0.

    \b
    gueststar drift products --against my_model --out drift
    gueststar drift products --against my_set --out drift
    gueststar drift --against my_set --write-profile profile.json
    gueststar drift products --against profile.json --fail-on-drift --set q=0.01
    """  # noqa: D301
    import numpy as np

    from gueststar.datasets.drift_profile import check_profile_path
    from gueststar.datasets.drift_profile import write_profile as keep
    from gueststar.datasets.drift_samples import read_sample
    from gueststar.datasets.drifting import read_known, write_drift
    from gueststar.errors import ConfigError
    from gueststar.realbogus.drift.profile import Sample, make_profile
    from gueststar.realbogus.drift.result import DriftOptions

    if data is None and write_profile is None:
        raise ConfigError("nothing to do: give DATA to compare, or --write-profile FILE.json", key="data")
    options = resolve_options(DriftOptions, None, override_list({}, set_))
    if write_profile is not None:
        check_profile_path(write_profile, overwrite=overwrite)
    names = comma_names(columns)
    reference: Sample | Profile | None = read_known(against)
    if reference is None:
        reference = read_sample(against, part=against_part, rows=rows, columns=names, scores=against_scores,
                                group_by=_of_sets(against, group_by))  # fmt: skip
    elif against_scores is not None or write_profile is not None or against_part != "all":
        raise ConfigError(f"--against {against} is a profile already; --against-scores, --against-part and "
                          "--write-profile are for data sets and runs", key="against")  # fmt: skip
    if data is None:
        if write_profile is not None and isinstance(reference, Sample):
            made = make_profile(reference, options, rng=np.random.default_rng(options.seed))
            keep(write_profile, made, overwrite=overwrite)
            if not quiet:
                output().print(f"Profile: {write_profile}", markup=False, soft_wrap=True)
        return
    sample = read_sample(data, part=part, rows=rows, columns=names, scores=scores, group_by=_of_sets(data, group_by))
    with counting_bar("nights and chips", quiet=quiet) as bar:
        report = write_drift(sample, reference, out, options, profile=write_profile, overwrite=overwrite, progress=bar)
    for text in report.warnings:
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    if not quiet:
        _print(report)
    if fail_on_drift and (report.drift.drifting or report.drift.standouts):
        raise typer.Exit(1)


def _of_sets(path: Path, column: str | None) -> str:
    """A run tells its images apart itself."""
    from gueststar.datasets.drift_samples import is_run

    return "" if column is None or is_run(path) else column


def _print(report: DriftReport) -> None:
    from rich.markup import escape

    from gueststar.report.drift_page import drift_sentences, standout_sentences

    drift = report.drift
    tested = sum(not test.reason for test in drift.tests)
    if drift.drifting:
        _print_table(drift)
    for sentences in (drift_sentences(drift), standout_sentences(drift)):
        for text in sentences[:_MOST]:
            output().print(f"Warning: {text}", style="yellow", markup=False, soft_wrap=True)
        if len(sentences) > _MOST:
            output().print(f"... and {len(sentences) - _MOST} more")
    if not drift.drifting:
        words = "Nothing left the reference" if tested else "Unknown: no night or chip has enough images"
        output().print(f"{words}; {tested} tests", markup=False)
    if report.page is not None:
        output().print(f"Page: [bold]{escape(str(report.page))}[/]", soft_wrap=True)


def _print_table(drift: Drift) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("night", "chip", "column", "images", "PSI", "by chance", "distance", "q"):
        table.add_column(name, justify="left" if name in ("night", "chip", "column") else "right", no_wrap=True)
    for test in drift.drifting[:20]:
        table.add_row(
            test.night or "all", test.chip or "all", test.column, str(test.images), f"{test.psi:.2f}",
            f"{test.psi_chance:.2f}", f"{test.ks:.2f}", f"{test.q:.2g}",
        )  # fmt: skip
    output().print(table)
    if len(drift.drifting) > 20:
        output().print(f"... and {len(drift.drifting) - 20} more rows", markup=False)
