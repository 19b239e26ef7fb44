"""Networks to compare with: as large as published, as their inputs demand, trained and served as the program's own."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import write_model
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.label_noise.two_stage import ranking, smoothness
from gueststar.realbogus.loaded import open_model
from gueststar.realbogus.network import MeanNet, RealBogusNet, StampNet, count_parameters
from gueststar.realbogus.networks import build_network, seen_size
from gueststar.realbogus.networks.braai import Braai, unit_norm
from gueststar.realbogus.networks.takahashi import TakahashiComplex, TakahashiSimple, full_range
from gueststar.realbogus.package import describe_model, score_dataset
from gueststar.realbogus.scalars import DEFAULT_SCALARS
from gueststar.realbogus.score import RealBogus
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, predict, train_network
from gueststar.training import Training, TrainingSet, make_and_train
from realbogus_stamps import dataset, sample

NAMES = ("seed", "braai", "takahashi-simple", "takahashi-complex")


def made(name, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build_network(Train(network=name, **options), DEFAULT_SCALARS).eval()


@pytest.fixture(scope="module")
def networks():
    return {name: made(name) for name in NAMES}


@pytest.fixture
def inputs(rng):
    """Stamps of stars in sky, some of it missing, in e-."""
    _, stamps, _, _ = sample(9, rng, size=65)
    cube, sigma = stamps.cube.copy(), stamps.sigma.copy()
    cube[rng.random(cube.shape) < 0.02] = np.nan
    cube[3], cube[4, 0, 30, 30], cube[5, 2] = np.nan, np.inf, 4.0
    sigma[6, 1], sigma[7, 2] = 0.0, np.nan
    scalars = rng.normal(20, 3, (9, 1)).astype(np.float32)
    scalars[8] = np.nan
    return cube, sigma, scalars


def run(network, cube, sigma, scalars):
    with torch.inference_mode():
        return network(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (cube, sigma, scalars))).numpy()


# As published


def test_networks_have_as_many_weights_as_published():
    assert count_parameters(Braai()) == 312_081
    # 234 k and 2.4 M; an output less than theirs, which saves 65 and 257 weights.
    assert round(count_parameters(TakahashiSimple()) + 65, -3) == 234_000
    assert round(count_parameters(TakahashiComplex()) + 257, -5) == 2_400_000


def test_networks_see_what_was_published(networks):
    assert {name: network.preprocess.size for name, network in networks.items()} == {
        "seed": 31, "braai": 63, "takahashi-simple": 29, "takahashi-complex": 29,
    }  # fmt: skip
    assert seen_size(Train()) == 31
    assert seen_size(Train(network="seed", stamp_size=21)) == 21
    for network in networks.values():
        assert [scalar.name for scalar in network.preprocess.scalars] == ["snr"]


def test_first_weights_are_those_of_glorot(networks):
    for network in networks.values():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                bound = (6.0 / (layer.in_features + layer.out_features)) ** 0.5  # Glorot & Bengio 2010, eq. 16
                assert 0.8 * bound < layer.weight.abs().max() <= bound
                assert (layer.bias == 0).all()


def test_planes_are_scaled_as_published(rng):
    planes = torch.from_numpy(rng.normal(3, 40, (4, 3, 29, 29)).astype(np.float32))
    planes[1, 2], planes[2, 0] = 0.0, 6e4
    norms = unit_norm(planes).square().sum(dim=(2, 3)).sqrt()
    scaled = full_range(planes)
    flat = torch.zeros(4, 3, dtype=torch.bool)
    flat[1, 2] = True
    np.testing.assert_allclose(norms[~flat], 1.0, rtol=1e-5)
    np.testing.assert_allclose(unit_norm(planes)[0, 0], planes[0, 0] / planes[0, 0].norm(), rtol=1e-4)
    flat[2, 0] = True
    assert (unit_norm(planes)[1, 2] == 0).all()
    assert (scaled[flat] == 0).all()
    np.testing.assert_allclose(scaled.amin(dim=(2, 3)), 0.0)
    np.testing.assert_allclose(scaled.amax(dim=(2, 3))[~flat], 1.0)


# Inputs


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_of_every_kind_give_finite_logits(networks, inputs, name):
    before = [array.copy() for array in inputs]
    assert np.isfinite(run(networks[name], *inputs)).all()
    for array, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_faded_source_looks_like_an_appeared_one(networks, inputs, name):
    cube, sigma, scalars = (array[:3] for array in inputs)
    backwards = np.stack([cube[:, 1], cube[:, 0], -cube[:, 2]], axis=1)
    appeared = run(networks[name], cube, sigma, scalars)
    np.testing.assert_allclose(run(networks[name], backwards, sigma[:, [1, 0, 2]], -scalars), appeared, atol=1e-5)
    assert not np.allclose(run(networks[name], backwards, sigma[:, [1, 0, 2]], scalars), appeared, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_units_and_what_is_beside_the_centre_do_not_matter(networks, inputs, name):
    cube, sigma, scalars = inputs
    network = networks[name]
    logits = run(network, cube, sigma, scalars)
    np.testing.assert_allclose(run(network, cube * 7, sigma * 7, scalars), logits, atol=1e-4)
    edge = (65 - network.preprocess.size) // 2
    changed = cube.copy()
    changed[:, :, :edge], changed[..., -edge:] = 1e6, np.nan
    np.testing.assert_array_equal(run(network, changed, sigma, scalars), logits)


def test_the_seed_sees_the_difference_alone(networks, inputs):
    cube, sigma, scalars = inputs
    changed = cube.copy()
    changed[:, :2] *= -3
    np.testing.assert_array_equal(run(networks["seed"], changed, sigma, scalars), run(networks["seed"], *inputs))
    for name in NAMES[1:]:
        assert not np.allclose(run(networks[name], changed, sigma, scalars), run(networks[name], *inputs), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_gives_the_same_numbers_for_any_batch_and_stamp_size(networks, inputs, name):
    network = networks[name]
    session = onnxruntime.InferenceSession(onnx_bytes(network), providers=["CPUExecutionProvider"])
    cube, sigma, scalars = inputs
    for n, k in ((9, 65), (1, network.preprocess.size), (0, 63)):
        edge = (65 - k) // 2
        part = np.ascontiguousarray(cube[:n, :, edge : 65 - edge, edge : 65 - edge])
        found = session.run(None, {"cube": part, "sigma": sigma[:n], "scalars": scalars[:n]})[0]
        assert found.shape == (n,)
        np.testing.assert_allclose(found, run(network, part, sigma[:n], scalars[:n]), atol=1e-4)


def test_networks_of_one_kind_have_a_mean(networks, inputs):
    members = [made("takahashi-simple"), networks["takahashi-simple"]]
    mean = MeanNet(members).eval()
    own = [run(member, *inputs) for member in members]
    np.testing.assert_allclose(run(mean, *inputs), np.mean(own, axis=0), atol=1e-6)
    assert mean.normalisation == members[0].normalisation
    with pytest.raises(ValueError, match="have no mean"):
        MeanNet([networks["takahashi-simple"], networks["takahashi-complex"]])


# Training and serving


@pytest.fixture(scope="module")
def drawn():
    return dataset(192, np.random.default_rng(8), size=63, pairs=12)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_trained_described_and_served(drawn, tmp_path, rng, name):
    split = split_groups(drawn.columns, rng=np.random.default_rng(0))
    options = Train(network=name, epochs=1, batch_size=32)
    trained = train_network(drawn, split, options)
    assert trained.network.state_dict().keys() == made(name).state_dict().keys()
    again = train_network(drawn, split, options)
    np.testing.assert_array_equal(trained.validation_logits, again.validation_logits)
    once = options.model_copy(update={"views": 1})
    card, weights = describe_model(trained, drawn, split, options=once, name=name, version="1")
    assert card.training["options"]["network"] == name
    assert card.stamp_size == trained.network.preprocess.size
    assert card.parameters == count_parameters(trained.network)
    assert [item.name for item in card.scalars] == ["snr"]
    assert card.normalisation != RealBogusNet.normalisation
    assert len(card.check_scores) == 8
    assert np.ptp(card.check_scores) > 0
    scores = score_dataset(open_model(card, weights), drawn, split.test)
    logits = predict(trained.network, drawn, split.test)
    expected = chance(logits, temperature=card.temperature, bias=card.bias)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    write_model(tmp_path / name, card, weights)
    candidates, stamps, _, _ = sample(5, rng, size=65)
    assert np.isfinite(RealBogus(model=str(tmp_path / name))(candidates, stamps)["rb_score"]).all()


@pytest.mark.parametrize(("name", "size", "epochs"), [("seed", 31, 4), ("takahashi-simple", 29, 8)])
def test_plain_networks_learn_points_from_dipoles_rays_and_rings(name, size, epochs):
    from gueststar.realbogus.evaluate import auc

    data = dataset(720, np.random.default_rng(11), size=size)
    split = split_groups(data.columns, rng=np.random.default_rng(0))
    trained = train_network(data, split, Train(network=name, epochs=epochs, batch_size=40))
    logits = predict(trained.network, data, split.test)
    assert auc(data.labels[split.test] == 1, logits) > 0.9


def test_stamps_that_do_not_fit_the_network_are_refused(drawn, tmp_path):
    split = split_groups(drawn.columns, rng=np.random.default_rng(0))
    small = dataset(24, np.random.default_rng(8), size=41, pairs=12)
    few = split_groups(small.columns, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"stamps of 41 px .* 'braai', which sees 63 px: cut .*data.stamp_size=63"):
        train_network(small, few, Train(network="braai"))
    for name, own in (("braai", 63), ("takahashi-simple", 29), ("takahashi-complex", 29)):
        with pytest.raises(InputError, match=f"network '{name}' sees {own} px, as published, not 31 px: leave out"):
            train_network(drawn, split, Train(network=name, stamp_size=31))
    with pytest.raises(InputError, match="stamps of 63 px cannot train a network that sees 65 px"):
        train_network(drawn, split, Train(network="seed", stamp_size=65))
    with pytest.raises(ConfigError, match="'seed', 'braai', 'takahashi-simple' or 'takahashi-complex'"):
        Train.parse({"network": "resnet50"}, source="train")
    # Before an hour of simulation, not after it.
    with pytest.raises(InputError, match="stamps of 41 px cannot train network 'braai'"):
        make_and_train(Training(train=Train(network="braai"), data=TrainingSet(n_pairs=1)), tmp_path / "model")


# Smoothness of the two-stage method


class Linear(StampNet):
    """Logit that is a weighted sum of pixels: its farthest neighbour is known."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, cube, sigma, scalars):
        return torch.nan_to_num(cube).flatten(1) @ self.weight


def divergence(logit, other):
    p, q = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-other))
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def test_smoothness_is_the_divergence_along_the_gradient(rng):
    weight = torch.from_numpy(rng.normal(0, 0.02, 3 * 15 * 15).astype(np.float32))
    cube = torch.from_numpy(rng.normal(0, 3, (6, 3, 15, 15)).astype(np.float32))
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    network = Linear(weight)
    found = smoothness(network, (cube, torch.ones(6, 3), torch.ones(6, 1)), signs, epsilon=0.5)
    logits = (cube.flatten(1) @ weight).double().numpy()
    expected = divergence(logits, logits + 0.5 * signs.numpy() * float(weight.norm()))
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    assert (expected > 1e-4).all()
    found.mean().backward()
    assert network.weight.grad.abs().sum() > 0


def test_no_other_direction_is_worse(networks, rng):
    """Random changes of the same length, and the paper's power iteration (eq. 12), diverge no more."""
    network = deepcopy(networks["takahashi-simple"]).double()
    _, stamps, _, _ = sample(6, rng, size=29)
    cube = torch.from_numpy(stamps.cube / stamps.sigma[:, :, None, None]).double()
    others = (torch.ones(6, 3).double(), torch.full((6, 1), 20.0).double())
    sides = [smoothness(network, (cube, *others), side * torch.ones(6), epsilon=0.1).detach() for side in (-1, 1)]
    largest = torch.maximum(*sides).numpy()
    logits = network(cube, *others).detach().numpy()

    def after(step):
        step = 0.1 * step / step.flatten(1).norm(dim=1)[:, None, None, None]
        return divergence(logits, network(cube + step, *others).detach().numpy())

    for _ in range(10):
        assert (after(torch.from_numpy(rng.normal(size=cube.shape))) < 0.5 * largest).all()
    start = torch.from_numpy(rng.normal(size=cube.shape))
    step = (1e-3 * start / start.flatten(1).norm(dim=1)[:, None, None, None]).requires_grad_(True)
    chance = torch.sigmoid(torch.from_numpy(logits))
    crossed = nn.functional.binary_cross_entropy_with_logits(network(cube + step, *others), chance, reduction="sum")
    (gradient,) = torch.autograd.grad(crossed, step)
    np.testing.assert_allclose(np.maximum(after(gradient), after(-gradient)), largest, rtol=1e-2)


def test_missing_pixels_stay_missing_in_the_smoothness(networks, inputs):
    cube, sigma, scalars = (torch.from_numpy(array) for array in inputs)
    before = cube.clone()
    found = smoothness(networks["braai"], (cube, sigma, scalars), torch.ones(9), epsilon=1.0)
    assert torch.isfinite(found).all()
    assert (found > -1e-6).all()
    assert torch.equal(cube.nan_to_num(), before.nan_to_num())


def test_pairs_in_wrong_order_cost(rng):
    logits, labels = torch.from_numpy(rng.normal(size=40)), torch.from_numpy(rng.integers(0, 2, 40))
    weights = torch.from_numpy(rng.uniform(0.5, 2, 40))
    weights[:8] = 0.0
    z, y, w = (tensor.numpy() for tensor in (logits, labels, weights))
    total = weight = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero(y == 0):
            total += w[i] * w[j] * (np.exp(np.clip(z[j] - z[i] + 0.25, 0, 6)) - 1)
            weight += w[i] * w[j]
    assert float(ranking(logits, labels, weights)) == pytest.approx(total / weight)
    assert float(ranking(10.0 * labels, labels, weights)) == 0.0
    assert float(ranking(logits, torch.ones(40), weights)) == 0.0
