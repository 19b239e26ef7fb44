"""`gueststar train`: a real/bogus model from nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.cards import print_card
from gueststar.cli.common import (
    Gain,
    Instrument,
    OptionsFile,
    Quiet,
    SeedOrDefault,
    Workers,
    comma_names,
    errors,
    output,
    override_list,
    resolve_options,
    set_option,
    warn_of_damage,
)
from gueststar.cli.model_options import Epochs, NewModel, TrainingDevice
from gueststar.cli.real_frames import RealFrames, load_frames
from gueststar.cli.training_bars import TrainingBars, training_bars

if TYPE_CHECKING:
    from gueststar.realbogus.card import Card
    from gueststar.realbogus.stored import StoredDataset
    from gueststar.training import Training

__all__ = ["train"]

_MOST_THREADS = 8  # more wait for each other: the network is small


def train(
    out: NewModel = Path("model"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Data set to train on, from `gueststar dataset`; read from disk."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option("--exclude", metavar="LIST", help="With --data: reasons whose rows are left out, with commas."),
    ] = None,
    label_version: Annotated[
        str | None,
        typer.Option(
            "--label-version", metavar="NAME", help="With --data: labels as decided, from `gueststar labels decide`."
        ),
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
            help="Against wrong labels: naive, correct, coteach, ensemble, drop-flagged or two-stage.",
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
    epochs: Epochs = None,
    seed: SeedOrDefault = None,
    real: RealFrames = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", metavar="DIR", help="Real frames that the model is only tested on; again for more."),
    ] = None,
    instrument: Instrument = None,
    gain: Gain = None,
    config: OptionsFile = None,
    set_: Annotated[list[str] | None, set_option("train.batch_size=512")] = None,
    workers: Workers = None,
    device: TrainingDevice = None,
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
    gueststar train --out my_model --data my_set --label-version reviewed
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
        "data.workers": workers or available_cores(),
    }  # fmt: skip
    options = resolve_options(Training, config, override_list(given, set_))
    _check_tests(test, data, per)
    _check_chips(data, per=per, shared=shared, finetune=finetune, fallback=fallback)
    if per is not None:
        _refuse_both(data, pairs=pairs, real=real, held_out=held_out)
        _train_per_chip(
            data or Path(), out, options, exclude, version=label_version or "", base=finetune, fallback=fallback,
            workers=workers, restart=restart, quiet=quiet,
        )  # fmt: skip
        return
    if not options.train.threads:
        threads = min(available_cores(), _MOST_THREADS)
        options = options.model_copy(update={"train": options.train.model_copy(update={"threads": threads})})
    if data is not None or exclude is not None or label_version is not None:
        _refuse_both(data, pairs=pairs, real=real, held_out=held_out)

    def work(bars: TrainingBars | None) -> Card:
        more: dict[str, Any] = {"restart": restart}
        if bars is not None:
            more |= {"progress": bars.progress, "watch": bars.watch}
        if data is not None:
            tests = {path.name: _opened(path, None, "") for path in test or ()}
            rows = _opened(data, exclude, label_version or "")
            return train_stored(options, rows, out, base=finetune, tests=tests, **more)
        frames, held = (load_frames(folders, instrument, gain, more.get("progress")) for folders in (real, held_out))
        return make_and_train(options, out, real_images=frames, held_out_images=held, **more)

    card = _uninterrupted(work, out, quiet=quiet)
    if not quiet:
        print_card(card, out)


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
        raise ConfigError("--exclude and --label-version are of a data set; give one with --data", key="data")
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
    version: str,
    base: str | None,
    fallback: str | None,
    workers: int | None,
    restart: bool,
    quiet: bool,
) -> None:
    """Train a set of models on several processes, of one thread each."""
    from gueststar.cli.model_sets import chip_table, set_lines
    from gueststar.night.pool import ProcessMap, available_cores
    from gueststar.realbogus.train_options import slow_precision
    from gueststar.training.per_chip import lost_chip, train_per_chip

    # One GPU does not become quicker by sharing it.
    n = workers or (1 if options.train.device.startswith("cuda") else available_cores())
    with training_bars(quiet=quiet) as bars, ProcessMap(n, lost=lost_chip) as pool:
        if bars is not None and (advice := slow_precision(options.train)):
            bars.watch.say(advice)
        models = train_per_chip(
            options, data, out, exclude=comma_names(exclude), labels=version, base=base, fallback=fallback,
            mapper=pool if n > 1 else map, restart=restart, progress=None if bars is None else bars.progress,
        )  # fmt: skip
    if quiet:
        return
    for line in set_lines(models):
        output().print(line, markup=False, soft_wrap=True)
    output().print(chip_table(models))
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


def _opened(data: Path, exclude: str | None, version: str) -> StoredDataset:
    from gueststar.realbogus.stored import open_dataset

    dataset = open_dataset(data, exclude=comma_names(exclude), labels=version)
    warn_of_damage(dataset.damaged)
    return dataset
