"""Triplet cutouts: the candidate in the centre, NaN where there is nothing, the sky's noise beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gueststar.errors import ConfigError
from gueststar.stamps import CutStamps
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image, Mask, Psf

SHAPE = (150, 180)


def planes(rng):
    """Science, reference and difference whose pixels tell where they are."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    science = Image.from_arrays(1000 * y + x, 100.0)
    reference = Image.from_arrays(2.0 * (1000 * y + x), 25.0)
    plane = torch.from_numpy(-(1000 * y + x))
    difference = Difference(
        data=plane, variance=torch.full(SHAPE, 125.0), score=plane, flux=plane, flux_err=plane,
        mask=torch.zeros(SHAPE, dtype=torch.int16), psf=Psf.from_stamp(np.ones((5, 5))),
        science_id="s", reference_id="r", engine="kernel",
    )  # fmt: skip
    return science, reference, difference


def candidates_at(*points) -> Candidates:
    columns = {column.name: np.zeros(len(points), column.dtype) for column in CANDIDATE_COLUMNS}
    columns["x"], columns["y"] = (np.array(axis, float) for axis in zip(*points, strict=True))
    columns["candidate_id"] = np.array([f"id{i}" for i in range(len(points))])
    return Candidates.from_columns(columns)


@pytest.mark.parametrize("size", [21, 63, 65])
def test_the_candidate_is_in_the_central_pixel(rng, size):
    images = planes(rng)
    stamps = CutStamps(size=size)(candidates_at((90.4, 70.6), (60.0, 75.0)), *images)
    assert stamps.cube.shape == (2, 3, size, size)
    assert stamps.cube.dtype == np.float32
    np.testing.assert_array_equal(stamps.candidate_id, ["id0", "id1"])
    half = size // 2
    centre = stamps.cube[:, :, half, half]
    np.testing.assert_array_equal(centre, [[71090, 142180, -71090], [75060, 150120, -75060]])
    whole = images[0].numpy()[71 - half : 72 + half, 90 - half : 91 + half]
    if size < 65:
        np.testing.assert_array_equal(stamps.cube[0, 0], whole)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (179, 149), (3.2, 149.4), (178.7, 20)])
def test_outside_the_frame_there_is_nan(rng, x, y):
    stamps = CutStamps(size=31)(candidates_at((x, y)), *planes(rng))
    ix, iy = round(x), round(y)
    rows, columns = np.mgrid[iy - 15 : iy + 16, ix - 15 : ix + 16]
    outside = (rows < 0) | (columns < 0) | (rows >= SHAPE[0]) | (columns >= SHAPE[1])
    for plane in stamps.cube[0]:
        np.testing.assert_array_equal(np.isnan(plane), outside)


def test_pixels_without_data_are_nan_and_other_flags_are_kept(rng):
    science, reference, difference = planes(rng)
    mask = torch.zeros(SHAPE, dtype=torch.int16)
    mask[70, 90], mask[71, 91] = int(Mask.NO_DATA), int(Mask.SATURATED)
    reference = Image(reference.data, reference.variance, mask)
    stamps = CutStamps(size=21)(candidates_at((90, 70)), science, reference, difference)
    assert np.isnan(stamps.cube[0, 1, 10, 10])
    assert np.isnan(stamps.cube).sum() == 1


def test_sigma_is_that_of_the_sky_not_of_the_source(rng):
    science, reference, difference = planes(rng)
    variance = science.variance.clone()
    variance[60:80, 80:100] = 1e6  # the photon noise of a bright star
    stamps = CutStamps(size=21)(
        candidates_at((90, 70)), Image(science.data, variance, science.mask), reference, difference
    )
    np.testing.assert_allclose(stamps.sigma[0], [10.0, 5.0, np.sqrt(125.0)], rtol=1e-3)


def test_no_candidates_give_no_stamps(rng):
    stamps = CutStamps()(Candidates.empty(), *planes(rng))
    assert stamps.cube.shape == (0, 3, 63, 63)
    assert stamps.sigma.shape == (0, 3)
    assert len(stamps) == 0


def test_planes_are_left_alone(rng):
    images = planes(rng)
    before = [image.data.clone() for image in images]
    stamps = CutStamps(size=21)(candidates_at((90, 70)), *images)
    stamps.cube[:] = 0.0
    torch.testing.assert_close([image.data for image in images], before, rtol=0, atol=0)


@pytest.mark.parametrize("size", [64, 19, 257])
def test_sizes(size):
    with pytest.raises(ValidationError):
        CutStamps(size=size)
    with pytest.raises(ConfigError, match=f"size = {size}"):
        CutStamps.parse({"size": size})
