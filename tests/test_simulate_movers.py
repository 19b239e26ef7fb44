"""Asteroids against an independent integration of their motion, their counts and rates; satellites."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import EarthLocation, get_body_barycentric
from astropy.time import Time
from astropy.utils import iers
from scipy.integrate import solve_ivp

from gueststar.simulate.camera import make_wcs, wcs_cards
from gueststar.simulate.sky import make_sky, sky_at
from gueststar.simulate.sky.movers import asteroid_counts_per_deg2, main_belt_elements, near_earth_elements
from gueststar.simulate.sky.orbits import (
    Elements,
    apparent_rates,
    brightness_offset,
    ephemeris,
    heliocentric,
    observer_au,
    to_ecliptic,
    to_equator,
    unit_vectors,
)
from gueststar.simulate.sky.satellites import draw_satellites
from gueststar.simulate.survey import Survey

TONIGHT = 61000.45
SHAPE = (1128, 2000)
GM = 0.01720209895**2  # au^3 / d^2
LIGHT_AU_D = 299792.458 * 86400 / 149597870.7


def opposition():
    """Right ascension and declination opposite the Sun tonight, deg."""
    x, y, z = observer_au(TONIGHT)
    return float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def wcs_at(ra, dec):
    return make_wcs(wcs_cards(SHAPE, ra_deg=ra, dec_deg=dec, scale_arcsec=1.189))


def separation_arcsec(ra, dec, other_ra, other_dec):
    chord = np.linalg.norm(unit_vectors(ra, dec) - unit_vectors(other_ra, other_dec), axis=1)
    return np.degrees(chord) * 3600


def site_by_astropy(mjd):
    """Kiso relative to the Sun, au, by astropy's own frames."""
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        time = Time(mjd, format="mjd", scale="utc")
        earth = get_body_barycentric("earth", time, ephemeris="builtin").xyz
        sun = get_body_barycentric("sun", time, ephemeris="builtin").xyz
        site = EarthLocation.from_geodetic(137.628, 35.794, 1130.0).get_gcrs_posvel(time)[0].xyz
        return (earth - sun + site).to_value("AU")


def integrated(elements, index, times):
    """Heliocentric places of one body by integrating Newton's law from its state at the epoch."""
    body = Elements(*(column[index : index + 1] for column in elements))
    epoch, step = float(body.epoch_mjd[0]), 0.01
    place = heliocentric(body, epoch)[0]
    # The first velocity comes from energy and angular momentum, not from differences of the code under test.
    a, e, i, node = body.a_au[0], body.e[0], np.radians(body.i_deg[0]), np.radians(body.node_deg[0])
    normal = to_equator(np.array([[np.sin(i) * np.sin(node), -np.sin(i) * np.cos(node), np.cos(i)]]))[0]
    r = np.linalg.norm(place)
    momentum = np.sqrt(GM * a * (1 - e**2))
    speed2 = GM * (2 / r - 1 / a)
    across = momentum / r
    along = np.sqrt(max(speed2 - across**2, 0.0)) * np.sign(
        np.linalg.norm(heliocentric(body, epoch + step)) - np.linalg.norm(heliocentric(body, epoch - step))
    )
    outward = place / r
    state = np.concatenate([place, along * outward + across * np.cross(normal, outward)])

    def newton(_, s):
        return np.concatenate([s[3:], -GM * s[:3] / np.linalg.norm(s[:3]) ** 3])

    found = []
    for when in times:
        span = (0.0, when - epoch)
        found.append(solve_ivp(newton, span, state, rtol=1e-11, atol=1e-13, method="DOP853").y[:3, -1])
    return np.array(found)


def test_the_observatory_agrees_with_astropy():
    for mjd in (58000.1, 60000.7, 61000.45):
        difference_km = np.linalg.norm(observer_au(mjd) - site_by_astropy(mjd)) * 149597870.7
        # Nutation and UT1 are left out: some kilometres, 0.001 arcsec at 1 au.
        assert difference_km < 10.0


@pytest.mark.parametrize(("make", "tolerance_arcsec"), [(main_belt_elements, 0.05), (near_earth_elements, 1.5)])
def test_places_agree_with_an_integration_of_the_motion(make, tolerance_arcsec):
    ra, dec = opposition()
    rng = np.random.default_rng(3)
    elements = make(ra + rng.uniform(-20, 20, 6), dec + rng.uniform(-8, 8, 6), mjd=TONIGHT, rng=rng)
    for mjd in (TONIGHT, TONIGHT + 0.02, TONIGHT - 30.0):
        seen = ephemeris(elements, mjd)
        observer = site_by_astropy(mjd)
        for k in range(6):
            delta = seen.delta_au[k]
            for _ in range(3):
                place = integrated(elements, k, [mjd - delta / LIGHT_AU_D])[0] - observer
                delta = np.linalg.norm(place)
            ra_true = np.degrees(np.arctan2(place[1], place[0]))
            dec_true = np.degrees(np.arcsin(place[2] / delta))
            assert separation_arcsec(seen.ra[k], seen.dec[k], ra_true, dec_true)[0] < tolerance_arcsec
            assert seen.delta_au[k] == pytest.approx(delta, abs=1e-7)


@pytest.mark.parametrize("make", [main_belt_elements, near_earth_elements])
def test_bodies_stand_on_their_lines_of_sight_tonight(make):
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-0.5, 0.95, 500)))
    elements = make(ra, dec, mjd=TONIGHT, rng=rng)
    seen = ephemeris(elements, TONIGHT)
    assert separation_arcsec(ra, dec, seen.ra, seen.dec).max() < 0.01
    assert (elements.e < 1).all()
    assert (elements.e > 0).all()
    r = seen.r_au
    assert ((r > elements.a_au * (1 - elements.e) - 1e-6) & (r < elements.a_au * (1 + elements.e) + 1e-6)).all()


def test_drawn_orbits_look_like_those_of_the_main_belt():
    ra, dec = opposition()
    n = 3000
    elements = main_belt_elements(np.full(n, ra), np.full(n, dec), mjd=TONIGHT, rng=np.random.default_rng(1))
    a = elements.a_au
    assert ((a > 2.1) & (a < 3.3)).all()
    for gap in (2.5, 2.825, 2.955):
        assert not (np.abs(a - gap) < 0.004).any()
    assert np.median(elements.e) == pytest.approx(0.13, abs=0.02)
    # On the ecliptic low orbits are seen more often; in all, inclinations are of the order of 7 deg.
    assert 3 < np.median(elements.i_deg) < 9
    high = main_belt_elements(np.full(n, ra), np.full(n, dec + 15), mjd=TONIGHT, rng=np.random.default_rng(1))
    latitude = np.degrees(np.arcsin(to_ecliptic(heliocentric(high, TONIGHT))[:, 2] / ephemeris(high, TONIGHT).r_au))
    assert (high.i_deg >= np.abs(latitude) - 1e-2).all()
    # Bodies go north and south alike.
    north = apparent_rates(elements, TONIGHT)
    assert np.std(north[1]) > 3


def test_main_belt_bodies_move_by_20_to_60_arcsec_an_hour_near_opposition():
    ra, dec = opposition()
    rng = np.random.default_rng(2)
    elements = main_belt_elements(
        ra + rng.uniform(-15, 15, 2000), dec + rng.uniform(-10, 10, 2000), mjd=TONIGHT, rng=rng
    )
    east, north = apparent_rates(elements, TONIGHT)
    rate = np.hypot(east, north)
    assert ((rate > 20) & (rate < 60)).mean() > 0.95
    # They go backwards, and are a point in 6 s.
    assert (east < 0).mean() > 0.99
    assert rate.max() * 6 / 3600 < 0.2


def test_near_earth_bodies_trail_within_an_exposure():
    rng = np.random.default_rng(4)
    elements = near_earth_elements(rng.uniform(0, 360, 500), rng.uniform(-30, 60, 500), mjd=TONIGHT, rng=rng)
    length_px = np.hypot(*apparent_rates(elements, TONIGHT)) / 3600 * 6 / 1.189
    assert (length_px > 1.0).mean() > 0.9
    assert 3 < np.median(length_px) < 30


def test_rates_are_the_motion_of_the_places():
    ra, dec = opposition()
    rng = np.random.default_rng(5)
    for make in (main_belt_elements, near_earth_elements):
        elements = make(ra + rng.uniform(-5, 5, 50), dec + rng.uniform(-5, 5, 50), mjd=TONIGHT, rng=rng)
        before, after = (ephemeris(elements, TONIGHT + h / 24) for h in (-0.1, 0.1))
        moved = separation_arcsec(before.ra, before.dec, after.ra, after.dec) / 0.2
        np.testing.assert_allclose(np.hypot(*apparent_rates(elements, TONIGHT)), moved, rtol=0.02)


def test_counts_fall_with_ecliptic_latitude_and_away_from_opposition():
    assert asteroid_counts_per_deg2(18.5, 0.0) == pytest.approx(1.5)
    assert asteroid_counts_per_deg2(17.5, 0.0) == pytest.approx(1.5 / 10**0.5)
    assert asteroid_counts_per_deg2(19.5, 0.0) == pytest.approx(1.5 * 10**0.35)
    latitudes = [float(asteroid_counts_per_deg2(18.5, b)) for b in (0, 5, 10, 20, 40, 70)]
    assert (np.diff(latitudes) < 0).all()
    assert latitudes[3] < 0.25
    assert latitudes[5] < 1e-3
    assert asteroid_counts_per_deg2(18.5, 0.0, 90.0) < 0.5 * asteroid_counts_per_deg2(18.5, 0.0, 180.0)


def test_drawn_asteroids_have_the_counts_of_the_law():
    ra, dec = opposition()
    survey = Survey.quiet().model_copy(
        update={"asteroid_density": 100.0, "star_density": 0.0, "galaxy_density": 0.0, "dither_px": 0.0}
    )
    sky = make_sky(
        survey, wcs_at(ra, dec), SHAPE, latitude_deg=60.0, tonight_mjd=TONIGHT, rng=np.random.default_rng(0)
    )  # fmt: skip
    asteroids = sky[sky["kind"] == "asteroid"]
    area = (SHAPE[0] + 40) * (SHAPE[1] + 40) * (1.189 / 3600) ** 2
    bright = (asteroids["mag"] < 18.5).sum()
    assert abs(bright - 150 * area) < 4 * np.sqrt(150 * area)
    off_ecliptic = make_sky(
        survey, wcs_at(ra, dec + 50), SHAPE, latitude_deg=60.0, tonight_mjd=TONIGHT, rng=np.random.default_rng(0)
    )  # fmt: skip
    assert (off_ecliptic["kind"] == "asteroid").sum() < 0.1 * len(asteroids)
    # Sizes follow: main-belt bodies of 12-19.5 mag have absolute magnitudes of about 9-18.
    assert 12 < np.median(asteroids["abs_mag"]) < 18


def test_movers_in_the_sky_move_along_their_orbits():
    ra, dec = opposition()
    survey = Survey(asteroid_density=30.0, near_earth_per_chip=20.0, star_density=0.2, bright_stars="drawn")
    sky = make_sky(survey, wcs_at(ra, dec), SHAPE, latitude_deg=60.0, tonight_mjd=TONIGHT, rng=np.random.default_rng(1))
    moves = np.isin(sky["kind"], ["asteroid", "near_earth"])
    elements = Elements(*(np.asarray(sky[name])[moves] for name in Elements._fields))
    now, later = (sky_at(sky, mjd) for mjd in (TONIGHT, TONIGHT + 1 / 48))
    assert separation_arcsec(sky["ra"], sky["dec"], now["ra"], now["dec"]).max() < 0.01
    np.testing.assert_allclose(now["mag"][moves], sky["mag"][moves], atol=1e-6)
    seen = ephemeris(elements, TONIGHT + 1 / 48)
    np.testing.assert_array_equal(later["ra"][moves], seen.ra)
    east, north = apparent_rates(elements, TONIGHT + 1 / 48)
    np.testing.assert_array_equal(later["rate_ra_arcsec_h"][moves], east)
    np.testing.assert_array_equal(later["rate_dec_arcsec_h"][moves], north)
    still = ~moves
    assert (later["rate_ra_arcsec_h"][still] == 0).all()
    # Between two visits a main-belt body moves by 10-100 arcsec; months before it is far off the chip.
    belt = sky["kind"] == "asteroid"
    moved = separation_arcsec(now["ra"], now["dec"], later["ra"], later["dec"])[belt]
    assert ((moved > 5) & (moved < 40)).all()
    past = sky_at(sky, TONIGHT - 60)
    assert (separation_arcsec(now["ra"], now["dec"], past["ra"], past["dec"])[belt] > 3600).all()


def test_a_body_at_opposition_is_brighter_than_before():
    # At 2.6 au: (r delta) = 2.6 x 1.6, no phase.
    assert float(brightness_offset(2.6, 1.6, 0.0)) == pytest.approx(5 * np.log10(2.6 * 1.6))
    # The H, G system by 20 deg: 0.96-1.0 mag fainter for G = 0.15.
    assert float(brightness_offset(1.0, 1.0, np.radians(20.0))) == pytest.approx(0.98, abs=0.03)


def test_satellites_cross_the_chip_at_their_speeds():
    survey = Survey(satellites_per_chip=600.0)
    rows = draw_satellites(survey, SHAPE, exposure_s=6.0, exposures=1, rng=np.random.default_rng(0))
    assert abs(len(rows) - 600) < 5 * np.sqrt(600)
    speed = np.hypot(rows["x1"] - rows["x0"], rows["y1"] - rows["y0"]) * 1.189 / (rows["t1_s"] - rows["t0_s"])
    low = rows["satellite_type"] == "LEO"
    assert ((speed[low] > 719) & (speed[low] < 3601)).all()
    np.testing.assert_allclose(speed[~low], 15.04, rtol=0.1)
    assert 100 < (~low).sum() < 400
    # Geostationary: 7.5 arcsec in a frame of half a second, towards east (-x).
    assert np.median(speed[~low]) * 0.5 == pytest.approx(7.5, abs=0.1)
    assert (rows["x1"] < rows["x0"])[~low].all()
    # Each passes over the chip.
    along = np.linspace(0, 1, 4001)[:, None]
    x, y = (np.asarray(rows[a]) + along * np.asarray(rows[b] - rows[a]) for a, b in (("x0", "x1"), ("y0", "y1")))
    assert ((x > -5) & (x < 2004) & (y > -5) & (y < 1132)).any(axis=0).all()
    summed = draw_satellites(survey, SHAPE, exposure_s=6.0, exposures=4, rng=np.random.default_rng(0))
    assert abs(len(summed) - 2400) < 5 * np.sqrt(2400)
    assert len(draw_satellites(Survey.quiet(), SHAPE, exposure_s=6.0, exposures=1, rng=np.random.default_rng(0))) == 0
