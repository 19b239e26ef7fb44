"""The mosaic: where its chips look."""

from __future__ import annotations

import numpy as np

from gueststar.instruments import load_instrument
from gueststar.simulate.camera import chip_offset_deg, vignetting_plane
from gueststar.simulate.visits import CHIP_SHAPE

SCALE_DEG = 1.189 / 3600
HALF = np.array(CHIP_SHAPE[::-1]) * SCALE_DEG / 2


def centres():
    return np.array([chip_offset_deg(chip) for chip in load_instrument("tomoe").chips])


def test_all_chips_lie_in_the_field_of_nine_degrees():
    assert centres().shape == (84, 2)
    assert np.hypot(*(np.abs(centres()) + HALF).T).max() < 4.5


def test_no_two_chips_overlap_and_four_pointings_leave_no_gap():
    apart = np.abs(centres()[:, None] - centres()[None, :])
    free = (apart > 2 * HALF).any(axis=2)
    assert free[~np.eye(84, dtype=bool)].all()
    # A pointing shifted by half the distance of the chips covers the gap when the chip is at least as wide as it.
    for axis in (0, 1):
        steps = np.unique(np.abs(np.diff(np.unique(np.round(centres()[:, axis], 6)))).round(6))
        assert steps.max() < 4 * HALF[axis]


def test_vignetting_falls_to_a_half_at_the_edge_of_the_field():
    # The same chips in coarse pixels.
    shares = [vignetting_plane((12, 20), (x, y), 100 * SCALE_DEG) for x, y in centres()]
    assert max(plane.max() for plane in shares) == 1.0
    assert 0.5 < min(plane.min() for plane in shares) < 0.6
