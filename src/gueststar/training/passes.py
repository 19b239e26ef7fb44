"""One pass of the chain over one pair of frames: artificial reals go in, labelled stamps come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator

from gueststar.align.register import Registration, register
from gueststar.errors import QualityError
from gueststar.options import Options
from gueststar.pipeline import PairResult, process_pair
from gueststar.quality import Quality
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.labels import changes_table, label_candidates
from gueststar.simulate.inject import Injected, draw_artificial_reals, inject
from gueststar.simulate.survey import Survey
from gueststar.stamps import CutStamps
from gueststar.training.chains import Chain, training_survey
from gueststar.types import Candidates, Image, Stamps

__all__ = ["Origin", "TrainingSet", "labelled_pass", "labelled_rows"]

Pair = tuple[float, float]


def _ordered(value: Pair) -> Pair:
    if not 3.0 <= value[0] < value[1] <= 1e5:
        raise ValueError("a range (low, high) with 3 <= low < high is needed")
    return value


class TrainingSet(Options):
    """What a training set is made of."""

    n_pairs: int = Field(300, ge=0, le=1_000_000, description="Simulated pairs of frames, each of another field")
    shape: tuple[int, int] = Field((768, 768), description="(ny, nx) of the simulated frames, px")
    survey: Survey = Field(default_factory=training_survey, description="What the simulated survey is like")
    fault_factor: float = Field(3.0, ge=1, le=100, description="Faults are weaker or stronger by up to this per pair")
    worse_passes: int = Field(2, ge=0, le=100, description="Passes over each pair with a chain worse than the default")
    injected: int = Field(30, ge=0, le=10000, description="Artificial reals put into the frames in each pass")
    injected_snr: Annotated[Pair, AfterValidator(_ordered)] = Field(
        (5.0, 100.0), description="Signal to noise of artificial reals in their frame, log-uniform"
    )
    faded_share: float = Field(
        0.2, ge=0, le=1, description="Share of them put into the reference, where they look like faded sources"
    )
    artifacts_most: int = Field(
        200, ge=1, le=1_000_000, description="Artifacts kept of one pass, drawn at random; so that no frame dominates"
    )
    chips: tuple[str, ...] = Field(
        (), description="Chips to which the simulated pairs are dealt in turn; none: all are of one that is not named"
    )
    chip_factor: float = Field(
        2.0, ge=1, le=100, description="Faults of a chip are weaker or stronger by up to this in all its pairs"
    )
    camera_seed: int = Field(0, ge=0, description="Of what stays with each chip; sets of one camera have the same")
    stamp_size: int = Field(41, ge=31, le=255, description="Stored width of a stamp, px, odd")
    real_passes: int = Field(60, ge=0, le=100000, description="Passes over pairs of real frames, for each field")
    seed: int = Field(0, ge=0, description="Of everything that is drawn")
    workers: int = Field(1, ge=1, le=1024, description="Processes")

    @field_validator("survey", mode="before")
    @classmethod
    def _some_fields(cls, value: Any) -> Any:
        """Fields of the survey that a file or the command line leaves out are those of the training survey."""
        return {**training_survey().model_dump(), **value} if isinstance(value, Mapping) else value


class Origin(Options):
    """Where a pair comes from: the values of the group columns of its rows."""

    tile: str = Field(description="Part of the sky")
    night: str = Field(description="Night of the science frame")
    reference: str = Field(description="The reference frame")
    source: str = Field(description="'simulated' or the name of a real field")


def labelled_pass(
    options: TrainingSet,
    science: Image,
    reference: Image,
    truth: Table,
    *,
    chain: Chain,
    origin: Origin,
    rng: np.random.Generator,
) -> Dataset:
    """Inject artificial reals, run the chain up to the stamps, label what it finds.

    Parameters
    ----------
    options : TrainingSet
    science, reference : Image
        With psf and stars measured.
    truth : Table
        What is known to have changed, see `gueststar.realbogus.labels.changes_table`; empty for real frames.
    chain : Chain
    origin : Origin
    rng : Generator

    Raises
    ------
    GueststarError
        When the pair cannot be processed; `QualityError` when it fails a gate of the chain.
    """
    n_faded = int(rng.binomial(options.injected, options.faded_share))
    appeared, new_science = _inject(options, science, options.injected - n_faded, rng)
    faded, old_reference = _inject(options, reference, n_faded, rng)
    appeared["kind"], faded["kind"] = "injected", "faded"
    return labelled_rows(
        options,
        Injected(new_science, appeared),
        Injected(old_reference, faded),
        truth,
        before=(science, reference),
        chain=chain,
        origin=origin,
        rng=rng,
    )


def labelled_rows(
    options: TrainingSet,
    appeared: Injected,
    faded: Injected,
    truth: Table,
    *,
    before: tuple[Image, Image],
    chain: Chain,
    origin: Origin,
    rng: np.random.Generator,
) -> Dataset:
    """Run the chain up to the stamps on frames that have their sources, label what it finds.

    Parameters
    ----------
    options : TrainingSet
    appeared, faded : Injected
        The science and the reference frame, and what was put into each: x, y (px), flux_e (e-) and kind.
    truth, chain, origin, rng
        As for `labelled_pass`.
    before : (Image, Image)
        Science and reference without these sources: places are carried over from one to the other by these.

    Raises
    ------
    GueststarError
        As `labelled_pass`.
    """
    result = process_pair(
        appeared.image,
        faded.image,
        align=chain.align,
        subtract=chain.subtract,
        detect=chain.detect,
        cut=CutStamps(size=options.stamp_size),
        classify=_unscored,
        quality=chain.quality,
    )
    if not result.quality.passed:
        raise QualityError(f"the image trains nothing: {result.quality.reason}")
    new, old = appeared.sources.copy(), faded.sources
    new["change_e"] = new["flux_e"]
    changes = changes_table(truth, new, _on_science(old, *before, chain, result))
    labels = label_candidates(result.candidates, changes, fwhm=result.difference.psf.fwhm)
    # What a chain that is worse on purpose was allowed to leave is still what a night would refuse.
    refused = "" if Quality().judged(result.quality.numbers).passed else "failed_image"
    rows = {
        "label": labels.label, "kind": labels.kind, "true_snr": labels.true_snr, "chain": chain.name,
        "suspicion": refused,
    }  # fmt: skip
    found = Dataset.from_candidates(result.candidates, result.stamps, rows | origin.model_dump())
    artifacts = rng.permutation(np.flatnonzero(labels.label == 0))
    return found.select(np.sort(np.setdiff1d(np.arange(len(found)), artifacts[options.artifacts_most :])))


def _unscored(candidates: Candidates, stamps: Stamps) -> Candidates:
    return candidates


def _inject(options: TrainingSet, image: Image, n: int, rng: np.random.Generator) -> tuple[Table, Image]:
    """Put `n` artificial reals into an image: most anywhere or on galaxies, some beside stars."""
    n_star = int(rng.binomial(n, 0.25))
    low, high = options.injected_snr
    mixed = draw_artificial_reals(image, n - n_star, rng=rng, snr=(low, high), placement="mixed")
    beside = draw_artificial_reals(image, n_star, rng=rng, snr=(low, high), placement="star")
    drawn = vstack([mixed, beside], metadata_conflicts="silent")
    done = inject(image, drawn, rng=rng)
    return done.sources[done.sources["status"] == "injected"], done.image


def _on_science(faded: Table, science: Image, reference: Image, chain: Chain, result: PairResult) -> Table:
    """Positions and signed fluxes on the science frame of sources put into the reference."""
    if len(faded) == 0:
        return faded
    found = register(
        science,
        reference,
        use_wcs=chain.align.use_wcs,
        order=chain.align.order,
        search_px=chain.align.search_px,
        minimum_stars=chain.align.minimum_stars,
    )
    places = _inverted(found, np.stack([faded["x"], faded["y"]], axis=1).astype(np.float64))
    moved = faded.copy()
    moved["x"], moved["y"] = places[:, 0], places[:, 1]
    moved["change_e"] = -np.asarray(faded["flux_e"]) * _flux_ratio(result)
    return moved


def _inverted(found: Registration, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Science positions of reference positions; the map is close to a shift, rotation and scale, so Newton is quick."""
    points = places.copy()
    origin, step = np.zeros((1, 2)), 100.0
    axes = [(found(origin + np.eye(2)[i] * step) - found(origin))[0] / step for i in range(2)]
    inverse = np.linalg.inv(np.stack(axes, axis=1))
    for _ in range(8):
        points += (places - found(points)) @ inverse.T
    return points


def _flux_ratio(result: PairResult) -> float:
    """Science over reference flux of one source, from the matching kernel."""
    ratio = float(result.difference.facts.get("kernel_sum") or 1.0)
    return 1.0 / ratio if result.difference.facts.get("convolved") == "science" else ratio
