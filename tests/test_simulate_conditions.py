"""Conditions of exposures: what goes wrong, how often, and how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gueststar.simulate.camera import generator
from gueststar.simulate.optics.conditions import (
    FAILURES,
    draw_conditions,
    fail_wcs,
    make_psf_field,
    registration_error,
    share_optics,
    transmission,
)
from gueststar.simulate.survey import Survey

SHAPE = (113, 200)
MJD = 61000.4


def drawn(survey, count=1500, **options):
    return [draw_conditions(survey, generator(seed, 3), mjd=MJD, **options) for seed in range(count)]


def within_binomial(hits, rate, count):
    return abs(hits - rate * count) < 4.5 * np.sqrt(rate * (1 - rate) * count)


def test_failures_come_at_their_rates_and_in_their_ranges():
    survey = Survey()
    many = drawn(survey, 3000)
    for failure, rate, value, limits in (
        ("trailed", survey.trailing_rate, "trail_px", survey.trailing_px),
        ("defocused", survey.defocus_rate, "defocus_px", survey.defocus_px),
        ("bad_seeing", survey.bad_seeing_rate, "fwhm_px", survey.bad_seeing_px),
        ("clouds", survey.cloud_patch_rate, "cloud_mag", survey.cloud_patch_mag),
    ):
        hit = [c for c in many if failure in c.failures]
        assert within_binomial(len(hit), rate, len(many)), failure
        values = np.array([getattr(c, value) for c in hit])
        assert limits[0] <= values.min() < values.max() <= limits[1]
        # Uniform over the range.
        assert values.mean() == pytest.approx(np.mean(limits), abs=4.5 * np.ptp(limits) / np.sqrt(12 * len(hit)))
    fine = [c for c in many if not c.failures]
    assert all(survey.fwhm_px[0] <= c.fwhm_px <= survey.fwhm_px[1] for c in fine)
    assert all(c.blur is None and c.cloud_modes is None and c.trail_px == 0 and c.defocus_px == 0 for c in fine)


def test_wcs_fails_at_its_rate_on_each_chip_by_itself():
    survey = Survey(wcs_failure_rate=0.1)
    usual = draw_conditions(survey, generator(1), mjd=MJD)
    chips = [fail_wcs(survey, usual, generator(2, chip)) for chip in range(2000)]
    failed = [c for c in chips if c.failures]
    assert within_binomial(len(failed), 0.1, len(chips))
    assert all(c is usual for c in chips if not c.failures)
    assert {c.failures for c in failed} == {("misregistered",)}
    turned = [c for c in failed if c.wcs_failed_rotation_px]
    assert within_binomial(len(turned), 1 / 3, len(failed))
    sizes = [max(float(np.hypot(*c.wcs_failed_px)), abs(c.wcs_failed_rotation_px)) for c in failed]
    assert 1.0 <= min(sizes) < 2.0 < 9.0 < max(sizes) <= 10.0


def test_a_gross_failure_adds_to_the_registration_error():
    usual = draw_conditions(Survey(), generator(1), mjd=MJD)
    x, y = np.array([0.0, 99.5, 199.0]), np.array([0.0, 56.0, 112.0])
    before = np.array(registration_error(usual, x, y, SHAPE))
    shifted = np.array(registration_error(replace(usual, wcs_failed_px=(4.0, -3.0)), x, y, SHAPE))
    np.testing.assert_allclose((shifted - before).T, [(4.0, -3.0)] * 3, atol=1e-9)
    turned = np.array(registration_error(replace(usual, wcs_failed_rotation_px=6.0), x, y, SHAPE)) - before
    np.testing.assert_allclose(np.hypot(*turned), [6.0, 0.0, 6.0], atol=0.1)


def test_switching_one_failure_off_changes_nothing_else():
    on, off = Survey(trailing_rate=1.0, defocus_rate=1.0, cloud_patch_rate=1.0), Survey(defocus_rate=0.0)
    for seed in range(5):
        a, b = (draw_conditions(survey, generator(seed), mjd=MJD).as_row() for survey in (on, off))
        same = [name for name in a if name not in ("trail_px", "trail_angle_deg", "defocus_px", "cloud_mag", "failure")]
        assert [a[name] for name in same] == [b[name] for name in same]
    assert all(not c.failures for c in drawn(Survey.quiet(), 300))


def test_colour_terms_scatter_and_earlier_visits_have_their_own():
    survey = Survey(colour_term=0.02, reference_colour_term=0.15)
    tonight, before = ([c.colour_term for c in drawn(survey, 800, earlier=earlier)] for earlier in (False, True))
    assert np.mean(tonight) == pytest.approx(0.0, abs=4 * 0.02 / np.sqrt(800))
    assert np.std(tonight) == pytest.approx(0.02, rel=0.1)
    np.testing.assert_allclose(np.subtract(before, tonight), 0.15, atol=1e-12)


def test_the_psf_is_trailed_and_out_of_focus():
    usual = draw_conditions(Survey(psf_variation=0.0, ellipticity=(0.0, 0.0)), generator(1), mjd=MJD)
    assert make_psf_field(usual, SHAPE).blur is None
    spoilt = replace(usual, trail_px=6.0, trail_angle_rad=0.5, defocus_px=8.0)
    sharp, field = (make_psf_field(c, SHAPE).stamps([100.0], [56.0])[0].astype(float) for c in (usual, spoilt))
    assert field.max() < 0.5 * sharp.max()
    assert field.sum() == pytest.approx(sharp.sum(), rel=1e-3)
    assert spoilt.failures == ("trailed", "defocused")


def test_a_row_holds_plain_numbers_and_names_what_failed():
    survey = Survey(
        trailing_rate=1.0, defocus_rate=1.0, bad_seeing_rate=1.0, cloud_patch_rate=1.0, wcs_failure_rate=1.0
    )
    conditions = fail_wcs(survey, draw_conditions(survey, generator(1), mjd=MJD), generator(2))
    row = conditions.as_row()
    assert row["failure"] == ",".join(FAILURES)
    assert all(isinstance(value, float) for name, value in row.items() if name != "failure")
    assert draw_conditions(Survey.quiet(), generator(1), mjd=MJD).as_row()["failure"] == ""


def test_clouds_take_light_in_patches():
    cloudy = drawn(Survey(cloud_patch_rate=1.0, cloud_patch_mag=(1.0, 1.0)), 30)
    planes = [transmission(c, (1128, 2000)) for c in cloudy[:4]]
    for plane in planes:
        assert plane.dtype == np.float32
        assert 10**-0.4 <= plane.min() < plane.max() <= 1.0
        lost = -2.5 * np.log10(plane.astype(float))
        # Patches, not a haze; and smooth.
        assert np.ptp(lost) > 0.3
        assert np.abs(np.diff(lost, axis=1)).max() < 0.05
    means = [-2.5 * np.log10(transmission(c, SHAPE).astype(float)).mean() for c in cloudy]
    assert np.mean(means) == pytest.approx(0.5, abs=0.15)
    assert transmission(draw_conditions(Survey.quiet(), generator(1), mjd=MJD), SHAPE) is None


def test_neighbouring_chips_see_the_same_clouds():
    cloudy = draw_conditions(Survey(cloud_patch_rate=1.0), generator(4), mjd=MJD)
    left, right = (transmission(cloudy, SHAPE, offset_px=(x, 0.0)) for x in (0.0, 150.0))
    np.testing.assert_allclose(left[:, 150:], right[:, :50], rtol=1e-4)


def test_the_pattern_of_the_psf_belongs_to_the_chip():
    survey = Survey(psf_variation=0.2)
    drawn = [draw_conditions(survey, np.random.default_rng(e), mjd=61000.0) for e in range(300)]

    def tilts(share, chip):
        options = survey.model_copy(update={"optics_change": share})
        return np.array([share_optics(options, c, np.random.default_rng(chip)).fwhm_tilt[2] for c in drawn])

    assert np.ptp(tilts(0.0, 1)) == 0.0
    assert tilts(0.0, 1)[0] != tilts(0.0, 2)[0]
    np.testing.assert_allclose(tilts(1.0, 1), [c.fwhm_tilt[2] for c in drawn])
    assert tilts(0.3, 1).std() == pytest.approx(0.3 * tilts(1.0, 1).std(), rel=1e-6)
    kept = share_optics(survey, drawn[0], np.random.default_rng(1))
    assert (kept.fwhm_px, kept.e1, kept.trail_px) == (drawn[0].fwhm_px, drawn[0].e1, drawn[0].trail_px)
