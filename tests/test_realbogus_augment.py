"""Changes of stamps: what they keep, what they do to noise and numbers, and that they are off unless asked for."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import InputError
from gueststar.realbogus.augment import Augment, Change
from gueststar.realbogus.dataset import symmetry
from gueststar.realbogus.scalars import Scalar
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, train_network
from realbogus_stamps import dataset

SCALARS = tuple(
    Scalar(name, "linear") for name in ("snr", "snr_aper/snr", "fwhm", "dipole_dchi2", "science_snr", "a/snr")
)


def test_nothing_but_a_symmetry_is_done_by_default(rng: np.random.Generator) -> None:
    cube, numbers = rng.normal(size=(40, 3, 9, 9)).astype(np.float32), rng.normal(size=(40, 6)).astype(np.float32)
    change = Change.draw(Augment(), 40, rng, scalars=SCALARS)
    before = cube.copy()
    np.testing.assert_array_equal(change.pixels(cube), symmetry(cube, change.turn))
    np.testing.assert_array_equal(cube, before)
    assert change.numbers(numbers) is numbers
    assert np.unique(change.turn).size == 8


def test_a_shift_moves_all_planes_together(rng: np.random.Generator) -> None:
    wide = rng.normal(size=(300, 3, 13, 13)).astype(np.float32)
    wide[:, 2] = wide[:, 0] - wide[:, 1]
    before = wide.copy()
    change = Change.draw(Augment(shift_px=2), 300, rng)
    found = change.pixels(wide)
    assert found.shape == (300, 3, 9, 9)
    np.testing.assert_array_equal(found[:, 2], found[:, 0] - found[:, 1])
    assert {tuple(pair) for pair in change.shift.tolist()} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    for i in range(20):
        dy, dx = change.shift[i]
        expected = wide[i : i + 1, :, 2 + dy : 11 + dy, 2 + dx : 11 + dx]
        np.testing.assert_array_equal(found[i], symmetry(expected, change.turn[i : i + 1])[0])
    np.testing.assert_array_equal(wide, before)


def test_added_noise_keeps_the_noise_at_one_and_the_planes_consistent(rng: np.random.Generator) -> None:
    planes = rng.normal(size=(400, 2, 21, 21))
    cube = np.concatenate((planes, (planes[:, :1] - planes[:, 1:]) / np.sqrt(2.0)), axis=1).astype(np.float32)
    cube[:, :, 10, 10] += np.float32(30.0)
    cube[:, 2, 0, 0] = np.nan
    change = Change.draw(Augment(noise=1.0), 400, rng, scalars=SCALARS)
    found = change.pixels(cube)
    assert np.isnan(found[:, 2]).sum() == 400
    sky = np.delete(found.reshape(400, 3, -1), [0, 20, 220, 420, 440], axis=2)
    np.testing.assert_allclose(sky.std(axis=(0, 2)), 1.0, atol=0.01)
    np.testing.assert_allclose(sky[:, 2], (sky[:, 0] - sky[:, 1]) / np.sqrt(2.0), atol=1e-5)
    fainter = 1.0 / np.sqrt(1.0 + change.noise**2)
    assert np.corrcoef(found[:, 2, 10, 10], fainter)[0, 1] > 0.8
    assert change.noise.min() < 0.05
    assert change.noise.max() > 0.95
    numbers = np.tile(np.float32([10.0, 0.8, 3.0, 50.0, 12.0, 0.2]), (400, 1))
    changed = change.numbers(numbers)
    np.testing.assert_allclose(changed[:, [0, 4]], numbers[:, [0, 4]] * fainter[:, None], rtol=1e-5)
    np.testing.assert_allclose(changed[:, 3], 50.0 * fainter**2, rtol=1e-5)
    np.testing.assert_allclose(changed[:, [1, 2]], numbers[:, [1, 2]], rtol=1e-6)
    np.testing.assert_allclose(changed[:, 5], 0.2 / fainter, rtol=1e-5)


def test_brightness_multiplies_every_plane_and_the_signals(rng: np.random.Generator) -> None:
    cube = np.ones((500, 3, 5, 5), np.float32)
    change = Change.draw(Augment(brightness=0.2), 500, rng, scalars=SCALARS)
    found = change.pixels(cube)
    np.testing.assert_array_equal(found, np.broadcast_to(change.factor[:, None, None, None], found.shape))
    assert 0.8 <= change.factor.min() < 0.82 < 1.18 < change.factor.max() <= 1.2
    assert change.numbers(-np.ones((500, 6), np.float32))[:, 0] == pytest.approx(-change.factor)


def test_a_training_with_all_changes_repeats_itself_and_small_stamps_are_refused(rng: np.random.Generator) -> None:
    drawn = dataset(96, rng, size=21, pairs=12)
    split = split_groups(drawn.columns, rng=rng)
    options = Train(epochs=1, batch_size=24, stamp_size=15, augment=Augment(shift_px=1, noise=0.5, brightness=0.1))
    found = train_network(drawn, split, options)
    assert found.history == train_network(drawn, split, options).history
    assert found.history != train_network(drawn, split, options.model_copy(update={"augment": Augment()})).history
    far = options.model_copy(update={"augment": Augment(shift_px=4)})
    with pytest.raises(InputError, match="shifts by 4 px of a network that sees 15 px need stamps of 23 px"):
        train_network(drawn, split, far)
