"""A set of models: a folder with ``models.json``, which tells the model of each chip, and the models themselves.

::

    SET/
      models.json         chips, their models with the hashes of the files, why some chips have none of their own
      fallback/           the model of all other chips
      chip_NAME/          the model of a chip

Wherever a model can be given, the folder of a set can: each candidate is scored by the model of its chip, and by the
fallback where that has none. The models of a set take the same stamps and the same measured numbers. ``models.json``
vouches for the cards, these for the weights: one changed byte in any of them is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from gueststar.errors import ConfigError, ModelError, OutputError
from gueststar.options import Options
from gueststar.realbogus.files import CARD_FILE, SET_FILE

__all__ = [
    "FALLBACK_FOLDER",
    "ChipEntry",
    "Counts",
    "ModelSet",
    "SetMember",
    "chip_folder",
    "is_set",
    "member_folder",
    "read_set",
    "set_hash",
    "write_set",
]

FALLBACK_FOLDER = "fallback"


class SetMember(Options):
    """A model of the set."""

    folder: str = Field(pattern=r"^[^/\\.][^/\\]*$", description="Name of its folder in that of the set")
    weights_hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of model.onnx")
    card_hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of card.json")


class Counts(Options):
    """Labelled rows of a chip in one part of the data set."""

    real: int = Field(0, ge=0, description="Reals")
    artifact: int = Field(0, ge=0, description="Artifacts")


class ChipEntry(Options):
    """What the set has for one chip."""

    own: SetMember | None = Field(None, description="Its own model; none: the fallback serves it")
    reason: str = Field("", description="Why it has no model of its own; empty with one")
    rows: dict[str, Counts] = Field(default_factory=dict, description="Its rows in each part of the data set")
    auc: float | None = Field(None, description="AUC of its own model on its rows of the test part")
    fallback_auc: float | None = Field(None, description="AUC of the fallback on the same rows")

    @model_validator(mode="after")
    def _own_or_reason(self) -> Self:
        if (self.own is None) != bool(self.reason):
            raise ValueError("a chip has a model of its own, or a reason why not")
        return self


class ModelSet(Options):
    """What models.json holds."""

    format: Literal[1] = Field(1, description="Version of the form")
    name: str = Field(min_length=1, description="Name of the set")
    version: str = Field(description="Version of the set")
    fallback: SetMember = Field(description="Model of every chip that has none of its own, and of unknown ones")
    fallback_from: str = Field(description="Where the fallback comes from, in words")
    chips: dict[str, ChipEntry] = Field(description="Chips of the data set by name")
    training_data: dict[str, Any] = Field(default_factory=dict, description="Where the training set comes from")
    code_version: str = Field(description="Version of gueststar that made it")

    def member(self, chip: str) -> SetMember:
        """The model of a chip."""
        entry = self.chips.get(chip)
        return self.fallback if entry is None or entry.own is None else entry.own

    def why_fallback(self, chip: str) -> str:
        """Why a chip has no model of its own; empty for one that has."""
        entry = self.chips.get(chip)
        if entry is None:
            return "it was not in the data set" if chip else "its chip is not told"
        return entry.reason


def is_set(folder: str | Path) -> bool:
    """Whether a folder holds a set of models."""
    return (Path(folder) / SET_FILE).is_file()


def chip_folder(chip: str) -> str:
    """Name of the folder of a chip's model; distinct for distinct chips, whatever their names hold."""
    return f"chip_{quote(chip, safe='')}"


def read_set(folder: str | Path) -> ModelSet:
    """Read models.json.

    Raises
    ------
    ModelError
        When it is missing or damaged.
    """
    path = Path(folder) / SET_FILE
    try:
        return ModelSet.parse(json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise ModelError(
            f"{path} is not the list of a set of models: {error}; make one with `gueststar train --per chip`",
            model=str(folder),
        ) from error


def set_hash(folder: str | Path) -> str:
    """SHA-256 of models.json, which stands for all models of the set."""
    return hashlib.sha256((Path(folder) / SET_FILE).read_bytes()).hexdigest()


def member_folder(folder: str | Path, member: SetMember) -> Path:
    """Folder of a model of the set, its card unchanged since the set was made; the card vouches for the weights.

    Raises
    ------
    ModelError
        When the card is missing or was changed.
    """
    path = Path(folder) / member.folder / CARD_FILE
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(
            f"the set {folder} lacks {member.folder}/{CARD_FILE}: {error.strerror}; copy the whole folder again",
            model=str(folder),
            member=member.folder,
        ) from error
    if found != member.card_hash:
        raise ModelError(
            f"{path} was changed since the set was made (SHA-256 {found[:12]}... instead of "
            f"{member.card_hash[:12]}...); copy the folder again, or run `gueststar train --per chip` again",
            model=str(folder),
            member=member.folder,
        )
    return path.parent


def write_set(folder: str | Path, models: ModelSet) -> Path:
    """Write models.json; readers see the old one or the new one.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    path = Path(folder) / SET_FILE
    part = path.with_name(f".{SET_FILE}.{secrets.token_hex(4)}")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(models.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}", path=str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return path
