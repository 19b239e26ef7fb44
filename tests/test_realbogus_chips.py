"""One model for each chip or one for all: the chip reaches the score, sets route, trainings go on where they were."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.scoring import ScoreFiles, score_files
from gueststar.errors import ConfigError, InputError, ModelError, OutputError
from gueststar.realbogus import loaded as loaded_module
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import find_model, model_hash, read_model, weights_hash, write_model
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.chips.film import ChipFilm
from gueststar.realbogus.chips.finetune import FineTune, fewer_rows, fine_tune
from gueststar.realbogus.chips.model_set import chip_folder, read_set, set_hash
from gueststar.realbogus.chips.names import chip_codes, dataset_chip_codes
from gueststar.realbogus.chips.weights_file import pack_network, read_trainable
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.lineage import seen_groups, was_trained_on
from gueststar.realbogus.loaded import open_model, with_views
from gueststar.realbogus.network import MeanNet, RealBogusNet
from gueststar.realbogus.package import describe_model, judge, score_dataset, thresholds_of_rows
from gueststar.realbogus.scalars import DEFAULT_SCALARS
from gueststar.realbogus.score import RealBogus, load_model, model_of_chip, score_stamps
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.store import list_models, promote, rollback, verify_model
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.train import Train, predict, train_network
from gueststar.realbogus.watch import Watch
from gueststar.report.evaluation import write_evaluation
from gueststar.report.evaluation_checks import check_training
from gueststar.report.evaluation_models import read_scores, score_model
from gueststar.report.evaluation_results import EvaluateOptions, measure
from gueststar.report.evaluation_sample import choose_rows
from gueststar.report.evaluation_tables import score_table
from gueststar.training import Training, train_stored
from gueststar.training.chip_plan import PerChip, plan_chips
from gueststar.training.measure import measure_model
from gueststar.training.per_chip import ChipTask, lost_chip, train_per_chip
from gueststar.types import Candidates, Stamps
from realbogus_stamps import dataset, sample

CHIPS = ("Q1-11", "Q1-12", "Q4-44")
QUICK = Train(epochs=2, batch_size=40)
OPTIONS = Training(name="tiny", train=QUICK, chips=PerChip(fewest=30, fewest_validation=10))


def drawn_of(seed: int = 1, n: int = 600) -> Dataset:
    """Rows of two chips with enough of them, of one with few, and some that tell none.

    In Q1-11 points are real; in Q1-12 the same points are artifacts, rays and dipoles real: only the chip tells which.
    """
    made = dataset(n, np.random.default_rng(seed))
    chip = np.array(["Q1-11", "Q1-12"])[np.arange(n) % 2]
    chip[::25], chip[1::60] = "Q4-44", ""
    label = made.labels.copy()
    other = chip == "Q1-12"
    label[other] = (made["kind"][other] != "point").astype(np.int8)
    label[other & (made["kind"] == "ring")] = -1
    part = np.repeat(["train", "validation", "test"], [n // 2, n // 4, n - n // 2 - n // 4])
    return replace(made, columns={**made.columns, "chip": chip, "label": label, "split": part})


@pytest.fixture(scope="module")
def drawn():
    return drawn_of()


@pytest.fixture(scope="module")
def folder(drawn, tmp_path_factory):
    """Return the same as a data set on disk, in three shards."""
    return stored_set(drawn, tmp_path_factory.mktemp("sets") / "set")


def stored_set(drawn, path):
    extra = {"suspicion": "", "true_kind": "", "sky_sigma_science": 1.0, "sky_sigma_reference": 1.0,
             "sky_sigma_difference": 1.0}  # fmt: skip
    with ShardWriter(path, rows_per_shard=250) as writer:
        writer.add(drawn.cube.astype(np.float32), {**drawn.columns, **extra})
    return path


@pytest.fixture(scope="module")
def split(drawn):
    from gueststar.realbogus.split import Split

    return Split(*(np.flatnonzero(drawn["split"] == part) for part in ("train", "validation", "test")))


@pytest.fixture(scope="module")
def conditioned(drawn, split):
    options = QUICK.model_copy(update={"chips": "film", "epochs": 10, "learning_rate": 4e-3, "balance": "class"})
    return train_network(drawn, split, options)


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    """Return a set of models that was trained chip by chip."""
    path = tmp_path_factory.mktemp("models") / "set"
    train_per_chip(OPTIONS, folder, path)
    return path


@pytest.fixture
def copied(models, tmp_path):
    return shutil.copytree(models, tmp_path / "set")


def packed(trained, drawn, split, **changes):
    card, weights = describe_model(trained, drawn, split, options=QUICK, name="film", version="1")
    return card.model_copy(update=changes), weights


def run(*words):
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def test_names_become_numbers_and_unknown_ones_nought(drawn):
    assert chip_codes(["Q4-44", "", "Q9-99", "Q1-11"], CHIPS).tolist() == [3, 0, 0, 1]
    assert chip_codes([], CHIPS).shape == (0,)
    assert chip_codes(["a", "b"], ()).tolist() == [0, 0]
    codes = dataset_chip_codes(drawn, CHIPS)
    assert codes.tolist() == [([*CHIPS, ""].index(name) + 1) % 4 for name in drawn["chip"].tolist()]
    without = replace(drawn, columns={name: v for name, v in drawn.columns.items() if name != "chip"})
    assert not dataset_chip_codes(without, CHIPS).any()


def test_an_untrained_modulation_changes_nothing_and_the_unknown_chip_is_trained():
    torch.manual_seed(0)
    network = RealBogusNet().eval()
    inputs = (torch.randn(6, 3, 33, 33), torch.ones(6, 3), torch.randn(6, len(DEFAULT_SCALARS)))
    before = network(*inputs)
    network.condition(CHIPS).eval()
    chip = torch.tensor([0, 1, 2, 3, 1, 0])
    assert torch.equal(network(*inputs, chip), before)
    film = ChipFilm(3, (4, 5), unknown_share=0.5)
    torch.nn.init.normal_(film.generator.weight)
    shown = film(torch.full((4000,), 2))[0]
    unknown = torch.isclose(shown, film.eval()(torch.tensor([0]))[0], atol=1e-4).all(dim=2).all(dim=1)
    assert unknown.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert [tuple(part.shape) for part in film(chip)] == [(6, 2, 4), (6, 2, 5)]


def test_the_network_learns_what_only_the_chip_can_tell(drawn, split, conditioned):
    assert conditioned.network.chips == CHIPS
    rows = split.test[(drawn["kind"][split.test] == "point") & (drawn["chip"][split.test] != "")]
    mean = {}
    for told in ("Q1-11", "Q1-12"):
        as_told = replace(drawn, columns={**drawn.columns, "chip": np.full(len(drawn), told)})
        mean[told] = predict(conditioned.network, as_told, rows).mean()
    assert mean["Q1-11"] > mean["Q1-12"] + 1.0
    again = train_network(drawn, split, QUICK.model_copy(update={"chips": "film"}))
    other = train_network(drawn, split, QUICK.model_copy(update={"chips": "film"}))
    np.testing.assert_array_equal(again.validation_logits, other.validation_logits)


def test_the_exported_network_takes_the_chip_and_scores_as_the_trained_one(drawn, split, conditioned):
    card, weights = packed(conditioned, drawn, split, views=1)
    model = open_model(card, weights)
    assert card.chips == CHIPS
    assert list(model.session.inputs) == ["cube", "sigma", "scalars", "chip"]
    logits = predict(conditioned.network, drawn, split.test)
    expected = chance(logits, temperature=card.temperature, bias=card.bias, prior=card.prior)
    np.testing.assert_allclose(score_dataset(model, drawn, split.test), expected, atol=1e-4)
    assert packed(conditioned, drawn, split)[0].check_scores == check_scores(with_views(model, 4))
    plain = RealBogusNet()
    assert "chip" not in open_model(*_plain(card, plain)).session.inputs
    with pytest.raises(ModelError, match=r"the card promises .* and chip \(n,\)"):
        open_model(card, onnx_bytes(plain))
    with pytest.raises(ModelError, match="the weights take .*'chip'"):
        open_model(card.model_copy(update={"chips": ()}), weights)


def _plain(card, network):
    return card.model_copy(update={"chips": ()}), onnx_bytes(network)


def test_a_chip_that_the_model_does_not_know_is_no_error(drawn, split, conditioned, tmp_path, rng):
    card, weights = packed(conditioned, drawn, split)
    write_model(tmp_path / "film", card, weights)
    candidates, stamps, _, _ = sample(30, rng)
    score = RealBogus(model=str(tmp_path / "film"))
    none = score(candidates, stamps)
    assert "does not know: none" in none.table.meta["rb_chip_note"]
    unknown = score(candidates.with_columns(chip=np.full(30, "Q9-99")), stamps)
    assert unknown.table.meta["rb_chip_note"].endswith("does not know: Q9-99")
    np.testing.assert_array_equal(unknown["rb_score"], none["rb_score"])
    known = score(candidates.with_columns(chip=np.full(30, "Q1-12")), stamps)
    assert "rb_chip_note" not in known.table.meta
    assert np.abs(known["rb_score"] - none["rb_score"]).max() > 0.05
    numbers = np.zeros((30, len(DEFAULT_SCALARS)), np.float32)
    with pytest.raises(ModelError, match="expected one name for each stamp"):
        score_stamps(stamps.cube, stamps.sigma, numbers, load_model(tmp_path / "film"), chips=np.array(["Q1-11"]))


def test_training_on_the_chip_needs_chips(drawn, split):
    without = replace(drawn, columns={**drawn.columns, "chip": np.full(len(drawn), "")})
    with pytest.raises(InputError, match="does not tell the chips of its rows"):
        train_network(without, split, QUICK.model_copy(update={"chips": "film"}))
    with pytest.raises(ValueError, match="networks that know different chips have no mean"):
        MeanNet([RealBogusNet(), RealBogusNet().condition(CHIPS)])
    mean = MeanNet([RealBogusNet().condition(CHIPS), RealBogusNet().condition(CHIPS)]).eval()
    assert mean.chips == CHIPS
    names = [item.name for item in _inputs(onnx_bytes(mean))]
    assert names == ["cube", "sigma", "scalars", "chip"]


def _inputs(weights):
    import onnx

    return onnx.load_from_string(weights).graph.input


def test_weights_come_back_and_the_same_ones_are_the_same_bytes(drawn, split, conditioned, tmp_path):
    data = pack_network(conditioned.network)
    assert data == pack_network(conditioned.network)
    card, weights = packed(conditioned, drawn, split, trainable_hash=weights_hash(data))
    write_model(tmp_path / "film", card, weights, trainable=data)
    found, network = read_trainable(tmp_path / "film")
    assert found == card
    rows = split.validation[drawn.labels[split.validation] >= 0]
    stored, trained = network.state_dict(), conditioned.network.state_dict()
    assert stored.keys() == trained.keys()
    assert all(torch.equal(stored[name], trained[name]) for name in stored)
    np.testing.assert_allclose(predict(network, drawn, rows), conditioned.validation_logits, atol=1e-4)
    assert pack_network(MeanNet([RealBogusNet()])) == b""
    with pytest.raises(ModelError, match=r"made for another weights\.npz"):
        write_model(tmp_path / "other", card, weights, trainable=data + b"x")


def test_weights_that_cannot_be_used_are_refused_with_the_reason(drawn, split, conditioned, tmp_path):
    bare, onnx = packed(conditioned, drawn, split)
    write_model(tmp_path / "bare", bare, onnx)
    with pytest.raises(ModelError, match=r"bare' has no weights\.npz: it can be used for scoring, not be trained"):
        read_trainable(tmp_path / "bare")
    good = pack_network(conditioned.network)

    def stored(name, data):
        card, weights = packed(conditioned, drawn, split, trainable_hash=weights_hash(data))
        write_model(tmp_path / name, card, weights, trainable=data)
        return tmp_path / name

    place = stored("changed", good)
    (place / "weights.npz").write_bytes(good[:-1] + b"x")
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        read_trainable(place)
    with pytest.raises(ModelError, match="cannot be read by this version"):
        read_trainable(stored("text", b"no archive"))
    with np.load(io.BytesIO(good)) as arrays:
        held = dict(arrays)
    for name, change, match in (
        ("later", {"network.json": np.array(str(held["network.json"]).replace('"format": 1', '"format": 2'))},
         "cannot be read by this version"),
        ("short", {"head.0.weight": np.zeros((3, 3), np.float32)}, "does not hold the weights of the network"),
    ):  # fmt: skip
        file = io.BytesIO()
        np.savez(file, **{**held, **change})
        with pytest.raises(ModelError, match=match):
            read_trainable(stored(name, file.getvalue()))


def test_fine_tuning_changes_the_part_that_is_wanted(drawn, split, conditioned):
    everything = {"pixels", "numbers", "film", "head"}
    for part, changed in (("head", {"head"}), ("head+film", {"head", "film"}), ("all", everything)):
        network = _again(conditioned)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        trained = fine_tune(network, drawn, split, QUICK, FineTune(part=part, rows=100))
        after = trained.network.state_dict()
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == changed
        assert trained.network.chips == CHIPS


def _again(trained):
    import copy

    return copy.deepcopy(trained.network)


def test_fine_tuning_on_other_rows_helps_and_is_the_same_every_time(drawn, split):
    base = train_network(drawn, split, QUICK.model_copy(update={"epochs": 6}))
    rays = (drawn["kind"] == "cosmic").astype(np.int8)
    wrong = replace(drawn, columns={**drawn.columns, "label": rays})
    options, tuning = QUICK.model_copy(update={"epochs": 5}), FineTune(learning_rate=5e-3)
    loss = [fine_tune(_again(base), wrong, split, options, tuning) for _ in range(2)]
    before = np.corrcoef(predict(base.network, wrong, split.test), wrong.labels[split.test])[0, 1]
    after = np.corrcoef(predict(loss[0].network, wrong, split.test), wrong.labels[split.test])[0, 1]
    assert after > before + 0.2
    np.testing.assert_array_equal(loss[0].validation_logits, loss[1].validation_logits)
    with pytest.raises(InputError, match="is not conditioned on the chip"):
        fine_tune(_again(base), drawn, split, QUICK, FineTune(part="head+film"))
    other = _again(base).condition(("Q9-99",))
    with pytest.raises(InputError, match="no row comes from a chip that the network knows, which are Q9-99"):
        fine_tune(other, drawn, split, QUICK, FineTune(part="head+film"))


def test_fewer_rows_keep_the_share_of_reals(drawn, split):
    few = fewer_rows(split, drawn, 60, np.random.default_rng(0))
    labels = drawn.labels[few.train]
    assert few.train.size == 60
    assert np.isin(few.train, split.train).all()
    whole = drawn.labels[split.train]
    assert (labels == 1).mean() == pytest.approx((whole == 1).sum() / (whole >= 0).sum(), abs=0.02)
    assert fewer_rows(split, drawn, 10_000, np.random.default_rng(0)) is split
    artifacts = replace(drawn, columns={**drawn.columns, "label": np.zeros(len(drawn), np.int8)})
    with pytest.raises(InputError, match="has one class only"):
        fewer_rows(split, artifacts, 10, np.random.default_rng(0))


def test_chosen_rows_of_a_stored_set_are_a_set(folder, drawn):
    data = open_dataset(folder)
    rows = np.flatnonzero(drawn["chip"] == "Q1-12")
    part = data.select(rows)
    assert len(part) == rows.size
    np.testing.assert_array_equal(part.labels, drawn.labels[rows])
    np.testing.assert_array_equal(part["snr"], drawn["snr"][rows])
    np.testing.assert_array_equal(part.stamps(np.arange(5)), data.stamps(rows[:5]))
    assert set(part["chip"]) == {"Q1-12"}
    assert part.content_hash() != data.content_hash() != part.select(np.arange(3)).content_hash()
    assert part.content_hash() == data.select(rows[::-1]).content_hash()
    again = part.select(np.arange(2, 4))
    np.testing.assert_array_equal(again["snr"], drawn["snr"][rows[2:4]])
    assert len(data.select(np.empty(0, np.int64))) == 0
    assert len(data) == len(drawn)


def test_chips_with_too_little_have_a_reason(folder):
    data = open_dataset(folder)
    plans = {plan.chip: plan for plan in plan_chips(data, data.split(), OPTIONS.chips)}
    assert list(plans) == sorted(CHIPS)
    assert [bool(plans[chip].reason) for chip in CHIPS] == [False, False, True]
    assert "in the train part; 30 of each are needed" in plans["Q4-44"].reason
    strict = plan_chips(data, data.split(), PerChip(fewest=1, fewest_validation=1000))
    assert all("validation part; 1000 of each" in plan.reason for plan in strict)


def test_a_set_has_a_model_for_each_chip_and_says_why_not(models, folder):
    found = read_set(models)
    assert {chip: entry.own is not None for chip, entry in found.chips.items()} == {
        "Q1-11": True, "Q1-12": True, "Q4-44": False,
    }  # fmt: skip
    assert "30 of each are needed" in found.chips["Q4-44"].reason
    assert found.fallback_from == "trained on the rows of all chips"
    assert {path.name for path in models.iterdir()} == {"models.json", "fallback", "chip_Q1-11", "chip_Q1-12"}
    for chip in ("Q1-11", "Q1-12"):
        card, _ = read_model(models / chip_folder(chip))
        assert card.name == f"tiny {chip}"
        assert card.training["chip"] == chip
        assert found.chips[chip].auc == pytest.approx(card.metrics["test"]["auc"], abs=1e-6)
        assert card.training_data["n"] == sum(1 for c in open_dataset(folder)["chip"] if c == chip)
    assert 0 <= found.chips["Q4-44"].fallback_auc <= 1
    assert found.chips["Q4-44"].auc is None
    assert find_model(models) == models == find_model(models / "models.json")
    assert read_model(models)[0].name == "tiny"
    assert model_hash(models) == set_hash(models)
    assert model_hash(models / "fallback") == read_model(models)[0].weights_hash


def test_each_candidate_is_scored_by_the_model_of_its_chip(models, rng):
    candidates, stamps, _, _ = sample(40, rng)
    chips = np.array(["Q1-11", "Q1-12", "Q4-44", ""] * 10)
    scored = RealBogus(model=str(models))(candidates.with_columns(chip=chips), stamps)
    folders = {"Q1-11": "chip_Q1-11", "Q1-12": "chip_Q1-12", "Q4-44": "fallback", "": "fallback"}
    for chip, name in folders.items():
        rows = chips == chip
        alone = Candidates(candidates.table[rows])
        part = Stamps(stamps.cube[rows], stamps.sigma[rows], stamps.candidate_id[rows])
        expected = RealBogus(model=str(models / name))(alone, part)
        np.testing.assert_allclose(scored["rb_score"][rows], expected["rb_score"], atol=1e-6)
        assert set(scored["rb_model_hash"][rows]) == {expected.table.meta["rb_model_hash"]}
        assert set(scored["rb_threshold"][rows]) == {np.float32(expected.table.meta["rb_threshold"])}
        one = RealBogus(model=str(models))(alone.with_columns(chip=chips[rows]), part)
        for key in ("rb_model", "rb_model_hash", "rb_threshold"):
            assert one.table.meta[key] == expected.table.meta[key]
    assert scored.table.meta["rb_model"] == "tiny 1"
    assert scored.table.meta["rb_model_hash"] == set_hash(models)[:16]
    note = scored.table.meta["rb_chip_note"]
    assert "chip none (its chip is not told), Q4-44 (" in note
    none = Stamps(stamps.cube[:0], stamps.sigma[:0], stamps.candidate_id[:0])
    empty = RealBogus(model=str(models))(Candidates.empty(), none)
    assert len(empty) == 0
    assert {"rb_score", "rb_model", "rb_model_hash", "rb_threshold"} <= set(empty.table.colnames)


def test_a_set_is_judged_and_scores_files_by_chip(models, folder, drawn, split, tmp_path):
    model = load_model(models)
    scores = score_dataset(model, drawn)
    for chip, name in (("Q1-12", "chip_Q1-12"), ("Q4-44", "fallback")):
        rows = np.flatnonzero(drawn["chip"] == chip)
        np.testing.assert_allclose(scores[rows], score_dataset(load_model(models / name), drawn, rows), atol=1e-6)
    limits = thresholds_of_rows(model, drawn, np.arange(len(drawn)))
    assert len(set(limits[drawn["chip"] == "Q1-12"])) == 1
    assert len(set(limits)) == 3
    assert judge(model, drawn, split.test)[1]["n_real"] == int((drawn.labels[split.test] == 1).sum())
    told = []
    summary = score_files([folder], tmp_path / "out.parquet", ScoreFiles(batch_size=50), model=models, tell=told.append)
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "out.parquet")
    np.testing.assert_allclose(table["rb_score"].to_numpy(), scores, atol=1e-5)
    hashes = np.array(table["rb_model_hash"].to_pylist())
    own = read_model(models / "chip_Q1-12")[0].weights_hash[:16]
    np.testing.assert_array_equal(hashes == own, drawn["chip"] == "Q1-12")
    np.testing.assert_allclose(table["rb_threshold"].to_numpy(), limits.astype(np.float32))
    assert summary.models["tiny Q1-12 1"] == int((drawn["chip"] == "Q1-12").sum())
    assert summary.model_hash == set_hash(models)[:16]
    assert len(told) == 1
    np.save(tmp_path / "stamps.npy", drawn.cube[:20].astype(np.float32))
    for chip, name in (("Q1-11", "tiny Q1-11 1"), ("", "tiny 1")):
        summary = score_files(
            [tmp_path / "stamps.npy"], tmp_path / "out.json", ScoreFiles(chip=chip), model=models, overwrite=True
        )
        assert summary.models == {name: 20}
    names = ("science", "reference", "difference")
    planes = {name: drawn.cube[:20, i].astype(np.float32) for i, name in enumerate(names)}
    np.savez(tmp_path / "stamps.npz", **planes, chip=np.array(["Q1-12"] * 20))
    summary = score_files([tmp_path / "stamps.npz"], tmp_path / "out.json", model=models, overwrite=True)
    assert summary.models == {"tiny Q1-12 1": 20}


def test_a_set_is_evaluated_by_its_name_and_the_threshold_of_each_rows_model(models, folder, tmp_path):
    chosen = choose_rows(open_dataset(folder), "test")
    found = score_model(chosen, models)
    assert (found.name, found.facts["hash"]) == ("tiny 1", set_hash(models)[:16])
    chips = np.asarray(chosen.data["chip"])[chosen.rows]
    limits = {}
    for chip in np.unique(chips):
        name = chip_folder(chip) if chip in ("Q1-11", "Q1-12") else "fallback"
        limits[name] = np.float32(read_model(models / name)[0].threshold)
        assert (np.asarray(found.threshold)[chips == chip] == limits[name]).all()
    assert len(set(limits.values())) == 3
    result = measure(chosen, [found], EvaluateOptions(draws=50, figures=False)).models[0]
    called = found.scores >= found.threshold
    assert result.at_threshold.tpr.hits == called[chosen.real].sum()
    assert result.at_threshold.fpr.hits == called[~chosen.real].sum()
    assert [part.tpr.hits for part in result.chips if part.name == "Q1-12"] == [
        (called & chosen.real & (chips == "Q1-12")).sum()
    ]
    assert result.threshold_text == f"{min(limits.values()):.3f} to {max(limits.values()):.3f}, one for each model"
    assert np.isnan(result.at_threshold.threshold)
    with pytest.raises(ConfigError, match="is the set that tiny 1 was trained on"):
        check_training(choose_rows(chosen.data, "train"), found)

    pq.write_table(score_table(chosen, [found]), tmp_path / "scores.parquet")
    again = read_scores(chosen, tmp_path / "scores.parquet")
    assert again.name == "tiny 1"
    np.testing.assert_array_equal(again.threshold, found.threshold)


def test_the_page_of_a_set_names_the_set(models, folder, tmp_path):
    made = write_evaluation(folder, tmp_path / "page", EvaluateOptions(draws=50), models=[models])
    text = made.page.read_text()
    assert "one for each model" in text
    assert "tiny 1" in text
    facts = json.loads((tmp_path / "page" / "evaluation.json").read_text())["models"][0]
    assert facts["threshold"] is None
    assert facts["threshold_text"] == made.results.models[0].threshold_text
    assert facts["facts"]["fallback"].startswith("tiny 1: trained on")


def test_one_changed_byte_anywhere_in_a_set_is_refused(copied, rng):
    assert "the models of 2 chips of the set" in verify_model(copied)[1]
    card = copied / "chip_Q1-12" / "card.json"
    text = card.read_text()
    card.write_text(text.replace('"threshold": 0', '"threshold": 0.', 1))
    with pytest.raises(ModelError, match=r"chip_Q1-12/card\.json was changed since the set was made"):
        verify_model(copied)
    card.write_text(text)
    weights = (copied / "chip_Q1-12" / "model.onnx").read_bytes()
    (copied / "chip_Q1-12" / "model.onnx").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        verify_model(copied)
    candidates, stamps, _, _ = sample(4, rng)
    loaded_module._kept.cache_clear()  # a sound model that is in memory goes on
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        RealBogus(model=str(copied))(candidates.with_columns(chip=np.full(4, "Q1-12")), stamps)
    shutil.rmtree(copied / "fallback")
    with pytest.raises(ModelError, match=r"lacks fallback/card\.json"):
        load_model(copied)
    (copied / "models.json").write_text("{}")
    with pytest.raises(ModelError, match="is not the list of a set of models"):
        load_model(copied)


def test_lists_that_make_no_sense_are_refused(copied):
    values = json.loads((copied / "models.json").read_text())
    for change, match in (
        (lambda v: v["fallback"].update(folder="../elsewhere"), "fallback.folder"),
        (lambda v: v["chips"]["Q4-44"].update(reason=""), "a model of its own, or a reason"),
        (lambda v: v["chips"]["Q1-11"].update(reason="both"), "a model of its own, or a reason"),
    ):
        wrong = json.loads(json.dumps(values))
        change(wrong)
        (copied / "models.json").write_text(json.dumps(wrong))
        with pytest.raises(ModelError, match=match):
            read_set(copied)
    swapped = json.loads(json.dumps(values))
    swapped["chips"]["Q1-11"]["own"]["weights_hash"] = "0" * 64
    (copied / "models.json").write_text(json.dumps(swapped))
    with pytest.raises(ModelError, match="is not the one that was put there"):
        model_of_chip(load_model(copied), "Q1-11")
    assert chip_folder("a/b") != chip_folder("a%2Fb")
    assert "/" not in chip_folder("../x/y")


def test_a_stopped_run_goes_on_and_makes_the_same_set(models, folder, copied):
    before = (copied / "models.json").read_bytes()
    (copied / "models.json").unlink()
    shutil.rmtree(copied / "chip_Q1-12")
    (copied / ".chip_Q1-12.part").mkdir()
    (copied / ".chip_Q1-12.part" / "model.onnx").write_bytes(b"half")
    kept = (copied / "chip_Q1-11" / "model.onnx").stat().st_mtime_ns
    seen = []
    train_per_chip(OPTIONS, folder, copied, progress=lambda *told: seen.append(told))
    assert (copied / "chip_Q1-11" / "model.onnx").stat().st_mtime_ns == kept
    assert (copied / "models.json").read_bytes() == before
    assert seen == [("chips", i, 3) for i in (1, 2, 3)]
    assert not list(copied.glob(".*"))
    other = OPTIONS.model_copy(update={"train": QUICK.model_copy(update={"seed": 7})})
    with pytest.raises(OutputError, match="holds a model of other options, other rows or another version"):
        train_per_chip(other, folder, copied)
    faster = OPTIONS.model_copy(update={"train": QUICK.model_copy(update={"threads": 2})})
    train_per_chip(faster, folder, copied)


def test_more_processes_make_the_same_set(models, folder, tmp_path):
    from gueststar.night.pool import ProcessMap

    with ProcessMap(2, lost=lost_chip) as pool:
        train_per_chip(OPTIONS, folder, tmp_path / "set", mapper=pool, fallback=str(models / "fallback"))
    first, second = read_set(models), read_set(tmp_path / "set")
    assert first.chips == second.chips
    assert second.fallback_from == "tiny 1, as given"


def test_a_chip_whose_training_fails_is_served_by_the_fallback(folder, tmp_path, models):
    wild = OPTIONS.model_copy(update={"train": QUICK.model_copy(update={"learning_rate": 1.0, "weight_decay": 10.0})})
    task = ChipTask("Q1-11", "", wild, folder, (), tmp_path, None)
    assert "process that trained it died" in lost_chip(task).reason
    assert lost_chip(replace(task, reason="few")).reason == "few"

    def astray(function, tasks):
        from gueststar.training import per_chip as module

        def fails(*_, **__):
            raise InputError("training went astray")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "train_stored", fails)
            yield from map(module.train_chip, tasks)

    made = train_per_chip(OPTIONS, folder, tmp_path / "set", fallback=str(models / "fallback"), mapper=astray)
    assert made.chips["Q1-11"].reason == "its training failed: training went astray"
    assert made.chips["Q1-11"].fallback_auc is not None


def test_a_model_that_was_trained_further_tells_what_the_one_of_before_has_seen(models, folder, drawn, tmp_path):
    base = models / "fallback"
    names = {name: np.char.add("new ", drawn[name]) for name in ("tile", "night", "reference")}
    fresh = replace(drawn, columns={**drawn.columns, **names})
    told = []
    for name, rows in (("fresh", fresh), ("mixed", _test_part_of(drawn, fresh))):
        data = open_dataset(stored_set(rows, tmp_path / name))
        options = OPTIONS.model_copy(update={"finetune": FineTune(part="all")})
        train_stored(options, data, tmp_path / f"{name}_model", base=base, watch=Watch(tell=told.append))
    # The training part of the set of before stands as test part in one of the two.
    assert [text for text in told if "has seen" in text] == [
        "tiny 1 has seen 12 tile value(s), such as pair000, 12 night value(s), such as pair000, 12 reference value(s), "
        "such as pair000 of the test part: its figures may be too good. Take --test with a set of other frames"
    ]
    card, _ = read_model(tmp_path / "fresh_model")
    before = open_dataset(folder)
    assert was_trained_on(card.training_data, before)
    assert was_trained_on(card.training_data, open_dataset(tmp_path / "fresh"))
    assert not was_trained_on(read_model(base)[0].training_data, open_dataset(tmp_path / "fresh"))
    assert seen_groups(card.training_data, {"tile": ["pair000", "new pair000", "pair999"]}) == {
        "tile": ["pair000", "new pair000"]
    }
    with pytest.raises(InputError, match="is the set that the model was trained on"):
        measure_model(tmp_path / "fresh_model", {"mine": before}, tmp_path / "measured")
    code, text = run("model", "show", tmp_path / "fresh_model")
    assert code == 0
    assert "what tiny 1 was; from there on, every layer: train:" in text


def _test_part_of(old, new):
    """The rows of `new` with the training rows of `old` as their test part."""
    first, rest = np.flatnonzero(old["split"] == "train"), np.flatnonzero(new["split"] != "test")
    both = {name: np.concatenate((value[rest], old.columns[name][first])) for name, value in new.columns.items()}
    both["split"] = np.append(new["split"][rest], np.repeat("test", first.size))
    return replace(
        new, cube=np.concatenate((new.cube[rest], old.cube[first])), columns=both,
        sigma=np.concatenate((new.sigma[rest], old.sigma[first])),
    )  # fmt: skip


def test_sets_are_fine_tuned_from_one_model(models, folder, tmp_path):
    base = models / "fallback"
    made = train_per_chip(OPTIONS, folder, tmp_path / "set", base=base)
    assert made.fallback_from == "tiny 1, the model that each chip started from"
    card, _ = read_model(tmp_path / "set" / "chip_Q1-12")
    assert card.training["finetune"]["from_hash"] == read_model(base)[0].weights_hash
    assert made.fallback.weights_hash == read_model(base)[0].weights_hash
    with pytest.raises(ConfigError, match="a model that is trained further believes all labels"):
        train_stored(
            OPTIONS.model_copy(update={"label_noise": LabelNoise(method="coteach")}), open_dataset(folder),
            tmp_path / "one", base=base,
        )  # fmt: skip


def test_fallbacks_that_do_not_fit_are_refused(models, folder, tmp_path):
    wide = OPTIONS.model_copy(update={"train": QUICK.model_copy(update={"stamp_size": 33})})
    with pytest.raises(ConfigError, match=r"takes stamps of 31 px .* they must agree"):
        train_per_chip(wide, folder, tmp_path / "set", fallback=str(models / "fallback"))
    (tmp_path / "one").mkdir()
    shutil.copytree(models / "chip_Q1-11", tmp_path / "one" / "fallback")
    with pytest.raises(OutputError, match="holds another model than"):
        train_per_chip(OPTIONS, folder, tmp_path / "one", fallback=str(models / "chip_Q1-12"))


def test_a_store_holds_sets_too(models, tmp_path, capsys):
    store = tmp_path / "store"
    shutil.copytree(models, store / "mine")
    shutil.copytree(models / "fallback", store / "one")
    promote(store, "one")
    promote(store, "mine")
    assert find_model(store) == store / "mine"
    assert load_model(store).members is not None
    entries = {entry.folder: entry for entry in list_models(store)}
    assert entries["mine"].models == read_set(models)
    assert entries["one"].models is None
    code, text = run("model", "list", "--store", store)
    assert code == 0
    assert "tiny 1, 2 of 3" in text
    code, text = run("model", "show", "mine", "--store", store)
    assert code == 0
    assert "2 of 3 chips have their own" in text
    assert "fallback:" in text
    assert "can be trained further" in text
    code, text = run("model", "verify", "mine", "--store", store)
    assert (code, "models of 2 chips" in text) == (0, True)
    (store / "mine" / "models.json").write_text((store / "mine" / "models.json").read_text() + " ")
    with pytest.raises(ModelError, match=r"models\.json was changed since the model was promoted"):
        find_model(store)
    assert rollback(store).folder == "one"


def test_commands_train_shared_per_chip_and_further(folder, tmp_path, monkeypatch):
    common = ("--data", folder, "--epochs", 1, "--set", "train.batch_size=50")
    code, text = run("train", *common, "--out", tmp_path / "film", "--shared")
    assert code == 0, text
    assert read_model(tmp_path / "film")[0].chips == tuple(sorted(CHIPS))
    few = ("--set", "chips.fewest=30", "--set", "chips.fewest_validation=10", "--workers", 1)
    monkeypatch.setattr("gueststar.realbogus.train_options.slow_precision", lambda _: "half the bits are slow here")
    code, text = run(
        "train", *common, *few, "--out", tmp_path / "set", "--per", "chip", "--finetune", tmp_path / "film"
    )
    assert code == 0, text
    assert "2 of 3 chips have their own" in text
    assert text.count("half the bits are slow here") == 1
    assert "AUC fallback" in text
    assert read_model(tmp_path / "set" / "chip_Q1-11")[0].chips == tuple(sorted(CHIPS))
    code, text = run(
        "train", *common, "--out", tmp_path / "more", "--finetune", tmp_path / "film", "--set", "finetune.rows=60",
        "--set", "finetune.part=head+film",
    )  # fmt: skip
    assert code == 0, text
    assert read_model(tmp_path / "more")[0].training["finetune"]["rows"] == 60


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--per", "night", "--data", "x"), "--per night: models are trained per chip"),
        (("--per", "chip"), "--per needs a data set; give one with --data"),
        (("--shared",), "--shared needs a data set"),
        (("--finetune", "shipped"), "--finetune needs a data set"),
        (("--fallback", "all", "--data", "x"), "--fallback is of a set of models; give --per chip"),
        (("--shared", "--finetune", "shipped", "--data", "x"), "give one of both"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, match):
    code, text = run("train", *words)
    assert code != 0
    assert match in text
