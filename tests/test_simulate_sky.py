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
from gueststar.simulate.optics.conditions import draw_conditions, make_psf_field, registration_error
from gueststar.simulate.sky import make_sky, sky_at
from gueststar.simulate.sky.field_galaxies import draw_galaxies, draw_host_offsets, galaxy_counts_per_deg2
from gueststar.simulate.sky.sky_table import SKY_COLUMNS, Box, make_rows
from gueststar.simulate.sky.stars import draw_colours, draw_magnitudes, draw_proper_motions, star_counts_per_deg2
from gueststar.simulate.survey import Survey

CHIP_DEG2 = 39.7 / 60 * 22.4 / 60
SHAPE = (1128, 2000)
TONIGHT = 61000.45


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


def sky_of(survey, seed=0, latitude_deg=60.0, **options):
    return make_sky(
        survey, nominal(**options), SHAPE, latitude_deg=latitude_deg, tonight_mjd=TONIGHT,
        rng=np.random.default_rng(seed),
    )  # fmt: skip


def distance_px(rows, others):
    wcs = nominal()
    return np.hypot(*np.subtract(world_to_pixel(wcs, rows["ra"], rows["dec"]),
                                 world_to_pixel(wcs, others["ra"], others["dec"])))  # fmt: skip


def test_sky_has_the_expected_numbers_of_everything():
    survey = Survey(
        dither_px=0.0, supernovae_per_chip=50, hostless_per_chip=30, flares_per_chip=20, near_earth_per_chip=25,
        active_nuclei=0.2, bright_stars="drawn",
    )  # fmt: skip
    sky = sky_of(survey, seed=2)
    kind = np.asarray(sky["kind"])
    count = {name: int((kind == name).sum()) for name in set(kind)}
    area = (SHAPE[0] + 40) * (SHAPE[1] + 40) * (1.189 / 3600) ** 2
    stars = float(star_counts_per_deg2(20.0, 60.0)) * area
    drawn = count["star"] + count["variable"] - count["flare"]  # each flare has its star
    assert abs(drawn - stars) < 5 * np.sqrt(stars)
    assert abs(count["variable"] - 0.01 * stars) < 5 * np.sqrt(0.01 * stars) + 1
    galaxies = float(galaxy_counts_per_deg2(20.5)) * area
    field = count["galaxy"] - count["supernova"]  # each supernova has its host
    assert abs(field - galaxies) < 5 * np.sqrt(galaxies)
    assert abs(count["nucleus"] - 0.2 * field) < 5 * np.sqrt(0.2 * field)
    for name, mean in (("supernova", 50), ("hostless", 30), ("flare", 20), ("near_earth", 25)):
        assert abs(count[name] - mean) < 5 * np.sqrt(mean)
    np.testing.assert_array_equal(sky["source_id"], np.arange(len(sky)))
    assert tuple(sky.colnames) == tuple(SKY_COLUMNS)
    assert all(np.isfinite(sky[name]).all() for name in ("ra", "dec", "mag", "colour", "epoch_mjd"))


def test_supernovae_lie_on_their_hosts_by_the_offset_law():
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
    law = np.array([0.07, 0.18, 0.38, 0.67, 1.05, 1.55])
    offsets = draw_host_offsets(20000, np.random.default_rng(1))
    np.testing.assert_allclose(np.quantile(offsets, quantiles), law, rtol=0.06)
    sky = sky_of(Survey(supernovae_per_chip=4000, star_density=0.0, galaxy_density=0.0), seed=3)
    supernovae = sky[sky["kind"] == "supernova"]
    hosts = sky[supernovae["host_id"]]
    assert len(supernovae) > 3700
    assert set(hosts["kind"]) == {"galaxy"}
    assert len(np.unique(supernovae["host_id"])) == len(supernovae)
    np.testing.assert_array_equal(supernovae["host_mag"], hosts["mag"])
    distance = distance_px(supernovae, hosts)
    measured = distance * 1.189 / (2 * np.asarray(hosts["re_arcsec"]))
    # Distortion of the nominal coordinates bends distances by less than a hundredth of a pixel.
    np.testing.assert_allclose(measured, supernovae["host_offset_r25"], atol=2e-3)
    np.testing.assert_allclose(np.quantile(measured, quantiles), law, rtol=0.10)
    # A quarter lie within 1.9 px of the nucleus: 4,000 of them tell it to 0.7 %.
    assert (distance < 1.9).mean() == pytest.approx(0.25, abs=0.03)


def test_supernovae_lie_along_their_edge_on_hosts():
    sky = sky_of(Survey(supernovae_per_chip=3000, star_density=0.0, galaxy_density=0.0), seed=4)
    supernovae = sky[sky["kind"] == "supernova"]
    hosts = sky[supernovae["host_id"]]
    x, y = np.subtract(
        world_to_pixel(nominal(), supernovae["ra"], supernovae["dec"]),
        world_to_pixel(nominal(), hosts["ra"], hosts["dec"]),
    )
    from_axis = np.abs((np.arctan2(y, x) - hosts["angle_rad"] + np.pi / 2) % np.pi - np.pi / 2)
    flat = np.asarray(hosts["axis_ratio"]) < 0.4
    assert np.median(from_axis[flat]) < 0.4
    assert np.median(from_axis[np.asarray(hosts["axis_ratio"]) > 0.95]) == pytest.approx(np.pi / 4, abs=0.12)


def test_every_supernova_has_a_host_in_an_empty_field_too():
    sky = sky_of(
        Survey.quiet().model_copy(update={"supernovae_per_chip": 30, "galaxy_density": 0, "star_density": 0,
                                          "hostless_per_chip": 0.0}), seed=3,
    )  # fmt: skip
    kind = np.asarray(sky["kind"])
    assert set(kind) == {"galaxy", "supernova"}
    assert (kind == "galaxy").sum() == (kind == "supernova").sum() > 10
    low, high = Survey().host_mag
    assert ((sky["mag"] >= low) & (sky["mag"] <= high))[kind == "galaxy"].all()


def test_nuclei_lie_in_the_middle_of_their_galaxies():
    sky = sky_of(Survey(active_nuclei=0.5), seed=6)
    nuclei = sky[sky["kind"] == "nucleus"]
    galaxies = sky[nuclei["host_id"]]
    assert len(nuclei) > 100
    assert set(galaxies["kind"]) == {"galaxy"}
    assert distance_px(nuclei, galaxies).max() < 1e-6
    assert (nuclei["mag"] > galaxies["mag"]).all()
    assert (nuclei["host_offset_r25"] == 0).all()


def test_galaxy_sizes_follow_their_magnitudes():
    drawn = draw_galaxies(np.full(4000, 15.7), np.random.default_rng(0))
    assert np.median(drawn["re_arcsec"]) == pytest.approx(13.1 / 2, rel=0.05)
    assert np.mean(drawn["sersic_n"] < 2) == pytest.approx(0.7, abs=0.03)


def test_colours_are_of_the_mean_star_on_average_and_redder_when_faint():
    rng = np.random.default_rng(0)
    assert draw_colours(rng.uniform(10, 18, 20000), rng).mean() == pytest.approx(0.0, abs=0.1)
    assert draw_colours(np.full(5000, 20.0), rng).mean() > draw_colours(np.full(5000, 14.0), rng).mean() + 0.3
    assert draw_colours(np.full(5000, 8.0), rng).std() > draw_colours(np.full(5000, 15.0), rng).std() + 0.2


def test_fast_stars_are_as_many_as_counted():
    rng = np.random.default_rng(0)
    mag = rng.uniform(10, 20, 200_000)
    area = 200.0
    total = np.hypot(*draw_proper_motions(mag, area, rng))
    # Three per square degree above 0.15 arcsec/yr, an eighth of that above twice the speed.
    for speed, expected in ((150.0, 600.0), (300.0, 75.0)):
        assert abs((total > speed).sum() - expected) < 4 * np.sqrt(expected)
    without = np.hypot(*draw_proper_motions(mag, 0.0, rng))
    assert np.median(without[np.abs(mag - 15) < 0.5]) == pytest.approx(7.0, rel=0.05)
    # Nearly all of the fast ones belong to the tail.
    assert (without > 150).sum() < 20


def test_stars_move_by_their_proper_motions():
    survey = Survey(bright_stars="drawn", proper_motion=100.0)
    sky = sky_of(survey, seed=7)
    later = sky_at(sky, TONIGHT + 365.25)
    north = (later["dec"] - sky["dec"]) * 3.6e6
    east = (later["ra"] - sky["ra"]) * 3.6e6 * np.cos(np.radians(sky["dec"]))
    stars = np.isin(sky["kind"], ["star", "variable"])
    np.testing.assert_allclose(north[stars], sky["pm_dec_mas_yr"][stars], atol=1e-3)
    np.testing.assert_allclose(east[stars], sky["pm_ra_mas_yr"][stars], atol=1e-3)
    assert np.median(np.hypot(north, east)[stars]) > 300
    assert (north[np.isin(sky["kind"], ["galaxy", "nucleus", "supernova", "hostless"])] == 0).all()
    still = sky_of(Survey(bright_stars="drawn", proper_motion=0.0), seed=7)
    assert (still["pm_ra_mas_yr"] == 0).all()


def test_sky_changes_with_time_and_the_input_does_not():
    sky = sky_of(
        Survey(supernovae_per_chip=30, hostless_per_chip=20, flares_per_chip=20, variable_fraction=0.2), seed=5
    )
    before = sky.copy()
    earlier, now = (sky_at(sky, mjd) for mjd in (TONIGHT - 60, TONIGHT))
    for name in sky.colnames:
        np.testing.assert_array_equal(sky[name], before[name])
    kind = np.asarray(sky["kind"])
    new = np.isin(kind, ["supernova", "hostless", "flare"])
    assert np.isinf(earlier["mag"][new]).all()
    np.testing.assert_allclose(now["mag"][new], sky["mag"][new])
    low, high = Survey().transient_mag
    assert ((now["mag"][new] >= low) & (now["mag"][new] <= high)).all()
    assert (now["mag"] == earlier["mag"])[np.isin(kind, ["star", "galaxy"])].all()
    varies = kind == "variable"
    assert (np.abs(now["mag"] - earlier["mag"])[varies] > 0.01).mean() > 0.7
    assert (np.abs(now["mag"] - sky["mag"])[varies] <= sky["amplitude_mag"][varies] + 1e-12).all()


def test_a_population_that_is_switched_off_changes_no_other():
    whole, less = (sky_of(Survey(supernovae_per_chip=n, variable_fraction=0.0), seed=8) for n in (20, 0))
    for name in ("ra", "mag", "colour"):
        np.testing.assert_array_equal(whole[name][whole["kind"] == "star"], less[name][less["kind"] == "star"])


def test_bright_stars_are_drawn_beyond_the_chip_as_far_as_their_halos_reach():
    x, y, mags = [], [], []
    for seed in range(30):
        sky = sky_of(Survey(bright_stars="drawn", star_mag=(3.0, 10.0), galaxy_density=0.0, star_density=20), seed=seed)
        stars = sky[np.isin(sky["kind"], ["star", "variable"])]
        px = world_to_pixel(nominal(), stars["ra"], stars["dec"])
        x, y, mags = [*x, *px[0]], [*y, *px[1]], [*mags, *stars["mag"]]
    x, bright = np.array(x), np.array(mags) < 9.0
    assert x[bright].min() < -500
    assert x[~bright].min() > -60
    area = (SHAPE[0] + 1040) * (SHAPE[1] + 1040) * (1.189 / 3600) ** 2
    expected = 30 * 20 * float(star_counts_per_deg2(9.0, 60.0) - star_counts_per_deg2(3.0, 60.0)) * area
    assert abs(bright.sum() - expected) < 4 * np.sqrt(expected)


def test_an_empty_sky_is_a_table_without_rows():
    survey = Survey(
        star_density=0, galaxy_density=0, supernovae_per_chip=0, hostless_per_chip=0, flares_per_chip=0,
        asteroid_density=0, near_earth_per_chip=0,
    )  # fmt: skip
    sky = sky_of(survey)
    assert len(sky) == 0
    assert tuple(sky.colnames) == tuple(SKY_COLUMNS)
    assert len(sky_at(sky, TONIGHT)) == 0


def test_rows_refuse_columns_that_no_sky_has():
    with pytest.raises(ValueError, match="redshift"):
        make_rows("galaxy", [1.0], [2.0], redshift=0.1)


def test_a_box_holds_what_is_placed_in_it():
    box = Box((100, 200), 10.0, 1.0)
    x, y = box.place(1000, np.random.default_rng(0))
    assert box.holds(x, y).all()
    assert not box.holds(x + 220, y).any()
    assert box.area_deg2 == pytest.approx(120 * 220 / 3600**2)
    assert x.min() < -5
    assert y.max() > 105


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
    survey = Survey(
        wcs_shift_px=0.2, wcs_rotation_px=0.0, wcs_gradient_px=0.0, wobble_px=0.05, fwhm_px=(2.2, 3.0),
        bad_seeing_rate=0.0,
    )  # fmt: skip
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
