"""Moments of cells of a plane, and the smooth map through them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as nn

from gueststar.subtract.cells import cell_moments, smooth_map


def test_moments_of_cells_of_different_noise(rng: np.random.Generator) -> None:
    # Two halves whose noise differs by a factor of 3, off zero, with outliers that clipping takes out.
    width = np.where(np.arange(512) < 256, 1.0, 3.0)
    plane = rng.normal(0.0, 1.0, (256, 512)) * width + np.where(np.arange(512) < 256, -0.5, 2.0)
    spikes = rng.random(plane.shape) < 0.01
    plane[spikes] += 50.0
    found = cell_moments(torch.from_numpy(plane), torch.ones(plane.shape, dtype=torch.bool), 64, 100, sigma=4.0)
    assert found.mean.shape == found.std.shape == (4, 8)
    mean, std = found.mean.numpy(), found.std.numpy()
    # 4096 pixels a cell: errors of 1.6 % and 1.1 % of sigma, of which 4.5 sigma are allowed.
    assert np.abs(mean[:, :4] + 0.5).max() < 0.07
    assert np.abs(mean[:, 4:] - 2.0).max() < 0.21
    assert np.abs(std[:, :4] - 1.0).max() < 0.05
    assert np.abs(std[:, 4:] / 3.0 - 1.0).max() < 0.05


def test_pixels_that_do_not_count_do_not_matter(rng: np.random.Generator) -> None:
    plane = torch.from_numpy(rng.normal(size=(128, 130)))
    use = torch.from_numpy(rng.random(plane.shape) < 0.5)
    use[:64, :65] = False
    spoilt = torch.where(use, plane, torch.nan)
    a, b = (cell_moments(values, use, 64, 100) for values in (plane, spoilt))
    assert torch.equal(a.mean.nan_to_num(9.0), b.mean.nan_to_num(9.0))
    assert torch.isnan(a.mean[0, 0])
    assert torch.isfinite(a.std[1]).all()


@pytest.mark.parametrize("shape", [(90, 160), (97, 64), (288, 33)])
def test_map_is_bilinear_between_cells(shape: tuple[int, int], rng: np.random.Generator) -> None:
    cells = torch.from_numpy(rng.normal(size=(2, 2)))  # too few to be averaged
    want = nn.interpolate(cells[None, None], size=shape, mode="bilinear", align_corners=False)[0, 0]
    assert torch.allclose(smooth_map(cells, shape, empty=0.0), want, atol=1e-12)


def test_map_fills_what_is_not_known() -> None:
    nan = float("nan")
    filled = smooth_map(torch.tensor([[1.0, nan], [1.0, 1.0]]), (20, 20), empty=7.0)
    assert torch.allclose(filled, torch.ones(20, 20))
    assert torch.allclose(smooth_map(torch.full((3, 3), nan), (20, 20), empty=7.0), torch.full((20, 20), 7.0))
