"""The network and its preprocessing: missing values, both signs, any stamp size, the same numbers in ONNX."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from gueststar.errors import ModelError
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.network import RealBogusNet, count_parameters
from gueststar.realbogus.preprocess import Preprocess
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar, measured_scalars
from gueststar.types import Candidates
from realbogus_stamps import columns

M = len(DEFAULT_SCALARS)
NAMES = [scalar.name for scalar in DEFAULT_SCALARS]


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = RealBogusNet()
        net.preprocess.fit(np.random.default_rng(0).normal(3, 2, (200, M)).astype(np.float32))
        return net.eval()


@pytest.fixture
def inputs(rng):
    cube = (rng.normal(size=(12, 3, 41, 41)) * 10 ** rng.uniform(0, 5, (12, 1, 1, 1))).astype(np.float32)
    cube[rng.random(cube.shape) < 0.05] = np.nan
    cube[3] = np.nan
    cube[4, 0, 20, 20] = np.inf
    sigma = rng.uniform(5, 20, (12, 3)).astype(np.float32)
    sigma[5, 1], sigma[6, 2], sigma[7, 0] = 0.0, np.nan, -1.0
    scalars = (rng.normal(size=(12, M)) * 50).astype(np.float32)
    scalars[8, 2:] = np.nan
    scalars[9, 0] = np.nan
    scalars[10, 4] = np.inf
    return cube, sigma, scalars


def run(network, cube, sigma, scalars):
    with torch.inference_mode():
        return network(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (cube, sigma, scalars))).numpy()


def test_size_is_as_designed():
    assert 150_000 < count_parameters(RealBogusNet()) < 220_000


def test_missing_values_of_every_kind_give_finite_logits(network, inputs):
    before = [array.copy() for array in inputs]
    assert np.isfinite(run(network, *inputs)).all()
    for array, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_onnx_gives_the_same_numbers_for_any_batch_and_stamp_size(network, inputs):
    session = onnxruntime.InferenceSession(onnx_bytes(network), providers=["CPUExecutionProvider"])
    cube, sigma, scalars = inputs
    for n, k in ((12, 41), (1, 31), (5, 37), (0, 33)):
        edge = (41 - k) // 2
        part = np.ascontiguousarray(cube[:n, :, edge : 41 - edge, edge : 41 - edge])
        found = session.run(None, {"cube": part, "sigma": sigma[:n], "scalars": scalars[:n]})[0]
        np.testing.assert_allclose(found, run(network, part, sigma[:n], scalars[:n]), atol=1e-4)


def test_only_the_centre_is_seen(network, inputs):
    cube, sigma, scalars = inputs
    changed = cube.copy()
    changed[:, :, :5], changed[..., -5:] = 1e6, np.nan
    np.testing.assert_array_equal(run(network, cube, sigma, scalars), run(network, changed, sigma, scalars))


def test_units_do_not_matter(network, inputs):
    cube, sigma, scalars = inputs
    np.testing.assert_allclose(
        run(network, cube * 7, sigma * 7, scalars), run(network, cube, sigma, scalars), atol=1e-4
    )


def test_a_faded_source_looks_like_an_appeared_one(network, inputs):
    cube, sigma, scalars = (array[:3] for array in inputs)
    scalars = scalars.copy()
    scalars[:, 0] = [6.0, 20.0, 90.0]
    i, j = NAMES.index("science_snr"), NAMES.index("reference_snr")
    turned = scalars.copy()
    turned[:, 0] *= -1
    turned[:, [i, j]] = scalars[:, [j, i]]
    backwards = np.stack([cube[:, 1], cube[:, 0], -cube[:, 2]], axis=1)
    appeared = run(network, cube, sigma, scalars)
    np.testing.assert_allclose(run(network, backwards, sigma[:, [1, 0, 2]], turned), appeared, atol=1e-5)
    assert not np.allclose(run(network, backwards, sigma[:, [1, 0, 2]], scalars), appeared, atol=1e-3)


def test_pixels_are_stretched_as_documented():
    step = Preprocess()
    cube = torch.full((1, 3, 31, 31), 60.0)
    cube[0, 1, 0, :] = torch.nan
    pixels, numbers = step(cube, torch.full((1, 3), 10.0), torch.ones(1, M))
    assert pixels[0, 0, 5, 5].item() == pytest.approx(np.arcsinh(2.0), abs=1e-6)
    assert pixels[0, 1, 0, 0].item() == 0.0
    np.testing.assert_allclose(numbers[0, -3:], [0.0, 1 / 31, 0.0], atol=1e-6)


def test_numbers_are_standardised_with_the_training_rows(rng):
    step = Preprocess((Scalar("snr", "log10_abs"), Scalar("fwhm", "linear")))
    raw = np.stack([10 ** rng.normal(1, 0.5, 4000), rng.normal(3, 0.7, 4000)], axis=1).astype(np.float32)
    raw[::10, 1] = np.nan
    step.fit(raw)
    np.testing.assert_allclose(step.mean, [1.0, 3.0], atol=0.05)
    np.testing.assert_allclose(step.scale, [0.5, 0.7], atol=0.05)
    _, numbers = step(torch.zeros(4000, 3, 31, 31), torch.ones(4000, 3), torch.from_numpy(raw))
    np.testing.assert_array_equal(numbers[::10, 1], 0.0)
    assert numbers.abs().max() <= 5.0


def test_the_sign_must_be_known():
    with pytest.raises(ValueError, match="must be 'snr'"):
        Preprocess((Scalar("fwhm", "linear"),))
    with pytest.raises(ValueError, match="must be odd"):
        Preprocess(size=30)


def test_hidden_numbers_change_nothing_but_in_training(network, inputs):
    cube, sigma, scalars = inputs
    assert (run(network, cube, sigma, scalars) == run(network, cube, sigma, scalars)).all()


def test_measured_scalars_read_columns_and_ratios():
    table = Candidates.from_columns(columns(3, snr=[5.0, -8.0, 0.0], snr_aper=[10.0, -4.0, 3.0], fwhm=[2, 3, np.inf]))
    found = measured_scalars(table, ["snr", "snr_aper/snr", "fwhm"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[5, 2, 2], [-8, 0.5, 3], [0, np.nan, np.nan]])
    assert measured_scalars(Candidates.empty(), ["snr", "snr_aper/snr"]).shape == (0, 2)
    with pytest.raises(ModelError, match="no column 'host_size'"):
        measured_scalars(table, ["snr", "host_size"])


def test_every_default_number_is_in_the_candidate_table():
    assert measured_scalars(Candidates.empty(), NAMES).shape == (0, M)
    assert NAMES[0] == "snr"
    # Short cuts to how artificial reals are made; see the module's text before adding one.
    assert not {"psf_chi2", "star_distance", "x", "y", "mjd"} & set(NAMES)
