"""Edge of a frame: the science image or the reference ends, or the reference has fewer frames than elsewhere.

Where some frames of a coadd do not reach, its point-spread function and noise are those of the others, and every star
keeps a share of its light, whatever kernel matches the rest of the image.
"""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["FRAME_EDGE"]

FRAME_EDGE = Family(
    "frame_edge",
    "where a frame ends, or the reference has fewer frames than elsewhere",
    (
        Clue(
            "reference_thin",
            "noise of the reference there over that of its image: some of its frames do not reach",
            4.0,
            10.0,
            gain=2.5,
            floor=0.1,
            most_usual=1.0,
            absolute=True,
        ),
        Clue(
            "border_near",
            "16 px less the distance to the end of a frame",
            2.0,
            10.0,
            gain=3.5,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
            unit="px",
        ),
    ),
    prior=-0.5,
    remedy="make the reference of frames that reach the whole field, or leave out where few do (reference.least_share)",
)
