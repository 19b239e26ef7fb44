"""One simulated frame: where it was taken, its counts and header, and how to make a calibrated image of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.instruments import Instrument
from gueststar.simulate.camera import make_wcs, wcs_cards
from gueststar.simulate.optics.conditions import Conditions
from gueststar.simulate.survey import Survey

if TYPE_CHECKING:
    from gueststar.ingest.prepare import Ingest
    from gueststar.types import Image

__all__ = ["Place", "RawFrame", "flux_e"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Field and chip of an exposure.

    Parameters
    ----------
    field, chip : str
        Names.
    shape : (int, int)
        (ny, nx) of the chip.
    ra_deg, dec_deg : float
        Nominal centre of the chip.
    latitude_deg : float
        Galactic latitude.
    instrument : Instrument
        Profile of the camera.
    offset_deg : (float, float)
        Chip's centre minus field's centre along x and y.
    """

    field: str
    chip: str
    shape: tuple[int, int]
    ra_deg: float
    dec_deg: float
    latitude_deg: float
    instrument: Instrument
    offset_deg: tuple[float, float] = (0.0, 0.0)

    def cards(self, survey: Survey, conditions: Conditions | None = None) -> dict[str, Any]:
        """World coordinates as in a header: of an exposure, or nominal ones."""
        return wcs_cards(
            self.shape,
            ra_deg=self.ra_deg,
            dec_deg=self.dec_deg,
            scale_arcsec=survey.pixel_scale_arcsec,
            rotation_deg=0.0 if conditions is None else conditions.rotation_deg,
            shift_px=(0.0, 0.0) if conditions is None else conditions.pointing_px,
            distortion_px=survey.distortion_px,
        )

    def wcs(self, survey: Survey) -> WCS:
        """Nominal world coordinates."""
        return make_wcs(self.cards(survey))


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """One simulated frame, as it would come from the telescope.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
        Counts (ADU), sky included; dark and flat done.
    header : mapping
        Keywords as the instrument writes them, world coordinates included.
    gain_e_adu : float
    read_noise_e : float
        Of the whole stack.
    saturation_adu : float
        Of the whole stack.
    mjd_mid, exposure_s : float
        Middle (UTC) and length of the exposure.
    place : Place
        Field and chip.
    conditions : Conditions
        What the exposure was like.
    name : str
        File name without suffix.
    facts : mapping
        sky_e and sky_noise_e, per pixel at the chip's centre.
    """

    data: F4
    header: Mapping[str, Any]
    gain_e_adu: float
    read_noise_e: float
    saturation_adu: float
    mjd_mid: float
    exposure_s: float
    place: Place
    conditions: Conditions
    name: str
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def wcs(self) -> WCS:
        """World coordinates by the header."""
        return make_wcs(self.header)

    def image(self, *, ingest: Ingest | None = None, device: str = "cpu") -> Image:
        """The calibrated, sky-subtracted and measured image; see `gueststar.prepare_image`."""
        from gueststar.ingest.prepare import prepare_image

        return prepare_image(
            self.data,
            gain_e_adu=self.gain_e_adu,
            read_noise_e=self.read_noise_e,
            saturation_adu=self.saturation_adu,
            wcs=self.wcs,
            options=ingest,
            device=device,
            band=str(self.header.get("FILTER", "")),
            mjd_mid=self.mjd_mid,
            exposure_s=self.exposure_s,
            field=self.place.field,
            chip=self.place.chip,
            instrument=self.place.instrument.name,
            header=dict(self.header),
        )


def flux_e(survey: Survey, mag: ArrayLike, *, extinction_mag: float, exposures: int = 1) -> F8:
    """Electrons from a source in an exposure, before vignetting (the flat puts that back)."""
    m = np.asarray(mag, np.float64) + extinction_mag - survey.zeropoint_mag
    electrons: F8 = survey.exposure_s * exposures * 10.0 ** (-0.4 * m)
    return electrons
