"""Crowded field: too many stars for the subtraction to tell one from another."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["CROWDING"]

CROWDING = Family(
    "crowded_field",
    "so many stars that their residuals overlap, as in the galactic plane",
    (
        Clue(
            "sources_near",
            "sources of the reference per 1000 px around the candidate",
            1.5,
            6.0,
            gain=2.6,
            against=1.5,
            floor=1.0,
            most_usual=3.0,
        ),
        Clue(
            "covered_share",
            "share of the pixels around it that stars cover",
            1.5,
            6.0,
            gain=1.6,
            against=1.1,
            floor=0.05,
            most_usual=0.15,
        ),
        Clue(
            "local_scatter",
            "scatter of the score around it, 1 on empty sky",
            2.0,
            8.0,
            gain=0.1,
            floor=0.1,
            most_usual=1.2,
        ),
        Clue(
            "image_crowding",
            "share of the scatter of the pixels that is light",
            2.0,
            6.0,
            gain=2.6,
            against=0.2,
            floor=0.07,
            most_usual=0.35,
            per="image",
        ),
        Clue(
            "image_sources",
            "sources of the image over the night's",
            1.5,
            6.0,
            gain=2.8,
            against=2.3,
            floor=0.3,
            most_usual=1.0,
            per="image",
        ),
    ),
    prior=0.9,
    remedy="a subtraction engine for crowds, or a higher threshold in such fields",
)
