"""The profile of a reference: counts of each of its images in bins of each column, which stand for the whole data set.

It holds the edges of the bins and, for each image, its name, night, chip, median and number of rows in each bin; no
single row, no stamp and no position. That is all that the test needs, for it exchanges whole images. A model folder
keeps the profile of what the model was made with (``profile.json``), so that no training set is needed to say that a
night has left it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.drift.columns import CANDIDATE_COLUMNS
from gueststar.realbogus.drift.result import DriftOptions, ImageCounts, ImageName
from gueststar.realbogus.drift.statistics import ColumnBins, bins_of, count_rows

__all__ = [
    "Profile",
    "Sample",
    "count_all",
    "image_medians",
    "make_profile",
    "named_images",
    "profile_text",
    "read_profile",
    "text_of_rows",
]

_FORMAT = "gueststar-drift-profile"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Measured numbers of candidates, and the image of each.

    Parameters
    ----------
    name, digest, model : str
        Of the data; first 16 digits of the hash of what made the scores, empty where unknown.
    columns : mapping of str to ndarray, shape (n,)
    image : ndarray of int, shape (n,)
    images : tuple of ImageName
    rows : str
        Which rows they are: 'artifacts', 'reals' or 'all' of a data set, 'candidates' of a run.
    real : float
        Share of the candidates of a run that score as real.
    notes : tuple of str
    """

    name: str
    digest: str
    model: str
    columns: Mapping[str, NDArray[np.float64]]
    image: NDArray[np.int64]
    images: tuple[ImageName, ...]
    rows: str = "all"
    real: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A reference as counts.

    Parameters
    ----------
    name, digest, model : str
        Of the data set or run; first 16 digits of the hash of the weights that made its scores, empty where unknown.
    rows : str
        As of `Sample`.
    images_in_all : int
        Before it was thinned.
    counts : ImageCounts
    """

    name: str
    digest: str
    model: str
    rows: str
    images_in_all: int
    counts: ImageCounts


def named_images(*texts: NDArray[Any]) -> tuple[tuple[ImageName, ...], NDArray[np.int64]]:
    """Images by name, night and chip of each row, and the number of the image of each row."""
    codes = np.zeros(len(texts[0]), np.int64)
    for text in texts:
        values, own = np.unique(text, return_inverse=True)
        codes = codes * len(values) + own
    _, first, image = np.unique(codes, return_index=True, return_inverse=True)
    return tuple(ImageName(*(str(text[i]) for text in texts)) for i in first), image.astype(np.int64)


def text_of_rows(dataset: LabelledStamps, name: str, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """A text column of some rows of a data set; 'unknown' where it has none."""
    if name not in dataset.column_names:
        return np.full(len(rows), "unknown")
    codes, texts = dataset.codes(name)
    return np.array([text or "unknown" for text in texts])[codes[rows]]


def make_profile(sample: Sample, options: DriftOptions | None = None, *, rng: np.random.Generator) -> Profile:
    """Counts of a reference in its own quantile bins, image by image; large ones thinned at random.

    A column without any finite value is left out.

    Raises
    ------
    InputError
        When no column is left.
    """
    options = options or DriftOptions()
    columns = tuple(bins_of(name, values) for name, values in sample.columns.items() if np.isfinite(values).any())
    if not columns:
        raise InputError(
            f"{sample.name} has none of the numbers to compare: {', '.join(CANDIDATE_COLUMNS)}; see --columns"
        )
    counts = count_all(sample, columns)
    if len(counts.images) > options.most_reference:
        counts = counts.some(np.sort(rng.choice(len(counts.images), options.most_reference, replace=False)))
    return Profile(sample.name, sample.digest, sample.model, sample.rows, len(sample.images), counts)


def count_all(sample: Sample, columns: Sequence[ColumnBins]) -> ImageCounts:
    """Counts of a sample in given bins; what it lacks counts as missing."""
    n = len(sample.images)
    nothing = np.full(len(sample.image), np.nan)
    values = [sample.columns.get(bins.name, nothing) for bins in columns]
    parts = [count_rows(bins, mine, sample.image, n) for bins, mine in zip(columns, values, strict=True)]
    medians = np.stack([image_medians(mine, sample.image, n) for mine in values], axis=1)
    return ImageCounts(tuple(columns), np.concatenate(parts, axis=1), medians, sample.images)


def image_medians(values: NDArray[np.floating], image: NDArray[np.integer], n: int) -> NDArray[np.float64]:
    """Median of the finite values of each image, shape (n,); NaN where there is none.

    Parameters
    ----------
    values : ndarray, shape (m,)
    image : ndarray of int, shape (m,)
        Number of the image of each row, below n.
    n : int
    """
    good = np.isfinite(values)
    values, image = np.asarray(values, np.float64)[good], image[good]
    if not values.size:
        return np.full(n, np.nan)
    values = values[np.lexsort((values, image))]
    number = np.bincount(image, minlength=n)
    start = np.cumsum(number) - number
    last = values.size - 1
    lower, upper = (
        values[np.minimum(start + np.maximum(middle, 0), last)] for middle in ((number - 1) // 2, number // 2)
    )
    return np.where(number > 0, (lower + upper) / 2, np.nan)


def profile_text(profile: Profile) -> str:
    """JSON of a profile."""
    counts = profile.counts
    values = {
        "format": _FORMAT, "version": 1, "code_version": __version__, "data": profile.name, "data_hash": profile.digest,
        "rb_model_hash": profile.model, "rows": profile.rows, "images_in_all": profile.images_in_all,
        "columns": [
            {"name": column.name, "edges": column.edges.tolist(), "coarse": column.coarse.tolist()}
            for column in counts.columns
        ],
        "images": [[image.name, image.night, image.chip] for image in counts.images],
        "counts": counts.counts.tolist(),
        "medians": [[float(f"{x:.6g}") if np.isfinite(x) else None for x in row] for row in counts.medians.tolist()],
    }  # fmt: skip
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def read_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises
    ------
    InputError
        When it is none, is of a later version, or is damaged.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a profile: {error}", path=str(path)) from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise InputError(
            f"{path} is no profile of a reference; make one with `gueststar drift --against SET --write-profile FILE`",
            path=str(path),
        )
    if values.get("version") != 1:
        raise InputError(f"{path}: version {values.get('version')} of the format; this program reads 1: install a "
                         "newer one", path=str(path))  # fmt: skip
    try:
        return _profile(values)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; write it again", path=str(path)) from error


def _profile(values: dict[str, Any]) -> Profile:
    columns = tuple(
        ColumnBins(str(item["name"]), np.array(item["edges"], np.float64), np.array(item["coarse"], np.int64))
        for item in values["columns"]
    )
    images = tuple(ImageName(*map(str, item)) for item in values["images"])
    counts = np.array(values["counts"], np.int32)
    if counts.shape != (len(images), sum(column.size for column in columns)) or (counts < 0).any():
        raise ValueError(f"counts of shape {counts.shape} for {len(images)} images")
    medians = np.array(values["medians"], np.float64)
    if medians.shape != (len(images), len(columns)):
        raise ValueError(f"medians of shape {medians.shape} for {len(images)} images")
    if any(column.coarse.size != column.size or (np.diff(column.edges) <= 0).any() for column in columns):
        raise ValueError("edges that do not ascend")
    return Profile(
        str(values["data"]), str(values["data_hash"]), str(values["rb_model_hash"]), str(values["rows"]),
        int(values["images_in_all"]), ImageCounts(columns, counts, medians, images),
    )  # fmt: skip
