"""Satellites that cross a chip during an exposure."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate.detector import CHIP_PIXELS
from gueststar.simulate.survey import Survey

__all__ = ["draw_satellites"]

F8 = NDArray[np.float64]

# Judged: share of low orbits among what crosses; speeds; magnitudes (mean and scatter).
_LOW_SHARE = 0.6
_LOW_DEG_S = (0.2, 1.0)
_LOW_MAG, _HIGH_MAG = (6.5, 1.5), (12.0, 1.5)
_MAG_RANGE = (1.0, 16.0)
# A geostationary satellite stands still while the stars go by.
_HIGH_ARCSEC_S, _HIGH_SCATTER = 15.04, 0.02
_RATE_EXPOSURE_S = 6.0


def draw_satellites(
    survey: Survey, shape: tuple[int, int], *, exposure_s: float, exposures: int, rng: np.random.Generator
) -> Table:
    """Draw the satellites that cross a chip.

    Parameters
    ----------
    survey : Survey
        `satellites_per_chip` is the mean number for 6 s.
    shape : (int, int)
        (ny, nx) of the chip.
    exposure_s : float
        Length of one exposure, s.
    exposures : int
        Exposures that are summed; each satellite crosses in one of them.
    rng : Generator

    Returns
    -------
    Table
        x0, y0, x1, y1 (px): path during the exposure, which goes far beyond the chip in low orbits; t0_s, t1_s: when
        the satellite is at its ends, s from the start of its exposure; mag_s: AB magnitude of the light of each second,
        that is of a steady source as bright; satellite_type: LEO or GEO.
    """
    ny, nx = shape
    mean = survey.satellites_per_chip * ny * nx / CHIP_PIXELS * exposure_s * exposures / _RATE_EXPOSURE_S
    count = int(rng.poisson(mean))
    low = rng.random(count) < _LOW_SHARE
    speed = np.where(
        low, 3600.0 * rng.uniform(*_LOW_DEG_S, count), _HIGH_ARCSEC_S * (1.0 + rng.normal(0.0, _HIGH_SCATTER, count))
    )
    speed /= survey.pixel_scale_arcsec
    # Geostationary ones drift towards east, which is -x; others come from anywhere.
    angle = np.where(low, rng.uniform(0.0, 2.0 * np.pi, count), np.pi + rng.normal(0.0, 0.03, count))
    dx, dy = np.cos(angle), np.sin(angle)
    # Some point of the chip is passed at some moment of the exposure.
    x, y, when = (
        rng.uniform(-0.5, nx - 0.5, count),
        rng.uniform(-0.5, ny - 0.5, count),
        rng.uniform(0, exposure_s, count),
    )
    before, after = speed * when, speed * (exposure_s - when)
    mags = np.where(low, rng.normal(*_LOW_MAG, count), rng.normal(*_HIGH_MAG, count))
    return Table({
        "x0": x - before * dx, "y0": y - before * dy, "x1": x + after * dx, "y1": y + after * dy,
        "t0_s": np.zeros(count), "t1_s": np.full(count, float(exposure_s)),
        "mag_s": np.clip(mags, *_MAG_RANGE), "satellite_type": np.where(low, "LEO", "GEO").astype("U3"),
    })  # fmt: skip
