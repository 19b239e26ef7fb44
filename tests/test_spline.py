"""Cubic B-splines against SciPy in double precision, and against functions known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import skies
from gueststar.spline import MARGIN, coefficients, sample, shift_matrices, shift_stamps


def grid_of(rng, shape, n):
    return (torch.from_numpy(rng.uniform(0, size - 1, (n, n))) for size in shape[::-1])


@pytest.mark.parametrize("shape", [(40, 40), (37, 52), (101, 64)])
def test_samples_agree_with_scipy(rng, shape):
    plane = rng.normal(size=shape)
    x, y = (torch.from_numpy(rng.uniform(8, size - 9, (30, 30))) for size in shape[::-1])
    done = sample(coefficients(torch.from_numpy(plane), margin=MARGIN), x, y)
    expected = ndimage.map_coordinates(plane, [y.numpy(), x.numpy()], order=3, mode="nearest")
    # 8 px from the edge, which both continue in their own way: 0.27^8 = 3e-5
    np.testing.assert_allclose(done.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(16, 16), (31, 24)])
def test_samples_at_whole_pixels_are_the_data_up_to_the_edge(rng, shape):
    plane = torch.from_numpy(rng.normal(size=shape))
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    torch.testing.assert_close(sample(coefficients(plane, margin=MARGIN), x, y), plane, rtol=0, atol=1e-5)


def test_single_precision_is_enough(rng):
    plane = 1e4 * rng.normal(size=(64, 64))
    x, y = grid_of(rng, (64, 64), 40)
    exact = sample(coefficients(torch.from_numpy(plane), margin=MARGIN), x, y)
    single = sample(coefficients(torch.from_numpy(plane).float(), margin=MARGIN), x.float(), y.float())
    assert float((single - exact).abs().max()) < 1e-4 * 1e4


def test_a_cubic_polynomial_is_reproduced(rng):
    y, x = np.mgrid[:60, :60] / 30.0 - 1.0

    def surface(x, y):
        return 1 + x - 2 * y + x * y + x**2 - y**3 + x**2 * y

    px, py = (torch.from_numpy(rng.uniform(14, 45, (20, 20))) for _ in range(2))
    done = sample(coefficients(torch.from_numpy(surface(x, y)), margin=MARGIN), px, py)
    np.testing.assert_allclose(done.numpy(), surface(px.numpy() / 30 - 1, py.numpy() / 30 - 1), atol=1e-6)


@pytest.mark.parametrize(("fwhm", "tolerance"), [(2.0, 0.03), (2.5, 0.02), (3.5, 0.006)])
def test_a_star_moved_by_a_fraction_of_a_pixel_is_the_star_drawn_there(fwhm, tolerance):
    shape = skies.Shape(fwhm)
    y, x = np.mgrid[:31, :31] - 15.0
    shifts = np.array([[0.5, 0.5], [0.3, -0.4], [0.0, 0.0], [-0.5, 0.1], [1.3, -0.8]])
    spline = coefficients(torch.from_numpy(shape(x, y)))
    moved = shift_stamps(spline.expand(len(shifts), -1, -1), *torch.from_numpy(shifts.T)).numpy()
    for stamp, (dx, dy) in zip(moved, shifts, strict=True):
        truth = shape(x - dx, y - dy)
        assert np.abs(stamp - truth).max() < tolerance * truth.max()
        assert stamp.sum() == pytest.approx(truth.sum(), abs=2e-4)
        scipys = ndimage.shift(shape(x, y), (dy, dx), order=3, mode="nearest")
        np.testing.assert_allclose(stamp, scipys, atol=1e-8)


def test_slopes_are_those_of_the_shifted_samples():
    spline = coefficients(torch.from_numpy(skies.Shape(3.0).stamp(25)))[12]
    shift, step = torch.linspace(-1.4, 1.4, 15, dtype=torch.float64), 1e-5
    slope = shift_matrices(shift, 25, derivative=True) @ spline
    numeric = (shift_matrices(shift + step, 25) @ spline - shift_matrices(shift - step, 25) @ spline) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=0, atol=1e-7)


def test_a_stack_is_a_stack_of_single_planes(rng):
    planes = torch.from_numpy(rng.normal(size=(3, 2, 20, 24)))
    together = coefficients(planes, margin=1)
    assert together.shape == (3, 2, 22, 26)
    torch.testing.assert_close(together[2, 1], coefficients(planes[2, 1], margin=1))


def test_beyond_the_edge_the_edge_continues():
    plane = torch.full((20, 20), 7.0)
    x = torch.tensor([[-5.0, 30.0, 10.0, -1e9]])
    y = torch.tensor([[10.0, 10.0, 50.0, 1e9]])
    np.testing.assert_allclose(sample(coefficients(plane, margin=MARGIN), x, y).numpy(), 7.0, rtol=1e-5)
