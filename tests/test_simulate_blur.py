"""Trailing and defocus against GalSim and against what they are made of, on stars, galaxies and halos."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from gueststar.simulate.optics.blur import Blur
from gueststar.simulate.optics.bright import Halo, paint_bright
from gueststar.simulate.optics.galaxies import paint_galaxies
from gueststar.simulate.optics.painter import PsfField, paint_points

SIZE = 121
TRAIL = Blur(trail_px=8.0, trail_angle_rad=0.6)
RING = Blur(defocus_px=10.0)
BOTH = Blur(trail_px=3.0, trail_angle_rad=2.2, defocus_px=5.0)


def galsim_parts(blur):
    """The blur as profiles of GalSim."""
    import galsim

    parts = []
    if blur.trail_px:
        parts.append(galsim.Box(blur.trail_px, 0.02).rotate(blur.trail_angle_rad * galsim.radians))
    if blur.defocus_px:
        outer, dark = blur.defocus_px / 2, blur.hole**2
        whole = galsim.TopHat(outer, flux=1 / (1 - dark))
        shadow = galsim.TopHat(blur.hole * outer, flux=dark / (1 - dark))
        parts.append(whole - shadow)
    return parts


def draw(profile, x, y):
    import galsim

    exact = galsim.GSParams(folding_threshold=2e-4, maxk_threshold=1e-4, maximum_fft_size=16384)
    seen = galsim.Convolve(profile, gsparams=exact)
    return seen.drawImage(
        nx=SIZE, ny=SIZE, scale=1.0, center=galsim.PositionD(x + 1, y + 1), dtype=np.float64
    ).array  # fmt: skip


@pytest.mark.parametrize("blur", [TRAIL, RING, BOTH], ids=["trail", "ring", "both"])
@pytest.mark.parametrize("fwhm", [2.1, 6.7])
def test_points_against_galsim(blur, fwhm):
    galsim = pytest.importorskip("galsim")
    psf = PsfField.moffat((SIZE, SIZE), fwhm=fwhm, beta=3.5, e1=0.06, half_fwhm=7.0, blur=blur)
    moffat = galsim.Moffat(beta=3.5, fwhm=fwhm).shear(q=0.94, beta=0.0 * galsim.radians)
    x, y = 60.13, 59.62
    drawn = paint_points((SIZE, SIZE), [x], [y], [1.0], psf, cut=1e-12).astype(np.float64)
    truth = draw([moffat, *galsim_parts(blur)], x, y)
    inside = drawn > 0
    assert np.abs(drawn - truth)[inside].max() < 0.005 * truth.max()
    assert drawn[inside].sum() == pytest.approx(truth[inside].sum(), rel=1e-3)


def test_galaxies_against_galsim():
    galsim = pytest.importorskip("galsim")
    columns = {"x": 60.3, "y": 59.8, "flux": 1.0, "sersic_n": 1.0, "re_px": 3.0, "axis_ratio": 0.6, "angle_rad": 0.7}
    galaxy = Table({name: [value] for name, value in columns.items()})
    profile = galsim.Sersic(1.0, half_light_radius=3.0 * np.sqrt(0.6)).shear(q=0.6, beta=0.7 * galsim.radians)
    for blur in (TRAIL, RING):
        psf = PsfField.moffat((SIZE, SIZE), fwhm=2.8, beta=3.0, blur=blur)
        drawn = paint_galaxies((SIZE, SIZE), galaxy, psf, cut=1e-7)
        truth = draw([profile, galsim.Moffat(beta=3.0, fwhm=2.8), *galsim_parts(blur)], 60.3, 59.8)
        assert np.abs(drawn - truth).max() < 0.005 * truth.max()
        assert drawn.sum() == pytest.approx(truth.sum(), rel=0.001)


@pytest.mark.parametrize("blur", [TRAIL, RING, BOTH], ids=["trail", "ring", "both"])
def test_flux_and_place_are_kept_and_the_spread_is_that_of_line_and_ring(blur):
    x, y, weight = blur.points()
    kernel = blur.kernel(4)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-9)
    grid = (np.arange(kernel.shape[0]) - kernel.shape[0] // 2) / 4
    # Uniform line: L^2 / 12 along it; ring between the radii r and R: (r^2 + R^2) / 4 on each axis.
    outer = blur.defocus_px / 2
    ring = outer**2 * (1 + blur.hole**2) / 4
    for along, (u, samples) in enumerate(((x, grid[None, :]), (y, grid[:, None]))):
        direction = (np.cos, np.sin)[along](blur.trail_angle_rad)
        expected = blur.trail_px**2 / 12 * direction**2 + ring
        assert (weight * u).sum() == pytest.approx(0.0, abs=1e-12)
        assert (kernel * samples).sum() == pytest.approx(0.0, abs=1e-9)
        assert (weight * u**2).sum() == pytest.approx(expected, rel=1e-6)
        assert (kernel * samples**2).sum() == pytest.approx(expected, rel=1e-6)
    assert np.hypot(x, y).max() <= blur.reach + 1e-9
    few = blur.four_points()
    for powers in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (3, 0), (1, 2)):
        sums = [(w * u ** powers[0] * v ** powers[1]).sum() for u, v, w in ((x, y, weight), few)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-6, abs=1e-9)
    assert blur.covariance == pytest.approx([(weight * a * b).sum() for a, b in ((x, x), (y, y), (x, y))])


def test_a_ring_is_dark_inside_and_a_trail_points_along_its_angle():
    stars = [60.0], [60.0], [1.0]
    ring = paint_points((SIZE, SIZE), *stars, PsfField.moffat((SIZE, SIZE), fwhm=2.1, beta=4.0, blur=RING))
    assert ring[60, 60] < 0.7 * ring.max()
    trail = paint_points(
        (SIZE, SIZE), *stars, PsfField.moffat((SIZE, SIZE), fwhm=2.1, beta=4.0, blur=TRAIL), cut=1e-9
    ).astype(np.float64)
    yy, xx = np.mgrid[:SIZE, :SIZE] - 60
    near = np.hypot(xx, yy) < 12
    xy, xx2, yy2 = ((trail * product)[near].sum() for product in (xx * yy, xx * xx, yy * yy))
    assert 0.5 * np.arctan2(2 * xy, xx2 - yy2) == pytest.approx(0.6, abs=0.01)


def test_no_blur_and_a_blur_of_no_length_are_the_same():
    plain, empty = (PsfField.moffat((50, 50), fwhm=2.6, beta=3.0, blur=blur) for blur in (None, Blur()))
    assert plain.half == empty.half
    np.testing.assert_allclose(plain.tables, empty.tables, atol=1e-7)
    np.testing.assert_allclose(plain.kernels, empty.kernels, atol=1e-7)


@pytest.mark.parametrize("blur", [TRAIL, RING], ids=["trail", "ring"])
def test_halos_are_smeared_and_go_on_beyond_the_stamp(blur):
    shape = (401, 401)
    halo = Halo(share=0.02, slope=2.5, spikes=0.005, angle_rad=0.8, ghosts=0.0, toward_centre=(0.0, 0.0))
    star = [200.2], [199.9], [1e7]
    sharp, smeared = (PsfField.moffat(shape, fwhm=2.5, beta=4.0, half_fwhm=6.0, blur=b) for b in (None, blur))
    before, after = (paint_bright(shape, *star, psf, halo=halo, cut=0.1).astype(np.float64) for psf in (sharp, smeared))
    # Copies of the whole halo, of total weight 1, are added up.
    assert after.sum() == pytest.approx(before.sum(), rel=0.01)
    # The spike across the trail.
    spike = np.s_[230:260, 140:170]
    assert after[spike].max() < 0.85 * before[spike].max()
    # No edge where the tabulated stamp ends.
    plane = after + paint_points(shape, *star, smeared, cut=0.1)
    profile = plane[200, 200 + int(blur.reach) + 3 : 300]
    assert (np.diff(profile) < 0.02 * profile[:-1]).all()
