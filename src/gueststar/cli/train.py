"""`gueststar train`: a real/bogus model from nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import Gain, Instrument, Quiet, errors, output, resolve_options
from gueststar.cli.training_bars import TrainingBars, training_bars

if TYPE_CHECKING:
    from rich.table import Table

    from gueststar.realbogus.card import Card
    from gueststar.realbogus.stored import StoredDataset
    from gueststar.training import Training
    from gueststar.types import Image

__all__ = ["load_frames", "train"]

_MOST_THREADS = 8  # more wait for each other: the network is small
_STOPPED = {"patience": "no better pass came within train.patience", "epochs": "all passes were made"}


def train(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the model.")] = Path("model"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Data set to train on, from `gueststar dataset`; read from disk."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option("--exclude", metavar="LIST", help="With --data: reasons whose rows are left out, with commas."),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test", metavar="DIR", help="With --data: data set that the model is only tested on; again for more."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="METHOD",
            help="Against wrong labels: naive, coteach, ensemble, drop-flagged or two-stage.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="gueststar, or one to compare with: seed, braai, takahashi-simple or takahashi-complex.",
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option("--per", metavar="chip", help="With --data: a set of models, one for each detector chip."),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="With --data: one model for all chips that is told the chip; with --per, the fallback."
        ),
    ] = False,
    finetune: Annotated[
        str | None,
        typer.Option(
            "--finetune",
            metavar="MODEL",
            help="With --data: start from this model and train its head; with --per, once for each chip.",
        ),
    ] = None,
    fallback: Annotated[
        str | None,
        typer.Option(
            "--fallback",
            metavar="WHAT",
            help="With --per, the model of all other chips: all (trained on all rows), shipped, or a folder. "
            "[default: the model of --finetune, else all]",
        ),
    ] = None,
    pairs: Annotated[int | None, typer.Option("--pairs", metavar="N", help="Simulated pairs of frames.")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Most passes over the training set.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of everything that is drawn.")] = None,
    real: Annotated[
        list[Path] | None,
        typer.Option("--real", metavar="DIR", help="Real frames that artificial reals are put into; again for more."),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", metavar="DIR", help="Real frames that the model is only tested on; again for more."),
    ] = None,
    instrument: Instrument = None,
    gain: Gain = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Options of the training, a TOML file.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one of them, such as train.batch_size=512."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", metavar="N", help="Processes; one per core.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Where the network is trained: cpu, cuda or cuda:N.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget a training that was stopped in the folder, and begin anew.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make a training set, train a real/bogus model on it, and measure it.

    With --data a data set that exists is trained on, as it is divided. Else
    simulated pairs of frames, and real ones where given, get artificial reals
    before the subtraction. A folder of real frames is read as `gueststar run`
    reads it; a file instrument.toml in it is its instrument profile.

    A training that was stopped or killed goes on when the same command is
    given again, and gives the same model.

    \b
    gueststar train --out my_model
    gueststar train --out my_model --pairs 400 --real FRAMES --seed 1
    gueststar train --out my_model --data my_set --exclude bright_star,flagged
    gueststar train --out my_model --data my_set --labels coteach
    gueststar train --out my_model --data my_set --shared
    gueststar train --out my_models --data my_set --per chip --workers 4
    gueststar train --out other --data ztf_set --finetune my_model --set finetune.rows=500
    gueststar train --out braai --data my_set --network braai
    gueststar pair science.fits reference.fits --out pair --set classify.model=my_model
    """  # noqa: D301
    from gueststar.night.pool import available_cores
    from gueststar.training import Training, make_and_train, train_stored

    given = {
        "data.n_pairs": pairs, "data.seed": seed, "train.seed": seed, "train.epochs": epochs, "train.device": device,
        "label_noise.method": labels, "train.network": network, "train.chips": "film" if shared else None,
        "data.workers": available_cores() if workers in (None, 0) else workers,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(Training, config, [*overrides, *(set_ or ())])
    _check_tests(test, data, per)
    _check_chips(data, per=per, shared=shared, finetune=finetune, fallback=fallback)
    if per is not None:
        _refuse_both(data, pairs=pairs, real=real, held_out=held_out)
        _train_per_chip(
            data or Path(), out, options, exclude, base=finetune, fallback=fallback, workers=workers, restart=restart,
            quiet=quiet,
        )  # fmt: skip
        return
    if not options.train.threads:
        threads = min(available_cores(), _MOST_THREADS)
        options = options.model_copy(update={"train": options.train.model_copy(update={"threads": threads})})
    if data is not None or exclude is not None:
        _refuse_both(data, pairs=pairs, real=real, held_out=held_out)

    def work(bars: TrainingBars | None) -> Card:
        more: dict[str, Any] = {"restart": restart}
        if bars is not None:
            more |= {"progress": bars.progress, "watch": bars.watch}
        if data is not None:
            tests = {path.name: _opened(path, None) for path in test or ()}
            return train_stored(options, _opened(data, exclude), out, base=finetune, tests=tests, **more)
        frames, held = (load_frames(folders, instrument, gain, more.get("progress")) for folders in (real, held_out))
        return make_and_train(options, out, real_images=frames, held_out_images=held, **more)

    card = _uninterrupted(work, out, quiet=quiet)
    if not quiet:
        _print_card(card, out)


def _uninterrupted(work: Callable[[TrainingBars | None], Card], out: Path, *, quiet: bool) -> Card:
    """Do the work; when the user stops it, say how to go on, and leave with 130."""
    from gueststar.realbogus.checkpoint import CHECKPOINT_FILE

    try:
        with training_bars(quiet=quiet) as bars:
            return work(bars)
    except KeyboardInterrupt:
        kept = out / CHECKPOINT_FILE
        text = "Stopped. Nothing of the training was kept yet; the same command begins anew."
        if kept.is_file():
            when = time.strftime("%H:%M:%S", time.localtime(kept.stat().st_mtime))
            text = f"Stopped. The same command goes on from {kept}, kept at {when}; --restart begins anew."
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


def _refuse_both(data: Path | None, **given: object) -> None:
    from gueststar.errors import ConfigError

    if data is None:
        raise ConfigError("--exclude leaves out rows of a data set; give one with --data", key="exclude")
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if names:
        raise ConfigError(f"--data trains on what is there; {names[0]} makes a set: give one of both", key="data")


def _check_tests(test: list[Path] | None, data: Path | None, per: str | None) -> None:
    from gueststar.errors import ConfigError

    if test and (data is None or per is not None):
        raise ConfigError(
            "--test measures one model that is trained on a data set: give --data, and no --per", key="test"
        )
    names = [path.name for path in test or ()]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"--test: two folders are named {max(names, key=names.count)!r}; the card tells them by name", key="test"
        )


def _check_chips(
    data: Path | None, *, per: str | None, shared: bool, finetune: str | None, fallback: str | None
) -> None:
    from gueststar.errors import ConfigError

    if per not in (None, "chip"):
        raise ConfigError(f"--per {per}: models are trained per chip; --per chip is what there is", key="per")
    if per is None and fallback is not None:
        raise ConfigError("--fallback is of a set of models; give --per chip, too", key="fallback")
    if shared and finetune is not None:
        raise ConfigError(
            "--shared trains from nothing, --finetune keeps what the model is told; give one of both (a model of "
            "--shared that is trained further stays one)",
            key="shared",
        )
    used = {"--per": per is not None, "--shared": shared, "--finetune": finetune is not None}
    if data is None and any(used.values()):
        name = next(name for name, there in used.items() if there)
        raise ConfigError(f"{name} needs a data set; give one with --data", key="data")


def _train_per_chip(
    data: Path,
    out: Path,
    options: Training,
    exclude: str | None,
    *,
    base: str | None,
    fallback: str | None,
    workers: int | None,
    restart: bool,
    quiet: bool,
) -> None:
    """Train a set of models on several processes, of one thread each."""
    from gueststar.cli.model_sets import chip_table, set_lines
    from gueststar.night.pool import ProcessMap, available_cores
    from gueststar.training.per_chip import lost_chip, train_per_chip

    # One GPU does not become quicker by sharing it.
    n = workers or (1 if options.train.device.startswith("cuda") else available_cores())
    reasons = [name.strip() for name in (exclude or "").split(",") if name.strip()]
    with training_bars(quiet=quiet) as bars, ProcessMap(n, lost=lost_chip) as pool:
        models = train_per_chip(
            options, data, out, exclude=reasons, base=base, fallback=fallback, mapper=pool if n > 1 else map,
            restart=restart, progress=None if bars is None else bars.progress,
        )  # fmt: skip
    if quiet:
        return
    for line in set_lines(models):
        output().print(line, markup=False, soft_wrap=True)
    output().print(chip_table(models))
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


def _opened(data: Path, exclude: str | None) -> StoredDataset:
    from gueststar.realbogus.stored import open_dataset

    reasons = [name.strip() for name in (exclude or "").split(",") if name.strip()]
    dataset = open_dataset(data, exclude=reasons)
    for item in dataset.damaged:
        text = f"shard {item.shard} is skipped, {item.rows} rows: {item.reason}"
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    return dataset


def load_frames(
    folders: list[Path] | None,
    instrument: str | None,
    gain: float | None,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, list[Image]] | None:
    """Frames of each field in the folders, prepared; None without folders."""
    from gueststar.cli.common import resolve
    from gueststar.night.lights import load_lights

    found: dict[str, list[Image]] = {}
    for number, folder in enumerate(folders or (), 1):
        own = folder / "instrument.toml"
        settings = resolve(None, None, instrument=str(own) if own.is_file() else instrument, gain_e_adu=gain)
        for field, images in load_lights(folder, settings).items():
            found.setdefault(f"{folder.name} {field}".strip(), []).extend(images)
        if progress is not None:
            progress("real frames", number, len(folders or ()))
    return found or None


def _print_card(card: Card, out: Path) -> None:
    lines = [
        f"Model {card.name} {card.version} in {out}, {card.parameters} parameters",
        f"threshold {card.threshold:.3f}: {card.threshold_meaning}",
        *_trained(card.training),
    ]
    for line in lines:
        output().print(line, markup=False, soft_wrap=True)
    output().print(_measured(card.metrics))
    output().print(
        f"All figures are in {out / 'card.json'}; the curves are {out / 'roc.png'} and {out / 'training.png'}",
        markup=False,
        soft_wrap=True,
    )
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


def _trained(training: Mapping[str, Any]) -> list[str]:
    """How the training went, in words."""
    if not training.get("history"):
        return []
    made, best, stopped = len(training["history"]), training["best_epoch"] + 1, training.get("stopped", "")
    lines = [f"trained for {made} passes, the best is number {best}; stopped: {_STOPPED.get(stopped, stopped)}"]
    if training.get("pieces_of_a_step", 1) > 1:
        lines.append(f"steps were taken in {training['pieces_of_a_step']} pieces for want of memory")
    return lines


def _measured(metrics: Mapping[str, Any]) -> Table:
    """What was measured, one row for each test set."""
    from rich.table import Table

    table = Table(title="Measured on parts that were not trained on", title_justify="left", box=None)
    for name in ("set", "reals", "artifacts", "AUC", "false positives at TPR 90 %", "at TPR 98 %"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for part in metrics.values():
        if isinstance(part, Mapping) and "auc" in part:
            points = {point["name"]: point["fpr"] for point in part["points"]}
            rates = [_rate(points.get(name)) for name in ("TPR 0.9", "TPR 0.98")]
            auc = f"{part['auc']:.4f} ± {part['auc_err']:.4f}"
            table.add_row(str(part["name"]), str(part["n_real"]), str(part["n_bogus"]), auc, *rates)
    return table


def _rate(rate: Mapping[str, Any] | None) -> str:
    """A share with its 95 % interval, in per cent."""
    if rate is None:
        return "-"
    return f"{100 * rate['value']:.2f} % ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"
