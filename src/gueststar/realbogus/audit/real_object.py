"""A real object that its label calls an artifact: known, moving, coming back, or a new point source by its looks."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["REAL_OBJECT"]

REAL_OBJECT = Family(
    "real_object",
    "a real transient, variable or mover whose label is wrong",
    (
        Clue(
            "path_surprise",
            "candidates of the image on one straight path, as a satellite leaves: -log10 of the chance",
            2.0,
            5.0,
            gain=3.2,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "known_match",
            "a catalogue knows a variable, mover or transient there",
            0.5,
            1.0,
            gain=6.2,
            against=1.1,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "track_points",
            "images in which it moves on along one line",
            2.5,
            4.0,
            gain=4.5,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "sky_surprise",
            "it comes back at its place of the sky: -log10 of the chance",
            1.0,
            4.0,
            gain=3.0,
            against=0.5,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "point_like",
            "share of the residual that a point source, or a change of the star's brightness, explains",
            3.0,
            8.0,
            gain=1.0,
            against=1.5,
            floor=0.1,
            most_usual=0.1,
            absolute=True,
        ),
        Clue("strength", "|S/N|", 0.0, 2.0, gain=1.6, against=0.4, floor=5.0, most_usual=7.0, absolute=True),
        Clue(
            "trail_length",
            "length of the straight trail that it stands for",
            0.5,
            2.0,
            gain=1.5,
            floor=10.0,
            most_usual=0.0,
            absolute=True,
            unit="px",
        ),
    ),
    prior=-0.5,
    remedy="look at it: it may be a find. Known ones are told by --known; labels of a set by gueststar labels decide",
)
