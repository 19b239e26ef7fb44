"""Scores as chances: the fit finds what was drawn, priors move as Bayes says, new versions take the same decisions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.errors import InputError
from gueststar.realbogus.calibrate import (
    calibration_error,
    chance,
    fit_calibration,
    move_threshold,
    population_weights,
    reliability,
    score_meaning,
    with_prior,
)
from gueststar.realbogus.card import read_model, write_model
from gueststar.realbogus.lineage import fitted_here
from gueststar.realbogus.loaded import LoadedModel, with_views
from gueststar.realbogus.package import judge, logits_dataset, score_dataset
from gueststar.realbogus.recalibrate import calibrate_model, dataset_parts, next_version, rows_for
from gueststar.realbogus.reliability_figure import reliability_figure
from gueststar.realbogus.rethreshold import choose_threshold
from gueststar.realbogus.score import RealBogus, load_model
from gueststar.realbogus.store import verify_model
from gueststar.realbogus.stored import open_dataset
from realbogus_models import model_and_set
from realbogus_stamps import sample

runner = CliRunner()


def drawn_logits(rng, n=40000, *, temperature=1.7, offset=-0.6):
    z = rng.normal(0.5, 4.0, n)
    return z, rng.random(n) < 1 / (1 + np.exp(-(z / temperature + offset)))


def test_the_fit_finds_the_temperature_and_offset_that_were_drawn(rng):
    z, real = drawn_logits(rng)
    fit = fit_calibration(real, z, np.ones(z.size))
    assert fit.temperature == pytest.approx(1.7, abs=0.06)
    assert fit.bias == pytest.approx(-0.6, abs=0.06)
    assert fit.loss_after < fit.loss_before
    alone = fit_calibration(real, z, np.ones(z.size), bias=False)
    assert alone.bias == 0.0
    images = rng.integers(0, 200, z.size)
    good = chance(z, temperature=fit.temperature, bias=fit.bias)
    before, after = (calibration_error(real, s, np.ones(z.size), images, rng=rng) for s in (chance(z), good))
    assert after.ece < 0.01 < 0.03 < before.low
    assert after.low <= after.high
    assert after.images == 200
    mean, share, spread = reliability(real, good, np.ones(z.size))
    assert np.abs((share - mean) / spread).max() < 4.5


def test_separable_rows_have_a_finite_fit(rng):
    z = rng.normal(0, 1, 400)
    fit = fit_calibration(z > 0, z * 5, np.ones(400))
    assert 0.05 <= fit.temperature < 1.0
    assert np.isfinite(fit.bias)


def test_a_prior_moves_chances_as_bayes_says(rng):
    # Two Gaussians of unit width: the log odds are known, at any prior.
    for prior in (0.5, 0.02):
        real = rng.random(200_000) < prior
        x = rng.normal(real * 2.0, 1.0)
        scores = chance(2.0 * x - 2.0, prior=prior)
        error = calibration_error(real, scores, np.ones(real.size), np.arange(real.size) % 50, rng=rng, n_boot=50)
        assert error.ece < 0.004
        wrong = calibration_error(real, chance(2.0 * x - 2.0, prior=0.2), np.ones(real.size), real * 1, rng=rng)
        assert wrong.ece > 0.03
    assert chance(np.array([-np.inf]), prior=0.9)[0] == 0.0


def test_weights_make_the_population(rng):
    labels = (rng.random(20000) < 0.2).astype(np.int8)
    snr = np.where(labels == 1, rng.uniform(5, 50, 20000), rng.uniform(5, 20, 20000))
    for population, prior in (("snr", 0.5), ("class", 0.1)):
        weights = population_weights(labels, -snr, population, prior=prior)
        inside = snr < 20
        share = np.average(labels[inside], weights=weights[inside])
        if population == "snr":
            assert share == pytest.approx(0.5, abs=0.06)
        else:
            assert np.average(labels, weights=weights) == pytest.approx(0.1)


def test_a_threshold_that_moves_takes_the_same_decisions(rng):
    z = rng.normal(0, 4, 5000).astype(np.float32)
    old, new = (1.0, 0.0, 0.5), (1.6, -0.4, 0.003)
    scores = [chance(z, temperature=t, bias=b, prior=p).astype(np.float32) for t, b, p in (old, new)]
    for threshold in (float(scores[0][7]), 0.2, 0.97):
        moved = move_threshold(threshold, old, new)
        np.testing.assert_array_equal(scores[0] >= np.float32(threshold), scores[1] >= np.float32(moved))
    assert move_threshold(0.0, old, new) == 0.0
    assert move_threshold(0.3, old, old) == 0.3


def test_what_cannot_be_calibrated_is_told():
    z = np.zeros(4)
    with pytest.raises(InputError, match="both are needed to calibrate"):
        fit_calibration(np.ones(4, bool), z, np.ones(4))
    with pytest.raises(InputError, match="2 logits are not numbers"):
        fit_calibration(np.arange(4) > 1, np.array([0, np.nan, np.inf, 1]), np.ones(4))
    with pytest.raises(InputError, match="one of snr, class"):
        population_weights(np.array([0, 1]), z[:2], "set")
    with pytest.raises(InputError, match="no rows"):
        calibration_error(z[:0], z[:0], z[:0], z[:0], rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"prior 1\.5"):
        chance(z, prior=1.5)


def test_versions_and_meanings():
    assert next_version("1", "cal") == "1-cal1"
    assert next_version("1-cal1", "cal") == "1-cal2"
    assert next_version("1-cal2", "thr") == "1-cal2-thr1"
    assert "as many reals as artifacts at every signal to noise" in score_meaning("snr")
    assert "a share of 0.001 reals;" in score_meaning("class", 0.001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_and_set(tmp_path_factory.mktemp("calibrate"))


def test_training_fits_on_the_validation_part_and_says_for_whom(folder):
    card, _ = read_model(folder / "model")
    assert (card.temperature, card.bias) != (1.0, 0.0)
    assert card.prior == 0.5
    assert card.calibration["population"] == "snr"
    assert card.calibration["loss_after"] <= card.calibration["loss_before"]
    assert "as many reals as artifacts at every signal to noise" in card.score_meaning
    data = open_dataset(folder / "set")
    assert judge(load_model(folder / "model"), data)[1]["calibration"]["n"] == 700


def test_a_calibrated_model_is_a_new_version_with_the_same_decisions(folder, tmp_path):
    model, data = load_model(folder / "model"), open_dataset(folder / "set")
    made = calibrate_model(model, data, prior=0.01)
    card = made.card
    assert card.version == "1-cal1"
    assert (card.prior, card.weights_hash) == (0.01, model.card.weights_hash)
    assert card.caveats == ("drawn",)
    facts = card.calibration
    assert facts["fitted"] == "validation part, judged on the test part"
    assert facts["error_after"]["n"] == made.judged.real.size == (data["split"] == "test").sum()
    assert made.after.ece < made.before.ece + 0.03
    rows = np.arange(len(data))
    write_model(tmp_path / "new", card, read_model(folder / "model")[1])
    new = load_model(tmp_path / "new")
    old_scores, scores = (score_dataset(one, data, rows) for one in (model, new))
    np.testing.assert_array_equal(old_scores >= np.float32(model.card.threshold), scores >= np.float32(card.threshold))
    expected = chance(logits_dataset(new, data, rows), temperature=card.temperature, bias=card.bias, prior=0.01)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert verify_model(tmp_path / "new")[0] == card
    assert len(reliability_figure(made).axes) == 3
    again = calibrate_model(new, data, part="train", version="x", population="class", bias=False)
    assert again.card.version == "x"
    assert (again.card.bias, again.card.prior) == (0.0, 0.01)
    assert again.card.calibration["fitted"].startswith("half of the nights of the train part")
    told = {part: fitted_here(again.card, data, part) for part in ("train", "validation", "test", "all")}
    assert told["train"] == told["all"] == {"calibration": again.card.calibration["fitted"]}
    assert told["validation"] == told["test"] == {}
    assert fitted_here(model.card, data, "all") == {}, "training chose its own on a part that is known as trained on"


@pytest.mark.parametrize("views", [1, 8])
def test_another_number_of_looks_has_a_threshold_of_its_own(folder, views):
    model, data = load_model(folder / "model"), open_dataset(folder / "set")
    assert model.card.views == 4
    made = calibrate_model(model, data, part="validation", check="test", views=views)
    rows = dataset_parts(data)["validation"]
    looking = LoadedModel(made.card, model.session)
    scores, real = score_dataset(looking, data, rows), data.labels[rows] == 1
    assert made.card.views == views
    assert (scores[real] >= made.card.threshold).mean() == pytest.approx(0.98, abs=0.02)
    assert "that the calibration was fitted on" in made.card.threshold_meaning
    first = logits_dataset(with_views(model, 1), data, rows[real])
    assert (first > made.card.views_from).mean() == pytest.approx(0.99, abs=0.02)
    assert not np.array_equal(made.judged.logits, made.judged_before.logits)
    np.testing.assert_array_equal(made.judged.real, made.judged_before.real)
    test = dataset_parts(data)["test"]
    np.testing.assert_allclose(made.judged.logits, logits_dataset(looking, data, test), atol=1e-6)
    same = calibrate_model(model, data, part="validation", check="test", views=4)
    assert same.card.threshold_meaning == model.card.threshold_meaning
    assert same.card.views_from == model.card.views_from


def test_a_prior_can_be_given_when_scoring(folder, rng):
    candidates, stamps, _, _ = sample(30, rng, size=33)
    first, second = (RealBogus(model=str(folder / "model"), prior=prior)(candidates, stamps) for prior in (None, 1e-3))
    assert (second["rb_score"] < first["rb_score"]).all()
    called = [one["rb_score"] >= np.float32(one.table.meta["rb_threshold"]) for one in (first, second)]
    np.testing.assert_array_equal(*called)
    card = load_model(folder / "model").card
    assert with_prior(card, card.prior) is card
    with pytest.raises(InputError, match="prior 0"):
        with_prior(card, 0.0)


def test_parts_are_kept_apart(folder):
    data, card = open_dataset(folder / "set"), load_model(folder / "model").card
    fit, check, how = rows_for(data, card, part="all", check=None, seed=0)
    assert not set(data["night"][fit]) & set(data["night"][check])
    assert "half of the nights" in how
    own = card.model_copy(update={"training_data": {"hash": data.content_hash()}})
    with pytest.raises(InputError, match="was trained on part 'train'"):
        rows_for(data, own, part="train", check=None, seed=0)
    with pytest.raises(InputError, match="part 'half': one of train"):
        rows_for(data, card, part="half", check=None, seed=0)
    with pytest.raises(InputError, match="shares rows"):
        rows_for(data, card, part="all", check="test", seed=0)
    assert sum(rows.size for name, rows in dataset_parts(data).items() if name != "all") == len(data)


class _View:
    """Some rows of a set."""

    def __init__(self, data, rows):
        self.data, self.rows, self.labels = data, rows, data.labels[rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, name):
        return self.data[name][self.rows]

    def content_hash(self):
        return "view"


def test_one_night_or_one_class_cannot_be_judged(folder):
    data, card = open_dataset(folder / "set"), load_model(folder / "model").card
    night = np.flatnonzero(data["night"] == data["night"][0])
    with pytest.raises(InputError, match="is of one night"):
        rows_for(_View(data, night), card, part="train", check=None, seed=0)
    with pytest.raises(InputError, match="reals and artifacts, not both"):
        rows_for(_View(data, np.flatnonzero(data.labels == 1)), card, part="train", check=None, seed=0)


def test_thresholds_are_chosen_on_one_part_and_judged_on_another(folder):
    model, data = load_model(folder / "model"), open_dataset(folder / "set")
    made = choose_threshold(model, data, tpr=0.97, part="train", check="test")
    assert made.card.version == "1-thr1"
    assert made.card.threshold == made.threshold.value
    assert "judged on the test part" in made.card.threshold_meaning
    everything, *strata = made.reached
    rows = dataset_parts(data)["test"]
    scores = score_dataset(model, data, rows)
    real = data.labels[rows] == 1
    assert everything.tpr.hits == (scores[real] >= np.float32(made.threshold.value)).sum()
    assert everything.fpr.trials == (~real).sum()
    assert any(one.threshold is None for one in strata)  # S/N > 40 has too few
    assert json.dumps(made.card.metrics["threshold"])
    assert list(fitted_here(made.card, data, "train")) == ["threshold"]
    assert fitted_here(made.card, data, "test") == {}
    loose = choose_threshold(model, data, fpr=0.3, part="train", check="test")
    nightly = choose_threshold(model, data, per_night=30, candidates=100, part="train", check="test")
    assert loose.threshold.value == nightly.threshold.value
    with pytest.raises(InputError, match="give one of them"):
        choose_threshold(model, data, tpr=0.9, fpr=0.1)
    with pytest.raises(InputError, match="--per-night and --candidates together"):
        choose_threshold(model, data, per_night=3)


def test_the_commands(folder, tmp_path):
    model, data = str(folder / "model"), str(folder / "set")
    command = ["calibrate", model, "--data", data, "--prior", "0.01", "--out", str(tmp_path / "new")]
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "calibration error before" in done.output
    assert (tmp_path / "new" / "reliability.png").stat().st_size > 10_000
    assert runner.invoke(app, command).exit_code == 1  # never overwritten
    command = ["model", "threshold", str(tmp_path / "new"), "--data", data, "--tpr", "0.9"]
    assert runner.invoke(app, [*command, "--out", str(tmp_path / "strict")]).exit_code == 0
    assert read_model(tmp_path / "strict")[0].version == "1-cal1-thr1"
    shown = runner.invoke(app, ["model", "show", str(tmp_path / "strict")])
    assert "prior 0.01" in shown.output
