"""Light onto pixels: points and galaxies against direct integration and GalSim, bright stars against their laws."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from gueststar.simulate.optics.bright import Halo, aureole_pixels, ghost_pixels, paint_bright, spike_pixels
from gueststar.simulate.optics.galaxies import paint_galaxies, sersic_pixels
from gueststar.simulate.optics.painter import PsfField, moffat_pixels, moffat_radius, paint_points


def integrated_moffat(n, x, y, *, fwhm, beta, e1=0.0, e2=0.0, sub=21):
    """Moffat by brute force: the mean of many samples in each pixel."""
    fine = (np.arange(n * sub) + 0.5) / sub - 0.5
    values = moffat_pixels(fine[None, :] - x, fine[:, None] - y, fwhm=fwhm, beta=beta, e1=e1, e2=e2, integrate=False)
    return values.reshape(n, sub, n, sub).mean(axis=(1, 3))


@pytest.mark.parametrize("fwhm", [2.0, 2.8, 4.5])
@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.31, -0.47), (-0.5, 0.5), (0.13, 0.22)])
def test_table_at_subpixel_positions_is_the_integrated_profile(fwhm, phase):
    psf = PsfField.moffat((61, 61), fwhm=fwhm, beta=3.0, e1=0.05, e2=-0.03)
    x, y = 30 + phase[0], 30 + phase[1]
    drawn = paint_points((61, 61), [x], [y], [1.0], psf, cut=1e-12)
    direct = integrated_moffat(61, x, y, fwhm=fwhm, beta=3.0, e1=0.05, e2=-0.03)
    assert np.abs(drawn - direct).max() < 1.5e-3 * direct.max()


@pytest.mark.parametrize(("fwhm", "beta"), [(2.1, 2.5), (2.8, 3.2), (4.5, 4.0), (6.7, 3.5)])
def test_points_against_galsim(fwhm, beta):
    galsim = pytest.importorskip("galsim")
    psf = PsfField.moffat((121, 121), fwhm=fwhm, beta=beta, e1=0.06 * np.cos(1.0), e2=0.06 * np.sin(1.0))
    profile = galsim.Moffat(beta=beta, fwhm=fwhm, flux=1e5).shear(q=0.94, beta=0.5 * galsim.radians)
    rng = np.random.default_rng(4)
    for x, y in 60 + rng.uniform(-0.5, 0.5, (3, 2)):
        drawn = paint_points((121, 121), [x], [y], [1e5], psf, cut=1e-6)
        stamp = galsim.Image(121, 121, xmin=0, ymin=0)
        profile.drawImage(stamp, scale=1.0, center=galsim.PositionD(x, y))
        assert np.abs(drawn - stamp.array).max() < 0.005 * stamp.array.max()
        assert abs(drawn.sum() - stamp.array.sum()) < 0.001 * 1e5


def test_many_points_are_the_sum_of_single_ones_and_edges_are_kept():
    psf = PsfField.moffat((40, 50), fwhm=2.5, beta=3.0)
    rng = np.random.default_rng(1)
    x, y, flux = rng.uniform(-8, 58, 60), rng.uniform(-8, 48, 60), 10 ** rng.uniform(1, 6, 60)
    together = paint_points((40, 50), x, y, flux, psf, cut=0.01)
    single = sum(paint_points((40, 50), [a], [b], [c], psf, cut=0.01) for a, b, c in zip(x, y, flux, strict=True))
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=0.01)
    # A star just outside still gives the light that falls inside.
    outside = paint_points((40, 50), [-1.0], [20.0], [1e5], psf, cut=0.01)
    wide = paint_points((60, 70), [9.0], [30.0], [1e5], psf, cut=0.01)
    np.testing.assert_allclose(outside, wide[10:50, 10:60], rtol=1e-5, atol=1e-3)


def test_no_points_give_an_empty_plane():
    psf = PsfField.moffat((30, 30), fwhm=2.5, beta=3.0)
    assert not paint_points((30, 30), [], [], [], psf).any()


def test_psf_varies_over_the_chip():
    fwhm = 2.6 + 0.3 * np.array([[0, 0.5, 1]] * 3)
    psf = PsfField.moffat((200, 400), fwhm=fwhm, beta=3.0)
    widths, _, _ = psf.at([0, 199.5, 399], [0, 100, 199])
    np.testing.assert_allclose(widths, [2.6, 2.75, 2.9], atol=1e-6)
    for x, width in zip((0, 100, 399), (2.6, 2.675, 2.9), strict=True):
        direct = integrated_moffat(2 * psf.half + 1, psf.half, psf.half, fwhm=width, beta=3.0)
        assert np.abs(psf.stamps([x], [90])[0] - direct).max() < 3e-3 * direct.max()


def test_brighter_stars_get_larger_stamps():
    radii = moffat_radius([1e2, 1e4, 1e6], cut=1.0, fwhm=2.5, beta=3.0)
    assert radii[0] < radii[1] < radii[2]
    psf = PsfField.moffat((101, 101), fwhm=2.5, beta=3.0)
    size = [np.count_nonzero(paint_points((101, 101), [50], [50], [f], psf, cut=1.0)) for f in (1e2, 1e4, 1e6)]
    assert size[0] < size[1] < size[2]
    # What is left out lies below the cut.
    full = paint_points((101, 101), [50], [50], [1e4], psf, cut=1e-9)
    assert np.abs(full - paint_points((101, 101), [50], [50], [1e4], psf, cut=1.0)).max() < 1.0


def galaxy(**columns):
    defaults = {"x": 64.3, "y": 63.8, "flux": 1e5, "sersic_n": 1.0, "re_px": 4.0, "axis_ratio": 0.6, "angle_rad": 0.7}
    return Table({name: [columns.get(name, value)] for name, value in defaults.items()})


@pytest.mark.parametrize("index", [0.8, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("re", [1.5, 5.0])
def test_galaxies_against_galsim(index, re):
    galsim = pytest.importorskip("galsim")
    psf = PsfField.moffat((129, 129), fwhm=2.8, beta=3.0)
    drawn = paint_galaxies((129, 129), galaxy(sersic_n=index, re_px=re), psf, cut=0.01)
    # GalSim's half-light radius is the circularised one; ours is along the major axis.
    profile = galsim.Sersic(index, half_light_radius=re * np.sqrt(0.6), flux=1e5)
    profile = profile.shear(q=0.6, beta=0.7 * galsim.radians)
    seen = galsim.Convolve(profile, galsim.Moffat(beta=3.0, fwhm=2.8))
    stamp = galsim.Image(129, 129, xmin=0, ymin=0)
    seen.drawImage(stamp, scale=1.0, center=galsim.PositionD(64.3, 63.8))
    assert np.abs(drawn - stamp.array).max() < 0.005 * stamp.array.max()
    assert abs(drawn.sum() - stamp.array.sum()) < 0.003 * 1e5


def test_sersic_half_of_the_light_is_within_re():
    pixels = sersic_pixels(256, 0.0, 0.0, n=1.0, re=10.0, ratio=1.0, angle=0.0)[0]
    yy, xx = np.mgrid[:256, :256] - 128
    assert pixels.sum() == pytest.approx(1.0, abs=2e-3)
    assert pixels[np.hypot(xx, yy) < 10.0].sum() == pytest.approx(0.5, abs=0.01)


def test_galaxies_add_up_and_may_lie_outside():
    psf = PsfField.moffat((100, 120), fwhm=2.6, beta=3.0)
    both = Table(rows=[*galaxy(x=30.0, y=40.0), *galaxy(x=-3.0, y=80.0)], names=galaxy().colnames)
    parts = [paint_galaxies((100, 120), both[i : i + 1], psf) for i in range(2)]
    np.testing.assert_allclose(paint_galaxies((100, 120), both, psf), parts[0] + parts[1], atol=1e-2)
    assert 0.1e5 < parts[1].sum() < 0.5e5
    assert not paint_galaxies((100, 120), galaxy(x=-2000.0), psf).any()


def test_aureole_spikes_and_ghosts_hold_their_share_of_light():
    yy, xx = (a.astype(np.float32) for a in np.mgrid[-520:521, -520:521])
    for slope in (2.0, 2.5, 3.0):
        aureole = aureole_pixels(xx * xx + yy * yy, slope=slope, core=8.0)
        assert aureole.sum() == pytest.approx(1.0, abs=0.01)
        assert (np.diff(aureole[520, 520:1000]) < 0).all()
    assert spike_pixels(xx, yy, angle_rad=0.4, width=3.0).sum() == pytest.approx(1.0, abs=0.05)
    assert ghost_pixels(xx, yy, radius=90.0, hole=0.4).sum() == pytest.approx(1.0, abs=0.03)


def test_spikes_lie_along_their_angle():
    light = spike_pixels(np.float32([[50.0, 35.36]]), np.float32([[0.0, 35.36]]), angle_rad=np.pi / 4, width=3.0)
    assert light[0, 1] > 100 * light[0, 0]


def test_bright_stars_extend_smoothly_beyond_the_stamp_and_faint_ones_get_nothing():
    psf = PsfField.moffat((301, 301), fwhm=2.5, beta=2.5, half_fwhm=6.0)
    halo = Halo(share=0.0, slope=2.5, spikes=0.0, angle_rad=0.0, ghosts=0.0, toward_centre=(0.0, 0.0))
    star = ([150.2], [149.9], [1e8])
    total = paint_points((301, 301), *star, psf, cut=1.0) + paint_bright((301, 301), *star, psf, halo=halo, cut=1.0)
    profile = total[150, 150:230]
    lit = profile[profile > 2.0]
    assert lit.size > psf.half + 10
    assert (np.diff(lit) < 0).all()
    assert not paint_bright((301, 301), [150], [150], [1e3], psf, halo=halo, cut=1.0).any()
