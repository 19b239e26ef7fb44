"""Peaks of pure noise: the expectation against fields that were drawn, and against the continuous limit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import skies
from gueststar.detect import Detect, find_peaks
from gueststar.detect.false_alarms import (
    correlation_of,
    expected_false_alarms,
    false_alarm_rate,
    gaussian_correlation,
    maxima_density,
)
from gueststar.subtract.score import score_difference
from gueststar.types import Difference, Image, Psf, Stars


@pytest.mark.parametrize("fwhm", [2.1, 2.8, 5.0])
def test_peaks_of_drawn_fields(rng, fwhm):
    n, side, threshold = 8, 700, 3.2
    counts = 0
    for _ in range(n):
        plane = gaussian_filter(rng.normal(size=(side, side)), fwhm / 2.3548, mode="wrap", truncate=6.0)
        plane = torch.from_numpy((plane / plane.std()).astype(np.float32))
        mask = torch.zeros(side, side, dtype=torch.int16)
        counts += len(find_peaks(plane, mask, threshold=threshold, radius=0.0, edge=1)[0])
    # The PSF filters white noise, so the drawn field is wider than its own kernel by root two: as the formula says.
    expected = 2 * n * (side - 2) ** 2 * false_alarm_rate(threshold, gaussian_correlation(fwhm))
    assert counts == pytest.approx(expected, rel=0.05, abs=4 * np.sqrt(expected))


def test_wide_filters_reach_the_continuous_field():
    for threshold in (3.5, 5.0):
        assert false_alarm_rate(threshold, gaussian_correlation(14.0)) == pytest.approx(
            maxima_density(threshold, 14.0), rel=0.04
        )
        assert false_alarm_rate(threshold, gaussian_correlation(2.5)) < 0.7 * maxima_density(threshold, 2.5)


def test_more_area_more_and_a_higher_threshold_fewer():
    one = expected_false_alarms(5.0, 2.8)
    assert expected_false_alarms(5.0, 2.8, megapixels=3.0) == pytest.approx(3 * one)
    falling = [expected_false_alarms(t, 2.8) for t in (3.5, 4.0, 4.5, 5.0, 5.5)]
    assert all(a > 3 * b for a, b in pairwise(falling))
    assert false_alarm_rate(-10.0, gaussian_correlation(2.8)) < 0.2  # all maxima there are


def test_correlation_of_a_gaussian_psf_is_the_gaussian_one():
    psf = Psf.from_stamp(skies.Shape(3.0).stamp(25))
    np.testing.assert_allclose(correlation_of(psf), gaussian_correlation(3.0), atol=0.02)


def test_candidates_tell_how_many_are_chance():
    shape = (400, 500)
    rng = np.random.default_rng(3)
    psf, mask = Psf.from_stamp(skies.Shape(2.8).stamp(21)), torch.zeros(shape, dtype=torch.int16)
    mask[:, 250:] = 8
    empty = torch.zeros(shape[0] // 2, shape[1] // 2, dtype=torch.bool)
    found = expected = 0.0
    for _ in range(6):
        data, variance = torch.from_numpy(rng.normal(size=shape).astype(np.float32)), torch.ones(shape)
        scored = score_difference(data, variance, mask, psf, empty)
        difference = Difference(data, variance, scored.score, scored.flux, scored.flux_err, mask, psf, "s", "r", "k")
        image = Image.from_arrays(np.zeros(shape), 1.0, psf=psf, stars=Stars.empty())
        candidates = Detect(threshold_sigma=3.5)(difference, image, image)
        found += len(candidates)
        expected += candidates.table.meta["false_alarms_expected"]
    area = 6 * (shape[0] - 6) * 247 / 1e6
    assert expected == pytest.approx(expected_false_alarms(3.5, 2.8, megapixels=area), rel=0.05)
    assert found == pytest.approx(expected, abs=3.5 * np.sqrt(expected))
