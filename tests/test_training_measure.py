"""A model is measured on sets that it has not seen, and keeps its weights."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.errors import InputError, ModelError, OutputError
from gueststar.realbogus.card import TRAINABLE_FILE, read_model, trainable_bytes, weights_hash
from gueststar.realbogus.chips.weights_file import read_trainable
from gueststar.realbogus.store import verify_model
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.train import Train
from gueststar.training import train_stored
from gueststar.training.measure import measure_model
from gueststar.training.options import Training
from realbogus_models import model_and_set

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with weights that can be trained further, trained on `set`; `other` is a set of other stamps."""
    root = tmp_path_factory.mktemp("measured")
    for name in ("first", "second"):
        model_and_set(root / name, n=480 if name == "first" else 360)
    (root / "first" / "set").rename(root / "set")
    (root / "second" / "set").rename(root / "other")
    train = Train(epochs=1, batch_size=32, stamp_size=21, threads=1)
    train_stored(Training(name="tiny", version="7", train=train), open_dataset(root / "set"), root / "made")
    return root


def test_figures_are_added_and_the_weights_stay(folder, tmp_path):
    before, weights = read_model(folder / "made")
    other = open_dataset(folder / "other")
    card = measure_model(folder / "made", {"other": other}, tmp_path / "new", caveats=("drawn stamps",))
    assert {*before.metrics, "other"} <= set(card.metrics)
    assert card.metrics["other"]["n_real"] > 0
    assert card.caveats == (*before.caveats, "drawn stamps")
    assert read_model(tmp_path / "new")[1] == weights
    assert weights_hash((tmp_path / "new" / TRAINABLE_FILE).read_bytes()) == card.trainable_hash
    assert verify_model(tmp_path / "new")[0].metrics["other"]["auc"] == pytest.approx(card.metrics["other"]["auc"])


def test_what_cannot_be_measured_is_told(folder, tmp_path):
    seen, other = open_dataset(folder / "set"), open_dataset(folder / "other")
    with pytest.raises(InputError, match="no data set to measure on"):
        measure_model(folder / "made", {}, tmp_path / "new")
    with pytest.raises(InputError, match="'set' is the set that the model was trained on"):
        measure_model(folder / "made", {"set": seen}, tmp_path / "new")
    with pytest.raises(OutputError, match="holds a model already"):
        measure_model(folder / "made", {"other": other}, folder / "made")


def test_the_command(folder, tmp_path):
    command = ["model", "measure", str(folder / "made"), "--test", str(folder / "other")]
    done = runner.invoke(app, [*command, "--out", str(tmp_path / "new"), "--caveat", "drawn stamps"])
    assert done.exit_code == 0, done.output
    assert "other" in done.output
    twice = runner.invoke(app, [*command, "--test", str(folder / "other"), "--out", str(tmp_path / "newer")])
    assert "two folders have one name" in str(twice.output) + str(twice.exception)


def test_new_versions_keep_what_they_can_be_trained_on_from(folder, tmp_path):
    command = ["model", "threshold", str(folder / "made"), "--data", str(folder / "other"), "--tpr", "0.9"]
    done = runner.invoke(app, [*command, "--part", "validation", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert trainable_bytes(tmp_path / "new") == trainable_bytes(folder / "made") != b""


def test_one_changed_byte_of_the_weights_to_train_from_is_refused_everywhere(folder, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(folder / "made", place)
    assert "weights.npz too" in verify_model(place)[1]
    file = place / TRAINABLE_FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    match = r"weights\.npz \(\d+ bytes, SHA-256 .*\) is not the file that its card describes"
    for use in (verify_model, trainable_bytes, read_trainable):
        with pytest.raises(ModelError, match=match):
            use(place)
    with pytest.raises(ModelError, match=match):
        measure_model(place, {"other": open_dataset(folder / "other")}, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    done = runner.invoke(app, ["model", "verify", str(place)])
    assert done.exit_code != 0
    train = Training(name="tiny", version="8", train=Train(epochs=1, batch_size=32, stamp_size=21, threads=1))
    with pytest.raises(ModelError, match=match):
        train_stored(train, open_dataset(folder / "other"), tmp_path / "tuned", base=place)
    file.unlink()
    assert "weights.npz is not there: it cannot be trained further" in verify_model(place)[1]
