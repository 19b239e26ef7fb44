"""References of a run: made from the first frames of a group, or taken from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gueststar.config import Config
from gueststar.errors import InputError
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.night.calibration import Master, apply_masters
from gueststar.night.catalogs import read_catalog
from gueststar.night.frames import FoundFrame, Group, digest
from gueststar.night.guard import Guarded, StageClock
from gueststar.night.stored import read_image, read_image_facts, write_image
from gueststar.types import Image, Outcome

__all__ = ["LightTask", "MadeReference", "ReferenceTask", "load_light", "make_reference", "plan_reference"]


@dataclass(frozen=True, slots=True)
class LightTask:
    """Load one light frame."""

    frame: FoundFrame
    config: Config
    masters: tuple[Master, ...]
    catalog: Path | None

    @property
    def name(self) -> str:
        """Name of the frame in the night."""
        return self.frame.name


@dataclass(frozen=True, slots=True)
class ReferenceTask:
    """Make the reference of one group.

    `candidates` are tried in order until `wanted` of them could be used; at least `spare` are left over.
    """

    name: str
    group: Group
    candidates: tuple[FoundFrame, ...]
    wanted: int
    spare: int
    path: Path
    config: Config
    base_key: str
    masters: tuple[Master, ...]
    catalog: Path | None


@dataclass(frozen=True, slots=True)
class MadeReference:
    """A reference on disk: what it was made of, and which frames could not be used."""

    path: Path
    key: str
    used: tuple[str, ...]
    failures: tuple[Outcome, ...] = ()


def plan_reference(
    group: Group,
    earlier: Sequence[FoundFrame] | None,
    *,
    folder: Path,
    config: Config,
    base_key: str,
    masters: Sequence[Master],
    catalog: Path | None,
) -> ReferenceTask:
    """Decide from which frames the reference of a group is made.

    Parameters
    ----------
    group : Group
    earlier : sequence of FoundFrame or None
        What a reference folder holds; None: the group's own first frames are used, at most half of them.
    folder : Path
        Where references are written.
    base_key : str
        Hash of everything but the frames that a reference depends on.

    Raises
    ------
    InputError
        When there is nothing to make it from.
    """
    if earlier is None:
        n = len(group.frames)
        if n < 2:
            raise InputError(
                f"{group.frames[0].name} is the only frame of field {group.field!r}, chip {group.chip!r}, filter "
                f"{group.band!r}: there is no earlier frame to subtract; give --reference-dir",
                frames=n,
            )
        candidates, wanted, spare = group.frames, min(config.night.n_reference, max(1, n // 2)), 1
    else:
        candidates = _matching(group, earlier)
        wanted, spare = len(candidates), 0
    return ReferenceTask(
        group.name, group, candidates, wanted, spare, folder / f"{group.name}.fits", config, base_key,
        tuple(masters), catalog,
    )  # fmt: skip


def _matching(group: Group, earlier: Sequence[FoundFrame]) -> tuple[FoundFrame, ...]:
    here = [
        f for f in earlier if f.facts.field == group.field and f.facts.chip == group.chip and f.facts.kind == "light"
    ]
    here = [f for f in here if f.facts.band == group.band] or here
    if not here:
        have = sorted({f"{f.facts.field!r}/{f.facts.chip!r}" for f in earlier})
        raise InputError(
            f"the reference folder has nothing for field {group.field!r}, chip {group.chip!r}; "
            f"it has (field/chip): {', '.join(have[:8]) or 'no usable frame'}{' ...' if len(have) > 8 else ''}"
        )
    ready = [f for f in here if f.stored_key]
    # A finished reference is used as it is, the latest one; raw frames are combined.
    return (max(ready, key=lambda f: (f.facts.mjd_mid, f.name)),) if ready else tuple(here)


def make_reference(task: ReferenceTask, clock: StageClock) -> MadeReference:
    """Load frames, combine them and write the reference, unless it is there already."""
    ids = [frame.file_id for frame in task.candidates[: task.wanted]]
    key = digest(task.base_key, *ids, *(master.key for master in task.masters))
    stored = read_image_facts(task.path) if task.path.is_file() else None
    if stored is not None and stored[1] == key:
        return MadeReference(task.path, key, tuple(frame.name for frame in task.candidates[: task.wanted]))
    images: list[Image] = []
    used: list[FoundFrame] = []
    failures: list[Outcome] = []
    for number, frame in enumerate(task.candidates):
        left = len(task.candidates) - number - 1
        if len(used) == task.wanted or (used and left < task.spare):
            break
        with clock("load"):
            done = Guarded(load_light)(LightTask(frame, task.config, task.masters, task.catalog))
        if done.value is None:
            failures.append(replace(done.outcome, field=task.group.field, chip=task.group.chip))
        else:
            images.append(done.value)
            used.append(frame)
    if not images:
        raise InputError(
            f"no frame of field {task.group.field!r}, chip {task.group.chip!r} could be used for a reference; "
            f"the first failed with: {failures[0].reason}"
        )
    with clock("reference"):
        image = images[0] if len(images) == 1 else task.config.reference(images)
    if failures:
        key = digest(key, *(frame.file_id for frame in used))
    with clock("write"):
        write_image(task.path, image, key=key)
    return MadeReference(task.path, key, tuple(frame.name for frame in used), tuple(failures))


def load_light(task: LightTask, clock: StageClock) -> Image:
    """Read, calibrate and measure a light frame; an image that gueststar wrote is read as it is."""
    frame, config = task.frame, task.config
    with clock("load"):
        if frame.stored_key:
            return read_image(frame.path, device=config.device)
        raw = read_frame(frame.path, instrument=config.instrument, gain_e_adu=config.gain_e_adu)
        stars = read_catalog(task.catalog) if task.catalog is not None else None
        calibrated = apply_masters(raw, task.masters)
        return frame_image(calibrated, ingest=config.ingest, catalog=stars, device=config.device)
