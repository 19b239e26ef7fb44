"""Training sets through the whole chain: truth comes back as labels, groups stay whole, one call makes a model."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import InputError, OutputError
from gueststar.quality import Quality
from gueststar.realbogus.card import read_model
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.score import load_model
from gueststar.realbogus.train import Train
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.training import (
    Training,
    TrainingSet,
    make,
    make_and_train,
    make_training_set,
    real_pairs,
    simulated_rows,
    split_set,
    train_model,
)
from gueststar.training.chains import Chain, training_survey, vary_faults, worse_chain
from small_pairs import SURVEY, small_pairs

SMALL = TrainingSet(**small_pairs(), real_passes=3)


@pytest.fixture(scope="module")
def rows():
    pieces, failures = simulated_rows(SMALL, 0)
    assert not failures
    return pieces


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_training_set(SMALL, tmp_path_factory.mktemp("sets") / "small")


@pytest.fixture(scope="module")
def frames():
    pair = simulate_pair(Survey(galactic_latitude_deg=(14.0, 20.0)), seed=5, shape=(300, 320))
    return [pair.science.image(), pair.reference.image()]


def test_most_injected_sources_come_back_as_reals_of_both_signs(rows):
    for piece in rows:
        injected = np.isin(piece["kind"], ["injected", "faded"])
        assert 6 <= injected.sum() <= SMALL.injected
        # A cosmic ray on top makes one of them neither.
        assert (piece.labels[injected] != 0).all()
        assert (piece.labels[injected] == 1).mean() > 0.8
        assert np.median(np.abs(piece["snr"] / piece["true_snr"])[injected]) == pytest.approx(1.0, abs=0.25)
    joined = np.concatenate([piece["kind"] for piece in rows])
    faded = np.concatenate([piece["flux"] for piece in rows])[joined == "faded"]
    assert faded.size
    assert (faded < 0).all()
    assert np.isin(joined, ["supernova", "hostless", "asteroid"]).any()


def test_reals_are_centred_and_measured_numbers_are_there(rows):
    real = rows[0].select(rows[0].labels == 1)
    centre = SMALL.stamp_size // 2
    core = np.asarray(real.cube[:, 2, centre - 1 : centre + 2, centre - 1 : centre + 2], np.float64).sum((1, 2))
    assert (np.sign(core) == np.sign(real["flux"])).mean() > 0.9
    assert real.cube.shape[-1] == SMALL.stamp_size
    assert np.isfinite(real["snr"]).all()


def test_the_same_number_gives_the_same_rows_and_another_another(rows, made):
    again, _ = simulated_rows(SMALL, 0)
    assert [piece.content_hash() for piece in again] == [piece.content_hash() for piece in rows]
    assert len(np.unique(made["candidate_id"])) > 0.9 * len(made)


def test_all_passes_of_a_pair_are_one_group(rows):
    assert [piece["chain"][0] == "default" for piece in rows] == [True, False]
    assert len({piece[name][0] for piece in rows for name in ("tile", "night", "reference")}) == 1


def test_artifacts_of_one_pass_are_bounded(rows):
    few, _ = simulated_rows(SMALL.model_copy(update={"artifacts_most": 3}), 0)
    for piece, all_of_it in zip(few, rows, strict=True):
        assert (piece.labels == 0).sum() == min(3, (all_of_it.labels == 0).sum())
        assert (piece.labels == 1).sum() == (all_of_it.labels == 1).sum()


def test_the_set_says_how_it_was_made(made):
    assert made.facts["options"]["seed"] == 3
    assert made.facts["n"] == len(made)
    assert made.facts["hash"] == made.content_hash()
    assert len(np.unique(made["tile"])) == 4
    assert (made.labels == 1).sum() > 30
    assert (made.labels == 0).sum() > 10


def test_more_workers_make_the_same_set(made, tmp_path):
    parallel = make_training_set(SMALL.model_copy(update={"workers": 2, "n_pairs": 2}), tmp_path / "set")
    first_two = np.isin(made["tile"], ["simulated-3-0", "simulated-3-1"])
    assert parallel.content_hash() == made.select(first_two).content_hash()


def test_frames_without_stars_are_left_out_and_told(tmp_path):
    empty = SMALL.model_copy(
        update={"n_pairs": 1, "survey": SURVEY.model_copy(update={"star_density": 0.0, "galaxy_density": 0.0})}
    )
    pieces, failures = simulated_rows(empty, 0)
    assert not pieces
    assert len(failures) == 2
    assert "Error with default" in failures[0]
    with pytest.raises(InputError, match="no stamps at all"):
        make_training_set(empty, tmp_path / "none")


def test_rejected_images_train_nothing(monkeypatch):
    strict = Quality(width_ratio=0.01)
    monkeypatch.setattr(make, "Chain", lambda: Chain(quality=strict))
    pieces, failures = simulated_rows(SMALL.model_copy(update={"worse_passes": 0}), 0)
    assert not pieces
    assert failures[0].startswith("QualityError with default: the image trains nothing: wide PSF")


def test_real_frames_are_paired_within_their_field(frames):
    pairs = real_pairs({"a": frames, "b": frames[:1]}, SMALL, partners={"b": frames[1:]})
    assert [(pair.field, pair.number, pair.again) for pair in pairs] == [
        ("a", 0, False), ("a", 1, False), ("a", 2, True), ("b", 0, False), ("b", 1, True), ("b", 2, True),
    ]  # fmt: skip
    assert all(pair.science.image_id != pair.reference.image_id for pair in pairs)
    assert {pair.science.image_id for pair in pairs[3:]} == {frames[0].image_id}
    with pytest.raises(InputError, match="field 'b' has 1 frame"):
        real_pairs({"b": frames[:1]}, SMALL)


def test_one_call_makes_a_model_and_real_fields_are_trained_on_only(frames, tmp_path):
    options = Training(name="tiny", data=SMALL, train=Train(epochs=1, batch_size=64))
    seen = []
    card = make_and_train(
        options,
        tmp_path / "model",
        real_images={"field": frames},
        held_out_images={"other": frames},
        progress=lambda stage, done, total: seen.append((stage, done == total)),
    )
    assert {("pairs", True), ("held-out pairs", True), ("train", True)} <= set(seen)
    assert (tmp_path / "model" / "roc.png").stat().st_size > 10_000
    assert load_model(tmp_path / "model").card.name == read_model(tmp_path / "model")[0].name == "tiny"
    assert set(card.metrics) == {"simulated", "simulated_default_chain", "real_other"}
    assert card.metrics["real_other"]["name"].startswith("other: field never seen")
    dataset = Dataset.load(tmp_path / "model" / "training_set")
    split = split_set(dataset, seed=3)
    assert set(dataset["source"][split.train]) == {"simulated", "field"}
    assert set(dataset["source"][split.test]) == set(dataset["source"][split.validation]) == {"simulated"}
    with pytest.raises(OutputError, match="holds a model already"):
        make_and_train(options, tmp_path / "model")


def test_a_set_of_real_frames_alone_cannot_be_judged(made, tmp_path):
    real = Dataset(made.cube, made.sigma, {**made.columns, "source": np.full(len(made), "field")}, {})
    with pytest.raises(InputError, match="needs simulated pairs"):
        train_model(Training(), real, tmp_path)


def test_every_worse_chain_is_worse_and_says_how(rng):
    names = set()
    for _ in range(60):
        chain = worse_chain(rng)
        names.add(chain.name)
        default = Chain()
        assert chain.name
        changed = (chain.align.order, chain.subtract.order, chain.subtract.radius_px, chain.detect, chain.ingest)
        assert changed != (3, 2, 0, default.detect, default.ingest)
        assert ("rays" in chain.name) == (not chain.ingest.cosmic_rays.enabled)
    assert len(names) > 10


def test_faults_vary_within_their_factor(rng):
    drawn = [vary_faults(SURVEY, 3.0, rng) for _ in range(50)]
    wobble = np.array([survey.wobble_px for survey in drawn]) / SURVEY.wobble_px
    assert wobble.min() >= 1 / 3.001
    assert wobble.max() <= 3.001
    assert wobble.std() > 0.3
    assert vary_faults(SURVEY, 1.0, rng) == SURVEY


def test_a_file_that_names_some_fields_of_the_survey_leaves_the_others_as_they_are_in_training():
    read = TrainingSet.model_validate({"survey": {"pattern_e": 2.0}})
    assert read.survey == training_survey().model_copy(update={"pattern_e": 2.0})
    assert TrainingSet.model_validate(read.model_dump()) == read
    with pytest.raises(ValueError, match="no_such_field"):
        TrainingSet.model_validate({"survey": {"no_such_field": 1}})
