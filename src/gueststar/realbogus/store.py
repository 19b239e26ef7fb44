"""A store of models: a folder of model folders, one of which is in use.

::

    STORE/
      store.json          which model is in use, by folder, with the hashes of its files, and which were before
      NAME/model.onnx  card.json

Models come into it as `gueststar train --out STORE/NAME` writes them, or as copies. Wherever a model can be given, the
folder of a store stands for the model in use. A model whose weights or card were changed since it was promoted is
refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from gueststar.errors import ConfigError, ModelError, OutputError
from gueststar.options import Options
from gueststar.realbogus.card import (
    CARD_FILE,
    SET_FILE,
    STORE_FILE,
    TRAINABLE_FILE,
    WEIGHTS_FILE,
    Card,
    find_model,
    read_model,
    trainable_bytes,
)
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.chips.model_set import ModelSet, is_set, member_folder, read_set, set_hash
from gueststar.realbogus.drift.profile import read_profile
from gueststar.realbogus.files import PROFILE_FILE
from gueststar.realbogus.loaded import load_model, model_of_chip, open_model

__all__ = ["Entry", "Promotion", "Stored", "list_models", "promote", "read_store", "rollback", "verify_model"]

_TOLERANCE = 2e-3  # of check scores between processors and versions of the runtime


class Promotion(Options):
    """A model that is, or was, in use."""

    folder: str = Field(min_length=1, description="Name of its folder in the store")
    weights_hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of model.onnx; of a set, of models.json")
    card_hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of card.json; of a set, of models.json")
    promoted: str = Field(description="When, UTC, ISO 8601")


class Stored(Options):
    """What store.json holds."""

    format: Literal[1] = Field(1, description="Version of the form")
    history: tuple[Promotion, ...] = Field((), description="Models in use, the present one last")

    @property
    def current(self) -> Promotion | None:
        """The model in use."""
        return self.history[-1] if self.history else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model folder of a store.

    Parameters
    ----------
    folder : str
    card : Card or None
        None where it cannot be used.
    fault : str
        Why not; empty for a sound model.
    changed : str
        When its card was written, UTC, ISO 8601.
    in_use : bool
    models : ModelSet or None
        Of a set of models; `card` is then that of its fallback.
    digest : str
        SHA-256 of the list of a set of models.
    """

    folder: str
    card: Card | None
    fault: str
    changed: str
    in_use: bool
    models: ModelSet | None = None
    digest: str = ""


def read_store(store: str | Path) -> Stored:
    """What is in use in a store; nothing where it has no store.json yet.

    Raises
    ------
    ModelError
        When the folder is missing or store.json is damaged.
    """
    store = Path(store)
    if not store.is_dir():
        raise ModelError(f"{store} is no folder; a store is a folder of model folders", store=str(store))
    path = store / STORE_FILE
    if not path.exists():
        return Stored()
    try:
        return Stored.parse(json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise ModelError(
            f"{path} is damaged: {error}; remove it and promote a model again", store=str(store)
        ) from error


def list_models(store: str | Path) -> tuple[Entry, ...]:
    """All model folders of a store, by name; damaged ones with what is wrong.

    Raises
    ------
    ModelError
        As `read_store`.
    """
    store = Path(store)
    current = read_store(store).current
    entries = []
    for folder in sorted({path.parent for file in (CARD_FILE, SET_FILE) for path in store.glob(f"*/{file}")}):
        card, fault, models, digest = None, "", None, ""
        try:
            models, digest = (read_set(folder), set_hash(folder)) if is_set(folder) else (None, "")
            card, _ = read_model(folder)
        except ModelError as error:
            fault, models = error.message, None
        changed = datetime.fromtimestamp(_main_file(folder).stat().st_mtime, UTC).isoformat(timespec="seconds")
        in_use = current is not None and current.folder == folder.name
        entries.append(Entry(folder.name, card, fault, changed, in_use, models, digest))
    return tuple(entries)


def verify_model(model: str | Path) -> tuple[Card, str]:
    """Read a model, compare its hashes, load it, and score the check stamps of its card.

    Of a set of models every one is verified.

    Returns
    -------
    Card
        Of a set, that of its fallback.
    str
        What was checked, in words.

    Raises
    ------
    ModelError
        When a file is missing or was changed, the network cannot be run, or its scores are not those of the card.
    """
    folder = find_model(model)
    if is_set(folder):
        return _verify_set(folder)
    card, weights = read_model(model)
    more = _trainable_text(card, trainable_bytes(model)) + _profile_text(card, folder)
    loaded = open_model(card, weights)
    if not card.check_scores:
        check_scores(loaded)
        return card, f"the weights are those of the card, and can be run{more}; the card has no check scores"
    found = check_scores(loaded)
    wrong = len(found) != len(card.check_scores)
    worst = float("inf") if wrong else float(np.abs(np.subtract(found, card.check_scores)).max())
    if not worst <= _TOLERANCE:
        raise ModelError(
            f"model {str(model)!r}: scores of its check stamps differ by {worst:.3g} from those of the card, more than "
            f"{_TOLERANCE:g}; the card, or the runtime, is not the one that it was made with",
            model=str(model),
            difference=worst,
        )
    return card, f"the weights are those of the card{more}, and {len(found)} check scores agree to {worst:.1g}"


def _profile_text(card: Card, folder: Path) -> str:
    """Words about the profile for `gueststar drift`; empty when there is none."""
    path = folder / PROFILE_FILE
    if not path.is_file():
        return ""
    made_of = read_profile(path).model
    if made_of != card.weights_hash[:16]:
        raise ModelError(
            f"model {str(folder)!r}: {PROFILE_FILE} holds scores of the model {made_of or 'unknown'}, not of "
            f"{card.weights_hash[:16]}; make it again with `gueststar model profile`", model=str(folder),
        )  # fmt: skip
    return f", {PROFILE_FILE} too"


def _trainable_text(card: Card, data: bytes) -> str:
    """Words about the weights that training goes on from; empty when the card tells of none."""
    if not card.trainable_hash:
        return ""
    return f", {TRAINABLE_FILE} too" if data else f" ({TRAINABLE_FILE} is not there: it cannot be trained further)"


def _verify_set(folder: Path) -> tuple[Card, str]:
    models = read_set(folder)
    card, told = verify_model(member_folder(folder, models.fallback))
    loaded = load_model(folder)
    own = [chip for chip, entry in models.chips.items() if entry.own is not None]
    for chip in own:
        verify_model(member_folder(folder, models.member(chip)))
        model_of_chip(loaded, chip)
    return card, f"{told}; so are the models of {len(own)} chips of the set"


def promote(store: str | Path, folder: str) -> Promotion:
    """Verify a model of a store and put it in use.

    Parameters
    ----------
    store : path
    folder : str
        Name of its folder in the store.

    Raises
    ------
    ModelError
        When it is not there, or fails `verify_model`.
    OutputError
        When the store cannot be written; the model in use stays then.
    """
    store = Path(store)
    stored = read_store(store)
    there = [entry.folder for entry in list_models(store)]
    if folder not in there:
        raise ModelError(
            f"{store} holds no model {folder!r}; it has {', '.join(there) or 'none'}: train into it, or copy one there",
            store=str(store),
        )
    verify_model(store / folder)
    made = Promotion(
        folder=folder,
        weights_hash=_weights_hash(store / folder),
        card_hash=_file_hash(_main_file(store / folder)),
        promoted=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _write(store, Stored(history=(*stored.history, made)))
    return made


def rollback(store: str | Path) -> Promotion:
    """Take the model in use out of use; the one before it is in use again.

    Raises
    ------
    ModelError
        When there was none before, or its files were changed since.
    OutputError
        When the store cannot be written; the model in use stays then.
    """
    store = Path(store)
    stored = read_store(store)
    if len(stored.history) < 2:
        raise ModelError(f"{store}: no model was in use before the present one; promote another", store=str(store))
    before = stored.history[-2]
    verify_model(store / before.folder)
    if (_weights_hash(store / before.folder), _file_hash(_main_file(store / before.folder))) != (
        before.weights_hash,
        before.card_hash,
    ):
        raise ModelError(
            f"{store}: model {before.folder!r} was changed since it was in use; promote it if this is meant",
            store=str(store),
        )
    _write(store, Stored(history=stored.history[:-1]))
    return before


def _write(store: Path, stored: Stored) -> None:
    """Readers see the old store.json or the new one."""
    values: Mapping[str, Any] = stored.model_dump(mode="json")
    part = store / f".{STORE_FILE}.{secrets.token_hex(4)}"
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(values, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(store / STORE_FILE)
    except OSError as error:
        raise OutputError(f"{store / STORE_FILE} cannot be written: {error}", path=str(store)) from error
    finally:
        part.unlink(missing_ok=True)


def _main_file(folder: Path) -> Path:
    """The file that vouches for all others of a model, or of a set of models."""
    return folder / (SET_FILE if is_set(folder) else CARD_FILE)


def _weights_hash(folder: Path) -> str:
    return _file_hash(folder / (SET_FILE if is_set(folder) else WEIGHTS_FILE))


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
