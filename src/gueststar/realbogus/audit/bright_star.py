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
            "halo_log",
            "light of the nearest bright star at the place, log10 of sigma of the sky",
            1.0,
            4.0,
            gain=2.6,
            floor=0.5,
            most_usual=-0.5,
            absolute=True,
        ),
        Clue(
            "star_flag",
            "flagged as halo, spike or saturated",
            0.5,
            1.0,
            gain=2.5,
            against=0.9,
            floor=1.0,
            most_usual=0.0,
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
    prior=-0.9,
    remedy="mask a wider circle around bright stars (ingest.bright_stars)",
)
