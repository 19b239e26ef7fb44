"""What a simulated survey is like: camera, sky, weather and faults, each with its range, rate or switch.

Defaults describe a camera like Tomo-e Gozen (Sako et al. 2018, SPIE 10702, 107020J): high-gain CMOS chips, sum stacks
of twelve frames of 0.5 s without a filter. A range (low, high) is drawn from anew for each exposure or field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from gueststar.options import Options

__all__ = ["Survey"]

Pair = tuple[float, float]


def _within(lowest: float, highest: float) -> Callable[[Pair], Pair]:
    """Check of a range (low, high): ordered, and inside the bounds."""

    def check(value: Pair) -> Pair:
        low, high = value
        if not lowest <= low <= high <= highest:
            raise ValueError(f"a range (low, high) with {lowest:g} <= low <= high <= {highest:g} is needed")
        return value

    return check


class Survey(Options):
    """Options of the simulator; see `gueststar.simulate.night` for what makes images of them.

    Ranges are (low, high) and drawn from uniformly unless the description says otherwise. Rates per chip refer to a
    chip of 2000 x 1128 px and scale with the area of the frame. Setting a rate to 0 switches that effect off.
    """

    # Camera
    pixel_scale_arcsec: float = Field(1.189, gt=0.01, le=60, description="Pixel scale, arcsec/px")
    gain_e_adu: float = Field(0.23, gt=0, le=100, description="Gain, e-/ADU")
    read_noise_e: float = Field(2.0, ge=0, le=1000, description="Read noise of one frame, e-")
    dark_e_s: float = Field(0.5, ge=0, le=1000, description="Dark current, e-/s/px; subtracted, its noise stays")
    saturation_adu: float = Field(26000.0, gt=0, description="Saturation of one frame, ADU")
    frame_s: float = Field(0.5, gt=0, le=3600, description="Exposure time of one frame, s")
    frames: int = Field(12, ge=1, le=1000, description="Frames summed in one stack")
    zeropoint_mag: float = Field(25.0, ge=10, le=35, description="AB mag of 1 e-/s on the optical axis, clear sky")
    vignetting: bool = Field(True, description="Light lost towards the edge of the field; the flat puts it back")
    distortion_px: float = Field(1.5, ge=0, le=50, description="Optical distortion at the corner of a chip (SIP), px")

    # Sky
    galactic_latitude_deg: Annotated[Pair, AfterValidator(_within(0, 90))] = Field(
        (5.0, 90.0), description="|b| of the fields, deg; drawn uniformly over the sphere"
    )
    star_density: float = Field(1.0, ge=0, le=100, description="Factor on the star counts at the field's latitude")
    star_mag: Annotated[Pair, AfterValidator(_within(-2, 28))] = Field(
        (3.0, 20.0), description="Brightest and faintest star, mag"
    )
    galaxy_density: float = Field(1.0, ge=0, le=100, description="Factor on the galaxy counts")
    galaxy_mag: Annotated[Pair, AfterValidator(_within(5, 28))] = Field(
        (12.0, 20.5), description="Brightest and faintest galaxy, mag"
    )
    variable_fraction: float = Field(0.01, ge=0, le=1, description="Share of the stars that vary")
    variable_amplitude_mag: Annotated[Pair, AfterValidator(_within(0.001, 8))] = Field(
        (0.05, 1.0), description="Half range of the variables, mag; log-uniform"
    )
    supernovae_per_chip: float = Field(4.0, ge=0, le=10000, description="Supernovae on host galaxies, mean per chip")
    hostless_per_chip: float = Field(2.0, ge=0, le=10000, description="Transients without a host, mean per chip")
    asteroids_per_chip: float = Field(1.0, ge=0, le=10000, description="Moving points, mean per chip")
    transient_mag: Annotated[Pair, AfterValidator(_within(-2, 28))] = Field(
        (15.0, 19.5), description="Magnitudes of transients and asteroids"
    )

    # Weather and optics
    fwhm_px: Annotated[Pair, AfterValidator(_within(1.5, 20))] = Field(
        (2.4, 3.4), description="Seeing (FWHM at the chip centre), px"
    )
    reference_sharper: float = Field(
        0.8, ge=0, le=1, description="Share of pairs whose sharper frame is made the reference"
    )
    moffat_beta: Annotated[Pair, AfterValidator(_within(1.6, 20))] = Field(
        (2.5, 4.0), description="Moffat exponent of the point-spread function"
    )
    ellipticity: Annotated[Pair, AfterValidator(_within(0, 0.7))] = Field(
        (0.0, 0.08), description="Ellipticity 1 - b/a of the point-spread function"
    )
    psf_variation: float = Field(0.1, ge=0, le=0.5, description="Largest change of the FWHM over the chip, fraction")
    sky_mag: Annotated[Pair, AfterValidator(_within(12, 24))] = Field(
        (18.0, 20.5), description="Sky brightness, mag/arcsec^2"
    )
    sky_gradient: Annotated[Pair, AfterValidator(_within(0, 1))] = Field(
        (0.0, 0.1), description="Change of the sky level across the chip, fraction"
    )
    extinction_mag: Annotated[Pair, AfterValidator(_within(0, 5))] = Field(
        (0.0, 0.3), description="Light lost to clouds, mag"
    )

    # Pointing and registration
    dither_px: float = Field(8.0, ge=0, le=200, description="Pointing scatter between visits (1 sigma), px")
    rotation_deg: float = Field(0.02, ge=0, le=5, description="Field rotation between visits (1 sigma), deg")
    wcs_shift_px: float = Field(0.15, ge=0, le=50, description="Error of the header's WCS: shift (1 sigma), px")
    wcs_rotation_px: float = Field(0.1, ge=0, le=50, description="The same: rotation, px at the corner (1 sigma)")
    wcs_gradient_px: float = Field(0.1, ge=0, le=50, description="The same: scale and quadratic terms, px at the edge")
    wobble_px: float = Field(0.03, ge=0, le=5, description="Smooth random shifts by the atmosphere, rms px")

    # Faults of stars and detector
    aureole: Annotated[Pair, AfterValidator(_within(0, 0.5))] = Field(
        (0.01, 0.03), description="Share of a star's light in its aureole"
    )
    aureole_slope: Annotated[Pair, AfterValidator(_within(1.5, 4))] = Field(
        (2.0, 3.0), description="Aureole brightness falls as r to the minus this"
    )
    spikes: float = Field(0.005, ge=0, le=0.5, description="Share of a star's light in the four diffraction spikes")
    ghosts: float = Field(1.0, ge=0, le=1000, description="Factor on the brightness of reflections of bright stars")
    cosmic_rays_per_chip: float = Field(0.8, ge=0, le=100000, description="Cosmic rays per chip and 6 s")
    hot_pixels: float = Field(3e-4, ge=0, le=0.2, description="Share of the pixels that are hot or unsteady")
    pattern_e: float = Field(0.5, ge=0, le=100, description="Row and column pattern (1 sigma), e-")
    flat_error: float = Field(0.005, ge=0, le=0.5, description="Error of the flat field (1 sigma), fraction")

    # Night
    earlier_visits: int = Field(3, ge=1, le=1000, description="Visits of each field before the transients appear")
    reference_exposures: int = Field(
        1, ge=1, le=1000, description="Exposures summed in the reference of a simulated pair"
    )

    @property
    def exposure_s(self) -> float:
        """Exposure time of one stack, s."""
        return self.frame_s * self.frames

    @property
    def full_well_e(self) -> float:
        """Saturation of one frame, e-."""
        return self.saturation_adu * self.gain_e_adu

    @classmethod
    def varied(cls) -> Survey:
        """A survey of many conditions, for training: seeing 2.1-4.5 px, all latitudes, dark to twilight sky."""
        return cls(
            galactic_latitude_deg=(0.0, 90.0),
            fwhm_px=(2.1, 4.5),
            sky_mag=(17.0, 20.5),
            extinction_mag=(0.0, 1.0),
            wcs_shift_px=0.3,
            cosmic_rays_per_chip=10.0,
        )
