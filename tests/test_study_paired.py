"""Measures of runs and their intervals: as the evaluation has them, paired over images and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import auc, threshold_at_fpr, threshold_at_tpr
from gueststar.study.paired import METRICS, Interval, Measured, Ranked, bootstrap, interval, mean_over_seeds


def sample(rng, n=600, *, ties=False, images=20):
    real = rng.random(n) < 0.4
    scores = rng.normal(size=n) + 1.5 * real
    return real, np.round(scores, 1) if ties else scores, rng.integers(0, images, n)


@pytest.mark.parametrize("ties", [False, True])
def test_measures_are_those_of_the_evaluation(rng, ties):
    real, scores, image = sample(rng, ties=ties)
    found = dict(zip(METRICS, Ranked(real, scores, image).measure(), strict=True))
    assert found["auc"] == pytest.approx(auc(real, scores), abs=1e-12)
    for rate in (0.9, 0.98):
        expected = (scores[~real] >= threshold_at_tpr(real, scores, rate)).mean()
        assert found[f"fpr_at_tpr_{rate:g}"] == pytest.approx(expected, abs=1e-12)
    for rate in (1e-2, 1e-3, 2e-4):
        expected = (scores[real] < threshold_at_fpr(real, scores, rate)).mean()
        assert found[f"fnr_at_fpr_{rate:g}"] == pytest.approx(expected, abs=1e-12)


def test_an_image_that_is_drawn_twice_counts_like_its_rows_twice(rng):
    real, scores, image = sample(rng, ties=True, images=5)
    drawn = np.array([2, 0, 1, 3, 1])
    rows = np.repeat(np.arange(real.size), drawn[image])
    again = Ranked(real[rows], scores[rows], image[rows]).measure()
    np.testing.assert_allclose(Ranked(real, scores, image).measure(drawn), again, atol=1e-12)


def test_rows_without_a_score_are_left_out_and_one_class_has_no_measure(rng):
    real, scores, image = sample(rng)
    some = np.where(np.arange(real.size) % 3 == 0, np.nan, scores)
    kept = np.isfinite(some)
    np.testing.assert_array_equal(
        Ranked(real, some, image).measure(), Ranked(real[kept], scores[kept], image[kept]).measure()
    )
    assert np.isnan(Ranked(np.ones(5, bool), np.arange(5.0), np.arange(5)).measure()).all()
    assert np.isnan(Ranked(np.zeros(0, bool), np.zeros(0), np.zeros(0, int)).measure()).all()


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(InputError, match=r"labels \(3,\), scores \(2,\) and images \(3,\) must be \(n,\) alike"):
        Ranked(np.ones(3, bool), np.zeros(2), np.zeros(3, int))


def test_equal_runs_differ_by_nothing_in_every_drawing_and_others_do(rng):
    real, scores, image = sample(rng)
    worse = scores - 0.8 * real
    runs = [Ranked(real, values, image) for values in (scores, scores.copy(), worse)]
    table = bootstrap(runs, 20, boots=60, rng=np.random.default_rng(0))
    measured = Measured(("a", "b", "c"), mean_over_seeds(table[:, :, None], np.random.default_rng(1)))
    assert measured.difference("a", "b", "auc") == Interval(0.0, 0.0, 0.0)
    gap = measured.difference("c", "a", "auc")
    assert gap.low < gap.value < gap.high < 0
    assert measured.value("a", "auc").value == pytest.approx(auc(real, scores))
    assert measured.gap_closed("a", low="c", high="b", metric="auc") == Interval(1.0, 1.0, 1.0)
    assert measured.gap_closed("c", low="c", high="b", metric="auc").value == 0.0


def test_what_images_share_widens_the_interval(rng):
    image = np.repeat(np.arange(30), 40)
    real = np.arange(1200) % 2 == 0
    scores = rng.normal(size=1200) + real * (1.0 + rng.normal(0, 1.0, 30)[image])  # images are good and bad
    widths = []
    for unit in (image, np.arange(1200)):
        table = bootstrap([Ranked(real, scores, unit)], unit.max() + 1, boots=200, rng=np.random.default_rng(0))
        item = interval(table[:, 0, 0])
        widths.append(item.high - item.low)
    assert widths[0] > 1.5 * widths[1]


def test_means_are_over_the_same_seeds_for_every_arm():
    table = np.zeros((40, 2, 3))
    table[:, 0], table[:, 1] = (1.0, 5.0, 9.0), (2.0, 6.0, 10.0)
    mean = mean_over_seeds(table, np.random.default_rng(0))
    np.testing.assert_array_equal(mean[0], (5.0, 6.0))
    np.testing.assert_allclose(mean[:, 1] - mean[:, 0], 1.0)
    assert len(set(mean[:, 0])) > 3


def test_ratios_and_gaps_without_a_base_are_no_numbers():
    measured = Measured(("a", "b"), np.zeros((5, 2, len(METRICS))))
    assert np.isnan(measured.ratio("a", "b", "auc").value)
    assert np.isnan(measured.gap_closed("a", low="a", high="b", metric="auc").low)
    assert measured.ratio("a", "b", "auc").as_dict() == {"value": None, "low": None, "high": None}
    with pytest.raises(InputError, match="'c', 'auc': arms are a, b"):
        measured.drawn("c", "auc")


def test_another_implementation_gives_the_same_drawings(rng):
    from gueststar.realbogus.evaluation.compare import METRICS as OTHERS
    from gueststar.realbogus.evaluation.compare import resample

    real, scores, image = sample(rng, ties=True)
    worse = scores - 0.5 * real
    other = resample(real, (scores, worse), image, models=("a", "b"), rng=np.random.default_rng(7), draws=30)
    runs = [Ranked(real, values, image) for values in (scores, worse)]
    table = bootstrap(runs, 20, boots=30, rng=np.random.default_rng(7))[:, :, [METRICS.index(name) for name in OTHERS]]
    np.testing.assert_allclose(table[0], other.values, atol=1e-12)
    np.testing.assert_allclose(table[1:], other.draws, atol=1e-12)
