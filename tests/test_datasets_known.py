"""Truth of simulated nights: which frames of a reference reach a place."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack

from gueststar.datasets.known import Truth

SHAPE = (600, 640)
#: Pointing of each frame against the first, px, and noise of a faint source, e-.
FRAMES = {"science": (0.0, 0.0, 30.0), "a": (12.0, -3.0, 20.0), "b": (-25.0, 5.0, 40.0), "c": (2.0, 1.0, 20.0)}


def truth_of(rng: np.random.Generator) -> Truth:
    sky = rng.uniform(-60.0, 700.0, (400, 2))
    tables = []
    for name, (dx, dy, noise) in FRAMES.items():
        x, y = sky[:, 0] - dx, sky[:, 1] - dy
        seen = (x > 0) & (x < SHAPE[1] - 1) & (y > 0) & (y < SHAPE[0] - 1)
        n = int(seen.sum())
        tables.append(Table({
            "image": np.full(n, name), "kind": np.full(n, "star"), "x": x[seen], "y": y[seen],
            "ra": 150.0 + sky[seen, 0] / 3000.0 / np.cos(np.radians(2.0)), "dec": 2.0 + sky[seen, 1] / 3000.0,
            "flux_e": np.full(n, 5.0 * noise), "snr": np.full(n, 5.0),
        }))  # fmt: skip
    table = vstack(tables)
    names = np.asarray(table["image"])
    return Truth(table, {name: np.flatnonzero(names == name) for name in FRAMES})


def test_the_weight_of_the_frames_that_reach_a_place_is_told(rng):
    truth = truth_of(rng)
    # In the pixels of the science frame: a ends at 651 and begins at 12, b ends at 614, c begins at 2.
    x, y = np.array([300.0, 5.0, 630.0, 1.0]), np.full(4, 300.0)
    found = truth.reference_share(x, y, "science", ("a", "b", "c"), shape=SHAPE)
    np.testing.assert_allclose(found, [1.0, 5 / 9, 8 / 9, 1 / 9], atol=1e-9)
    assert truth.reference_share(x, y, "science", ("a",), shape=SHAPE).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_without_frames_or_sources_nothing_is_told(rng):
    truth = truth_of(rng)
    place = np.array([300.0])
    assert np.isnan(truth.reference_share(place, place, "science", (), shape=SHAPE)).all()
    assert np.isnan(truth.reference_share(place, place, "other", ("a",), shape=SHAPE)).all()
    few = Truth(truth.table, {name: rows[:8] for name, rows in truth.rows.items()})
    assert np.isnan(few.reference_share(place, place, "science", ("a",), shape=SHAPE)).all()
