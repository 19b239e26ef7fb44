"""Trails on pixels against brute-force sums of points, and rows that are exposed one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate.optics.painter import PsfField, paint_points
from gueststar.simulate.optics.trails import paint_trails

SHAPE = (120, 160)


def make_psf(fwhm=2.5):
    return PsfField.moffat(SHAPE, fwhm=fwhm, beta=3.0, e1=0.05)


def brute_force(trail, flux, psf, *, exposure_s=6.0, t=(0.0, 6.0), delay_s=0.0):
    """Points a few hundredths of a pixel apart, each kept when its row is exposed at its moment."""
    x0, y0, x1, y1 = trail
    count = int(25 * np.hypot(x1 - x0, y1 - y0))
    share = (np.arange(count) + 0.5) / count
    x, y, when = x0 + share * (x1 - x0), y0 + share * (y1 - y0), t[0] + share * (t[1] - t[0])
    late = when - delay_s * y / (SHAPE[0] - 1)
    kept = (late >= 0) & (late <= exposure_s)
    return paint_points(SHAPE, x[kept], y[kept], np.full(kept.sum(), flux / count), psf, cut=1e-7)


@pytest.mark.parametrize("fwhm", [2.1, 3.2])
@pytest.mark.parametrize(
    "trail",
    [(20.3, 30.1, 130.8, 99.6), (40.0, 60.0, 43.1, 60.4), (-300.0, 20.0, 700.0, 90.0), (50.2, 80.0, 50.2, 10.0)],
)
def test_trails_agree_with_sums_of_points(trail, fwhm):
    psf = make_psf(fwhm)
    flux = 1e5 * max(np.hypot(trail[2] - trail[0], trail[3] - trail[1]) / 100, 0.1)
    drawn = paint_trails(SHAPE, *trail, flux, psf, cut=0.05)
    expected = brute_force(trail, flux, psf)
    assert expected.max() > 100
    assert np.abs(drawn - expected).max() < 0.005 * expected.max()
    assert drawn.sum(dtype=float) == pytest.approx(expected.sum(dtype=float), rel=2e-3)


def test_a_trail_inside_the_frame_keeps_its_flux_and_a_point_is_a_short_trail():
    psf = make_psf()
    trail = paint_trails(SHAPE, 60, 60, 90, 50, 5000.0, psf, cut=1e-3)
    assert trail.sum(dtype=float) == pytest.approx(5000, rel=0.01)
    point = paint_trails(SHAPE, 60.3, 50.7, 60.3, 50.7, 5000.0, psf, cut=1e-3)
    expected = paint_points(SHAPE, [60.3], [50.7], [5000.0], psf, cut=1e-3)
    assert np.abs(point - expected).max() < 0.002 * expected.max()


def test_rows_are_exposed_one_after_the_other():
    psf = make_psf()
    options = {"exposure_s": 0.5, "t": (0.0, 1.0), "delay_s": 0.47}
    # Down the chip with the shutter, against it, and along a row.
    seen = []
    for trail in ((80.0, -40.0, 80.0, 160.0), (80.0, 160.0, 80.0, -40.0), (-100.0, 100.0, 260.0, 100.0)):
        drawn = paint_trails(
            SHAPE, *trail, 1e5, psf, cut=0.05, t0_s=0.0, t1_s=1.0, exposure_s=0.5, rolling_shutter_s=0.47
        )
        expected = brute_force(trail, 1e5, psf, **options)
        assert np.abs(drawn - expected).max() < 0.005 * expected.max()
        seen.append(drawn.sum(dtype=float))
    # Going with the shutter the satellite is recorded longer.
    assert seen[0] > 1.2 * seen[1]


def test_nothing_is_recorded_off_the_frame_or_out_of_time():
    psf = make_psf()
    assert paint_trails(SHAPE, -50, -500, 300, -400, 1e6, psf).max() == 0
    late = paint_trails(SHAPE, 10, 10, 90, 90, 1e6, psf, t0_s=7.0, t1_s=9.0, exposure_s=6.0, rolling_shutter_s=0.47)
    assert late.max() == 0
    nothing = paint_trails(SHAPE, [], [], [], [], [], psf)
    assert nothing.shape == SHAPE
    assert nothing.dtype == np.float32
    assert nothing.max() == 0


def test_trails_add_up():
    psf = make_psf()
    first, second = (10.0, 20.0, 100.0, 90.0), (140.0, 20.0, 30.0, 110.0)
    both = paint_trails(SHAPE, *np.transpose([first, second]), [2e4, 3e4], psf)
    apart = paint_trails(SHAPE, *first, 2e4, psf) + paint_trails(SHAPE, *second, 3e4, psf)
    np.testing.assert_allclose(both, apart, atol=2e-3)
