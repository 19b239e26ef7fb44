"""Raw counts to an image: sky, noise, variance, stars and PSF against what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

import skies
from gueststar.errors import InputError, PixelError
from gueststar.ingest.background import Background
from gueststar.ingest.prepare import Ingest, measure_image, prepare_image
from gueststar.ingest.psf import MeasurePsf
from gueststar.ingest.stars import select_point_sources, typical_fwhm
from gueststar.types import Image, Mask, Psf, Stars

SHAPE = (300, 340)


def slope_sky():
    """400 e- at the centre, 30 % brighter towards one corner."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / np.array(SHAPE)[:, None, None] - 0.5
    return 400.0 * (1.0 + 0.2 * x + 0.1 * y)


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(5)
    stars = skies.scatter(rng, 110, SHAPE, flux=(300.0, 80_000.0), apart=9)
    light = skies.paint(SHAPE, stars, skies.Shape(2.8))
    counts = skies.expose(light, rng, sky=slope_sky())
    return stars, light, counts, prepare_image(counts, read_noise_e=skies.READ_NOISE_E)


# --- sky and noise ---------------------------------------------------------------------------------------------------


def test_sky_is_taken_off_and_noise_is_what_was_drawn(field):
    stars, light, counts, image = field
    level = counts - image.numpy()
    untouched = image.numpy("mask") == 0
    error = (level - slope_sky())[untouched]
    # A hundredth of the noise of a pixel would be 0.2 e-; stars' wings pull the sky up a little.
    assert abs(error.mean()) < 1.0
    # In the corners the slope of 0.3 e-/px is not followed over the last half cell of the mesh.
    assert np.abs(error).max() < 0.4 * skies.NOISE_E
    dark = light < 0.5
    expected = slope_sky() + skies.READ_NOISE_E**2
    assert (image.numpy("variance") / expected)[dark].mean() == pytest.approx(1.0, abs=0.05)
    assert (image.numpy() / np.sqrt(expected))[dark & untouched].std() == pytest.approx(1.0, abs=0.02)


def test_variance_has_the_photon_noise_of_stars_but_not_of_each_pixel(field):
    _, light, counts, image = field
    bright = light > 300.0
    truth = slope_sky() + skies.READ_NOISE_E**2 + light
    ratio = image.numpy("variance")[bright] / truth[bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    dark = light < 0.5
    noise = (counts - slope_sky())[dark]
    assert abs(np.corrcoef(noise, image.numpy("variance")[dark])[0, 1]) < 0.25


def test_gain_turns_counts_into_electrons(rng):
    stars = skies.scatter(rng, 40, SHAPE, apart=12)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    electrons = prepare_image(counts)
    from_adu = prepare_image((counts / 2.5).astype(np.float32), gain_e_adu=2.5)
    assert np.abs(from_adu.numpy() - electrons.numpy()).max() < 0.05
    np.testing.assert_allclose(from_adu.numpy("variance"), electrons.numpy("variance"), rtol=1e-3)


def test_read_noise_is_a_floor(rng):
    """Under noise that resampling made small: pixels are correlated, and a source's flux is noisier than they say."""
    smooth = uniform_filter(rng.normal(0.0, 12.0, SHAPE), 3)
    counts = 50.0 + smooth + skies.paint(SHAPE, skies.scatter(rng, 30, SHAPE), skies.Shape(3.0))
    image = prepare_image(counts, read_noise_e=6.0)
    assert np.quantile(image.numpy("variance"), 0.1) >= 36.0
    assert image.facts["noise_warning"] == ""
    assert 0.5 < image.facts["noise_correlation"] < 2 / 3


def test_crowding_does_not_lift_the_sky(rng):
    stars = skies.scatter(rng, 900, SHAPE, flux=(300.0, 30_000.0))
    image = skies.photograph(SHAPE, stars, skies.Shape(2.5), rng)
    assert image.facts["sky_e"] == pytest.approx(skies.SKY_E, abs=0.5 * skies.NOISE_E)
    assert image.facts["sky_noise_e"] == pytest.approx(skies.NOISE_E, rel=0.25)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i2", "<u2", ">u2", "<i4"])
def test_any_number_type_gives_the_same_image(field, dtype):
    whole = np.round(field[2])
    image = prepare_image(whole.astype(dtype))
    np.testing.assert_array_equal(image.numpy(), prepare_image(whole).numpy())


def test_input_is_left_alone(field):
    counts = field[2].copy()
    counts[5:9, 5:9] = np.nan
    counts.flags.writeable = False
    mask = np.zeros(SHAPE, bool)
    mask[50, 60] = True
    before = counts.copy()
    image = prepare_image(counts, mask=mask)
    np.testing.assert_array_equal(counts, before)
    assert mask.sum() == 1
    assert (image.numpy("mask")[5:9, 5:9] & Mask.NO_DATA != 0).all()
    assert image.numpy("mask")[50, 60] & Mask.BAD
    assert np.isfinite(image.numpy()).all()
    assert (image.numpy()[5:9, 5:9] == 0).all()


def test_masked_pixels_do_not_reach_the_sky(field):
    counts = field[2].copy()
    mask = np.zeros(SHAPE, bool)
    mask[100:160, 100:180] = True
    counts[mask] = 1e6
    image = prepare_image(counts, mask=mask)
    good = image.numpy("mask") == 0
    assert np.abs((counts - image.numpy() - slope_sky())[good]).max() < 0.4 * skies.NOISE_E


def test_fields_of_the_image_are_passed_on(field):
    image = prepare_image(field[2], band="g", mjd_mid=59000.5, exposure_s=30.0, field="M31", facts={"dark": "d"})
    assert (image.band, image.mjd_mid, image.exposure_s, image.field) == ("g", 59000.5, 30.0, "M31")
    assert image.facts["dark"] == "d"
    assert image.facts["n_sources"] == len(image.stars)


@pytest.mark.parametrize("mesh_px", [16, 64, 300])
def test_a_flat_sky_is_flat_on_any_mesh(rng, mesh_px):
    data = rng.normal(100.0, 5.0, SHAPE).astype(np.float32)
    level, noise = Background(mesh_px=mesh_px)(data, np.zeros(SHAPE, bool))
    assert np.abs(level - 100.0).max() < 5.0
    assert level.mean() == pytest.approx(100.0, abs=0.1)
    assert noise.mean() == pytest.approx(5.0, rel=0.03)


# --- stars -----------------------------------------------------------------------------------------------------------


def test_stars_are_where_they_were_drawn(field):
    truth, _, _, image = field
    inside = truth[(truth.flux > 2000) & (truth.x > 8) & (truth.x < 331) & (truth.y > 8) & (truth.y < 291)]
    found, index = skies.matched(inside, image.stars.x, image.stars.y)
    assert len(found) == len(inside) > 40
    dx, dy = image.stars.x[index] - inside.x[found], image.stars.y[index] - inside.y[found]
    # Noise of a centroid: sigma / (S/N), S/N = F / (noise sqrt(4 pi) sigma)
    sigma = 2.8 / 2.355
    snr = inside.flux[found] / np.sqrt(skies.NOISE_E**2 * 4 * np.pi * sigma**2 + inside.flux[found])
    pull = np.concatenate((dx, dy)) / np.tile(np.hypot(sigma / snr, 0.01), 2)
    assert abs(np.mean(pull)) < 0.25
    assert np.median(np.abs(pull)) * 1.4826 < 1.4


def test_fluxes_of_stars_are_those_of_their_aperture(field):
    truth, _, _, image = field
    inside = truth[(truth.flux > 10_000) & (truth.x > 12) & (truth.x < 327) & (truth.y > 12) & (truth.y < 287)]
    found, index = skies.matched(inside, image.stars.x, image.stars.y)
    share = 1.0 - np.exp(-4 * np.log(2) * (image.stars.aperture_px / 2.8) ** 2)
    ratio = image.stars.flux[index] / inside.flux[found] / share
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    assert (np.diff(image.stars.flux[:50]) <= 0.2 * image.stars.flux[:49]).all()


def test_widths_of_bright_stars(field):
    truth, _, _, image = field
    bright = truth[(truth.flux > 20_000) & (truth.x > 12) & (truth.x < 327) & (truth.y > 12) & (truth.y < 287)]
    _, index = skies.matched(bright, image.stars.x, image.stars.y)
    assert np.median(image.stars.fwhm[index]) == pytest.approx(2.8, rel=0.06)
    assert np.median(image.stars.elongation[index]) < 1.08


def test_nothing_is_found_in_noise_that_was_not_drawn(rng):
    image = prepare_image(rng.normal(100.0, 5.0, SHAPE), psf=Psf.from_stamp(skies.Shape(2.8).stamp(21)))
    assert len(image.stars) <= 2


def test_the_common_width_is_that_of_the_stars_not_of_galaxies_or_rays(rng):
    widths = np.concatenate((rng.normal(2.8, 0.1, 60), rng.uniform(4, 12, 40), rng.uniform(0.8, 1.5, 20)))
    assert typical_fwhm(widths) == pytest.approx(2.8, abs=0.15)
    assert typical_fwhm(np.array([np.nan])) == 3.0


def test_point_sources_leave_out_galaxies_faint_flagged_and_crowded_ones():
    n = 60
    rng = np.random.default_rng(2)
    columns = {
        "x": np.arange(n) * 30.0, "y": np.zeros(n), "flux": np.linspace(2000, 1000, n), "snr": np.full(n, 100.0),
        "fwhm": rng.normal(2.8, 0.03, n), "elongation": np.full(n, 1.05), "peak": np.full(n, 100.0),
    }  # fmt: skip
    flags = np.zeros(n, np.int64)
    columns["fwhm"][10] = 6.0
    columns["elongation"][11] = 2.5
    columns["snr"][12] = 8.0
    flags[13] = int(Mask.SATURATED)
    columns["x"][15] = columns["x"][14] + 4.0
    index = select_point_sources(Stars(**columns, flags=flags))
    assert set(range(n)) - set(index) == {10, 11, 12, 13, 14, 15}


# --- point-spread function -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fwhm", "beta"), [(2.1, None), (2.8, None), (2.8, 3.0), (4.5, 2.5)])
@pytest.mark.parametrize("ellipticity", [0.0, 0.12])
def test_psf_is_the_one_that_was_drawn(fwhm, beta, ellipticity):
    rng = np.random.default_rng(6)
    shape = skies.Shape(fwhm, beta, ellipticity, 35.0)
    stars = skies.scatter(rng, 90, SHAPE, flux=(3000.0, 80_000.0), apart=5 * fwhm)
    psf = skies.photograph(SHAPE, stars, shape, rng).psf
    truth = shape.stamp(psf.size)
    residual = psf.stamp.double().numpy() - truth / truth.sum()
    assert psf.fwhm == pytest.approx(fwhm, rel=0.05)
    assert psf.ellipticity == pytest.approx(ellipticity, abs=0.02)
    assert np.abs(residual).max() < (0.04 if fwhm > 2.5 else 0.07) * truth.max()
    # What counts: the error of a PSF flux.
    unit = truth / truth.sum()
    assert (residual * unit).sum() / (unit**2).sum() == pytest.approx(0.0, abs=0.02)
    yy, xx = np.mgrid[: psf.size, : psf.size] - psf.size // 2
    core = np.hypot(xx, yy) < 2 * fwhm
    centre = [(psf.stamp.double().numpy() * axis)[core].sum() for axis in (xx, yy)]
    assert np.hypot(*centre) < 0.03


def test_psf_that_varies_over_the_chip():
    rng = np.random.default_rng(8)
    shape = (400, 420)

    def local(x, y):
        return skies.Shape(
            2.6 * (1.0 + 0.12 * (x / 210 - 1)), ellipticity=max(0.0, 0.12 * (y / 200 - 1)), angle_deg=0.0
        )

    stars = skies.scatter(rng, 220, shape, flux=(4000.0, 60_000.0), apart=13)
    psf = skies.photograph(shape, stars, local, rng).psf
    assert psf.order >= 1
    for x in (40, 210, 380):
        for y in (40, 200, 360):
            truth = local(x, y).stamp(psf.size)
            fitted = psf.at(x, y)[0].double().numpy()
            assert fitted.sum() == pytest.approx(1.0, abs=1e-4)
            assert fitted.max() == pytest.approx(truth.max() / truth.sum(), rel=0.05)
            assert np.abs(fitted - truth / truth.sum()).max() < 0.06 * truth.max()


@pytest.mark.parametrize(("n", "highest"), [(3, 0), (20, 0), (45, 1), (200, 3)])
def test_few_stars_carry_a_low_order(n, highest):
    rng = np.random.default_rng(9)
    stars = skies.scatter(rng, n, SHAPE, flux=(20_000.0, 60_000.0), apart=14, margin=15)
    image = skies.photograph(SHAPE, stars, skies.Shape(2.8), rng, options=Ingest(psf=MeasurePsf(order=3)))
    assert image.psf.order <= highest
    assert image.psf.fwhm == pytest.approx(2.8, rel=0.06)


def test_blends_and_rays_do_not_widen_the_psf(rng):
    stars = skies.scatter(rng, 260, SHAPE, flux=(2000.0, 60_000.0))
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    rows, columns = rng.integers(5, 290, (2, 60))
    counts[rows, columns] += 3000.0
    assert prepare_image(counts).psf.fwhm == pytest.approx(2.8, rel=0.06)


@pytest.mark.parametrize("fwhm", [2.2, 3.0, 5.0])
@pytest.mark.parametrize("n_rays", [15, 60])
def test_rays_that_outnumber_the_stars_are_not_the_psf(fwhm, n_rays):
    """A raw frame far from the Milky Way: fifteen stars, and more hot pixels than that."""
    rng = np.random.default_rng(12)
    stars = skies.scatter(rng, 15, SHAPE, flux=(4000.0, 60_000.0), margin=20, apart=30)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(fwhm)), rng)
    rows, columns = rng.integers(5, 290, (2, n_rays))
    counts[rows, columns] += rng.uniform(500.0, 6000.0, n_rays).astype("f4")
    for column in columns[:: n_rays // 5]:  # and a few short tracks
        counts[20:26, column] += 900.0
    image = prepare_image(counts)
    assert image.psf.fwhm == pytest.approx(fwhm, rel=0.12)
    found = (image.numpy("mask")[rows, columns] & Mask.COSMIC_RAY) != 0
    assert found.mean() > 0.9


# --- an image that has some of it already ----------------------------------------------------------------------------


def test_a_measured_image_is_returned_as_it_is(field):
    assert measure_image(field[3]) is field[3]


def test_only_what_is_missing_is_measured(field):
    image = field[3]
    psf = Psf.from_stamp(skies.Shape(2.8).stamp(21))
    bare = Image.from_arrays(image.numpy(), image.numpy("variance"), psf=psf)
    measured = measure_image(bare)
    assert torch.equal(measured.psf.planes, psf.planes)
    assert len(measured.stars) > 60
    assert bare.stars is None
    torch.testing.assert_close(bare.data, image.data, rtol=0, atol=0)


# --- pixels that cannot be measured ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.full(SHAPE, np.nan), PixelError, "no good pixel: all are NaN, masked or saturated"),
        (np.full(SHAPE, 37.0), PixelError, "all 102000 good pixels have the value 37: there is no sky noise"),
        (np.zeros(SHAPE, np.uint16), PixelError, "have the value 0"),
        (np.random.default_rng(1).normal(100, 5, SHAPE), PixelError, "no usable star for the point-spread function"),
        (np.ones(100), InputError, r"data has shape \(100,\); expected \(ny, nx\)"),
        (np.ones((3, 64, 64)), InputError, r"data has shape \(3, 64, 64\)"),
        (np.ones((30, 400)), InputError, r"at least 48 px a side"),
    ],
    ids=["nan", "constant", "zero", "no stars", "row", "cube", "small"],
)
def test_what_cannot_be_measured_is_said(data, error, message):
    with pytest.raises(error, match=message):
        prepare_image(data)


def test_everything_masked_or_saturated(field):
    with pytest.raises(PixelError, match="no good pixel"):
        prepare_image(field[2], mask=np.ones(SHAPE, bool))
    with pytest.raises(PixelError, match="no good pixel"):
        prepare_image(field[2], saturation_adu=100.0)


@pytest.mark.parametrize("gain", [0.0, -1.0, float("nan"), float("inf")])
def test_gain_must_be_a_positive_number(field, gain):
    with pytest.raises(InputError, match="gain_e_adu = .*; expected a positive number"):
        prepare_image(field[2], gain_e_adu=gain)


def test_mask_must_have_the_shape_of_the_data(field):
    with pytest.raises(InputError, match=r"mask has shape \(340, 300\); expected \(300, 340\)"):
        prepare_image(field[2], mask=np.zeros(SHAPE[::-1], bool))


def test_a_psf_that_is_given_serves_where_no_star_is_bright_enough(rng):
    psf = Psf.from_stamp(skies.Shape(2.8).stamp(21))
    image = prepare_image(rng.normal(100.0, 5.0, SHAPE), psf=psf)
    assert torch.equal(image.psf.planes, psf.planes)


def test_a_frame_that_is_partly_constant_is_measured(rng):
    """A quadrant that was not read out holds zeros; the rest is a frame."""
    stars = skies.scatter(rng, 80, SHAPE)
    counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    counts[:150, :170] = 0.0
    image = prepare_image(counts)
    far = np.zeros(SHAPE, bool)
    far[200:, 220:] = True
    assert np.isfinite(image.numpy("variance")).all()
    assert (image.numpy("variance") > 0).all()
    assert np.median(image.numpy("variance")[far]) == pytest.approx(skies.NOISE_E**2, rel=0.1)
