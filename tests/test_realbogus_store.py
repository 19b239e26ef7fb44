"""A store of models: what is in use was verified, cannot be changed unseen, and can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.errors import ModelError, OutputError
from gueststar.realbogus import store as module
from gueststar.realbogus.card import find_model, read_model, write_model
from gueststar.realbogus.checks import check_scores, check_stamps
from gueststar.realbogus.score import load_model
from gueststar.realbogus.store import list_models, promote, read_store, rollback, verify_model


@pytest.fixture
def store(tmp_path):
    """Return a store of two models, of which the second has check scores."""
    card, weights = read_model("shipped")
    card = card.model_copy(update={"version": "1", "check_scores": ()})
    write_model(tmp_path / "first", card, weights)
    scores = check_scores(load_model("shipped"))
    write_model(tmp_path / "second", card.model_copy(update={"version": "2", "check_scores": scores}), weights)
    return tmp_path


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def run(*words):
    result = CliRunner().invoke(app, ["model", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def test_check_stamps_are_what_they_say():
    cube, snr = check_stamps(31)
    assert cube.shape == (8, 3, 31, 31)
    known = np.isfinite(cube)
    assert (~known).sum() == 3 * 31 * 10
    assert np.allclose((cube[:, 0] - cube[:, 1] - cube[:, 2])[known[:, 0]], 0, atol=1e-4)
    assert (snr < 0).sum() == 1
    scores = check_scores(load_model())
    assert len(scores) == 8
    assert max(scores) - min(scores) > 0.3  # a model that gives all the same would go unseen


def test_promote_and_rollback_change_what_the_store_stands_for(store):
    assert read_store(store).current is None
    with pytest.raises(ModelError, match="model.onnx and card.json not found"):
        find_model(store)
    promote(store, "first")
    assert find_model(store) == store / "first"
    made = promote(store, "second")
    assert read_model(store)[0].version == "2"
    assert load_model(store).card.version == "2"
    assert read_store(store).current == made
    assert [entry.in_use for entry in list_models(store)] == [False, True]
    assert rollback(store).folder == "first"
    assert read_model(store)[0].version == "1"
    with pytest.raises(ModelError, match="no model was in use before the present one"):
        rollback(store)
    assert {path.name for path in store.iterdir()} == {"first", "second", "store.json"}


def test_one_changed_byte_is_refused(store):
    promote(store, "first")
    promote(store, "second")
    flip(store / "second" / "model.onnx", 5000)
    for use in (read_model, load_model, verify_model):
        with pytest.raises(ModelError, match="is not the file that its card describes"):
            use(store / "second")
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        load_model(store)
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        promote(store, "second")
    assert "is not the file" in list_models(store)[1].fault
    flip(store / "second" / "model.onnx", 5000)
    text = (store / "second" / "card.json").read_text()
    (store / "second" / "card.json").write_text(text.replace('"version": "2"', '"version": "3"'))
    with pytest.raises(ModelError, match=r"card.json was changed since the model was promoted"):
        load_model(store)
    card = store / "first" / "card.json"
    card.write_text(card.read_text().replace('"version": "1"', '"version": "0"'))
    with pytest.raises(ModelError, match="model 'first' was changed since it was in use"):
        rollback(store)
    assert read_store(store).current.folder == "second"


def test_check_scores_tell_a_model_that_works_otherwise(store):
    card, told = verify_model(store / "second")
    assert "8 check scores agree" in told
    assert "no check scores" in verify_model(store / "first")[1]
    wrong = json.loads(card.to_json())
    wrong["check_scores"][3] += 0.01
    (store / "second" / "card.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=r"differ by 0\.01 from those of the card, more than 0\.002"):
        verify_model(store / "second")
    wrong["check_scores"] = wrong["check_scores"][:5]
    (store / "second" / "card.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match="differ by inf"):
        verify_model(store / "second")


def test_stores_that_are_none_are_refused(store, tmp_path):
    with pytest.raises(ModelError, match="is no folder"):
        list_models(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="holds no model 'third'; it has first, second"):
        promote(store, "third")
    promote(store, "first")
    (store / "store.json").write_text("{}")
    with pytest.raises(ModelError, match="names no model in use"):
        find_model(store)
    (store / "store.json").write_text("[")
    with pytest.raises(ModelError, match="store.json is damaged"):
        read_store(store)


def test_a_full_disk_leaves_the_model_in_use(store, monkeypatch):
    promote(store, "first")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        promote(store, "second")
    assert read_store(store).current.folder == "first"
    assert {path.name for path in store.iterdir()} == {"first", "second", "store.json"}


def test_the_commands_say_it(store, tmp_path):
    code, text = run("promote", "second", "--store", store)
    assert code == 0
    assert f"--set classify.model={store}" in text
    code, text = run("list", "--store", store)
    assert code == 0
    assert "* second" in text
    assert read_model("shipped")[0].weights_hash[:12] in text
    code, text = run("show", "second", "--store", store)
    assert code == 0
    assert f"threshold {read_model('shipped')[0].threshold:.4f}" in text
    assert "caveat: " in text
    assert "FPR at the threshold" in text
    assert "to compare with" not in text
    card, weights = read_model("shipped")
    joined = {**card.training_data, "sets": [{"name": "spring"}, {"name": "autumn"}]}
    other = card.model_copy(update={"training": {"options": {"network": "braai"}}, "training_data": joined})
    write_model(store / "third", other, weights)
    shown = run("show", "third", "--store", store)[1]
    assert "network braai, to compare with" in shown
    assert "of 2 sets that were joined: spring, autumn" in shown
    code, text = run("verify", "second", "--store", store)
    assert (code, "8 check scores agree" in text) == (0, True)
    flip(store / "second" / "model.onnx", 100)
    code, text = run("verify", "second", "--store", store)
    assert (code, "ModelError" in text) == (1, True)
    code, text = run("list", "--store", store)
    assert "cannot be used" in text
    code, text = run("rollback", "--store", store)
    assert (code, "ModelError" in text) == (1, True)


def test_the_store_of_the_user_is_looked_up_when_it_is_needed(store, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    code, text = run("list")
    assert code == 1
    assert "gueststar/models" in text.replace(" ", "")
    (tmp_path / "data" / "gueststar" / "models").mkdir(parents=True)
    assert "no models in" in run("list")[1]
