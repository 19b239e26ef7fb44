"""Far wings, halos of bright stars and the level of the sky, planted in a difference and taken out again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gueststar.subtract.bins import Bins, any_in_bin, binned, unbinned
from gueststar.subtract.residual_light import subtract_residual_light
from gueststar.types import Image, Mask, Psf, Stars

SIGMA = 10.0
PLACES = np.array([[60.0, 70.0], [200.0, 90.0], [120.0, 200.0], [250.0, 230.0], [40.0, 180.0]])


def stamp(fwhm: float = 3.0) -> np.ndarray:
    y, x = np.mgrid[-10:11, -10:11]
    gauss = np.exp(-(x**2 + y**2) * 4.0 * np.log(2.0) / fwhm**2)
    return (gauss / gauss.sum()).astype(np.float32)


def stars(flux: float) -> Stars:
    n = len(PLACES)
    snr = np.full(n, flux / (SIGMA * 4.0))
    columns = [PLACES[:, 0], PLACES[:, 1], np.full(n, flux), snr, np.full(n, 3.0), np.ones(n), np.full(n, 0.1 * flux)]
    return Stars(*columns, flags=np.zeros(n, np.int64))


def frame(flux: float, *, shape: tuple[int, int] = (288, 320), mask: np.ndarray | None = None) -> Image:
    """Stars of one flux on a dark sky, without noise."""
    data = np.zeros(shape, np.float32)
    for x, y in PLACES.astype(int):
        data[y - 10 : y + 11, x - 10 : x + 11] += flux * stamp()
    image = Image.from_arrays(data, SIGMA**2, mask=mask, psf=Psf.from_stamp(stamp()))
    return Image(image.data, image.variance, image.mask, psf=image.psf, stars=stars(flux))


def distances(shape: tuple[int, int]) -> list[np.ndarray]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return [np.hypot(x - cx, y - cy) for cx, cy in PLACES]


def cleaned(extra: np.ndarray, image: Image, *, seed: int = 1) -> tuple[np.ndarray, dict[str, object]]:
    """A noisy difference that holds something extra, after the subtraction of residual light."""
    noise = np.random.default_rng(seed).normal(0.0, SIGMA, image.shape).astype(np.float32)
    data = torch.from_numpy(noise + extra.astype(np.float32))
    before = data.clone()
    done, facts = subtract_residual_light(
        data, image.variance, image.mask, image, image, any_in_bin(image.data > SIGMA)
    )
    assert torch.equal(before, data)
    return done.numpy() - noise, facts


def test_wings_are_taken_out() -> None:
    image = frame(2e5)
    wings = sum(
        np.where((r > 5.0) & (r < 18.0), 2e5 * 1e-3 / (1.0 + (r / 6.0) ** 3), 0.0) for r in distances(image.shape)
    )
    left, facts = cleaned(wings, image)
    ring = np.min(distances(image.shape), axis=0)
    ring = (ring > 7.0) & (ring < 17.0)
    assert wings[ring].mean() > 1.0 * SIGMA
    assert abs(left[ring].mean()) < 0.08 * wings[ring].mean()
    assert facts["wings_share"] > 0.01


def test_halo_of_a_saturated_star_is_taken_out_and_a_transient_beside_it_stays() -> None:
    shape = (288, 320)
    flags = np.zeros(shape, np.int16)
    far = distances(shape)
    flags[far[0] < 9.0] = int(Mask.SATURATED)
    image = frame(1e3, mask=flags)
    halo = np.where(far[0] < 30.0, 400.0 * np.exp(-far[0] / 8.0), 0.0)
    extra = halo.copy()
    extra[60:81, 74:95] += 1500.0 * stamp()  # 14 px from the star
    left, facts = cleaned(extra, image)
    ring = (far[0] > 10.0) & (far[0] < 25.0)
    near = np.zeros(shape, bool)
    near[60:81, 74:95] = True
    assert facts["halos_subtracted"] >= 1
    assert abs(left[ring & ~near].mean()) < 0.05 * halo[ring & ~near].mean()
    flux = (left[60:81, 74:95] * stamp()).sum() / (stamp() ** 2).sum()
    assert flux == pytest.approx(1500.0, rel=0.12)


def test_what_a_bright_star_varies_by_stays() -> None:
    """A star of S/N 5,000 that is not saturated, 10 % brighter than before: round, centred, and no halo."""
    image = frame(2e5)
    extra = np.zeros(image.shape, np.float32)
    extra[60:81, 50:71] += 2e4 * stamp()
    left, facts = cleaned(extra, image)
    flux = (left[60:81, 50:71] * stamp()).sum() / (stamp() ** 2).sum()
    assert facts["halos_subtracted"] == 0
    assert flux == pytest.approx(2e4, rel=0.01)


@pytest.mark.parametrize("level", [-8.0, 0.0, 5.0])
def test_level_of_empty_sky_becomes_zero(level: float) -> None:
    image = frame(500.0)
    left, facts = cleaned(np.full(image.shape, level), image)
    assert abs(np.median(left)) < 0.05 * SIGMA
    assert facts["difference_level_e"] == pytest.approx(level, abs=0.1 * SIGMA)


def test_nothing_to_take_out_leaves_the_noise() -> None:
    image = frame(2e5)
    left, facts = cleaned(np.zeros(image.shape), image)
    assert np.abs(left).max() < 0.6 * SIGMA
    assert left.std() < 0.1 * SIGMA
    assert facts["wings_share"] < 0.01


def test_pixels_without_data_stay_zero() -> None:
    flags = np.zeros((288, 320), np.int16)
    flags[:, :40] = int(Mask.NO_DATA)
    image = frame(1e3, mask=flags)
    data = torch.where(image.mask == 0, torch.full(image.shape, 7.0), torch.zeros(image.shape))
    done, _ = subtract_residual_light(data, image.variance, image.mask, image, image, any_in_bin(image.data > SIGMA))
    assert (done[:, :40] == 0).all()


@pytest.mark.parametrize("shape", [(64, 64), (65, 71), (101, 80)])
def test_bins_of_any_shape(shape: tuple[int, int]) -> None:
    y, x = torch.meshgrid(torch.arange(shape[0]) * 1.0, torch.arange(shape[1]) * 1.0, indexing="ij")
    plane = 2.0 * x + 3.0 * y
    again = unbinned(binned(plane), shape)
    assert again.shape == plane.shape
    assert (again - plane)[2:-3, 2:-3].abs().max() < 1e-3
    mask = torch.zeros(shape, dtype=torch.int16)
    mask[5, 7] = int(Mask.BAD)
    bins = Bins.of(plane, torch.full(shape, 4.0), mask)
    assert not bins.whole[2, 3]
    assert int((~bins.whole).sum()) == 1
    assert bins.variance[0, 0] == pytest.approx(1.0)
