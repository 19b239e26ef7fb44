"""Faults of the detector: how many, how strong, where, and what stays from exposure to exposure."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate import detector

SHAPE = (400, 500)


def rng(seed):
    return np.random.default_rng(seed)


def test_hot_pixels_stay_where_they_are():
    (first, _), (second, _) = (detector.hot_pixels(SHAPE, 1e-3, 6.0, rng(7), rng(exposure)) for exposure in (1, 2))
    assert 120 < np.count_nonzero(first) < 290
    np.testing.assert_array_equal(first != 0, second != 0)
    assert not np.array_equal(first, second)
    assert np.count_nonzero(first) == pytest.approx(1e-3 * first.size, abs=5 * np.sqrt(200))


def test_hot_pixels_are_listed_with_their_residuals():
    plane, table = detector.hot_pixels(SHAPE, 3e-3, 6.0, rng(7), rng(1), telegraph_share=0.5)
    assert len(table) == np.count_nonzero(np.abs(plane) > 25.0)
    row, column = np.asarray(table["y"], int), np.asarray(table["x"], int)
    np.testing.assert_allclose(plane[row, column], table["flux_e"], rtol=1e-5)
    assert set(table["kind"]) == {"hot_pixel", "telegraph"}


def test_what_the_dark_leaves_stays():
    (first, _), (second, _) = (
        detector.hot_pixels(SHAPE, 5e-3, 60.0, rng(7), rng(e), telegraph_share=0.0, left=0.3) for e in (1, 2)
    )
    hot = first != 0
    assert np.corrcoef(first[hot], second[hot])[0, 1] > 0.9
    assert (first[hot] > 0).mean() > 0.9
    (without, _), (again, _) = (
        detector.hot_pixels(SHAPE, 5e-3, 60.0, rng(7), rng(e), telegraph_share=0.0) for e in (1, 2)
    )
    assert abs(np.corrcoef(without[hot], again[hot])[0, 1]) < 0.5
    assert 0.3 < (without[hot] > 0).mean() < 0.7


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_telegraph_pixels_jumps(share):
    exposures = [
        detector.hot_pixels((1000, 1000), 5e-3, 6.0, rng(3), rng(e), telegraph_share=share)[1] for e in range(3)
    ]
    jumped = [set(zip(t["x"], t["y"], strict=True)) for t in (t[t["kind"] == "telegraph"] for t in exposures)]
    count = 5e-3 * 1e6
    for places in jumped:
        # Two of three states are off the middle; one in fifty jumps is too small to be listed.
        expected = 0.98 * share * count * 2 / 3
        assert abs(len(places) - expected) <= 4.5 * np.sqrt(expected)
    if share:
        assert jumped[0] != jumped[1]
        assert len(jumped[0] | jumped[1] | jumped[2]) <= share * count * 1.1


def test_bad_columns_stay_and_their_level_does_not():
    counts = [len(detector.bad_columns((20, 300), 2.0, rng(seed), rng(0))[1]) for seed in range(300)]
    assert np.mean(counts) == pytest.approx(2.0, abs=4.5 * np.sqrt(2.0 / 300))
    (first, a), (second, b) = (detector.bad_columns(SHAPE, 8.0, rng(5), rng(e)) for e in (1, 2))
    np.testing.assert_array_equal(first != 0, second != 0)
    assert list(a["x"]) == list(b["x"])
    assert not np.allclose(a["flux_e"], b["flux_e"])
    assert (np.flatnonzero(first.any(axis=0)) == np.unique(a["x"])).all()
    alone = [row for row in a if list(a["x"]).count(row["x"]) == 1]
    for row in alone:
        column = first[:, row["x"]]
        assert not column[: row["y0"]].any()
        part = column[row["y0"] : row["y1"]]
        assert part.mean() == pytest.approx(row["flux_e"], abs=5 * part.std() / np.sqrt(part.size))
    plane, none = detector.bad_columns(SHAPE, 0.0, rng(5), rng(1))
    assert not plane.any()
    assert len(none) == 0


def test_edges_glow_up_to_the_level_and_no_farther_than_twenty_pixels():
    for seed in range(5):
        glow = detector.edge_glow(SHAPE, 5.0, rng(seed))
        assert glow.max() == pytest.approx(5.0, rel=0.02)
        assert glow.min() == 0.0
        assert not glow[20:-20, 20:-20].any()
        np.testing.assert_array_equal(glow, detector.edge_glow(SHAPE, 5.0, rng(seed)))
        np.testing.assert_allclose(detector.edge_glow(SHAPE, 2.5, rng(seed)), glow / 2, rtol=1e-6)
    assert not detector.edge_glow(SHAPE, 0.0, rng(1)).any()


def test_bleeding_conserves_charge_and_runs_along_columns():
    counts = np.full(SHAPE, 100.0, np.float32)
    counts[198:203, 248:253] = 30000.0
    before = counts.copy()
    bled = detector.bleed(counts, 1000.0)
    np.testing.assert_array_equal(counts, before)
    assert bled.sum(dtype=float) == pytest.approx(counts.sum(dtype=float), rel=1e-6)
    assert bled.max() == 1000.0
    np.testing.assert_array_equal(bled[:, :248], counts[:, :248])
    full = np.flatnonzero(bled[:, 250] > 999.0)
    # 5 x 29,000 e- fill pixels with room for 900 each, half of them above and half below.
    assert full.size == pytest.approx(5 + 5 * 29000 / 900, abs=2)
    assert full.mean() == pytest.approx(200.0, abs=1.0)
    assert (np.diff(full) == 1).all()


def test_bleeding_loses_what_runs_over_the_edge_and_leaves_the_rest():
    counts = np.zeros(SHAPE, np.float32)
    counts[2, 10] = 100_000.0
    bled = detector.bleed(counts, 1000.0)
    # Half of the excess runs down into two pixels and out.
    assert bled.sum() == pytest.approx(1000.0 + 49_500.0 + 2000.0, rel=1e-3)
    faint = rng(0).uniform(0, 900, SHAPE).astype(np.float32)
    np.testing.assert_array_equal(detector.bleed(faint, 1000.0), faint)


def test_holes_have_their_number_and_width_and_lie_on_the_frame():
    tables = [detector.holes((1128, 2000), 2.0, (20.0, 200.0), rng(seed)) for seed in range(400)]
    count = sum(len(table) for table in tables)
    assert count == pytest.approx(800, abs=4.5 * np.sqrt(800))
    x0, y0, x1, y1 = (np.concatenate([table[name] for table in tables]) for name in ("x0", "y0", "x1", "y1"))
    assert ((x0 >= 0) & (x0 < x1) & (x1 <= 2000) & (y0 >= 0) & (y0 < y1) & (y1 <= 1128)).all()
    whole = (x0 > 0) & (x1 < 2000) & (y0 > 0) & (y1 < 1128)
    width, height = (x1 - x0)[whole], (y1 - y0)[whole]
    assert 19 <= width.min() < 25 < 150 < width.max() <= 201
    # Log-uniform: the middle of the logarithm; wide ones are cut by the edge a little more often.
    assert np.log(width).mean() == pytest.approx(np.log(20 * 200) / 2, abs=0.12)
    assert 0.45 < (height / width).min() < 0.6 < 1.7 < (height / width).max() < 2.1
    assert len(detector.holes(SHAPE, 0.0, (20.0, 200.0), rng(1))) == 0
