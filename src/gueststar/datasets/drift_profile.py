"""Profiles of references for tests of drift, as files; what they are: `gueststar.realbogus.drift.profile`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gueststar.errors import ConfigError, OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.drift.model_profile import model_profile
from gueststar.realbogus.drift.profile import Profile, profile_text
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.manifest import PARTS
from gueststar.realbogus.stored import open_dataset

__all__ = ["check_profile_path", "profile_of_model", "write_profile"]


def check_profile_path(path: str | Path, *, overwrite: bool) -> Path:
    """The path of a profile, when one can be written there."""
    path = Path(path)
    if path.suffix != ".json":
        raise ConfigError(
            f"{path}: the name of a profile ends in .json; give another", key="write_profile", value=str(path)
        )
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
    replace_file(check_profile_path(path, overwrite=overwrite), profile_text(profile).encode())


def profile_of_model(
    model: str | Path, data: str | Path, part: str | None = None, *, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:  # fmt: skip
    """Profile of what a model was made with, from a data set.

    Parameters
    ----------
    model : str or path
        As `gueststar.realbogus.loaded.load_model` takes it.
    data : path
        Data set: its training set, or other nights that are to be the reference.
    part : str, optional
        'validation', 'test', 'train' or 'all'. None: all but the training part; all of a set that is not divided.
    seed : int
        Chooses the images that are kept where there are many.
    progress : callable, optional
        Called as progress(rows scored, rows in all).

    Raises
    ------
    ConfigError
        For an unknown part.
    InputError
        When it is no data set, or has too few images.
    ModelError
        When the model cannot be used.
    """
    dataset = open_dataset(data)
    if part not in (None, "all", *PARTS):
        raise ConfigError(f"part {part!r}: one of {', '.join(PARTS)}, all", key="part", value=part)
    if part == "all" or (part is None and not any(dataset.codes("split")[1])):
        rows = np.arange(len(dataset))
    else:
        parts = dataset.split().parts()
        rows = np.sort(np.concatenate([mine for name, mine in parts.items() if part in (None, name)
                                       and not (part is None and name == "train")]))  # fmt: skip
    rng = np.random.default_rng(seed)
    return model_profile(load_model(model), dataset, rows, name=dataset.folder.name, rng=rng, progress=progress)
