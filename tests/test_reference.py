"""Coadds of earlier frames: depth, rays left out, order of no importance."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import skies
from gueststar.errors import AlignmentError, InputError
from gueststar.ingest.prepare import prepare_image
from gueststar.reference import MakeReference, flux_ratio
from gueststar.types import Mask

SHAPE = (300, 320)
PSF = skies.Shape(2.8)
SHARPEST = 2.5  # of the first frame, on whose grid the others are coadded


@cache
def frames(n, *, seed=1, dither=True, fwhm=None, ratios=None, n_rays=0, n_stars=110, **fields):
    """n exposures of one sky through cameras that drift; truth, images, and where the rays fell in each."""
    rng = np.random.default_rng(seed)
    stars = skies.scatter(rng, n_stars, SHAPE, flux=(800.0, 60_000.0), apart=8, margin=-12)
    images, cameras = [], []
    for i in range(n):
        shift = tuple(rng.uniform(-4, 4, 2)) if dither and i else (0.0, 0.0)
        camera = skies.Affine(shift=shift, centre=(160.0, 150.0))
        factor = 1.0 if ratios is None else ratios[i]
        shape = replace(PSF, fwhm=(SHARPEST if i == 0 else 2.8) if fwhm is None else fwhm[i])
        counts = skies.expose(
            skies.paint(SHAPE, stars.scaled(factor).seen_by(camera), shape), rng, sky=skies.SKY_E * factor
        )
        counts[rng.integers(10, 290, n_rays), rng.integers(10, 310, n_rays)] += rng.uniform(300, 9000, n_rays).astype(
            "f4"
        )
        images.append(prepare_image(counts, mjd_mid=59000.0 + i, **fields))
        cameras.append(camera)
    return stars, images, cameras


def dark_pixels(image, stars, margin=12):
    rng = np.random.default_rng(9)
    x, y = skies.empty_places(rng, 8000, SHAPE, stars, PSF, margin=margin)
    good = image.numpy("mask")[y, x] == 0
    return y[good], x[good]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_noise_falls_with_the_number_of_frames(n):
    stars, images, _ = frames(n, dither=False)
    coadd = MakeReference()(images)
    y, x = dark_pixels(coadd, stars)
    assert coadd.numpy()[y, x].std() == pytest.approx(skies.NOISE_E / np.sqrt(n), rel=0.08)
    assert np.median(coadd.numpy("variance")[y, x]) == pytest.approx(skies.NOISE_E**2 / n, rel=0.08)
    assert coadd.numpy()[y, x].mean() == pytest.approx(0.0, abs=0.1 * skies.NOISE_E)
    assert coadd.facts["reference_frames"] == n


@pytest.mark.parametrize("n", [2, 4])
def test_errors_of_fluxes_in_a_dithered_coadd_are_right(n):
    """Interpolation correlates pixels; the variance must be right for a PSF-weighted sum."""
    stars, images, _ = frames(n)
    coadd = MakeReference()(images)
    rng = np.random.default_rng(10)
    x, y = skies.empty_places(rng, 1500, SHAPE, stars, PSF, margin=25)
    weights = PSF.stamp(9)
    data, variance = coadd.numpy(), coadd.numpy("variance")
    cuts = [np.s_[j - 4 : j + 5, i - 4 : i + 5] for i, j in zip(x, y, strict=True)]
    pull = [(weights * data[cut]).sum() / np.sqrt((weights**2 * variance[cut]).sum()) for cut in cuts]
    assert np.std(pull) == pytest.approx(1.0, abs=0.12)


def test_stars_of_a_coadd_are_those_of_the_sky():
    stars, images, _ = frames(4)
    coadd = MakeReference()(images)
    assert SHARPEST < coadd.psf.fwhm < 2.9
    bright = stars[(stars.flux > 4000) & (stars.x > 12) & (stars.x < 307) & (stars.y > 12) & (stars.y < 287)]
    found, index = skies.matched(bright, coadd.stars.x, coadd.stars.y)
    assert len(found) > 25
    assert np.median(np.abs(coadd.stars.x[index] - bright.x[found])) < 0.05
    assert np.median(np.abs(coadd.stars.y[index] - bright.y[found])) < 0.05


@pytest.mark.parametrize("n", [2, 3, 6])
def test_rays_are_left_out(n):
    stars, images, _ = frames(n, n_rays=80)
    unseen = [replace(image, mask=image.mask & ~int(Mask.COSMIC_RAY)) for image in images]
    raw = []
    rng = np.random.default_rng(1)
    for image in unseen:  # put rays back that no mask tells of
        data = image.numpy()
        data[rng.integers(20, 280, 60), rng.integers(20, 300, 60)] += 4000.0
        raw.append(replace(image, data=torch.from_numpy(data)))
    coadd = MakeReference()(raw)
    y, x = dark_pixels(coadd, stars)
    pull = coadd.numpy()[y, x] / np.sqrt(coadd.numpy("variance")[y, x])
    assert (np.abs(pull) > 6).mean() < 2e-4


def test_clouds_and_other_widths():
    stars, images, _ = frames(3, ratios=(1.0, 0.5, 0.8), fwhm=(2.6, 3.0, 3.4), dither=False)
    coadd = MakeReference()(images)
    best = stars[(stars.flux > 10_000) & (stars.x > 14) & (stars.x < 305) & (stars.y > 14) & (stars.y < 285)]
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    alone = [np.sort(np.hypot(stars.x - x, stars.y - y))[1] > 16 for x, y in best.points]
    ratios = [
        coadd.numpy()[np.hypot(xx - x, yy - y) < 8].sum() / f for x, y, f in zip(*best.points.T, best.flux, strict=True)
    ]
    assert sum(alone) >= 5
    # In the flux scale of the sharpest frame, the first.
    assert np.median(np.array(ratios)[alone]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.5])
def test_flux_ratio_of_two_frames(ratio):
    _, images, _ = frames(2, dither=False, ratios=(1.0, ratio))
    assert flux_ratio(images[0], images[1]) == pytest.approx(1.0 / ratio, rel=0.01)


def test_the_order_of_the_frames_is_of_no_importance():
    _, images, _ = frames(3)
    forth, back = MakeReference()(images), MakeReference()(images[::-1])
    assert forth.image_id == back.image_id
    np.testing.assert_array_equal(forth.numpy(), back.numpy())
    np.testing.assert_array_equal(forth.numpy("mask"), back.numpy("mask"))


def test_frames_are_left_alone():
    _, images, _ = frames(3)
    before = [plane.clone() for image in images for plane in (image.data, image.variance, image.mask)]
    MakeReference()(images)
    after = [plane for image in images for plane in (image.data, image.variance, image.mask)]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_single_frame_is_itself():
    _, images, _ = frames(1)
    coadd = MakeReference()(images)
    assert coadd.image_id == images[0].image_id
    assert coadd.data is images[0].data
    assert coadd.facts["reference_frames"] == 1


def test_times_and_names_of_a_coadd():
    _, images, _ = frames(3, field="M31", chip="C1", band="g")
    coadd = MakeReference()(images)
    assert coadd.mjd_mid == pytest.approx(59001.0)
    assert (coadd.field, coadd.chip, coadd.band) == ("M31", "C1", "g")
    assert coadd.image_id not in {image.image_id for image in images}
    untimed = [replace(image, mjd_mid=float("nan")) for image in images]
    assert np.isnan(MakeReference()(untimed).mjd_mid)


def test_a_frame_of_another_field_is_left_out_and_named():
    _, images, _ = frames(3)
    _, others, _ = frames(1, seed=99)
    coadd = MakeReference()([*images, *others])
    assert coadd.facts["reference_frames"] == 3
    assert others[0].image_id in coadd.facts["reference_left_out"]


def test_pixels_good_in_no_frame_are_flagged():
    _, images, _ = frames(3, dither=False)
    holed = []
    for i, image in enumerate(images):
        mask = image.mask.clone()
        mask[50:60, 50:60] = int(Mask.BAD)
        mask[80:90, 50:60] = int(Mask.NO_DATA)
        if i == 0:
            mask[100:110, 50:60] = int(Mask.BAD)
        holed.append(replace(image, mask=mask))
    coadd = MakeReference()(holed)
    assert (coadd.numpy("mask")[51:59, 51:59] & Mask.BAD != 0).all()
    assert (coadd.numpy("mask")[82:88, 52:58] & Mask.NO_DATA != 0).all()
    assert (coadd.numpy()[82:88, 52:58] == 0).all()
    assert (coadd.numpy("mask")[102:108, 52:58] == 0).all()
    assert np.isfinite(coadd.numpy()).all()
    assert (coadd.numpy("variance") > 0).all()


def test_pixels_that_few_frames_reach_are_left_out_when_asked():
    _, images, _ = frames(3, n_stars=140)
    kept, cut = MakeReference()(images), MakeReference(least_share=0.9)(images)
    lost = np.stack([(image.numpy("mask") & Mask.NO_DATA) != 0 for image in (kept, cut)]).mean(axis=(1, 2))
    assert lost[0] < 0.002  # the sharpest frame reaches all of its own grid
    assert 0.01 < lost[1] < 0.06
    inner = (slice(12, -12), slice(12, -12))
    np.testing.assert_array_equal(kept.numpy("mask")[inner], cut.numpy("mask")[inner])
    np.testing.assert_array_equal(kept.numpy()[inner], cut.numpy()[inner])


def test_saturated_in_one_frame_is_saturated():
    _, images, _ = frames(3, dither=False)
    mask = images[1].mask.clone()
    mask[150:155, 150:155] |= int(Mask.SATURATED)
    coadd = MakeReference()([images[0], replace(images[1], mask=mask), images[2]])
    assert (coadd.numpy("mask")[151:154, 151:154] & Mask.SATURATED != 0).all()


def test_nothing_to_coadd():
    with pytest.raises(InputError, match="no frames to make a reference from"):
        MakeReference()([])


def test_frames_of_two_fields():
    _, one, _ = frames(1)
    _, other, _ = frames(1, seed=99)
    with pytest.raises(AlignmentError, match="none of 2 frames could be registered on another"):
        MakeReference()([*one, *other])


def test_a_frame_given_twice_counts_once():
    _, images, _ = frames(2)
    coadd = MakeReference()([images[0], images[0], images[1]])
    assert coadd.facts["reference_frames"] == 2


def test_blurred_frames_are_left_out_and_told():
    _, images, _ = frames(4, fwhm=(2.5, 2.7, 4.6, 2.6))
    coadd = MakeReference()(images)
    assert coadd.facts["reference_frames"] == 3
    assert f"{images[2].image_id}: FWHM 4." in coadd.facts["reference_left_out"]
    assert coadd.psf.fwhm < 2.9
    whole = MakeReference(widest=5.0)(images)
    assert whole.facts["reference_frames"] == 4
    assert whole.psf.fwhm > coadd.psf.fwhm
