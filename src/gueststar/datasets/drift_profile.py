"""The profile of a reference for tests of drift: a JSON file that stands for the whole data set.

It holds the edges of the bins of each column and, for each image, its name, night, chip and number of rows in each bin;
no single row, no stamp and no position. That is all that the test needs, for it exchanges whole images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.drift import ColumnBins
from gueststar.realbogus.drift_groups import ImageCounts, ImageName

__all__ = ["Profile", "check_profile_path", "read_profile", "write_profile"]

_FORMAT = "gueststar-drift-profile"


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A reference as counts.

    Parameters
    ----------
    name, digest, model : str
        Of the data set or run; hash of the weights that made its scores, empty where unknown.
    images_in_all : int
        Before it was thinned.
    counts : ImageCounts
    """

    name: str
    digest: str
    model: str
    images_in_all: int
    counts: ImageCounts


def check_profile_path(path: str | Path, *, overwrite: bool) -> Path:
    """The path of a profile, when one can be written there."""
    path = Path(path)
    if path.suffix != ".json":
        raise ConfigError(f"--write-profile {path}: expected a name that ends in .json", key="write_profile",
                          value=str(path))  # fmt: skip
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or give --overwrite", path=str(path))
    return path


def write_profile(path: str | Path, profile: Profile, *, overwrite: bool = False) -> None:
    """Write a profile.

    Raises
    ------
    ConfigError
        For another suffix than .json.
    OutputError
        When it is there already or cannot be written.
    """
    path = check_profile_path(path, overwrite=overwrite)
    counts = profile.counts
    values = {
        "format": _FORMAT, "version": 1, "code_version": __version__, "data": profile.name, "data_hash": profile.digest,
        "rb_model_hash": profile.model, "images_in_all": profile.images_in_all,
        "columns": [
            {"name": column.name, "edges": column.edges.tolist(), "coarse": column.coarse.tolist()}
            for column in counts.columns
        ],
        "images": [[image.name, image.night, image.chip] for image in counts.images],
        "counts": counts.counts.tolist(),
    }  # fmt: skip
    replace_file(path, json.dumps(values, separators=(",", ":"), allow_nan=False).encode())


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
    if any(column.coarse.size != column.size or (np.diff(column.edges) <= 0).any() for column in columns):
        raise ValueError("edges that do not ascend")
    return Profile(str(values["data"]), str(values["data_hash"]), str(values["rb_model_hash"]),
                   int(values["images_in_all"]), ImageCounts(columns, counts, images))  # fmt: skip
