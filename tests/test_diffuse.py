"""A nebula that fills the frame: sky, noise, stars, PSF, subtraction; and frames without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

import skies
from gueststar import process_pair
from gueststar.diffuse import diffuse_level
from gueststar.ingest.background import Background
from gueststar.ingest.noise import noise_of_structure
from gueststar.ingest.prepare import prepare_image
from gueststar.ingest.psf import MeasurePsf
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.sky.nebula import draw_nebula
from gueststar.simulate.sky.sky_table import Box
from gueststar.simulate.survey import Survey
from gueststar.subtract.bins import Bins
from gueststar.subtract.level import fit_level

SHAPE = (384, 448)
PSF = skies.Shape(3.0)
NO_FLAGS = np.zeros(SHAPE, bool)


def nebula(seed: int, brightness: float) -> np.ndarray:
    """Light with structure on every scale, e-/px, its median `brightness`, as wide as stars are at least."""
    light = draw_nebula(seed, Box(SHAPE, 0.0, 1.0), slope=3.0, contrast=1.0).astype(float)
    return brightness * fftconvolve(light, PSF.stamp(33), mode="same")[64:-64, 64:-64]


def planes(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(a, np.float32)) for a in arrays]


@pytest.fixture(scope="module")
def stars() -> skies.Stars:
    return skies.scatter(np.random.default_rng(5), 90, SHAPE, flux=(4_000.0, 90_000.0), apart=14.0, margin=16.0)


@pytest.mark.parametrize("n", [0, 40, 300])
def test_stars_are_no_diffuse_light(n, rng):
    light = skies.paint(SHAPE, skies.scatter(rng, n, SHAPE), PSF)
    data = skies.expose(light, rng) - skies.SKY_E
    assert diffuse_level(*planes(data, light + skies.NOISE_E**2)) is None


def test_the_level_follows_the_light_and_not_the_stars(stars, rng):
    smooth = 6.0 * skies.NOISE_E * np.exp(-np.hypot(*(np.indices(SHAPE) - 190.0)) / 120.0)
    light = smooth + skies.paint(SHAPE, stars, PSF)
    data = skies.expose(light, rng) - skies.SKY_E
    level = diffuse_level(*planes(data, light + skies.NOISE_E**2))
    assert level is not None
    assert level.shape == SHAPE
    inner = np.s_[40:-40, 40:-40]
    assert np.median(np.abs(level.numpy() - smooth)[inner]) < 0.2 * skies.NOISE_E
    assert np.abs(level.numpy() - smooth)[inner].max() < 1.5 * skies.NOISE_E


def test_planes_smaller_than_a_block_have_none():
    assert diffuse_level(torch.full((20, 400), 1e4), torch.ones(20, 400)) is None


@pytest.mark.parametrize(("rows", "filled"), [(1, False), (2, True)])
def test_a_share_of_the_frame_decides(rows, filled):
    data = torch.zeros(320, 320)
    data[: 32 * rows] = 2.0
    assert (diffuse_level(data, torch.ones(320, 320)) is not None) is filled
    assert diffuse_level(data, torch.ones(320, 320), share=1.0) is None


@pytest.mark.parametrize("seed", [1, 4])
def test_the_sky_beneath_is_a_smooth_surface_unless_the_mesh_is_asked_for(seed, rng):
    counts = skies.expose(nebula(seed, 300.0), rng)
    y, x = (np.linspace(-1.0, 1.0, n) for n in SHAPE)
    terms = np.stack([np.outer(y**j, x**i).ravel() for j in range(3) for i in range(3 - j)], axis=1)
    rest = []
    for share in (0.12, 1.0):
        level = Background(diffuse_share=share).measure(counts, NO_FLAGS).level.ravel()
        rest.append((level - terms @ np.linalg.lstsq(terms, level, rcond=None)[0]).std())
    assert rest[0] < 0.3 * rest[1], rest


@pytest.mark.parametrize("brightness", [0.0, 100.0, 400.0])
def test_the_noise_is_that_of_the_photons_and_not_the_structure(brightness, stars, rng):
    light = nebula(3, brightness) + skies.paint(SHAPE, stars, PSF)
    signal = skies.expose(light, rng) - np.float32(skies.SKY_E)
    noise = noise_of_structure(signal, NO_FLAGS)
    true = skies.SKY_E + skies.READ_NOISE_E**2
    inner = np.s_[32:-32, 32:-32]
    variance = (noise**2 + np.maximum(nebula(3, brightness), 0.0))[inner] / (true + nebula(3, brightness)[inner])
    assert 0.95 < np.median(variance) < 1.4
    plain = Background().measure(signal, NO_FLAGS).noise
    if brightness > 300:
        assert np.median(plain) > 1.3 * np.median(noise)


def test_noise_leaves_flagged_pixels_out(rng):
    signal = rng.normal(0.0, 10.0, SHAPE).astype(np.float32)
    bad = rng.random(SHAPE) < 0.2
    signal[bad] = 1e6
    assert np.median(noise_of_structure(signal, bad)) == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("brightness", [0.0, 100.0, 400.0])
def test_stars_and_psf_are_measured_on_a_nebula(brightness, stars):
    rng = np.random.default_rng(8)
    image = prepare_image(skies.expose(nebula(1, brightness) + skies.paint(SHAPE, stars, PSF), rng))
    assert image.facts["diffuse_light"] is (brightness > 0)
    bright = stars[stars.flux > 20_000.0]
    there, _ = skies.matched(bright, image.stars.x, image.stars.y, radius=0.7)
    assert len(there) >= 0.9 * len(bright)
    assert image.psf.fwhm == pytest.approx(PSF.fwhm, rel=0.06)
    assert image.psf.ellipticity < 0.06
    stamp = image.psf.stamp.numpy()
    true = PSF.stamp(stamp.shape[0])
    assert np.abs(stamp - true).max() < 0.06 * true.max()


@pytest.mark.parametrize("pedestal", [-150.0, 150.0, 1200.0])
def test_what_stars_stand_on_is_not_in_the_psf(pedestal, stars):
    rng = np.random.default_rng(9)
    image = skies.photograph(SHAPE, stars, PSF, rng)
    lifted = image.data + np.float32(pedestal)
    found = MeasurePsf()(lifted, image.variance + abs(pedestal), image.mask, image.stars)
    assert found.fwhm == pytest.approx(PSF.fwhm, rel=0.03)
    assert float(found.stamp.sum()) == pytest.approx(1.0, abs=1e-3)
    assert np.abs(found.stamp.numpy() - image.psf.stamp.numpy()).max() < 0.02 * float(image.psf.stamp.max())


def test_the_fine_level_follows_skies_that_differ_and_no_source(rng):
    ny, nx = SHAPE
    yy, xx = np.indices(SHAPE)
    level = 40.0 * np.sin(2 * np.pi * xx / 240.0) * np.cos(2 * np.pi * yy / 260.0)
    source = skies.paint(SHAPE, skies.Stars(np.array([200.0]), np.array([180.0]), np.array([60_000.0])), PSF)
    data = level + source + rng.normal(0.0, 20.0, SHAPE)
    bins = Bins.of(*planes(data, np.full(SHAPE, 400.0)), torch.zeros(SHAPE, dtype=torch.int16))
    everything = torch.ones(ny // 2, nx // 2, dtype=torch.bool)
    found = fit_level(bins, everything, fine=True).numpy()
    error = found - level.reshape(ny // 2, 2, nx // 2, 2).mean((1, 3))
    assert error[24:-24, 24:-24].std() < 6.0
    assert abs(error[86:95, 95:106].mean()) < 8.0, "beneath the source"
    assert not fit_level(bins, everything).any(), "without it nothing is sky"


@pytest.fixture(scope="module")
def pair():
    quiet = Survey.quiet().model_dump()
    survey = Survey(**{
        **quiet, "hostless_per_chip": 160.0, "supernovae_per_chip": 0.0, "transient_mag": (14.0, 17.5),
        "galactic_latitude_deg": (8.0, 12.0), "nebula_mag_arcsec2": 20.5,
    })  # fmt: skip
    return simulate_pair(survey, seed=4, shape=(400, 500))


def test_transients_are_found_on_a_nebula(pair):
    science, reference = pair.science.image(), pair.reference.image()
    assert science.facts["diffuse_light"]
    result = process_pair(science, reference)
    assert not result.quality.causes, result.quality.reason
    truth = pair.truth
    kind, snr = np.asarray(truth["kind"]).astype(str), np.asarray(truth["snr"], float)
    x, y = (np.asarray(truth[name], float) for name in ("x", "y"))
    inside = (x > 10) & (x < 489) & (y > 10) & (y < 389)
    sources = skies.Stars(x, y, np.asarray(truth["flux_e"], float))
    table = result.candidates.table
    wanted = sources[(kind == "hostless") & inside & (snr > 12.0)]
    there, _ = skies.matched(wanted, table["x"], table["y"], radius=2.0)
    assert len(wanted) >= 6
    assert len(there) >= 0.85 * len(wanted)
    new = sources[np.isin(kind, tuple(REAL_KINDS))]
    found = skies.Stars(np.asarray(table["x"], float), np.asarray(table["y"], float), np.zeros(len(table)))
    real, _ = skies.matched(found, new.x, new.y, radius=5.0)
    assert len(found) - len(real) <= 15
    error = np.asarray(result.difference.score)[np.asarray(result.difference.mask) == 0]
    assert 0.75 < 1.4826 * np.median(np.abs(error - np.median(error))) < 1.25


def test_the_truth_counts_the_photons_of_the_nebula(pair):
    quiet = Survey.quiet().model_dump()
    dark = simulate_pair(
        Survey(**{
            **quiet, "hostless_per_chip": 160.0, "supernovae_per_chip": 0.0, "transient_mag": (14.0, 17.5),
            "galactic_latitude_deg": (8.0, 12.0),
        }),
        seed=4, shape=(400, 500),
    )  # fmt: skip
    same = np.asarray(dark.truth["source_id"]), np.asarray(pair.truth["source_id"])
    assert (same[0] == same[1]).all(), "a nebula moves no source"
    np.testing.assert_array_equal(dark.truth["flux_e"], pair.truth["flux_e"])
    ratio = np.asarray(pair.truth["snr"], float) / np.asarray(dark.truth["snr"], float)
    assert np.nanmax(ratio) <= 1.0
    assert np.nanmedian(ratio) < 0.95
