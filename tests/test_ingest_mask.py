"""Pixels not to believe: cosmic rays among stars, saturation, and what is put in their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import skies
from gueststar.ingest.mask import FindCosmicRays, fill_flagged, flag_borders, flag_constant, flag_saturated
from gueststar.ingest.prepare import Ingest, prepare_image
from gueststar.types import Mask, Psf

SHAPE = (400, 400)


def track(rng, length):
    """Charge of a muon: a straight line of touching pixels, each with its own loss of energy."""
    angle, start = rng.uniform(0, np.pi), rng.uniform(30, 370, 2)
    steps = np.arange(0, length, 0.1)
    pixels = np.unique(
        np.round(start + steps[:, None] * (np.cos(angle), np.sin(angle))).astype(int).clip(1, 398), axis=0
    )
    return pixels[:, 0], pixels[:, 1], rng.uniform(300.0, 1500.0, len(pixels))


def rays_and_stars(fwhm, *, beta=None, n_single=80, n_tracks=40):
    rng = np.random.default_rng(int(10 * fwhm))
    stars = skies.scatter(rng, 250, SHAPE, flux=(500.0, 150_000.0), margin=3, apart=3 * fwhm)
    light = skies.paint(SHAPE, stars, skies.Shape(fwhm, beta))
    rays = [(rng.integers(3, 397, 1), rng.integers(3, 397, 1), rng.uniform(250.0, 4000.0, 1)) for _ in range(n_single)]
    rays += [track(rng, rng.uniform(3, 20)) for _ in range(n_tracks)]
    # A ray on the flank of a bright star drowns in it; that is no fault.
    rays = [ray for ray in rays if light[ray[1], ray[0]].max() < 100.0]
    charge = np.zeros(SHAPE)
    for x, y, energy in rays:
        charge[y, x] += energy
    return stars, light, rays, charge, skies.expose(light, rng) + rng.poisson(charge).astype("f4")


@pytest.mark.parametrize(("fwhm", "beta"), [(2.1, None), (2.5, None), (2.5, 3.0), (4.0, None), (4.0, 3.0)])
def test_rays_are_found_and_stars_kept(fwhm, beta):
    stars, light, rays, charge, counts = rays_and_stars(fwhm, beta=beta)
    image = prepare_image(counts)
    flagged = (image.numpy("mask") & Mask.COSMIC_RAY) != 0
    # Found is a ray of whose charge less than a fifth remains.
    single = [flagged[y[0], x[0]] for x, y, _ in rays if len(x) == 1]
    tracks = [(energy * flagged[y, x]).sum() > 0.8 * energy.sum() for x, y, energy in rays if len(x) > 1]
    assert np.mean(single) >= 0.95
    assert np.mean(tracks) >= 0.95
    x, y = np.round(stars.x).astype(int), np.round(stars.y).astype(int)
    near_ray = np.array([charge[j - 3 : j + 4, i - 3 : i + 4].any() for i, j in zip(x, y, strict=True)])
    core = np.array([flagged[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2].any() for i, j in zip(x, y, strict=True)])
    assert core[~near_ray].mean() < 0.005
    # And little of the sky goes with it.
    wrong = (
        flagged
        & (light < 1.0)
        & (torch.nn.functional.max_pool2d(torch.from_numpy(charge)[None], 3, 1, 1)[0] == 0).numpy()
    )
    assert wrong.sum() < 1e-3 * flagged.size


@pytest.mark.parametrize("fwhm", [2.1, 2.5, 4.0])
def test_stars_at_every_place_in_the_pixel_are_kept(fwhm):
    """The sharpest case: bright stars centred on a pixel, on an edge and on a corner of it."""
    y, x = np.mgrid[25:380:35, 25:380:35]
    phase = np.linspace(0, 1, x.size, endpoint=False)
    stars = skies.Stars(x.ravel() + phase, y.ravel() + (7 * phase) % 1.0, np.full(x.size, 100_000.0))
    image = skies.photograph(SHAPE, stars, skies.Shape(fwhm), np.random.default_rng(3))
    near = skies.paint(SHAPE, stars, skies.Shape(fwhm)) > skies.NOISE_E
    assert not ((image.numpy("mask") & Mask.COSMIC_RAY) != 0)[near].any()


def test_dead_and_negative_pixels_are_found(rng):
    counts = skies.expose(skies.paint(SHAPE, skies.scatter(rng, 100, SHAPE), skies.Shape(2.8)), rng)
    counts[100, 40:360:20] = 0.0
    image = prepare_image(counts)
    assert (image.numpy("mask")[100, 40:360:20] & Mask.COSMIC_RAY != 0).mean() >= 0.95


def test_rays_are_filled_from_their_neighbours(rng):
    _, light, rays, charge, counts = rays_and_stars(2.5)
    image = prepare_image(counts)
    flagged = (image.numpy("mask") & Mask.COSMIC_RAY) != 0
    filled = image.numpy()[flagged & (charge > 0) & (light < 1.0)]
    assert abs(filled.mean()) < skies.NOISE_E
    assert np.abs(filled).max() < 6 * skies.NOISE_E


def test_stars_under_a_ray_say_so(rng):
    stars = skies.scatter(rng, 60, SHAPE, flux=(5e3, 5e4), apart=25, margin=15)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(3.0)), rng)
    x, y = np.round(stars.x[:10]).astype(int), np.round(stars.y[:10]).astype(int)
    counts[y, x] += 60_000.0
    image = prepare_image(counts)
    found, index = skies.matched(stars[:10], image.stars.x, image.stars.y, radius=2.0)
    assert len(found) == 10
    assert ((image.stars.flags[index] & Mask.COSMIC_RAY) != 0).all()


def test_looking_for_rays_can_be_turned_off():
    _, _, _, _, counts = rays_and_stars(2.5)
    image = prepare_image(counts, options=Ingest(cosmic_rays=FindCosmicRays(enabled=False)))
    assert not (image.numpy("mask") & Mask.COSMIC_RAY).any()


def test_an_empty_sky_has_no_rays(rng):
    data = rng.normal(0.0, 5.0, SHAPE).astype(np.float32)
    psf = Psf.from_stamp(skies.Shape(2.5).stamp(15))
    flags = FindCosmicRays()(data, np.full(SHAPE, 25.0, np.float32), np.zeros(SHAPE, np.int16), psf)
    assert (flags != 0).sum() <= 3


def test_flagged_pixels_are_not_looked_at_and_inputs_left_alone():
    data = np.zeros((60, 60), np.float32)
    data[20, 20] = data[40, 40] = 1000.0
    variance, mask = np.full((60, 60), 25.0, np.float32), np.zeros((60, 60), np.int16)
    mask[40, 40] = int(Mask.BAD)
    copies = data.copy(), variance.copy(), mask.copy()
    flags = FindCosmicRays()(data, variance, mask, Psf.from_stamp(skies.Shape(2.5).stamp(15)))
    assert flags[20, 20] == Mask.COSMIC_RAY
    assert flags[40, 40] == 0
    for array, copy in zip((data, variance, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- saturation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grow_px", [0, 2, 4])
def test_saturated_cores_are_grown_but_hot_pixels_are_not(grow_px):
    full = np.zeros((60, 60), bool)
    full[20:25, 30:34] = True
    full[50, 10] = True
    flags = flag_saturated(full, grow_px=grow_px)
    grown = np.zeros((60, 60), bool)
    grown[20 - grow_px : 25 + grow_px, 30 - grow_px : 34 + grow_px] = True
    grown[50, 10] = True
    np.testing.assert_array_equal(flags == Mask.SATURATED, grown)
    assert not flag_saturated(np.zeros((60, 60), bool)).any()


def test_a_saturated_star_is_flagged_to_its_rim(rng):
    level = 20_000.0
    bright = skies.Stars(np.array([200.0]), np.array([200.0]), np.array([3e6]))
    stars = skies.scatter(rng, 80, SHAPE, flux=(1e3, 5e4), apart=12, avoid=bright)
    light = skies.paint(SHAPE, stars + bright, skies.Shape(3.0))
    counts = np.minimum(skies.expose(light, rng), level)
    image = prepare_image(counts, saturation_adu=level)
    saturated = (image.numpy("mask") & Mask.SATURATED) != 0
    clipped = counts >= level
    assert saturated[clipped].all()
    assert saturated.sum() > clipped.sum()
    assert image.saturation == pytest.approx(level - skies.SKY_E, rel=0.01)
    found, index = skies.matched(bright, image.stars.x, image.stars.y, radius=4.0)
    assert len(found) == 1
    assert image.stars.flags[index[0]] & Mask.SATURATED


# --- filling ---------------------------------------------------------------------------------------------------------


def test_holes_are_filled_from_their_rim_inwards(rng):
    y, x = np.mgrid[:40, :40].astype(np.float32)
    plane = x + 2 * y
    flagged = np.zeros((40, 40), bool)
    flagged[10, 10] = flagged[20:23, 20:23] = flagged[0, 0] = True
    damaged = np.where(flagged, np.float32(1e6), plane)
    filled = fill_flagged(damaged, flagged)
    np.testing.assert_array_equal(filled[~flagged], plane[~flagged])
    assert filled[10, 10] == pytest.approx(plane[10, 10])
    np.testing.assert_allclose(filled[20:23, 20:23], plane[20:23, 20:23], atol=3.0)
    assert damaged[10, 10] == 1e6


def test_what_is_too_wide_to_fill_becomes_zero():
    flagged = np.zeros((40, 40), bool)
    flagged[10:30, 10:30] = True
    filled = fill_flagged(np.full((40, 40), 5.0, np.float32), flagged)
    assert filled[20, 20] == 0.0
    assert filled[10, 20] == 5.0


# --- borders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize(
    ("level", "noise"), [(0.0, 3.0), (300.0, 20.0), (400.0, 70.0)], ids=["overscan", "shade", "noisy"]
)
def test_borders_that_were_not_exposed_are_bad(rng, side, level, noise):
    pixels = rng.normal(400.0, 20.0, (300, 340))
    strip = {"top": np.s_[-9:], "bottom": np.s_[:9], "left": np.s_[:, :9], "right": np.s_[:, -9:]}[side]
    pixels[strip] = rng.normal(level, noise, pixels[strip].shape)
    expected = np.zeros(pixels.shape, bool)
    expected[strip] = True
    np.testing.assert_array_equal(flag_borders(pixels.astype(np.float32)) == Mask.BAD, expected)


def test_borders_of_a_good_frame_are_good(rng):
    """Neither a slope of the sky, nor vignetting, nor stars at the edge make a border bad."""
    y, x = np.mgrid[:300, :340]
    sky = 400.0 * (1.0 + 0.2 * (x / 340 - 0.5)) * (1.0 - 0.3 * ((x - 170) ** 2 + (y - 150) ** 2) / (170**2 + 150**2))
    stars = skies.scatter(rng, 150, (300, 340), flux=(500.0, 1e5), margin=-4)
    counts = skies.expose(skies.paint((300, 340), stars, skies.Shape(3.0)), rng, sky=sky)
    assert not flag_borders(counts).any()


# --- undersampled and trailed ----------------------------------------------------------------------------------------


def test_flanks_of_a_barely_sampled_psf_with_a_corner_are_kept():
    """A coma of about 2 px: light that falls along a contour faster than from the middle of the star.

    A quarter of these stars were flagged when every sharp pixel counted by itself; some remain.
    """
    rng = np.random.default_rng(31)
    stars = skies.scatter(rng, 300, SHAPE, flux=(500.0, 40_000.0), margin=8, apart=12)
    shape = skies.Shape(1.7)
    light = sum(
        share * skies.paint(SHAPE, skies.Stars(stars.x + dx, stars.y + dy, stars.flux), shape)
        for dx, dy, share in ((0.0, 0.0, 0.55), (1.3, -0.5, 0.25), (0.4, 1.2, 0.2))
    )
    flagged = (prepare_image(skies.expose(light, rng)).numpy("mask") & Mask.COSMIC_RAY) != 0
    x, y = np.round(stars.x).astype(int), np.round(stars.y).astype(int)
    core = [flagged[j - 1 : j + 2, i - 1 : i + 2].any() for i, j in zip(x, y, strict=True)]
    assert np.mean(core) < 0.06


# --- constant blocks -------------------------------------------------------------------------------------------------


def test_blocks_of_one_value_are_no_data(rng):
    pixels = rng.normal(100.0, 5.0, (200, 230)).astype("f4")
    pixels[37:90, 51:141] = 7.0
    expected = np.zeros(pixels.shape, np.int16)
    expected[37:90, 51:141] = int(Mask.NO_DATA)
    np.testing.assert_array_equal(flag_constant(pixels), expected)
    pixels[150:180, 20:60] = 5000.0
    assert (flag_constant(pixels)[150:180, 20:60] == Mask.SATURATED).all()
    assert not flag_constant(np.full((80, 80), 3.0, "f4")).any()
    # Whole numbers with little noise agree often, but not in 64 pixels.
    assert not flag_constant(np.round(rng.normal(100.0, 0.4, (400, 400))).astype("f4")).any()
    assert not flag_constant(np.full((80, 80), np.nan, "f4")).any()


def test_blocks_of_nan_and_dead_quadrants_leave_the_rest_as_it_is(rng):
    stars = skies.scatter(rng, 150, SHAPE, flux=(1e3, 5e4), apart=12)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    whole = prepare_image(counts)
    for value in (np.nan, np.inf, 0.0):
        damaged = counts.copy()
        damaged[:130, :170] = value
        image = prepare_image(damaged)
        assert (image.numpy("mask")[:130, :170] & Mask.NO_DATA).all()
        far = np.s_[200:, 200:]
        assert np.abs(image.numpy()[far] - whole.numpy()[far]).mean() < 0.1 * skies.NOISE_E
        assert image.facts["sky_e"] == pytest.approx(whole.facts["sky_e"], abs=0.3 * skies.NOISE_E)
