"""Bits of a mask plane."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["Mask"]


class Mask(IntFlag):
    """Bits of a mask plane; zero is a good pixel."""

    BAD = 1  #: dead, hot or otherwise known to be bad
    SATURATED = 2  #: at or above the saturation level, grown by the charge that spilled
    COSMIC_RAY = 4  #: sharper than the point-spread function allows
    NO_DATA = 8  #: not exposed, outside the frame, or not a finite number
    BRIGHT_STAR = 16  #: of a candidate: in the halo, spikes or a ghost of a bright star (`Image.halo`)
    REFERENCE = 32  #: in a difference: the flag beside it comes from the reference
