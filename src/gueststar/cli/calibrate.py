"""`gueststar calibrate`: a new version of a model whose scores are chances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from gueststar.cli.common import Quiet, Seed, output
from gueststar.cli.model_options import JudgedOn, LabelledSet, NewModel, NewVersion

if TYPE_CHECKING:
    from gueststar.realbogus.calibrate import CalibrationError
    from gueststar.realbogus.loaded import Views

__all__ = ["calibrate"]


def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, a store of models, or shipped.")],
    data: LabelledSet,
    out: NewModel,
    part: Annotated[
        str, typer.Option("--part", metavar="NAME", help="Fitted on: validation, test, train or all.")
    ] = "validation",
    check: JudgedOn = None,
    prior: Annotated[
        float | None,
        typer.Option("--prior", metavar="SHARE", help="Share of reals that scores hold for, such as 0.001."),
    ] = None,
    population: Annotated[
        str | None, typer.Option("--population", metavar="NAME", help="snr or class. [default: the card's, else snr]")
    ] = None,
    temperature_only: Annotated[bool, typer.Option("--temperature-only", help="Fit no offset.")] = False,
    views: Annotated[
        int | None,
        typer.Option("--views", metavar="N", help="Looks at what may be real: 1, 2, 4 or 8. [default: as before]"),
    ] = None,
    version: NewVersion = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Calibrate a model on rows it was not trained on.

    Temperature and offset of the logit are fitted by likelihood, and judged on
    other nights. The new model has the same weights, takes the same decisions,
    and another version. --prior says for which share of reals among the
    candidates a score is a chance. reliability.png shows before and after.
    With --views it looks another number of times, and the threshold is chosen
    anew: it keeps 98 % of the reals that are fitted on.

    \b
    gueststar calibrate my_model --data my_set --out my_model_calibrated
    gueststar calibrate my_model --data my_set --part test --prior 0.001 --out my_model_nightly
    """  # noqa: D301
    from gueststar.errors import ConfigError
    from gueststar.realbogus.card import read_model, trainable_bytes, write_model
    from gueststar.realbogus.loaded import load_model
    from gueststar.realbogus.recalibrate import calibrate_model
    from gueststar.realbogus.reliability_figure import reliability_figure
    from gueststar.realbogus.stored import open_dataset

    if views not in (None, 1, 2, 4, 8):
        raise ConfigError(f"--views {views}: 1, 2, 4 or 8", key="views", value=views)
    _, weights = read_model(model)
    made = calibrate_model(
        load_model(model), open_dataset(data), part=part, check=check, prior=prior, population=population,
        bias=not temperature_only, views=cast("Views | None", views), version=version, seed=seed,
    )  # fmt: skip
    write_model(out, made.card, weights, trainable=trainable_bytes(model))
    reliability_figure(made).savefig(out / "reliability.png", dpi=120)
    if quiet:
        return
    card = made.card
    lines = [
        f"Model {card.name} {card.version} in {out}: temperature {card.temperature:.4f}, offset {card.bias:+.4f}, "
        f"prior {card.prior:g}",
        f"fitted on: {card.calibration['fitted']}",
        f"calibration error before {_error(made.before)}",
        f"calibration error after  {_error(made.after)}, {made.after.n} rows of {made.after.images} images",
        f"at a prior of {card.prior:g}: {_error(made.at_prior)}" if card.prior != 0.5 else "",
        f"looks {card.views} times at what may be real" if card.views != made.old.views else "",
        f"threshold {made.old.threshold:.4f} is now {card.threshold:.4g}, "
        + ("with the same decisions" if card.views == made.old.views else card.threshold_meaning),
        f"score: {card.score_meaning}",
    ]
    for line in filter(None, lines):
        output().print(line, markup=False, soft_wrap=True)


def _error(error: CalibrationError) -> str:
    return f"{error.ece:.4g} (95 %: {error.low:.4g} to {error.high:.4g})"
