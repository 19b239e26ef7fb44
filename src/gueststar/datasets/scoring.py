"""Scores of stamps in files: read piece by piece, checked, brought to what a model takes, scored, written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gueststar.datasets.prepared_stamps import ScoreFiles, prepared_pieces
from gueststar.datasets.score_tables import SCHEMA, open_table
from gueststar.datasets.stamp_sources import StampSource, open_source
from gueststar.realbogus.batches import REASONS, BatchScorer, why_unscored
from gueststar.realbogus.chips.routing import chip_note
from gueststar.realbogus.loaded import LoadedModel, load_model, model_of_chip

__all__ = ["ScoreFiles", "ScoreSummary", "score_files"]


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
