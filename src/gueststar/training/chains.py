"""The conditions and the settings under which training pairs are made: the default chain, and worse ones.

The default chain leaves about ten artifacts on a small frame, too few to learn their variety from. The worse chains
register and match with fewer terms, keep peaks on flagged pixels, or do not look for cosmic rays and hot pixels; what
comes out are the artifacts of a bad night or of another program, on the same frames.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.ingest.mask import FindCosmicRays
from gueststar.ingest.prepare import Ingest
from gueststar.options import Options
from gueststar.quality import Quality
from gueststar.simulate.survey import Survey
from gueststar.subtract.kernel import Kernel

__all__ = ["Chain", "chip_survey", "training_survey", "vary_faults", "worse_chain"]

#: Faults of a survey whose strength is drawn anew for every pair, with the largest value that makes sense.
_FAULTS = {
    "cosmic_rays_per_chip": 1000.0,
    "hot_pixels": 0.01,
    "wobble_px": 0.5,
    "flat_error": 0.05,
    "wcs_shift_px": 3.0,
    "wcs_gradient_px": 1.0,
    "pattern_e": 5.0,
}


class Chain(Options):
    """Settings of one pass."""

    name: str = Field("default", description="'default', or what is worse")
    align: Align = Field(Align(), description="Registration")
    subtract: Kernel = Field(Kernel(), description="Subtraction")
    detect: Detect = Field(Detect(), description="Detection")
    ingest: Ingest = Field(Ingest(), description="Measurement of the frames; real frames come measured")
    quality: Quality = Field(Quality(), description="Gates: an image that fails one trains nothing")


def worse_chain(rng: np.random.Generator) -> Chain:
    """Draw a chain that is worse than the default in at least one way."""
    drawn = {
        "align": int(rng.choice([0, 1, 3], p=[0.3, 0.3, 0.4])),
        "kernel": int(rng.choice([0, 2])),
        "radius": int(rng.choice([0, 2, 3], p=[0.5, 0.25, 0.25])),
        "masked": bool(rng.random() < 0.5),
        "rays": bool(rng.random() < 0.5),
    }
    if drawn == {"align": 3, "kernel": 2, "radius": 0, "masked": False, "rays": False}:
        drawn["rays"] = True
    changed = {"align": drawn["align"] < 3, "kernel": drawn["kernel"] < 2, "radius": drawn["radius"] > 0}
    words = [f"{name}={drawn[name]}" for name, is_changed in changed.items() if is_changed]
    words += [name for name in ("masked", "rays") if drawn[name]]
    return Chain(
        name=" ".join(words),
        align=Align(order=int(drawn["align"])),
        subtract=Kernel(order=int(drawn["kernel"]), radius_px=int(drawn["radius"]), n_windows=80),
        detect=Detect(masked_peaks=bool(drawn["masked"])),
        ingest=Ingest(cosmic_rays=FindCosmicRays(enabled=not drawn["rays"])),
        # It is worse on purpose: what tells a bad chain, not a bad image, does not count.
        quality=Quality(astrometric_rms_px=0.0, misfit=0.0, candidates=0.0),
    )


def training_survey() -> Survey:
    """A survey of many conditions with many transients and faults: chances to learn from, not a sky as it is."""
    return Survey.varied().model_copy(
        update={
            "supernovae_per_chip": 60.0,
            "hostless_per_chip": 40.0,
            "asteroid_density": 50.0,
            "transient_mag": (14.5, 20.0),
            "galactic_latitude_deg": (0.0, 60.0),
            "star_density": 1.5,
            "variable_fraction": 0.02,
            "fwhm_px": (1.7, 4.8),
            "ellipticity": (0.0, 0.2),
            "psf_variation": 0.15,
            "cosmic_rays_per_chip": 120.0,
            "hot_pixels": 6e-4,
            "wobble_px": 0.1,
            "flat_error": 0.008,
        }
    )


def vary_faults(survey: Survey, factor: float, rng: np.random.Generator) -> Survey:
    """The survey with each of its faults weaker or stronger by up to `factor`, drawn log-uniformly."""
    drawn = {name: float(np.exp(rng.uniform(-1, 1) * math.log(factor))) for name in _FAULTS}
    stronger = {name: min(getattr(survey, name) * drawn[name], most) for name, most in _FAULTS.items()}
    return survey.model_copy(update=stronger)


def chip_survey(survey: Survey, factor: float, rng: np.random.Generator) -> Survey:
    """The survey as one chip sees it: its faults weaker or stronger, its point sources rounder or longer.

    Parameters
    ----------
    survey : Survey
    factor : float
        Each fault, and the ellipticity of point sources, is weaker or stronger by up to this, log-uniformly.
    rng : Generator
        Of the chip: the same in all its pairs.
    """
    changed = vary_faults(survey, factor, rng)
    low, high = survey.ellipticity
    drawn = float(np.exp(rng.uniform(-1, 1) * math.log(factor)))
    return changed.model_copy(update={"ellipticity": (min(low * drawn, 0.5), min(high * drawn, 0.5))})
