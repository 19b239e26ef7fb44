"""Training sets from simulated and real frames, on all cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from gueststar import __version__
from gueststar.errors import GueststarError, InputError
from gueststar.ingest.prepare import Ingest, measure_image
from gueststar.memory import keep_freed_memory
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.labels import changes_table
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.writer import DatasetWriter
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.training.chains import Chain, chip_survey, vary_faults, worse_chain
from gueststar.training.passes import Origin, TrainingSet, labelled_pass
from gueststar.types import Image

__all__ = ["RealPair", "make_training_set", "real_pairs", "set_facts", "simulated_rows", "training_pieces"]

_SIMULATED, _REAL, _CHIP = 1, 2, 3  # first number of the key of each kind of random numbers


@dataclass(frozen=True, slots=True, eq=False)
class RealPair:
    """Two real frames of one field, the number of the pass, and whether an earlier pass had the same two."""

    field: str
    science: Image
    reference: Image
    number: int
    again: bool = False


def simulated_rows(options: TrainingSet, number: int) -> tuple[list[Dataset], list[str]]:
    """Simulate pair `number` and run all passes over it.

    Returns
    -------
    list of Dataset
        One for each pass that worked.
    list of str
        Why the others did not.
    """
    rng = np.random.default_rng((options.seed, _SIMULATED, number))
    survey, chip = _survey_of_chip(options, number)
    survey = vary_faults(survey, options.fault_factor, rng)
    pair = simulate_pair(survey, seed=int(rng.integers(2**63)), shape=options.shape, chip=chip)
    name = f"simulated-{options.seed}-{number}"
    origin = Origin(tile=name, night=name, reference=name, source="simulated")
    # Satellites, hot pixels and other faults change the image too, but they are artifacts.
    changes = np.isin(pair.truth["kind"], (*REAL_KINDS, "cosmic_ray"))
    truth = changes_table(pair.truth[changes])
    measured: dict[Ingest, tuple[Image, Image]] = {}
    made, failures = [], []
    for chain in (Chain(), *(worse_chain(rng) for _ in range(options.worse_passes))):
        try:
            if chain.ingest not in measured:
                measured[chain.ingest] = (
                    pair.science.image(ingest=chain.ingest),
                    pair.reference.image(ingest=chain.ingest),
                )
            frames = measured[chain.ingest]
            made.append(labelled_pass(options, *frames, truth, chain=chain, origin=origin, rng=rng))
        except GueststarError as error:
            failures.append(f"{type(error).__name__} with {chain.name}: {error}")
    return made, failures


def _survey_of_chip(options: TrainingSet, number: int) -> tuple[Survey, str]:
    """The survey as the chip of pair `number` sees it, and the name of the chip."""
    if not options.chips:
        return options.survey, "Q1-11"
    chip = options.chips[number % len(options.chips)]
    rng = np.random.default_rng((options.camera_seed, _CHIP, *chip.encode()))
    return chip_survey(options.survey, options.chip_factor, rng), chip


def real_pairs(
    images: Mapping[str, Sequence[Image]],
    options: TrainingSet,
    *,
    partners: Mapping[str, Sequence[Image]] | None = None,
) -> list[RealPair]:
    """Ordered pairs among the frames of each field, `options.real_passes` for each; used again when they run out.

    Parameters
    ----------
    images : mapping of str to sequence of Image
        Frames of each field.
    options : TrainingSet
    partners : mapping, optional
        Frames that may serve as references beside those of `images`, such as the training frames for held-out ones.

    Raises
    ------
    InputError
        When a field has a single frame and no partner.
    """
    found = []
    for place, (field, frames) in enumerate(sorted(images.items())):
        rng = np.random.default_rng((options.seed, _REAL, place))
        measured = [measure_image(frame) for frame in frames]
        others = measured + [measure_image(frame) for frame in (partners or {}).get(field, ())]
        pairs = [(a, b) for a in measured for b in others if a is not b]
        if not pairs:
            raise InputError(
                f"field {field!r} has {len(frames)} frame(s); two are needed to make a difference: add another frame",
                field=field,
            )
        order = np.concatenate([rng.permutation(len(pairs)) for _ in range(-(-options.real_passes // len(pairs)))])
        for number, index in enumerate(order[: options.real_passes]):
            found.append(RealPair(field, *pairs[int(index)], number, again=number >= len(pairs)))
    return found


def make_training_set(
    options: TrainingSet,
    folder: str | Path,
    *,
    real: Sequence[RealPair] = (),
    progress: Progress | None = None,
) -> Dataset:
    """Make a training set and write it.

    Parameters
    ----------
    options : TrainingSet
    folder : path
        New folder of the set.
    real : sequence of RealPair
        From `real_pairs`.
    progress : callable, optional
        Called with ('pairs', pairs done, pairs in all).

    Returns
    -------
    Dataset
        Memory-mapped from `folder`.

    Raises
    ------
    InputError
        When not a single candidate was found.
    OutputError
        When the folder holds a set already or cannot be written.
    """
    total = options.n_pairs + len(real)
    failures: list[str] = []
    with DatasetWriter(folder) as writer:
        for done, (pieces, wrong) in enumerate(training_pieces(options, real), start=1):
            for piece in pieces:
                writer.add(piece)
            failures += wrong
            if progress is not None:
                progress("pairs", done, total)
        writer.facts = set_facts(options, real, failures)
    return Dataset.load(folder)


def training_pieces(options: TrainingSet, real: Sequence[RealPair] = ()) -> Iterator[tuple[list[Dataset], list[str]]]:
    """Rows of each pair, and why passes of it failed: in order, the simulated pairs first.

    They come from this process, or from a pool of fresh ones (a forked torch may hang).
    """
    simulated, observed = partial(simulated_rows, options), partial(_real_rows, options)
    if options.workers == 1:
        yield from map(simulated, range(options.n_pairs))
        yield from map(observed, real)
        return
    with ProcessPoolExecutor(
        max_workers=options.workers, mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        yield from pool.map(simulated, range(options.n_pairs), chunksize=2)
        yield from pool.map(observed, real)


def _one_thread() -> None:
    """One pair per core: threads inside a pair gain nothing and would fight for the cores."""
    torch.set_num_threads(1)
    threadpool_limits(limits=1)
    keep_freed_memory()


def _real_rows(options: TrainingSet, pair: RealPair) -> tuple[list[Dataset], list[str]]:
    """One pass over a real pair; every third with a chain worse than the default."""
    rng = np.random.default_rng((options.seed, _REAL, *pair.field.encode(), pair.number))
    chain = worse_chain(rng) if pair.number % 3 == 2 and options.worse_passes else Chain()
    mjd = pair.science.mjd_mid
    origin = Origin(
        tile=pair.field,
        night=f"{pair.field} {mjd:.0f}" if np.isfinite(mjd) else pair.field,
        reference=pair.reference.image_id,
        source=pair.field,
    )
    try:
        rows = labelled_pass(
            options, pair.science, pair.reference, changes_table(), chain=chain, origin=origin, rng=rng
        )
    except GueststarError as error:
        return [], [f"{type(error).__name__} with {chain.name}: {error}"]
    # The same frames give the same artifacts again; they count once, or the intervals of a test would be too narrow.
    return [rows.select(rows.labels != 0) if pair.again and chain.name == "default" else rows], []


def set_facts(options: TrainingSet, real: Sequence[RealPair], failures: Sequence[str]) -> dict[str, Any]:
    """How a set was made, as plain values."""
    fields = {field: sum(pair.field == field for pair in real) for field in sorted({pair.field for pair in real})}
    return {
        "options": options.model_dump(mode="json"),
        "real_passes": fields,
        "failed_passes": len(failures),
        "failures": sorted({text[:200] for text in failures})[:20],
        "code_version": __version__,
    }
