"""Where a night keeps going: every failure of one task becomes an Outcome."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gueststar.errors import GueststarError
from gueststar.types import Outcome

__all__ = ["Done", "Guarded", "StageClock", "Task", "lost"]


class Task(Protocol):
    """Work on one image or one group of images."""

    @property
    def name(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Task)
R = TypeVar("R")


class StageClock:
    """Wall time of each stage; knows in which stage the work is.

    Called with the name of a stage it gives a context manager, as the `observe` of `process_pair`.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Enter a stage. When it raises, `stage` keeps its name."""
        before, self.stage = self.stage, stage
        start = time.perf_counter()
        try:
            yield
            self.stage = before
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


@dataclass(frozen=True, slots=True)
class Done(Generic[T, R]):
    """End of a task: its value, or None and an outcome that says why there is none."""

    task: T
    value: R | None
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Guarded(Generic[T, R]):
    """A task function that never raises; can be sent to another process.

    Parameters
    ----------
    function : callable
        (task, clock) -> value.
    """

    function: Callable[[T, StageClock], R]

    def __call__(self, task: T) -> Done[T, R]:
        """Do one task."""
        clock = StageClock()
        try:
            return Done(task, self.function(task, clock), Outcome(task.name, "ok"))
        except GueststarError as error:
            failure = Outcome(
                task.name, "failed", stage=clock.stage, reason=error.message, facts=error.facts, seconds=clock.seconds
            )
        except Exception as error:  # noqa: BLE001  one bad image must not end the night; the traceback is kept
            reason = f"{type(error).__name__}: {error}"
            failure = Outcome(
                task.name, "crashed", stage=clock.stage, reason=reason, seconds=clock.seconds,
                traceback=traceback.format_exc(),
            )  # fmt: skip
        return Done(task, None, failure)


def lost(task: T) -> Done[T, R]:
    """End of a task that took its process down."""
    reason = "the process was killed, twice: out of memory, or a crash in compiled code"
    return Done(task, None, Outcome(task.name, "crashed", stage="process", reason=reason))
