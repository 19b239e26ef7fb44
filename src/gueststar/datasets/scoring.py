"""Scores of stamps in files: read piece by piece, checked, brought to what a model takes, scored, written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar.datasets.score_tables import SCHEMA, open_table
from gueststar.datasets.stamp_sources import StampPiece, StampSource, open_source
from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.batches import REASONS, BatchScorer, why_unscored
from gueststar.realbogus.borders import border_noise
from gueststar.realbogus.channels import PLANES, check_channels, checked_order, guess_channels, parse_order
from gueststar.realbogus.chips.routing import chip_note
from gueststar.realbogus.foreign import matched_snr
from gueststar.realbogus.runtime import Runtime
from gueststar.realbogus.scalars import scalars_of
from gueststar.realbogus.score import LoadedModel, load_model, model_of_chip

__all__ = ["PreparedPiece", "ScoreFiles", "ScoreSummary", "prepared_pieces", "score_files"]

_SAMPLE = 400  # stamps that the order of the planes is looked for in
_HOW = "give the right order with --channels (auto takes what the pixels say); whatever is given there is not checked"


class ScoreFiles(Options):
    """How stamps in files are scored."""

    channels: str = Field("", description="Planes as they lie in the files; 'auto': told by the pixels; empty: checked")
    batch_size: int = Field(64, ge=1, le=65536, description="Stamps scored at once")
    threads: int = Field(1, ge=1, le=256, description="Threads of the scoring")
    prior: float | None = Field(None, gt=0, lt=1, description="Share of reals that scores hold for; None: the card's")
    runtime: Runtime = Field("onnxruntime", description="What runs the network: onnxruntime or openvino")
    sigma: tuple[float, float, float] | None = Field(
        None, description="Noise of science, reference and difference in the units of the files; None: measured"
    )
    chip: str = Field("", description="Chip that stamps come from whose file does not tell it")
    keep_sky: bool = Field(False, description="The stamps are free of sky: leave them as they are")
    fwhm_px: float = Field(2.5, gt=0.5, le=30, description="PSF for the S/N of files that do not give one, px")

    @field_validator("channels")
    @classmethod
    def _known(cls, value: str) -> str:
        return checked_order(value)

    @field_validator("sigma")
    @classmethod
    def _positive(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not all(0 < item < float("inf") for item in value):
            raise ValueError("expected three positive numbers: of science, reference and difference")
        return value


@dataclass(slots=True)
class ScoreSummary:
    """What was scored.

    Parameters
    ----------
    model, model_hash : str
    threshold : float
    n, real : int
        Stamps, and those of them at or above the threshold.
    unscored : dict of str to int
        Stamps without a score, by reason.
    planes : dict of str to str
        Of each file: how its planes were taken, and what the pixels say.
    noise : dict of str to str
        Of each file: where the noise comes from.
    models : dict of str to int
        With a set of models: stamps that each of them scored, by name and version.
    """

    model: str
    model_hash: str
    threshold: float
    n: int = 0
    real: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    planes: dict[str, str] = field(default_factory=dict)
    noise: dict[str, str] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)


def score_files(
    files: Sequence[str | Path],
    out: str | Path,
    options: ScoreFiles | None = None,
    *,
    model: str | Path = "shipped",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> ScoreSummary:
    """Score the stamps of files and write a table.

    Parameters
    ----------
    files : sequence of path
        As `gueststar.datasets.stamp_sources.open_source` takes them.
    out : path
        Table to write: ``.parquet``, ``.csv`` or ``.json``.
    options : ScoreFiles, optional
    model : str or path
        'shipped', a model folder, a set of models, or a store of models.
    overwrite : bool
        Replace a table that is there.
    progress : callable, optional
        Called with the stamps done and all there are, as far as known.
    tell : callable, optional
        Called with sentences that a user should see.

    Raises
    ------
    InputError
        When a file cannot be read, its stamps are too small, or their planes are plainly in another order.
    ModelError
        When the model is missing or damaged.
    OutputError
        When the table cannot be written; nothing is left of it then.
    """
    options = options or ScoreFiles()
    loaded = load_model(model, threads=options.threads, runtime=options.runtime, prior=options.prior)
    card = loaded.card
    sources = [open_source(path, scalars=[item.name for item in card.scalars]) for path in files]
    known = sum(source.n or 0 for source in sources)
    summary = ScoreSummary(f"{card.name} {card.version}", card.weights_hash[:16], card.threshold)
    if loaded.members is not None:
        models = loaded.members.models
        summary.model, summary.model_hash = f"{models.name} {models.version}", loaded.members.digest[:16]
    notes = _Notes(loaded, tell)
    scorer = BatchScorer(loaded, batch_size=options.batch_size, tell=tell)
    with open_table(out, overwrite=overwrite) as table:
        for source in sources:
            if tell is not None:
                for text in source.warnings:
                    tell(text)
            for rows in _scored(source, scorer, options, summary, notes):
                table.write(rows)
                summary.n += len(rows)
                if progress is not None:
                    progress(summary.n, max(known, summary.n))
    return summary


class _Notes:
    """Tells of each chip once that the model does not know it."""

    def __init__(self, model: LoadedModel, tell: Callable[[str], None] | None) -> None:
        self.model, self.tell = model, tell
        self.seen: set[str] = set()

    def __call__(self, chips: NDArray[np.str_]) -> None:
        new = sorted(set(np.unique(chips).tolist()) - self.seen)
        self.seen.update(new)
        note = chip_note(new, known=self.model.card.chips, members=self.model.members)
        if note and self.tell is not None:
            self.tell(note)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPiece:
    """Some stamps of a source, as a model takes them.

    Parameters
    ----------
    piece : StampPiece
        As they were read.
    cube : ndarray, shape (n, 3, size, size), float32
        Science, reference, difference as wide as the model sees, free of sky.
    sigma : ndarray, shape (n, 3), float32
    scalars : ndarray, shape (n, m), float32
    chips : ndarray of str, shape (n,)
        Empty where not known.
    planes, noise : str
        How the planes were taken, and where the noise comes from.
    """

    piece: StampPiece
    cube: NDArray[np.float32]
    sigma: NDArray[np.float32]
    scalars: NDArray[np.float32]
    chips: NDArray[np.str_]
    planes: str
    noise: str


def prepared_pieces(source: StampSource, model: LoadedModel, options: ScoreFiles) -> Iterator[PreparedPiece]:
    """Bring the stamps of a source to what a model takes, piece by piece.

    Parameters
    ----------
    source : StampSource
    model : LoadedModel
    options : ScoreFiles

    Raises
    ------
    InputError
        When stamps are too small, or their planes are plainly in another order.
    """
    order: tuple[str, ...] | None = None
    told = ""
    for piece in source.pieces():
        if order is None:
            _check_size(piece.cube, source.path, model)
            order, told = _settle(piece, source, options)
        cube, sigma, scalars = _prepared(piece, order, model, options)
        chips = np.full(len(cube), options.chip) if piece.chips is None else piece.chips
        chips = np.where(chips == "", options.chip, chips)
        yield PreparedPiece(piece, cube, sigma, scalars, chips, told, _noise_source(piece, options))


def _scored(
    source: StampSource, scorer: BatchScorer, options: ScoreFiles, summary: ScoreSummary, notes: _Notes
) -> Iterator[pa.Table]:
    for made in prepared_pieces(source, scorer.model, options):
        piece, cube, sigma, scalars, chips = made.piece, made.cube, made.sigma, made.scalars, made.chips
        summary.planes[str(source.path)], summary.noise[str(source.path)] = made.planes, made.noise
        notes(chips)
        scores = scorer(cube, sigma, scalars, chips=chips)
        codes = why_unscored(cube, sigma, size=scorer.model.card.stamp_size)
        for code, count in zip(*np.unique(codes[codes > 0], return_counts=True), strict=True):
            summary.unscored[REASONS[code]] = summary.unscored.get(REASONS[code], 0) + int(count)
        missing = 1.0 - np.isfinite(cube).mean(axis=(1, 2, 3))
        used = _models_of(scorer.model, chips)
        rows = _rows(str(source.path), piece.ids, scores, codes, missing, used)
        summary.real += int((scores >= used.threshold).sum())
        if scorer.model.members is not None:
            for name, count in zip(*np.unique(used.name, return_counts=True), strict=True):
                summary.models[str(name)] = summary.models.get(str(name), 0) + int(count)
        yield rows


@dataclass(frozen=True, slots=True, eq=False)
class _Used:
    """Name, hash and threshold of the model of each stamp, shape (n,)."""

    name: NDArray[np.str_]
    digest: NDArray[np.str_]
    threshold: NDArray[np.float32]


def _models_of(model: LoadedModel, chips: NDArray[np.str_]) -> _Used:
    there, inverse = np.unique(chips, return_inverse=True)
    cards = [model_of_chip(model, str(chip)).card for chip in there]
    which = inverse.reshape(-1)
    return _Used(
        np.array([f"{card.name} {card.version}" for card in cards], np.str_)[which],
        np.array([card.weights_hash[:16] for card in cards], np.str_)[which],
        np.array([card.threshold for card in cards], np.float32)[which],
    )


def _check_size(cube: NDArray[Any], path: Path, model: LoadedModel) -> None:
    k, size = cube.shape[-1], model.card.stamp_size
    if k < size or k % 2 == 0:
        fault = f"smaller than the {size} px that it sees" if k < size else "even, so they have no central pixel"
        raise InputError(
            f"{path}: stamps of {k} px do not fit model {model.card.name!r}: {fault}; cut them with an odd width of "
            f"{size} px or more, around the candidate",
            path=str(path),
            width=k,
        )


def _settle(piece: StampPiece, source: StampSource, options: ScoreFiles) -> tuple[tuple[str, ...], str]:
    """Order of the planes, and how it was found."""
    if options.channels not in ("", "auto"):
        order = parse_order(options.channels)
        return order, f"{','.join(order)}, as told"
    if source.known_planes:
        return PLANES, f"{','.join(PLANES)}, as data sets are"
    sample = np.asarray(piece.cube[:_SAMPLE], np.float32)
    turned = None if piece.turned is None else piece.turned[:_SAMPLE]
    if options.channels == "auto":
        found = guess_channels(sample, turned=turned).order
        if found is None:
            raise InputError(
                f"{source.path}: the order of the planes cannot be told by the pixels of {len(sample)} stamps; give it "
                "with --channels",
                path=str(source.path),
            )
        return found, f"{','.join(found)}, by the pixels"
    try:
        guess = check_channels(sample, PLANES, turned=turned, how=_HOW)
    except InputError as error:
        raise InputError(f"{source.path}: {error.message}", path=str(source.path), **_others(error)) from None
    seen = "and so say the pixels" if guess.order == PLANES else "the pixels do not tell"
    return PLANES, f"{','.join(PLANES)}, {seen}"


def _others(error: InputError) -> dict[str, Any]:
    return {key: value for key, value in error.facts.items() if key != "path"}


def _noise_source(piece: StampPiece, options: ScoreFiles) -> str:
    if options.sigma is not None:
        return "as told"
    return "from the file" if piece.sigma is not None else "measured in the borders of the stamps"


def _prepared(
    piece: StampPiece, order: tuple[str, ...], model: LoadedModel, options: ScoreFiles
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Centres as the model sees them, noise of their planes, and measured numbers."""
    n, size = len(piece.cube), model.card.stamp_size
    planes = [order.index(name) for name in PLANES]
    margin = (piece.cube.shape[-1] - size) // 2
    seen = slice(margin, margin + size)
    cube = np.array(piece.cube[:, planes, seen, seen], np.float32)
    own = piece.sigma is not None
    sky = np.zeros((n, 3), np.float32)
    sigma = np.ones((n, 3), np.float32)
    if not own:
        measured, sigma = border_noise(piece.cube)
        sky, sigma = (sky if options.keep_sky else measured[:, planes]), sigma[:, planes]
    if options.sigma is not None:
        sigma = np.tile(np.asarray(options.sigma, np.float32), (n, 1))
    elif piece.sigma is not None:
        sigma = np.asarray(piece.sigma, np.float32)[:, planes]
    # Without a known sky there is nothing to subtract; such planes have no noise, either.
    cube -= np.where(np.isfinite(sky), sky, 0.0)[:, :, None, None]
    if piece.turned is not None:
        cube[piece.turned, 2] *= -1.0
    return cube, sigma, _numbers(piece, cube, sigma, model, options)


def _numbers(
    piece: StampPiece, cube: NDArray[np.float32], sigma: NDArray[np.float32], model: LoadedModel, options: ScoreFiles
) -> NDArray[np.float32]:
    """What was measured, and the S/N by a matched filter where it was not; NaN for all else."""
    n, names = len(cube), [item.name for item in model.card.scalars]
    wanted = {part for name in names for part in name.split("/")}
    columns = {part: np.asarray(piece.columns.get(part, np.full(n, np.nan)), np.float64) for part in wanted}
    if "snr" in columns and not np.isfinite(columns["snr"]).all():
        noise = np.where(sigma[:, 2] > 0, sigma[:, 2], np.nan).astype(np.float32)
        found = matched_snr(cube[:, 2] / noise[:, None, None], options.fwhm_px)
        columns["snr"] = np.where(np.isfinite(columns["snr"]), columns["snr"], found)
    return scalars_of(columns, names, n=n)


def _rows(
    path: str,
    ids: NDArray[np.str_],
    scores: NDArray[np.float32],
    codes: NDArray[np.int8],
    missing: NDArray[np.floating[Any]],
    used: _Used,
) -> pa.Table:
    n, none = len(scores), codes > 0
    columns = {
        "file": pa.repeat(path, n),
        "id": pa.array(ids.tolist(), pa.string()),
        "rb_score": pa.array(scores, pa.float32(), mask=none),
        "is_real": pa.array(scores >= used.threshold, pa.bool_(), mask=none),
        "mask_fraction": pa.array(missing.astype(np.float32)),
        "reason": pa.array([REASONS[code] for code in codes.tolist()], pa.string()),
        "rb_threshold": pa.array(used.threshold, pa.float32()),
        "rb_model": pa.array(used.name.tolist(), pa.string()),
        "rb_model_hash": pa.array(used.digest.tolist(), pa.string()),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
