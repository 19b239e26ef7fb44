"""Populations of the simulated sky, the camera's geometry and the survey's options."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import ConfigError
from gueststar.simulate.camera import (
    chip_offset_deg,
    generator,
    make_wcs,
    smooth_modes,
    smooth_plane,
    smooth_values,
    vignetting_plane,
    wcs_cards,
    world_to_pixel,
)
from gueststar.simulate.conditions import draw_conditions, make_psf_field, registration_error
from gueststar.simulate.sky import (
    draw_galaxies,
    draw_host_offsets,
    draw_magnitudes,
    galaxy_counts_per_deg2,
    make_sky,
    sky_at,
    star_counts_per_deg2,
)
from gueststar.simulate.survey import Survey

CHIP_DEG2 = 39.7 / 60 * 22.4 / 60
SHAPE = (1128, 2000)


def nominal(scale=1.189, shape=SHAPE, **options):
    return make_wcs(wcs_cards(shape, ra_deg=150.0, dec_deg=35.0, scale_arcsec=scale, **options))


def test_star_counts_follow_the_law():
    assert star_counts_per_deg2(10.0, 2.5) == pytest.approx(24.4, rel=1e-3)
    assert star_counts_per_deg2(10.0, 80.0) == pytest.approx(5.2, rel=1e-3)
    # Stars on a chip at G < 18: 270 at the pole, 9,500 in the plane.
    assert star_counts_per_deg2(18.0, 90.0) * CHIP_DEG2 == pytest.approx(270, rel=0.02)
    assert star_counts_per_deg2(18.0, 0.0) * CHIP_DEG2 == pytest.approx(9500, rel=0.02)
    latitudes = np.linspace(0, 90, 40)
    assert (np.diff([star_counts_per_deg2(17.0, b) for b in latitudes]) <= 0).all()
    # Brighter than 8 on the 84 chips of an exposure: 18 to 57.
    exposure = [float(star_counts_per_deg2(8.0, b)) * 84 * CHIP_DEG2 for b in (85.0, 2.0)]
    assert 15 < exposure[0] < 22
    assert 48 < exposure[1] < 65


def test_galaxy_counts_follow_the_law():
    assert galaxy_counts_per_deg2(17.8) == pytest.approx(90)
    assert np.log10(galaxy_counts_per_deg2(16.0) / galaxy_counts_per_deg2(15.0)) == pytest.approx(0.6)
    assert np.log10(galaxy_counts_per_deg2(20.0) / galaxy_counts_per_deg2(19.0)) == pytest.approx(0.45)


def test_drawn_magnitudes_have_the_counts_of_the_law():
    grid = np.linspace(3, 19, 400)
    mags = draw_magnitudes(star_counts_per_deg2(grid, 30.0), grid, 4.0, np.random.default_rng(0))
    for limit in (14.0, 16.0, 18.0):
        expected = 4.0 * float(star_counts_per_deg2(limit, 30.0))
        assert abs((mags < limit).sum() - expected) < 4 * np.sqrt(expected)


def test_sky_has_the_expected_numbers_of_everything():
    survey = Survey(dither_px=0.0, supernovae_per_chip=50, hostless_per_chip=30, asteroids_per_chip=20)
    sky = make_sky(survey, nominal(), SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(2))
    kind = np.asarray(sky["kind"])
    area = (SHAPE[0] + 40) * (SHAPE[1] + 40) * (1.189 / 3600) ** 2
    stars = float(star_counts_per_deg2(20.0, 60.0)) * area
    count = {name: int((kind == name).sum()) for name in set(kind)}
    assert abs(count["star"] + count["variable"] - stars) < 5 * np.sqrt(stars)
    assert abs(count["variable"] - 0.01 * stars) < 5 * np.sqrt(0.01 * stars) + 1
    galaxies = float(galaxy_counts_per_deg2(20.5)) * area
    assert abs(count["galaxy"] - galaxies) < 5 * np.sqrt(galaxies)
    for name, mean in (("supernova", 50), ("hostless", 30), ("asteroid", 20)):
        assert abs(count[name] - mean) < 5 * np.sqrt(mean)
    np.testing.assert_array_equal(sky["source_id"], np.arange(len(sky)))


def test_supernovae_lie_on_their_hosts_by_the_offset_law():
    offsets = draw_host_offsets(20000, np.random.default_rng(1))
    np.testing.assert_allclose(
        np.quantile(offsets, [0.1, 0.25, 0.5, 0.75, 0.9]), [0.07, 0.18, 0.38, 0.67, 1.05], rtol=0.06
    )
    survey = Survey(supernovae_per_chip=150, star_density=0.0, galaxy_density=10.0)
    wcs = nominal()
    sky = make_sky(survey, wcs, SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(3))
    supernovae = sky[sky["kind"] == "supernova"]
    hosts = sky[supernovae["host_id"]]
    assert set(hosts["kind"]) == {"galaxy"}
    assert len(np.unique(supernovae["host_id"])) == len(supernovae) > 100
    x, y = world_to_pixel(wcs, supernovae["ra"], supernovae["dec"])
    hx, hy = world_to_pixel(wcs, hosts["ra"], hosts["dec"])
    distance = np.hypot(x - hx, y - hy)
    r25 = 2 * np.asarray(hosts["re_arcsec"]) / 1.189
    assert (distance <= supernovae["host_offset_r25"] * r25 + 1e-3).all()
    # A quarter or more lie within two pixels of the nucleus.
    assert 0.15 < (distance < 1.9).mean() < 0.6


def test_supernovae_without_a_galaxy_are_hostless():
    survey = Survey(supernovae_per_chip=30, hostless_per_chip=0, galaxy_density=0, star_density=0, asteroids_per_chip=0)
    sky = make_sky(survey, nominal(), SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(3))
    assert set(sky["kind"]) == {"hostless"}
    assert len(sky) > 10


def test_galaxy_sizes_follow_their_magnitudes():
    drawn = draw_galaxies(np.full(4000, 15.7), np.random.default_rng(0))
    assert np.median(drawn["re_arcsec"]) == pytest.approx(13.1 / 2, rel=0.05)
    assert np.mean(drawn["sersic_n"] < 2) == pytest.approx(0.7, abs=0.03)


def test_sky_changes_with_time():
    survey = Survey(supernovae_per_chip=10, hostless_per_chip=5, asteroids_per_chip=10, variable_fraction=0.2)
    sky = make_sky(survey, nominal(), SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(5))
    before = sky.copy()
    earlier, now, later = (sky_at(sky, mjd) for mjd in (60990.0, 61000.0, 61000.0 + 1 / 24))
    assert all(np.array_equal(sky[name], before[name]) for name in ("ra", "mag"))
    kind = np.asarray(sky["kind"])
    new = np.isin(kind, ["supernova", "hostless"])
    assert np.isinf(earlier["mag"][new]).all()
    assert np.isfinite(now["mag"][new]).all()
    assert (np.abs(now["mag"] - earlier["mag"])[kind == "star"] == 0).all()
    varies = kind == "variable"
    assert (np.abs(now["mag"] - earlier["mag"])[varies] > 0).all()
    assert (np.abs(now["mag"] - sky["mag"])[varies] <= sky["amplitude_mag"][varies]).all()
    moved = (later["dec"] - now["dec"]) * 3600
    assert (moved[kind == "star"] == 0).all()
    east = (later["ra"] - now["ra"]) * 3600 * np.cos(np.radians(now["dec"]))
    rate = np.hypot(moved, east)[kind == "asteroid"]
    assert ((rate > 19) & (rate < 61)).all()


def test_an_empty_sky_is_a_table_without_rows():
    survey = Survey(star_density=0, galaxy_density=0, supernovae_per_chip=0, hostless_per_chip=0, asteroids_per_chip=0)
    sky = make_sky(survey, nominal(), SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(5))
    assert len(sky) == 0
    assert len(sky_at(sky, 61000.0)) == 0


def test_pixel_positions_agree_with_astropy():
    wcs = nominal(distortion_px=3.0, rotation_deg=0.3, shift_px=(5.0, -7.0))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 2000, 200), rng.uniform(0, 1128, 200)
    ra, dec = wcs.all_pix2world(x, y, 0)
    back = world_to_pixel(wcs, ra, dec)
    np.testing.assert_allclose(back, [x, y], atol=1e-6)
    corner = np.hypot(*(np.array(wcs.wcs_world2pix(*wcs.all_pix2world(0, 0, 0), 0)) - 0))
    assert corner == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(wcs.proj_plane_pixel_scales()[0].to_value("arcsec"), 1.189, rtol=1e-6)
    assert world_to_pixel(wcs, [], [])[0].size == 0


def test_chips_and_vignetting():
    assert chip_offset_deg("anything") == (0.0, 0.0)
    offsets = np.array(
        [
            chip_offset_deg(f"Q{q}-{c}{r}")
            for q in range(1, 5)
            for c in range(1, 5)
            for r in range(1, 7 - (c > 2) - (c > 3))
        ]
    )
    assert len(np.unique(offsets, axis=0)) == len(offsets)
    assert np.hypot(*offsets.T).max() < 4.8
    assert (vignetting_plane((100, 100), (0.0, 0.0), 1 / 3600) == 1).all()
    edge = vignetting_plane((100, 100), (4.5, 0.0), 1 / 3600)
    assert edge.mean() == pytest.approx(0.5, abs=0.01)
    assert edge[50, 0] > edge[50, -1]


def test_smooth_fields_have_unit_variance_and_agree_between_pixels_and_points():
    variances = [smooth_plane(smooth_modes(np.random.default_rng(s)), (40, 60)).var() for s in range(300)]
    assert np.mean(variances) == pytest.approx(1.0, abs=0.15)
    modes = smooth_modes(np.random.default_rng(1))
    plane = smooth_plane(modes, (40, 60))
    values = smooth_values(modes, np.array([3.0, 50.0]), np.array([7.0, 39.0]), (40, 60))
    np.testing.assert_allclose(values, [plane[7, 3], plane[39, 50]], atol=1e-5)


def test_conditions_stay_within_the_survey_and_errors_have_the_asked_size():
    survey = Survey(wcs_shift_px=0.2, wcs_rotation_px=0.0, wcs_gradient_px=0.0, wobble_px=0.05, fwhm_px=(2.2, 3.0))
    shifts, wobbles = [], []
    x, y = (a.ravel().astype(float) for a in np.meshgrid(np.arange(0, 2000, 50), np.arange(0, 1128, 50)))
    for seed in range(150):
        conditions = draw_conditions(survey, generator(seed, 1), mjd=61000.0)
        assert 2.2 <= conditions.fwhm_px <= 3.0
        assert 18.0 <= conditions.sky_mag <= 20.5
        dx, dy = registration_error(conditions, x, y, SHAPE)
        shifts += list(conditions.error_shift_px)
        wobbles += [dx.std(), dy.std()]
    assert np.std(shifts) == pytest.approx(0.2, rel=0.2)
    assert np.sqrt(np.mean(np.square(wobbles))) == pytest.approx(0.05, rel=0.2)
    field = make_psf_field(conditions, SHAPE)
    assert field.at([999.5], [563.5])[0][0] == pytest.approx(conditions.fwhm_px, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"gain_e_adu": 0.0}, "gain_e_adu"),
        ({"fwhm_px": (4.0, 2.0)}, "fwhm_px"),
        ({"fwhm_px": (-1.0, 2.0)}, "fwhm_px"),
        ({"ellipticity": (0.0, 1.5)}, "ellipticity"),
        ({"frames": 0}, "frames"),
        ({"hot_pixels": -0.1}, "hot_pixels"),
        ({"galactic_latitude_deg": (0.0, 95.0)}, "galactic_latitude_deg"),
        ({"moffat_beta": (1.0, 3.0)}, "moffat_beta"),
        ({"seeing": 3.0}, "seeing"),
    ],
)
def test_impossible_surveys_name_the_key(values, key):
    with pytest.raises(ConfigError, match=key) as error:
        Survey.parse(values)
    assert error.value.facts["key"] == key


def test_every_option_of_a_survey_is_described():
    assert all(field.description for field in Survey.model_fields.values())
    assert Survey().exposure_s == 6.0
    assert Survey().full_well_e == pytest.approx(5980)
