"""Candidates of runs, as an audit reads them: image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.datasets.audit_rows import AuditImage, AuditRows, Progress, RowSource
from gueststar.datasets.known import KIND_REASONS, KnownObjects, Truth
from gueststar.datasets.products import FILES, Products, nights_of, read_products
from gueststar.errors import InputError
from gueststar.realbogus.scalars import measured_scalars
from gueststar.realbogus.score import LoadedModel, model_of_chip, score_stamps

__all__ = ["run_rows"]

_REAL = tuple(KIND_REASONS)  # kinds of the truth that are real
_PIECE = 512


class _RunSource:
    """Rows of the images of runs, read image by image."""

    def __init__(self, products: Products, used: Sequence[int]) -> None:
        self._images = [products.images[i] for i in used]
        self._start = np.cumsum([0, *(image.n[0] for image in self._images)])

    def _parts(self, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Image, positions among `rows`, and rows of the image."""
        of = np.searchsorted(self._start, rows, side="right") - 1
        return [(int(i), (at := np.flatnonzero(of == i)), rows[at] - self._start[i]) for i in np.unique(of)]

    def columns(self, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns that all images with such rows have."""
        parts = self._parts(rows)
        there = [name for name in names if all(name in self._images[i].columns for i, _, _ in parts)]
        found: dict[str, NDArray[Any]] = {}
        for i, at, own in parts:
            table = pq.read_table(self._images[i].folder / FILES[0][0], columns=there)
            for name in there:
                values = _plain(table[name])[own]
                if name not in found:
                    found[name] = np.empty(len(rows), values.dtype if values.dtype.kind != "U" else object)
                found[name][at] = values
        return {name: values.astype(np.str_) if values.dtype == object else values for name, values in found.items()}

    def stamps(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Stamps as the run cut them; those of another size are NaN."""
        parts, sigma = self._parts(rows), np.full((len(rows), 3), np.nan, np.float32)
        cubes = {i: np.load(self._images[i].folder / FILES[0][1], mmap_mode="r") for i, _, _ in parts}
        size = max((cube.shape[-1] for cube in cubes.values()), default=63)
        made = np.full((len(rows), 3, size, size), np.nan, np.float32)
        for i, at, own in parts:
            if cubes[i].shape[-1] == size:
                made[at] = cubes[i][own]
            names = [f"sky_sigma_{plane}" for plane in ("science", "reference", "difference")]
            if set(names) <= self._images[i].columns:
                table = pq.read_table(self._images[i].folder / FILES[0][0], columns=names)
                sigma[at] = np.stack([table[name].to_numpy()[own] for name in names], axis=1)
        return made, sigma


def run_rows(
    runs: Sequence[Path],
    *,
    model: LoadedModel | None = None,
    threshold: float | None = None,
    truth: Truth | None = None,
    known: KnownObjects | None = None,
    radius_arcsec: float = 5.0,
    progress: Progress | None = None,
) -> AuditRows:
    """Candidates of runs.

    Parameters
    ----------
    runs : sequence of Path
    model : LoadedModel, optional
        Scores all stamps anew; None: the scores of the runs.
    threshold : float, optional
        Score from which on a candidate counts as real; None: that of the model.
    truth : Truth, optional
        What it says is real is no false positive.
    known : KnownObjects, optional
    radius_arcsec : float
        Within which a known object explains a candidate.
    progress : callable, optional
        Called as progress('read', images done, images in all).

    Raises
    ------
    InputError
        When there is no image that can be used, or one has neither scores nor stamps.
    """
    products = read_products(runs)
    nights = nights_of(np.array([np.nan if i.outcome.mjd is None else i.outcome.mjd for i in products.images]))
    pieces: list[dict[str, NDArray[Any]]] = []
    images: list[AuditImage] = []
    used: list[int] = []
    models: dict[str, int] = {}
    for number, image in enumerate(products.images):
        outcome = image.outcome
        try:
            piece, name = _read_image(products, number, model, threshold, truth, known, radius_arcsec)
        except InputError as error:
            products.skipped.append(f"{outcome.image}: {error.message}")
            continue
        used.append(number)
        models[name] = models.get(name, 0) + 1
        pieces.append(piece)
        images.append(
            AuditImage(
                outcome.image, outcome.chip, nights[number], image.tile, np.nan if outcome.mjd is None else outcome.mjd,
                outcome.facts, outcome.reason if image.rejected else "", image.n[0],
            )
        )  # fmt: skip
        if progress is not None:
            progress("read", number + 1, len(products.images))
    if not pieces:
        raise InputError(f"{runs[0]}: no image can be audited; the first: {products.skipped[0]}", path=str(runs[0]))
    rows = _joined(", ".join(products.names), images, pieces, _RunSource(products, used))
    rows.has_known = known is not None
    rows.model = ", ".join(models)
    rows.warnings += [f"left out: {text}" for text in products.skipped]
    if len(models) > 1:
        told = "; ".join(f"{name}: {n} images" for name, n in models.items())
        rows.warnings.append(f"The images were scored by different models ({told}); their scores are not comparable.")
    if model is not None:
        own = {f"{i.facts.get('rb_model', '')} ({str(i.facts.get('rb_model_hash', ''))[:8]})" for i in images}
        if own - set(models):
            rows.warnings.append(f"The run was made with another model, {', '.join(sorted(own))}; scored anew here.")
    if truth is None:
        rows.warnings.append(
            "What was called real counts as a false positive unless it is known to be real, for a run has no labels: "
            "true transients are among them, and are named as real objects where what was measured says so."
        )
    return rows


def _read_image(
    products: Products, number: int, model: LoadedModel | None, threshold: float | None, truth: Truth | None,
    known: KnownObjects | None, radius_arcsec: float,
) -> tuple[dict[str, NDArray[Any]], str]:  # fmt: skip
    """Columns of all candidates of an image, and which model scored them."""
    image = products.images[number]
    facts, n = image.outcome.facts, image.n[0]
    wanted = [name for name in ("x", "y", "ra", "dec", "snr", "psf_fwhm") if name in image.columns]
    scored = "rb_score" in image.columns
    more = [name for name in ("rb_score", "rb_threshold") if name in image.columns]
    try:
        table = pq.read_table(image.folder / FILES[0][0], columns=[*wanted, *more])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"candidates cannot be read: {error}") from error
    found: dict[str, NDArray[Any]] = {name: np.asarray(table[name].to_numpy(), np.float64) for name in wanted}
    limit = np.full(n, float(facts.get("rb_threshold") or 0.5), np.float32)
    name = f"{facts.get('rb_model', 'unknown')} ({str(facts.get('rb_model_hash', ''))[:8]})"
    if model is not None:
        found["score"] = _scores(image.folder, model, image.outcome.chip, n)
        card = model_of_chip(model, image.outcome.chip).card
        limit[:] = card.threshold
        name = f"{card.name} {card.version} ({card.weights_hash[:8]})"
    elif scored:
        found["score"] = np.asarray(table["rb_score"].to_numpy(), np.float32)
        limit = np.asarray(table["rb_threshold"].to_numpy(), np.float32) if "rb_threshold" in more else limit
    else:
        raise InputError("its candidates have no scores; name a model that scores them (--model shipped)")
    found["threshold"] = limit if threshold is None else np.full(n, threshold, np.float32)
    found["label"], found["known"] = np.zeros(n, np.int8), np.full(n, "", "U12")
    x, y, fwhm = (found.get(key, np.full(n, np.nan)) for key in ("x", "y", "psf_fwhm"))
    if truth is not None and n:
        record = products.records[image.run].get("references", {}).get(image.reference_name, {})
        kinds = truth.kinds(x, y, image.outcome.image, record.get("frames", ()), shape=None,
                            fwhm_px=float(np.nanmedian(fwhm)))  # fmt: skip
        found["label"][np.isin(kinds, _REAL)] = 1
    if known is not None and n and {"ra", "dec"} <= set(found):
        mjd = np.nan if image.outcome.mjd is None else image.outcome.mjd
        found["known"] = known.kinds_at(found["ra"], found["dec"], mjd, radius_arcsec=radius_arcsec)
    for column, kind in (("mover_name", "asteroid"), ("variable_name", "variable")):
        if column in image.columns:
            names = _plain(pq.read_table(image.folder / FILES[0][0], columns=[column])[column])
            found["known"] = np.where(names != "", kind, found["known"])
    return found, name


def _scores(folder: Path, model: LoadedModel, chip: str, n: int) -> NDArray[np.float32]:
    """Scores of all stamps of an image, a piece at a time."""
    from gueststar.night.products import read_candidates

    candidates = read_candidates(folder / FILES[0][0])
    names = [scalar.name for scalar in model.card.scalars]
    optional = [scalar.name for scalar in model.card.network_scalars() if scalar.may_lack]
    numbers = measured_scalars(candidates, names, optional=optional)
    planes = [f"sky_sigma_{plane}" for plane in ("science", "reference", "difference")]
    if not set(planes) <= set(candidates.table.colnames):
        raise InputError("its table lacks the noise of the stamps (sky_sigma_science, ...): they cannot be scored anew")
    sigma = np.stack([candidates[name] for name in planes], axis=1).astype(np.float32)
    stamps = np.load(folder / FILES[0][1], mmap_mode="r")
    scores = np.empty(n, np.float32)
    for start in range(0, n, _PIECE):
        part = slice(start, min(start + _PIECE, n))
        chips = np.full(part.stop - part.start, chip)
        scores[part] = score_stamps(np.asarray(stamps[part]), sigma[part], numbers[part], model, chips=chips)
    return scores


def _joined(
    name: str, images: list[AuditImage], pieces: Sequence[Mapping[str, NDArray[Any]]], source: RowSource
) -> AuditRows:
    counts = [image.n for image in images]

    def column(key: str, dtype: Any) -> NDArray[Any]:
        parts = [piece[key] if key in piece else np.full(n, np.nan) for piece, n in zip(pieces, counts, strict=True)]
        return np.concatenate(parts).astype(dtype)

    return AuditRows(
        name, images, np.repeat(np.arange(len(images), dtype=np.int32), counts), column("label", np.int8),
        column("score", np.float32), column("threshold", np.float32), column("x", np.float64), column("y", np.float64),
        column("ra", np.float64), column("dec", np.float64), column("snr", np.float32), column("known", "U12"), source,
        "", False,
    )  # fmt: skip


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), np.str_)
    return np.asarray(column.to_numpy())
