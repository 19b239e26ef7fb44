"""Load all light frames of a folder, calibrated and measured, for other uses than a run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gueststar.config import Config
from gueststar.night.calibration import Master, group_masters, make_masters
from gueststar.night.frames import examine, find_frames
from gueststar.night.guard import StageClock
from gueststar.night.references import LightTask, load_light
from gueststar.types import Image

__all__ = ["load_lights"]


def load_lights(folder: Path, config: Config) -> dict[str, list[Image]]:
    """Images of each field, chip and filter in a folder, in the order of the files' names.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders; darks and flats in it are applied.
    config : Config

    Raises
    ------
    GueststarError
        When a file cannot be used: unlike in a night, none is passed over.
    """
    clock = StageClock()
    frames = [examine(task, clock) for task in find_frames(folder, instrument=config.instrument)]
    images: dict[str, list[Image]] = {}
    with tempfile.TemporaryDirectory(prefix="gueststar-masters-") as scratch:
        masters: list[Master] = []
        for kind, members in (("dark", ("dark", "bias")), ("flat", ("flat",))):
            chosen = [frame for frame in frames if frame.facts.kind in members]
            for task in group_masters(
                chosen, kind, out=Path(scratch), instrument=config.instrument, darks=tuple(masters)
            ):
                masters += make_masters(task, clock).masters
        for frame in frames:
            if frame.facts.kind == "light":
                image = load_light(LightTask(frame, config, tuple(masters), None), clock)
                name = " ".join(part for part in (frame.facts.field, frame.facts.chip, frame.facts.band) if part)
                images.setdefault(name, []).append(image)
    return images
