"""Zero points: recovered from a catalogue, or an error that says why not."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import skies
from gueststar.errors import InputError
from gueststar.ingest.fits import load_image
from gueststar.ingest.zeropoint import Catalog, instrumental_zeropoint, zeropoint_from_catalog
from gueststar.types import Image

SHAPE = (300, 340)
TRUTH = 27.3


def celestial(ctype=("RA---TAN", "DEC--TAN"), crval=(150.0, 20.0), flip=1.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ctype, crval
    wcs.wcs.crpix, wcs.wcs.cdelt = (170.5, 150.5), (-flip * 1.2 / 3600, 1.2 / 3600)
    wcs.wcs.set()
    return wcs


def catalog_of(stars, wcs, rng, *, scatter=0.01):
    sky = wcs.pixel_to_world(stars.x, stars.y).icrs
    mag = TRUTH - 2.5 * np.log10(stars.flux) + rng.normal(0, scatter, len(stars))
    return Catalog(np.asarray(sky.ra.deg), np.asarray(sky.dec.deg), mag)


def photograph(rng, *, wcs=None, shape=None, n=70):
    stars = skies.scatter(rng, n, SHAPE, flux=(3000.0, 100_000.0), apart=14, margin=12)
    shape = shape or skies.Shape(2.8)
    return stars, skies.photograph(SHAPE, stars, shape, rng, wcs=wcs or celestial())


@pytest.mark.parametrize(
    "shape", [skies.Shape(2.2), skies.Shape(2.8), skies.Shape(4.5), skies.Shape(2.8, beta=3.5)], ids=str
)
def test_zero_point_is_recovered(rng, shape):
    stars, image = photograph(rng, shape=shape)
    done = zeropoint_from_catalog(image, catalog_of(stars, image.wcs, rng))
    n = done.facts["zeropoint_stars"]
    assert n > 50
    # Scatter of a median, and 1 % for the light that the PSF's own wings are wrong by.
    assert done.zeropoint == pytest.approx(
        TRUTH, abs=4 * 1.25 * done.facts["zeropoint_scatter_mag"] / np.sqrt(n) + 0.01
    )
    assert done.facts["zeropoint_scatter_mag"] < 0.05
    assert done.zeropoint_source == "catalog"
    assert image.zeropoint_source == "instrumental"
    assert "zeropoint_stars" not in image.facts


def test_variables_and_wrong_matches_do_not_move_it(rng):
    stars, image = photograph(rng)
    catalog = catalog_of(stars, image.wcs, rng)
    catalog.mag[::5] -= rng.uniform(0.3, 2.0, len(catalog.mag[::5]))
    catalog.mag[1] = np.nan
    assert zeropoint_from_catalog(image, catalog).zeropoint == pytest.approx(TRUTH, abs=0.02)


def test_a_deeper_and_wider_catalogue_does_no_harm(rng):
    stars, image = photograph(rng)
    faint = skies.scatter(rng, 400, SHAPE, flux=(20.0, 200.0), margin=-300)
    assert zeropoint_from_catalog(image, catalog_of(stars + faint, image.wcs, rng)).zeropoint == pytest.approx(
        TRUTH, abs=0.03
    )


@pytest.mark.parametrize(
    "wcs",
    [
        celestial(("GLON-TAN", "GLAT-TAN"), (210.0, 50.0)),
        celestial(("DEC--TAN", "RA---TAN"), (20.0, 150.0), flip=-1.0),
    ],
    ids=["galactic", "declination first"],
)
def test_a_catalogue_in_icrs_meets_any_celestial_wcs(rng, wcs):
    stars, image = photograph(rng, wcs=wcs)
    assert zeropoint_from_catalog(image, catalog_of(stars, wcs, rng)).zeropoint == pytest.approx(TRUTH, abs=0.02)


def test_without_a_wcs(rng):
    stars = skies.scatter(rng, 40, SHAPE, apart=12)
    image = skies.photograph(SHAPE, stars, skies.Shape(2.8), rng)
    with pytest.raises(InputError, match="needs a WCS, and this image has none"):
        zeropoint_from_catalog(image, catalog_of(stars, celestial(), rng))


def test_without_measured_stars():
    image = Image.from_arrays(np.ones((60, 60)), 1.0, wcs=celestial())
    with pytest.raises(InputError, match="call measure_image first"):
        zeropoint_from_catalog(image, Catalog(*np.zeros((3, 5))))


@pytest.mark.parametrize("offset_deg", [0.01, 90.0])
def test_a_wcs_that_is_wrong(rng, offset_deg):
    stars, image = photograph(rng)
    catalog = catalog_of(stars, image.wcs, rng)
    moved = Catalog(catalog.ra_deg, catalog.dec_deg - offset_deg, catalog.mag)
    with pytest.raises(
        InputError, match=r"only \d+ stars match the catalogue within 3 px .*is the WCS right"
    ) as caught:
        zeropoint_from_catalog(image, moved)
    assert caught.value.facts["n_matched"] < 5


def test_an_empty_catalogue(rng):
    _, image = photograph(rng)
    with pytest.raises(InputError, match="only 0 stars match the catalogue"):
        zeropoint_from_catalog(image, Catalog(*np.empty((3, 0))))


def test_columns_of_one_length():
    with pytest.raises(InputError, match=r"catalogue columns differ: \(3,\) \(3,\) \(2,\)"):
        Catalog(np.zeros(3), np.zeros(3), np.zeros(2))


def test_instrumental_zero_points_scale_with_the_exposure():
    assert instrumental_zeropoint(100.0) == pytest.approx(30.0)
    assert instrumental_zeropoint(float("nan")) == 25.0


def test_a_catalogue_with_a_file(rng, tmp_path):
    stars = skies.scatter(rng, 60, SHAPE, flux=(3000.0, 100_000.0), apart=14, margin=12)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    for name, header in (("with.fits", celestial().to_header()), ("without.fits", fits.Header())):
        header["GAIN"], header["EXPTIME"] = 1.0, 30.0
        fits.writeto(tmp_path / name, counts, header)
    catalog = catalog_of(stars, celestial(), rng)
    image = load_image(tmp_path / "with.fits", catalog=catalog)
    assert image.zeropoint == pytest.approx(TRUTH, abs=0.02)
    with pytest.raises(InputError, match=r"without\.fits: .*needs a WCS"):
        load_image(tmp_path / "without.fits", catalog=catalog)


# --- colours ---------------------------------------------------------------------------------------------------------


def coloured(stars, wcs, rng, *, term, scatter=0.01):
    """A catalogue in a band that differs from the image's by `term` times the colour less 0.8."""
    plain = catalog_of(stars, wcs, rng, scatter=scatter)
    colour = np.clip(rng.normal(0.8, 0.4, len(stars)), -0.2, 2.5)
    return Catalog(plain.ra_deg, plain.dec_deg, plain.mag + term * (colour - 0.8), colour)


@pytest.mark.parametrize("term", [0.0, 0.15, -0.4])
def test_the_colour_term_is_recovered(rng, term):
    stars, image = photograph(rng)
    done = zeropoint_from_catalog(image, coloured(stars, image.wcs, rng, term=term))
    facts = done.facts
    assert facts["colour_term"] == pytest.approx(term, abs=4 * facts["colour_term_err"])
    assert 0 < facts["colour_term_err"] < 0.02
    at_middle = TRUTH + term * (facts["zeropoint_colour"] - 0.8)
    # As without colours, 1 % for the light that the PSF's own wings are wrong by.
    assert done.zeropoint == pytest.approx(at_middle, abs=4 * facts["zeropoint_err_mag"] + 0.01)
    assert facts["zeropoint_scatter_mag"] < 0.05


def test_outliers_do_not_move_the_colour_term(rng):
    """A sixth of the stars are variables or wrong matches, red ones all of them and bright by a magnitude."""
    stars, image = photograph(rng)
    catalog = coloured(stars, image.wcs, rng, term=0.2)
    wrong = np.argsort(catalog.colour)[-len(stars) // 6 :]
    mag = catalog.mag.copy()
    mag[wrong] -= 1.0
    facts = zeropoint_from_catalog(image, Catalog(catalog.ra_deg, catalog.dec_deg, mag, catalog.colour)).facts
    assert facts["colour_term"] == pytest.approx(0.2, abs=0.04)
    assert facts["zeropoint_stars"] < len(stars) - 6


def test_the_errors_are_those_of_repeated_catalogues(rng):
    stars, image = photograph(rng)
    done = [zeropoint_from_catalog(image, coloured(stars, image.wcs, rng, term=0.1, scatter=0.1)) for _ in range(40)]
    terms = np.array([one.facts["colour_term"] for one in done])
    errors = np.array([one.facts["colour_term_err"] for one in done])
    # The scatter of 40 standard deviations has an error of 11 %.
    assert np.std(terms) / np.mean(errors) == pytest.approx(1.0, abs=0.4)
    assert abs(terms.mean() - 0.1) < 4 * np.std(terms) / np.sqrt(40) + 0.005


@pytest.mark.parametrize("case", ["none", "few", "alike", "not a number"])
def test_without_usable_colours_all_is_as_before(rng, case):
    stars, image = photograph(rng)
    plain = catalog_of(stars, image.wcs, rng)
    colour = {
        "none": None,
        "few": np.where(np.arange(len(stars)) < 8, rng.normal(0.8, 0.4, len(stars)), np.nan),
        "alike": np.full(len(stars), 0.7),
        "not a number": np.full(len(stars), np.nan),
    }[case]
    before = zeropoint_from_catalog(image, plain)
    after = zeropoint_from_catalog(image, Catalog(plain.ra_deg, plain.dec_deg, plain.mag, colour))
    assert after.zeropoint == before.zeropoint
    assert "colour_term" not in after.facts
    assert after.facts["zeropoint_err_mag"] == before.facts["zeropoint_err_mag"] > 0


def test_colours_must_have_the_shape_of_the_magnitudes():
    with pytest.raises(InputError, match=r"catalogue columns differ: colour \(3,\), mag \(2,\)"):
        Catalog(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3))
