"""Folders of real frames that artificial reals are put into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import resolve

if TYPE_CHECKING:
    from gueststar.types import Image

__all__ = ["RealFrames", "load_frames"]

RealFrames = Annotated[
    list[Path] | None,
    typer.Option("--real", metavar="DIR", help="Real frames that artificial reals are put into; again for more."),
]


def load_frames(
    folders: list[Path] | None,
    instrument: str | None,
    gain: float | None,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, list[Image]] | None:
    """Frames of each field in the folders, prepared; None without folders."""
    from gueststar.night.lights import load_lights

    found: dict[str, list[Image]] = {}
    for number, folder in enumerate(folders or (), 1):
        own = folder / "instrument.toml"
        settings = resolve(None, None, instrument=str(own) if own.is_file() else instrument, gain_e_adu=gain)
        for field, images in load_lights(folder, settings).items():
            found.setdefault(f"{folder.name} {field}".strip(), []).extend(images)
        if progress is not None:
            progress("real frames", number, len(folders or ()))
    return found or None
