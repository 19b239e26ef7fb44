"""``weights.npz``: the weights of a model as plain arrays, from which a training can go on.

``model.onnx`` is made for scoring: its layers are merged, and no training starts from it. The arrays here have the
names of the network's layers and need NumPy alone; ``network.json``, text inside, says how the network is built, and
the version of this form. The same weights give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from gueststar.errors import ConfigError, ModelError
from gueststar.options import Options
from gueststar.realbogus.card import Card, CardScalar, read_model, trainable_bytes
from gueststar.realbogus.files import TRAINABLE_FILE
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.preprocess import SEEN_PLANES

__all__ = ["Blueprint", "pack_network", "read_trainable"]

_BLUEPRINT = "network.json"
_WHY = "it can be used for scoring, not be trained further"


class Blueprint(Options):
    """How the network of a weights file is built."""

    format: Literal[1] = Field(1, description="Version of the form")
    network: Literal["RealBogusNet"] = Field("RealBogusNet", description="Its kind")
    scalars: tuple[CardScalar, ...] = Field(description="Measured numbers, in the order of the input")
    size: int = Field(ge=15, description="Width of the centre of a stamp that is seen, px")
    planes: tuple[str, ...] = Field(SEEN_PLANES, description="Planes that it sees")
    numbers: bool = Field(True, description="Whether it sees the measured numbers")
    chips: tuple[str, ...] = Field((), description="Chips that it is told, in the order of their numbers from 1")
    chip_numbers: int = Field(8, ge=1, description="Length of the vector that stands for a chip")


def pack_network(network: torch.nn.Module) -> bytes:
    """Contents of the file; empty for networks that cannot be trained further: means of several, and other kinds."""
    if not isinstance(network, RealBogusNet):
        return b""
    plan = Blueprint(
        scalars=tuple(CardScalar.parse(asdict(item)) for item in network.preprocess.scalars),
        size=network.preprocess.size,
        planes=network.preprocess.planes,
        numbers=network.preprocess.sees_numbers,
        chips=network.chips,
        chip_numbers=8 if network.film is None else network.film.embedding.embedding_dim,
    )
    text = json.dumps(plan.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
    arrays = {name: value.detach().cpu().numpy() for name, value in sorted(network.state_dict().items())}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{_BLUEPRINT: np.array(text)}, **arrays)
    return file.getvalue()


def read_trainable(model: str | Path) -> tuple[Card, RealBogusNet]:
    """A model as a network that can be trained further, on the CPU.

    Parameters
    ----------
    model : str or path
        As `gueststar.realbogus.card.find_model` takes it; a set of models stands for its fallback.

    Returns
    -------
    Card
    RealBogusNet

    Raises
    ------
    ModelError
        When the model has no weights file, or it was changed, is damaged, or of a later version.
    """
    card, _ = read_model(model)
    data = trainable_bytes(model)
    if not data:
        raise ModelError(
            f"model {str(model)!r} has no {TRAINABLE_FILE}: {_WHY}. Models of this version of gueststar have one, "
            "unless they are the mean of several networks or of another kind; train a new one, and start from that",
            model=str(model),
        )
    return card, _unpacked(data, str(model))


def _unpacked(data: bytes, name: str) -> RealBogusNet:
    """Build the network and fill in its weights."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays: dict[str, Any] = {key: file[key] for key in file.files}
        plan = Blueprint.parse(json.loads(str(arrays.pop(_BLUEPRINT))), source=_BLUEPRINT)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, ConfigError) as error:
        raise ModelError(
            f"model {name!r}: {TRAINABLE_FILE} cannot be read by this version of gueststar: {error}; {_WHY}", model=name
        ) from error
    scalars = tuple(item.network_scalar() for item in plan.scalars)
    network = RealBogusNet(scalars, size=plan.size, planes=plan.planes, numbers=plan.numbers)
    if plan.chips:
        network.condition(plan.chips, width=plan.chip_numbers)
    try:
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
    except RuntimeError as error:
        raise ModelError(
            f"model {name!r}: {TRAINABLE_FILE} does not hold the weights of the network that it names: {error}",
            model=name,
        ) from error
    return network.eval()
