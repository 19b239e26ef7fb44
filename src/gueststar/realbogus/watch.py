"""Who looks on while a network is trained: what keeps its state, and what is told about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gueststar.realbogus.trained import Epoch

__all__ = ["Keeper", "Watch"]


class Keeper(Protocol):
    """Keeps states of trainings; `gueststar.realbogus.checkpoint.Checkpoint` keeps them in a file."""

    def kept(self, name: str) -> Mapping[str, Any] | None:
        """State of the training `name`; None when there is none."""
        ...

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Keep a state of tensors and plain values in place of the one before."""
        ...

    def due(self) -> bool:
        """Whether it is time to keep a state within a pass."""
        ...


@dataclass(frozen=True, slots=True)
class Watch:
    """What looks on; everything may be absent.

    Parameters
    ----------
    keeper : Keeper, optional
        Where the state goes, so that a training that was stopped goes on.
    step : callable, optional
        Called with the name of the training and the loss, after every step.
    epoch : callable, optional
        Called with the name of the training, the number of the pass (from 0), what it reached and whether it is the
        best so far.
    tell : callable, optional
        Called with a sentence that a user should see.
    name : str
        Of the training that is looked at; a method of several trainings names each.
    """

    keeper: Keeper | None = None
    step: Callable[[str, float], None] | None = None
    epoch: Callable[[str, int, Epoch, bool], None] | None = None
    tell: Callable[[str], None] | None = None
    name: str = "training"

    def of(self, name: str) -> Watch:
        """The same for one of several trainings."""
        return replace(self, name=name)

    def kept(self) -> Mapping[str, Any] | None:
        """What was kept of this training."""
        return None if self.keeper is None else self.keeper.kept(self.name)

    def keep(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Keep what `state` gives, if anybody keeps it."""
        if self.keeper is not None:
            self.keeper.keep(self.name, state())

    def keep_if_due(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Keep what `state` gives when it is time to."""
        if self.keeper is not None and self.keeper.due():
            self.keep(state)

    def say_step(self, loss: float) -> None:
        """Tell the loss of a step."""
        if self.step is not None:
            self.step(self.name, loss)

    def say_epoch(self, number: int, epoch: Epoch, *, best: bool) -> None:
        """Tell what a pass reached."""
        if self.epoch is not None:
            self.epoch(self.name, number, epoch, best)

    def say(self, text: str) -> None:
        """Tell a sentence."""
        if self.tell is not None:
            self.tell(text)
