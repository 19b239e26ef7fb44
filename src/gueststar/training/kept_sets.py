"""A training set that an earlier call has made is used again when it is what would be made now."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from pathlib import Path

from gueststar import __version__
from gueststar.errors import OutputError
from gueststar.realbogus.dataset import Dataset
from gueststar.training.passes import TrainingSet

__all__ = ["kept_set"]


def kept_set(folder: Path, options: TrainingSet, images: Mapping[str, Sized]) -> Dataset | None:
    """The finished set of a folder; None when there is none.

    Parameters
    ----------
    folder : Path
    options : TrainingSet
        What it has to be made with; the number of processes does not matter.
    images : mapping of str to sequence
        Frames of each real field, by name.

    Raises
    ------
    OutputError
        When there is a set, and it was made of something else.
    """
    if not (folder / "dataset.json").exists():
        return None
    found = Dataset.load(folder)
    wanted = options.model_dump(mode="json", exclude={"workers"})
    made = {name: value for name, value in dict(found.facts.get("options", {})).items() if name != "workers"}
    differing = sorted(name for name in made.keys() | wanted.keys() if made.get(name) != wanted.get(name))
    if found.facts.get("code_version") != __version__:
        differing.append("version of gueststar")
    if sorted(found.facts.get("real_passes", {})) != sorted(images):
        differing.append("real frames")
    if "hash" not in found.facts or differing:
        raise OutputError(
            f"{folder} holds a training set already, and not the one that is asked for ("
            f"{', '.join(differing) or 'it is not finished'} differ); remove it or choose another folder",
            path=str(folder),
        )
    return found
