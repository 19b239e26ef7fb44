"""`gueststar dataset simulate`: a data set from simulated pairs of frames."""

from __future__ import annotations

from typing import Annotated

import typer

from gueststar.cli.common import (
    OptionsFile,
    OutFolder,
    Quiet,
    SeedOrDefault,
    Workers,
    comma_names,
    errors,
    override_list,
    resolve_options,
    set_option,
    stage_bars,
)
from gueststar.cli.dataset.options import SplitSizes, sizes
from gueststar.cli.dataset.shown import print_dataset
from gueststar.cli.real_frames import RealFrames, load_frames

__all__ = ["simulate"]


def simulate(
    out: OutFolder,
    pairs: Annotated[
        int | None, typer.Option("--pairs", metavar="N", help="Simulated pairs of frames, each of another field.")
    ] = None,
    chips: Annotated[
        str | None,
        typer.Option("--chips", metavar="LIST", help="Chips of Tomo-e Gozen to which pairs are dealt in turn; or all."),
    ] = None,
    split: SplitSizes = None,
    seed: SeedOrDefault = None,
    real: RealFrames = None,
    config: OptionsFile = None,
    set_: Annotated[list[str] | None, set_option("pairs.worse_passes=4")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Make a data set from simulated pairs of frames.

    Artificial reals and simulated transients go in before the subtraction;
    artifacts are what else is found, by the chain as it is and by chains with
    worse settings, which find more. With --chips each chip has faults of its
    own. --split 0:0:1 makes a test set. A folder of real frames (--real) is
    read as `gueststar run` reads it; a file instrument.toml in it is its
    instrument profile.

    \b
    gueststar dataset simulate --out my_set --pairs 400
    gueststar dataset simulate --out chips_set --pairs 840 --chips all --seed 2
    gueststar dataset simulate --out test_set --pairs 200 --split 0:0:1 --seed 3
    """  # noqa: D301
    from gueststar.datasets.simulated import SimulateSet, simulate_dataset
    from gueststar.instruments import load_instrument
    from gueststar.night.pool import available_cores

    names = load_instrument("tomoe").chips if chips == "all" else comma_names(chips)
    given = {
        "pairs.n_pairs": pairs, "pairs.seed": seed, "split": sizes(split), "pairs.chips": list(names) or None,
        "pairs.workers": workers or available_cores(),
    }  # fmt: skip
    options = resolve_options(SimulateSet, config, override_list(given, set_))
    with stage_bars({"pairs": "pairs of frames"}, quiet=quiet) as progress:
        frames = load_frames(real, None, None, progress)
        made = simulate_dataset(out, options, real_images=frames, progress=progress)
    if not quiet:
        for text in made.facts.get("failures", ()):
            errors().print(f"a pass failed: {text}", style="yellow", markup=False, soft_wrap=True)
        print_dataset(made)
