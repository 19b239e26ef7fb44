"""The profile of what a model was made with: its own scores and the measured numbers of rows that it did not learn.

Scores of rows that a network was fitted to are surer than those of a night, so only the other parts of the training set
are taken: validation and test. Taken are artifacts, for nearly all candidates of a night are such.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.card import find_model
from gueststar.realbogus.chips.model_set import is_set, member_folder, read_set
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.drift.columns import CANDIDATE_COLUMNS
from gueststar.realbogus.drift.profile import (
    Profile,
    Sample,
    make_profile,
    named_images,
    read_profile,
    text_of_rows,
)
from gueststar.realbogus.drift.result import DriftOptions
from gueststar.realbogus.files import PROFILE_FILE
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.package import images_of, score_dataset

__all__ = ["MOST_IMAGES", "copy_profile", "model_profile", "profile_path", "read_model_profile"]

#: Images that the profile of a model holds: about 1 MB.
MOST_IMAGES = 400


def model_profile(
    model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64], *, name: str, rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:  # fmt: skip
    """Score artifacts, and count them and their measured numbers image by image.

    Parameters
    ----------
    model : LoadedModel
    dataset : LabelledStamps
    rows : ndarray of int64, shape (m,)
        Rows that it was not fitted to; those that are no artifacts are passed over.
    name : str
        Of the data set.
    rng : Generator
        Chooses images where there are more than `MOST_IMAGES`.
    progress : callable, optional
        Called as progress(rows scored, rows in all).

    Raises
    ------
    InputError
        When there are fewer images than a reference needs.
    """
    rows = rows[dataset.labels[rows] == 0]
    places = (text_of_rows(dataset, name, rows) for name in ("night", "chip"))
    images, image = named_images(images_of(dataset, rows), *places)
    least = DriftOptions().least_reference
    if len(images) < least:
        raise InputError(
            f"{name}: artifacts of {len(images)} images that the model was not fitted to; {least} are needed for a "
            "profile: take a set with larger validation and test parts, or another part"
        )
    chosen = np.sort(rng.choice(len(images), min(len(images), MOST_IMAGES), replace=False))
    kept = np.isin(image, chosen)
    rows, image = rows[kept], np.searchsorted(chosen, image[kept])
    columns = {"rb_score": score_dataset(model, dataset, rows, progress=progress).astype(np.float64)}
    for column in CANDIDATE_COLUMNS:
        if column != "rb_score" and column in dataset.column_names:
            columns[column] = np.asarray(dataset[column], np.float64)[rows]
    digest = "" if model.members is not None else model.card.weights_hash[:16]
    sample = Sample(name, dataset.content_hash(), digest, columns, image, tuple(images[i] for i in chosen), "artifacts")
    return replace(make_profile(sample, DriftOptions(most_reference=MOST_IMAGES), rng=rng), images_in_all=len(images))


def profile_path(model: str | Path) -> Path:
    """Where the profile of a model lies; of a set of models it is that of the fallback.

    Raises
    ------
    ModelError
        When there is no such model.
    """
    folder = find_model(model)
    folder = member_folder(folder, read_set(folder).fallback) if is_set(folder) else folder
    return folder / PROFILE_FILE


def read_model_profile(model: str | Path) -> Profile:
    """The profile that a model keeps.

    Raises
    ------
    ModelError
        When there is no such model.
    InputError
        When it keeps none, as older models, or the file is damaged.
    """
    path = profile_path(model)
    if not path.is_file():
        raise InputError(
            f"model {str(model)!r} keeps no profile of what it was made with; make it with `gueststar model profile "
            f"{model} --data SET`, SET being its training set, or compare with the set itself",
            path=str(path),
        )
    return read_profile(path)


def copy_profile(model: str | Path, out: str | Path) -> None:
    """Copy the profile of a model, where it keeps one, beside another with the same scores.

    Raises
    ------
    OutputError
    """
    path = profile_path(model)
    try:
        if path.is_file():
            shutil.copyfile(path, Path(out) / PROFILE_FILE)
    except OSError as error:
        raise OutputError(f"{Path(out) / PROFILE_FILE} cannot be written: {error}", path=str(out)) from error
