"""A frame as it comes from a file: raw counts and what header and name tell about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as _field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.instruments import Instrument
from gueststar.types import Fact

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Frame", "FrameFacts"]


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What the header and the file name tell.

    `kind` is 'light', 'dark', 'flat' or 'bias'; `mjd_mid` UTC at mid-exposure, NaN when unknown; `exposure_s` NaN when
    unknown (calibration frames only); the rest is empty when unknown.
    """

    name: str
    kind: str
    field: str
    chip: str
    band: str
    exposure_s: float
    mjd_mid: float


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Raw or calibrated counts of one file.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
        ADU, native byte order; a colour mosaic is binned already.
    mask : ndarray of int16 or None
        Bits of `Mask` from the calibration frames.
    saturation_in_mask : bool
        The mask tells which raw pixels were saturated; the level no longer does, because a flat was divided out.
    n_frames : float
        Frames summed into a stack.
    header_zeropoint_mag : float or None
        AB magnitude of 1 ADU, when the header has it.
    facts : mapping
        What the calibration did.
    """

    name: str
    kind: str
    field: str
    chip: str
    band: str
    exposure_s: float
    mjd_mid: float
    data: NDArray[np.float32]
    header: Mapping[str, Any]
    wcs: WCS | None
    instrument: Instrument
    gain_e_adu: float
    read_noise_e: float = 0.0
    saturation_adu: float | None = None
    n_frames: float = 1.0
    header_zeropoint_mag: float | None = None
    mask: NDArray[np.int16] | None = None
    saturation_in_mask: bool = False
    facts: Mapping[str, Fact] = _field(default_factory=dict)
