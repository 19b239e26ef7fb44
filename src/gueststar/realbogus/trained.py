"""What a training gives: the network, and what each pass reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.network import StampNet

__all__ = ["Epoch", "Progress", "Trained"]

#: Called as progress(stage, done, total) while something long goes on.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training part reached; losses are weighted as in training."""

    train_loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The network with the lowest validation loss, in evaluation mode on the CPU, and how it came about."""

    network: StampNet
    history: tuple[Epoch, ...]
    best_epoch: int
    validation_logits: NDArray[np.float32]  #: of the rows of the validation part, in their order
    label_noise: Mapping[str, Any] = field(default_factory=dict)  #: what was done about wrong labels
    stopped: Literal["patience", "epochs"] = "epochs"  #: why no further pass was made
    pieces: int = 1  #: a step was taken in so many for want of memory
