"""The sky of a field: everything that stands, changes and moves there, and how it looks at a moment."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from gueststar.simulate.sky.explosions import draw_flares, draw_hostless, draw_supernovae, explosion_mag
from gueststar.simulate.sky.field_galaxies import draw_field_galaxies, draw_nuclei
from gueststar.simulate.sky.lightcurves import Curve, variable_change
from gueststar.simulate.sky.movers import draw_asteroids, draw_near_earth
from gueststar.simulate.sky.orbits import Elements, apparent_rates, brightness_offset, ephemeris
from gueststar.simulate.sky.sky_table import Rows, chip_box, stack_rows
from gueststar.simulate.sky.stars import draw_stars
from gueststar.simulate.survey import Survey

__all__ = ["make_sky", "sky_at"]

F8 = NDArray[np.float64]

_MAS_DEG = 1.0 / 3.6e6
_YEAR_D = 365.25


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
        Epoch (UTC) of places, proper motions and orbits; transients are under way then and have their `mag` then.
    rng : Generator
        Of this sky. Each population has random numbers of its own: one that is switched off changes no other.

    Returns
    -------
    Table
        One row per source, numbered by `source_id`, with the columns `SKY_COLUMNS`. `kind` is star, variable, galaxy,
        nucleus, supernova, hostless, flare, asteroid or near_earth. `mag` is AB (or Gaia G), for variables the middle
        of the range; `colour` is G_BP - G_RP less that of the mean star; `rate_*` is the motion tonight. `host_id` is
        the galaxy of a supernova or nucleus, and the star of a flare; `host_offset_r25` is the distance on the sky
        over the semi-major axis R25 of the galaxy. `meta` has the ``nebula_seed`` of `draw_nebula`.

    Raises
    ------
    MissingPartError
        When bright stars shall be those of a catalogue that is not installed.
    """
    box = chip_box(survey, shape)
    rngs = rng.spawn(9)
    stars = draw_stars(survey, wcs, box, latitude_deg=latitude_deg, rng=rngs[0])
    galaxies = draw_field_galaxies(survey, box, rngs[1])
    nuclei = draw_nuclei(survey, galaxies, rngs[2])
    hosts, supernovae = draw_supernovae(survey, box, tonight_mjd=tonight_mjd, rng=rngs[3])
    hostless = draw_hostless(survey, box, tonight_mjd=tonight_mjd, rng=rngs[4])
    dwarfs, flares = draw_flares(survey, box, tonight_mjd=tonight_mjd, rng=rngs[5])
    asteroids = draw_asteroids(survey, wcs, box, tonight_mjd=tonight_mjd, rng=rngs[6])
    near_earth = draw_near_earth(survey, wcs, box, tonight_mjd=tonight_mjd, rng=rngs[7])
    before = np.cumsum([block["px"].size for block in (stars, dwarfs, galaxies)])
    blocks = [
        stars, dwarfs, galaxies, hosts, _hosted(nuclei, before[1]), _hosted(supernovae, before[2]), hostless,
        _hosted(flares, before[0]), asteroids, near_earth,
    ]  # fmt: skip
    sky, x, y = stack_rows(blocks, epoch_mjd=tonight_mjd)
    if len(sky):
        sky["ra"], sky["dec"] = wcs.all_pix2world(x, y, 0)
    sky.meta["nebula_seed"] = int(rngs[8].integers(2**63))
    return sky


def _hosted(rows: Rows, first: int) -> Rows:
    """Rows with `host_id` counted in the whole sky, where their hosts start at row `first`."""
    return rows | {"host_id": rows["host_id"].astype(np.int64) + first}


def sky_at(sky: Table, mjd: float) -> Table:
    """The sky at one moment (UTC): positions moved, magnitudes varied.

    What is not there yet, or no more, has magnitude infinity. Movers have their motion at that moment in
    `rate_ra_arcsec_h` and `rate_dec_arcsec_h` (true arcsec on the sky). Columns that do not change are shared.
    """
    ra, dec, mag = (np.array(sky[name], np.float64) for name in ("ra", "dec", "mag"))
    if len(sky):
        years = (mjd - np.asarray(sky["epoch_mjd"])) / _YEAR_D
        ra += years * np.asarray(sky["pm_ra_mas_yr"]) * _MAS_DEG / np.cos(np.radians(dec))
        dec += years * np.asarray(sky["pm_dec_mas_yr"]) * _MAS_DEG
    varies = np.flatnonzero(np.asarray(sky["amplitude_mag"]) > 0)
    if varies.size:
        curve = Curve(
            mjd, *(np.asarray(sky[name])[varies] for name in ("period_d", "phase", "curve_shape", "curve_seed"))
        )
        mag[varies] += variable_change(
            np.asarray(sky["variable_type"])[varies], np.asarray(sky["amplitude_mag"])[varies], curve
        )
    passing = np.flatnonzero(np.isfinite(np.asarray(sky["start_mjd"])))
    mag[passing] += _explosion_change(sky[passing], mjd)
    rates = [np.array(sky[name], np.float64) for name in ("rate_ra_arcsec_h", "rate_dec_arcsec_h")]
    moves = np.flatnonzero(np.isfinite(np.asarray(sky["a_au"])))
    if moves.size:
        elements = Elements(*(np.asarray(sky[name], np.float64)[moves] for name in Elements._fields))
        seen = ephemeris(elements, mjd)
        ra[moves], dec[moves] = seen.ra, seen.dec
        mag[moves] = np.asarray(sky["abs_mag"])[moves] + brightness_offset(seen.r_au, seen.delta_au, seen.phase_rad)
        rates[0][moves], rates[1][moves] = apparent_rates(elements, mjd)
    now = Table(sky, copy=False)
    now["ra"], now["dec"], now["mag"] = ra % 360.0, dec, mag
    now["rate_ra_arcsec_h"], now["rate_dec_arcsec_h"] = rates
    return now


def _explosion_change(rows: Table, mjd: float) -> F8:
    """Magnitudes below those of tonight."""
    start, scale, tonight = (np.asarray(rows[name], np.float64) for name in ("start_mjd", "period_d", "epoch_mjd"))
    types = np.asarray(rows["variable_type"])
    change = np.zeros(len(rows))
    for name in np.unique(types):
        some = types == name
        ages = [(when[some] - start[some]) / scale[some] for when in (np.full(len(rows), mjd), tonight)]
        change[some] = explosion_mag(str(name), ages[0]) - explosion_mag(str(name), ages[1])
    return change
