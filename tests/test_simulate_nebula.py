"""The nebula of a field: its structure, its brightness, and that every exposure shows the same one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from gueststar.instruments import load_instrument
from gueststar.simulate.camera import generator, make_wcs, world_to_pixel
from gueststar.simulate.frame import Place, flux_e
from gueststar.simulate.optics.conditions import draw_conditions, make_psf_field, registration_error
from gueststar.simulate.optics.nebulae import paint_nebula
from gueststar.simulate.sky import make_sky
from gueststar.simulate.sky.nebula import draw_nebula
from gueststar.simulate.sky.sky_table import Box
from gueststar.simulate.survey import Survey

SHAPE = (220, 300)
PLACE = Place("field", "Q1-11", SHAPE, 150.0, 35.0, 20.0, load_instrument("tomoe"))
SURVEY = Survey(**{**Survey.quiet().model_dump(), "nebula_mag_arcsec2": 20.0, "psf_variation": 0.0})


def conditions(seed: int = 1, **changed):
    return replace(draw_conditions(SURVEY, generator(seed), mjd=61000.0), **changed)


def seen(now, survey: Survey = SURVEY, seed: int = 7, exposures: int = 1) -> np.ndarray:
    wcs = make_wcs(PLACE.cards(survey, now))
    return paint_nebula(
        survey, seed, PLACE, now, wcs=wcs, psf=make_psf_field(now, SHAPE), exposures=exposures
    ).astype(float)  # fmt: skip


@pytest.mark.parametrize("slope", [2.4, 3.0, 3.8])
def test_its_power_falls_as_told(slope):
    light = np.log(draw_nebula(3, Box((512, 512), 0.0, 1.0), slope=slope, contrast=0.7).astype(float))
    window = np.outer(np.hanning(light.shape[0]), np.hanning(light.shape[1]))
    power = np.abs(np.fft.fft2((light - light.mean()) * window)) ** 2
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(light.shape[0]), np.fft.fftfreq(light.shape[1]), indexing="ij"))
    edges = np.geomspace(0.02, 0.2, 9)
    mean = [power[(k >= low) & (k < high)].mean() for low, high in pairwise(edges)]
    fitted = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(mean), 1)[0]
    assert -fitted == pytest.approx(slope, abs=0.25)
    assert np.median(np.exp(light)) == pytest.approx(1.0, rel=1e-3)
    assert light.std() == pytest.approx(0.7, rel=1e-3)


def test_it_is_the_same_for_one_seed():
    box = Box(SHAPE, 30.0, 1.0)
    first, other = (draw_nebula(seed, box, slope=3.0, contrast=1.0).copy() for seed in (1, 2))
    draw_nebula.cache_clear()
    np.testing.assert_array_equal(draw_nebula(1, box, slope=3.0, contrast=1.0), first)
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.9
    assert (first > 0).all()


def test_each_sky_has_a_nebula_of_its_own_and_no_source_is_drawn_anew():
    seeds = set()
    for seed in (0, 1):
        skies = [
            make_sky(survey, PLACE.wcs(survey), SHAPE, latitude_deg=20.0, tonight_mjd=61000.0, rng=generator(seed))
            for survey in (SURVEY, Survey(**{**SURVEY.model_dump(), "nebula_mag_arcsec2": None}))
        ]
        np.testing.assert_array_equal(skies[0]["mag"], skies[1]["mag"])
        seeds.add(skies[0].meta["nebula_seed"])
    assert len(seeds) == 2


@pytest.mark.parametrize("exposures", [1, 4])
def test_its_brightness_is_that_of_the_survey(exposures):
    even = Survey(**{**SURVEY.model_dump(), "nebula_contrast": 0.0})
    now = conditions(extinction_mag=0.3)
    light = seen(now, even, exposures=exposures)
    expected = even.pixel_scale_arcsec**2 * flux_e(even, 20.0, extinction_mag=0.3, exposures=exposures)
    np.testing.assert_allclose(light, expected, rtol=1e-4)
    assert seen(now, exposures=exposures).mean() == pytest.approx(expected, rel=2.0)


def test_a_survey_without_one_has_no_light_of_it():
    assert not seen(conditions(), Survey.quiet()).any()


@pytest.mark.parametrize("failed", [(0.0, 0.0), (11.0, -6.0)])
def test_exposures_show_the_same_nebula_where_the_sky_is(failed):
    """As a star of the same place: moved by the pointing, the rotation and the errors of the header's WCS."""
    first = conditions(1)
    second = replace(
        first, pointing_px=(9.3, -6.8), rotation_deg=0.4, error_shift_px=(0.7, -0.4), wcs_failed_px=failed
    )  # fmt: skip
    lights = [seen(one) for one in (first, second)]
    y, x = np.mgrid[30 : SHAPE[0] - 30 : 3, 30 : SHAPE[1] - 30 : 3].astype(float)
    wcs = [make_wcs(PLACE.cards(SURVEY, one)) for one in (first, second)]
    true = [registration_error(one, x.ravel(), y.ravel(), SHAPE) for one in (first, second)]
    ra, dec = wcs[0].all_pix2world(x.ravel() - true[0][0], y.ravel() - true[0][1], 0)
    moved = [a + d for a, d in zip(world_to_pixel(wcs[1], ra, dec), true[1], strict=True)]
    there = map_coordinates(lights[1], (moved[1], moved[0]), order=3).reshape(x.shape)
    here = lights[0][30 : SHAPE[0] - 30 : 3, 30 : SHAPE[1] - 30 : 3]
    assert np.abs(there / here - 1.0).max() < 0.01
    assert np.abs(lights[1][30:-30:3, 30:-30:3] / here - 1.0).max() > 0.05, "without the map they differ"


def test_seeing_blurs_it():
    sharp, wide = (seen(conditions(fwhm_px=fwhm)) for fwhm in (2.0, 8.0))
    rough = [np.diff(np.log(one), axis=1).std() for one in (sharp, wide)]
    assert rough[1] < 0.6 * rough[0]
    assert wide.mean() == pytest.approx(sharp.mean(), rel=0.03)
