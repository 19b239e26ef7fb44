"""Run a function over many tasks on several processes, and survive the death of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from gueststar.memory import keep_freed_memory

__all__ = ["Mapper", "ProcessMap", "available_cores"]

T = TypeVar("T")
R = TypeVar("R")

#: One image per core: threads inside an image gain nothing and would fight for the cores.
_ONE_THREAD: Mapping[str, str] = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


class Mapper(Protocol):
    """Anything that maps a function over tasks; results in any order. The builtin `map` is one."""

    def __call__(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterable[Any]: ...  # noqa: D102


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessMap:
    """Map over a pool of fresh processes; a context manager.

    When a process dies (out of memory, killed, a crash in compiled code), the tasks that were running are tried again,
    each alone in its own process. The one that kills its process again is given to `lost`, whose return value stands
    for its result; all others go on.

    Parameters
    ----------
    workers : int
        Processes; 0 is one for every core.
    lost : callable
        Makes the result of a task that killed its process.
    """

    def __init__(self, workers: int = 0, *, lost: Callable[[Any], Any]) -> None:
        self.workers = workers or available_cores()
        self._lost = lost
        self._pool: ProcessPoolExecutor | None = None
        self._environment = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Images in hand are finished even when the user stops the run: they take seconds and are then kept.
        self._close()

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """Yield results as they come."""
        waiting = deque(tasks)
        running: dict[Future[R], T] = {}
        while waiting or running:
            suspects: list[T] = []
            while waiting and len(running) < self.workers:
                task = waiting.popleft()
                try:
                    running[self._executor().submit(function, task)] = task
                except BrokenProcessPool:
                    suspects.append(task)
                    break
            done, _ = wait(running, return_when=FIRST_COMPLETED) if running and not suspects else (set(), None)
            for future in done:
                task = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    suspects.append(task)
                else:
                    yield result
            if suspects:
                # The dead pool takes all that it was running with it; one of those is to blame.
                suspects += running.values()
                running = {}
                self._close()
                yield from self._one_by_one(function, suspects)

    def _one_by_one(self, function: Callable[[T], R], tasks: list[T]) -> Iterator[R]:
        """Do tasks one after the other in a process of their own; only the one to blame is lost."""
        remaining = deque(tasks)
        with _one_thread():
            while remaining:
                with _start(1) as pool:
                    while remaining:
                        task = remaining.popleft()
                        try:
                            result = pool.submit(function, task).result()
                        except BrokenProcessPool:
                            yield self._lost(task)
                            break
                        yield result

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # The pool starts its processes when they are needed: the setting has to last as long as it does.
            self._environment.enter_context(_one_thread())
            self._pool = _start(self.workers)
        return self._pool

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._environment.close()


def _start(workers: int) -> ProcessPoolExecutor:
    # 'spawn': a fork of a process that has used torch or CUDA may hang.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_initialize)


def _initialize() -> None:
    """Leave Ctrl-C to the parent, end when it is gone, use one thread, and keep freed memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()


def _leave_with(parent: Any) -> None:
    """Wait for the end of the parent. A worker whose parent was killed would wait for work forever."""
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Set the thread counts that libraries of the new processes read when they are loaded."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
