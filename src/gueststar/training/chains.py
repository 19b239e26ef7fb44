"""The conditions and the settings under which training pairs are made: the default chain, and worse ones.

The default chain leaves about ten artifacts on a small frame, too few to learn their variety from. The worse chains
register and match with fewer terms, keep peaks on flagged pixels, or forget which pixels were found to be cosmic rays;
what comes out are the artifacts of a bad night or of another program, on the same frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.simulate.survey import Survey
from gueststar.subtract.kernel import Kernel
from gueststar.types import Image, Mask

__all__ = ["Chain", "forget_rays", "training_survey", "vary_faults", "worse_chain"]

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


@dataclass(frozen=True, slots=True)
class Chain:
    """Settings of one pass; `name` is 'default' or says what is worse."""

    name: str = "default"
    align: Align = Align()
    subtract: Kernel = Kernel()
    detect: Detect = Detect()
    rays_known: bool = True


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
        subtract=Kernel(order=int(drawn["kernel"]), radius_px=int(drawn["radius"])),
        detect=Detect(masked_peaks=bool(drawn["masked"])),
        rays_known=not drawn["rays"],
    )


def forget_rays(image: Image) -> Image:
    """The image as if nobody had looked for cosmic rays and hot pixels."""
    return replace(image, mask=image.mask & ~int(Mask.COSMIC_RAY))


def training_survey() -> Survey:
    """A survey of many conditions with many transients and faults: chances to learn from, not a sky as it is."""
    return Survey.varied().model_copy(
        update={
            "supernovae_per_chip": 60.0,
            "hostless_per_chip": 40.0,
            "asteroids_per_chip": 20.0,
            "transient_mag": (14.5, 20.0),
            "variable_fraction": 0.02,
            "ellipticity": (0.0, 0.15),
            "cosmic_rays_per_chip": 30.0,
            "hot_pixels": 6e-4,
            "wobble_px": 0.05,
            "flat_error": 0.008,
        }
    )


def vary_faults(survey: Survey, factor: float, rng: np.random.Generator) -> Survey:
    """The survey with each of its faults weaker or stronger by up to `factor`, drawn log-uniformly."""
    drawn = {name: float(np.exp(rng.uniform(-1, 1) * math.log(factor))) for name in _FAULTS}
    stronger = {name: min(getattr(survey, name) * drawn[name], most) for name, most in _FAULTS.items()}
    return survey.model_copy(update=stronger)
