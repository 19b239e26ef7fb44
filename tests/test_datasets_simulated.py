"""Data sets from simulated pairs: parts share nothing, chips keep their faults, real frames go to one part."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.simulated import SimulatedPairs, SimulateSet, parts_in_turn, simulate_dataset
from gueststar.errors import InputError, OutputError
from gueststar.quality import Quality
from gueststar.realbogus.stored import open_dataset
from gueststar.simulate.survey import Survey
from gueststar.training import passes
from gueststar.training.chains import chip_survey
from small_pairs import SURVEY, small_pairs

PAIRS = SimulatedPairs(**small_pairs(), stamp_size=41, chips=("Q1-11", "Q4-44"), real_passes=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("sets") / "small", SimulateSet(pairs=PAIRS, split=(1, 1, 0)))


def test_pairs_are_dealt_to_chips_and_parts(made):
    assert set(made["chip"]) == {"Q1-11", "Q4-44"}
    assert set(made["split"]) == {"train", "validation"}
    split = made.split()
    made.check_split(split)
    for rows in (split.train, split.validation):  # every chip is in every part, both classes are there
        assert set(made["chip"][rows]) == {"Q1-11", "Q4-44"}
        assert {0, 1} <= set(made.labels[rows])
    assert made.stamp_size == 41
    real = made.labels == 1
    assert (made["true_kind"][real] != "").all()
    assert (made["true_kind"][~real] == "").all()
    assert made.facts["made_by"] == "gueststar dataset simulate"


def test_a_set_that_is_made_again_is_the_same(made, tmp_path):
    again = simulate_dataset(tmp_path / "again", SimulateSet(pairs=PAIRS, split=(1, 1, 0)))
    assert again.content_hash() == made.content_hash()


def test_a_longer_deal_begins_like_a_shorter_one():
    long = parts_in_turn(400, (2, 1, 1))
    np.testing.assert_array_equal(np.bincount(long), [200, 100, 100])
    np.testing.assert_array_equal(parts_in_turn(7, (2, 1, 1)), long[:7])
    np.testing.assert_array_equal(parts_in_turn(3, (0, 0, 1)), [2, 2, 2])
    assert long[0] == 0


def test_a_chip_has_its_own_faults_in_every_pair():
    rng = np.random.default_rng
    one, same, other = (chip_survey(SURVEY, 3.0, rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.hot_pixels != other.hot_pixels
    assert one.ellipticity != other.ellipticity
    assert SURVEY.hot_pixels / 3 <= one.hot_pixels <= 3 * SURVEY.hot_pixels
    assert chip_survey(SURVEY, 1.0, rng(1)) == SURVEY


def test_rows_of_an_image_that_a_night_would_refuse_are_marked(made, tmp_path, monkeypatch):
    """A chain that is worse on purpose may fail gates; the set tells, and such rows can be left out."""
    assert set(made["suspicion"][made["chain"] == "default"]) == {""}
    monkeypatch.setattr(passes, "Quality", lambda: Quality(candidates=1.0))
    few = PAIRS.model_copy(update={"n_pairs": 1, "workers": 1})
    refused = simulate_dataset(tmp_path / "set", SimulateSet(pairs=few, split=(0, 0, 1)))
    assert set(refused["suspicion"]) == {"failed_image"}
    assert len(open_dataset(refused.folder, exclude=("failed_image",))) == 0


def test_real_frames_go_to_the_first_part(tmp_path):
    from gueststar.simulate.night import simulate_pair

    pair = simulate_pair(Survey(galactic_latitude_deg=(14.0, 20.0)), seed=5, shape=(300, 320))
    frames = {"field": [pair.science.image(), pair.reference.image()]}
    few = PAIRS.model_copy(update={"n_pairs": 1, "chips": ()})
    told = []
    made = simulate_dataset(
        tmp_path / "set", SimulateSet(pairs=few), real_images=frames, progress=lambda *args: told.append(args)
    )
    real = made["source"] == "field"
    assert real.any()
    assert set(made["split"][real]) == {"train"}
    assert set(made["chip"]) == {""}
    assert told[-1] == ("pairs", 3, 3)


def test_what_cannot_be_made_is_refused(tmp_path, made):
    with pytest.raises(InputError, match="at least one pair"):
        simulate_dataset(tmp_path / "none", SimulateSet(pairs=PAIRS.model_copy(update={"n_pairs": 0})))
    with pytest.raises(OutputError, match="holds a data set already"):
        simulate_dataset(made.folder, SimulateSet(pairs=PAIRS))
    with pytest.raises(ValueError, match="0:0:1 makes a test set"):
        SimulateSet(split=(0, 0, 0))


def test_the_command_makes_a_test_set(tmp_path):
    names = ["pairs.injected=12", "pairs.worse_passes=0", "pairs.shape=[300,320]", "pairs.stamp_size=31"]
    options = [word for name in names for word in ("--set", name)]
    called = CliRunner().invoke(
        app,
        ["dataset", "simulate", "--out", str(tmp_path / "set"), "--pairs", "1", "--split", "0:0:1", "--chips", "all",
         "--workers", "1", "--seed", "4", *options],
    )  # fmt: skip
    assert called.exit_code == 0, called.output
    made = open_dataset(tmp_path / "set")
    assert set(made["split"]) == {"test"}
    assert set(made["chip"]) == {"Q1-11"}
