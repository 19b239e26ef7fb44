"""How far a training is, as values that can be kept: place, history, best so far, and all that goes on from there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gueststar.errors import InputError
from gueststar.realbogus.trained import Epoch

if TYPE_CHECKING:
    from gueststar.realbogus.train import Loop

__all__ = ["LoopState", "draws", "epochs_of", "machinery", "set_draws", "set_machinery"]


@dataclass(slots=True)
class LoopState:
    """Where one training is: pass and step that come next, sums of this pass, and what was reached before."""

    number: int = 0
    step: int = 0
    total: float = 0.0  #: sum of the losses of this pass so far, each times its rows
    seen: int = 0
    history: list[Epoch] = field(default_factory=list)
    best: int = -1
    best_loss: float = math.inf
    logits: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    best_state: dict[str, Tensor] = field(default_factory=dict)
    stopped: Literal["", "patience", "epochs"] = ""

    def count(self, loss: float, rows: int) -> None:
        """Note a step of so many rows."""
        self.step += 1
        self.total += loss * rows
        self.seen += rows

    def mean_loss(self) -> float:
        """Mean loss of this pass."""
        return self.total / max(self.seen, 1)

    def add(self, epoch: Epoch, logits: NDArray[np.float32], state: Callable[[], dict[str, Tensor]]) -> bool:
        """Note what a pass reached; True, and `state` is kept, when it is the best so far."""
        self.history.append(epoch)
        better = epoch.validation_loss < self.best_loss
        if better:
            self.best, self.best_loss, self.logits = self.number, epoch.validation_loss, logits
            self.best_state = state()
        return better

    def close_pass(self, *, patience: int, epochs: int) -> None:
        """Go to the next pass, or stop."""
        if self.number - self.best >= patience:
            self.stopped = "patience"
        elif self.number + 1 >= epochs:
            self.stopped = "epochs"
        self.number, self.step, self.total, self.seen = self.number + 1, 0, 0.0, 0

    def plain(self, loop: Loop) -> dict[str, Any]:
        """Tensors and plain values; of a training that has stopped only what its end needs."""
        found = {name: getattr(self, name) for name in _PLAIN}
        found |= {
            "history": [list(astuple(epoch)) for epoch in self.history],
            "logits": torch.from_numpy(self.logits),
            "best_state": self.best_state,
            "more": loop.more_state(),
        }
        return found if self.stopped else found | {"machinery": machinery(loop), "draws": draws(loop.options.device)}

    @classmethod
    def restored(cls, kept: Mapping[str, Any], loop: Loop) -> Self:
        """The state that `plain` gave; network, optimiser, schedule and generators of `loop` are set to it.

        Raises
        ------
        InputError
            When it belongs to another network.
        """
        made = cls(**{name: kept[name] for name in _PLAIN})
        made.history, made.logits = epochs_of(kept["history"]), kept["logits"].numpy()
        made.best_state = dict(kept["best_state"])
        loop.set_more_state(kept.get("more", {}))
        if not made.stopped:
            set_machinery(loop, kept["machinery"])
            set_draws(kept["draws"])
        return made


_PLAIN = ("number", "step", "total", "seen", "best", "best_loss", "stopped")


def epochs_of(rows: list[list[float]]) -> list[Epoch]:
    """Passes from their numbers."""
    return [Epoch(*row) for row in rows]


def machinery(loop: Loop) -> dict[str, Any]:
    """Network, optimiser and schedule of a training, and in how many pieces its steps are taken."""
    return {
        "network": loop.state(),
        "optimiser": loop.optimiser.state_dict(),
        "schedule": loop.schedule.state_dict(),
        "pieces": loop.pieces.n,
    }


def set_machinery(loop: Loop, kept: Mapping[str, Any]) -> None:
    """Put them back."""
    try:
        loop.network.load_state_dict(kept["network"])
        loop.optimiser.load_state_dict(kept["optimiser"])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the state of the stopped training does not fit this network: {str(error).splitlines()[0]} begin anew "
            "with --restart"
        ) from error
    loop.schedule.load_state_dict(kept["schedule"])
    loop.pieces.n = int(kept["pieces"])


def draws(device: str) -> dict[str, Tensor]:
    """States of the generators of PyTorch; all else is drawn by seed, pass and step."""
    found = {"cpu": torch.random.get_rng_state()}
    return found | {device: torch.cuda.get_rng_state(device)} if device.startswith("cuda") else found


def set_draws(kept: Mapping[str, Tensor]) -> None:
    """Put them back."""
    for device, state in kept.items():
        if device == "cpu":
            torch.random.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
