"""The noise map against the pixels: wrong gains, wrong read noise, patterns, variances that were given."""

from __future__ import annotations

import numpy as np
import pytest

import skies
from gueststar.ingest.noise import check_noise, empty_sky, photon_factor, read_noise_floor
from gueststar.ingest.prepare import measure_image, prepare_image
from gueststar.simulate.detector.noise import pattern_noise
from gueststar.types import Image

SHAPE = (400, 450)


@pytest.fixture(scope="module")
def field():
    """True light, and one exposure of it in electrons."""
    rng = np.random.default_rng(21)
    stars = skies.scatter(rng, 120, SHAPE, flux=(500.0, 80_000.0), apart=12)
    light = skies.paint(SHAPE, stars, skies.Shape(2.8))
    return light, skies.expose(light, rng)


def true_variance(light):
    return light + skies.NOISE_E**2


def test_right_numbers_are_believed(field):
    light, counts = field
    image = prepare_image(counts, read_noise_e=skies.READ_NOISE_E)
    facts = image.facts
    assert facts["variance_ratio"] == pytest.approx(1.0, abs=0.03)
    assert 0.85 < facts["variance_ratio_low"] <= facts["variance_ratio_high"] < 1.15
    assert abs(facts["noise_correlation"]) < 0.02
    assert facts["noise_warning"] == ""
    assert facts["photon_factor"] == 1.0
    dark = light < 0.5
    assert (image.numpy("variance") / true_variance(light))[dark].mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("factor", [1.5, 2.0, 4.0])
def test_a_gain_that_is_too_large_is_found_and_made_good(field, factor):
    light, counts = field
    image = prepare_image(counts, gain_e_adu=factor, read_noise_e=skies.READ_NOISE_E)
    assert image.facts["photon_factor"] == pytest.approx(factor, rel=0.06)
    assert "the gain is probably too large by that factor" in image.facts["noise_warning"]
    # In the unit of the image the truth is larger by the factor squared, at sky and stars alike.
    ratio = image.numpy("variance") / (factor**2 * true_variance(light))
    assert np.median(ratio[light < 0.5]) == pytest.approx(1.0, abs=0.04)
    assert np.median(ratio[light > 400.0]) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_a_gain_that_is_too_small_looks_like_a_pedestal(field, factor):
    """Nobody can tell them apart: the sky's noise is right, and nothing else is touched."""
    light, counts = field
    image = prepare_image(counts, gain_e_adu=factor)
    assert image.facts["photon_factor"] == 1.0
    ratio = image.numpy("variance") / (factor**2 * true_variance(light))
    assert np.median(ratio[light < 0.5]) == pytest.approx(1.0, abs=0.04)
    pedestal = prepare_image(counts + 2000.0, read_noise_e=skies.READ_NOISE_E)
    assert pedestal.facts["photon_factor"] == 1.0
    assert pedestal.facts["noise_warning"] == ""


@pytest.mark.parametrize("read_noise", [40.0, 200.0])
def test_a_read_noise_above_all_noise_is_left_aside(field, read_noise):
    light, counts = field
    image = prepare_image(counts, read_noise_e=read_noise)
    assert f"read noise {read_noise:.3g} e- is larger than all noise of the sky" in image.facts["noise_warning"]
    ratio = image.numpy("variance") / true_variance(light)
    assert np.median(ratio[light < 0.5]) == pytest.approx(1.0, abs=0.04)
    assert image.facts["variance_ratio"] == pytest.approx(1.0, abs=0.03)


def test_pattern_noise_is_seen_in_rows_and_columns(field):
    light, counts = field
    banded = counts + pattern_noise(SHAPE, 12.0, np.random.default_rng(2))
    image = prepare_image(banded, read_noise_e=skies.READ_NOISE_E)
    facts = image.facts
    # Rows and columns carry 12 e- together, beside 20 e- of white noise.
    expected = 144.0 / (144.0 + skies.NOISE_E**2)
    total = facts["noise_correlation_rows"] + facts["noise_correlation_columns"]
    assert 0.6 * expected < total < 1.2 * expected
    assert facts["variance_ratio"] == pytest.approx(1.0, abs=0.05)
    scatter = banded[light < 0.05].std()
    assert facts["sky_noise_e"] == pytest.approx(scatter, rel=0.1)
    clean = prepare_image(counts, read_noise_e=skies.READ_NOISE_E).facts
    assert abs(clean["noise_correlation_rows"]) < 0.02
    assert abs(clean["noise_correlation_columns"]) < 0.02


# --- a variance that is given ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.05, 0.3, 1.0, 1.2, 2.5, 20.0])
def test_a_variance_that_is_given_is_checked(field, factor):
    light, counts = field
    truth = true_variance(light)
    given = Image.from_arrays(counts - skies.SKY_E, factor * truth)
    image = measure_image(given)
    ratio = np.median(image.numpy("variance") / truth)
    if 0.8 < factor < 1.3:
        assert ratio == pytest.approx(factor, rel=1e-5)
        assert image.facts["variance_ratio"] == pytest.approx(1.0 / factor, rel=0.05)
        assert image.facts["noise_warning"] == ""
    else:
        assert ratio == pytest.approx(1.0, abs=0.15)
        assert "times the variance that was given" in image.facts["noise_warning"]
    np.testing.assert_allclose(given.numpy("variance"), factor * truth, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan, np.inf])
def test_pixels_of_no_variance_are_no_data(field, value):
    light, counts = field
    variance = true_variance(light)
    variance[50:80, 60:90] = value
    image = measure_image(Image.from_arrays(counts - skies.SKY_E, variance))
    assert (image.numpy("mask")[50:80, 60:90] != 0).all()
    assert (image.numpy("variance") > 0).all()
    assert image.facts["variance_ratio"] == pytest.approx(1.0, abs=0.05)


# --- the parts -------------------------------------------------------------------------------------------------------


def test_too_little_sky_tells_nothing(rng):
    data, variance = rng.normal(0, 2, SHAPE).astype("f4"), np.full(SHAPE, 4.0, "f4")
    check = check_noise(data, variance, np.zeros(SHAPE, bool))
    assert np.isnan([check.ratio, check.low, check.high, check.neighbours, check.rows, check.columns]).all()


def test_empty_sky_leaves_stars_and_flags_out(field, rng):
    light, counts = field
    bad = np.zeros(SHAPE, bool)
    bad[:40] = True
    empty = empty_sky(counts - np.float32(skies.SKY_E), np.full(SHAPE, skies.NOISE_E**2, "f4"), bad)
    assert not empty[:40].any()
    assert not empty[light > 3 * skies.NOISE_E].any()
    assert empty[40:][light[40:] < 0.01].mean() > 0.9


def test_floor_and_factor_by_hand():
    noise = np.full((20, 20), 5.0, "f4")
    assert read_noise_floor(noise, 3.0, 0.0) == (pytest.approx(noise), "")
    floor, warning = read_noise_floor(noise, 9.0, 0.5)
    assert (floor == 9.0).all()
    assert warning == ""
    floor, warning = read_noise_floor(noise, 9.0, 0.0)
    assert (floor == 5.0).all()
    assert warning
    assert photon_factor(10.0, 90.0, 3.0, 0.0)[0] == 1.0
    assert photon_factor(20.0, 195.5, 3.0, 0.0)[0] == pytest.approx(2.0)
    assert photon_factor(20.0, 195.5, 3.0, 0.4)[0] == 1.0
    assert photon_factor(20.0, -3.0, 3.0, 0.0) == (1.0, "")
