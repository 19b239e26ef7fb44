"""Light of bright stars, bleed trails, and candidates that are told about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import skies
from gueststar.align.halos import move_halo
from gueststar.detect.nearby import halo_flags, informative_flags, spike_flags
from gueststar.ingest.bleeds import follow_bleeds
from gueststar.ingest.bright import FindBrightStars
from gueststar.ingest.prepare import Ingest, prepare_image
from gueststar.night.stored import read_image, write_image
from gueststar.simulate.detector.faults import bleed
from gueststar.simulate.optics.bright import Halo, ghost_pixels, paint_bright
from gueststar.simulate.optics.painter import PsfField, paint_points
from gueststar.types import Difference, Image, Mask, Psf

SHAPE = (576, 640)
FULL_E = 60_000.0
HALO = Halo(share=0.02, slope=2.5, spikes=0.005, angle_rad=0.4, ghosts=0.0, toward_centre=(0.0, 0.0))


def draw(*, star=1e8, ghost=0.0, seed=3, n=120):
    """Counts of a field with one star that saturates at (400, 300), and a ghost of so many sigma at (150, 150)."""
    rng = np.random.default_rng(seed)
    psf = PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0)
    stars = skies.scatter(rng, n, SHAPE, flux=(500.0, 80_000.0), apart=10)
    light = paint_points(SHAPE, stars.x, stars.y, stars.flux, psf)
    if star:
        light = light + paint_points(SHAPE, [400.0], [300.0], [star], psf)
        light = light + paint_bright(SHAPE, [400.0], [300.0], [star], psf, halo=HALO, cut=0.02)
    if ghost:
        dx = (np.arange(SHAPE[1]) - 150.0).astype("f4")[None, :]
        dy = (np.arange(SHAPE[0]) - 150.0).astype("f4")[:, None]
        disc = ghost_pixels(dx, dy, radius=40.0, hole=0.35)
        light = light + disc * (ghost * skies.NOISE_E / disc.max())
    return np.minimum(skies.expose(light, rng), FULL_E).astype("f4"), stars


@pytest.fixture(scope="module")
def bright():
    counts, stars = draw()
    return prepare_image(counts, saturation_adu=FULL_E), stars


def test_a_halo_is_told_and_nothing_is_dropped_for_it(bright):
    image, _ = bright
    y, x = np.mgrid[: image.halo.shape[0], : image.halo.shape[1]] * 8 + 3.5
    r = np.hypot(x - 400, y - 300)
    assert image.halo[r < 40].all()
    assert not image.halo[r > 250].any()
    assert not (image.numpy("mask") & Mask.BRIGHT_STAR).any()
    # The mask drops next to nothing but the core.
    core = np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([300, 400])[:, None, None])) < 40
    assert (image.numpy("mask")[~core] != 0).mean() < 0.002


@pytest.mark.parametrize("star", [3e7, 1e8, 3e8])
def test_the_brighter_the_star_the_wider_its_halo(star):
    counts, _ = draw(star=star)
    halo = prepare_image(counts, saturation_adu=FULL_E).halo
    # Where the aureole alone is 0.2 sigma, flux * share * (r^2 + c^2)^(-1.25) / total.
    r = np.arange(4.0, 400.0)
    profile = star * HALO.share * (r**2 + 8.4**2) ** -1.25
    total = 2 * np.pi * (np.arange(0.5, 500) * (np.arange(0.5, 500) ** 2 + 8.4**2) ** -1.25).sum()
    expected = r[np.flatnonzero(profile / total > 0.2 * skies.NOISE_E)[-1]]
    measured = np.sqrt(halo.sum() * 64 / np.pi)
    assert measured == pytest.approx(expected, rel=0.35)


def test_frames_without_saturated_stars_have_no_halo():
    counts, _ = draw(star=0.0)
    assert prepare_image(counts, saturation_adu=FULL_E).halo is None
    counts, _ = draw()
    off = Ingest(bright_stars=FindBrightStars(enabled=False))
    assert prepare_image(counts, saturation_adu=FULL_E, options=off).halo is None


def test_a_ghost_is_seen_when_it_is_bright_enough(bright):
    image, _ = bright
    spot = np.s_[14:24, 14:24]
    assert not image.halo[spot].any()
    counts, _ = draw(ghost=0.6)
    assert prepare_image(counts, saturation_adu=FULL_E).halo[spot].mean() > 0.5
    # One of a twentieth of the noise cannot be told from the sky.
    counts, _ = draw(ghost=0.05)
    assert not prepare_image(counts, saturation_adu=FULL_E).halo[spot].any()


def test_a_halo_is_stored_and_read(bright, tmp_path):
    image, _ = bright
    write_image(tmp_path / "image.fits", image)
    np.testing.assert_array_equal(read_image(tmp_path / "image.fits").halo, image.halo)


def test_a_halo_moves_with_the_reference():
    halo = np.zeros((20, 30), bool)
    halo[5:8, 10:14] = True
    moved = move_halo(halo, lambda points: points + np.array([16.0, -8.0]), (160, 240))
    expected = np.zeros_like(halo)
    expected[6:9, 8:12] = True
    np.testing.assert_array_equal(moved, expected)
    assert move_halo(None, lambda points: points, (160, 240)) is None
    assert move_halo(halo, lambda points: points + 1e4, (160, 240)) is None


# --- candidates ------------------------------------------------------------------------------------------------------


def difference_of(data, variance, psf):
    data, variance = (torch.from_numpy(np.asarray(a, "f4")) for a in (data, variance))
    mask = torch.zeros(data.shape, dtype=torch.int16)
    return Difference(
        data=data, variance=variance, score=data, flux=data, flux_err=variance, mask=mask, psf=psf,
        science_id="a", reference_id="b", engine="kernel",
    )  # fmt: skip


@pytest.mark.parametrize("fwhm", [2.1, 2.8, 4.0])
def test_spikes_are_told_from_point_sources(fwhm):
    rng = np.random.default_rng(8)
    shape, psf = (420, 420), Psf.from_stamp(skies.Shape(fwhm).stamp(21))
    y, x = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.mgrid[20:400:20, 20:400:20].astype(float))
    sign = np.where(np.arange(x.size) % 2, 1.0, -1.0)
    snr = np.exp(rng.uniform(np.log(6), np.log(100), x.size))
    stars = skies.Stars(x, y, snr * 20.0 / np.sqrt((skies.Shape(fwhm).stamp(21) ** 2).sum()))
    data = np.zeros(shape)
    for one, s in enumerate(sign):
        data += s * skies.paint(shape, stars[one : one + 1], skies.Shape(fwhm))
    data += rng.normal(0, 20.0, shape)
    difference = difference_of(data, np.full(shape, 400.0), psf)
    ix, iy = np.round(x).astype(int), np.round(y).astype(int)
    assert (spike_flags(difference, ix, iy) != 0).mean() < 0.02
    spikes = rng.normal(0, 20.0, shape)
    spikes[iy, ix] += sign * rng.uniform(300.0, 3000.0, x.size)
    flags = spike_flags(difference_of(spikes, np.full(shape, 400.0), psf), ix, iy)
    assert (flags == Mask.COSMIC_RAY).mean() > 0.95
    assert spike_flags(difference, ix[:0], iy[:0]).shape == (0,)


def test_candidates_in_a_halo_say_whose():
    plain = Image.from_arrays(np.zeros((80, 80)), 1.0)
    halo = np.zeros((10, 10), bool)
    halo[2, 3] = True
    psf = Psf.from_stamp(skies.Shape(2.8).stamp(21))
    difference = difference_of(np.zeros((80, 80)), np.ones((80, 80)), psf)
    x, y = np.array([27, 40, 79]), np.array([20, 20, 79])
    lit = replace(plain, halo=halo)
    assert halo_flags(lit, x, y).tolist() == [Mask.BRIGHT_STAR, 0, 0]
    assert informative_flags(difference, lit, plain, x, y).tolist() == [Mask.BRIGHT_STAR, 0, 0]
    assert informative_flags(difference, plain, lit, x, y).tolist() == [Mask.BRIGHT_STAR | Mask.REFERENCE, 0, 0]


# --- bleeding --------------------------------------------------------------------------------------------------------


def test_bleed_trails_are_flagged_to_their_ends():
    rng = np.random.default_rng(5)
    light = paint_points(SHAPE, [400.0], [300.0], [2e7], PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0)) + skies.SKY_E
    bled = bleed(light.astype("f4"), 20_000.0)
    # Real trails fade: charge is left behind in the last pixels.
    column = bled[:, 400]
    ends = np.flatnonzero(column > 10_000)[[0, -1]]
    bled[ends[0] - 25 : ends[0], 400] += np.linspace(100.0, 15_000.0, 25, dtype="f4")
    counts = (rng.poisson(bled) + rng.normal(0, 3.0, SHAPE)).astype("f4")
    full = counts >= 0.95 * 20_000.0
    found = follow_bleeds(counts, full)
    assert found[ends[0] - 24 : ends[1], 400].all()
    assert not found[: ends[0] - 30].any()
    assert (found & ~full)[:, :380].sum() == 0
    options = {"saturation_adu": 20_000.0, "psf": Psf.from_stamp(skies.Shape(2.8).stamp(21))}
    with_it = prepare_image(counts, bleeding=True, **options).numpy("mask") & Mask.SATURATED
    without = prepare_image(counts, **options).numpy("mask") & Mask.SATURATED
    assert with_it[ends[0] - 20, 400]
    assert not without[ends[0] - 20, 400]


def test_short_cores_have_no_trails():
    full = np.zeros(SHAPE, bool)
    full[100:105, 100:105] = True
    counts = np.full(SHAPE, 100.0, "f4")
    np.testing.assert_array_equal(follow_bleeds(counts, full), full)
