"""The steps of a night, in order: look at the frames, calibrate, make references, process the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gueststar.config import Config
from gueststar.errors import InputError
from gueststar.night.calibration import Master, group_masters, make_masters
from gueststar.night.folders import staged_folder
from gueststar.night.frames import FoundFrame, Group, digest, examine, group_lights
from gueststar.night.guard import Done, Guarded, StageClock
from gueststar.night.ledger import Ledger
from gueststar.night.pair import process_images
from gueststar.night.pool import Mapper
from gueststar.night.products import PRODUCT_NAMES, read_outcome
from gueststar.night.records import Names
from gueststar.night.references import (
    LightTask,
    MadeReference,
    ReferenceTask,
    load_light,
    make_reference,
    plan_reference,
)
from gueststar.night.stored import read_image
from gueststar.types import Outcome

__all__ = ["ImageTask", "Run", "process_image", "process_night"]


@dataclass(frozen=True, slots=True)
class ImageTask:
    """Process one light frame of a night."""

    light: LightTask
    reference: Path
    folder: Path
    key: str
    config_hash: str

    @property
    def name(self) -> str:
        """Name of the frame in the night."""
        return self.light.name


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps of a run share."""

    out: Path
    config: Config
    catalog: Path | None
    map: Mapper
    ledger: Ledger
    base_key: str


def process_image(task: ImageTask, clock: StageClock) -> Outcome:
    """Process one image and write its folder; runs in a worker process.

    Raises
    ------
    GueststarError
        When it cannot be processed; the folder is then as it was.
    """
    config, frame = task.light.config, task.light.frame
    with staged_folder(task.folder, overwrite=True, known=PRODUCT_NAMES) as folder:
        science = load_light(task.light, clock)
        with clock("load"):
            reference = read_image(task.reference, device=config.device)
        names = Names(
            frame.name, frame.path.name, task.reference.name, task.key, task.config_hash, f"images/{frame.name}/"
        )
        return process_images(science, reference, folder, config, names, watch=clock, clock=clock)


def process_night(run: Run, tasks: Sequence[Any], earlier: Sequence[Any] | None) -> int:
    """Do all steps; returns how many images an earlier run had finished.

    Parameters
    ----------
    run : Run
    tasks : sequence of FrameTask
        Files of the night.
    earlier : sequence of FrameTask or None
        Files of the reference folder, if there is one.

    Raises
    ------
    InputError
        When there is no light frame.
    """
    frames = _examine(run, tasks, "headers")
    references = None if earlier is None else _examine(run, earlier, "reference headers", store=False)
    masters = _calibrate(run, frames)
    groups = group_lights([frame for frame in frames if frame.facts.kind == "light"])
    kinds = [frame.facts.kind for frame in frames]
    run.ledger.record["inputs"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    if not groups and not run.ledger.outcomes:
        found = ", ".join(f"{n} {kind}" for kind, n in run.ledger.record["inputs"].items())
        raise InputError(f"the night holds no light frame, only {found}; are the kinds of the frames in the headers?")
    made = _make_references(run, groups, references, masters)
    return _process_lights(run, groups, made, masters, own=references is None)


def _examine(run: Run, tasks: Sequence[Any], stage: str, *, store: bool = True) -> list[FoundFrame]:
    frames = []
    for done in _watched(run, stage, examine, tasks):
        if done.value is not None:
            frames.append(done.value)
        elif store:
            run.ledger.fail(done.outcome)
    return sorted(frames, key=lambda frame: frame.name)


def _calibrate(run: Run, frames: Sequence[FoundFrame]) -> tuple[Master, ...]:
    """Combine darks, then flats with them."""
    masters: list[Master] = []
    notes = run.ledger.record.setdefault("calibration", [])
    folder = run.out / "calibration"
    for kind, members in (("dark", ("dark", "bias")), ("flat", ("flat",))):
        chosen = [frame for frame in frames if frame.facts.kind in members]
        tasks = group_masters(chosen, kind, out=folder, instrument=run.config.instrument, darks=tuple(masters))
        for done in _watched(run, f"{kind}s", make_masters, tasks):
            if done.value is None:
                notes.append({"name": done.task.name, "status": done.outcome.status, "reason": done.outcome.reason})
                continue
            for frame_failure in done.value.failures:
                run.ledger.fail(frame_failure)
            for master in done.value.masters:
                notes.append({"name": master.path.stem, "status": "ok", "frames": len(done.value.used)})
            masters += done.value.masters
    return tuple(sorted(masters, key=lambda master: master.path.name))


def _make_references(
    run: Run, groups: Sequence[Group], earlier: Sequence[FoundFrame] | None, masters: tuple[Master, ...]
) -> dict[str, MadeReference]:
    tasks: list[ReferenceTask] = []
    for group in groups:
        try:
            tasks.append(
                plan_reference(
                    group, earlier, folder=run.out / "references", config=run.config, base_key=run.base_key,
                    masters=masters, catalog=run.catalog,
                )
            )  # fmt: skip
        except InputError as error:
            _fail_group(run, group, Outcome("", "failed", stage="reference", reason=error.message))
    made: dict[str, MadeReference] = {}
    for done in _watched(run, "references", make_reference, tasks):
        if done.value is None:
            _fail_group(run, done.task.group, done.outcome)
            continue
        made[done.task.name] = done.value
        for failure in done.value.failures:
            run.ledger.fail(failure)
    run.ledger.record["references"] = {
        name: {"file": reference.path.name, "frames": list(reference.used)} for name, reference in sorted(made.items())
    }
    return made


def _fail_group(run: Run, group: Group, outcome: Outcome) -> None:
    for frame in group.frames:
        if frame.name not in run.ledger.outcomes:
            mjd = frame.facts.mjd_mid
            run.ledger.fail(replace(outcome, image=frame.name, field=group.field, chip=group.chip, mjd=mjd))


def _process_lights(
    run: Run, groups: Sequence[Group], made: dict[str, MadeReference], masters: tuple[Master, ...], *, own: bool
) -> int:
    tasks, kept = [], 0
    for group in groups:
        reference = made.get(group.name)
        if reference is None:
            continue
        used = set(reference.used) if own else set()
        for frame in group.frames:
            if frame.name in used or frame.name in run.ledger.outcomes:
                continue
            key = digest(run.base_key, frame.file_id, reference.key, *(master.key for master in masters))
            folder = run.ledger.folder(frame.name)
            stored = read_outcome(folder / "outcome.json")
            if stored is not None and stored[1] == key and stored[0].status in ("ok", "rejected"):
                run.ledger.outcomes[frame.name] = stored[0]
                kept += 1
                continue
            light = LightTask(frame, run.config, masters, run.catalog)
            tasks.append(ImageTask(light, reference.path, folder, key, run.ledger.config_hash))
    for done in _watched(run, "images", process_image, tasks):
        if done.value is not None:
            run.ledger.outcomes[done.task.name] = done.value
        else:
            facts = done.task.light.frame.facts
            failure = replace(done.outcome, field=facts.field, chip=facts.chip, mjd=facts.mjd_mid)
            run.ledger.fail(failure, key=done.task.key)
    return kept


def _watched(
    run: Run, stage: str, function: Callable[[Any, StageClock], Any], tasks: Sequence[Any]
) -> Iterator[Done[Any, Any]]:
    """Map a task function, tell the progress, and yield what is done."""
    run.ledger.progress(stage, 0, len(tasks), None)
    results: Iterable[Done[Any, Any]] = run.map(Guarded(function), tasks) if tasks else ()
    for number, done in enumerate(results, 1):
        outcome = done.outcome if done.value is None else done.value
        run.ledger.progress(stage, number, len(tasks), outcome if isinstance(outcome, Outcome) else None)
        yield done
