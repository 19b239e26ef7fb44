"""Data sets from nothing: simulated pairs of frames through the whole chain, with artificial reals in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.manifest import PARTS, SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.training.make import real_pairs, set_facts, training_pieces
from gueststar.training.passes import TrainingSet
from gueststar.types import Image

__all__ = ["SimulateSet", "SimulatedPairs", "parts_in_turn", "simulate_dataset"]


class SimulatedPairs(TrainingSet):
    """A training set whose stamps are wide enough for any network."""

    stamp_size: int = Field(63, ge=31, le=255, description="Stored width of a stamp, px, odd")


class SimulateSet(Options):
    """What is simulated, and how it is divided."""

    pairs: SimulatedPairs = Field(
        default_factory=SimulatedPairs, description="The pairs of frames and the passes over them"
    )
    split: tuple[float, float, float] = Field((2.0, 1.0, 1.0), description="Sizes of train, validation and test")
    dtype: Literal["float16", "float32"] = Field("float16", description="Type of the stored pixels")
    rows_per_shard: int = Field(4096, ge=1, le=1_000_000, description="Most rows of a shard")

    @field_validator("split")
    @classmethod
    def _sizes(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or sum(value) <= 0:
            raise ValueError("three sizes are needed, none negative, not all 0; 0:0:1 makes a test set")
        return value


def simulate_dataset(
    out: str | Path,
    options: SimulateSet | None = None,
    *,
    real_images: Mapping[str, Sequence[Image]] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> StoredDataset:
    """Make a data set from simulated pairs; memory does not grow with the stamps.

    Every pair has its own sky, night and reference, so that any two parts of the split share nothing but the camera.
    Reals are put in before the subtraction: transients, movers and variables with the true point-spread function,
    artificial reals with the measured one. Artifacts are whatever else the chain finds; passes with worse settings than
    the default (column ``chain``) find more of them.

    Parameters
    ----------
    out : path
        New folder of the set.
    options : SimulateSet, optional
    real_images : mapping of str to sequence of Image, optional
        Prepared frames of each real field. A field is one tile and cannot be on two sides: it goes to the first part
        that is wanted.
    progress : callable, optional
        Called as progress('pairs', done, total).

    Returns
    -------
    StoredDataset

    Raises
    ------
    InputError
        When not a single candidate was found.
    OutputError
        When `out` holds a set already or cannot be written.
    """
    options = options or SimulateSet()
    pairs = options.pairs
    if pairs.n_pairs < 1:
        raise InputError("pairs.n_pairs = 0: a simulated set needs at least one pair of frames", key="pairs.n_pairs")
    chips = max(len(pairs.chips), 1)
    real = real_pairs(real_images, pairs) if real_images else []
    part = parts_in_turn(-(-pairs.n_pairs // chips), options.split)
    failures: list[str] = []
    with ShardWriter(out, dtype=options.dtype, rows_per_shard=options.rows_per_shard) as writer:
        for number, (pieces, wrong) in enumerate(training_pieces(pairs, real)):
            simulated = number < pairs.n_pairs
            chip = pairs.chips[number % chips] if simulated and pairs.chips else ""
            for piece in pieces:
                _add(writer, piece, chip=chip, part=PARTS[part[number // chips if simulated else 0]])
            failures += wrong
            if progress is not None:
                progress("pairs", number + 1, pairs.n_pairs + len(real))
        writer.provenance = {
            "made_by": "gueststar dataset simulate", **set_facts(pairs, real, failures), "split": list(options.split)
        }  # fmt: skip
    return open_dataset(out)


def parts_in_turn(n: int, sizes: tuple[float, float, float]) -> NDArray[np.int64]:
    """Deal n things to parts in turn, each to the part that lacks most; shape (n,), numbers of the parts.

    The first n of a longer deal are the same, so that a set that is made larger keeps its parts.
    """
    wanted = np.asarray(sizes, np.float64) / np.sum(sizes)
    filled, dealt = np.zeros(3), np.empty(n, np.int64)
    for i in range(n):
        dealt[i] = int(np.argmax(wanted * (i + 1) - filled))
        filled[dealt[i]] += 1
    return dealt


def _add(writer: ShardWriter, piece: Dataset, *, chip: str, part: str) -> None:
    """Append the rows of one pass."""
    sigma = {name: piece.sigma[:, i] for i, name in enumerate(SIGMA_COLUMNS)}
    real = piece.labels == 1
    more = {
        "split": part, "chip": chip, "true_kind": np.where(real, piece["kind"].astype("U16"), ""),
        "image": piece["tile"],
    }  # fmt: skip
    writer.add(np.asarray(piece.cube), {**piece.columns, **sigma, **more})
