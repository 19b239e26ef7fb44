"""Measures of quality against hand-made and independent values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import (
    auc,
    auc_error,
    clopper_pearson,
    evaluate,
    roc_curve,
    threshold_at_fpr,
    threshold_at_tpr,
)
from gueststar.realbogus.figure import roc_figure


@pytest.fixture
def scored(rng):
    real = rng.random(4000) < 0.4
    score = np.round(np.where(real, 1.2, -1.2) + rng.normal(0, 1.0, 4000), 2)
    return real, score, rng.uniform(5, 60, 4000) * rng.choice([-1, 1], 4000)


def test_curve_and_area_agree_with_scikit_learn(scored):
    real, score, _ = scored
    fpr, tpr, cut = roc_curve(real, score)
    theirs = sklearn_roc(real, score, drop_intermediate=False)
    for ours, other in zip((fpr, tpr, cut), theirs, strict=True):
        np.testing.assert_allclose(ours, other)
    assert auc(real, score) == pytest.approx(roc_auc_score(real, score), abs=1e-12)


def test_area_of_four_scores_by_hand():
    real = np.array([True, True, False, False])
    assert auc(real, np.array([4, 2, 3, 1])) == 0.75
    assert auc(real, np.array([1, 1, 1, 1])) == 0.5
    assert math.isnan(auc(np.array([True, True]), np.array([1, 2])))


def test_error_of_the_area_is_the_scatter_of_repeated_samples(rng):
    areas, errors = [], []
    for _ in range(300):
        real = np.arange(300) < 120
        score = real * 1.5 + rng.normal(size=300)
        areas.append(auc(real, score))
        errors.append(auc_error(real, score))
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.15)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 1000), (10, 10), (552, 27311)])
def test_intervals_agree_with_scipy(hits, trials):
    theirs = binomtest(hits, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(hits, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_trials_tell_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_thresholds_keep_their_promise(scored):
    real, score, _ = scored
    for wanted in (0.5, 0.9, 0.98, 1.0):
        cut = threshold_at_tpr(real, score, wanted)
        assert (score[real] >= cut).mean() >= wanted
        assert (score[real] > cut).mean() < wanted
    for wanted in (0.0, 1e-3, 1e-2, 0.3):
        cut = threshold_at_fpr(real, score, wanted)
        assert (score[~real] >= cut).mean() <= wanted
        assert (score[~real] >= np.nextafter(cut, -np.inf)).mean() > wanted


def test_rates_by_hand():
    # Ten reals score 1..10, ten artifacts 0.5 and nine times 0, and one artifact beats six reals.
    score = np.concatenate([np.arange(1.0, 11.0), [6.5], np.zeros(9)])
    real = np.arange(20) < 10
    result = evaluate(real, score, np.full(20, -8.0), tpr=(0.9,), fpr=(0.01, 0.1), strata=((5, 7), (7, 10)))
    point = result.point("TPR 0.9")
    assert (point.threshold, point.tpr.hits, point.fpr.hits, point.fpr.trials) == (2.0, 9, 1, 10)
    assert result.point("FPR 0.01").tpr.value == pytest.approx(0.4)
    assert result.point("FPR 0.1").tpr.value == 1.0
    assert not result.point("FPR 0.01").resolved
    assert result.auc == pytest.approx(1 - 6 / 100)
    assert result.auc_snr == 0.5
    empty, full = result.strata
    assert (empty.name, empty.n_real, empty.n_bogus) == ("S/N 5-7", 0, 0)
    assert math.isnan(empty.auc)
    assert not empty.points
    assert full.auc == result.auc
    with pytest.raises(KeyError, match="no operating point 'TPR 1'"):
        result.point("TPR 1")


def test_strata_have_their_own_artifacts(scored):
    real, score, snr = scored
    result = evaluate(real, score, snr)
    names = [item.name for item in result.strata]
    assert names == ["S/N 5-7", "S/N 7-10", "S/N 10-20", "S/N 20-40", "S/N > 40", "S/N < 20", "S/N > 20"]
    bright = np.abs(snr) >= 20
    assert result.strata[-1].n_bogus == int((~real & bright).sum())
    assert result.strata[-1].auc == pytest.approx(roc_auc_score(real[bright], score[bright]))
    assert result.as_dict()["strata"][-1]["auc"] == result.strata[-1].auc
    assert result.auc_snr == pytest.approx(roc_auc_score(real, np.abs(snr)))


def test_bad_scores_are_refused():
    ones = np.ones(3)
    with pytest.raises(InputError, match="alike"):
        evaluate(ones, np.ones(4), ones)
    with pytest.raises(InputError, match="neither 0 nor 1"):
        evaluate(np.array([0, 1, -1]), ones, ones)
    with pytest.raises(InputError, match="1 scores are NaN"):
        evaluate(np.array([0, 1, 1]), np.array([0, 1, np.nan]), ones)


def test_the_picture_can_be_written(scored, tmp_path):
    real, score, snr = scored
    figure = roc_figure(real, 1 / (1 + np.exp(-score)), snr, threshold=0.4, title="drawn")
    assert [axes.get_ylabel() for axes in figure.axes] == ["true-positive rate", "candidates"]
    lines = [line.get_label() for line in figure.axes[0].get_lines()]
    assert sum("AUC" in str(label) for label in lines) == 4
    figure.savefig(tmp_path / "roc.png")
    assert (tmp_path / "roc.png").stat().st_size > 10_000
    roc_figure(np.zeros(5), np.zeros(5), np.ones(5)).savefig(tmp_path / "empty.png")
