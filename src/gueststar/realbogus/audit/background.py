"""High or structured background: moonlight, clouds, gradients, glow."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["BACKGROUND"]

BACKGROUND = Family(
    "background",
    "a sky that is much brighter than the night's, or uneven: moonlight, clouds, glow",
    (
        Clue(
            "ring_level",
            "level of the difference around the candidate",
            2.0,
            8.0,
            gain=1.9,
            floor=0.1,
            most_usual=0.1,
            unit="sigma",
        ),
        Clue(
            "ring_structure",
            "unevenness of the difference around it, over what noise gives",
            2.0,
            8.0,
            gain=1.1,
            against=0.1,
            floor=0.3,
            most_usual=1.3,
        ),
        Clue(
            "image_background",
            "scatter of the level of the difference over the chip",
            2.0,
            8.0,
            gain=2.8,
            against=2.0,
            floor=0.03,
            most_usual=0.1,
            unit="sigma",
            per="image",
        ),
        Clue(
            "image_noise",
            "noise of the sky over the night's",
            2.0,
            8.0,
            gain=2.3,
            floor=0.2,
            most_usual=1.0,
            per="image",
        ),
        Clue(
            "image_transparency",
            "scatter of the transparency over the chip",
            2.0,
            8.0,
            gain=2.5,
            against=0.4,
            floor=0.01,
            most_usual=0.03,
            unit="mag",
            per="image",
        ),
    ),
    prior=1.4,
    remedy="a finer background mesh (ingest.background), or leave out exposures under moonlight and clouds",
)
