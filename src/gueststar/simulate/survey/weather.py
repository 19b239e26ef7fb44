"""Weather, optics, pointing: what one exposure is like, and how often a whole exposure fails."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gueststar.options import Options
from gueststar.simulate.survey.bounds import Pair, within

__all__ = ["Weather"]


class Weather(Options):
    """Seeing, sky, pointing, registration and bright stars of a survey."""

    fwhm_px: Annotated[Pair, AfterValidator(within(1.5, 20))] = Field(
        (2.4, 3.4), description="Seeing (FWHM at the chip centre), px"
    )
    bad_seeing_rate: float = Field(0.03, ge=0, le=1, description="Share of the exposures with bad seeing")
    bad_seeing_px: Annotated[Pair, AfterValidator(within(1.5, 20))] = Field(
        (4.2, 6.7), description="FWHM of those exposures, px"
    )
    reference_sharper: float = Field(
        0.8, ge=0, le=1, description="Share of pairs whose sharper frame is made the reference"
    )
    moffat_beta: Annotated[Pair, AfterValidator(within(1.6, 20))] = Field(
        (2.5, 4.0), description="Moffat exponent of the point-spread function"
    )
    ellipticity: Annotated[Pair, AfterValidator(within(0, 0.7))] = Field(
        (0.0, 0.08), description="Ellipticity 1 - b/a of the point-spread function"
    )
    psf_variation: float = Field(0.1, ge=0, le=0.5, description="Largest change of the FWHM over the chip, fraction")
    optics_change: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of the PSF's pattern over the chip and of the aureole that each exposure changes",
    )
    trailing_rate: float = Field(0.02, ge=0, le=1, description="Share of the exposures trailed by bad guiding")
    trailing_px: Annotated[Pair, AfterValidator(within(0, 60))] = Field(
        (1.0, 8.0), description="Length of those trails, px"
    )
    defocus_rate: float = Field(0.01, ge=0, le=1, description="Share of the exposures out of focus")
    defocus_px: Annotated[Pair, AfterValidator(within(0, 60))] = Field(
        (3.0, 10.0), description="Outer diameter of the ring that a star becomes, px"
    )
    sky_mag: Annotated[Pair, AfterValidator(within(12, 24))] = Field(
        (18.0, 20.5), description="Sky brightness, mag/arcsec^2"
    )
    sky_gradient: Annotated[Pair, AfterValidator(within(0, 1))] = Field(
        (0.0, 0.1), description="Change of the sky level across the chip, fraction"
    )
    sky_structure: float = Field(
        0.001,
        ge=0,
        le=0.5,
        description="Structure of the sky on scales of 50 px and more, fraction of its level (1 sigma)",
    )
    extinction_mag: Annotated[Pair, AfterValidator(within(0, 5))] = Field(
        (0.0, 0.3), description="Light lost to even clouds, mag"
    )
    cloud_patch_rate: float = Field(0.03, ge=0, le=1, description="Share of the exposures with patchy clouds")
    cloud_patch_mag: Annotated[Pair, AfterValidator(within(0, 5))] = Field(
        (0.2, 1.5), description="Light lost in the thickest of those patches, mag"
    )
    colour_term: float = Field(
        0.01, ge=0, le=1, description="Colour term of an exposure (1 sigma), mag per mag of colour"
    )
    reference_colour_term: float = Field(
        0.0, ge=-1, le=1, description="Colour term of the earlier visits (another filter), mag per mag of colour"
    )

    dither_px: float = Field(8.0, ge=0, le=200, description="Pointing scatter between visits (1 sigma), px")
    rotation_deg: float = Field(0.02, ge=0, le=5, description="Field rotation between visits (1 sigma), deg")
    wcs_shift_px: float = Field(0.15, ge=0, le=50, description="Error of the header's WCS: shift (1 sigma), px")
    wcs_rotation_px: float = Field(0.1, ge=0, le=50, description="The same: rotation, px at the corner (1 sigma)")
    wcs_gradient_px: float = Field(0.1, ge=0, le=50, description="The same: scale and quadratic terms, px at the edge")
    wcs_failure_rate: float = Field(0.025, ge=0, le=1, description="Share of the frames whose WCS is grossly wrong")
    wcs_failure_px: Annotated[Pair, AfterValidator(within(0, 500))] = Field(
        (1.0, 10.0), description="Error of those frames, px"
    )
    wobble_px: float = Field(0.03, ge=0, le=5, description="Smooth random shifts by the atmosphere, rms px")

    aureole: Annotated[Pair, AfterValidator(within(0, 0.5))] = Field(
        (0.01, 0.03), description="Share of a star's light in its aureole"
    )
    aureole_slope: Annotated[Pair, AfterValidator(within(1.5, 4))] = Field(
        (2.0, 3.0), description="Aureole brightness falls as r to the minus this"
    )
    spikes: float = Field(0.005, ge=0, le=0.5, description="Share of a star's light in the four diffraction spikes")
    ghosts: float = Field(1.0, ge=0, le=1000, description="Factor on the brightness of reflections of bright stars")
