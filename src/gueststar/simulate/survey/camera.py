"""The camera: its numbers, and the faults of its detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gueststar.options import Options
from gueststar.simulate.survey.bounds import Pair, within

__all__ = ["Camera"]


class Camera(Options):
    """Camera and detector of a survey."""

    pixel_scale_arcsec: float = Field(1.189, gt=0.01, le=60, description="Pixel scale, arcsec/px")
    gain_e_adu: float = Field(0.23, gt=0, le=100, description="Gain, e-/ADU")
    read_noise_e: float = Field(2.0, ge=0, le=1000, description="Read noise of one frame, e-")
    dark_e_s: float = Field(0.5, ge=0, le=1000, description="Dark current, e-/s/px; subtracted, its noise stays")
    saturation_adu: float = Field(26000.0, gt=0, description="Saturation of one frame, ADU")
    frame_s: float = Field(0.5, gt=0, le=3600, description="Exposure time of one frame, s")
    frames: int = Field(12, ge=1, le=1000, description="Frames summed in one stack")
    rolling_shutter_s: float = Field(
        0.47, ge=0, le=3600, description="The last row is exposed this much later than the first, s"
    )
    zeropoint_mag: float = Field(25.0, ge=10, le=35, description="AB mag of 1 e-/s on the optical axis, clear sky")
    vignetting: bool = Field(True, description="Light lost towards the edge of the field; the flat puts it back")
    distortion_px: float = Field(1.5, ge=0, le=50, description="Optical distortion at the corner of a chip (SIP), px")
    bleeding: bool = Field(False, description="Charge beyond the full well runs along the columns, as on a CCD")
    cosmic_rays_per_chip: float = Field(0.8, ge=0, le=100000, description="Cosmic rays per chip and 6 s")
    hot_pixels: float = Field(3e-4, ge=0, le=0.2, description="Share of the pixels that are hot or unsteady")
    hot_left: float = Field(
        0.05, ge=0, le=1, description="Share of the hot pixels' dark current that the dark leaves, in all exposures"
    )
    telegraph_share: float = Field(0.3, ge=0, le=1, description="Share of the hot pixels that jump (telegraph noise)")
    bad_columns_per_chip: float = Field(0.1, ge=0, le=1000, description="Columns of unsteady response, mean per chip")
    pattern_e: float = Field(0.5, ge=0, le=100, description="Row and column pattern (1 sigma), e-")
    column_pairs_e: float = Field(
        0.1, ge=0, le=1000, description="Offset between even and odd columns, anew for each row (1 sigma), e-"
    )
    dark_pattern_e: float = Field(
        0.5, ge=0, le=1000, description="Dark current left from pixel to pixel, the same in all exposures (1 sigma), e-"
    )
    dust_rings_per_chip: float = Field(0.3, ge=0, le=1000, description="Shadows of dust, mean per chip")
    flat_error: float = Field(0.005, ge=0, le=0.5, description="Error of the flat field (1 sigma), fraction")
    edge_glow_e: Annotated[Pair, AfterValidator(within(0, 1e5))] = Field(
        (0.0, 5.0), description="Glow left by the amplifiers at the edge of a chip, e-/px, falling within 20 px"
    )

    @property
    def exposure_s(self) -> float:
        """Exposure time of one stack, s."""
        return self.frame_s * self.frames

    @property
    def full_well_e(self) -> float:
        """Saturation of one frame, e-."""
        return self.saturation_adu * self.gain_e_adu
