"""Candidates of data sets, as an audit reads them: column by column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.datasets.audit_rows import F8, AuditImage, AuditRows, Progress
from gueststar.datasets.known import KnownObjects
from gueststar.errors import ConfigError
from gueststar.realbogus.package import score_dataset, thresholds_of_rows
from gueststar.realbogus.score import LoadedModel
from gueststar.realbogus.stored import StoredDataset
from gueststar.report.evaluation_models import read_scores
from gueststar.report.evaluation_sample import choose_rows

__all__ = ["dataset_rows"]


class _SetSource:
    """Rows of a data set."""

    def __init__(self, data: StoredDataset, rows: NDArray[np.int64]) -> None:
        self._data, self._rows = data, rows
        # Read once: 12 bytes for each row, against three columns of all shards for each piece of stamps.
        self._sigma: NDArray[np.float32] | None = None

    def columns(self, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those rows alone: a million identifiers are a hundred times what is wanted of them."""
        own, place = np.unique(self._rows[rows], return_inverse=True)
        part = self._data.select(own)
        return {name: part[name][place.reshape(-1)] for name in names if name in part.column_names}

    def stamps(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Stamps in e-."""
        own = self._rows[rows]
        if self._sigma is None:
            self._sigma = self._data.sigma(np.arange(len(self._data)))
        sigma = self._sigma[own]
        scale = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.nan)
        return self._data.stamps(own) * scale[:, :, None, None], sigma


def dataset_rows(
    data: StoredDataset,
    *,
    model: LoadedModel | None = None,
    scores: Path | None = None,
    part: str = "all",
    threshold: float | None = None,
    known: KnownObjects | None = None,
    radius_arcsec: float = 5.0,
    progress: Progress | None = None,
) -> AuditRows:
    """Candidates of a data set.

    Parameters
    ----------
    data : StoredDataset
    model : LoadedModel, optional
        Scores them; needed unless `scores` is given.
    scores : Path, optional
        Table of scores, as `gueststar score` writes it.
    part : str
        Part of the set, or 'all'.
    threshold, known, radius_arcsec, progress
        As for `run_rows`; progress('score', rows done, rows in all).

    Raises
    ------
    ConfigError
        When neither a model nor scores are given, or scores come without a threshold.
    InputError
        When the part holds no rows, or the scores are not its.
    """
    chosen = choose_rows(data, part)
    order = np.argsort(chosen.image, kind="stable")
    rows = chosen.rows[order]
    warnings: list[str] = []
    if scores is not None:
        contender = read_scores(chosen, scores, unscored=float("nan"))
        found, limit, name = (
            contender.scores[order],
            np.full(len(rows), contender.threshold, np.float32),
            contender.name,
        )
        if threshold is None and not np.isfinite(contender.threshold):
            raise ConfigError(f"{scores} tells no threshold; give one with --threshold", key="threshold")
    elif model is not None:

        def show(done: int, total: int) -> None:
            if progress is not None:
                progress("score", done, total)

        found = score_dataset(model, data, rows, progress=show)
        limit = thresholds_of_rows(model, data, rows).astype(np.float32)
        name = f"{model.card.name} {model.card.version} ({model.card.weights_hash[:8]})"
    else:
        raise ConfigError("a data set has no scores; give a model (--model) or a table (--scores)", key="model")
    limit = limit if threshold is None else np.full(len(rows), threshold, np.float32)

    def number(column: str) -> F8:
        there = column in data.column_names
        return np.asarray(data[column][rows], np.float64) if there else np.full(len(rows), np.nan)

    image, names = _renumbered(chosen.image[order], chosen.image_names)
    mjd, known_kind = number("mjd"), _known_in_set(data, rows)
    first = np.unique(image, return_index=True)[1] if len(rows) else np.empty(0, np.int64)
    texts = {column: _texts(data, column, rows[first]) for column in ("chip", "night", "tile")}
    counts = np.bincount(image, minlength=len(names))
    images = [
        AuditImage(names[i], texts["chip"][i], texts["night"][i], texts["tile"][i], float(mjd[first[i]]), {}, "",
                   int(counts[i])) for i in range(len(names))
    ]  # fmt: skip
    ra, dec = number("ra"), number("dec")
    if known is not None:
        for i, start in enumerate(first.tolist()):
            mine = slice(start, start + int(counts[i]))
            kinds = known.kinds_at(ra[mine], dec[mine], images[i].mjd, radius_arcsec=radius_arcsec)
            known_kind[mine] = np.where(kinds != "", kinds, known_kind[mine])
    if chosen.neither:
        warnings.append(f"{chosen.neither:,} rows are neither real nor artifact by their label, and left out.")
    return AuditRows(
        data.folder.name, images, image, data.labels[rows], found.astype(np.float32), limit, number("x"), number("y"),
        ra, dec, number("snr").astype(np.float32), known_kind, _SetSource(data, rows), name,
        known is not None or bool((known_kind != "").any()), warnings,
    )  # fmt: skip


def _renumbered(codes: NDArray[np.int32], names: Sequence[str]) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers of the images that occur, in order."""
    used, image = np.unique(codes, return_inverse=True)
    return image.reshape(-1).astype(np.int32), [names[i] for i in used]


def _known_in_set(data: StoredDataset, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """What the set says is at the place of its artifacts, from catalogues or the truth it was built with."""
    found = np.full(len(rows), "", "U16")
    if "suspicion" in data.column_names:
        codes, texts = data.codes("suspicion")
        for reason, kind in (
            ("known_variable", "variable"),
            ("known_asteroid", "asteroid"),
            ("known_transient", "transient"),
        ):
            says = np.array([reason in text.split(",") for text in texts], bool)
            if says.any():
                found[says[codes[rows]]] = kind
    return found


def _texts(data: StoredDataset, name: str, rows: NDArray[np.int64]) -> list[str]:
    if name not in data.column_names:
        return [""] * len(rows)
    codes, texts = data.codes(name)
    return [texts[code] for code in codes[rows].tolist()]
