"""Misalignment: stars lie elsewhere in the science image than in the aligned reference."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["MISALIGNMENT"]

MISALIGNMENT = Family(
    "misalignment",
    "science and reference are shifted against each other: two lobes of opposite sign at every star",
    (
        Clue(
            "shift_share",
            "share of the residual that a shift of the stars explains",
            2.0,
            7.0,
            gain=1.4,
            against=0.2,
            floor=0.1,
            most_usual=0.1,
            absolute=True,
        ),
        Clue(
            "dipole_strength",
            "second lobe of opposite sign, share of the first",
            2.0,
            7.0,
            gain=0.5,
            floor=0.1,
            most_usual=0.1,
            absolute=True,
        ),
        Clue(
            "within_shift",
            "share of the S/N that a shift of the star beside it explains",
            3.0,
            9.0,
            gain=0.6,
            against=0.5,
            floor=0.1,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "image_shift_px",
            "shift of the stars of the image that is left",
            2.0,
            6.0,
            gain=2.0,
            against=1.8,
            floor=0.04,
            most_usual=0.1,
            unit="px",
            per="image",
        ),
        Clue(
            "image_align_rms_px",
            "scatter of the registration",
            2.0,
            6.0,
            gain=2.3,
            against=3.5,
            floor=0.03,
            most_usual=0.1,
            unit="px",
            per="image",
        ),
        Clue(
            "image_unmatched",
            "bright stars of the image without one of the reference",
            2.0,
            6.0,
            gain=0.6,
            against=0.4,
            floor=0.05,
            most_usual=0.1,
            per="image",
        ),
    ),
    prior=-0.4,
    remedy="repair the world coordinates, or raise align.order; check the registration of the reference",
)
