"""The network's own error: nothing that was measured is unusual, or the candidate is a faint peak of the noise."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["NETWORK_ERROR"]

NETWORK_ERROR = Family(
    "network_error",
    "nothing that was measured is unusual: the network's own error",
    (
        Clue(
            "faintness",
            "how far |S/N| is below 7, where noise makes peaks",
            0.0,
            2.0,
            gain=0.1,
            against=0.1,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
        Clue(
            "calm",
            "how far the chi-square of the difference in the core, per pixel, is below 2: 1 is noise alone",
            0.0,
            0.8,
            gain=0.1,
            against=0.2,
            floor=1.0,
            most_usual=0.0,
            absolute=True,
        ),
    ),
    prior=-0.5,
    remedy="train on such cases, or raise the threshold: gueststar explain tells what the network saw",
)
