"""Whole-plane arithmetic against SciPy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from gueststar.planes import Tiling, box_mean, convolve, gather_stamps, grow_mask, inside_stamps


def plane_of(rng, shape):
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(40, 40), (65, 97), (128, 130), (20, 300)])
@pytest.mark.parametrize("size", [1, 5, 11, 19])  # wider than 17: by Fourier transform
@pytest.mark.parametrize("correlate", [False, True])
def test_one_kernel_is_an_ordinary_convolution(rng, shape, size, correlate):
    plane = plane_of(rng, shape)
    kernel = rng.normal(size=(size, size))
    done = convolve(plane, torch.from_numpy(kernel[None]), Tiling(shape), correlate=correlate)
    flipped = kernel[::-1, ::-1] if correlate else kernel
    expected = signal.convolve(plane.double().numpy(), flipped, mode="same")
    np.testing.assert_allclose(done.numpy(), expected, atol=3e-5)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_each_tile_has_its_own_kernel(rng, size):
    shape = (70, 101)
    tiling = Tiling(shape, size)
    plane = plane_of(rng, shape)
    kernels = rng.normal(size=(int(np.prod(tiling.counts)), 7, 7))
    done = convolve(plane, torch.from_numpy(kernels), tiling).numpy()
    rows, columns = tiling.counts
    for i in range(rows):
        for j in range(columns):
            whole = signal.convolve(plane.double().numpy(), kernels[i * columns + j], mode="same")
            tile = (slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
            np.testing.assert_allclose(done[tile], whole[tile], atol=3e-5)


def test_convolution_leaves_its_input_alone(rng):
    plane, kernels = plane_of(rng, (30, 30)), plane_of(rng, (1, 5, 5))
    copies = plane.clone(), kernels.clone()
    convolve(plane, kernels, Tiling((30, 30)))
    torch.testing.assert_close((plane, kernels), copies, rtol=0, atol=0)


def test_tile_centres_lie_in_their_tiles():
    tiling = Tiling((100, 150), 64)
    assert tiling.counts == (2, 3)
    x, y = tiling.centres()
    np.testing.assert_array_equal(x.reshape(2, 3)[0], [31.5, 95.5, 149.0])
    np.testing.assert_array_equal(y.reshape(2, 3)[:, 0], [31.5, 95.5])


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 80])
def test_every_flag_of_a_mask_grows_by_a_square(rng, radius):
    mask = np.where(rng.random((60, 50)) < 0.003, rng.integers(1, 64, (60, 50)), 0).astype(np.int16)
    given = torch.from_numpy(mask.copy())
    grown = grow_mask(given, radius).numpy()
    for bit in (1, 2, 4, 8, 16, 32):
        wide = ndimage.maximum_filter((mask & bit) != 0, 2 * radius + 1, mode="constant")
        np.testing.assert_array_equal((grown & bit) != 0, wide)
    np.testing.assert_array_equal(given.numpy(), mask)


def test_a_boolean_mask_grows_too():
    mask = torch.zeros(7, 9, dtype=torch.bool)
    mask[0, 4] = True
    assert int(grow_mask(mask, 1).sum()) == 6


@pytest.mark.parametrize("radius", [1, 3])
def test_box_mean_averages_what_is_inside(rng, radius):
    plane = plane_of(rng, (30, 41))
    padded = np.pad(plane.double().numpy(), radius, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    np.testing.assert_allclose(box_mean(plane, radius).numpy(), np.nanmean(windows, axis=(2, 3)), atol=1e-5)


def test_stamps_are_cut_around_their_pixel_with_zeros_outside(rng):
    plane = plane_of(rng, (20, 30))
    x, y = np.array([15, 0, 29, 3]), np.array([10, 0, 19, 18])
    stamps = gather_stamps(plane, x, y, 7).numpy()
    padded = np.pad(plane.numpy(), 3)
    for stamp, i, j in zip(stamps, x, y, strict=True):
        np.testing.assert_array_equal(stamp, padded[j : j + 7, i : i + 7])
    assert gather_stamps(plane, np.empty(0, int), np.empty(0, int), 7).shape == (0, 7, 7)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(9, 30), (1, 7), (40, 33)])
def test_flags_grow_by_a_square(radius: int, shape: tuple[int, int], rng: np.random.Generator) -> None:
    mask = torch.from_numpy((rng.random(shape) < 0.05).astype(np.int16) * 4 + (rng.random(shape) < 0.05))
    before = mask.clone()
    want = np.zeros(shape, np.int16)
    for y, x in np.argwhere(mask.numpy()):
        want[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] |= mask.numpy()[y, x]
    assert np.array_equal(grow_mask(mask, radius).numpy(), want)
    assert torch.equal(mask, before)


def test_stamps_beyond_the_edge_are_zero_and_told() -> None:
    plane = torch.arange(1.0, 36.0).reshape(5, 7)
    x, y = np.array([3, 0, 6, 40]), np.array([2, 0, 4, 2])
    stamps, inside = gather_stamps(plane, x, y, 3), inside_stamps((5, 7), x, y, 3)
    padded = np.pad(plane.numpy(), 50)
    for stamp, within, cx, cy in zip(stamps.numpy(), inside, x, y, strict=True):
        want = padded[cy + 49 : cy + 52, cx + 49 : cx + 52]
        assert np.array_equal(stamp, want)
        assert np.array_equal(within, want > 0)
    assert gather_stamps(plane, x[:0], y[:0], 3).shape == (0, 3, 3)
    assert gather_stamps(plane, x, y, 11).shape == (4, 11, 11)
