"""Data sets from stamps of other surveys: the same steps for every format, piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar import __version__
from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.channels import PLANES, check_channels, checked_order, guess_channels, parse_order
from gueststar.realbogus.foreign import blank_candidates, normalise
from gueststar.realbogus.manifest import PARTS, SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.stored import StoredDataset, open_dataset

__all__ = ["ImportSet", "Piece", "write_pieces"]

_SAMPLE = 400  # stamps that the order of the planes is looked for in
_HOW = "give the right order with --order (auto takes what the pixels say), or insist with --no-check"


class ImportSet(Options):
    """How stamps of another survey are taken over."""

    order: str = Field(
        "", description="Planes as they lie in the files, as reference,science,difference; 'auto': told by the pixels"
    )
    check: bool = Field(True, description="Refuse stamps whose planes look like another order")
    keep_sky: bool = Field(False, description="The stamps are free of sky: leave them as they are")
    fwhm_px: float = Field(2.5, gt=0.5, le=30, description="PSF for the S/N of sets that do not give one, px")
    label: Literal[-1, 0, 1] = Field(-1, description="Label of rows that carry none: 1 real, 0 artifact, -1 neither")
    label_column: str = Field("weak_label", description="Column with the label in tables of triplets (format ztf)")
    split: tuple[float, float, float] | None = Field(
        (2.0, 1.0, 1.0), description="Sizes of train, validation and test; rows of one object stay together"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="Type of the stored pixels")
    rows_per_shard: int = Field(4096, ge=1, le=1_000_000, description="Most rows of a shard")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the split")

    @field_validator("order")
    @classmethod
    def _known(cls, value: str) -> str:
        return checked_order(value)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some rows of a foreign set.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        In the order of the files and in their units.
    columns : mapping of str to array
        What is known: ``label``, and whatever else; n values each, or one for all.
    turned : ndarray of bool, shape (n,), optional
        Rows whose difference is reference minus science; it is turned over. None: no row.
    """

    cube: NDArray[np.floating[Any]]
    columns: Mapping[str, Any]
    turned: NDArray[np.bool_] | None = None


def write_pieces(
    pieces: Iterable[Piece],
    out: str | Path,
    options: ImportSet,
    *,
    order: tuple[str, str, str],
    source: str,
    group_by: tuple[str, ...] = (),
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> StoredDataset:
    """Write a data set from pieces of another format.

    Parameters
    ----------
    pieces : iterable of Piece
    out : path
        New folder of the set.
    options : ImportSet
    order : (str, str, str)
        Planes of the files, when the options do not say it.
    source : str
        Value of the column of this name.
    group_by : tuple of str
        Columns whose values stay in one part of the split; none: rows are divided one by one.
    facts : mapping, optional
        More for the manifest.
    progress : callable, optional
        Called with the number of rows written.

    Raises
    ------
    InputError
        When stamps, labels or the order of the planes cannot be right.
    """
    rng = np.random.default_rng(options.seed)
    planes: tuple[str, ...] = parse_order(options.order) if options.order not in ("", "auto") else order
    writer = ShardWriter(out, dtype=options.dtype, rows_per_shard=options.rows_per_shard, group_by=group_by)
    sure, found = not options.check and options.order != "auto", ""
    waiting: list[Piece] = []
    with writer:
        for piece in _and_end(pieces):
            if piece is not None:
                _check_shape(piece.cube)
                waiting.append(piece)
            if not sure and (piece is None or sum(len(item.cube) for item in waiting) >= _SAMPLE):
                planes, found = _settle(waiting, planes, options)
                sure = True
            while sure and waiting:
                _write(writer, waiting.pop(0), planes, options, source=source, group_by=group_by, rng=rng)
                if progress is not None:
                    progress(writer.n)
        writer.provenance = {
            "made_by": "gueststar dataset import", "code_version": __version__, "source": source,
            "planes_in_files": list(planes), "planes_by_pixels": found, "options": options.model_dump(mode="json"),
            **dict(facts or {}),
        }  # fmt: skip
    return open_dataset(out)


def _and_end(pieces: Iterable[Piece]) -> Iterator[Piece | None]:
    yield from pieces
    yield None


def _check_shape(cube: NDArray[Any]) -> None:
    if cube.ndim != 4 or cube.shape[1] != 3 or cube.shape[2] != cube.shape[3]:
        raise InputError(f"stamps have shape {cube.shape}; expected (n, 3, k, k), three planes of k x k pixels")


def _settle(waiting: list[Piece], planes: tuple[str, ...], options: ImportSet) -> tuple[tuple[str, ...], str]:
    """Order of the planes, and what the pixels say of it."""
    if not waiting:
        return planes, ""
    sample = np.concatenate([piece.cube for piece in waiting])[:_SAMPLE]
    turned = np.concatenate(
        [np.zeros(len(piece.cube), bool) if piece.turned is None else piece.turned for piece in waiting]
    )[:_SAMPLE]
    if options.order == "auto":
        guess = guess_channels(sample, turned=turned)
        if guess.order is None:
            raise InputError(
                f"the order of the planes cannot be told by the pixels of {len(sample)} stamps ({guess.votes} show "
                "stars beside the centre); give it with --order"
            )
        return guess.order, ",".join(guess.order)
    guess = check_channels(sample, planes, turned=turned, how=_HOW)
    return planes, ",".join(guess.order) if guess.order is not None else "not to be told"


def _write(
    writer: ShardWriter,
    piece: Piece,
    planes: tuple[str, ...],
    options: ImportSet,
    *,
    source: str,
    group_by: tuple[str, ...],
    rng: np.random.Generator,
) -> None:
    n = len(piece.cube)
    cube = np.array(piece.cube[:, [planes.index(name) for name in PLANES]], np.float32)
    made = normalise(cube, fwhm_px=options.fwhm_px, keep_sky=options.keep_sky)
    if piece.turned is not None:
        # After the noise is measured, as when such stamps are scored: it is told by one side of the pixels.
        made.cube[piece.turned, 2] *= -1.0
        made.snr[piece.turned] *= -1.0
    columns: dict[str, Any] = blank_candidates(n) | {
        "snr": made.snr, "label": options.label, "kind": "", "true_snr": np.full(n, np.nan, np.float32), "tile": "",
        "night": "", "reference": "", "chain": "default", "source": source, "suspicion": "", "true_kind": "",
        **{name: made.sigma[:, i] for i, name in enumerate(SIGMA_COLUMNS)},
    }  # fmt: skip
    columns |= {name: values for name, values in piece.columns.items()}
    snr = np.asarray(columns["snr"], np.float32)
    columns["snr"] = np.where(np.isfinite(snr), snr, made.snr)
    columns["label"] = np.broadcast_to(np.asarray(columns["label"], np.int8), (n,))
    columns["split"] = _split(columns, n, options, group_by, rng)
    writer.add(made.cube, columns)


def _split(
    columns: Mapping[str, Any], n: int, options: ImportSet, group_by: tuple[str, ...], rng: np.random.Generator
) -> NDArray[np.str_]:
    """Part of each row, by chance; rows of one group by a hash of its name, which later pieces give again."""
    if options.split is None:
        return np.full(n, "")
    ends = np.cumsum(options.split) / np.sum(options.split)
    if group_by:
        names = np.broadcast_to(np.asarray(columns[group_by[0]]), (n,))
        chance = np.array([_fraction(f"{options.seed}\0{name}") for name in names.tolist()])
    else:
        chance = rng.random(n)
    return np.asarray(PARTS)[np.searchsorted(ends[:-1], chance, side="right")]


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2.0**56
