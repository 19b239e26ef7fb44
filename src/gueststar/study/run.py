"""Run a study: every arm with every seed, in as many processes as wanted, each kept as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.errors import GueststarError, StageError
from gueststar.night.pool import ProcessMap
from gueststar.realbogus.chips.names import CHIP_COLUMN
from gueststar.study.base import Arm, Study
from gueststar.study.files import plain, read_run, write_run, write_table
from gueststar.study.material import Material
from gueststar.study.page import write_study
from gueststar.study.results import Findings, Results, Run

__all__ = ["Failure", "StudyResult", "Tell", "run_study"]

#: Called as tell(words, done, total) in units of the work.
Tell = Callable[[str, float, float], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that came to nothing, and why."""

    arm: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """Where the page is, what was concluded, and which runs failed."""

    page: Path
    results: Results
    findings: Findings
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    study: Study
    arm: Arm
    seed: int
    data: str
    test: str | None
    exclude: tuple[str, ...]
    out: str
    held: Mapping[str, Any]


def run_study(
    study: Study,
    data: str | Path,
    out: str | Path,
    *,
    test: str | Path | None = None,
    exclude: Sequence[str] = (),
    workers: int = 1,
    tell: Tell | None = None,
) -> StudyResult:
    """Run what is missing of a study, and write its files anew.

    Parameters
    ----------
    study : Study
    data : path
        Data set to train on, as it is divided.
    out : path
        Folder: ``study.json``, ``results.parquet``, ``chips.parquet``, ``study.png``, ``study.html``, ``study.md``,
        ``test_rows.parquet`` and, in ``runs``, figures and scores of each run. Runs that are there are not made again.
    test : path, optional
        Data set to test on.
    exclude : sequence of str
        Reasons of suspicion whose rows are not trained on.
    workers : int
        Processes of one thread each; 1: this process.
    tell : callable, optional

    Returns
    -------
    StudyResult
        Runs that failed are told; the pages are made from the others.

    Raises
    ------
    InputError
        When the data do not fit the study.
    OutputError
        When `out` holds runs of other options or data, or cannot be written.
    StageError
        When no arm has a run.
    """
    material = study.open(data, test=test, exclude=exclude)
    arms = study.arms(material)
    folder = Path(out)
    held = {
        "options": study.model_dump(mode="json", exclude=set(study.selection)),
        "data": material.dataset.content_hash(), "excluded": list(material.dataset.excluded),
        "test": material.test_hash(), **({"old_labels": material.old_hash()} if material.old_hash() else {}),
    }  # fmt: skip
    tasks = [
        _Task(
            study, arm, seed, str(data), None if test is None else str(test), tuple(exclude), str(folder), plain(held)
        )
        for seed in study.seeds
        for arm in arms
    ]
    n = material.test_rows.size
    missing = [task for task in tasks if read_run(folder, task.arm.name, task.seed, held, n) is None]
    _write_test_rows(folder, material, study)
    failures = _run_all(missing, tasks, workers, tell)
    runs = [read_run(folder, task.arm.name, task.seed, held, n) for task in tasks]
    results = _results(study, material, arms, [run for run in runs if run is not None])
    if not results.arms or not results.seeds:
        words = failures[0].reason if failures else "none is there"
        raise StageError(f"no arm of the study has a run with a seed that all have: {words}", runs=0)
    if tell is not None:
        total = sum(task.arm.cost for task in tasks)
        tell(f"{len(results.runs)} of {len(tasks)} runs; intervals are drawn", total, total)
    findings = study.conclude(results)
    write_study(folder, study, material, results, findings, [f"{f.arm}, seed {f.seed}: {f.reason}" for f in failures])
    return StudyResult(folder / "study.html", results, findings, tuple(failures))


def _run_all(missing: list[_Task], tasks: list[_Task], workers: int, tell: Tell | None) -> list[Failure]:
    """Make the runs that are missing; returns those that failed."""
    total = sum(task.arm.cost for task in tasks)
    done = total - sum(task.arm.cost for task in missing)
    made = len(tasks) - len(missing)

    def show(share: float = 0.0, words: str = "") -> None:
        if tell is not None:
            tell(f"{made} of {len(tasks)} runs{words}", done + share, total)

    show()
    if not missing:
        return []
    failures = []
    if workers == 1:
        _open.cache_clear()
        for task in missing:
            failures += _run(task, partial(_show_part, show, task))
            made, done = made + 1, done + task.arm.cost
            show()
        _open.cache_clear()
        return failures
    # The longest first, so that no process is left with a long one at the end.
    order = sorted(missing, key=lambda task: -task.arm.cost)
    with ProcessMap(workers, lost=_lost) as pool:
        for number, found in _numbered(pool, order):
            failures += found
            made, done = made + 1, done + order[number].arm.cost
            show()
    return failures


def _show_part(show: Callable[[float, str], None], task: _Task, share: float) -> None:
    """Tell how far the run in hand is."""
    show(share * task.arm.cost, f"; {task.arm.name}, seed {task.seed}")


def _numbered(pool: ProcessMap, tasks: list[_Task]) -> Iterable[tuple[int, list[Failure]]]:
    yield from pool(_run_numbered, list(enumerate(tasks)))


def _run_numbered(task: tuple[int, _Task]) -> tuple[int, list[Failure]]:
    return task[0], _run(task[1])


def _lost(task: tuple[int, _Task]) -> tuple[int, list[Failure]]:
    reason = "its process died, for want of memory perhaps; run the study again with fewer workers"
    return task[0], [Failure(task[1].arm.name, task[1].seed, reason)]


def _run(task: _Task, tell: Callable[[float], None] | None = None) -> list[Failure]:
    """Make one run and keep it."""
    material = _open(task.study, task.data, task.test, task.exclude)
    start = time.perf_counter()

    def progress(stage: str, done: int, total: int) -> None:
        if tell is not None and stage == "train":
            tell(done / max(total, 1))

    try:
        scored = task.study.run(task.arm.name, task.seed, material, progress)
    except GueststarError as error:
        return [Failure(task.arm.name, task.seed, error.message)]
    seconds = round(time.perf_counter() - start, 2)
    scores = np.asarray(scored.scores, np.float32)
    run = Run(task.arm.name, task.seed, scored.n_train, scored.steps, seconds, scores, plain(dict(scored.facts)))
    write_run(Path(task.out), run, task.held, version=__version__)
    return []


@lru_cache(maxsize=1)
def _open(study: Study, data: str, test: str | None, exclude: tuple[str, ...]) -> Material:
    """The material, opened once in each process."""
    return study.open(data, test=test, exclude=exclude)


def _results(study: Study, material: Material, arms: Sequence[Arm], runs: Sequence[Run]) -> Results:
    there = {run.arm for run in runs}
    return Results(
        arms=tuple(arm.name for arm in arms if arm.name in there),
        words={arm.name: arm.words for arm in arms},
        runs=runs,
        labels=material.labels,
        snr=np.asarray(material.test["snr"])[material.test_rows],
        image=material.images(study.image_column)[0],
        chip=material.column(CHIP_COLUMN).astype(np.str_),
        boots=study.boots,
        other_labels=study.other_labels(material),
    )


def _write_test_rows(folder: Path, material: Material, study: Study) -> None:
    """What the scores of every run belong to, in their order."""
    columns: dict[str, Any] = {"row": material.test_rows, "label": material.test.labels[material.test_rows]}
    columns["snr"] = np.asarray(material.test["snr"])[material.test_rows]
    for name in dict.fromkeys(("candidate_id", study.image_column, CHIP_COLUMN)):
        columns[name] = material.column(name).astype(np.str_).tolist()
    write_table(folder / "test_rows.parquet", columns)
