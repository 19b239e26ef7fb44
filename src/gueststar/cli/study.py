"""`gueststar study`: comparisons of ways to train, on any data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import (
    OptionsFile,
    Quiet,
    Workers,
    comma_names,
    errors,
    output,
    override_list,
    resolve_options,
    set_option,
)
from gueststar.cli.model_options import Epochs, TrainingDevice

if TYPE_CHECKING:
    from gueststar.study.base import Study
    from gueststar.study.run import StudyResult, Tell

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Compare ways to train on a data set, with seeds and intervals; what is done is kept."
)

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Data set to train on, from `gueststar dataset`.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the study; a rerun goes on in it.")]
Test = Annotated[
    Path | None,
    typer.Option("--test", metavar="SET", help="Data set to test on; the test part of DATA when left out."),
]
Exclude = Annotated[
    str | None,
    typer.Option("--exclude", metavar="LIST", help="Reasons whose rows are not trained on, with commas."),
]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="LIST", help="Seeds, with commas. [default: 0,1,2]")]
Arms = Annotated[
    str | None, typer.Option("--arms", metavar="LIST", help="Run these arms only, with commas. [default: all]")
]
MaxTrain = Annotated[
    int | None, typer.Option("--max-train", metavar="N", help="Use about N rows of the training part, in whole groups.")
]
Method = Annotated[
    str | None, typer.Option("--labels", metavar="METHOD", help="Against wrong labels, as in `gueststar train`.")
]
Boots = Annotated[int | None, typer.Option("--boots", metavar="N", help="Drawings for the intervals. [default: 500]")]
Set = Annotated[list[str] | None, set_option("train.batch_size=512")]


@app.command()
def size(
    data: Data,
    out: Out,
    fractions: Annotated[
        str | None,
        typer.Option("--fractions", metavar="LIST", help="Shares of the training part. [default: 1/8,1/4,1/2,3/4,1]"),
    ] = None,
    equal: Annotated[
        str | None,
        typer.Option("--equal", metavar="WHAT", help="The same for every size: steps or epochs. [default: steps]"),
    ] = None,
    test: Test = None, exclude: Exclude = None, seeds: Seeds = None, arms: Arms = None, max_train: MaxTrain = None,
    epochs: Epochs = None, labels: Method = None, boots: Boots = None, config: OptionsFile = None, set_: Set = None,
    device: TrainingDevice = None, workers: Workers = 1, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure what a larger training set is worth: parts of it, by whole groups.

    \b
    gueststar study size my_set --out size
    gueststar study size my_set --out size --test other_set --fractions 1/4,1/2,1 --equal epochs
    """  # noqa: D301
    from gueststar.study.size import SizeStudy

    shares = None if fractions is None else [_fraction(text) for text in comma_names(fractions)]
    own = {"fractions": shares, "equal": equal, "label_noise.method": labels}
    _study(SizeStudy, locals(), own)


@app.command()
def chips(
    data: Data,
    out: Out,
    left_out: Annotated[
        int | None,
        typer.Option("--left-out", metavar="N", help="Chips left out of training to test on; 0: none. [default: 4]"),
    ] = None,
    fewest: Annotated[
        int | None,
        typer.Option("--fewest", metavar="N", help="Reals, and artifacts, of a chip that takes part. [default: 30]"),
    ] = None,
    test: Test = None, exclude: Exclude = None, seeds: Seeds = None, arms: Arms = None, max_train: MaxTrain = None,
    epochs: Epochs = None, boots: Boots = None, config: OptionsFile = None, set_: Set = None,
    device: TrainingDevice = None, workers: Workers = 1, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Compare one model for each detector chip with one for all, at equal data and steps.

    Arms: each, mix, all, film (told the chip), head (fine-tuned for each chip),
    and the shared ones on chips that they were not trained on.

    \b
    gueststar study chips my_set --out chips
    gueststar study chips my_set --out chips --arms each,all,film --seeds 0,1
    """  # noqa: D301
    from gueststar.study.chips import ChipStudy

    _study(ChipStudy, locals(), {"left_out": left_out, "fewest": fewest})


@app.command()
def contamination(
    data: Data,
    out: Out,
    share: Annotated[
        float | None,
        typer.Option("--share", metavar="C", help="Share of the artifacts that is real, planted. [default: 0.15]"),
    ] = None,
    old_labels: Annotated[
        str | None,
        typer.Option("--old-labels", metavar="COLUMN", help="Plant nothing: compare older labels with newer."),
    ] = None,
    old: Annotated[
        str | None,
        typer.Option(
            "--old", metavar="VERSION", help="The same with versions: the older labels. [default: those of the set]"
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option("--new", metavar="VERSION", help="Version with the newer labels. [default: those of the set]"),
    ] = None,
    test_old: Annotated[
        str | None,
        typer.Option(
            "--test-old", metavar="VERSION", help="Older labels of the test set; '': its own. [default: as --old]"
        ),
    ] = None,
    test_new: Annotated[
        str | None,
        typer.Option(
            "--test-new", metavar="VERSION", help="Newer labels of the test set; '': its own. [default: as --new]"
        ),
    ] = None,
    test: Test = None, exclude: Exclude = None, seeds: Seeds = None, arms: Arms = None, max_train: MaxTrain = None,
    epochs: Epochs = None, boots: Boots = None, config: OptionsFile = None, set_: Set = None,
    device: TrainingDevice = None, workers: Workers = 1, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure what wrong labels of artifacts cost, and what each method wins back.

    Reals of the training and validation parts are called artifacts. With
    --new, --old or --old-labels models of older and of newer labels are tested
    on both, so that a better model and a cleaner test set are told apart.

    \b
    gueststar study contamination my_set --out contamination
    gueststar study contamination my_set --out cleaned --new reviewed
    gueststar study contamination my_set --out cleaned --new reviewed --test other_set --test-new checked
    gueststar study contamination my_set --out relabelled --old-labels old_label
    """  # noqa: D301
    from gueststar.study.contamination import ContaminationStudy

    own = {
        "share": share, "old_labels": old_labels, "old_version": old, "new_version": new,
        "test_old_version": test_old, "test_new_version": test_new,
    }  # fmt: skip
    _study(ContaminationStudy, locals(), own)


@app.command()
def channels(
    data: Data,
    out: Out,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="LIST", help="Stamp widths, px, with commas. [default: 15,21,31,41,63]"),
    ] = None,
    test: Test = None, exclude: Exclude = None, seeds: Seeds = None, arms: Arms = None, max_train: MaxTrain = None,
    epochs: Epochs = None, labels: Method = None, boots: Boots = None, config: OptionsFile = None, set_: Set = None,
    device: TrainingDevice = None, workers: Workers = 1, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure what each plane, the measured numbers and a wider stamp are worth.

    \b
    gueststar study channels my_set --out channels
    gueststar study channels my_set --out channels --sizes 21,31 --seeds 0
    """  # noqa: D301
    from gueststar.study.channels import ChannelStudy

    widths = None if sizes is None else [_whole(text, "sizes") for text in comma_names(sizes)]
    _study(ChannelStudy, locals(), {"sizes": widths, "label_noise.method": labels})


@app.command()
def baselines(
    data: Data,
    out: Out,
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks", metavar="LIST", help="Networks to compare with. [default: seed,braai,takahashi-simple]"
        ),
    ] = None,
    test: Test = None, exclude: Exclude = None, seeds: Seeds = None, arms: Arms = None, max_train: MaxTrain = None,
    epochs: Epochs = None, labels: Method = None, boots: Boots = None, config: OptionsFile = None, set_: Set = None,
    device: TrainingDevice = None, workers: Workers = 1, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Compare the network with published ones, trained on the same rows.

    \b
    gueststar study baselines my_set --out baselines
    gueststar study baselines my_set --out baselines --test other_set --networks seed,braai
    """  # noqa: D301
    from gueststar.study.baselines import BaselineStudy

    names = None if networks is None else comma_names(networks)
    _study(BaselineStudy, locals(), {"networks": names, "label_noise.method": labels})


def _study(model: type[Study], given: dict[str, Any], own: dict[str, Any]) -> None:
    """Make the options of a study from those of its command, run it, and say what was found."""
    from gueststar.night.pool import available_cores
    from gueststar.study.run import run_study

    seeds = None if given["seeds"] is None else [_whole(text, "seeds") for text in comma_names(given["seeds"])]
    arms = None if given["arms"] is None else comma_names(given["arms"])
    values = {
        "seeds": seeds, "only": arms, "max_train": given["max_train"], "boots": given["boots"],
        "train.epochs": given["epochs"], "train.device": given["device"], **own,
    }  # fmt: skip
    study = resolve_options(model, given["config"], override_list(values, given["set_"]))
    exclude = comma_names(given["exclude"])
    workers = given["workers"] or available_cores()
    with _bar(quiet=given["quiet"]) as tell:
        result = run_study(
            study, given["data"], given["out"], test=given["test"], exclude=exclude, workers=workers, tell=tell
        )
    if not given["quiet"]:
        _print(result)
    for failure in result.failures:
        text = f"arm {failure.arm}, seed {failure.seed} failed: {failure.reason}"
        errors().print(text, style="red", markup=False, soft_wrap=True)
    if result.failures:
        raise typer.Exit(1)


def _print(result: StudyResult) -> None:
    for sentence in result.findings.sentences:
        output().print(f"- {sentence}", markup=False, soft_wrap=True)
    output().print(f"Page: {result.page}", markup=False, soft_wrap=True)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Tell | None]:
    """One bar over all runs, each as long as it takes, with the time left."""
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    # The speed is that of the last hours, not of the last seconds: a run may take long.
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors(), speed_estimate_period=7200.0) as bar:
        task = bar.add_task("", total=None)
        yield lambda words, done, total: bar.update(task, description=words, completed=done, total=total)


def _fraction(text: str) -> float:
    """A share such as 0.25 or 1/4."""
    from gueststar.errors import ConfigError

    above, _, below = text.partition("/")
    try:
        return float(above) / (float(below) if below else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(
            f"--fractions {text!r}: shares such as 0.25 or 1/4, with commas, are needed", key="fractions", value=text
        ) from None


def _whole(text: str, name: str) -> int:
    from gueststar.errors import ConfigError

    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{name} {text!r}: whole numbers with commas are needed", key=name, value=text) from None
