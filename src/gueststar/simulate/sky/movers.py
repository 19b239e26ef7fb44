"""Asteroids that cross a field tonight: main-belt bodies and ones near the Earth, each with an orbit of its own.

An orbit is made so that its body stands on a given line of sight tonight: size and shape of the orbit, place on it
and inclination are drawn, and node and perihelion follow.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.detector import CHIP_PIXELS
from gueststar.simulate.sky.orbits import (
    Elements,
    absolute_magnitude,
    angles,
    apparent_rates,
    brightness_offset,
    ephemeris,
    light_time_d,
    mean_motion,
    observer_au,
    to_ecliptic,
    unit_vectors,
)
from gueststar.simulate.sky.sky_table import Box, Rows, make_rows
from gueststar.simulate.sky.stars import draw_magnitudes
from gueststar.simulate.survey import Survey

__all__ = ["asteroid_counts_per_deg2", "draw_asteroids", "draw_near_earth", "main_belt_elements", "near_earth_elements"]

F8 = NDArray[np.float64]

# Asteroids brighter than 18.5 mag per square degree on the ecliptic at opposition; slopes of log N(<m) below and
# above that, after those of absolute magnitudes: 0.5 for H < 15, 0.3-0.4 beyond (Gladman et al. 2009, Icarus 202, 104).
_PER_DEG2, _KNEE_MAG, _SLOPES = 1.5, 18.5, (0.5, 0.35)
# Ecliptic latitudes: two Gaussians, as shares and widths (judged from the inclinations below).
_LATITUDES = ((0.85, 8.0), (0.15, 18.0))
_TYPICAL_AU = 2.6
# Semi-major axes between the Kirkwood gaps: ends (au) and share.
_BELT_AU = np.array([[2.15, 2.49], [2.52, 2.81], [2.84, 2.94], [2.97, 3.25]])
_BELT_SHARE = np.array([0.33, 0.35, 0.10, 0.22])
_BELT_E, _BELT_E_MAX, _BELT_I_DEG = 0.11, 0.35, 7.0
_NEAR_AU, _NEAR_I_DEG, _NEAR_E_MAX = (0.9, 2.6), 10.0, 0.9
_NEAR_DISTANCE_AU = (0.003, 0.02)
_NEAR_SLOPE = 0.3
_COLOUR, _COLOUR_SCATTER = -0.3, 0.1  # sunlight, a little redder, against the mean star


def asteroid_counts_per_deg2(mag: ArrayLike, latitude_deg: float, elongation_deg: float = 180.0) -> F8:
    """Main-belt asteroids brighter than `mag` per square degree.

    Parameters
    ----------
    mag : array_like
    latitude_deg : float
        Ecliptic latitude.
    elongation_deg : float
        Angle from the Sun: bodies far from opposition are farther away and show their night side.
    """
    share = sum(part * np.exp(-0.5 * (latitude_deg / width) ** 2) for part, width in _LATITUDES)
    d = np.asarray(mag, np.float64) - _KNEE_MAG - _fainter_mag(elongation_deg)
    counts: F8 = _PER_DEG2 * share * 10.0 ** (_SLOPES[0] * np.minimum(d, 0.0) + _SLOPES[1] * np.maximum(d, 0.0))
    return counts


def _fainter_mag(elongation_deg: float) -> float:
    """How much fainter a body at 2.6 au is at this angle from the Sun than at opposition."""
    mags = []
    for angle in (np.radians(elongation_deg), np.pi):
        delta = np.cos(angle) + np.sqrt(_TYPICAL_AU**2 - np.sin(angle) ** 2)
        cosine = (_TYPICAL_AU**2 + delta**2 - 1.0) / (2.0 * _TYPICAL_AU * delta)
        mags.append(float(brightness_offset(_TYPICAL_AU, delta, np.arccos(min(cosine, 1.0)))))
    return mags[0] - mags[1]


def draw_asteroids(survey: Survey, wcs: WCS, box: Box, *, tonight_mjd: float, rng: np.random.Generator) -> Rows:
    """Main-belt asteroids of a field by their counts; `mag` and place are those of tonight."""
    ny, nx = box.shape
    sight = unit_vectors(*wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
    sun = -observer_au(tonight_mjd)
    elongation = float(np.degrees(np.arccos(np.clip(sight[0] @ sun / np.linalg.norm(sun), -1.0, 1.0))))
    latitude = float(angles(to_ecliptic(sight))[1][0])
    grid = np.linspace(*survey.asteroid_mag, 200)
    counts = survey.asteroid_density * asteroid_counts_per_deg2(grid, latitude, elongation)
    mags = draw_magnitudes(counts, grid, box.area_deg2, rng)
    x, y = box.place(mags.size, rng)
    return _movers("asteroid", wcs, x, y, mags, tonight_mjd=tonight_mjd, rng=rng)


def draw_near_earth(survey: Survey, wcs: WCS, box: Box, *, tonight_mjd: float, rng: np.random.Generator) -> Rows:
    """Asteroids within 0.003-0.02 au, which move by 0.3-10 arcsec/s; `mag` and place are those of tonight."""
    count = int(rng.poisson(survey.near_earth_per_chip * box.shape[0] * box.shape[1] / CHIP_PIXELS))
    faint, bright = (10.0 ** (_NEAR_SLOPE * mag) for mag in survey.asteroid_mag)
    mags = np.log10(rng.uniform(faint, bright, count)) / _NEAR_SLOPE
    x, y = box._replace(margin_px=0.0).place(count, rng)
    return _movers("near_earth", wcs, x, y, mags, tonight_mjd=tonight_mjd, rng=rng)


def _movers(kind: str, wcs: WCS, x: F8, y: F8, mags: F8, *, tonight_mjd: float, rng: np.random.Generator) -> Rows:
    """Bodies with orbits that bring them to the places on the chip tonight."""
    if mags.size == 0:
        return make_rows(kind, x, y)
    ra, dec = (np.asarray(v, np.float64) for v in wcs.all_pix2world(x, y, 0))
    make = main_belt_elements if kind == "asteroid" else near_earth_elements
    elements = make(ra, dec, mjd=tonight_mjd, rng=rng)
    east, north = apparent_rates(elements, tonight_mjd)
    return make_rows(
        kind, x, y, mag=mags, colour=rng.normal(_COLOUR, _COLOUR_SCATTER, mags.size),
        abs_mag=absolute_magnitude(mags, ephemeris(elements, tonight_mjd)),
        rate_ra_arcsec_h=east, rate_dec_arcsec_h=north, **elements._asdict(),
    )  # fmt: skip


def main_belt_elements(ra_deg: ArrayLike, dec_deg: ArrayLike, *, mjd: float, rng: np.random.Generator) -> Elements:
    """Main-belt orbits, one through each direction seen from Kiso at `mjd`, which is their epoch.

    Semi-major axes lie between the Kirkwood gaps, eccentricities follow a Rayleigh law of 0.11, inclinations sin(i)
    times a Gaussian of 7 deg among those that reach the latitude.
    """
    sight = unit_vectors(ra_deg, dec_deg)
    count = len(sight)
    zone = rng.choice(len(_BELT_SHARE), count, p=_BELT_SHARE)
    a = rng.uniform(*_BELT_AU[zone].T)
    e = np.minimum(rng.rayleigh(_BELT_E, count), _BELT_E_MAX)
    true = _true_anomaly(rng.uniform(-np.pi, np.pi, count), e)
    r = a * (1.0 - e**2) / (1.0 + e * np.cos(true))
    observer = observer_au(mjd)
    # The line of sight meets the sphere of radius r once, as the observer is inside.
    along = sight @ observer
    delta = -along + np.sqrt(along**2 + r**2 - observer @ observer)
    return _through(observer + delta[:, None] * sight, delta, a, e, true, _BELT_I_DEG, mjd=mjd, rng=rng)


def near_earth_elements(ra_deg: ArrayLike, dec_deg: ArrayLike, *, mjd: float, rng: np.random.Generator) -> Elements:
    """Orbits of bodies near the Earth, one through each direction seen from Kiso at `mjd`, which is their epoch."""
    sight = unit_vectors(ra_deg, dec_deg)
    count = len(sight)
    delta = np.exp(rng.uniform(np.log(_NEAR_DISTANCE_AU[0]), np.log(_NEAR_DISTANCE_AU[1]), count))
    place = observer_au(mjd) + delta[:, None] * sight
    r = np.linalg.norm(place, axis=1)
    a = rng.uniform(*_NEAR_AU, count)
    # The distance tonight must lie between perihelion and aphelion.
    least = np.abs(1.0 - r / a) + 0.02
    e = least + rng.random(count) * np.minimum(0.5, _NEAR_E_MAX - least)
    cosine = (a * (1.0 - e**2) / r - 1.0) / e
    true = np.arccos(np.clip(cosine, -1.0, 1.0)) * rng.choice([-1.0, 1.0], count)
    return _through(place, delta, a, e, true, _NEAR_I_DEG, mjd=mjd, rng=rng)


def _through(
    place: F8, delta: F8, a: F8, e: F8, true: F8, width_deg: float, *, mjd: float, rng: np.random.Generator
) -> Elements:
    """Orbits of given size, shape and true anomaly through heliocentric places (axes of the equator, au).

    The light that is seen at `mjd` left the place earlier by its time on the way.
    """
    longitude, latitude = (np.radians(v) for v in angles(to_ecliptic(place)))
    i = _draw_inclinations(np.abs(latitude), width_deg, rng)
    # Argument of latitude: on the way north, or south.
    up = np.arcsin(np.clip(np.sin(latitude) / np.sin(i), -1.0, 1.0))
    argument = np.where(rng.random(up.size) < 0.5, up, np.pi - up)
    node = longitude - np.arctan2(np.cos(i) * np.sin(argument), np.cos(argument))
    eccentric = 2.0 * np.arctan(np.sqrt((1.0 - e) / (1.0 + e)) * np.tan(0.5 * true))
    mean = eccentric - e * np.sin(eccentric) + mean_motion(a) * light_time_d(delta)
    node, peri, mean = (np.degrees(angle) % 360.0 for angle in (node, argument - true, mean))
    return Elements(a, e, np.degrees(i), node, peri, mean, np.full(a.shape, mjd))


def _draw_inclinations(latitude: F8, width_deg: float, rng: np.random.Generator) -> F8:
    """Inclinations (rad) given the heliocentric latitude (rad) at which a body stands.

    Of orbits of inclination i, the share at latitude b goes as 1 / sqrt(sin^2 i - sin^2 b).
    """
    # Squares make a grid that is fine where the share rises steeply, and take that rise away.
    step = np.linspace(0.0, 1.0, 202)[1:-1] ** 2
    grid = latitude[:, None] + step * np.minimum(np.radians(6.0 * width_deg), 0.5 * np.pi - latitude)[:, None]
    visible = np.sqrt(np.maximum(np.sin(grid) ** 2 - np.sin(latitude)[:, None] ** 2, 1e-12))
    log_share = np.log(np.sin(grid) / visible) - 0.5 * (grid / np.radians(width_deg)) ** 2 + 0.5 * np.log(step)
    steps = np.cumsum(np.exp(log_share - log_share.max(axis=1, keepdims=True)), axis=1)
    which = (rng.random((latitude.size, 1)) * steps[:, -1:] >= steps).sum(axis=1)
    return np.asarray(grid[np.arange(latitude.size), which])


def _true_anomaly(mean: F8, e: F8) -> F8:
    """True anomaly (rad) of a mean anomaly."""
    eccentric = mean.copy()
    for _ in range(12):
        eccentric -= (eccentric - e * np.sin(eccentric) - mean) / (1.0 - e * np.cos(eccentric))
    return np.asarray(2.0 * np.arctan(np.sqrt((1.0 + e) / (1.0 - e)) * np.tan(0.5 * eccentric)))
