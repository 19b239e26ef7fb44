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
            gain=4.0,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "pixel_excess",
            "a single pixel explains more of the residual than a point source, by this share",
            1.0,
            5.0,
            gain=2.6,
            against=0.6,
            floor=0.1,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "line_excess",
            "a column or row explains more of it than a point source, by this share",
            1.0,
            5.0,
            gain=2.3,
            floor=0.1,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "sharpness",
            "width of the PSF over its own",
            1.0,
            5.0,
            gain=1.5,
            against=0.4,
            floor=0.1,
            most_usual=1.15,
            absolute=True,
        ),
        Clue(
            "fault_flag",
            "flagged as bad, missing or cosmic ray",
            0.5,
            1.0,
            gain=1.0,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "pixel_surprise",
            "at the same pixel again under another sky: -log10 of the chance",
            1.5,
            4.0,
            gain=3.0,
            against=0.2,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
    ),
    prior=0.5,
    remedy="mask the pixels or columns; look for cosmic rays (ingest.cosmic_rays)",
)
