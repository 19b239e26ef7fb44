"""`gueststar train`: a real/bogus model from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gueststar.cli.common import Gain, Instrument, Quiet, errors, output, resolve_options

if TYPE_CHECKING:
    from rich.table import Table

    from gueststar.realbogus.card import Card
    from gueststar.training import Training
    from gueststar.types import Image

__all__ = ["load_frames", "train"]

_WORDS = {
    "pairs": "frames processed",
    "held-out pairs": "held-out frames processed",
    "train": "training",
    "folds": "training of the folds",
    "fallback": "training of the fallback",
    "chips": "chips done",
}


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
    quiet: Quiet = False,
) -> None:
    """Make a training set, train a real/bogus model on it, and measure it.

    With --data a data set that exists is trained on, as it is divided. Else
    simulated pairs of frames, and real ones where given, get artificial reals
    before the subtraction. A folder of real frames is read as `gueststar run`
    reads it; a file instrument.toml in it is its instrument profile.

    \b
    gueststar train --out my_model
    gueststar train --out my_model --pairs 400 --real FRAMES --seed 1
    gueststar train --out my_model --data my_set --exclude bright_star,flagged
    gueststar train --out my_model --data my_set --labels coteach
    gueststar train --out braai --data my_set --network braai
    gueststar train --out my_model --data my_set --shared
    gueststar train --out my_models --data my_set --per chip --workers 4
    gueststar train --out other --data ztf_set --finetune my_model --set finetune.rows=500
    gueststar pair science.fits reference.fits --out pair --set classify.model=my_model
    """  # noqa: D301
    from gueststar.night.pool import available_cores
    from gueststar.training import Training, make_and_train

    given = {
        "data.n_pairs": pairs, "data.seed": seed, "train.seed": seed, "train.epochs": epochs, "train.device": device,
        "label_noise.method": labels, "train.network": network, "train.chips": "film" if shared else None,
        "data.workers": available_cores() if workers in (None, 0) else workers,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = resolve_options(Training, config, [*overrides, *(set_ or ())])
    _check_chips(data, per=per, shared=shared, finetune=finetune, fallback=fallback)
    if data is not None or exclude is not None:
        _refuse_both(data, pairs=pairs, real=real, held_out=held_out)
        if per is not None:
            _train_per_chip(
                data or Path(), out, options, exclude, base=finetune, fallback=fallback, workers=workers, quiet=quiet
            )  # fmt: skip
            return
        card = _train_on_set(data or Path(), out, options, exclude, base=finetune, quiet=quiet)
        if not quiet:
            _print_card(card, out)
        return
    with _bars(quiet=quiet) as progress:
        frames, tests = (load_frames(folders, instrument, gain, progress) for folders in (real, held_out))
        card = make_and_train(options, out, real_images=frames, held_out_images=tests, progress=progress)
    if not quiet:
        _print_card(card, out)


def _refuse_both(data: Path | None, **given: object) -> None:
    from gueststar.errors import ConfigError

    if data is None:
        raise ConfigError("--exclude leaves out rows of a data set; give one with --data", key="exclude")
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if names:
        raise ConfigError(f"--data trains on what is there; {names[0]} makes a set: give one of both", key="data")


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
    quiet: bool,
) -> None:
    """Train a set of models on several processes, of one thread each."""
    from gueststar.cli.model_sets import chip_table, set_lines
    from gueststar.night.pool import ProcessMap, available_cores
    from gueststar.training.per_chip import lost_chip, train_per_chip

    # One GPU does not become quicker by sharing it.
    n = workers or (1 if options.train.device.startswith("cuda") else available_cores())
    reasons = [name.strip() for name in (exclude or "").split(",") if name.strip()]
    with _bars(quiet=quiet) as progress, ProcessMap(n, lost=lost_chip) as pool:
        models = train_per_chip(
            options, data, out, exclude=reasons, base=base, fallback=fallback, mapper=pool if n > 1 else map,
            progress=progress,
        )  # fmt: skip
    if quiet:
        return
    for line in set_lines(models):
        output().print(line, markup=False, soft_wrap=True)
    output().print(chip_table(models))
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


def _train_on_set(
    data: Path, out: Path, options: Training, exclude: str | None, *, base: str | None, quiet: bool
) -> Card:
    from gueststar.realbogus.stored import open_dataset
    from gueststar.training import train_stored

    reasons = [name.strip() for name in (exclude or "").split(",") if name.strip()]
    dataset = open_dataset(data, exclude=reasons)
    for item in dataset.damaged:
        text = f"shard {item.shard} is skipped, {item.rows} rows: {item.reason}"
        errors().print(text, style="yellow", markup=False, soft_wrap=True)
    with _bars(quiet=quiet) as progress:
        return train_stored(options, dataset, out, base=base, progress=progress)


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
    ]
    for line in lines:
        output().print(line, markup=False, soft_wrap=True)
    output().print(_measured(card.metrics))
    output().print(
        f"All figures are in {out / 'card.json'}; the curve is {out / 'roc.png'}", markup=False, soft_wrap=True
    )
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


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


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    if quiet:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=errors()) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(_WORDS.get(stage, stage))
            bar.update(tasks[stage], completed=done, total=total)

        yield show
