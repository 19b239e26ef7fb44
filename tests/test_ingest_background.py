"""Sky level and noise against drawn skies: galaxies, halos, crowds, slopes, holes."""

from __future__ import annotations

import numpy as np
import pytest
import sep
from astropy.table import Table

import skies
from gueststar.errors import PixelError
from gueststar.ingest.background import Background
from gueststar.ingest.extended import BIN, bin_plane, extended_light, within
from gueststar.ingest.mesh import Mesh, clipped_cells
from gueststar.simulate.optics.bright import Halo, paint_bright
from gueststar.simulate.optics.galaxies import paint_galaxies
from gueststar.simulate.optics.painter import PsfField, paint_points

SHAPE = (576, 768)
SIGMA = skies.NOISE_E
FULL_E = 60_000.0


def field_stars(rng, n, psf, *, brightest=11.5):
    """Stars whose counts grow as 10^(0.28 mag), 20 mag being 600 e-."""
    mag = 20.0 + np.log10(rng.uniform(10 ** (-0.28 * (20.0 - brightest)), 1.0, n)) / 0.28
    x, y = rng.uniform(-20, SHAPE[1] + 20, n), rng.uniform(-20, SHAPE[0] + 20, n)
    return paint_points(SHAPE, x, y, 600.0 * 10 ** (0.4 * (20.0 - mag)), psf)


def measured(light, rng, *, sky=skies.SKY_E, **options):
    """Sky, its error in sigma, and that of plain SEP on the same pixels."""
    counts = np.minimum(skies.expose(light, rng, sky=sky), FULL_E).astype("f4")
    bad = counts >= 0.95 * FULL_E
    found = Background(**options).measure(counts, bad)
    plain = sep.Background(counts, mask=bad, bw=64, bh=64, fw=3, fh=3).back()
    return found, (found.level - sky) / SIGMA, (plain - sky) / SIGMA


def ring(x, y, low, high):
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    r = np.hypot(xx - x, yy - y)
    return (r >= low) & (r < high)


@pytest.mark.parametrize("n", [1.0, 4.0])
def test_a_big_galaxy_is_not_sky(n):
    rng = np.random.default_rng(int(10 * n))
    psf = PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0)
    # Surface brightness at the half-light radius of 26 px: one sigma of the sky.
    rows = {
        "x": [384.0], "y": [288.0], "flux": [6.0 * np.pi * 26.0**2 * SIGMA], "sersic_n": [n], "re_px": [26.0],
        "axis_ratio": [0.8], "angle_rad": [0.5],
    }  # fmt: skip
    light = field_stars(rng, 400, psf) + paint_galaxies(SHAPE, Table(rows), psf, cut=0.02)
    found, error, plain = measured(light, rng)
    for low, high in ((0, 26), (26, 52), (52, 104)):
        here = ring(384, 288, low, high)
        assert abs(error[here].mean()) < 0.06
        assert abs(error[here].mean()) < 0.5 * plain[here].mean()
    x, y, radius = found.extended[0]
    assert np.hypot(x - 384, y - 288) < BIN
    assert 60 < radius < 300


def test_the_halo_of_a_bright_star_is_not_sky():
    rng = np.random.default_rng(4)
    psf = PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0)
    halo = Halo(share=0.02, slope=2.5, spikes=0.005, angle_rad=0.5, ghosts=0.0, toward_centre=(0.0, 0.0))
    star = [300.0], [250.0], [1e8]
    light = field_stars(rng, 400, psf) + paint_points(SHAPE, *star, psf)
    light = light + paint_bright(SHAPE, *star, psf, halo=halo, cut=0.02)
    found, error, plain = measured(light, rng)
    for low, high in ((0, 30), (30, 60), (60, 120)):
        here = ring(300, 250, low, high)
        assert plain[here].mean() > 0.25
        assert abs(error[here].mean()) < 0.1
    assert np.hypot(*(found.extended[0, :2] - (300, 250))) < BIN
    # Without this the halo is sky.
    _, absorbed, _ = measured(light, np.random.default_rng(4), extended_sigma=0.0)
    assert absorbed[ring(300, 250, 0, 30)].mean() > 0.25


def test_a_crowd_does_not_lift_the_sky():
    """As many stars as 30,000 on a chip of 2048 x 1152; most are too faint to be seen, and their mean light is sky."""
    rng = np.random.default_rng(5)
    psf = PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0)
    n = round(30_000 * SHAPE[0] * SHAPE[1] / (2048 * 1152))
    found, error, plain = measured(field_stars(rng, n, psf), rng)
    assert error.mean() < 0.2
    assert error.mean() < 0.5 * plain.mean()
    assert np.median(found.noise) / SIGMA == pytest.approx(1.0, abs=0.05)


def test_a_slope_is_kept_to_the_corners():
    rng = np.random.default_rng(6)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / np.array(SHAPE)[:, None, None] - 0.5
    sky = 400.0 * (1.0 + 0.4 * x + 0.2 * y)
    light = field_stars(rng, 300, PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0))
    found, error, _ = measured(light, rng, sky=sky)
    assert np.abs(error).max() < 0.15
    truth = np.sqrt(sky + skies.READ_NOISE_E**2)
    assert (found.noise / truth).mean() == pytest.approx(1.0, abs=0.02)
    # A slope within a cell is no noise.
    steep = skies.expose(np.zeros(SHAPE), rng, sky=400.0 + 1.0 * np.arange(SHAPE[1])[None, :])
    _, noise = Background()(steep, np.zeros(SHAPE, bool))
    assert (noise / np.sqrt(409.0 + np.arange(SHAPE[1]))).mean() == pytest.approx(1.0, abs=0.02)


def test_patches_of_sky_are_no_objects():
    """A patch of three sigma and 200 px has no profile that falls like that of a star: the sky follows it."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = 400.0 + 60.0 * np.cos(x / 90.0) * np.cos(y / 90.0)
    light = field_stars(rng, 300, PsfField.moffat(SHAPE, fwhm=2.8, beta=3.0))
    found, error, plain = measured(light, rng, sky=sky)
    assert error.std() < 1.1 * plain.std()
    assert (found.extended[:, 2] < 40).all()


def test_holes_are_bridged_and_the_input_is_left_alone(rng):
    data = (rng.normal(100.0, 5.0, SHAPE) + 0.05 * np.arange(SHAPE[1])).astype("f4")
    bad = np.zeros(SHAPE, bool)
    bad[150:400, 200:420] = True
    data[bad] = 1e6
    copy, bad_copy = data.copy(), bad.copy()
    level, noise = Background()(data, bad)
    np.testing.assert_array_equal(data, copy)
    np.testing.assert_array_equal(bad, bad_copy)
    assert np.abs(level - 100.0 - 0.05 * np.arange(SHAPE[1])).max() < 1.5
    assert np.abs(noise - 5.0).max() < 0.6


def test_nothing_to_measure_is_said():
    with pytest.raises(PixelError, match="no good pixel"):
        Background()(np.ones(SHAPE, "f4"), np.ones(SHAPE, bool))
    with pytest.raises(PixelError, match="have the value 7"):
        Background()(np.full(SHAPE, 7.0, "f4"), np.zeros(SHAPE, bool))


# --- the mesh --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(576, 768), (301, 337), (1128, 1000), (130, 900)])
def test_cells_hold_every_pixel_once(rng, shape):
    plane = rng.normal(size=shape).astype("f4")
    mesh = Mesh(shape, 64)
    values = mesh.split(plane, np.inf)
    assert values[np.isfinite(values)].size == plane.size
    assert np.sort(values[np.isfinite(values)]) == pytest.approx(np.sort(plane.ravel()))
    flags = np.zeros(shape, bool)
    flags[: mesh.sides[0], : mesh.sides[1]] = True
    share = mesh.share(flags)
    assert share[0, 0] == 1.0
    assert share.sum() == 1.0
    y, x = mesh.places()
    # A plane through the cells is a plane everywhere.
    rows, columns = (np.arange(n) for n in shape)
    expected = 3.0 + 2.0 * ((columns + 0.5) * 2 / shape[1] - 1)[None, :] - ((rows + 0.5) * 2 / shape[0] - 1)[:, None]
    np.testing.assert_allclose(mesh.surface(3.0 + 2.0 * x - y), expected, atol=2e-5)


def test_clipped_statistics_are_those_of_the_noise(rng):
    values = rng.normal(50.0, 4.0, (40, 4096)).astype("f4")
    values[:, ::17] += 200.0
    values[:, ::5] = np.inf
    values[7] = np.inf
    level, noise, count = clipped_cells(values)
    assert np.isnan(level[7])
    assert np.isnan(noise[7])
    assert count[7] == 0
    good = np.arange(40) != 7
    assert np.abs(level[good] - 50.0).max() < 0.6
    assert noise[good].mean() == pytest.approx(4.0, rel=0.01)
    level, noise, _ = clipped_cells(np.full((1, 100), 3.0, "f4"))
    assert (level[0], noise[0]) == (3.0, 0.0)


# --- extended light --------------------------------------------------------------------------------------------------


def test_bins_are_means_of_good_pixels(rng):
    plane = rng.normal(size=(20, 35)).astype("f4")
    bad = np.zeros(plane.shape, bool)
    bad[:8, :8] = True
    bad[8:12, 8:16] = True
    binned = bin_plane(plane, bad)
    assert binned.mean.shape == (2, 4)
    assert np.isnan(binned.mean[0, 0])
    assert binned.count[1, 1] == 32
    assert binned.mean[1, 1] == pytest.approx(plane[12:16, 8:16].mean(), abs=1e-6)
    assert binned.mean[0, 3] == pytest.approx(plane[:8, 24:32].mean(), abs=1e-6)


def test_an_empty_sky_has_no_extended_light(rng):
    shape = (72, 96)
    excess, full = rng.normal(0.0, 1.0 / BIN, shape).astype("f4"), np.full(shape, 64.0, "f4")
    assert extended_light(excess, np.ones(shape, "f4"), full, limit=0.03).shape == (0, 3)


def test_at_most_a_part_of_the_frame_is_left_out():
    objects = np.array([[300.0, 300.0, 5000.0]])
    assert within((72, 96), objects, most=0.5).mean() <= 0.5
    assert within((72, 96), objects[:0], most=0.5).sum() == 0
