"""Thresholds keep what they promise: against analytic cases, and over many drawn samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from gueststar.errors import InputError
from gueststar.realbogus.thresholds import threshold_for_fpr, threshold_for_nightly, threshold_for_tpr, upper_bound


def test_the_conformal_quantile_is_the_order_statistic():
    scores = np.random.default_rng(0).permutation(np.arange(1, 100)) / 100
    found = threshold_for_tpr(scores, 0.9)
    assert found.value == 0.10  # k = floor(100 * 0.1) = 10
    assert (found.n, found.beyond) == (99, 9)
    assert found.low == pytest.approx(beta.ppf(0.025, 90, 10))
    assert "at least 90 %" in found.meaning
    assert threshold_for_tpr(scores, 0.99).value == 0.01


def test_a_new_real_passes_as_often_as_promised():
    # Uniform scores: the completeness of a threshold t is 1 - t. Its mean over samples is 1 - k / (n + 1).
    rng = np.random.default_rng(1)
    for n, wanted in ((60, 0.9), (250, 0.98)):
        reached = np.array([1 - threshold_for_tpr(rng.random(n), wanted).value for _ in range(2000)])
        k = int((n + 1) * (1 - wanted) + 1e-9)
        error = reached.std() / np.sqrt(reached.size)
        assert abs(reached.mean() - (1 - k / (n + 1))) < 4 * error
        assert reached.mean() > wanted - 4 * error
        low, high = (getattr(threshold_for_tpr(rng.random(n), wanted), name) for name in ("low", "high"))
        assert 0.93 < ((reached > low) & (reached < high)).mean() < 0.97


def test_ties_never_lose_reals():
    found = threshold_for_tpr(np.array([0.5] * 50 + [1.0] * 50, np.float32), 0.8)
    assert found.value == 0.5
    assert found.beyond == 0


def test_the_rate_of_false_positives_is_bounded_as_often_as_promised():
    rng = np.random.default_rng(2)
    n, wanted, tries = 400, 0.02, 2000
    over = np.mean([1 - threshold_for_fpr(rng.random(n), wanted).value > wanted for _ in range(tries)])
    allowed = max(k for k in range(n) if binom.cdf(k, n, wanted) <= 0.05)
    exact = binom.cdf(allowed, n, wanted)
    assert abs(over - exact) < 4 * np.sqrt(exact * (1 - exact) / tries)


def test_the_bound_is_that_of_the_binomial():
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert binom.cdf(3, 100, upper_bound(3, 100, confidence=0.9)) == pytest.approx(0.1)
    assert upper_bound(5, 5) == upper_bound(0, 0) == 1.0


def test_false_positives_keep_out_ties_and_single_precision():
    scores = np.linspace(0, 0.5, 1000).astype(np.float32)
    scores[-30:] = np.float32(0.7)
    found = threshold_for_fpr(scores, 0.01)
    assert (scores >= found.value).sum() == found.beyond == 0
    assert found.value > np.float32(0.7)
    assert found.high <= 0.01


def test_false_positives_of_a_night_are_those_of_the_rate():
    scores = np.random.default_rng(3).random(20000)
    night = threshold_for_nightly(scores, 40, candidates=20000)
    rate = threshold_for_fpr(scores, 0.002)
    assert night.value == rate.value
    assert night.high == pytest.approx(20000 * rate.high)
    assert night.high <= 40
    assert "at most 40 false positives" in night.meaning


def test_what_cannot_be_promised_is_refused():
    with pytest.raises(InputError, match="20 reals cannot promise a completeness of 0.98; needed are 49"):
        threshold_for_tpr(np.zeros(20), 0.98)
    assert threshold_for_tpr(np.linspace(0, 1, 49), 0.98).value == 0.0
    with pytest.raises(
        InputError, match="2000 artifacts cannot promise .* 0.0002 with 95 % confidence; needed are 14978"
    ):
        threshold_for_fpr(np.zeros(2000), 2e-4)
    with pytest.raises(InputError, match="50 of 100 artifacts score 1, 5 may: no threshold"):
        threshold_for_fpr(np.repeat([0.2, 1.0], 50), 0.105)
    with pytest.raises(InputError, match="2 scores of reals are NaN"):
        threshold_for_tpr(np.array([np.nan, 0.5, np.nan]), 0.5)
    with pytest.raises(InputError, match="wanted 1.5: expected a number between 0 and 1"):
        threshold_for_fpr(np.zeros(10), 1.5)
    with pytest.raises(InputError, match="shape"):
        threshold_for_fpr(np.zeros((10, 2)), 0.5)
    with pytest.raises(InputError, match="10 false positives of 5 candidates"):
        threshold_for_nightly(np.zeros(10), 10, candidates=5)
