"""What stays with a chip from exposure to exposure."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate.detector.fixed_pattern import column_pairs, dark_pattern, dust_rings, sky_structure

SHAPE = (300, 400)


def rng(seed=1):
    return np.random.default_rng(seed)


def test_dark_pattern_is_white_and_stays():
    plane = dark_pattern(SHAPE, 3.0, rng())
    assert plane.dtype == np.float32
    assert plane.std() == pytest.approx(3.0, rel=0.01)
    assert abs(np.corrcoef(plane[:, 1:].ravel(), plane[:, :-1].ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(plane, dark_pattern(SHAPE, 3.0, rng()))
    assert (dark_pattern(SHAPE, 0.0, rng()) == 0).all()


def test_even_and_odd_columns_differ_anew_in_each_row():
    plane = column_pairs((4000, 7), 2.0, rng())
    offsets = plane[:, 0] - plane[:, 1]
    assert offsets.std() == pytest.approx(2.0, rel=0.05)
    assert abs(np.corrcoef(offsets[1:], offsets[:-1])[0, 1]) < 0.06
    np.testing.assert_array_equal(plane[:, 0], plane[:, 6])
    assert not np.array_equal(plane, column_pairs((4000, 7), 2.0, rng(2)))


def test_structure_of_the_sky_is_smooth_over_tens_of_pixels():
    planes = [sky_structure((600, 800), 0.01, rng(seed)) for seed in range(8)]
    assert np.mean([plane.std() for plane in planes]) == pytest.approx(0.01, rel=0.1)
    assert np.mean([plane.mean() for plane in planes]) == pytest.approx(1.0, abs=1e-4)
    plane = planes[0] - 1.0
    assert np.corrcoef(plane[:, 8:].ravel(), plane[:, :-8].ravel())[0, 1] > 0.9
    # A mesh of 150 px does not follow it.
    assert abs(np.corrcoef(plane[:, 150:].ravel(), plane[:, :-150].ravel())[0, 1]) < 0.4
    assert (sky_structure((60, 80), 0.0, rng()) == 1.0).all()


def test_dust_rings_take_light_in_rings():
    plane = dust_rings(SHAPE, 20.0, rng(3))
    assert plane.max() <= 1.0 + 1e-6
    assert 0.96 < plane.min() < 0.999
    # Most of the chip is clean.
    assert 0.3 < (plane > 0.9995).mean() < 0.98
    assert dust_rings(SHAPE, 0.0, rng()) is None


def test_a_ring_has_a_hole():
    shape = (201, 201)
    for seed in range(200):
        plane = dust_rings(shape, 1.0, rng(seed))
        if plane is None:
            continue
        y, x = np.unravel_index(plane.argmin(), shape)
        dark = plane < 1.0 - 0.5 * (1.0 - plane.min())
        rows, columns = np.nonzero(dark)
        middle = round((rows.min() + rows.max()) / 2), round((columns.min() + columns.max()) / 2)
        whole = rows.min() > 2 and columns.min() > 2 and rows.max() < 198 and columns.max() < 198
        if whole and rows.max() - rows.min() > 20:
            assert plane[middle] > 1.0 - 0.3 * (1.0 - plane.min())
            assert plane[y, x] < plane[middle]
            return
    pytest.fail("no whole ring in 200 draws")
