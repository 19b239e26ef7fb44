"""Stars of a field: how many, how bright, of which colour, and how they move."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.camera import world_to_pixel
from gueststar.simulate.sky.bright_catalog import CATALOG_LIMIT_MAG, BrightStars, bright_stars_near, wants_catalog
from gueststar.simulate.sky.lightcurves import draw_variables
from gueststar.simulate.sky.sky_table import Box, Rows, make_rows
from gueststar.simulate.survey import Survey

__all__ = [
    "MEAN_COLOUR",
    "draw_colours",
    "draw_magnitudes",
    "draw_proper_motions",
    "draw_stars",
    "star_counts_per_deg2",
]

F8 = NDArray[np.float64]

#: Gaia G_BP - G_RP of the star that has `colour` 0; the mean of stars of 10 to 18 mag.
MEAN_COLOUR = 1.2

# Stars brighter than G = 10 per square degree against |b| (Gaia), at the middle of each range of |b|.
_LATITUDE_DEG = np.array([2.5, 7.5, 15.0, 25.0, 37.5, 52.5, 75.0])
_BRIGHT_COUNT = np.array([24.4, 20.5, 15.7, 11.2, 8.2, 6.3, 5.2])
# Slopes of log N(<m) at m = 10 and m = 18, at the galactic plane and pole.
_SLOPE_10 = (0.469, 0.381)
_SLOPE_18 = (0.33, 0.20)
# G_BP - G_RP against G: mean and scatter. Measured on the 480,000 stars of Gaia brighter than 10 mag; fainter ones are
# judged: first dwarfs like the Sun, then ever more red dwarfs.
_COLOUR_MAG = np.array([5.0, 9.0, 13.0, 18.0, 20.5])
_COLOUR_MEAN = np.array([1.15, 1.2, 1.05, 1.3, 1.6])
_COLOUR_SCATTER = np.array([0.9, 0.65, 0.4, 0.45, 0.55])
_COLOUR_RANGE = (-0.5, 5.0)
# Median total proper motion against G (judged), and its scatter.
_MOTION_MAG = np.array([5.0, 10.0, 15.0, 20.0])
_MOTION_MAS_YR = np.array([40.0, 14.0, 7.0, 5.0])
_MOTION_SCATTER_DEX = 0.3
# Stars faster than 0.15 arcsec/yr per square degree: 61,977 on the northern sky (Lepine & Shara 2005, AJ 129, 1483).
_FAST_PER_DEG2, _FAST_MAS_YR = 3.0, 150.0
_TAIL_FROM_MAS_YR, _FASTEST_MAS_YR = 60.0, 10_400.0
# Stars as bright as this are drawn so far around the chip because their halos and ghosts reach onto it.
_HALO_MAG, _HALO_PX = 9.0, 520.0


def star_counts_per_deg2(mag: ArrayLike, latitude_deg: float) -> F8:
    """Stars brighter than `mag` per square degree at galactic latitude |b|.

    log N(<m) = log N10 + s10 d - (s10 - s18) d^2 / 16 with d = m - 10; N10 is measured (Gaia), the slopes run from
    plane to pole as log N10 does.
    """
    bright = np.log10(np.interp(abs(latitude_deg), _LATITUDE_DEG, _BRIGHT_COUNT))
    toward_plane = (bright - np.log10(_BRIGHT_COUNT[-1])) / np.log10(_BRIGHT_COUNT[0] / _BRIGHT_COUNT[-1])
    s10 = _SLOPE_10[1] + toward_plane * (_SLOPE_10[0] - _SLOPE_10[1])
    s18 = _SLOPE_18[1] + toward_plane * (_SLOPE_18[0] - _SLOPE_18[1])
    d = np.asarray(mag, np.float64) - 10.0
    counts: F8 = 10.0 ** (bright + s10 * d - (s10 - s18) * d**2 / 16.0)
    return counts


def draw_magnitudes(counts: F8, mags: F8, area_deg2: float, rng: np.random.Generator) -> F8:
    """Magnitudes of a Poisson number of sources, from cumulative counts per square degree on a grid of magnitudes."""
    expected = counts - counts[0]
    number = int(rng.poisson(expected[-1] * area_deg2))
    drawn: F8 = np.interp(rng.random(number), expected / max(expected[-1], 1e-300), mags)
    return drawn


def draw_colours(mag: F8, rng: np.random.Generator) -> F8:
    """Colours of stars: G_BP - G_RP less `MEAN_COLOUR`, mag; its mean and scatter depend on the magnitude."""
    mean, scatter = (np.interp(mag, _COLOUR_MAG, values) for values in (_COLOUR_MEAN, _COLOUR_SCATTER))
    drawn: F8 = np.clip(rng.normal(mean, scatter), *_COLOUR_RANGE) - MEAN_COLOUR
    return drawn


def draw_proper_motions(mag: F8, area_deg2: float, rng: np.random.Generator) -> tuple[F8, F8]:
    """Proper motions in right ascension (times cos dec) and declination, mas/yr.

    Most are log-normal around a median that falls with magnitude, in any direction. Beside these, stars near the Sun
    are N(>mu) = 3 (mu / 150)^-3 per square degree, the law of stars that fill space evenly; any of the stars may be
    one.

    Parameters
    ----------
    mag : ndarray, shape (n,)
    area_deg2 : float
        Area on which these stars stand.
    rng : Generator
    """
    total = np.interp(mag, _MOTION_MAG, _MOTION_MAS_YR) * 10.0 ** rng.normal(0.0, _MOTION_SCATTER_DEX, mag.size)
    near = _FAST_PER_DEG2 * (_TAIL_FROM_MAS_YR / _FAST_MAS_YR) ** -3.0 * area_deg2
    fast = rng.random(mag.size) < near / max(mag.size, 1)
    tail = _TAIL_FROM_MAS_YR * (1.0 - rng.random(mag.size)) ** (-1.0 / 3.0)
    total = np.where(fast, np.minimum(tail, _FASTEST_MAS_YR), total)
    angle = rng.uniform(0.0, 2.0 * np.pi, mag.size)
    return total * np.cos(angle), total * np.sin(angle)


def draw_stars(survey: Survey, wcs: WCS, box: Box, *, latitude_deg: float, rng: np.random.Generator) -> Rows:
    """Stars of a field, some of which vary; those brighter than 10 mag of the catalogue where the survey has it.

    Stars of 9 mag and brighter stand up to 520 px beyond the chip, because their halos reach so far.
    """
    catalog = survey.star_density > 0 and wants_catalog(survey.bright_stars)
    low, high = survey.star_mag
    from_mag = float(np.clip(CATALOG_LIMIT_MAG, low, high)) if catalog else low
    halo_mag = float(np.clip(_HALO_MAG, from_mag, high))
    around = box._replace(margin_px=max(box.margin_px, _HALO_PX))
    blocks: list[list[F8]] = []
    for part, ends in ((around, (from_mag, halo_mag)), (box, (halo_mag, high))):
        grid = np.linspace(*ends, 400)
        counts = survey.star_density * star_counts_per_deg2(grid, latitude_deg)
        mags = draw_magnitudes(counts, grid, part.area_deg2, rng)
        blocks.append([mags, *part.place(mags.size, rng)])
    mag, x, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    number = mag.size
    colour = draw_colours(mag, rng)
    pm_ra, pm_dec = draw_proper_motions(mag, box.area_deg2, rng)
    name = np.full(number, "", "U32")
    if catalog and low < from_mag:
        real, real_x, real_y = _catalog_stars(wcs, box, around, (low, from_mag))
        mag, x, y = (np.concatenate(pair) for pair in ((real.mag, mag), (real_x, x), (real_y, y)))
        colour = np.concatenate([_known_or(real.colour - MEAN_COLOUR, draw_colours(real.mag, rng)), colour])
        drawn = draw_proper_motions(real.mag, 0.0, rng)
        pm_ra = np.concatenate([_known_or(real.pm_ra_mas_yr, drawn[0]), pm_ra])
        pm_dec = np.concatenate([_known_or(real.pm_dec_mas_yr, drawn[1]), pm_dec])
        name = np.concatenate([np.asarray(real.names, "U32"), name])
    stars = make_rows(
        "star", x, y, mag=mag, colour=colour, name=name,
        pm_ra_mas_yr=survey.proper_motion * pm_ra, pm_dec_mas_yr=survey.proper_motion * pm_dec,
    )  # fmt: skip
    varies = rng.random(mag.size) < survey.variable_fraction
    return stars | draw_variables(varies, survey.variable_amplitude_mag, rng)


def _catalog_stars(wcs: WCS, box: Box, around: Box, mags: tuple[float, float]) -> tuple[BrightStars, F8, F8]:
    """Stars of the catalogue in a range of magnitudes, and where they fall: those with halos also beyond the box."""
    ny, nx = box.shape
    ra, dec = (float(v) for v in wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
    reach = 0.5 * np.hypot(nx + 2 * around.margin_px, ny + 2 * around.margin_px) * box.scale_arcsec / 3600.0
    stars = bright_stars_near(ra, dec, 1.02 * reach)
    x, y = world_to_pixel(wcs, stars.ra, stars.dec)
    kept = (stars.mag >= mags[0]) & (stars.mag < mags[1])
    kept &= box.holds(x, y) | ((stars.mag < _HALO_MAG) & around.holds(x, y))
    rows = np.flatnonzero(kept)
    return stars.at(rows), x[rows], y[rows]


def _known_or(values: F8, others: F8) -> F8:
    return np.where(np.isfinite(values), values, others)
