"""Registration and resampling: known geometries recovered, pixels against the analytic sky and against reproject."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.wcs import WCS

import skies
from gueststar.align import Align
from gueststar.align.patterns import match_patterns
from gueststar.align.register import register, wcs_map
from gueststar.align.resample import position_grid, resample
from gueststar.errors import AlignmentError
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import Visit, simulate_frame
from gueststar.types import Image, Mask, Psf, Stars

SHAPE = (256, 280)
CENTRE = (139.5, 127.5)
PSF = skies.Shape(2.8)
CAMERAS = {
    "shift": skies.Affine(shift=(5.3, -3.7)),
    "large shift": skies.Affine(shift=(60.4, -45.2)),
    "rotation": skies.Affine(shift=(2.2, 1.1), rotation_deg=7.0, centre=CENTRE),
    "half turn": skies.Affine(shift=(-3.4, 4.6), rotation_deg=180.0, centre=CENTRE),
    "finer": skies.Affine(shift=(1.3, 0.6), scale=1.15, centre=CENTRE),
    "coarser": skies.Affine(shift=(1.3, 0.6), scale=0.87, rotation_deg=-4.0, centre=CENTRE),
    "flip": skies.Affine(shift=(4.1, 0.3), flip=True, centre=CENTRE),
    "flip and turn": skies.Affine(shift=(0.5, -2.5), flip=True, rotation_deg=93.0, centre=CENTRE),
}


def tan_wcs(*, offset_px=(0.0, 0.0), camera: skies.Affine | None = None, sip=False) -> WCS:
    """A WCS of the science grid; of the reference grid for a camera that maps science to reference pixels."""
    scale = 1.2 / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ("RA---TAN-SIP", "DEC--TAN-SIP") if sip else ("RA---TAN", "DEC--TAN")
    wcs.wcs.crval = (150.0, 20.0)
    cd, pixel = np.diag([-scale, scale]), np.array([CENTRE])
    if camera is not None:
        cd, pixel = cd @ np.linalg.inv(camera.matrix), camera(pixel)
    wcs.wcs.cd, wcs.wcs.crpix = cd, pixel[0] + 1.0 + offset_px
    wcs.wcs.set()
    return wcs


def wide_field(rng, n=320):
    """Stars over more than the chip, so that shifted and turned frames are full too."""
    return skies.scatter(rng, n, SHAPE, flux=(1500.0, 60_000.0), margin=-110, apart=5)


def pair(seed, camera, *, wcs=False, shapes=(PSF, PSF), **fields):
    rng = np.random.default_rng(seed)
    stars = wide_field(rng)
    science = skies.photograph(SHAPE, stars, shapes[0], rng, wcs=tan_wcs() if wcs else None)
    seen = stars.seen_by(camera)
    reference = skies.photograph(SHAPE, seen, shapes[1], rng, wcs=tan_wcs(camera=camera) if wcs else None, **fields)
    return stars, science, reference


def probes(n=9):
    y, x = np.meshgrid(np.linspace(20, SHAPE[0] - 21, n), np.linspace(20, SHAPE[1] - 21, n), indexing="ij")
    return np.column_stack((x.ravel(), y.ravel()))


# --- registration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("wcs", [True, False], ids=["wcs", "patterns"])
def test_geometry_is_recovered(name, wcs):
    camera = CAMERAS[name]
    _, science, reference = pair(11, camera, wcs=wcs)
    found = register(science, reference)
    assert found.method == ("wcs" if wcs else "patterns")
    points = probes()
    truth = camera(points)
    seen = ((truth > 8) & (truth < np.array(SHAPE[::-1]) - 9)).all(1)
    error = np.hypot(*(found(points) - truth)[seen].T)
    assert np.sqrt(np.mean(error**2)) < 0.03
    assert error.max() < 0.12
    assert found.matched > 25


@pytest.mark.parametrize("offset_px", [(4.0, -6.0), (9.5, 0.5)])
def test_a_wcs_that_is_a_little_off_is_put_right(offset_px):
    camera = CAMERAS["rotation"]
    _, science, reference = pair(12, camera, wcs=True)
    found = register(science, replace(reference, wcs=tan_wcs(camera=camera, offset_px=offset_px)))
    assert np.abs(found(probes()) - camera(probes())).max() < 0.12
    assert found.shift_px == pytest.approx(np.hypot(*offset_px), abs=0.1)


def test_a_wcs_that_is_turned_is_put_right_everywhere():
    """A simulated chip whose WCS is turned by 9 px at the corners: at first only a part of the stars meet."""
    quiet = {"trailing_rate": 0.0, "defocus_rate": 0.0, "bad_seeing_rate": 0.0, "cloud_patch_rate": 0.0}
    frames, stars = [], []
    for visit, failure in ((9, 1.0), (0, 0.0)):
        survey = Survey(**quiet, wcs_failure_rate=failure)
        frame, truth = simulate_frame(survey, Visit(10, "Q1-11", visit), seed=101, shape=(1128, 1000))
        frames.append(frame.image())
        stars.append(truth[(truth["kind"] == "star") & (truth["snr"] > 5)])
    found = register(*frames)
    _, i, j = np.intersect1d(stars[0]["source_id"], stars[1]["source_id"], return_indices=True)
    here, there = (np.column_stack((table["x"], table["y"])) for table in (stars[0][i], stars[1][j]))
    assert np.quantile(np.hypot(*(wcs_map(*frames)(here) - there).T), 0.9) > 6.0
    assert np.quantile(np.hypot(*(found(here) - there).T), 0.98) < 0.15


def test_distortion_is_followed():
    """A cubic distortion of 1.5 px in the corners."""
    rng = np.random.default_rng(13)
    stars = wide_field(rng, 420)

    def distorted(points):
        u = (points - CENTRE) / 140.0
        return points + (3.3, -2.2) + 0.75 * u * (u**2).sum(1, keepdims=True)

    x, y = distorted(stars.points).T
    science = skies.photograph(SHAPE, stars, PSF, rng)
    reference = skies.photograph(SHAPE, skies.Stars(x, y, stars.flux), PSF, rng)
    found = register(science, reference)
    error = np.hypot(*(found(probes()) - distorted(probes())).T)
    assert np.sqrt(np.mean(error**2)) < 0.06


def test_mixed_kinds_of_wcs_meet_on_the_sky():
    science = Image.from_arrays(np.ones(SHAPE), 1.0, wcs=tan_wcs())
    sky = science.wcs.pixel_to_world(*CENTRE)
    galactic = WCS(naxis=2)
    galactic.wcs.ctype, galactic.wcs.crval = ("GLON-TAN", "GLAT-TAN"), (sky.galactic.l.deg, sky.galactic.b.deg)
    galactic.wcs.crpix, galactic.wcs.cdelt = np.array(CENTRE) + 1.0, (-1.2 / 3600, 1.2 / 3600)
    swapped = WCS(naxis=2)
    swapped.wcs.ctype, swapped.wcs.crval = ("DEC--TAN", "RA---TAN"), (20.0, 150.0)
    swapped.wcs.crpix, swapped.wcs.cdelt = np.array(CENTRE) + 1.0, (1.2 / 3600, -1.2 / 3600)
    for wcs in (galactic, swapped):
        there = Image.from_arrays(np.ones(SHAPE), 1.0, wcs=wcs)
        x, y = wcs.world_to_pixel(science.wcs.pixel_to_world(*probes().T))
        np.testing.assert_allclose(wcs_map(science, there)(probes()), np.column_stack((x, y)), atol=1e-3)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("lost", [0.0, 0.5], ids=["all", "half"])
def test_patterns_are_found_among_strangers(rng, flip, lost):
    camera = skies.Affine(shift=(300.0, -80.0), rotation_deg=141.0, scale=1.7, flip=flip)
    source = rng.uniform(0, 500, (60, 2))
    kept = rng.random(60) >= lost
    target = np.vstack((camera(source[kept]), camera(rng.uniform(0, 500, (20, 2))))) + rng.normal(
        0, 0.2, (kept.sum() + 20, 2)
    )
    found = match_patterns(source, target)
    assert found is not None
    assert found.matched >= kept.sum() - 2
    np.testing.assert_allclose(found(source), camera(source), atol=0.7)


@pytest.mark.parametrize("n", [4, 8, 20, 60, 150, 400])
def test_unrelated_stars_have_no_common_pattern(n):
    for seed in range(6 if n < 100 else 2):
        rng = np.random.default_rng(seed)
        assert match_patterns(rng.uniform(0, 300, (n, 2)), rng.uniform(0, 300, (n, 2))) is None


def test_three_stars_are_too_few_for_a_pattern(rng):
    points = rng.uniform(0, 300, (3, 2))
    assert match_patterns(points, points) is None


# --- resampling ------------------------------------------------------------------------------------------------------


def noiseless(plane, *, stars=None, variance=4.0, psf=PSF):
    stamp = Psf.from_stamp(psf.stamp(21))
    empty = Stars.empty()
    if stars is not None:
        one = np.ones(len(stars))
        empty = Stars(stars.x, stars.y, stars.flux, 100 * one, PSF.fwhm * one, one, one, np.zeros(len(stars), int), 3.4)
    return Image.from_arrays(plane, variance, psf=stamp, stars=empty)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("fwhm", [2.8, 4.0])
def test_resampled_pixels_are_those_of_the_analytic_sky(name, fwhm):
    """A star of the reference, seen through the map, is an elliptical patch of light that can be written down."""
    camera, shape = CAMERAS[name], skies.Shape(fwhm)
    rng = np.random.default_rng(14)
    stars = wide_field(rng, 120)
    reference = noiseless(skies.paint(SHAPE, stars.seen_by(camera), shape))
    science = noiseless(np.zeros(SHAPE))
    done = resample(reference, camera, science).image
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    there = camera(np.column_stack((x.ravel(), y.ravel())))
    expected, area = np.zeros(SHAPE[0] * SHAPE[1]), abs(np.linalg.det(camera.matrix))
    for a, b, flux in zip(*stars.seen_by(camera).points.T, stars.flux, strict=True):
        near = np.hypot(*(there - (a, b)).T) < 20
        expected[near] += flux * area * shape(there[near, 0] - a, there[near, 1] - b)
    expected = expected.reshape(SHAPE)
    # At the very edge of the reference a spline has neighbours on one side only.
    inside = ((there > 4) & (there < np.array(SHAPE[::-1]) - 5)).all(1).reshape(SHAPE)
    good = (done.numpy("mask") == 0) & inside
    tolerance = {2.8: 0.015, 4.0: 0.004}[fwhm]
    assert good.mean() > 0.4
    assert np.abs(done.numpy() - expected)[good].max() < tolerance * expected.max()


@pytest.mark.parametrize("name", ["shift", "rotation", "finer", "coarser", "flip"])
def test_resampling_agrees_with_reproject(name):
    from reproject import reproject_interp

    camera = CAMERAS[name]
    rng = np.random.default_rng(15)
    plane = skies.paint(SHAPE, wide_field(rng).seen_by(camera), skies.Shape(3.5))
    mine = resample(noiseless(plane), camera, noiseless(np.zeros(SHAPE))).image
    flat = [WCS(naxis=2) for _ in range(2)]
    for wcs, cd, pixel in zip(
        flat, (np.eye(2), np.linalg.inv(camera.matrix)), ([CENTRE], camera(np.array([CENTRE]))), strict=True
    ):
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cd = ("RA---TAN", "DEC--TAN"), (0.0, 0.0), cd / 36000.0
        wcs.wcs.crpix = np.asarray(pixel)[0] + 1.0
    theirs, _ = reproject_interp((plane, flat[1]), flat[0], shape_out=SHAPE, order="bicubic")
    theirs = theirs * abs(np.linalg.det(camera.matrix))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    there = camera(np.column_stack((x.ravel(), y.ravel())))
    inside = ((there > 8) & (there < np.array(SHAPE[::-1]) - 9)).all(1).reshape(SHAPE)
    good = (mine.numpy("mask") == 0) & np.isfinite(theirs) & inside
    assert good.mean() > 0.5
    # Both are cubic splines, but for the shift, which ours does by Lanczos weights; where a science pixel is the larger
    # one, ours averages over it.
    assert np.abs(mine.numpy() - theirs)[good].max() < {"finer": 0.03, "shift": 6e-3}.get(name, 2e-3) * plane.max()


@pytest.mark.parametrize("name", CAMERAS)
def test_flux_of_stars_is_kept(name):
    camera = CAMERAS[name]
    rng = np.random.default_rng(16)
    stars = (
        skies.scatter(rng, 12, SHAPE, margin=100, apart=2)
        if name == "large shift"
        else skies.scatter(rng, 25, SHAPE, margin=40, apart=25)
    )
    reference = noiseless(skies.paint((330, 340), stars.seen_by(camera), PSF))
    done = resample(reference, camera, noiseless(np.zeros(SHAPE))).image
    inside = camera(stars.points)
    inside = ((inside > 20) & (inside < np.array([320, 310]))).all(1)
    assert inside.sum() >= 8
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for x, y, flux in zip(*stars[inside].points.T, stars.flux[inside], strict=True):
        near = np.hypot(xx - x, yy - y) < 11
        if name != "large shift":
            assert done.numpy()[near].sum() == pytest.approx(flux, rel=2e-3)
    if name == "large shift":
        seen = (done.numpy("mask") & Mask.NO_DATA) == 0
        assert done.numpy()[seen].sum() == pytest.approx(stars.flux.sum(), rel=2e-3)


@pytest.mark.parametrize("name", ["shift", "rotation", "finer", "coarser"])
def test_variance_is_that_of_a_matched_filter(name):
    """Interpolation correlates neighbours; what must be right is the scatter of a PSF-weighted sum on blank sky."""
    camera = CAMERAS[name]
    rng = np.random.default_rng(17)
    reference = noiseless(rng.normal(0.0, 2.0, SHAPE), variance=4.0)
    done = resample(reference, camera, noiseless(np.zeros(SHAPE))).image
    good = done.numpy("mask") == 0
    weights = PSF.stamp(13)
    from scipy.signal import fftconvolve

    total = fftconvolve(done.numpy(), weights, mode="same")
    expected = fftconvolve(done.numpy("variance"), weights**2, mode="same")
    core = fftconvolve(good.astype(float), np.ones((13, 13)), mode="same") > 168.5
    assert (total[core] / np.sqrt(expected[core])).std() == pytest.approx(1.0, abs=0.12)


def test_flags_reach_every_pixel_that_a_bad_one_feeds():
    camera = CAMERAS["rotation"]
    plane = np.zeros(SHAPE)
    mask = np.zeros(SHAPE, np.int16)
    rng = np.random.default_rng(18)
    rows, columns = rng.integers(20, 235, (2, 25))
    plane[rows, columns] = 1e5
    mask[rows, columns] = rng.choice([int(Mask.BAD), int(Mask.SATURATED), int(Mask.COSMIC_RAY)], 25)
    reference = Image.from_arrays(plane, 4.0, mask=mask, psf=Psf.from_stamp(PSF.stamp(21)), stars=Stars.empty())
    done = resample(reference, camera, noiseless(np.zeros(SHAPE))).image
    flags = done.numpy("mask")
    # The spline's main lobe reaches one pixel to each side; beyond it rings at 27 % and falls.
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    there = camera(np.column_stack((x.ravel(), y.ravel())))
    for j, i in zip(rows, columns, strict=True):
        fed = (np.abs(there - (i, j)).max(1) < 1.0).reshape(SHAPE)
        assert ((flags[fed] & mask[j, i]) == mask[j, i]).all()
    assert (flags & ~np.int16(Mask.NO_DATA) != 0).sum() < 25 * 20


def test_beyond_the_reference_there_are_no_data():
    camera = CAMERAS["large shift"]
    done = resample(noiseless(np.full(SHAPE, 7.0)), camera, noiseless(np.zeros(SHAPE))).image
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    there = camera(np.column_stack((x.ravel(), y.ravel())))
    outside = ((there < 0) | (there > np.array(SHAPE[::-1]) - 1.0)).any(1).reshape(SHAPE)
    flags = (done.numpy("mask") & Mask.NO_DATA) != 0
    assert flags[outside].all()
    assert flags.mean() == pytest.approx(outside.mean(), abs=0.02)
    assert (done.numpy()[flags] == 0).all()
    np.testing.assert_allclose(done.numpy()[~flags], 7.0, rtol=1e-4)
    assert (done.numpy("variance") > 0).all()


def test_psf_and_stars_come_along():
    camera = CAMERAS["coarser"]
    rng = np.random.default_rng(19)
    stars = skies.scatter(rng, 40, SHAPE, margin=30)
    reference = noiseless(np.zeros(SHAPE), stars=stars.seen_by(camera))
    done = resample(reference, camera, noiseless(np.zeros(SHAPE))).image
    assert done.psf.fwhm == pytest.approx(2.8 / 0.87, rel=0.03)
    assert float(done.psf.stamp.sum()) == pytest.approx(1.0, abs=1e-5)
    assert len(done.stars) == 40
    np.testing.assert_allclose(done.stars.x, stars.x, atol=1e-3)
    np.testing.assert_allclose(done.stars.y, stars.y, atol=1e-3)
    np.testing.assert_allclose(done.stars.flux, stars.flux)
    assert done.stars.fwhm[0] == pytest.approx(2.8 / 0.87)


def test_an_elongated_psf_turns_with_the_frame():
    camera = CAMERAS["flip and turn"]
    shape = skies.Shape(3.2, ellipticity=0.25, angle_deg=20.0)
    done = resample(noiseless(np.zeros(SHAPE), psf=shape), camera, noiseless(np.zeros(SHAPE))).image
    k = done.psf.size
    y, x = np.mgrid[:k, :k] - k // 2
    there = np.column_stack((x.ravel(), y.ravel())) @ camera.matrix.T
    expected = shape(there[:, 0], there[:, 1]).reshape(k, k)
    assert np.abs(done.psf.stamp.numpy() - expected / expected.sum()).max() < 0.01 * expected.max()


def test_a_coarse_grid_says_how_wrong_it_is():
    nodes, error = position_grid(lambda p: p + 1e-4 * (p - 128.0) ** 2, SHAPE)
    # Bilinear between nodes 32 px apart: 1e-4 * 32^2 / 8 * 2 axes' own terms
    assert error == pytest.approx(1e-4 * 32**2 / 4, rel=1e-6)
    assert nodes.shape == (2, 9, 10)
    assert position_grid(CAMERAS["rotation"], SHAPE)[1] < 1e-9


# --- the stage -------------------------------------------------------------------------------------------------------


def test_the_stage_says_what_it_did():
    camera = CAMERAS["coarser"]
    _, science, reference = pair(20, camera)
    before = [plane.clone() for image in (science, reference) for plane in (image.data, image.variance, image.mask)]
    done = Align()(science, reference)
    facts = done.facts
    assert facts["align_method"] == "patterns"
    assert facts["align_scale"] == pytest.approx(0.87, abs=1e-3)
    assert facts["align_rotation_deg"] == pytest.approx(-4.0, abs=0.05)
    assert facts["align_rms_px"] < 0.08
    assert 0.9 < facts["align_overlap"] <= 1.0
    assert facts["align_matched"] > 40
    assert facts["align_grid_error_px"] < 0.01
    assert facts["sky_e"] == reference.facts["sky_e"]
    assert done.shape == science.shape
    assert done.image_id == reference.image_id
    after = [plane for image in (science, reference) for plane in (image.data, image.variance, image.mask)]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert "align_method" not in reference.facts


def test_the_stage_aligns_the_pixels():
    camera = CAMERAS["rotation"]
    stars, science, reference = pair(21, camera)
    done = Align()(science, reference)
    good = (done.numpy("mask") == 0) & (science.numpy("mask") == 0)
    truth = skies.paint(SHAPE, stars, PSF)
    pull = (done.numpy() - truth) / np.sqrt(done.numpy("variance") + (0.02 * truth) ** 2)
    assert np.sqrt(np.mean(pull[good] ** 2)) < 1.1


def test_frames_of_another_shape_and_pixel_scale():
    camera = skies.Affine(scale=0.5, shift=(-40.0, -30.0), centre=CENTRE)
    rng = np.random.default_rng(22)
    stars = wide_field(rng)
    science = skies.photograph(SHAPE, stars, skies.Shape(5.0), rng)
    reference = skies.photograph((200, 210), stars.seen_by(camera), skies.Shape(2.5), rng)
    done = Align()(science, reference)
    assert done.shape == SHAPE
    assert done.facts["align_scale"] == pytest.approx(0.5, abs=1e-3)
    bright = stars[(stars.flux > 2e4)]
    found, index = skies.matched(bright, done.stars.x, done.stars.y)
    assert len(found) > 10
    assert np.median(np.hypot(done.stars.x[index] - bright.x[found], done.stars.y[index] - bright.y[found])) < 0.1


def test_wcs_can_be_left_unused():
    camera = CAMERAS["shift"]
    _, science, reference = pair(23, camera, wcs=True)
    wrong = replace(reference, wcs=tan_wcs(camera=camera, offset_px=(60.0, 30.0)))
    assert Align(use_wcs=False)(science, wrong).facts["align_method"] == "patterns"


def test_a_frame_with_a_single_star_is_aligned_by_its_wcs():
    camera = CAMERAS["shift"]
    one = skies.Stars(np.array([100.2]), np.array([90.7]), np.array([40_000.0]))
    rng = np.random.default_rng(24)
    science = skies.photograph(SHAPE, one, PSF, rng, wcs=tan_wcs())
    reference = skies.photograph(SHAPE, one.seen_by(camera), PSF, rng, wcs=tan_wcs(camera=camera))
    done = Align()(science, reference)
    assert done.facts["align_method"] == "wcs"
    y, x = np.unravel_index(np.argmax(done.numpy()), SHAPE)
    assert abs(x - 100.2) <= 1
    assert abs(y - 90.7) <= 1


# --- what cannot be aligned ------------------------------------------------------------------------------------------


def test_the_same_image_twice():
    _, science, _ = pair(25, CAMERAS["shift"])
    with pytest.raises(AlignmentError, match=r"are the same image \(id [0-9a-f]{16}\).*choose an earlier frame"):
        Align()(science, replace(science, band="other"))


def test_no_overlap_by_wcs():
    _, science, reference = pair(26, CAMERAS["shift"], wcs=True)
    far = replace(reference, wcs=tan_wcs(camera=skies.Affine(shift=(900.0, 0.0))))
    with pytest.raises(AlignmentError, match=r"do not overlap: their centres are \d+ reference pixels apart") as caught:
        Align()(science, far)
    assert caught.value.facts["distance_px"] == pytest.approx(900.0, abs=20)


def test_antipodes():
    _, science, reference = pair(26, CAMERAS["shift"], wcs=True)
    wcs = tan_wcs()
    wcs.wcs.crval = (330.0, -20.0)
    with pytest.raises(AlignmentError, match="do not overlap"):
        Align()(science, replace(reference, wcs=wcs))


def test_too_little_overlap():
    rng = np.random.default_rng(27)
    camera = skies.Affine(shift=(-175.0, -160.0))
    stars = wide_field(rng, 600)
    science = skies.photograph(SHAPE, stars, PSF, rng, wcs=tan_wcs())
    reference = skies.photograph(SHAPE, stars.seen_by(camera), PSF, rng, wcs=tan_wcs(camera=camera))
    with pytest.raises(
        AlignmentError, match=r"covers 1\d\.\d % of the science image, expected at least 30 %"
    ) as caught:
        Align(minimum_overlap=0.3)(science, reference)
    assert caught.value.facts["overlap"] == pytest.approx(0.14, abs=0.02)


def test_another_field():
    rng = np.random.default_rng(28)
    science, reference = (skies.photograph(SHAPE, wide_field(rng), PSF, rng) for _ in range(2))
    with pytest.raises(AlignmentError, match=r"no common star pattern in \d+ science and \d+ reference stars"):
        Align()(science, reference)


def test_another_field_under_the_same_wcs():
    rng = np.random.default_rng(29)
    science, reference = (skies.photograph(SHAPE, wide_field(rng), PSF, rng, wcs=tan_wcs()) for _ in range(2))
    with pytest.raises(AlignmentError, match=r"the WCS puts only \d+ stars of \d+ on stars of the reference"):
        Align()(science, reference)


@pytest.mark.parametrize("offset_px", [(60.0, 30.0), (-25.0, 0.0)])
def test_a_wcs_that_contradicts_the_sky(offset_px):
    camera = CAMERAS["shift"]
    _, science, reference = pair(30, camera, wcs=True)
    wrong = replace(reference, wcs=tan_wcs(camera=camera, offset_px=offset_px))
    with pytest.raises(AlignmentError, match=r"the WCS contradicts the sky: .* align\.use_wcs = false") as caught:
        Align()(science, wrong)
    assert caught.value.facts["miss_px"] == pytest.approx(np.hypot(*offset_px), abs=1.0)


def test_no_stars_and_no_wcs():
    blank = noiseless(np.zeros(SHAPE))
    other = noiseless(np.ones(SHAPE))
    with pytest.raises(AlignmentError, match="no common star pattern in 0 science and 0 reference stars"):
        Align()(blank, other)


def test_stars_must_be_measured():
    image = Image.from_arrays(np.ones(SHAPE), 1.0)
    with pytest.raises(AlignmentError, match="call measure_image first"):
        Align()(image, Image.from_arrays(np.zeros(SHAPE), 1.0))
