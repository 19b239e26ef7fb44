"""A model is a folder: ``model.onnx``, the weights, and ``card.json``, what they are and what they may be used for.

The card travels with the weights and is checked against them: a file that was changed, cut short or mixed up with
another is refused before it scores anything.
"""

from __future__ import annotations

import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gueststar.errors import ConfigError, ModelError, OutputError
from gueststar.options import Options
from gueststar.realbogus.chips.model_set import is_set, member_folder, read_set, set_hash
from gueststar.realbogus.files import CARD_FILE, SET_FILE, STORE_FILE, TRAINABLE_FILE, WEIGHTS_FILE
from gueststar.realbogus.scalars import Compression, Scalar

__all__ = [
    "CARD_FILE",
    "SET_FILE",
    "STORE_FILE",
    "TRAINABLE_FILE",
    "WEIGHTS_FILE",
    "Card",
    "CardScalar",
    "find_model",
    "model_hash",
    "read_model",
    "trainable_bytes",
    "weights_hash",
    "write_model",
]


class CardScalar(Options):
    """One measured number that the model takes."""

    name: str = Field(description="Column of the candidate table, or ratio of two columns as a/b")
    compression: Compression = Field(description="How the model compresses it; raw numbers go in")
    context: bool = Field(False, description="Says what stands around a candidate; a table may lack it")
    optional: bool = Field(False, description="A table may lack it, and it then counts as the mean")

    def network_scalar(self) -> Scalar:
        """The number as the network takes it."""
        return Scalar(self.name, self.compression, self.context, self.optional)


class Card(Options):
    """Everything that has to be known to use, judge and retrace a model."""

    format: Literal[1] = Field(1, description="Version of the card's own form")
    name: str = Field(min_length=1, description="Name of the model")
    version: str = Field(description="Version of the model")
    weights_hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of model.onnx")
    stamp_size: int = Field(ge=15, description="Width of the centre of a stamp that is seen, px; stamps may be larger")
    channels: tuple[str, ...] = Field(
        ("science", "reference", "difference"), description="Planes of a stamp, in order, e-"
    )
    normalisation: str = Field(description="What the model does to its inputs, in words")
    scalars: tuple[CardScalar, ...] = Field(description="Measured numbers, in the order of the input")
    chips: tuple[str, ...] = Field(
        (), description="Chips that the model is told, in the order of their numbers from 1; empty: it is told none"
    )
    views: Literal[1, 2, 4, 8] = Field(
        1, description="How often a candidate that may be real is looked at, each time turned; the mean logit counts"
    )
    views_from: float = Field(0.0, description="Logit of the first look above which the others are taken")
    score_meaning: str = Field(description="What a score says")
    temperature: float = Field(1.0, gt=0, description="Logits are divided by this before they become scores")
    bias: float = Field(0.0, description="Then this is added")
    prior: float = Field(
        0.5, gt=0, lt=1, description="Share of reals that scores hold for as chances; its log odds are added, too"
    )
    calibration: dict[str, Any] = Field({}, description="Population, rows and errors of the calibration")
    threshold: float = Field(ge=0, le=1, description="Score at and above which a candidate is called real")
    threshold_meaning: str = Field(description="How the threshold was chosen, and on which data")
    parameters: int = Field(ge=1, description="Number of trained weights")
    training_data: dict[str, Any] = Field(description="Where the training set comes from, its sizes and its hash")
    training: dict[str, Any] = Field(description="Options of the training, seed and what was reached")
    code_version: str = Field(description="Version of gueststar that trained it")
    metrics: dict[str, Any] = Field(description="Measured quality with sample sizes and intervals")
    trainable_hash: str = Field(
        "", pattern="^([0-9a-f]{64})?$", description="SHA-256 of weights.npz, from which to train on; empty: none"
    )
    check_scores: tuple[float, ...] = Field((), description="Scores of gueststar.realbogus.checks.check_stamps")
    licence: str = Field("BSD-3-Clause", description="Licence of the weights")
    caveats: tuple[str, ...] = Field((), description="What the model is not good for, or was not tested on")

    def to_json(self) -> str:
        """JSON text; numbers that are not finite become null."""
        return json.dumps(_finite(self.model_dump(mode="python")), indent=1, ensure_ascii=False) + "\n"

    def network_scalars(self) -> tuple[Scalar, ...]:
        """The measured numbers as the network takes them."""
        return tuple(item.network_scalar() for item in self.scalars)


def weights_hash(weights: bytes) -> str:
    """SHA-256 of the weights file."""
    return hashlib.sha256(weights).hexdigest()


def find_model(model: str | Path) -> Path:
    """Folder of a model.

    Parameters
    ----------
    model : str or path
        'shipped' for the one that comes with gueststar, else a model folder, the ``model.onnx`` in it, the folder of a
        set of models, or the folder of a store of models, which stands for the one in use.

    Returns
    -------
    Path
        With ``model.onnx`` and ``card.json``, or with ``models.json``.

    Raises
    ------
    ModelError
        When there is no such model, or the one in use of a store was changed since it was promoted.
    """
    if str(model) == "shipped":
        folder = Path(str(resources.files("gueststar.realbogus") / "shipped"))
    else:
        folder = Path(model).expanduser()
        folder = folder.parent if folder.name in (WEIGHTS_FILE, SET_FILE) else folder
        folder = _in_use(folder) if (folder / STORE_FILE).is_file() else folder
    if is_set(folder):
        return folder
    missing = [name for name in (WEIGHTS_FILE, CARD_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"model {str(model)!r}: {' and '.join(missing)} not found in {folder}; give a folder that "
            "`gueststar train` has written, or 'shipped'",
            model=str(model),
        )
    return folder


def _in_use(store: Path) -> Path:
    """The model folder that is in use in a store, its card unchanged since; the card vouches for the weights."""
    try:
        latest = json.loads((store / STORE_FILE).read_text(encoding="utf-8"))["history"][-1]
        folder, expected = store / str(latest["folder"]), str(latest["card_hash"])
        file = folder / (SET_FILE if is_set(folder) else CARD_FILE)
        card = file.read_bytes()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(
            f"the store {store} names no model in use that is there: {error}; look with `gueststar model list`, and "
            "promote one",
            model=str(store),
        ) from error
    found = hashlib.sha256(card).hexdigest()
    if found != expected:
        raise ModelError(
            f"{file} was changed since the model was promoted (SHA-256 {found[:12]}... instead of "
            f"{expected[:12]}...); promote it again if this is meant, or roll back",
            model=str(store),
            expected=expected,
            found=found,
        )
    return folder


def read_model(model: str | Path) -> tuple[Card, bytes]:
    """Card and weights of a model, checked against each other; of a set of models those of its fallback.

    Raises
    ------
    ModelError
        When a file is missing, the card is not one, or the weights are not those the card was written for.
    """
    folder = _one_model(model)
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"model {str(model)!r} cannot be read: {error}", model=str(model)) from error
    try:
        card = Card.parse(json.loads(text), source=f"model card {folder / CARD_FILE}")
    except (ValueError, TypeError, ConfigError) as error:
        raise ModelError(f"model {str(model)!r}: {CARD_FILE} is not a model card: {error}", model=str(model)) from error
    found = weights_hash(weights)
    if found != card.weights_hash:
        raise ModelError(
            f"model {str(model)!r}: {WEIGHTS_FILE} ({len(weights)} bytes, SHA-256 {found[:12]}...) is not the file "
            f"that its card describes ({card.weights_hash[:12]}...); it was changed or damaged: copy the folder again",
            model=str(model),
            expected=card.weights_hash,
            found=found,
        )
    return card, weights


def trainable_bytes(model: str | Path) -> bytes:
    """Contents of ``weights.npz`` of a model, from which it is trained on; empty when it has none.

    Parameters
    ----------
    model : str or path
        As `find_model` takes it; a set of models stands for its fallback.

    Raises
    ------
    ModelError
        When the file was changed or cannot be read, and as `read_model`.
    """
    card, _ = read_model(model)
    path = _one_model(model) / TRAINABLE_FILE
    if not card.trainable_hash or not path.is_file():
        return b""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model {str(model)!r}: {TRAINABLE_FILE} cannot be read: {error}", model=str(model)) from error
    found = weights_hash(data)
    if found != card.trainable_hash:
        raise ModelError(
            f"model {str(model)!r}: {TRAINABLE_FILE} ({len(data)} bytes, SHA-256 {found[:12]}...) is not the file that "
            f"its card describes ({card.trainable_hash[:12]}...); it was changed or damaged: copy the folder again",
            model=str(model),
            expected=card.trainable_hash,
            found=found,
        )
    return data


def _one_model(model: str | Path) -> Path:
    """Folder of a model, or of the fallback of a set of models."""
    folder = find_model(model)
    return member_folder(folder, read_set(folder).fallback) if is_set(folder) else folder


def model_hash(model: str | Path) -> str:
    """Hash that changes with anything that may change a score: of the weights, or of the list of a set of models.

    Raises
    ------
    ModelError
        As `read_model`.
    """
    folder = find_model(model)
    own = read_model(folder)[0].weights_hash
    return set_hash(folder) if is_set(folder) else own


def write_model(folder: str | Path, card: Card, weights: bytes, *, trainable: bytes = b"") -> Path:
    """Write a model folder; a model that is there already is an error.

    Parameters
    ----------
    folder : path
    card : Card
    weights : bytes
        Contents of ``model.onnx``.
    trainable : bytes
        Contents of ``weights.npz``, see `gueststar.realbogus.chips.weights_file`; empty: the model cannot be trained
        further.

    Raises
    ------
    ModelError
        When the card does not belong to the weights.
    OutputError
        When the folder holds a model already or cannot be written.
    """
    path = Path(folder)
    if weights_hash(weights) != card.weights_hash:
        raise ModelError("the card was made for other weights; make it with weights_hash(weights)", folder=str(path))
    if trainable and card.trainable_hash != weights_hash(trainable):
        raise ModelError(
            f"the card was made for another {TRAINABLE_FILE}; make it with trainable_hash=weights_hash(trainable)",
            folder=str(path),
        )
    if (path / CARD_FILE).exists() or (path / WEIGHTS_FILE).exists():
        raise OutputError(f"{path} holds a model already; remove it or choose another folder", path=str(path))
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / WEIGHTS_FILE).write_bytes(weights)
        if trainable:
            (path / TRAINABLE_FILE).write_bytes(trainable)
        (path / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the model cannot be written to {path}: {error}", path=str(path)) from error
    return path


def _finite(value: Any) -> Any:
    """Plain JSON values; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
