"""A training that was killed goes on: its state in one file, replaced whole or not at all.

The file holds the states of all trainings that a model is made of (a method against wrong labels may take several),
and what they belong to: options, data, versions. A training with anything else refuses it, because it would continue
something that it is not.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from gueststar import __version__
from gueststar.errors import OutputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.split import Split

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "identity"]

CHECKPOINT_FILE = "checkpoint.pt"
_FORMAT = 1
_NOT_OURS = ("train.checkpoint_minutes",)  # options that change nothing about what is learnt


class Checkpoint:
    """Keeps the states of the trainings of one model in its folder; a `gueststar.realbogus.watch.Keeper`.

    Parameters
    ----------
    folder : path
        Of the model to be.
    identity : mapping of str to str
        What the training is, from `identity`.
    minutes : float
        How often a state within a pass is kept; 0: only after each pass.
    restart : bool
        Forget what is there.

    Raises
    ------
    OutputError
        When what is there cannot be read, or belongs to another training.
    """

    def __init__(
        self, folder: str | Path, identity: Mapping[str, str], *, minutes: float = 0.0, restart: bool = False
    ) -> None:
        self.path = Path(folder) / CHECKPOINT_FILE
        self.identity, self.minutes = dict(identity), minutes
        self._states: dict[str, Mapping[str, Any]] = {}
        self._last = time.monotonic()
        if restart:
            self.remove()
        elif self.path.exists():
            self._states = _read(self.path, self.identity)

    @property
    def resumed(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self._states)

    def kept(self, name: str) -> Mapping[str, Any] | None:
        """State of the training `name`; None when there is none."""
        return self._states.get(name)

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Write the file anew with this state in place of the one before.

        Raises
        ------
        OutputError
            When it cannot be written; the one before stays then.
        """
        self._states[name] = state
        part = self.path.with_name(f".{CHECKPOINT_FILE}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save({"format": _FORMAT, "identity": self.identity, "states": self._states}, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise OutputError(
                f"the state of the training cannot be written to {self.path}: {error}", path=str(self.path)
            ) from error
        finally:
            part.unlink(missing_ok=True)
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last state is older than `minutes`."""
        return self.minutes > 0 and time.monotonic() - self._last >= 60.0 * self.minutes

    def remove(self) -> None:
        """Delete the file, and what a killed process left half written."""
        for file in (self.path, *self.path.parent.glob(f".{CHECKPOINT_FILE}.*")):
            file.unlink(missing_ok=True)


def identity(dataset: LabelledStamps, split: Split, options: Mapping[str, BaseModel], **more: object) -> dict[str, str]:
    """What a training is: every option, a hash of the data and of their parts, and the versions of the programs.

    Parameters
    ----------
    dataset, split
        What is trained on.
    options : mapping of str to options
        Named as a user names them: ``train``, ``label_noise``.
    **more
        Whatever else tells trainings apart, by name.
    """
    found = {key: text for name, item in options.items() for key, text in _flat(name, item.model_dump(mode="json"))}
    found |= {name: str(value) for name, value in more.items()}
    digest = hashlib.blake2b(dataset.content_hash().encode(), digest_size=16)
    for name, rows in split.parts().items():
        digest.update(name.encode())
        digest.update(_bytes(rows))
        digest.update(dataset.labels[rows].tobytes())
    found["data"] = digest.hexdigest()
    found |= {"gueststar": __version__, "torch": str(torch.__version__)}
    return {name: text for name, text in found.items() if name not in _NOT_OURS}


def _bytes(rows: NDArray[np.integer[Any]]) -> bytes:
    return np.ascontiguousarray(rows, "<i8").tobytes()


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, str(value)


def _read(path: Path, wanted: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    try:
        with path.open("rb") as file:
            found = torch.load(file, weights_only=True, map_location="cpu")
        version, belongs, states = int(found["format"]), dict(found["identity"]), dict(found["states"])
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise OutputError(
            f"{path}, the state of a training that was stopped, cannot be read: {type(error).__name__}; begin anew "
            "with --restart",
            path=str(path),
        ) from error
    differing = {name for name in belongs.keys() | wanted.keys() if belongs.get(name) != wanted.get(name)}
    if version != _FORMAT or differing:
        raise OutputError(
            f"{path.parent} holds a training that was stopped, and it is another one: {_differences(belongs, wanted)}; "
            "give what it was started with to go on with it, choose another folder, or begin anew with --restart",
            path=str(path),
            differing=", ".join(sorted(differing)),
        )
    return states


def _differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """What differs, in words."""
    texts = []
    for name in sorted(found.keys() | wanted.keys()):
        before, now = found.get(name, "not there"), wanted.get(name, "not there")
        if before != now:
            texts.append("its data are others" if name == "data" else f"{name} was {before}, is {now}")
    rest = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
    return ", ".join(texts[:4]) + rest if texts else "of another version of the format"
