"""What resampling keeps: fluxes, positions, the PSF's variation; and how it correlates the noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import skies
from gueststar.align.resample import _continued, resample
from gueststar.types import Image, Psf, Stars

SHAPE = (260, 300)
CENTRE = (149.5, 129.5)
MOVES = {
    "30 deg": skies.Affine(rotation_deg=30.0, shift=(0.3, -0.4), centre=CENTRE),
    "90 deg": skies.Affine(rotation_deg=90.0, shift=(0.5, 0.2), centre=CENTRE),
    "180 deg": skies.Affine(rotation_deg=180.0, shift=(0.5, 0.5), centre=CENTRE),
    "flip": skies.Affine(flip=True, shift=(0.2, 0.7), centre=CENTRE),
    "third": skies.Affine(scale=1 / 3, rotation_deg=12.0, centre=CENTRE),
    "three": skies.Affine(scale=3.0, rotation_deg=-8.0, centre=CENTRE),
}
BIG = 1200


def image(plane, *, psf=None, variance=4.0) -> Image:
    psf = Psf.from_stamp(skies.Shape(2.8).stamp(21)) if psf is None else psf
    return Image.from_arrays(plane, variance, psf=psf, stars=Stars.empty())


def onto_big(camera):
    """The map onto the middle of a reference that covers all of it."""
    offset = np.floor(BIG / 2.0 - np.array(CENTRE))
    return lambda points: camera(points) + offset


@pytest.mark.parametrize("name", MOVES)
def test_stars_keep_flux_and_place(name):
    camera = MOVES[name]
    rng = np.random.default_rng(90)
    stars = skies.scatter(rng, 10, SHAPE, flux=(1e4, 1e5), margin=30, apart=44)
    mapping, fwhm = onto_big(camera), 3.0 * max(1.0, camera.scale)
    x, y = mapping(stars.points).T
    done = resample(
        image(skies.paint((BIG, BIG), skies.Stars(x, y, stars.flux), skies.Shape(fwhm))),
        mapping,
        image(np.zeros(SHAPE)),
    )
    plane = done.image.numpy()
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for a, b, flux in zip(stars.x, stars.y, stars.flux, strict=True):
        near = np.hypot(xx - a, yy - b) < 20
        light = plane[near]
        assert light.sum() == pytest.approx(flux, rel=3e-3)
        assert (light * xx[near]).sum() / light.sum() == pytest.approx(a, abs=0.02)
        assert (light * yy[near]).sum() / light.sum() == pytest.approx(b, abs=0.02)
    assert done.grid_error_px < 1e-6


@pytest.mark.parametrize("name", MOVES)
def test_the_noise_is_as_correlated_as_stated(name):
    camera = MOVES[name]
    rng = np.random.default_rng(91)
    done = resample(image(rng.normal(0.0, 2.0, (BIG, BIG))), onto_big(camera), image(np.zeros(SHAPE)))
    pull = done.image.numpy() / np.sqrt(done.image.numpy("variance"))
    assert pull.std() == pytest.approx(done.noise.scatter, rel=0.05 if name == "third" else 0.015)
    lag = (np.mean(pull[:, 1:] * pull[:, :-1]) + np.mean(pull[1:] * pull[:-1])) / 2.0 / np.mean(pull**2)
    assert lag == pytest.approx(done.noise.lag1, abs=0.015)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.5, -1.5), (0.25, 0.1)])
def test_the_noise_of_a_shift_is_as_correlated_as_stated(shift):
    rng = np.random.default_rng(92)
    done = resample(
        image(rng.normal(0.0, 2.0, (BIG, BIG))), onto_big(skies.Affine(shift=shift)), image(np.zeros((512, 512)))
    )
    pull = done.image.numpy() / np.sqrt(done.image.numpy("variance"))
    assert pull.std() == pytest.approx(done.noise.scatter, rel=0.01)
    if shift == (0.0, 0.0):
        assert done.noise.scatter == pytest.approx(1.0)
        assert done.noise.lag1 == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", ["shift", "90 deg", "flip", "30 deg"])
def test_the_psf_keeps_its_variation_over_the_chip(name):
    """A PSF that is wider to the right of the reference is wider where that side comes to lie."""
    camera = MOVES.get(name, skies.Affine(shift=(12.3, -4.6)))
    stamps = [skies.Shape(fwhm).stamp(25) for fwhm in (2.8, 3.4, 4.0)]
    stamps = [stamp / stamp.sum() for stamp in stamps]
    slope, bend = (stamps[2] - stamps[0]) / 2.0, (stamps[2] + stamps[0]) / 2.0 - stamps[1]
    zero = np.zeros((25, 25))
    # In the order 1, u, v, u^2, u v, v^2.
    planes = torch.tensor(np.stack([stamps[1], slope, zero, bend, zero, zero]), dtype=torch.float32)
    psf = Psf(planes, 3.4, 0.0, 2, SHAPE)
    done = resample(image(np.zeros(SHAPE), psf=psf), camera, image(np.zeros(SHAPE))).image.psf
    assert done.order == 2
    assert float(done.planes[0].sum()) == pytest.approx(1.0, abs=1e-5)
    for x, y in ((60.0, 60.0), (220.0, 80.0), (150.0, 200.0)):
        there = camera(np.array([[x, y]]))
        mine, truth = done.at(x, y)[0].numpy(), psf.at(*there[0])[0].numpy()
        k, m = mine.shape[0] // 2, truth.shape[0] // 2
        assert mine[k, k] == pytest.approx(truth[m, m], rel=0.01)
    centre = camera(np.array([[(SHAPE[1] - 1) / 2.0, (SHAPE[0] - 1) / 2.0]]))
    assert float(done.stamp.max()) == pytest.approx(float(psf.at(*centre[0]).max()), rel=0.01)


def test_a_map_goes_on_straight_beyond_the_image():
    """Inside nothing changes; beyond, a cubic goes on with its slope at the edge, in the corners too."""

    def cubic(points):
        return points + 1e-7 * (points - 100.0) ** 3

    continued = _continued(cubic, SHAPE)
    inside = np.array([[0.0, 0.0], [299.0, 259.0], [123.4, 56.7]])
    np.testing.assert_allclose(continued(inside), cubic(inside), atol=1e-12)
    edge = np.array([299.0, 259.0])
    slope = (cubic(edge) - cubic(edge - 32.0)) / 32.0
    np.testing.assert_allclose(continued(np.add([edge], (20.0, 0.0)))[0], cubic(edge) + slope * (20.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(continued(np.add([edge], (20.0, 9.0)))[0], cubic(edge) + slope * (20.0, 9.0), atol=1e-9)
