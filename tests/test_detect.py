"""Candidates against what was drawn: positions, fluxes, errors, signs, shapes, dipoles, flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.wcs import WCS

import skies
from gueststar.detect import Detect, find_peaks
from gueststar.subtract.bins import any_in_bin
from gueststar.subtract.score import matched_filter, score_difference
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image, Mask, Psf, Stars

SHAPE = (360, 400)
NOISE = 10.0
PSF = skies.Shape(2.8)
NAMES = [column.name for column in CANDIDATE_COLUMNS]
BLANK = torch.zeros(SHAPE)


def filter_noise(shape: skies.Shape = PSF, noise: float = NOISE) -> float:
    """Error of a PSF flux on white noise: noise / sqrt(sum P^2)."""
    return noise / np.sqrt((shape.stamp(41) ** 2).sum())


def difference_of(light, rng, *, mask=None, shape=PSF, psf=None, noise=NOISE, **fields) -> Difference:
    data = torch.from_numpy((light + rng.normal(0.0, noise, SHAPE)).astype(np.float32))
    flags = torch.zeros(SHAPE, dtype=torch.int16) if mask is None else torch.from_numpy(mask.astype(np.int16))
    variance = torch.full(SHAPE, noise**2)
    psf = psf or Psf.from_stamp(shape.stamp(21))
    scored = score_difference(data, variance, flags, psf, any_in_bin(torch.from_numpy(np.abs(light) > 0.1 * noise)))
    known = {"science_id": "5c1e", "reference_id": "4ef0", "engine": "kernel", "zeropoint": 27.0} | fields
    return Difference(
        data=data,
        variance=variance,
        score=scored.score,
        flux=scored.flux,
        flux_err=scored.flux_err,
        mask=flags,
        psf=psf,
        **known,
    )


def image_of(light=None, *, stars=None, **fields) -> Image:
    data = np.zeros(SHAPE) if light is None else light
    return Image.from_arrays(data, NOISE**2 / 2, psf=PSF.stamp(21), stars=stars or Stars.empty(), **fields)


def detect(difference, *, options=None, science=None, reference=None) -> Candidates:
    return (options or Detect())(difference, science or image_of(), reference or image_of())


def new_sources(rng, n=70, *, snr=(8.0, 60.0), apart=18.0, margin=12.0) -> skies.Stars:
    low, high = (value * filter_noise() for value in snr)
    return skies.scatter(rng, n, SHAPE, flux=(low, high), apart=apart, margin=margin)


@pytest.fixture(scope="module")
def found():
    """Two differences with new and vanished sources, what was drawn in them and what was found."""
    rng, drawn, seen = np.random.default_rng(1), [], []
    for _ in range(2):
        truth = new_sources(rng)
        truth = replace(truth, flux=truth.flux * np.where(np.arange(len(truth)) % 3 == 0, -1.0, 1.0))
        candidates = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
        where, index = skies.matched(truth, candidates["x"], candidates["y"])
        drawn.append((truth, where))
        seen.append(candidates.table[index])
        assert len(candidates) <= len(truth) + 1
    true = {name: np.concatenate([getattr(t, name)[w] for t, w in drawn]) for name in ("x", "y", "flux")}
    table = {name: np.concatenate([np.asarray(part[name]) for part in seen]) for name in NAMES}
    return sum(len(t) for t, _ in drawn), true, table


# --- measurements ----------------------------------------------------------------------------------------------------


def test_all_are_found(found):
    n, true, _ = found
    assert len(true["x"]) >= n - 1


def test_positions_scatter_as_their_errors_say(found):
    _, true, table = found
    for axis in "xy":
        pull = (table[axis] - true[axis]) / table[f"{axis}_err"]
        assert pull.mean() == pytest.approx(0.0, abs=0.3)
        assert pull.std() == pytest.approx(1.0, abs=0.2)
        assert np.abs(table[axis] - true[axis]).max() < 0.6


def test_fluxes_scatter_as_their_errors_say(found):
    _, true, table = found
    pull = (table["flux"] - true["flux"]) / table["flux_err"]
    assert pull.std() == pytest.approx(1.0, abs=0.2)
    # A peak is looked for, so that fluxes come out a little large: half a sigma^2 / flux for each of two axes.
    sign = np.sign(true["flux"])
    assert (pull * sign).mean() == pytest.approx(0.0, abs=0.3)
    weight = np.abs(true["flux"] / table["flux_err"]) ** 2
    assert np.average(table["flux"] / true["flux"], weights=weight) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(table["flux_err"], filter_noise(), rtol=0.15)


def test_signal_to_noise_is_the_score_with_its_sign(found):
    _, true, table = found
    assert (np.sign(table["snr"]) == np.sign(true["flux"])).all()
    np.testing.assert_allclose(np.abs(table["snr"]), np.abs(true["flux"]) / filter_noise(), rtol=0.15, atol=2.5)


@pytest.mark.parametrize(("column", "share"), [("snr_aper", 1.67 / 2.0), ("snr_auto", 0.6)])
def test_other_signal_to_noise_ratios_are_lower_by_their_known_share(found, column, share):
    _, true, table = found
    bright = np.abs(true["flux"]) > 25 * filter_noise()
    ratio = table[column][bright] / table["snr"][bright]
    assert np.median(ratio) == pytest.approx(share, abs=0.12)
    assert (np.sign(table[column][bright]) == np.sign(true["flux"][bright])).all()


def test_shapes_of_point_sources(found):
    _, true, table = found
    bright = np.abs(true["flux"]) > 25 * filter_noise()
    assert np.median(table["fwhm"][bright]) == pytest.approx(2.8, rel=0.05)
    assert np.median(table["elongation"][bright]) < 1.12
    assert np.median(table["psf_chi2"]) == pytest.approx(1.0, abs=0.12)
    np.testing.assert_allclose(table["psf_fwhm"], 2.8, rtol=0.03)


def test_magnitudes(found):
    _, _, table = found
    np.testing.assert_allclose(table["mag"], 27.0 - 2.5 * np.log10(np.abs(table["flux"])), atol=1e-4)
    np.testing.assert_allclose(table["mag_err"], 1.0857 * table["flux_err"] / np.abs(table["flux"]), rtol=1e-3)


def test_new_sources_are_no_dipoles(found):
    _, _, table = found
    assert np.median(table["dipole_ratio"]) == pytest.approx(0.0, abs=0.05)
    assert (np.abs(table["dipole_ratio"]) < 0.4).mean() > 0.97


@pytest.mark.parametrize("fwhm", [2.1, 5.0])
def test_measurements_at_other_widths(rng, fwhm):
    shape = skies.Shape(fwhm)
    truth = skies.scatter(
        rng, 40, SHAPE, flux=(15 * filter_noise(shape), 60 * filter_noise(shape)), apart=9 * fwhm / 2, margin=20
    )
    candidates = detect(difference_of(skies.paint(SHAPE, truth, shape), rng, shape=shape))
    where, index = skies.matched(truth, candidates["x"], candidates["y"])
    assert len(where) == 40
    pull = (candidates["flux"][index] - truth.flux[where]) / candidates["flux_err"][index]
    assert pull.std() == pytest.approx(1.0, abs=0.4)
    assert np.median(candidates["fwhm"][index]) == pytest.approx(fwhm, rel=0.08)
    offset = np.hypot(candidates["x"][index] - truth.x[where], candidates["y"][index] - truth.y[where])
    assert np.median(offset / np.hypot(candidates["x_err"][index], candidates["y_err"][index])) < 1.2


def test_wide_and_elongated_sources_show_it(rng):
    truth = skies.scatter(rng, 20, SHAPE, flux=(2e4, 4e4), apart=40, margin=30)
    wide = detect(difference_of(skies.paint(SHAPE, truth, skies.Shape(4.5)), rng))
    long = detect(difference_of(skies.paint(SHAPE, truth, skies.Shape(3.5, ellipticity=0.45, angle_deg=30)), rng))
    one = [skies.matched(truth, c["x"], c["y"])[1] for c in (wide, long)]
    assert np.median(wide["fwhm"][one[0]]) == pytest.approx(4.5, rel=0.1)
    assert np.median(wide["psf_chi2"][one[0]]) > 2.0
    assert np.median(long["elongation"][one[1]]) == pytest.approx(1 / 0.55, rel=0.2)


def test_kron_apertures_of_tilted_sources_take_their_direction(rng):
    """An ellipse laid across its source would lose light."""
    truth = skies.Stars(np.array([100.0, 280.0]), np.array([180.0, 180.0]), np.array([4e4, 4e4]))
    light = [
        skies.paint(SHAPE, truth[i : i + 1], skies.Shape(6.0, ellipticity=0.6, angle_deg=90.0 * i)) for i in (0, 1)
    ]
    candidates = detect(difference_of(sum(light), rng), options=Detect(merge_fwhm=3.0))
    _, index = skies.matched(truth, candidates["x"], candidates["y"], radius=3.0)
    along, across = candidates["snr_auto"][index]
    assert across == pytest.approx(along, rel=0.1)


# --- dipoles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.15, 0.5, 1.5, 5.0])
def test_shifted_stars_are_dipoles_of_ratio_one(rng, shift):
    scale = filter_noise() / min(shift, 1.5)
    stars = skies.scatter(rng, 30, SHAPE, flux=(60 * scale, 90 * scale), apart=40, margin=25)
    moved = replace(stars, x=stars.x + shift)
    candidates = detect(difference_of(skies.paint(SHAPE, stars, PSF) - skies.paint(SHAPE, moved, PSF), rng))
    assert len(candidates) >= 55
    ratio = candidates["dipole_ratio"]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    assert np.quantile(ratio, 0.1) > 0.6
    assert np.quantile(ratio, 0.9) < 1.6
    separation = candidates["dipole_separation"]
    assert np.median(separation) >= 1.0
    if shift == 5.0:  # lobes that overlap push each other's peak outwards
        assert np.median(separation) == pytest.approx(5.0, abs=0.5)
    assert np.median(candidates["dipole_dchi2"]) > 25


def test_a_new_source_beside_a_poor_subtraction_is_no_full_dipole(rng):
    truth = skies.Stars(np.array([150.0, 155.0]), np.array([180.0, 180.0]), np.array([60.0, -12.0]) * filter_noise())
    candidates = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
    assert candidates["dipole_ratio"][0] == pytest.approx(0.2, abs=0.12)
    assert candidates["dipole_ratio"][1] == pytest.approx(5.0, abs=2.0)


# --- peaks -----------------------------------------------------------------------------------------------------------


def peaks(plane, *, mask=None, threshold=5.0, radius=2.2, edge=0, masked=False):
    score = torch.from_numpy(np.asarray(plane, np.float32))
    flags = torch.zeros(score.shape, dtype=torch.int16) if mask is None else torch.from_numpy(mask)
    x, y = find_peaks(score, flags, threshold=threshold, radius=radius, edge=edge, masked=masked)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def plane_with(*points):
    plane = np.zeros((40, 50))
    for x, y, value in points:
        plane[y, x] = value
    return plane


def test_peaks_of_both_signs_strongest_first():
    assert peaks(plane_with((10, 5, 6.0), (20, 30, -9.0), (40, 20, 5.0), (45, 35, 4.99))) == [
        (20, 30),
        (10, 5),
        (40, 20),
    ]


@pytest.mark.parametrize(
    ("second", "kept"),
    [((12, 10, 6.0), 1), ((13, 10, 6.0), 2), ((12, 10, -6.0), 2), ((11, 11, 6.0), 1), ((12, 12, 6.0), 2)],
)
def test_weaker_peaks_of_one_sign_are_merged_within_the_radius(second, kept):
    assert len(peaks(plane_with((10, 10, 8.0), second))) == kept


def test_a_chain_of_peaks_keeps_every_second():
    assert peaks(plane_with((10, 10, 9.0), (12, 10, 8.0), (14, 10, 7.0))) == [(10, 10), (14, 10)]


def test_flat_tops_are_one_peak():
    plane = np.zeros((40, 50))
    plane[10:13, 10:13] = 8.0
    assert len(peaks(plane)) <= 2
    assert len(peaks(plane, radius=5.0)) == 1


def test_edges_and_masks():
    plane = plane_with(
        (2, 20, 9.0), (3, 25, 8.0), (46, 30, 7.5), (47, 10, 7.0), (20, 2, 6.5), (20, 37, 6.0), (25, 20, 5.5)
    )
    assert len(peaks(plane)) == 7
    assert peaks(plane, edge=3) == [(3, 25), (46, 30), (25, 20)]
    mask = np.zeros((40, 50), np.int16)
    mask[20, 25] = int(Mask.COSMIC_RAY)
    assert (25, 20) not in peaks(plane, mask=mask)
    assert (25, 20) in peaks(plane, mask=mask, masked=True)


def test_a_shoulder_above_the_threshold_is_no_peak():
    plane = np.zeros((40, 50))
    plane[10, 5:40] = np.linspace(6.0, 12.0, 35)
    assert peaks(plane) == [(39, 10)]


# --- choices ---------------------------------------------------------------------------------------------------------


def test_threshold(rng):
    truth = skies.scatter(rng, 60, SHAPE, flux=(4 * filter_noise(), 12 * filter_noise()), apart=16, margin=12)
    difference = difference_of(skies.paint(SHAPE, truth, PSF), rng)
    counts = {sigma: len(detect(difference, options=Detect(threshold_sigma=sigma))) for sigma in (4.5, 6.0, 9.0)}
    assert counts[4.5] > counts[6.0] > counts[9.0] > 0
    for sigma in counts:
        assert (np.abs(detect(difference, options=Detect(threshold_sigma=sigma))["snr"]) >= sigma).all()


def test_only_so_many_and_the_rest_is_counted(rng):
    difference = difference_of(skies.paint(SHAPE, new_sources(rng), PSF), rng)
    everything = detect(difference)
    some = detect(difference, options=Detect(n_most=10))
    assert len(some) == 10
    assert some.table.meta["n_dropped"] == len(everything) - 10
    assert everything.table.meta["n_dropped"] == 0
    np.testing.assert_array_equal(some["candidate_id"], everything["candidate_id"][:10])
    assert (np.diff(np.abs(everything["snr"])) <= 0).all()


def test_sources_on_flagged_pixels(rng):
    truth = skies.Stars(
        np.array([100.0, 200.0, 300.0]), np.array([100.0, 200.0, 300.0]), np.full(3, 30 * filter_noise())
    )
    mask = np.zeros(SHAPE, np.int16)
    mask[99:102, 99:102] = int(Mask.SATURATED)
    mask[200, 202:205] = int(Mask.COSMIC_RAY | Mask.REFERENCE)
    difference = difference_of(skies.paint(SHAPE, truth, PSF), rng, mask=mask)
    candidates = detect(difference)
    found, index = skies.matched(truth, candidates["x"], candidates["y"])
    assert list(found) == [1, 2]
    near, far = index
    assert candidates["mask_flags"][near] == int(Mask.COSMIC_RAY | Mask.REFERENCE)
    assert 0.0 < candidates["mask_fraction"][near] < 0.3
    assert candidates["mask_flags"][far] == 0
    assert candidates["mask_fraction"][far] == 0.0
    pull = (candidates["flux"][index] - truth.flux[1:]) / candidates["flux_err"][index]
    assert (np.abs(pull) < 4).all()
    kept = detect(difference, options=Detect(masked_peaks=True))
    assert len(kept) >= len(candidates)


# --- surroundings ----------------------------------------------------------------------------------------------------


def test_what_stands_at_the_place_in_either_image(rng):
    truth = new_sources(rng, 20, snr=(20.0, 60.0))
    light = skies.paint(SHAPE, truth, PSF)
    stars = Stars(*(np.array([50.0, 150.0]) for _ in range(7)), flags=np.zeros(2, np.int64))
    candidates = detect(difference_of(light, rng), science=image_of(light), reference=image_of(stars=stars))
    found, index = skies.matched(truth, candidates["x"], candidates["y"])
    expected = truth.flux[found] / filter_noise(noise=NOISE / np.sqrt(2))
    np.testing.assert_allclose(candidates["science_snr"][index], expected, rtol=0.12)
    np.testing.assert_allclose(candidates["reference_snr"][index], 0.0, atol=1e-3)
    nearest = np.minimum(*(np.hypot(candidates["x"] - a, candidates["y"] - a) for a in (50.0, 150.0)))
    np.testing.assert_allclose(candidates["star_distance"], nearest, rtol=1e-5)


def test_without_stars_the_distance_is_infinite(rng):
    candidates = detect(difference_of(skies.paint(SHAPE, new_sources(rng, 3), PSF), rng))
    assert np.isinf(candidates["star_distance"]).all()


def test_sky_positions_times_and_names(rng):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("GLON-TAN", "GLAT-TAN"), (210.0, 50.0)
    wcs.wcs.crpix, wcs.wcs.cdelt = (200.0, 180.0), (-3e-4, 3e-4)
    truth = new_sources(rng, 10)
    science = image_of(mjd_mid=59882.25, band="clear")
    candidates = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng, wcs=wcs), science=science)
    sky = wcs.pixel_to_world(candidates["x"], candidates["y"]).icrs
    np.testing.assert_allclose(candidates["ra"], sky.ra.deg, atol=1e-9)
    np.testing.assert_allclose(candidates["dec"], sky.dec.deg, atol=1e-9)
    assert (candidates["mjd"] == 59882.25).all()
    assert (candidates["band"] == "clear").all()
    assert (candidates["image_id"] == "5c1e").all()
    blind = detect(difference_of(skies.paint(SHAPE, truth, PSF), rng))
    assert np.isnan(blind["ra"]).all()
    assert np.isnan(blind["dec"]).all()


def test_names_are_unique_and_the_same_next_time(rng):
    light = skies.paint(SHAPE, new_sources(rng), PSF)
    difference = difference_of(light, np.random.default_rng(5))
    first, second = detect(difference), detect(difference)
    np.testing.assert_array_equal(first["candidate_id"], second["candidate_id"])
    assert len(set(first["candidate_id"])) == len(first)
    for change in ({"science_id": "other"}, {"reference_id": "other"}, {"engine": "hotpants"}):
        assert not set(first["candidate_id"]) & set(detect(replace(difference, **change))["candidate_id"])


def test_all_columns_are_there_and_finite(found, rng):
    candidates = detect(difference_of(skies.paint(SHAPE, new_sources(rng), PSF), rng))
    assert candidates.table.colnames == NAMES
    ends = [f"trail_{name}" for name in ("angle", "x0", "y0", "x1", "y1")]
    may_lack = ("ra", "dec", "mjd", "star_distance", *ends)
    for column in CANDIDATE_COLUMNS:
        assert candidates[column.name].dtype == np.dtype(column.dtype)
        may_lack = (
            "ra",
            "dec",
            "mjd",
            "star_distance",
            *(f"trail_{name}" for name in ("angle", "x0", "y0", "x1", "y1")),
        )
        if column.dtype.startswith("f") and column.name not in may_lack:
            assert np.isfinite(candidates[column.name]).all(), column.name


def test_an_empty_difference_gives_an_empty_table_with_all_columns(rng):
    candidates = detect(difference_of(np.zeros(SHAPE), rng, noise=NOISE), options=Detect(threshold_sigma=8.0))
    assert len(candidates) == 0
    assert candidates.table.colnames == NAMES
    assert candidates.table.meta["n_dropped"] == 0


def test_noise_alone_passes_as_often_as_chance_says():
    """At 4 sigma: the peaks of a Gaussian field (Bardeen et al. 1986), to a factor of two over several fields."""
    n = sum(
        len(detect(difference_of(np.zeros(SHAPE), np.random.default_rng(s)), options=Detect(threshold_sigma=4.0)))
        for s in range(6)
    )
    # Density of peaks above nu for a Gaussian filter of width sigma_f, both signs:
    # nu exp(-nu^2 / 2) / ((2 pi)^1.5 2 sigma_f^2).
    sigma_f = 2.8 / 2.3548
    expected = 6 * 2 * SHAPE[0] * SHAPE[1] * 4.0 * np.exp(-8.0) / ((2 * np.pi) ** 1.5 * 2 * sigma_f**2)
    assert 0.5 * expected < n < 2.0 * expected


def test_nothing_but_flags(rng):
    mask = np.full(SHAPE, int(Mask.NO_DATA), np.int16)
    assert len(detect(difference_of(np.zeros(SHAPE), rng, mask=mask))) == 0


def test_inputs_are_left_alone(rng):
    difference = difference_of(skies.paint(SHAPE, new_sources(rng), PSF), rng)
    planes = ("data", "variance", "score", "flux", "flux_err", "mask")
    before = [getattr(difference, plane).clone() for plane in planes]
    detect(difference)
    torch.testing.assert_close([getattr(difference, plane) for plane in planes], before, rtol=0, atol=0)


# --- the score -------------------------------------------------------------------------------------------------------


def test_matched_filter_is_weighted_least_squares(rng):
    """Against the sums of Kaiser's equation 5, written out pixel by pixel."""
    shape = (60, 70)
    data = torch.from_numpy(rng.normal(0, 5, shape).astype(np.float32))
    variance = torch.from_numpy(rng.uniform(10, 40, shape).astype(np.float32))
    good = torch.from_numpy(rng.random(shape) > 0.05)
    psf = Psf.from_stamp(skies.Shape(2.8, ellipticity=0.2, angle_deg=25).stamp(21))
    flux, error = matched_filter(data, variance, good, psf)
    keep = int(np.ceil(1.5 * psf.fwhm))
    stamp = psf.stamp.double().numpy()[10 - keep : 11 + keep, 10 - keep : 11 + keep]
    d, w = data.double().numpy(), np.where(good, 1.0 / variance.double().numpy(), 0.0)
    for y, x in rng.integers(keep, 50, (25, 2)):
        cut = np.s_[y - keep : y + keep + 1, x - keep : x + keep + 1]
        bottom = (stamp**2 * w[cut]).sum()
        assert float(flux[y, x]) == pytest.approx((stamp * d[cut] * w[cut]).sum() / bottom, rel=1e-3, abs=1e-3)
        assert float(error[y, x]) == pytest.approx(bottom**-0.5, rel=1e-4)


def test_correlated_noise_is_scaled_to_unit_variance(rng):
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.normal(0, 40.0, SHAPE), 0.8).astype(np.float32)
    smooth[:, 200:] *= 1.5
    variance = torch.full(SHAPE, float(smooth[:, :200].var()))
    variance[:, 200:] *= 1.5**2
    psf = Psf.from_stamp(PSF.stamp(21))
    good = torch.zeros(SHAPE, dtype=torch.int16)
    scored = score_difference(
        torch.from_numpy(smooth), variance, good, psf, any_in_bin(torch.zeros(SHAPE, dtype=torch.bool))
    )
    assert scored.scatter > 1.3
    for half in (np.s_[20:-20, 20:180], np.s_[20:-20, 220:-20]):
        assert float(scored.score[half].std()) == pytest.approx(1.0, abs=0.06)


def test_where_a_psf_is_half_masked_nothing_is_said(rng):
    mask = np.zeros(SHAPE, np.int16)
    mask[100:140, 100:140] = int(Mask.NO_DATA)
    difference = difference_of(np.zeros(SHAPE), rng, mask=mask)
    assert (difference.numpy("score")[104:136, 104:136] == 0).all()
    assert np.isinf(difference.numpy("flux_err")[104:136, 104:136]).all()
    assert np.isfinite(difference.numpy("flux_err")[:96]).all()
