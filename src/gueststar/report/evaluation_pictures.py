"""Stamps of misjudged rows as small pictures, so that a page with hundreds of them stays one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.plots import triplet_pixels
from gueststar.report.evaluation_models import Contender
from gueststar.report.evaluation_results import Results
from gueststar.report.evaluation_sample import EvaluatedRows

__all__ = ["FileGallery", "StampPicture", "gallery_of_files", "gallery_of_misses", "triplet_uri"]

_BATCH = 256


@dataclass(frozen=True, slots=True)
class StampPicture:
    """One candidate: picture as a data URI (empty: none), score, S/N, and words about it."""

    uri: str
    score: float
    snr: float
    name: str
    chip: str
    kind: str
    cause: str


@dataclass(frozen=True, slots=True)
class FileGallery:
    """False positives of one image; `left_out` pictures did not fit into the page."""

    rank: int
    name: str
    n: int
    n_bogus: int
    share: float
    causes: tuple[tuple[str, int], ...]
    stamps: tuple[StampPicture, ...]
    left_out: int


def gallery_of_files(results: Results, chosen: EvaluatedRows, contender: Contender, *, most: int) -> list[FileGallery]:
    """Pictures of all false positives of the worst images, until there are `most`."""
    found = results.false_positives
    if found is None:
        return []
    cause_of = dict(zip(results.fp_rows.tolist(), results.fp_causes.tolist(), strict=True))
    shown = []
    wanted: list[NDArray[np.int64]] = []
    left = most
    for file in found.files:
        wanted.append(file.rows[:left])
        left -= len(wanted[-1])
    rows = np.concatenate(wanted) if wanted else np.empty(0, np.int64)
    pictures = _pictures(chosen, contender, rows, [cause_of[row] for row in rows.tolist()])
    start = 0
    for rank, (file, mine) in enumerate(zip(found.files, wanted, strict=True), start=1):
        stamps = tuple(pictures[start : start + len(mine)])
        start += len(mine)
        shown.append(
            FileGallery(rank, file.name, len(file.rows), file.n_bogus, file.share, file.causes, stamps,
                        len(file.rows) - len(mine))
        )  # fmt: skip
    return shown


def gallery_of_misses(
    results: Results, chosen: EvaluatedRows, contender: Contender, *, most: int
) -> list[StampPicture]:
    """Pictures of the missed reals of lowest score."""
    return _pictures(chosen, contender, results.fn_rows[:most], results.fn_causes[:most].tolist())


def _pictures(
    chosen: EvaluatedRows, contender: Contender, rows: NDArray[np.int64], causes: Sequence[str]
) -> list[StampPicture]:
    made = []
    words = {name: _texts(chosen, name, rows) for name in (chosen.group_by, "chip", "kind", "true_kind")}
    sigma = chosen.data.sigma(chosen.rows[rows]) if rows.size else np.empty((0, 3), np.float32)
    signed = np.asarray(chosen.data["snr"])[chosen.rows[rows]] if chosen.has("snr") else np.full(rows.size, np.nan)
    for start in range(0, rows.size, _BATCH):
        part = rows[start : start + _BATCH]
        # Stamps are stored in units of the noise of each plane; shown together they need the same units.
        scale = np.where(np.isfinite(sigma[start : start + _BATCH]), sigma[start : start + _BATCH], 1.0)
        cube = chosen.data.stamps(chosen.rows[part]) * np.where(scale > 0, scale, 1.0)[:, :, None, None]
        for i, row in enumerate(part.tolist()):
            at = start + i
            kind = words["kind"][at]
            truth = words["true_kind"][at]
            kind = f"{kind}, by the truth {truth}" if truth and truth != kind else kind
            made.append(
                StampPicture(triplet_uri(cube[i]), float(contender.scores[row]), float(signed[at]),
                             words[chosen.group_by][at], words["chip"][at], kind, causes[at])
            )  # fmt: skip
    return made


def _texts(chosen: EvaluatedRows, name: str, rows: NDArray[np.int64]) -> list[str]:
    if not chosen.has(name):
        return [""] * rows.size
    codes, texts = chosen.text(name)
    return [texts[code] for code in codes[rows].tolist()]


def triplet_uri(cube: NDArray[np.float32]) -> str:
    """A triplet as the data URI of a picture; WebP, which takes a fifth of a PNG, where Pillow writes it."""
    from PIL import Image, features

    if not np.isfinite(cube).any():
        return ""
    pixels = Image.fromarray(np.ascontiguousarray(triplet_pixels(cube)[::-1]))
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "jpeg"
    pixels.save(buffer, kind.upper(), quality=82)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
