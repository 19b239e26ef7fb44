"""Training: it learns, it repeats, it refuses what cannot be learnt from; weights take the short cut away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gueststar.errors import InputError
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.evaluate import auc
from gueststar.realbogus.split import Split, split_groups
from gueststar.realbogus.train import Train, predict, train_network
from gueststar.realbogus.weights import class_weights, matched_weights
from realbogus_stamps import dataset


@pytest.fixture(scope="module")
def drawn():
    return dataset(720, np.random.default_rng(11))


@pytest.fixture(scope="module")
def split(drawn):
    return split_groups(drawn.columns, rng=np.random.default_rng(0))


QUICK = Train(epochs=3, batch_size=40)


@pytest.fixture(scope="module")
def trained(drawn, split):
    return train_network(drawn, split, QUICK)


def test_it_learns_points_from_dipoles_rays_and_rings(drawn, split, trained):
    logits = predict(trained.network, drawn, split.test)
    real = drawn.labels[split.test] == 1
    assert auc(real, np.abs(drawn["snr"][split.test])) < 0.65
    assert auc(real, logits) > 0.95
    faded = drawn["snr"][split.test] < 0
    assert auc(real[faded], logits[faded]) > 0.9


def test_history_and_best_weights_belong_together(drawn, split, trained):
    losses = [epoch.validation_loss for epoch in trained.history]
    assert trained.best_epoch == int(np.argmin(losses))
    assert len(trained.history) == QUICK.epochs
    np.testing.assert_array_equal(predict(trained.network, drawn, split.validation), trained.validation_logits)
    assert not trained.network.training


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(drawn, split):
    options = Train(epochs=1, batch_size=60, seed=4)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = train_network(drawn, split, options)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(7)
    again = train_network(drawn, split, options)
    other = train_network(drawn, split, options.model_copy(update={"seed": 5}))
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert first.history == again.history
    assert first.history != other.history


def test_half_the_bits_learn_as_much_and_leave_whole_weights(drawn, split, trained):
    options = QUICK.model_copy(update={"precision": "bfloat16"})
    found = train_network(drawn, split, options)
    short = options.model_copy(update={"epochs": 1})  # processors without bfloat16 imitate it, slowly
    assert train_network(drawn, split, short).history == train_network(drawn, split, short).history
    assert found.history != trained.history
    assert {value.dtype for value in found.network.parameters()} == {torch.float32}
    assert auc(drawn.labels[split.test] == 1, predict(found.network, drawn, split.test)) > 0.95


def test_progress_runs_to_the_end(drawn, split):
    seen = []
    train_network(
        drawn,
        split,
        Train(epochs=2, batch_size=180),
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert seen == [("train", i + 1, 4) for i in range(4)]


def test_it_stops_when_nothing_gets_better(rng):
    few = dataset(96, rng, pairs=8)
    # A vanishing learning rate leaves the weights alone, while the running means of the normalisation settle.
    options = Train(epochs=60, batch_size=48, learning_rate=1e-12, patience=1)
    stopped = train_network(few, split_groups(few.columns, rng=rng), options)
    assert len(stopped.history) < 60


def test_rows_that_are_neither_are_not_used(drawn, split):
    labels = drawn.labels.copy()
    labels[split.train[:40]] = -1
    cube = drawn.cube.copy()
    cube[split.train[:40]] = np.float16(5e4)
    options = Train(epochs=1, batch_size=80)
    marked = train_network(Dataset(drawn.cube, drawn.sigma, {**drawn.columns, "label": labels}, {}), split, options)
    spoilt = train_network(Dataset(cube, drawn.sigma, {**drawn.columns, "label": labels}, {}), split, options)
    assert marked.history == spoilt.history


def test_what_cannot_be_learnt_from_is_refused(drawn, split):
    only_real = Dataset(drawn.cube, drawn.sigma, {**drawn.columns, "label": np.ones(720, np.int8)}, {})
    with pytest.raises(InputError, match="the train part has 360 reals and 0 artifacts"):
        train_network(only_real, split, QUICK)
    crossing = Split(np.append(split.train, split.validation[:1]), split.validation[1:], split.test)
    with pytest.raises(InputError, match="is in train and in validation"):
        train_network(drawn, crossing, QUICK)
    for size in (35, 30):
        with pytest.raises(InputError, match="stamps of 33 px cannot train a network that sees"):
            train_network(drawn, split, Train(stamp_size=size))


def test_class_weights_balance_the_classes():
    labels = np.array([1, 0, 0, 0])
    weights = class_weights(labels)
    assert weights[labels == 1].sum() == weights[labels == 0].sum() == 2.0


def test_matched_weights_make_the_signal_to_noise_tell_nothing(rng):
    labels = (rng.random(20000) < 0.3).astype(np.int8)
    snr = np.where(labels == 1, rng.uniform(5, 50, 20000), 5 + rng.exponential(6, 20000))
    weights = matched_weights(labels, snr, n_bins=20)
    assert weights.mean() == pytest.approx(1.0, abs=1e-5)
    assert weights.max() <= 10.0 * 1.2
    real = labels == 1
    assert weights[real].sum() == pytest.approx(weights[~real].sum(), rel=0.05)
    mean = [np.average(np.log(snr[part]), weights=weights[part]) for part in (real, ~real)]
    assert abs(mean[0] - mean[1]) < 0.05
    assert np.log(snr[real]).mean() - np.log(snr[~real]).mean() > 0.6


def test_matched_weights_keep_an_interval_with_one_class():
    labels = np.array([0] * 50 + [1] * 50, np.int8)
    weights = matched_weights(labels, np.arange(100.0), n_bins=4)
    np.testing.assert_allclose(weights, 1.0)
