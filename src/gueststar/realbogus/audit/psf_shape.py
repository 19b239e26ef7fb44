"""PSF shape: trailed, out of focus, or a width that the matching kernel does not reach."""

from __future__ import annotations

from gueststar.realbogus.audit.clues import Clue
from gueststar.realbogus.audit.families import Family

__all__ = ["PSF_SHAPE"]

PSF_SHAPE = Family(
    "psf_shape",
    "stars trailed, out of focus or of another width than the night's: rings and lobes of one sign",
    (
        Clue(
            "shape_share",
            "share of the residual that a wrong width or shape of the PSF explains",
            2.0,
            7.0,
            gain=1.2,
            against=0.3,
            floor=0.1,
            most_usual=0.1,
            absolute=True,
        ),
        Clue(
            "image_ellipticity",
            "ellipticity of the stars of the image",
            2.0,
            7.0,
            gain=3.6,
            against=1.2,
            floor=0.03,
            most_usual=0.08,
            per="image",
        ),
        Clue(
            "image_fwhm_ratio",
            "width of the stars of the image over the night's",
            2.0,
            7.0,
            gain=3.3,
            against=0.9,
            floor=0.08,
            most_usual=1.0,
            per="image",
        ),
        Clue(
            "image_width_ratio",
            "width of the science stars over the reference's",
            2.0,
            8.0,
            gain=1.0,
            against=1.5,
            floor=0.15,
            most_usual=1.2,
            per="image",
        ),
        Clue(
            "image_misfit",
            "what the matching kernel leaves of a star's light",
            2.0,
            8.0,
            gain=0.4,
            floor=0.02,
            most_usual=0.04,
            per="image",
        ),
        Clue(
            "star_elongation",
            "axis ratio of the brightest star in the stamp",
            2.0,
            8.0,
            gain=0.4,
            floor=0.08,
            most_usual=1.15,
        ),
    ),
    prior=1.3,
    remedy="guiding or focus of the exposure; a wider matching kernel (subtract.radius_px)",
)
