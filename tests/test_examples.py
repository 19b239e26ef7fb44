"""Files of options that are shown as examples say what the program takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gueststar.cli.common import resolve_options
from gueststar.datasets.simulated import SimulateSet
from gueststar.training import Training

EXAMPLES = Path(__file__).parent.parent / "examples" / "model"
SURVEYS = (EXAMPLES / "set.toml", *sorted((EXAMPLES / "cameras").glob("*.toml")))


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_surveys_to_train_on_are_options_of_a_simulated_set(path):
    made = resolve_options(SimulateSet, path, ()).pairs
    assert (made.worse_passes, made.injected, made.fault_factor) == (5, 25, 4.0)
    assert made.survey.transient_mag[1] <= made.survey.star_mag[1] + 0.5  # what is fainter is found by no one


def test_cameras_differ_in_what_a_stamp_shows():
    cameras = [resolve_options(SimulateSet, path, ()).pairs.survey for path in SURVEYS]
    assert len(cameras) >= 5
    assert len({(one.pixel_scale_arcsec, one.gain_e_adu, one.read_noise_e) for one in cameras}) == len(cameras)


def test_the_training_is_one_of_this_program():
    assert resolve_options(Training, EXAMPLES / "train.toml", ()).train.epochs >= 6
