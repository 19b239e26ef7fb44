"""`gueststar model`: look at models, check them, and say which one of a store is in use."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.cards import card_lines, measured_lines, quality, rate_text
from gueststar.cli.common import Overwrite, Quiet, counting_bar, errors, output
from gueststar.cli.model_options import JudgedOn, LabelledSet, NewModel, NewVersion
from gueststar.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Look at models, check them, and say which one of a store of models is in use."
)

Store = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="Folder of model folders. [default: gueststar/models of the user's data]"
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name in the store, model folder, or shipped.")]


@app.command("list")
def list_(store: Store = None) -> None:
    """List the models of a store: version, hash, date, quality; * is in use.

    The quality of a set of models is that of its fallback; `show` has each chip.

    \b
    gueststar model list --store models
    """  # noqa: D301
    from rich.table import Table

    from gueststar.realbogus.store import list_models

    entries = list_models(_store(store))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "folder", "model", "hash", "date", "AUC", "FPR at TPR 98 %"):
        table.add_column(name)
    for entry in entries:
        mark = "*" if entry.in_use else ""
        if entry.models is not None:
            own = sum(chip.own is not None for chip in entry.models.chips.values())
            name = f"{entry.models.name} {entry.models.version}, {own} of {len(entry.models.chips)} chips"
            shown = quality(entry.card) if entry.card is not None else ("-", "-")
            table.add_row(mark, entry.folder, name, entry.digest[:12], entry.changed[:10], *shown)
            continue
        if entry.card is None:
            table.add_row(mark, entry.folder, "cannot be used", "", entry.changed[:10], "", "")
            continue
        card = entry.card
        name = f"{card.name} {card.version}"
        table.add_row(mark, entry.folder, name, card.weights_hash[:12], entry.changed[:10], *quality(card))
    output().print(table if entries else f"no models in {_store(store)}")
    if any("†" in text for entry in entries if entry.card is not None for text in quality(entry.card)):
        output().print("† rows counted as independent; those of one image are not: the interval is too narrow")
    for entry in entries:
        if entry.fault:
            errors().print(entry.fault, style="red", markup=False, soft_wrap=True)


@app.command()
def show(model: Model = "shipped", store: Store = None) -> None:
    """Show the card of a model: what it takes, how good it is, what it is not good for.

    Of a set of models: each chip with its rows, its AUC and which model serves
    it, then the card of the fallback.

    \b
    gueststar model show shipped
    gueststar model show my_model --store models
    """  # noqa: D301
    from gueststar.cli.model_sets import chip_table, set_lines
    from gueststar.realbogus.card import find_model, read_model
    from gueststar.realbogus.chips.model_set import is_set, read_set

    place = _place(model, store)
    if is_set(find_model(place)):
        models = read_set(find_model(place))
        for line in set_lines(models):
            output().print(line, markup=False, soft_wrap=True)
        output().print(chip_table(models))
        output().print("The fallback:")
    card, weights = read_model(place)
    for line in card_lines(card, len(weights)):
        output().print(line, markup=False, soft_wrap=True)


@app.command()
def verify(model: Model = "shipped", store: Store = None) -> None:
    """Recompute the hash of a model, load it, and compare its check scores.

    The exit code is 1 when a file was changed or the scores differ.

    \b
    gueststar model verify my_model --store models
    """  # noqa: D301
    from gueststar.realbogus.store import verify_model

    card, told = verify_model(_place(model, store))
    output().print(f"{card.name} {card.version} is sound: {told}", markup=False, soft_wrap=True)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of its folder in the store.")],
    store: Store = None,
) -> None:
    """Verify a model of a store and put it in use.

    Wherever a model can be given, the folder of the store then stands for it.

    \b
    gueststar model promote my_model --store models
    gueststar score stamps.npy --out scores.csv --model models
    """  # noqa: D301
    from gueststar.realbogus.store import promote as put_in_use

    made = put_in_use(_store(store), model)
    words = f"{made.folder} ({made.weights_hash[:12]}) is in use; use it with --set classify.model={_store(store)}"
    output().print(words, markup=False, soft_wrap=True)


@app.command()
def rollback(store: Store = None) -> None:
    """Put the model in use again that was in use before.

    \b
    gueststar model rollback --store models
    """  # noqa: D301
    from gueststar.realbogus.store import rollback as go_back

    made = go_back(_store(store))
    output().print(f"{made.folder} ({made.weights_hash[:12]}) is in use again", markup=False, soft_wrap=True)


@app.command()
def threshold(
    model: Model,
    data: LabelledSet,
    tpr: Annotated[
        float | None, typer.Option("--tpr", metavar="SHARE", help="Wanted completeness, such as 0.98.")
    ] = None,
    fpr: Annotated[
        float | None, typer.Option("--fpr", metavar="SHARE", help="Wanted rate of false positives, such as 1e-3.")
    ] = None,
    per_night: Annotated[
        float | None, typer.Option("--per-night", metavar="N", help="Wanted false positives of a night.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", metavar="N", help="With --per-night: artifacts of a night.")
    ] = None,
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Chosen on: validation, test, train or all.")
    ] = "validation",
    check: JudgedOn = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write a new model with this threshold.")
    ] = None,
    version: NewVersion = None,
    store: Store = None,
) -> None:
    """Choose a threshold by a wish, and tell what it reaches on other nights, by signal to noise.

    \b
    gueststar model threshold my_model --data my_set --tpr 0.98
    gueststar model threshold my_model --data my_set --fpr 1e-3 --out my_model_strict
    gueststar model threshold my_model --data my_set --per-night 40 --candidates 90000
    """  # noqa: D301
    from gueststar.realbogus.card import read_model, trainable_bytes, write_model
    from gueststar.realbogus.drift.model_profile import copy_profile
    from gueststar.realbogus.loaded import load_model
    from gueststar.realbogus.rethreshold import choose_threshold
    from gueststar.realbogus.stored import open_dataset

    place = _place(model, store)
    made = choose_threshold(
        load_model(place), open_dataset(data), tpr=tpr, fpr=fpr, per_night=per_night, candidates=candidates,
        part=part, check=check, version=version,
    )  # fmt: skip
    chosen = f"threshold {made.threshold.value:.6g}: {made.card.threshold_meaning}"
    output().print(chosen, markup=False, soft_wrap=True)
    columns = "reals kept, %", "false positives, %"
    for own in (False, True):
        head = "each interval's own threshold" if own else "on other rows"
        lines = [f"{head:30s} {columns[0]:>26s} {columns[1]:>26s}"]
        for row in made.reached:
            rates = (row.own_tpr, row.own_fpr) if own else (row.tpr, row.fpr)
            name = f"{row.name:14s} {row.threshold.value:.4g}" if own and row.threshold else row.name
            words = " ".join(f"{rate_text(asdict(rate)) if rate else 'too few':>26s}" for rate in rates)
            lines.append(f"{name:30s} {words}")
        output().print("\n".join(lines), markup=False, soft_wrap=True)
    if out is not None:
        write_model(out, made.card, read_model(place)[1], trainable=trainable_bytes(place))
        copy_profile(place, out)  # the scores are the same
        output().print(f"Model {made.card.name} {made.card.version} in {out}", markup=False, soft_wrap=True)


@app.command()
def quantize(
    model: Model,
    data: LabelledSet,
    out: NewModel,
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Calibrated on: validation, test, train or all.")
    ] = "validation",
    check: JudgedOn = None,
    stamps: Annotated[
        int, typer.Option("--stamps", metavar="N", min=16, help="Training stamps that ranges are taken from.")
    ] = 512,
    version: NewVersion = None,
    store: Store = None,
) -> None:
    """Make a model in eight bits, which scores twice as fast, if it is as good.

    It is calibrated anew and compared with the old one on other nights. When
    it is not as good nothing is written, and the numbers are told.

    \b
    gueststar model quantize my_model --data my_set --out my_model_int8
    """  # noqa: D301
    from gueststar.realbogus.card import read_model, write_model
    from gueststar.realbogus.loaded import load_model
    from gueststar.realbogus.parity import quantize_model
    from gueststar.realbogus.stored import open_dataset

    place = _place(model, store)
    made = quantize_model(
        load_model(place), read_model(place)[1], open_dataset(data), part=part, check=check, stamps=stamps,
        version=version,
    )  # fmt: skip
    write_model(out, made.card, made.weights)
    card, parity = made.card, made.parity
    lines = [
        f"Model {card.name} {card.version} in {out}, {len(made.weights)} bytes",
        f"compared on {parity.rows} rows of {parity.images} images: AUC {parity.auc_change:+.5f}; scores change by "
        f"{parity.median_change:.4f} (median), {parity.p99_change:.4f} (one of a hundred), {parity.largest_change:.3f} "
        "(most)",
        f"false positives at TPR 98 %: {100 * parity.fpr_before:.2f} % before, {100 * parity.fpr_after:.2f} % after; "
        f"change {100 * parity.fpr_change:+.2f} points ({100 * parity.fpr_low:+.2f} to {100 * parity.fpr_high:+.2f})",
        f"calibration error {made.error.ece:.4f} ({made.error.low:.4f} to {made.error.high:.4f})",
        f"threshold {card.threshold:.4g}: {card.threshold_meaning}",
    ]
    for line in lines:
        output().print(line, markup=False, soft_wrap=True)


@app.command()
def measure(
    model: Model,
    test: Annotated[
        list[Path],
        typer.Option("--test", metavar="SET", help="Data set that the model was not trained on; again for more."),
    ],
    out: NewModel,
    caveat: Annotated[
        list[str] | None, typer.Option("--caveat", metavar="TEXT", help="What its users must know; again for more.")
    ] = None,
    store: Store = None,
) -> None:
    """Measure a model on further data sets, and write it with the figures on its card.

    The weights stay as they are. The test part of a set is taken, or all of
    it where it has none; rows of the default chain are shown apart.

    \b
    gueststar model measure my_model --test my_test --test ztf --out my_model_measured
    """  # noqa: D301
    from gueststar.realbogus.stored import open_dataset
    from gueststar.training.measure import measure_model

    tests = {path.name: open_dataset(path) for path in test}
    if len(tests) < len(test):
        raise ConfigError("--test: two folders have one name, and the card tells them by it; rename one", key="test")
    card = measure_model(_place(model, store), tests, out, caveats=caveat or ())
    for line in measured_lines(card):
        output().print(line, markup=False, soft_wrap=True)
    output().print(f"Model {card.name} {card.version} in {out}", markup=False, soft_wrap=True)


@app.command()
def profile(
    model: Model,
    data: LabelledSet,
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="NAME", help="validation, test or all. [default: all but the training part]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="File to write. [default: profile.json of the model]"),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    store: Store = None,
) -> None:
    """Keep with a model what it was made with, so that `gueststar drift` needs no data set.

    Artifacts of the data set are scored and counted image by image. Training
    keeps it by itself; this is for older models, and for other nights.

    \b
    gueststar model profile my_model --data my_set
    gueststar model profile shipped --data good_nights --part all --out good_nights.json
    """  # noqa: D301
    from gueststar.datasets.drift_profile import check_profile_path, profile_of_model, write_profile
    from gueststar.realbogus.drift.model_profile import profile_path

    place = _place(model, store)
    path = check_profile_path(profile_path(place) if out is None else out, overwrite=overwrite)
    with counting_bar("artifacts scored", quiet=quiet) as bar:
        made = profile_of_model(place, data, part, progress=bar)
    write_profile(path, made, overwrite=overwrite)
    if not quiet:
        output().print(f"Profile: {path}", markup=False, soft_wrap=True)


def _store(store: Path | None) -> Path:
    if store is not None:
        return store
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "gueststar" / "models"


def _place(model: str, store: Path | None) -> str | Path:
    """The folder of a model: that of the store where it has one of this name."""
    inside = _store(store) / model
    return inside if model != "shipped" and inside.is_dir() else model
