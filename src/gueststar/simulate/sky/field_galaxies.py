"""Galaxies of a field: how many, how large, of which shape, and where supernovae lie on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.sky.sky_table import Box, Rows, make_rows
from gueststar.simulate.sky.stars import draw_magnitudes
from gueststar.simulate.survey import Survey

__all__ = [
    "draw_field_galaxies",
    "draw_galaxies",
    "draw_host_offsets",
    "draw_nuclei",
    "galaxy_counts_per_deg2",
    "galaxy_rows",
]

F8 = NDArray[np.float64]

# Median isophotal radius R25 against B magnitude.
_R25_MAG = np.array([13.5, 14.5, 15.5, 16.5, 17.5, 18.5])
_R25_ARCSEC = np.array([39.5, 27.4, 18.5, 13.1, 9.3, 7.4])
_R25_SCATTER_DEX = 0.15
_B_MINUS_R = 0.8
# Offset of supernovae from their hosts in units of R25 (1,253 supernovae of the ZTF Bright Transient Survey).
_OFFSET_SHARE = np.array([0.0, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0])
_OFFSET_R25 = np.array([0.0, 0.07, 0.18, 0.38, 0.67, 1.05, 1.55, 2.5])
_COLOUR, _COLOUR_SCATTER = 0.0, 0.3  # of galaxies, against the mean star (judged)
_NUCLEUS_COLOUR = -0.6
# Nuclei are fainter than their galaxies by this (judged). Time scale and structure function at infinity of quasars:
# medians of 200 d and 0.2 mag with scatters of 0.5 and 0.2 dex, after MacLeod et al. (2010, ApJ 721, 1014), rounded.
_NUCLEUS_FAINTER_MAG = (0.5, 3.0)
_WALK_D, _WALK_MAG = (200.0, 0.5), (0.2, 0.2)


def galaxy_counts_per_deg2(mag: ArrayLike) -> F8:
    """Galaxies brighter than `mag` per square degree: 90 at 17.8, slope 0.6, and 0.45 beyond 18."""
    m = np.asarray(mag, np.float64)
    counts: F8 = 90.0 * 10.0 ** (0.6 * (np.minimum(m, 18.0) - 17.8) + 0.45 * np.maximum(m - 18.0, 0.0))
    return counts


def draw_galaxies(mag: F8, rng: np.random.Generator) -> dict[str, F8]:
    """Sersic index, half-light radius (arcsec), axis ratio and angle of galaxies of given magnitudes.

    The half-light radius is R25 / 2; R25 scatters by 0.15 dex around its median. 70 % are discs (n 0.7-1.5), the
    rest spheroids (n 2.5-4).
    """
    slope = np.log10(_R25_ARCSEC[-1] / _R25_ARCSEC[0]) / (_R25_MAG[-1] - _R25_MAG[0])
    b_mag = mag + _B_MINUS_R
    r25 = np.interp(b_mag, _R25_MAG, np.log10(_R25_ARCSEC))
    r25 += slope * (np.minimum(b_mag - _R25_MAG[0], 0.0) + np.maximum(b_mag - _R25_MAG[-1], 0.0))
    r25 = 10.0 ** (r25 + rng.normal(0.0, _R25_SCATTER_DEX, mag.size))
    disc = rng.random(mag.size) < 0.7
    return {
        "sersic_n": np.where(disc, rng.uniform(0.7, 1.5, mag.size), rng.uniform(2.5, 4.0, mag.size)),
        "re_arcsec": r25 / 2.0,
        "axis_ratio": np.where(disc, rng.uniform(0.25, 1.0, mag.size), rng.uniform(0.55, 1.0, mag.size)),
        "angle_rad": rng.uniform(0.0, np.pi, mag.size),
    }


def draw_host_offsets(count: int, rng: np.random.Generator) -> F8:
    """Offsets of supernovae from their hosts' nuclei in units of R25."""
    offsets: F8 = np.interp(rng.random(count), _OFFSET_SHARE, _OFFSET_R25)
    return offsets


def galaxy_rows(mag: F8, x: F8, y: F8, rng: np.random.Generator) -> Rows:
    """Galaxies of given magnitudes and places, with shapes and colours drawn."""
    colour = rng.normal(_COLOUR, _COLOUR_SCATTER, mag.size)
    return make_rows("galaxy", x, y, mag=mag, colour=colour, **draw_galaxies(mag, rng))


def draw_field_galaxies(survey: Survey, box: Box, rng: np.random.Generator) -> Rows:
    """Galaxies of the field by their counts."""
    grid = np.linspace(*survey.galaxy_mag, 400)
    mags = draw_magnitudes(survey.galaxy_density * galaxy_counts_per_deg2(grid), grid, box.area_deg2, rng)
    return galaxy_rows(mags, *box.place(mags.size, rng), rng)


def draw_nuclei(survey: Survey, galaxies: Rows, rng: np.random.Generator) -> Rows:
    """Active nuclei in some of the galaxies: points that vary as a damped random walk.

    The half range is two standard deviations, kept within the survey's range of amplitudes. `host_id` counts the rows
    of `galaxies`.
    """
    total = galaxies["px"].size
    host = np.flatnonzero(rng.random(total) < survey.active_nuclei)
    host_mag = galaxies["mag"].astype(np.float64)[host]
    structure = _WALK_MAG[0] * 10.0 ** rng.normal(0.0, _WALK_MAG[1], host.size)
    return make_rows(
        "nucleus", galaxies["px"][host], galaxies["py"][host],
        mag=host_mag + rng.uniform(*_NUCLEUS_FAINTER_MAG, host.size), colour=_NUCLEUS_COLOUR, variable_type="agn",
        # The structure function tends to the root of two standard deviations.
        amplitude_mag=np.clip(np.sqrt(2.0) * structure, *survey.variable_amplitude_mag),
        period_d=_WALK_D[0] * 10.0 ** rng.normal(0.0, _WALK_D[1], host.size),
        curve_seed=rng.integers(0, 2**62, host.size), host_id=host, host_mag=host_mag, host_offset_r25=0.0,
    )  # fmt: skip
