"""Registration against the truth: photon limit, wrong WCS, few stars among strangers, bad references, refined WCS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

import skies
from gueststar.align import Align
from gueststar.align.patterns import match_patterns
from gueststar.align.register import refined_wcs, register
from gueststar.errors import AlignmentError
from gueststar.types import Image, Mask, Psf, Stars

SHAPE = (400, 440)
CENTRE = (219.5, 199.5)
PSF = skies.Shape(2.8)
SCALE_DEG = 1.2 / 3600.0


def bent(points):
    """A shift, a turn, and quadratic and cubic terms of half a pixel."""
    u = (points - CENTRE) / 220.0
    turned = skies.Affine(shift=(3.3, -2.1), rotation_deg=0.3, centre=CENTRE)(points)
    return turned + 0.4 * u[:, ::-1] ** 2 + 0.3 * u * (u**2).sum(1, keepdims=True)


def wcs_of(*, shift=(0.0, 0.0), turn_deg=0.0, matrix=None) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (150.0, 20.0)
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    cd = np.diag([-SCALE_DEG, SCALE_DEG]) @ np.array([[c, -s], [s, c]])
    wcs.wcs.cd = cd if matrix is None else cd @ np.linalg.inv(matrix)
    wcs.wcs.crpix = np.array(CENTRE) + 1.0 + shift
    wcs.wcs.set()
    return wcs


def listed(points, flux=None, *, fwhm=2.8, snr=100.0, shape=SHAPE, wcs=None) -> Image:
    """An image of which only the stars are known."""
    one = np.ones(len(points))
    flux = 1000.0 * one if flux is None else flux
    stars = Stars(points[:, 0], points[:, 1], flux, snr * one, fwhm * one, one, one, np.zeros(len(points), int), 3.0)
    return Image.from_arrays(np.zeros(shape), 1.0, psf=Psf.from_stamp(PSF.stamp(21)), stars=stars, wcs=wcs)


def pair(seed, mapping=bent, n=330, *, apart=9.0, wcs=(None, None), shapes=(PSF, PSF), flux=(1500.0, 200_000.0)):
    rng = np.random.default_rng(seed)
    stars = skies.scatter(rng, n, SHAPE, flux=flux, margin=-12, apart=apart)
    x, y = mapping(stars.points).T
    science = skies.photograph(SHAPE, stars, shapes[0], rng, wcs=wcs[0])
    return stars, science, skies.photograph(SHAPE, skies.Stars(x, y, stars.flux), shapes[1], rng, wcs=wcs[1])


# --- precision -------------------------------------------------------------------------------------------------------


def test_residuals_are_those_of_the_photons_at_every_brightness():
    """Five pairs; pulls by the centroid errors of both stars, in three steps of their size."""
    pulls, errors = [], []
    for seed in range(40, 45):
        _, science, reference = pair(seed)
        found = register(science, reference)
        assert found.rms_px < 0.03
        assert found.rms_px < 1.25 * found.photon_px + 0.002
        a, b = science.stars, reference.stars
        row, other = skies.matched(skies.Stars(*found(np.column_stack((a.x, a.y))).T, a.flux), b.x, b.y, radius=1.0)
        residual = np.column_stack((b.x, b.y))[other] - found(np.column_stack((a.x, a.y)))[row]
        error = np.hypot(a.fwhm[row] / a.snr[row], b.fwhm[other] / b.snr[other]) / 2.35
        pulls.append(residual / error[:, None])
        errors.append(error)
    pull, error = np.concatenate(pulls), np.concatenate(errors)
    for low, high in ((0.0, 0.015), (0.015, 0.04), (0.04, 0.15)):
        some = pull[(error >= low) & (error < high)]
        assert len(some) > 100
        assert 1.4826 * np.median(np.abs(some)) < 1.25


def test_the_map_is_right_between_the_stars():
    y, x = np.meshgrid(np.linspace(15, SHAPE[0] - 16, 12), np.linspace(15, SHAPE[1] - 16, 12), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    for seed in (45, 46, 47):
        _, science, reference = pair(seed)
        error = register(science, reference)(points) - bent(points)
        assert np.sqrt(np.mean(error**2)) < 0.012
        assert np.abs(error).max() < 0.06


@pytest.mark.parametrize("crowded", [False, True])
def test_a_wrong_wcs_costs_no_precision(crowded):
    """0.3 px of shift, gradient and turn in the header: the residual stays that of a perfect WCS."""
    camera = skies.Affine(shift=(3.3, -2.1), rotation_deg=0.3, centre=CENTRE)
    change = []
    for seed in range(50, 55):
        rng = np.random.default_rng(seed)
        n, apart = (900, 3.0) if crowded else (150, 9.0)
        perfect = wcs_of(shift=camera.shift, matrix=camera.matrix)
        stretch = camera.matrix @ (np.eye(2) + rng.normal(0, 0.3 / 220.0, (2, 2)))
        wrong = wcs_of(shift=np.array(camera.shift) + rng.normal(0, 0.3, 2), matrix=stretch)
        _, science, reference = pair(seed, camera, n, apart=apart, wcs=(wcs_of(), perfect))
        rms = [register(science, replace(reference, wcs=wcs)).rms_px for wcs in (perfect, wrong)]
        change.append(rms[1] / rms[0])
    assert max(change) < 1.02


@pytest.mark.parametrize("shift_px", [1.0, 3.0, 6.0, 10.0])
def test_a_wcs_wrong_by_pixels_with_a_turn(shift_px):
    camera = skies.Affine(shift=(3.3, -2.1), centre=CENTRE)
    angle = np.degrees(min(shift_px, 4.0) / 300.0)  # px at the corner
    for seed in range(60, 63):
        _, science, reference = pair(seed, camera, 150)
        there = wcs_of(shift=np.add(camera.shift, (0.8 * shift_px, -0.5 * shift_px)), turn_deg=angle)
        found = register(replace(science, wcs=wcs_of()), replace(reference, wcs=there))
        assert found.method == "wcs"
        assert found.quality == "stars"
        points = science.stars.x[:50, None] * (1, 0) + science.stars.y[:50, None] * (0, 1)
        assert np.sqrt(np.mean((found(points) - camera(points)) ** 2)) < 0.03


def test_refined_wcs_puts_the_science_pixels_where_the_reference_has_them():
    camera = skies.Affine(shift=(3.3, -2.1), rotation_deg=0.3, centre=CENTRE)
    truth = wcs_of(shift=camera.shift, matrix=camera.matrix)
    _, science, reference = pair(64, bent, 250)
    found = register(science, replace(reference, wcs=truth))
    fitted = refined_wcs(found, truth)
    assert fitted.error_px < 0.01
    again = WCS(fitted.header())
    y, x = np.meshgrid(np.linspace(20, 380, 9), np.linspace(20, 420, 9), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    np.testing.assert_allclose(again.all_world2pix(fitted.wcs.all_pix2world(points, 0), 0), points, atol=1e-3)
    expected = truth.all_pix2world(bent(points), 0)
    away = (again.all_pix2world(points, 0) - expected) * (np.cos(np.radians(20.0)), 1.0) / SCALE_DEG
    assert np.sqrt(np.mean(away**2)) < 0.02


# --- few stars, strangers, flips, scales -----------------------------------------------------------------------------


def lists(seed, common, strangers, *, shape=(1128, 2000)):
    """Two star lists, brightest first: turned by any angle, flipped or not, scaled by up to 3."""
    rng = np.random.default_rng([seed, common, strangers])
    size = np.array(shape[::-1], float)
    camera = skies.Affine(
        shift=tuple(rng.uniform(-50, 50, 2)), rotation_deg=rng.uniform(0, 360), centre=tuple(size / 2),
        scale=float(np.exp(rng.uniform(-np.log(3), np.log(3)))), flip=bool(rng.random() < 0.5),
    )  # fmt: skip
    both, one, two = (rng.uniform(0, 1, (n, 2)) * size for n in (common, strangers, strangers))
    mag = rng.uniform(0, 4, common)
    order = [np.argsort(np.append(mag + rng.normal(0, 0.2, common), rng.uniform(0, 4, strangers))) for _ in range(2)]
    source = np.vstack((both, one)) + rng.normal(0, 0.15, (common + strangers, 2))
    target = camera(np.vstack((both, two))) + rng.normal(0, 0.15 * max(camera.scale, 0.5), (common + strangers, 2))
    return source[order[0]], target[order[1]], camera, both


@pytest.mark.parametrize(("common", "strangers", "least"), [(6, 6, 19), (7, 20, 19), (8, 40, 19), (12, 40, 20)])
def test_few_common_stars_among_strangers_suffice(common, strangers, least):
    good = 0
    for seed in range(20):
        source, target, camera, both = lists(seed, common, strangers)
        found = match_patterns(source, target)
        if found is not None:
            assert np.abs(found(both) - camera(both)).max() < 5.0
            good += 1
    assert good >= least


@pytest.mark.parametrize(("n", "m"), [(5, 9), (12, 12), (8, 60), (40, 40)])
def test_strangers_alone_are_never_matched(n, m):
    for seed in range(15):
        rng = np.random.default_rng([seed, n, m])
        assert match_patterns(rng.uniform(0, 500, (n, 2)), rng.uniform(0, 500, (m, 2))) is None


@pytest.mark.parametrize("scale", [1 / 3, 3.0])
@pytest.mark.parametrize("flip", [False, True])
def test_pixels_of_another_size_without_a_wcs(scale, flip):
    rng = np.random.default_rng(70)
    camera = skies.Affine(scale=scale, rotation_deg=77.0, flip=flip, centre=CENTRE)
    stars = skies.scatter(rng, 80, SHAPE, flux=(20_000.0, 200_000.0), margin=-100, apart=20)
    wide = skies.Shape(3.0 * max(1.0, 1.0 / scale))
    science = skies.photograph(SHAPE, stars, wide, rng)
    reference = skies.photograph(SHAPE, stars.seen_by(camera), replace(wide, fwhm=wide.fwhm * scale), rng)
    done = Align()(science, reference)
    assert done.facts["align_scale"] == pytest.approx(scale, rel=2e-3)
    assert done.facts["align_quality"] == "stars"


@pytest.mark.parametrize("wcs", [True, False])
def test_seeing_three_times_as_wide(wcs):
    camera = skies.Affine(shift=(3.3, -2.1), rotation_deg=0.3, centre=CENTRE)
    headers = (wcs_of(), wcs_of(shift=camera.shift, matrix=camera.matrix)) if wcs else (None, None)
    shapes = (skies.Shape(2.5), skies.Shape(7.5))
    stars, science, reference = pair(71, camera, 50, apart=32, wcs=headers, shapes=shapes, flux=(2e4, 2e5))
    found = register(science, reference)
    inside = stars.points[((stars.points > 20) & (stars.points < (420, 380))).all(1)]
    assert np.sqrt(np.mean((found(inside) - camera(inside)) ** 2)) < 0.06


# --- bad references --------------------------------------------------------------------------------------------------


def test_a_half_covered_reference_and_blocks_of_nan():
    camera = skies.Affine(shift=(3.3, -2.1), rotation_deg=0.3, centre=CENTRE)
    rng = np.random.default_rng(72)
    stars = skies.scatter(rng, 150, SHAPE, flux=(3000.0, 100_000.0), margin=-12, apart=12)
    counts = skies.expose(skies.paint(SHAPE, stars.seen_by(camera), PSF), rng)
    counts[:, 220:] = np.nan
    counts[50:110, 60:140] = np.nan
    science = skies.photograph(SHAPE, stars, PSF, rng)
    done = Align()(science, skies.prepare_image(counts))
    seen = (done.numpy("mask") & Mask.NO_DATA) == 0
    assert seen.mean() == pytest.approx(0.5 - 60 * 80 / (400 * 440), abs=0.02)
    assert done.facts["align_overlap"] == pytest.approx(seen.mean(), abs=1e-6)
    assert done.facts["align_quality"] == "stars"
    assert np.isfinite(done.numpy()).all()
    truth = skies.paint(SHAPE, stars, PSF)
    good = done.numpy("mask") == 0
    pull = (done.numpy() - truth) / np.sqrt(done.numpy("variance") + (0.02 * truth) ** 2)
    assert np.sqrt(np.mean(pull[good] ** 2)) < 1.15


def test_one_usable_star_gives_the_shift_and_says_so():
    point = np.array([[200.0, 150.0]])
    science, reference = listed(point, wcs=wcs_of()), listed(np.add(point, (1.5, -0.8)), wcs=wcs_of())
    found = register(science, reference)
    assert (found.matched, found.quality) == (1, "few stars")
    np.testing.assert_allclose(found(point), np.add(point, (1.5, -0.8)), atol=1e-6)
    done = Align()(science, replace(reference, image_id="other"))
    assert done.facts["align_quality"] == "few stars"
    assert np.isnan(done.facts["align_rms_px"])


def test_no_star_leaves_the_wcs_alone_and_says_so():
    science, reference = listed(np.empty((0, 2)), wcs=wcs_of()), listed(np.empty((0, 2)), wcs=wcs_of(shift=(4.0, 1.0)))
    found = register(science, reference)
    assert (found.matched, found.quality) == (0, "wcs only")
    np.testing.assert_allclose(found(np.array([CENTRE])), [np.add(CENTRE, (4.0, 1.0))], atol=1e-3)
    with pytest.raises(AlignmentError, match="need a WCS"):
        register(replace(science, wcs=None), reference)


def test_more_terms_only_where_the_stars_speak_for_them():
    rng = np.random.default_rng(73)
    points = rng.uniform((0, 0), SHAPE[::-1], (400, 2))
    plain = register(listed(points + rng.normal(0, 0.012, points.shape)), listed(np.add(points, (2.0, 1.0))))
    curved = register(listed(points + rng.normal(0, 0.012, points.shape)), listed(bent(points)))
    assert plain.order <= 2
    assert curved.order >= 3
