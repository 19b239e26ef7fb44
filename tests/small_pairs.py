"""Simulated pairs that are quick to make: a small sky, and the options of a set of four of them."""

from __future__ import annotations

from typing import Any

from gueststar.training.chains import training_survey

# Stars enough to register and match, none of them very bright, and faults enough to fail at some.
SURVEY = training_survey().model_copy(
    update={
        "galactic_latitude_deg": (14.0, 20.0),
        "star_density": 1.0,
        "star_mag": (11.0, 20.0),
        "sky_mag": (19.0, 20.5),
        "extinction_mag": (0.0, 0.1),
        "fwhm_px": (2.2, 3.0),
        "cosmic_rays_per_chip": 300.0,
    }
)


def small_pairs() -> dict[str, Any]:
    """Options that sets of pairs share."""
    return {"n_pairs": 4, "shape": (300, 320), "survey": SURVEY, "injected": 12, "worse_passes": 1, "seed": 3}
