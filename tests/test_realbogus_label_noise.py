"""Training with wrong labels: only artifacts are doubted, the most real-like first, and it pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import Card
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.label_noise import LabelNoise, flagged, train_robust, two_stage
from gueststar.realbogus.label_noise.corrected import CorrectedLoop, corrected_losses
from gueststar.realbogus.label_noise.flagged import flag, folds_of, without
from gueststar.realbogus.label_noise.forget import LARGEST_RATE, estimate_contamination, ramp
from gueststar.realbogus.label_noise.shares import Shares
from gueststar.realbogus.label_noise.two_stage import smoothness
from gueststar.realbogus.loaded import open_model
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.network import MeanNet, RealBogusNet
from gueststar.realbogus.package import describe_model, score_dataset
from gueststar.realbogus.scalars import DEFAULT_SCALARS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.train import Train, new_network, predict, train_network
from gueststar.realbogus.training_rows import prepare
from realbogus_stamps import dataset

METHODS = ("naive", "correct", "coteach", "ensemble", "drop-flagged", "two-stage")
SHORT = Train(epochs=2, batch_size=64, stamp_size=21)
FEW = {"folds": 2, "ramp_epochs": 1, "flag_above": 0.9}


@pytest.fixture(scope="module")
def drawn():
    return dataset(320, np.random.default_rng(21), size=23)


@pytest.fixture(scope="module")
def split(drawn):
    return split_groups(drawn.columns, rng=np.random.default_rng(0))


def relabelled(data, labels):
    return Dataset(data.cube, data.sigma, {**data.columns, "label": labels.astype(np.int8)}, data.facts)


# Which rows, and how many


@pytest.fixture
def shares(drawn, split):
    return Shares(prepare(drawn, split, SHORT), 0.3)


def test_in_every_interval_the_artifacts_that_score_highest_are_left_out(drawn, split, shares, rng):
    part = split.train
    logits = rng.normal(size=part.size)
    marked = shares.most_real("train", part, logits)
    real, interval = drawn.labels[part] == 1, shares.interval[part]
    assert not marked[real].any()
    for number in range(12):
        own = ~real & (interval == number)
        assert marked[own].sum() == min(np.floor(shares.values["train"][number] * own.sum() + 0.5), own.sum() - 1)
        if marked[own].any():
            assert logits[own & marked].min() > logits[own & ~marked].max()
    assert shares.most_real("train", part, logits, ramp=0.5).sum() == pytest.approx(marked.sum() / 2, abs=6)


def test_a_real_is_never_left_out_and_one_artifact_stays(drawn, split, shares):
    shares.values["train"] = np.full(12, 1.0)
    marked = shares.most_real("train", split.train, np.zeros(split.train.size))
    real, interval = drawn.labels[split.train] == 1, shares.interval[split.train]
    assert not marked[real].any()
    assert all((~marked[~real & (interval == number)]).sum() == 1 for number in np.unique(interval[~real]))
    shares.values["train"] = np.zeros(12)
    assert not shares.most_real("train", split.train, np.zeros(split.train.size)).any()


def test_equal_scores_are_left_out_in_their_order(drawn, split, shares):
    shares.values["train"] = np.full(12, 0.5)
    marked = shares.most_real("train", split.train, np.zeros(split.train.size))
    for number in range(12):
        own = np.flatnonzero((drawn.labels[split.train] == 0) & (shares.interval[split.train] == number))
        assert not np.diff(marked[own].astype(int)).max(initial=0) > 0


def test_what_is_left_of_the_artifacts_of_an_interval_weighs_what_all_did(drawn, split, shares, rng):
    part, before = split.train, shares.rows.weights.copy()
    marked = shares.most_real("train", part, rng.normal(size=part.size))
    kept = shares.kept_weights(part, marked)
    np.testing.assert_array_equal(shares.rows.weights, before)
    real, interval = drawn.labels[part] == 1, shares.interval[part]
    assert (kept[marked] == 0).all()
    np.testing.assert_allclose(kept[real], before[part][real], rtol=1e-6)
    for number in range(12):
        own = ~real & (interval == number)
        assert kept[own].sum() == pytest.approx(before[part][own].sum(), rel=1e-5)


def test_given_shares_have_the_signal_to_noise_of_reals(drawn, split, shares):
    part = split.train
    real, interval = drawn.labels[part] == 1, shares.interval[part]
    reals, artifacts = (np.bincount(interval[own], minlength=12) for own in (real, ~real))
    expected = 0.3 * artifacts.sum() * reals / reals.sum() / np.maximum(artifacts, 1)
    np.testing.assert_allclose(shares.values["train"], np.minimum(expected, 0.9))
    assert shares.total == pytest.approx(0.3, abs=0.03)
    before = shares.values["train"].copy()
    shares.estimate(np.zeros(shares.sample.size), np.zeros(split.validation.size))
    np.testing.assert_array_equal(shares.values["train"], before)


def test_the_share_grows_to_the_forget_rate_and_stays():
    shares = [ramp(epoch, 0.2, 4) for epoch in range(7)]
    np.testing.assert_allclose(shares, [0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15, 0.3])
def test_contamination_is_estimated_from_scores(share):
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wrong = rng.random(2000) < share
        scores = np.concatenate([rng.normal(3.5, 1, 1500), np.where(wrong, 3.5, 0.0) + rng.normal(0, 1, 2000)])
        labels = np.concatenate([np.ones(1500), np.zeros(2000)])
        found.append(estimate_contamination(labels, scores))
        assert estimate_contamination(labels, np.exp(scores)) == found[-1]
    assert np.mean(found) == pytest.approx(share, abs=0.012)


def test_contamination_has_a_largest_value(rng):
    assert estimate_contamination(np.arange(400) % 2, rng.random(400)) == LARGEST_RATE


# A loss that counts with wrong labels


def test_the_losses_are_those_of_what_a_row_is_called(rng):
    logits, rho = torch.from_numpy(rng.normal(0, 4, 50)), torch.from_numpy(rng.exponential(size=50))
    chance_real = torch.sigmoid(logits)
    called_real = chance_real / (1 + rho * chance_real)
    both = [corrected_losses(logits, torch.full((50,), label), rho) for label in (1.0, 0.0)]
    np.testing.assert_allclose(torch.exp(-both[0]), called_real, rtol=1e-9)
    np.testing.assert_allclose(torch.exp(-both[1]), 1 - called_real, rtol=1e-6)


def test_without_wrong_labels_the_losses_are_the_cross_entropy(rng):
    logits, labels = torch.from_numpy(rng.normal(0, 6, 80)), torch.from_numpy(rng.integers(0, 2, 80).astype(float))
    usual = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    np.testing.assert_allclose(corrected_losses(logits, labels, torch.zeros(80)), usual, atol=1e-12)


def test_a_sure_real_among_the_artifacts_has_no_pull():
    logits = torch.tensor([-30.0, 0.0, 30.0, 80.0], requires_grad=True)
    losses = corrected_losses(logits, torch.zeros(4), torch.full((4,), 0.2))
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert float(losses[2].detach()) == pytest.approx(np.log(1 + 1 / 0.2), rel=1e-5)
    assert float(logits.grad[1]) > 0.2
    assert logits.grad[[0, 2, 3]].abs().max() < 1e-9


def test_true_artifacts_weigh_what_all_did_in_their_interval(drawn, split):
    """With known shares: as much weight for what is left of class 0 as for class 0 when all of it was believed."""
    rows = prepare(drawn, split, SHORT)
    loop = CorrectedLoop(rows, new_network(rows, SHORT), SHORT, 0.2, excess=0.05)
    part = split.train
    real, interval = rows.labels[part] > 0.5, loop.shares.interval[part]
    ratios = []
    for number in np.unique(interval):
        inside = interval == number
        w0, w1 = (rows.weights[part][inside & own].sum() for own in (~real, real))
        new0, new1 = (loop.row_weights[part][inside & own].sum() for own in (~real, real))
        true0, misnamed = (1 - loop.shares.values["train"][number]) * new0, loop.shares.values["train"][number] * new0
        assert true0 / new1 == pytest.approx(w0 / w1, rel=1e-5)
        assert loop.rho[part][inside] == pytest.approx(misnamed / new1 + 0.05, rel=1e-5)
        ratios.append(true0 / new1)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)


# Whole trainings


@pytest.mark.parametrize("method", METHODS)
def test_every_method_repeats_and_makes_one_model(drawn, split, method):
    noise = LabelNoise(method=method, **FEW)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    seen = []
    first = train_robust(drawn, split, SHORT, noise, progress=lambda *step: seen.append(step))
    assert torch.equal(before, torch.random.get_rng_state())
    again = train_robust(drawn, split, SHORT, noise)
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert first.history == again.history
    assert first.label_noise == again.label_noise
    assert first.label_noise["method"] == method
    np.testing.assert_array_equal(predict(first.network, drawn, split.validation), first.validation_logits)
    of_folds = {"folds"} if method in ("drop-flagged", "two-stage") else set()
    assert {stage for stage, _, _ in seen} == {"train"} | of_folds
    assert seen[-1][1] == seen[-1][2]

    once = SHORT.model_copy(update={"views": 1})
    card, weights = describe_model(first, drawn, split, options=once, name="tiny", version="1")
    assert Card.model_validate_json(card.to_json()).training["label_noise"]["method"] == method
    logits = predict(first.network, drawn, split.test)
    scores = score_dataset(open_model(card, weights), drawn, split.test)
    expected = chance(logits, temperature=card.temperature, bias=card.bias)
    np.testing.assert_allclose(scores, expected, atol=5e-5)


def test_another_seed_gives_another_pair(drawn, split):
    noise = LabelNoise(method="coteach", **FEW)
    one, two = (train_robust(drawn, split, SHORT.model_copy(update={"seed": seed}), noise) for seed in (0, 1))
    assert one.history != two.history


def test_naive_is_the_training_without_a_method(drawn, split):
    np.testing.assert_array_equal(
        train_robust(drawn, split, SHORT).validation_logits, train_network(drawn, split, SHORT).validation_logits
    )


def test_the_mean_of_both_is_a_model(drawn, split):
    noise = LabelNoise(method="coteach", average=True, forget_rate=0.1, **FEW)
    trained = train_robust(drawn, split, SHORT, noise)
    assert isinstance(trained.network, MeanNet)
    own = [predict(member, drawn, split.test) for member in trained.network.members]
    assert np.abs(own[0] - own[1]).max() > 1e-3
    np.testing.assert_allclose(predict(trained.network, drawn, split.test), np.mean(own, axis=0), atol=1e-5)
    assert trained.label_noise["forget_rate"] == pytest.approx(0.1, abs=0.01)
    assert trained.label_noise["forget_rate_from"] == "given"
    assert len(onnx_bytes(trained.network)) > 0


def test_networks_that_see_different_things_have_no_mean():
    with pytest.raises(ValueError, match="have no mean"):
        MeanNet([RealBogusNet(DEFAULT_SCALARS, size=21), RealBogusNet(DEFAULT_SCALARS, size=23)])


@pytest.mark.parametrize("method", ["correct", "coteach", "drop-flagged", "two-stage"])
def test_sets_on_disk_train_the_same(drawn, tmp_path, method):
    parts = split_groups(drawn.columns, rng=np.random.default_rng(2))
    names = np.empty(len(drawn), "U10")
    for name, rows in parts.parts().items():
        names[rows] = name
    with ShardWriter(tmp_path / "set", rows_per_shard=100) as writer:
        noise = dict(zip(SIGMA_COLUMNS, drawn.sigma.T, strict=True))
        writer.add(drawn.cube, {**drawn.columns, **noise, "split": names, "suspicion": "", "true_kind": ""})
    stored = open_dataset(tmp_path / "set")
    noise = LabelNoise(method=method, **FEW)
    one, other = (train_robust(data, parts, SHORT, noise) for data in (stored, drawn))
    np.testing.assert_allclose(one.validation_logits, other.validation_logits, atol=1e-5)


def test_what_cannot_be_learnt_from_is_refused(drawn, split):
    for method in METHODS:
        noise = LabelNoise(method=method, **FEW)
        for value, text in ((1, "reals and 0 artifacts"), (0, "has 0 reals")):
            with pytest.raises(InputError, match=text):
                train_robust(relabelled(drawn, np.full(len(drawn), value)), split, SHORT, noise)
        with pytest.raises(InputError, match="label 2: 1 is real, 0 artifact"):
            train_robust(relabelled(drawn, drawn.labels * 2), split, SHORT, noise)
    with pytest.raises(
        ConfigError, match="label_noise.*'naive', 'correct', 'coteach', 'ensemble', 'drop-flagged' or 'two-"
    ):
        LabelNoise.parse({"method": "nnpu"}, source="label_noise")


def test_folds_keep_groups_whole_and_are_of_even_size(drawn, split):
    rows = prepare(drawn, split, SHORT)
    fold = folds_of(rows, 3, np.random.default_rng(0))
    assert set(fold) == {0, 1, 2}
    tile = drawn["tile"][rows.parts["train"]]
    assert all(np.unique(fold[tile == name]).size == 1 for name in np.unique(tile))
    assert np.bincount(fold).max() < 1.5 * np.bincount(fold).min()
    one = Dataset(drawn.cube, drawn.sigma, {**drawn.columns, "night": np.full(len(drawn), "n")}, {})
    single = folds_of(replace(rows, dataset=one), 3, np.random.default_rng(0))
    assert np.ptp(np.bincount(single)) <= 1


def test_flags_on_most_of_a_class_are_refused(drawn, split, monkeypatch):
    once = SHORT.model_copy(update={"epochs": 1})
    with pytest.raises(InputError, match="above 0.001 in networks that have not seen them; these tell too little"):
        flag(drawn, split, once, folds=2, flag_above=0.001)
    monkeypatch.setattr(flagged, "predict", lambda network, data, rows: np.full(rows.size, -5.0))
    with pytest.raises(InputError, match="100 % of the reals of the train part score below 0.4 in networks that have"):
        flag(drawn, split, once, folds=2, flag_above=0.6, reals=True)


def test_without_leaves_the_test_part_alone(split):
    left = without(split, np.arange(10_000))
    assert left.train.size == left.validation.size == 0
    assert left.test is split.test


# Planted wrong labels


@pytest.fixture(scope="module")
def planted():
    """Easy stamps, 15 % of whose artifacts are reals."""
    rng = np.random.default_rng(77)
    data = dataset(1800, rng, size=23)
    real = np.flatnonzero(data.labels == 1)
    wrong = rng.choice(real, round(0.15 / 0.85 * (data.labels == 0).sum()), replace=False)
    labels = data.labels.copy()
    labels[wrong] = 0
    return relabelled(data, labels), split_groups(data.columns, rng=np.random.default_rng(1)), wrong


EASY = Train(epochs=10, batch_size=64, stamp_size=21)


def test_coteaching_leaves_out_most_planted_wrong_labels(planted):
    data, parts, wrong = planted
    trained = train_robust(data, parts, EASY, LabelNoise(method="coteach", ramp_epochs=3))
    facts = trained.label_noise
    assert facts["forget_rate_from"] == "scores of both parts"
    assert facts["forget_rate"] == pytest.approx(0.15, abs=0.07)
    assert facts["left_out_share_of_each_epoch"][0] == 0
    # What it would leave out of the rows it was trained on.
    rows, found = parts.train, Shares(prepare(data, parts, EASY), None)
    found.values["train"] = np.array(facts["forget_rate_of_each_interval"])
    marked = rows[found.most_real("train", rows, predict(trained.network, data, rows))]
    planted_here = np.intersect1d(rows, wrong)
    assert np.isin(planted_here, marked).mean() > 0.75
    assert np.isin(marked, wrong).mean() > 0.6


def test_a_corrected_loss_calls_planted_reals_real(planted):
    """The share among the artifacts is found, and the wrong labels are not learnt, which they are when believed."""
    data, parts, wrong = planted
    trained = train_robust(data, parts, EASY, LabelNoise(method="correct"))
    facts = trained.label_noise
    limits, shares = np.array(facts["snr_limits"]), np.array(facts["share_of_each_interval"])
    rows = parts.train[data.labels[parts.train] == 0]
    of_row = shares[np.searchsorted(limits, np.abs(data["snr"][rows]), side="right")]
    assert of_row.mean() == pytest.approx(np.isin(rows, wrong).mean(), abs=0.06)
    misnamed, true = np.intersect1d(rows, wrong), np.setdiff1d(rows, wrong)
    assert np.mean(predict(trained.network, data, misnamed) > 0) > 0.85
    assert np.mean(predict(trained.network, data, true) > 0) < 0.06
    given = train_robust(data, parts, QUICK, LabelNoise(method="correct", forget_rate=0.1)).label_noise
    assert given["shares_from"] == "given"


def test_flagged_rows_are_mostly_planted_ones(planted):
    data, parts, wrong = planted
    rows = flag(data, parts, EASY, folds=3)
    assert (data.labels[rows] == 0).all()
    assert not np.isin(rows, parts.test).any()
    judged = np.concatenate([parts.train, parts.validation])
    assert np.isin(np.intersect1d(judged, wrong), rows).mean() > 0.75
    assert np.isin(rows, wrong).mean() > 0.5


QUICK = Train(network="seed", epochs=6, batch_size=32, stamp_size=21)


def test_a_short_coteaching_reaches_its_forget_rate(planted):
    data, parts, _ = planted
    facts = train_robust(data, parts, QUICK, LabelNoise(method="coteach", forget_rate=0.2)).label_noise
    assert facts["ramp_epochs"] == 2
    shares = facts["left_out_share_of_each_epoch"]
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.1, abs=0.03)
    np.testing.assert_allclose(shares[2:], 0.2, atol=0.03)


def test_both_classes_lose_labels_in_two_stages_unless_told(planted):
    """As published, reals that were put in lose theirs, too, when networks contradict them."""
    data, parts, wrong = planted
    rows = parts.train
    right = np.setdiff1d(rows, wrong)
    swapped = right[data.labels[right] == 0][:20]
    labels = data.labels.copy()
    labels[swapped] = 1
    mixed = relabelled(data, labels)
    both = flag(mixed, parts, QUICK, folds=2, reals=True)
    np.testing.assert_array_equal(both[labels[both] == 0], flag(mixed, parts, QUICK, folds=2))
    assert np.isin(swapped, both).mean() > 0.6
    assert np.isin(right[data.labels[right] == 1], both).mean() < 0.1
    trained = train_robust(mixed, parts, QUICK, LabelNoise(method="two-stage", folds=2))
    shares = trained.label_noise["unlabelled_share"]["train"]
    real = np.intersect1d(rows, both[labels[both] == 1])
    assert shares["reals"] == pytest.approx(real.size / (labels[rows] == 1).sum())
    assert shares["artifacts"] == pytest.approx(0.15, abs=0.08)


def test_labels_of_flagged_rows_are_not_used_and_their_pixels_are(drawn, split, monkeypatch):
    chosen = np.sort(split.train[::5])
    monkeypatch.setattr(two_stage, "flag", lambda *_, **__: chosen)
    flipped, cube = drawn.labels.copy(), drawn.cube.copy()
    flipped[chosen] = 1 - flipped[chosen]
    cube[chosen] = np.float16(50) - cube[chosen]
    moved = Dataset(cube, drawn.sigma, drawn.columns, drawn.facts)
    short = Train(network="seed", epochs=2, batch_size=32, stamp_size=21)

    def history(data, weight, rank=0.0):
        noise = LabelNoise(method="two-stage", smooth_weight=weight, rank_weight=rank)
        return train_robust(data, split, short, noise).history

    assert history(relabelled(drawn, flipped), 1.0) == history(drawn, 1.0)
    assert history(relabelled(drawn, flipped), 1.0, 0.5) == history(drawn, 1.0, 0.5) != history(drawn, 1.0)
    assert history(moved, 1.0) != history(drawn, 1.0)
    assert history(moved, 0.0) == history(drawn, 0.0)


def test_the_network_of_two_stages_is_smoother(drawn, split, monkeypatch):
    monkeypatch.setattr(two_stage, "flag", lambda *_, **__: np.empty(0, np.int64))
    rows, found = split.validation, []
    for weight in (0.0, 10.0):
        noise = LabelNoise(method="two-stage", smooth_weight=weight, smooth_radius=3.0)
        network = train_robust(drawn, split, QUICK, noise).network
        pixels = torch.from_numpy(drawn.stamps(rows, size=21))
        strength = torch.from_numpy(drawn.scalars(["snr"])[rows])
        inputs = (pixels, torch.ones(rows.size, 3), strength)
        found.append(float(smoothness(network, inputs, torch.ones(rows.size), epsilon=3.0).detach().mean()))
    assert found[1] < 0.5 * found[0]
