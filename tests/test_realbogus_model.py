"""Model folders: card and weights belong together; scoring fits the stamps or says why not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gueststar.errors import ModelError, OutputError
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import Card, find_model, read_model, weights_hash, write_model
from gueststar.realbogus.dataset import symmetry
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.lineage import seen_groups
from gueststar.realbogus.loaded import LoadedModel, open_model
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.package import describe_model, judge, logits_dataset, score_dataset
from gueststar.realbogus.scalars import measured_scalars
from gueststar.realbogus.score import TURNS, RealBogus, load_model, score_stamps
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, predict, train_network
from gueststar.types import Candidates, Stamps
from realbogus_stamps import dataset, sample


@pytest.fixture(scope="module")
def drawn():
    return dataset(480, np.random.default_rng(21))


@pytest.fixture(scope="module")
def split(drawn):
    return split_groups(drawn.columns, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def trained(drawn, split):
    return train_network(drawn, split, Train(epochs=2, batch_size=30))


@pytest.fixture(scope="module")
def folder(drawn, split, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    card, weights = describe_model(
        trained, drawn, split, options=Train(epochs=2, batch_size=30, views=1), name="small", version="1",
        caveats=("drawn stamps only",),
    )  # fmt: skip
    write_model(path, card.model_copy(update={"metrics": {"auc": float("nan")}}), weights)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def numbers_of(model, candidates):
    return measured_scalars(candidates, [item.name for item in model.card.scalars])


def test_the_card_comes_back_and_says_what_was_done(folder, drawn, split, trained):
    card, weights = read_model(folder)
    assert card == read_model(folder / "model.onnx")[0]
    assert card.weights_hash == weights_hash(weights)
    assert card.stamp_size == 31
    assert card.training_data["hash"] == drawn.content_hash()
    assert card.training_data["parts"]["train"]["real"] == int((drawn.labels[split.train] == 1).sum())
    seen = np.concatenate([split.train, split.validation])
    assert len(card.training_data["groups"]["night"]) == np.unique(drawn["night"][seen]).size
    shared = {"night": [str(drawn["night"][split.train[0]]), str(drawn["night"][split.test[0]])]}
    assert seen_groups(card.training_data, shared) == {"night": shared["night"][:1]}
    assert card.training_data["mjd"] is None
    assert card.training["best_epoch"] == trained.best_epoch
    assert card.training["options"]["seed"] == 0
    assert card.metrics == {"auc": None}
    assert card.caveats == ("drawn stamps only",)
    assert Card.parse(json.loads(card.to_json())) == card


def test_the_threshold_keeps_what_it_promises(folder, drawn, split, trained):
    card, _ = read_model(folder)
    scores = chance(trained.validation_logits, temperature=card.temperature, bias=card.bias)
    real = drawn.labels[split.validation] == 1
    assert (scores[real] >= card.threshold).mean() >= 0.98
    assert card.threshold_meaning.startswith("98 % of the reals")


def test_scores_are_those_of_the_trained_network(folder, drawn, split, trained):
    scores = score_dataset(load_model(folder), drawn, split.test)
    card = load_model(folder).card
    assert (card.temperature, card.bias, card.prior) != (1.0, 0.0, 0.5)  # fitted on the validation part
    expected = chance(predict(trained.network, drawn, split.test), temperature=card.temperature, bias=card.bias)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    result, plain = judge(load_model(folder), drawn, split.test)
    assert result.auc > 0.9
    assert plain["auc"] == result.auc
    assert sum(total for _, total in plain["called_real_of_kind"].values()) == split.test.size


@pytest.mark.parametrize("views", [2, 4, 8])
def test_what_may_be_real_is_looked_at_again(drawn, split, trained, views):
    options = Train(epochs=2, batch_size=30, views=views)
    card, weights = describe_model(trained, drawn, split, options=options, name="small", version="1")
    real = drawn.labels[split.validation] == 1
    assert (trained.validation_logits[real] > card.views_from).mean() == pytest.approx(0.99, abs=0.02)
    model, rows = open_model(card, weights), split.test
    first = predict(trained.network, drawn, rows)
    turns = [replace(drawn, cube=symmetry(drawn.cube, np.full(len(drawn), turn))) for turn in TURNS[:views]]
    expected = np.mean([predict(trained.network, turned, rows) for turned in turns], axis=0)
    again = first > card.views_from
    assert again.any()
    assert not again.all()
    found = logits_dataset(model, drawn, rows, batch_size=7)
    np.testing.assert_allclose(found, np.where(again, expected, first), atol=2e-4)
    # Threshold and calibration are those of the mean.
    scores = score_dataset(model, drawn, split.validation)
    assert (scores[real] >= card.threshold).mean() >= 0.98
    assert card.calibration["loss_after"] <= card.calibration["loss_before"]
    if views == 8:  # whichever way a stamp is turned, its score stays
        for turn in range(8):
            turned = replace(drawn, cube=symmetry(drawn.cube, np.full(len(drawn), turn)))
            ways = logits_dataset(
                LoadedModel(card.model_copy(update={"views_from": -1e9}), model.session), turned, rows
            )
            np.testing.assert_allclose(ways, expected, atol=2e-4)


def test_candidates_get_a_score_and_keep_everything_else(folder, rng):
    candidates, stamps, labels, _ = sample(70, rng, size=63)
    before, cube = candidates.table.copy(), stamps.cube.copy()
    scored = RealBogus(model=str(folder), batch_size=32)(candidates, stamps)
    assert scored["rb_score"].dtype == np.float32
    assert ((scored["rb_score"] >= 0) & (scored["rb_score"] <= 1)).all()
    assert scored["rb_score"][labels == 1].mean() > scored["rb_score"][labels == 0].mean() + 0.2
    assert scored.table.meta["rb_model"] == "small 1"
    assert scored.table.meta["rb_model_hash"] == read_model(folder)[0].weights_hash[:16]
    assert scored.table.meta["rb_threshold"] == read_model(folder)[0].threshold
    assert candidates.table.colnames == before.colnames
    np.testing.assert_array_equal(stamps.cube, cube)
    one_by_one = RealBogus(model=str(folder), batch_size=1)(candidates, stamps)
    np.testing.assert_allclose(one_by_one["rb_score"], scored["rb_score"], atol=1e-5)


def test_no_candidates_get_an_empty_column(folder):
    none = Stamps(np.empty((0, 3, 63, 63), np.float32), np.empty((0, 3), np.float32), np.empty(0, "U24"))
    scored = RealBogus(model=str(folder))(Candidates.empty(), none)
    assert len(scored) == 0
    assert scored["rb_score"].dtype == np.float32


def test_a_stamp_without_pixels_scores_nothing(folder, rng):
    candidates, stamps, _, _ = sample(6, rng)
    stamps.cube[0] = np.nan
    stamps.cube[1, 2] = np.nan
    stamps.cube[2, :2] = np.nan
    stamps.sigma[3, 2] = np.nan
    stamps.cube[4, 0, 10:] = np.nan
    model = load_model(folder)
    scores = score_stamps(stamps.cube, stamps.sigma, numbers_of(model, candidates), model)
    assert scores[[0, 1, 3]].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(scores).all()


def test_a_session_is_made_once_for_the_same_weights(folder):
    assert load_model(folder).session is load_model(folder / "model.onnx").session


def test_an_altered_byte_is_refused(copied):
    data = bytearray((copied / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "model.onnx").write_bytes(bytes(data))
    with pytest.raises(ModelError, match="is not the file that its card describes") as caught:
        RealBogus(model=str(copied))(
            Candidates.empty(), Stamps(np.empty((0, 3, 63, 63)), np.empty((0, 3)), np.empty(0))
        )
    assert caught.value.facts["expected"] != caught.value.facts["found"]


def test_half_a_model_is_refused(copied, tmp_path):
    (copied / "card.json").unlink()
    with pytest.raises(ModelError, match=r"card\.json not found in"):
        load_model(copied)
    with pytest.raises(ModelError, match=r"model\.onnx and card\.json not found"):
        find_model(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[1]", '{"name": "x"}', ""])
def test_what_is_not_a_card_is_refused(copied, text):
    (copied / "card.json").write_text(text)
    with pytest.raises(ModelError, match="is not a model card"):
        load_model(copied)


def test_weights_that_are_no_network_are_refused(copied):
    card, _ = read_model(copied)
    junk = b"not a network"
    (copied / "model.onnx").write_bytes(junk)
    (copied / "card.json").write_text(card.model_copy(update={"weights_hash": weights_hash(junk)}).to_json())
    with pytest.raises(ModelError, match="not a network that can be run"):
        load_model(copied)


def test_weights_of_another_network_are_refused(copied):
    card, _ = read_model(copied)
    with torch.random.fork_rng():
        other = onnx_bytes(RealBogusNet(RealBogusNet().preprocess.scalars[:4]))
    (copied / "model.onnx").write_bytes(other)
    (copied / "card.json").write_text(card.model_copy(update={"weights_hash": weights_hash(other)}).to_json())
    with pytest.raises(ModelError, match="the card promises cube"):
        load_model(copied)


def test_stamps_that_do_not_fit_are_refused(folder, rng):
    candidates, stamps, _, _ = sample(4, rng, size=33)
    model = load_model(folder)
    numbers = numbers_of(model, candidates)
    for cube in (stamps.cube[..., 2:-2, 2:-2], stamps.cube[..., 1:, 1:], stamps.cube[:, :2], stamps.cube[0]):
        with pytest.raises(ModelError, match="do not fit model 'small'"):
            score_stamps(cube, stamps.sigma, numbers, model)
    with pytest.raises(ModelError, match="sigma of shape"):
        score_stamps(stamps.cube, stamps.sigma[:, :2], numbers, model)
    with pytest.raises(ModelError, match=r"expected \(4, 3\) and \(4, 11\)"):
        score_stamps(stamps.cube, stamps.sigma, numbers[:, 1:], model)
    with pytest.raises(ModelError, match="do not belong to these 4 candidates"):
        RealBogus(model=str(folder))(candidates, Stamps(stamps.cube, stamps.sigma, stamps.candidate_id[::-1]))


def test_models_are_not_overwritten_or_mixed_up(copied, tmp_path):
    card, weights = read_model(copied)
    with pytest.raises(OutputError, match="holds a model already"):
        write_model(copied, card, weights)
    with pytest.raises(ModelError, match="made for other weights"):
        write_model(tmp_path / "new", card, weights + b"x")


def test_the_shipped_model_is_sound(rng):
    try:
        model = load_model("shipped")
    except ModelError as error:
        pytest.skip(f"no model is shipped yet: {error}")
    card, weights = read_model("shipped")
    assert len(weights) < 1_500_000
    assert card.stamp_size == 31
    assert card.code_version
    assert card.training_data["hash"]
    assert card.metrics["simulated"]["n_bogus"] > 1000
    _, stamps, labels, kinds = sample(60, rng, size=63)
    scores = score_stamps(stamps.cube, stamps.sigma, np.full((60, len(card.scalars)), np.nan, np.float32), model)
    assert np.isfinite(scores).all()
    assert scores[labels == 1].mean() > scores[kinds == "dipole"].mean()
