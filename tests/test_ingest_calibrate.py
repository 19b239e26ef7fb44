"""Dark and flat: what was put into raw counts is taken out again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import skies
from gueststar.errors import InputError
from gueststar.ingest.calibrate import calibrate, combine_darks, combine_flats
from gueststar.ingest.fits import frame_image
from gueststar.ingest.frame import Frame
from gueststar.instruments import load_instrument
from gueststar.types import Mask

SHAPE = (200, 240)
PEDESTAL, LEVEL = 300.0, 20_000.0


def frame(data, *, kind="light", exposure_s=60.0, name="a.fits", **fields):
    known = dict(field="", chip="", band="", mjd_mid=0.0, header={}, wcs=None, gain_e_adu=1.0)
    instrument = load_instrument("generic")
    data = np.asarray(data, np.float32)
    return Frame(name=name, kind=kind, exposure_s=exposure_s, data=data, instrument=instrument, **(known | fields))


def vignetting():
    """0.5 in the corners, a dust shadow, 1 on median."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([100.0, 120.0])[:, None, None]
    flat = 1.0 - 0.5 * (x**2 + y**2) / (100.0**2 + 120.0**2) - 0.15 * (np.abs(np.hypot(x - 40, y + 20) - 10) < 3)
    return flat / np.median(flat)


def dark_pattern(rng):
    dark = PEDESTAL + rng.normal(0, 3, SHAPE)
    hot = np.zeros(SHAPE, bool)
    hot[rng.integers(0, SHAPE[0], 25), rng.integers(0, SHAPE[1], 25)] = True
    return np.where(hot, dark + 5000.0, dark), hot


def darks(rng, pattern, n=9, **fields):
    return [frame(pattern + rng.normal(0, 3, SHAPE), kind="dark", **fields) for _ in range(n)]


def flats(rng, pattern, n=9):
    levels = LEVEL * rng.uniform(0.5, 1.5, n)  # twilight
    return [frame(rng.poisson(level * vignetting()) + pattern, kind="flat", exposure_s=2.0) for level in levels]


def test_a_dark_is_the_median_and_flags_hot_pixels(rng):
    pattern, hot = dark_pattern(rng)
    frames = darks(rng, pattern)
    frames[3].data[50, 60] += 60_000.0  # a cosmic ray
    dark = combine_darks(frames)
    assert (dark.data - pattern).std() < 3 / np.sqrt(9) * 1.5
    assert np.abs(dark.data - pattern).max() < 10.0
    np.testing.assert_array_equal((dark.mask & Mask.BAD) != 0, hot)
    assert dark.kind == "dark"


@pytest.mark.parametrize("exposure_s", [60.0, float("nan")])
def test_bias_frames_without_an_exposure_time_can_be_combined(rng, exposure_s):
    frames = [replace(one, exposure_s=exposure_s * 1.0) for one in darks(rng, dark_pattern(rng)[0], 3)]
    assert combine_darks(frames).data.shape == SHAPE


def test_a_flat_is_one_on_median_and_frees_itself_of_the_dark(rng):
    pattern, _ = dark_pattern(rng)
    flat = combine_flats(flats(rng, pattern), dark=combine_darks(darks(rng, pattern)))
    assert np.median(flat.data) == pytest.approx(1.0, abs=2e-3)
    assert (flat.data / vignetting() - 1.0).std() < 0.006
    diluted = combine_flats(flats(rng, pattern))
    assert np.abs(np.median((diluted.data / vignetting())[:20, :20]) - 1.0) > 0.005


def test_dead_pixels_of_a_flat_are_bad(rng):
    frames = flats(rng, 0.0)
    for one in frames:
        one.data[70:73, 80] = 50.0
    flat = combine_flats(frames)
    assert (flat.mask[70:73, 80] == Mask.BAD).all()
    assert (flat.mask != 0).sum() == 3


def test_calibration_takes_out_what_was_put_in(rng):
    pattern, hot = dark_pattern(rng)
    dark, flat = (
        combine_darks(darks(rng, pattern)),
        combine_flats(flats(rng, pattern), dark=combine_darks(darks(rng, pattern))),
    )
    truth = skies.paint(SHAPE, skies.scatter(rng, 30, SHAPE), skies.Shape(2.8)) + 900.0
    raw = frame(rng.poisson(truth * vignetting()) + pattern)
    before = raw.data.copy()
    done = calibrate(raw, dark=dark, flat=flat)
    pull = (done.data - truth) / np.sqrt(truth / vignetting() + 9.0)
    assert pull[~hot].mean() == pytest.approx(0.0, abs=0.03)
    assert pull[~hot].std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(done.mask != 0, hot)
    np.testing.assert_array_equal(raw.data, before)
    assert raw.mask is None
    assert "9" in done.facts["dark"]
    assert "pedestal" not in done.facts["dark"]


def test_a_dark_of_another_exposure_time_is_said_to_be_a_pedestal(rng):
    dark = combine_darks(darks(rng, dark_pattern(rng)[0], 3, exposure_s=1.5))
    done = calibrate(frame(np.full(SHAPE, 1300.0)), dark=dark)
    assert "as pedestal only" in done.facts["dark"]
    assert np.median(done.data) == pytest.approx(1000.0, abs=2.0)


def test_nothing_to_do_gives_the_frame_back():
    raw = frame(np.ones(SHAPE))
    assert calibrate(raw) is raw


def test_saturation_is_that_of_the_raw_counts(rng):
    """In a vignetted corner a star of 70 % of the full well is not saturated, on axis one at the full well is."""
    level = 30_000.0
    pattern = np.full(SHAPE, PEDESTAL)
    dark, flat = combine_darks(darks(rng, pattern)), combine_flats(flats(rng, pattern, 5), dark=frame(pattern))
    corner, middle = (8, 8), (120, 100)
    shape = skies.Shape(4.0)
    peak = float(shape(np.zeros(1), np.zeros(1))[0])
    stars = skies.Stars(
        np.array([corner[0], middle[0]], float),
        np.array([corner[1], middle[1]], float),
        np.array([0.7 * level / vignetting()[8, 8], 2.0 * level]) / peak,
    )
    more = skies.scatter(rng, 25, SHAPE, flux=(5e3, 5e4), apart=15, avoid=stars)
    light = skies.paint(SHAPE, stars + more, shape)
    raw = np.minimum(rng.poisson((light + 200.0) * vignetting()) + pattern, level)
    assert raw[8, 8] < 0.85 * level
    image = frame_image(calibrate(frame(raw, saturation_adu=level), dark=dark, flat=flat))
    saturated = (image.numpy("mask") & Mask.SATURATED) != 0
    assert saturated[middle[1], middle[0]]
    assert not saturated[:30, :30].any()


def test_saturation_goes_down_with_the_pedestal():
    dark = frame(np.full(SHAPE, PEDESTAL), kind="dark")
    assert calibrate(frame(np.ones(SHAPE), saturation_adu=60_000.0), dark=dark).saturation_adu == 59_700.0


@pytest.mark.parametrize("combine", [combine_darks, combine_flats])
def test_nothing_to_combine(combine):
    with pytest.raises(InputError, match="no (dark|flat) frames to combine"):
        combine([])


def test_shapes_must_agree(rng):
    small = frame(np.ones((50, 60)), name="small.fits")
    big = frame(np.ones(SHAPE), name="big.fits")
    with pytest.raises(InputError, match=r"big\.fits has shape \(200, 240\), the dark small\.fits \(50, 60\)"):
        combine_darks([big, small])
    for kind in ("dark", "flat"):
        with pytest.raises(InputError, match=rf"the {kind} small\.fits \(50, 60\); calibration frames must come from"):
            calibrate(big, **{kind: small})
    with pytest.raises(InputError, match=r"the dark small\.fits"):
        combine_flats([big], dark=small)


def test_darks_of_several_exposure_times():
    with pytest.raises(InputError, match=r"several exposure times \[1\.5, 60\.0\] s"):
        combine_darks([frame(np.ones(SHAPE), exposure_s=t) for t in (60.0, 1.5)])


def test_flats_without_light_are_named():
    with pytest.raises(InputError, match=r"flat frame night\.fits has a median of 0\.0 ADU above the dark"):
        combine_flats(
            [frame(np.full(SHAPE, LEVEL)), frame(np.full(SHAPE, PEDESTAL), name="night.fits")],
            dark=frame(np.full(SHAPE, PEDESTAL)),
        )
