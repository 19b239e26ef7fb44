"""The cause of a candidate, told from what lies under it."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate.causes import CAUSES, causes_of
from gueststar.simulate.truth import thing_rows

SHAPE = (400, 400)
NONE = thing_rows(0)
PLACE = {"x": [200.0], "y": [200.0]}


def cause(truth, x=201.0, y=200.0, reference=NONE):
    return causes_of([x], [y], truth, reference, shape=SHAPE, fwhm_px=2.8)[0]


@pytest.mark.parametrize("kind", ["supernova", "hostless", "flare", "variable", "nucleus"])
def test_a_change_that_is_real(kind):
    assert cause(thing_rows(1, kind=kind, **PLACE, snr=20.0, flux_e=100.0, change_e=90.0)) == kind
    # A change lost in the noise explains nothing.
    assert cause(thing_rows(1, kind=kind, **PLACE, snr=20.0, flux_e=100.0, change_e=5.0)) == "star"


@pytest.mark.parametrize("kind", ["cosmic_ray", "hot_pixel", "ghost", "hole"])
def test_faults_of_either_image(kind):
    rows = thing_rows(1, kind=kind, **PLACE, length_px=20.0)
    assert cause(rows) == kind
    assert cause(NONE, reference=rows) == kind
    assert cause(rows, x=300.0) == "noise"


def test_a_trail_explains_what_lies_along_it():
    trail = thing_rows(1, kind="satellite", **PLACE, length_px=200.0, angle_deg=90.0)
    assert cause(trail, x=201.0, y=290.0) == "satellite"
    assert cause(trail, x=290.0, y=200.0) == "noise"


def test_a_column_explains_its_whole_length():
    column = thing_rows(1, kind="bad_column", **PLACE)
    assert cause(column, x=201.0, y=20.0) == "bad_column"
    assert cause(column, x=210.0, y=20.0) == "noise"


def test_stars_by_brightness():
    star = thing_rows(1, kind="star", **PLACE, snr=100.0, flux_e=1e4)
    assert cause(star) == "star"
    assert cause(thing_rows(1, kind="star", **PLACE, snr=4000.0, flux_e=1e8), x=230.0) == "bright_star"
    assert cause(thing_rows(1, kind="star", **PLACE, snr=4000.0, flux_e=1e8, saturated=True), x=205.0) == "saturated"
    assert cause(thing_rows(1, kind="galaxy", **PLACE, snr=50.0, flux_e=1e4), x=205.0) == "galaxy"


def test_what_is_new_comes_before_what_is_faulty():
    both = thing_rows(2, kind=["cosmic_ray", "supernova"], x=200.0, y=200.0, snr=30.0, flux_e=100.0, change_e=100.0)
    assert cause(both) == "supernova"


def test_edges_and_nothing():
    assert cause(NONE, x=3.0) == "edge"
    assert cause(NONE, x=396.5) == "edge"
    assert cause(NONE) == "noise"
    assert set(CAUSES) >= {"edge", "noise"}
    assert causes_of([], [], NONE, NONE, shape=SHAPE, fwhm_px=2.8).shape == (0,)


def test_positions_are_those_of_each_candidate():
    rows = thing_rows(2, kind=["cosmic_ray", "hot_pixel"], x=[50.0, 300.0], y=[60.0, 310.0])
    named = causes_of([50.0, 300.0, 150.0], [60.0, 310.0, 150.0], rows, NONE, shape=SHAPE, fwhm_px=2.8)
    np.testing.assert_array_equal(named, ["cosmic_ray", "hot_pixel", "noise"])


@pytest.mark.parametrize(
    ("kind", "flux", "snr"), [("hot_pixel", 400.0, 8.0), ("cosmic_ray", 400.0, 8.0), ("bad_column", 100.0, 6.0)]
)
def test_a_fault_must_account_for_a_third_of_the_signal_when_it_is_known(kind, flux, snr):
    # The noise of a point source is 100 e-: a pixel of 400 e- stands for 8 sigma, as its charge lies in the peak.
    rows = thing_rows(2, kind=[kind, "star"], x=[200.0, 50.0], y=[200.0, 50.0], flux_e=[flux, 500.0], snr=[np.nan, 5.0],
                      length_px=[1.0, np.nan])  # fmt: skip
    at = {"shape": SHAPE, "fwhm_px": 2.8}
    assert causes_of([200.0], [200.0], rows, NONE, snr=[snr], **at)[0] == kind
    assert causes_of([200.0], [200.0], rows, NONE, snr=[-5.0 * snr], **at)[0] == "noise"
    # One of four frames of a reference leaves a quarter.
    for frames, named in ((1, kind), (4, "noise" if kind != "bad_column" else kind)):
        found = causes_of([200.0], [200.0], rows[1:], rows, snr=[snr], reference_frames=frames, **at)
        assert found[0] == named
    # What is alike in both images leaves nothing, but for a column, which is mended in each.
    alike = causes_of([200.0], [200.0], rows, rows, snr=[snr], **at)[0]
    assert alike == ("noise" if kind != "bad_column" else kind)


def test_a_matched_filter_weighs_pixels_and_columns_as_is_assumed(rng):
    s = 2.8 / 2.3548
    y, x = np.mgrid[-15:16, -15:16]
    profile = np.exp(-0.5 * (x**2 + y**2) / s**2)
    profile /= profile.sum()
    for plane, light in ((((x == 0) & (y == 0)) * 1.0, 2.0), ((x == 0) * 1.0, 2.0 * np.sqrt(2.0 * np.pi) * s)):
        assert (plane * profile).sum() / (profile**2).sum() == pytest.approx(light, rel=0.05)
