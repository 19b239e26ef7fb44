"""What is in the sky of a field: stars, galaxies, variables, supernovae on hosts, hostless transients and asteroids."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.detector import CHIP_PIXELS
from gueststar.simulate.survey import Survey

__all__ = [
    "draw_galaxies",
    "draw_host_offsets",
    "draw_magnitudes",
    "galaxy_counts_per_deg2",
    "make_sky",
    "sky_at",
    "star_counts_per_deg2",
]

F8 = NDArray[np.float64]

# Stars brighter than G = 10 per square degree against |b| (Gaia), at the middle of each range of |b|.
_LATITUDE_DEG = np.array([2.5, 7.5, 15.0, 25.0, 37.5, 52.5, 75.0])
_BRIGHT_COUNT = np.array([24.4, 20.5, 15.7, 11.2, 8.2, 6.3, 5.2])
# Slopes of log N(<m) at m = 10 and m = 18, at the galactic plane and pole.
_SLOPE_10 = (0.469, 0.381)
_SLOPE_18 = (0.33, 0.20)
# Median isophotal radius R25 against B magnitude.
_R25_MAG = np.array([13.5, 14.5, 15.5, 16.5, 17.5, 18.5])
_R25_ARCSEC = np.array([39.5, 27.4, 18.5, 13.1, 9.3, 7.4])
_B_MINUS_R = 0.8
_HOST_MAG = 18.0
# Offset of supernovae from their hosts in units of R25 (1,253 supernovae of the ZTF Bright Transient Survey).
_OFFSET_SHARE = np.array([0.0, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0])
_OFFSET_R25 = np.array([0.0, 0.07, 0.18, 0.38, 0.67, 1.05, 1.55, 2.5])

_COLUMNS: dict[str, object] = {
    "source_id": -1, "kind": "", "ra": np.nan, "dec": np.nan, "mag": np.nan,
    "sersic_n": np.nan, "re_arcsec": np.nan, "axis_ratio": np.nan, "angle_rad": np.nan,
    "amplitude_mag": 0.0, "period_d": np.nan, "phase": 0.0,
    "start_mjd": -np.inf, "rate_ra_arcsec_h": 0.0, "rate_dec_arcsec_h": 0.0, "epoch_mjd": np.nan,
    "host_id": -1, "host_mag": np.nan, "host_offset_r25": np.nan,
}  # fmt: skip


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


def galaxy_counts_per_deg2(mag: ArrayLike) -> F8:
    """Galaxies brighter than `mag` per square degree: 90 at 17.8, slope 0.6, and 0.45 beyond 18."""
    m = np.asarray(mag, np.float64)
    counts: F8 = 90.0 * 10.0 ** (0.6 * (np.minimum(m, 18.0) - 17.8) + 0.45 * np.maximum(m - 18.0, 0.0))
    return counts


def draw_magnitudes(counts: F8, mags: F8, area_deg2: float, rng: np.random.Generator) -> F8:
    """Magnitudes of a Poisson number of sources, from cumulative counts per square degree on a grid of magnitudes."""
    expected = counts - counts[0]
    number = int(rng.poisson(expected[-1] * area_deg2))
    drawn: F8 = np.interp(rng.random(number), expected / max(expected[-1], 1e-300), mags)
    return drawn


def draw_galaxies(mag: F8, rng: np.random.Generator) -> dict[str, F8]:
    """Sersic index, half-light radius (arcsec), axis ratio and angle of galaxies of given magnitudes.

    The half-light radius is R25 / 2; R25 scatters by 0.15 dex around its median. 70 % are discs (n 0.7-1.5), the
    rest spheroids (n 2.5-4).
    """
    slope = np.log10(_R25_ARCSEC[-1] / _R25_ARCSEC[0]) / (_R25_MAG[-1] - _R25_MAG[0])
    b_mag = mag + _B_MINUS_R
    r25 = np.interp(b_mag, _R25_MAG, np.log10(_R25_ARCSEC))
    r25 += slope * (np.minimum(b_mag - _R25_MAG[0], 0.0) + np.maximum(b_mag - _R25_MAG[-1], 0.0))
    r25 = 10.0 ** (r25 + rng.normal(0.0, 0.15, mag.size))
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


def make_sky(
    survey: Survey,
    wcs: WCS,
    shape: tuple[int, int],
    *,
    latitude_deg: float,
    tonight_mjd: float,
    rng: np.random.Generator,
) -> Table:
    """Draw everything that one chip of one field may see.

    Parameters
    ----------
    survey : Survey
        Densities and rates.
    wcs : WCS
        Nominal world coordinates of the chip.
    shape : (int, int)
        (ny, nx) of the chip; sources are drawn a little beyond it, because visits are not pointed the same.
    latitude_deg : float
        Galactic latitude.
    tonight_mjd : float
        Transients are there from half a day before this on, not before; asteroids are on the chip about then.
    rng : Generator
        Of this sky.

    Returns
    -------
    Table
        One row per source, with columns for the shape of galaxies, the light curve of variables, the motion of
        asteroids and the host of supernovae. `kind` is star, variable, galaxy, supernova, hostless or asteroid.
    """
    margin = 20.0 + 4.0 * survey.dither_px
    box = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    area = box[0] * box[1] * (survey.pixel_scale_arcsec / 3600.0) ** 2

    def place(count: int) -> tuple[F8, F8]:
        return rng.random(count) * box[1] - margin - 0.5, rng.random(count) * box[0] - margin - 0.5

    grid = np.linspace(*survey.star_mag, 400)
    mags = draw_magnitudes(survey.star_density * star_counts_per_deg2(grid, latitude_deg), grid, area, rng)
    stars = _stars(survey, mags, rng)
    stars["px"], stars["py"] = place(len(stars))
    grid = np.linspace(*survey.galaxy_mag, 400)
    mags = draw_magnitudes(survey.galaxy_density * galaxy_counts_per_deg2(grid), grid, area, rng)
    galaxies = _table("galaxy", mags.size, mag=mags, **draw_galaxies(mags, rng))
    galaxies["px"], galaxies["py"] = place(len(galaxies))
    galaxies["source_id"] = np.arange(len(galaxies)) + len(stars)
    new = _transients(survey, galaxies, shape=shape, tonight_mjd=tonight_mjd, rng=rng)
    sky = vstack([stars, galaxies, new], metadata_conflicts="silent")
    sky["source_id"] = np.arange(len(sky))
    sky["ra"], sky["dec"] = wcs.all_pix2world(sky["px"], sky["py"], 0) if len(sky) else (np.empty(0), np.empty(0))
    sky.remove_columns(["px", "py"])
    return sky


def _table(kind: str, count: int, **columns: ArrayLike) -> Table:
    """Rows of one kind; what is not given holds the default of its column."""
    values: dict[str, NDArray[np.generic]] = {}
    for name, default in _COLUMNS.items():
        dtype = "U12" if isinstance(default, str) else np.int64 if isinstance(default, int) else np.float64
        values[name] = np.full(count, kind if name == "kind" else default, dtype)
        if name in columns:
            values[name][:] = columns[name]
    return Table(values, copy=False)


def _stars(survey: Survey, mags: F8, rng: np.random.Generator) -> Table:
    """Stars, some of which vary as a sine of time."""
    count = mags.size
    varies = rng.random(count) < survey.variable_fraction
    low, high = np.log(survey.variable_amplitude_mag)
    stars = _table("star", count, mag=mags)
    stars["kind"][varies] = "variable"
    stars["amplitude_mag"] = np.where(varies, np.exp(rng.uniform(low, high, count)), 0.0)
    stars["period_d"] = np.where(varies, 10.0 ** rng.uniform(-1.0, 2.0, count), np.nan)
    stars["phase"] = np.where(varies, rng.random(count), 0.0)
    return stars


def _transients(
    survey: Survey, galaxies: Table, *, shape: tuple[int, int], tonight_mjd: float, rng: np.random.Generator
) -> Table:
    """Supernovae on hosts, hostless transients and asteroids."""
    chips = shape[0] * shape[1] / CHIP_PIXELS
    start = tonight_mjd - 0.5
    counts = [int(rng.poisson(rate * chips)) for rate in
              (survey.supernovae_per_chip, survey.hostless_per_chip, survey.asteroids_per_chip)]  # fmt: skip
    host = _hosts(galaxies, counts[0], shape=shape, rng=rng)
    on_host, hostless, moving = len(host), counts[0] - len(host) + counts[1], counts[2]
    offset, around = draw_host_offsets(on_host, rng), rng.uniform(0.0, 2.0 * np.pi, on_host)
    # Offsets are measured along the galaxy's own ellipse, so that an edge-on disc has its supernovae in the disc.
    r25 = 2.0 * np.asarray(host["re_arcsec"]) / survey.pixel_scale_arcsec
    major = offset * r25 * np.cos(around)
    minor = offset * r25 * np.sin(around) * np.asarray(host["axis_ratio"])
    c, s = np.cos(host["angle_rad"]), np.sin(host["angle_rad"])
    supernovae = _table(
        "supernova", on_host, mag=rng.uniform(*survey.transient_mag, on_host), start_mjd=start,
        host_id=host["source_id"], host_mag=host["mag"], host_offset_r25=offset,
    )  # fmt: skip
    supernovae["px"], supernovae["py"] = host["px"] + major * c - minor * s, host["py"] + major * s + minor * c
    loose = _table("hostless", hostless, mag=rng.uniform(*survey.transient_mag, hostless), start_mjd=start)
    rate, direction = rng.uniform(20.0, 60.0, moving), rng.normal(0.4, 0.15, moving)
    asteroids = _table(
        "asteroid", moving, mag=rng.uniform(*survey.transient_mag, moving), epoch_mjd=tonight_mjd,
        rate_ra_arcsec_h=-rate * np.cos(direction), rate_dec_arcsec_h=rate * np.sin(direction),
    )  # fmt: skip
    for table in (loose, asteroids):
        table["px"] = rng.random(len(table)) * shape[1] - 0.5
        table["py"] = rng.random(len(table)) * shape[0] - 0.5
    return vstack([supernovae, loose, asteroids], metadata_conflicts="silent")


def _hosts(galaxies: Table, count: int, *, shape: tuple[int, int], rng: np.random.Generator) -> Table:
    """Galaxies on the frame that hold a supernova, each at most one; fewer than `count` when there are not as many.

    Bright, near ones are preferred (by the root of their light); when they are too few, any galaxy will do.
    """
    x, y, mags = (np.asarray(galaxies[name], np.float64) for name in ("px", "py", "mag"))
    inside = (x > 0) & (x < shape[1] - 1) & (y > 0) & (y < shape[0] - 1)
    near = inside & (mags < _HOST_MAG)
    hosts = np.flatnonzero(near if near.sum() >= 2 * count else inside)
    if hosts.size <= count:
        return galaxies[hosts]
    weights = 10.0 ** (-0.2 * mags[hosts])
    return galaxies[rng.choice(hosts, count, replace=False, p=weights / weights.sum())]


def sky_at(sky: Table, mjd: float) -> Table:
    """The sky at one moment: positions moved, magnitudes varied; what is not there yet has magnitude infinity."""
    now = sky.copy()
    with np.errstate(invalid="ignore"):
        angle = 2.0 * np.pi * (mjd / np.asarray(sky["period_d"]) + np.asarray(sky["phase"]))
        change = np.where(sky["amplitude_mag"] > 0, sky["amplitude_mag"] * np.sin(angle), 0.0)
    now["mag"] = np.where(sky["start_mjd"] <= mjd, sky["mag"] + change, np.inf)
    moves = np.isfinite(sky["epoch_mjd"])
    hours = np.where(moves, (mjd - np.where(moves, sky["epoch_mjd"], 0.0)) * 24.0, 0.0)
    now["dec"] = sky["dec"] + hours * sky["rate_dec_arcsec_h"] / 3600.0
    now["ra"] = (sky["ra"] + hours * sky["rate_ra_arcsec_h"] / 3600.0 / np.cos(np.radians(sky["dec"]))) % 360.0
    return now
