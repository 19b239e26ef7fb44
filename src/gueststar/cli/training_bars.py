"""What a training shows: a bar with the losses of the moment, and a line for every pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gueststar.cli.common import errors
from gueststar.realbogus.watch import Watch

if TYPE_CHECKING:
    from rich.progress import Progress

    from gueststar.realbogus.trained import Epoch

__all__ = ["TrainingBars", "training_bars"]

_WORDS = {
    "pairs": "frames processed",
    "held-out pairs": "held-out frames processed",
    "train": "training",
    "folds": "training of the folds",
    "fallback": "training of the fallback",
    "chips": "chips done",
}
_TRAININGS = ("train", "folds")  # stages that have losses
_MEMORY = 0.98  # of the loss that is shown, per step: the mean of about the last fifty


class TrainingBars:
    """Bars of the stages; `progress` and `watch` go to a training.

    Parameters
    ----------
    bar : rich.progress.Progress
        With a field ``facts``.
    """

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}
        self._loss: float | None = None
        self._measured = ""
        self._since = time.monotonic()
        self.watch = Watch(step=self._step, epoch=self._epoch, tell=self._tell)
        self.passes = 0  #: that were made here

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage."""
        if stage not in self._tasks:
            # A training that goes on does not start at 0: the time left is that of the steps made here.
            self._tasks[stage] = self._bar.add_task(_WORDS.get(stage, stage), facts="", completed=done - 1)
        facts = ""
        if stage in _TRAININGS and self._loss is not None:
            facts = f"loss {self._loss:.4f}{self._measured}"
        self._bar.update(self._tasks[stage], completed=done, total=total, facts=facts)

    def _step(self, _name: str, loss: float) -> None:
        self._loss = loss if self._loss is None else _MEMORY * self._loss + (1.0 - _MEMORY) * loss

    def _epoch(self, name: str, number: int, epoch: Epoch, best: bool) -> None:
        now = time.monotonic()
        self._measured = f"  validation {epoch.validation_loss:.4f}  AUC {epoch.validation_auc:.5f}"
        line = (
            f"{name}: pass {number + 1:3d}  loss {epoch.train_loss:.4f}{self._measured}  "
            f"{_duration(now - self._since):>7s}{'  best so far' if best else ''}"
        )
        self._bar.console.print(line, markup=False, soft_wrap=True)
        self._since = now
        self.passes += 1

    def _tell(self, text: str) -> None:
        self._bar.console.print(text, style="yellow", markup=False, soft_wrap=True)


@contextmanager
def training_bars(*, quiet: bool) -> Iterator[TrainingBars | None]:
    """Bars on the console of errors; None when nothing is to be shown."""
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[facts]}"), console=errors()) as bar:
        yield TrainingBars(bar)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
