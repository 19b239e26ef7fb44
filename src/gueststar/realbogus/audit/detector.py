"""Detector fault: hot pixels, columns, cosmic rays, what stays at its pixel while the sky moves."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["DETECTOR"]

DETECTOR = Family(
    "detector_fault",
    "a hot pixel, a bad column or a cosmic ray: sharper than any star, flagged, or at the same pixel again",
    (
        Clue(
            "column_surprise",
            "candidates of the image in one column or row: -log10 of the chance",
            1.5,
            4.0,
            gain=3.0,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "pixel_excess",
            "a single pixel explains more of the residual than a point source, by this share",
            1.0,
            5.0,
            gain=2.7,
            against=0.7,
            floor=0.1,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "line_excess",
            "a column or row explains more of it than a point source, by this share",
            1.0,
            5.0,
            gain=2.4,
            floor=0.1,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "lone_sharpness",
            "width of the PSF over its own, as far as no shift or shape of a star explains it",
            2.0,
            12.0,
            gain=2.0,
            against=0.1,
            floor=0.1,
            most_usual=1.15,
            absolute=True,
        ),
        Clue(
            "pixel_gain",
            "how much better a single pixel explains it than a point source, in chi-square",
            0.0,
            2.0,
            gain=2.4,
            floor=10.0,
            most_usual=6.0,
            absolute=True,
        ),
        Clue(
            "line_gain",
            "how much better a column or row explains it than a point source, in chi-square",
            0.0,
            3.0,
            gain=1.0,
            floor=10.0,
            most_usual=6.0,
            absolute=True,
        ),
        Clue(
            "fault_flag",
            "flagged as bad, missing or cosmic ray, and not as saturated",
            0.5,
            1.0,
            gain=0.6,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "pixel_surprise",
            "at the same pixel again under another sky: -log10 of the chance",
            1.5,
            4.0,
            gain=3.5,
            against=1.0,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
    ),
    prior=0.4,
    remedy="mask the pixels or columns; look for cosmic rays (ingest.cosmic_rays)",
)
