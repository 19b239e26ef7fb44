"""Bright star or its halo: saturated core, spikes, aureole, ghosts."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["BRIGHT_STAR"]

BRIGHT_STAR = Family(
    "bright_star",
    "on a bright star, or in its halo, spikes or ghosts",
    (
        Clue(
            "star_beside",
            "S/N of the star within whose reach it lies",
            0.0,
            2.0,
            gain=2.0,
            against=1.4,
            floor=50.0,
            most_usual=925.0,
            absolute=True,
        ),
        Clue(
            "saturated_flag",
            "flagged as saturated",
            0.5,
            1.0,
            gain=1.7,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "halo_flag",
            "flagged as halo, spike or ghost",
            0.5,
            1.0,
            gain=0.7,
            against=0.7,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "halo_log",
            "light of the nearest bright star at the place, log10 of sigma of the sky",
            1.0,
            4.0,
            gain=1.5,
            floor=0.5,
            most_usual=-0.5,
            absolute=True,
        ),
        Clue(
            "ring_level",
            "level of the difference around the candidate",
            3.0,
            9.0,
            gain=0.2,
            against=1.1,
            floor=0.1,
            most_usual=0.1,
            unit="sigma",
        ),
    ),
    prior=-1.0,
    remedy="mask a wider circle around bright stars (ingest.bright_stars)",
)
