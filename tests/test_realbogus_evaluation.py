"""The measures of an evaluation against hand-made samples, independent libraries and repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from gueststar.errors import InputError
from gueststar.realbogus.evaluate import auc, roc_curve, threshold_at_fpr, threshold_at_tpr
from gueststar.realbogus.evaluation.calibration_curve import calibration_curve, expected_calibration_error
from gueststar.realbogus.evaluation.causes import CAUSE_WORDS, likely_causes
from gueststar.realbogus.evaluation.chips import QUADRANTS, chip_name, quadrant_chips, summarise_chips
from gueststar.realbogus.evaluation.compare import METRICS, differences, resample
from gueststar.realbogus.evaluation.curves import Night, night_point, operating_points, sampled_curve
from gueststar.realbogus.evaluation.galleries import false_positives_by_file, worst_false_negatives
from gueststar.realbogus.evaluation.label_sets import compare_label_sets, seen_auc
from gueststar.realbogus.evaluation.ranking import recall_at_rank, recall_in_night
from gueststar.realbogus.evaluation.strata import (
    Judged,
    binned_strata,
    class_strata,
    interval_name,
    rocs_of_cuts,
    snr_strata,
)
from gueststar.realbogus.evaluation.studies import summarise_study
from gueststar.realbogus.lineage import seen_groups, training_groups, training_span
from gueststar.types import Mask


@pytest.fixture
def scored(rng):
    real = rng.random(3000) < 0.4
    score = np.round(np.where(real, 1.5, -1.5) + rng.normal(0, 1.0, 3000), 2)
    return real, 1 / (1 + np.exp(-score)), rng.uniform(4, 80, 3000)


def test_a_sampled_curve_lies_on_the_whole_one(scored):
    real, score, _ = scored
    curve = sampled_curve(real, score, most=50)
    fpr, tpr, cut = roc_curve(real, score)
    whole = {(float(a), float(b), float(c)) for a, b, c in zip(fpr, tpr, cut, strict=True)}
    kept = list(zip(curve.fpr.tolist(), curve.tpr.tolist(), curve.threshold.tolist(), strict=True))
    assert set(kept) <= whole
    assert len(kept) < len(whole)
    assert kept[0][:2] == (0.0, 0.0)
    assert kept[-1][:2] == (1.0, 1.0)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auc(real, score), abs=2e-3)


def test_operating_points_by_hand():
    # 40 reals score 1..40, 100 artifacts 0 but one of 10.5 and one of 38.5.
    score = np.concatenate([np.arange(1.0, 41.0), [10.5, 38.5], np.zeros(98)])
    real = np.arange(140) < 40
    card, tpr90, fpr = operating_points(real, score, threshold=11.0, tpr=(0.9,), fpr=(0.01,))
    assert (card.name, card.tpr.hits, card.tpr.trials, card.fpr.hits, card.fpr.trials) == ("card", 30, 40, 1, 100)
    assert (tpr90.threshold, tpr90.tpr.hits, tpr90.fpr.hits, tpr90.resolved) == (5.0, 36, 2, False)
    assert (fpr.tpr.hits, fpr.fpr.hits, fpr.resolved) == (30, 1, False)
    night = night_point(card, Night(20_000, 10.0))
    assert (night.false_positives, night.found) == (pytest.approx(200.0), pytest.approx(7.5))
    assert night.purity == pytest.approx(7.5 / 207.5)
    assert night.low < 200.0 < night.high


def test_a_condition_is_resolved_by_ten_rows():
    real = np.arange(2000) < 1000
    score = np.linspace(1, 0, 2000)
    resolved = {p.name: p.resolved for p in operating_points(real, score, tpr=(0.9, 0.99, 0.995), fpr=(1e-2, 1e-3))}
    assert resolved == {"TPR 0.9": True, "TPR 0.99": True, "TPR 0.995": False, "FPR 0.01": True, "FPR 0.001": False}


def test_purity_is_that_of_the_night_and_precision_that_of_the_sample(scored):
    real, score, _ = scored
    curve = sampled_curve(real, score)
    i = np.searchsorted(curve.tpr, 0.9)
    called = score >= curve.threshold[i]
    assert curve.precision()[i] == pytest.approx((called & real).sum() / called.sum())
    expected = 5 * curve.tpr[i] / (5 * curve.tpr[i] + 20_000 * curve.fpr[i])
    assert curve.purity(Night(20_000, 5.0))[i] == pytest.approx(expected)
    assert math.isnan(curve.purity(Night())[0])


def test_one_class_and_an_empty_night_are_refused():
    with pytest.raises(InputError, match="3 reals and 0 artifacts: a curve needs both"):
        sampled_curve(np.ones(3, bool), np.arange(3.0))
    with pytest.raises(InputError, match="0 reals and 3 artifacts: operating points need both"):
        operating_points(np.zeros(3, bool), np.arange(3.0))
    with pytest.raises(InputError, match="expected more than none"):
        Night(0, 5.0)


def test_strata_tell_own_artifacts_from_all(scored):
    real, score, snr = scored
    judged = Judged(real, score, 0.5)
    bright, faint = snr_strata(judged, -snr, ((20, math.inf), (0, 20)))
    inside = snr >= 20
    assert (bright.name, faint.name) == ("> 20", "< 20")
    assert bright.auc == pytest.approx(roc_auc_score(real[inside], score[inside]))
    cut = threshold_at_tpr(real[inside], score[inside], 0.98)
    assert bright.threshold == cut
    assert bright.fpr_own.hits == int((score[inside & ~real] >= cut).sum())
    assert bright.fpr_all.hits == int((score[~real] >= cut).sum())
    assert bright.fpr_all.trials == int((~real).sum())
    mixed = np.concatenate([score[inside & real], score[~real]])
    label = np.concatenate([np.ones((inside & real).sum()), np.zeros((~real).sum())])
    assert bright.auc_all == pytest.approx(roc_auc_score(label, mixed))
    called = score >= 0.5
    expected = [int((called[inside] == c)[real[inside] == r].sum()) for c, r in ((1, 1), (1, 0), (0, 0), (0, 1))]
    assert list(bright.confusion) == expected
    assert sum(bright.confusion) + sum(faint.confusion) == len(real)


def test_strata_of_one_class_or_none_are_told_not_refused(scored):
    real, score, snr = scored
    judged = Judged(real, score, 0.5)
    codes = real.astype(np.int32)
    bogus, reals = class_strata(judged, "kind", codes, ("", "supernova", "unused"))
    assert (bogus.name, reals.name) == ("none", "supernova")
    assert (bogus.n_real, reals.n_bogus) == (0, 0)
    assert math.isnan(bogus.auc)
    assert bogus.tpr.trials == 0
    assert (bogus.tpr.low, bogus.tpr.high) == (0.0, 1.0)
    assert math.isnan(bogus.threshold)
    assert reals.fpr_all.trials == int((~real).sum())
    (empty,) = snr_strata(judged, snr, ((1000, 2000),))
    assert (empty.n_real, empty.n_bogus) == (0, 0)
    parts = binned_strata(judged, "distance", np.where(snr > 40, np.nan, snr), (0, 10, 30, 35, math.inf))
    assert [part.name for part in parts] == ["< 10", "10-30", "30-35", "> 35"]
    assert sum(part.n_real + part.n_bogus for part in parts) == int((snr <= 40).sum())
    assert interval_name(5, 7) == "5-7"
    with pytest.raises(InputError, match="alike"):
        Judged(real, score[:-1], 0.5)


def test_single_precision_scores_do_not_pass_a_threshold_just_above_them():
    score = np.float32([0.1, 0.7, 0.8, 0.9])
    real = np.array([False, False, True, True])
    cut = threshold_at_fpr(real, score, 0.0)
    (point,) = operating_points(real, score, tpr=(), fpr=(0.0,))
    assert point.threshold == cut > float(score[1])
    assert point.fpr.hits == 0
    (part,) = snr_strata(Judged(real, score, cut), np.full(4, 9.0), ((5, 10),))
    assert part.fpr.hits == 0


def test_curves_of_cuts_have_both_classes(scored):
    real, score, snr = scored
    curves = rocs_of_cuts(Judged(real, score, 0.5), snr, ((20, math.inf), (500, math.inf)))
    assert list(curves) == ["> 20"]
    fpr, tpr = curves["> 20"]
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(real[snr >= 20], score[snr >= 20]))


def chip_strata(rng, names, *, worse=""):
    real = np.tile(np.arange(400) < 200, len(names))
    codes = np.repeat(np.arange(len(names)), 400)
    score = np.where(real, 1.5, -1.5) + rng.normal(size=real.size)
    if worse:
        score[(codes == names.index(worse)) & real] -= 1.5
    return class_strata(Judged(real, score, 0.0), "chip", codes, names)


def test_the_camera_has_84_chips():
    names = [name for q in QUADRANTS for row in quadrant_chips(q) for name in row]
    assert len(set(names)) == 84
    assert [len(row) for row in quadrant_chips("Q3")] == [6, 6, 5, 4]
    assert all(chip_name(name) == name for name in names)
    assert chip_name("111") == chip_name("Q1_11") == "Q1-11"
    for name in ("Q1-36", "Q1-45", "Q5-11", "ccd12", "", "Q1-10"):
        assert chip_name(name) == ""


def test_chips_are_summed_up(rng):
    names = ["Q1-11", "Q1-12", "Q2-44", "Q4-31"]
    chips = chip_strata(rng, names, worse="Q2-44")
    found = summarise_chips(chips)
    assert found.camera
    assert len(found.missing) == 80
    assert "Q3-15" in found.missing
    assert found.worst == "Q2-44"
    assert found.worst_tpr < found.median_tpr - 0.2
    assert found.p_alike < 1e-6
    assert found.quadrant_auc["Q1"] == pytest.approx(np.mean([chip.auc for chip in chips[:2]]))
    assert math.isnan(found.quadrant_auc["Q3"])
    assert found.mean_auc == pytest.approx(np.mean([chip.auc for chip in chips]))


def test_alike_chips_are_not_called_different_and_foreign_names_have_no_camera(rng):
    chances = [summarise_chips(chip_strata(rng, ["a", "b", "c"])).p_alike for _ in range(60)]
    assert 0.3 < np.mean(chances) < 0.7
    found = summarise_chips(chip_strata(rng, ["a", "Q1-11"]))
    assert not found.camera
    assert found.missing == ()
    assert math.isnan(summarise_chips(()).p_alike)


def test_draws_of_every_row_once_give_the_measures_of_the_sample(scored, rng):
    real, score, _ = scored
    worse = score + rng.normal(0, 0.2, score.size)
    found = resample(real, [score, worse], np.arange(score.size), models=["a", "b"], rng=rng, draws=2)
    for i, values in enumerate((score, worse)):
        assert found.value(i, "auc") == pytest.approx(auc(real, values), abs=1e-12)
        for wanted in (0.9, 0.98):
            fpr = (values[~real] >= threshold_at_tpr(real, values, wanted)).mean()
            assert found.value(i, f"fpr_at_tpr_{wanted:g}") == pytest.approx(fpr, abs=1e-12)
        for wanted in (1e-2, 1e-3):
            fnr = (values[real] < threshold_at_fpr(real, values, wanted)).mean()
            assert found.value(i, f"fnr_at_fpr_{wanted:g}") == pytest.approx(fnr, abs=1e-12)


def test_a_draw_is_the_sample_with_its_groups_repeated(scored):
    real, score, _ = scored
    groups = np.arange(score.size) % 7
    drawn = np.random.default_rng(5).integers(7, size=7)
    found = resample(real, [score], groups, models=["a"], rng=np.random.default_rng(5), draws=1)
    rows = np.concatenate([np.flatnonzero(groups == g) for g in drawn])
    truth, values = real[rows], score[rows]
    assert found.draws[0, 0, 0] == pytest.approx(auc(truth, values), abs=1e-12)
    assert found.draws[0, 0, 2] == pytest.approx((values[~truth] >= threshold_at_tpr(truth, values, 0.98)).mean())
    assert found.draws[0, 0, 4] == pytest.approx((values[truth] < threshold_at_fpr(truth, values, 1e-3)).mean())


def test_the_better_model_is_named_and_equal_ones_are_not_told_apart(rng):
    real = np.arange(4000) % 2 == 0
    groups = np.arange(4000) // 40
    good = np.where(real, 2.0, -2.0) + rng.normal(size=4000)
    noisy = good + rng.normal(0, 1.0, 4000)
    found = resample(real, [noisy, good, good], groups, models=["noisy", "good", "twin"], rng=rng, draws=200)
    by = {(d.first, d.second, d.metric): d for d in differences(found)}
    assert len(by) == 3 * len(METRICS)
    better = by["noisy", "good", "fpr_at_tpr_0.98"]
    assert better.better == "good"
    assert better.high < 0
    assert better.ratio_high < 1
    assert by["noisy", "good", "auc"].better == "good"
    same = by["good", "twin", "auc"]
    assert (same.difference, same.low, same.high, same.better) == (0.0, 0.0, 0.0, "")
    assert len(differences(found, most=2)) == 2 * len(METRICS)


def test_intervals_of_clustered_rows_are_wider_than_those_of_single_rows(rng):
    groups = np.repeat(np.arange(40), 50)
    real = rng.random(2000) < 0.5
    score = np.where(real, 1.0, -1.0) + rng.normal(size=2000) + np.where(real, 0, rng.normal(size=40)[groups])
    widths = []
    for by in (groups, np.arange(2000)):
        low, high = resample(real, [score], by, models=["a"], rng=rng, draws=300).interval(0, "auc")
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_comparisons_that_cannot_be_made_are_refused(rng):
    real = np.arange(10) < 5
    score = np.arange(10.0)
    with pytest.raises(InputError, match="all rows are of one group"):
        resample(real, [score], np.zeros(10, int), models=["a"], rng=rng)
    with pytest.raises(InputError, match="not alike"):
        resample(real, [score[:3]], np.arange(10), models=["a"], rng=rng)
    with pytest.raises(InputError, match="one is missing"):
        resample(np.ones(10, bool), [score], np.arange(10), models=["a"], rng=rng)


def test_true_chances_are_calibrated_and_squeezed_ones_are_not(rng):
    chance = rng.random(40_000)
    real = rng.random(40_000) < chance
    good = calibration_curve(real, chance, bins=20)
    assert good.ece < 0.012
    assert {item.n for item in good.bins} == {2000}
    assert good.brier == pytest.approx(brier_score_loss(real, chance))
    covered = [item.low <= item.score <= item.high for item in good.bins]
    assert np.mean(covered) > 0.7
    squeezed = calibration_curve(real, chance**3)
    assert squeezed.ece > 0.15
    assert squeezed.largest >= squeezed.ece


def test_equal_classes_need_scores_for_equal_classes(rng):
    real = rng.random(60_000) < 0.05
    value = np.where(real, 1.0, -1.0) + rng.normal(size=real.size)
    balanced = 1 / (1 + np.exp(-2 * value))  # the chance among as many reals as artifacts
    assert expected_calibration_error(real, balanced, prior=0.5) < 0.015
    assert expected_calibration_error(real, balanced) > 0.1
    assert calibration_curve(real, balanced, prior=0.5).prior == pytest.approx(0.5)


def test_equal_scores_share_a_bin():
    score = np.repeat([0.0, 1.0], [70, 30])
    real = np.arange(100) >= 70
    curve = calibration_curve(real, score, bins=10)
    assert [item.n for item in curve.bins] == [70, 30]
    assert curve.ece == 0.0


def test_what_is_no_chance_is_refused():
    real = np.array([True, False])
    with pytest.raises(InputError, match="not between 0 and 1"):
        calibration_curve(real, np.array([0.5, 3.0]))
    with pytest.raises(InputError, match="not between 0 and 1"):
        calibration_curve(real, np.array([0.5, np.nan]))
    with pytest.raises(InputError, match="alike"):
        calibration_curve(np.empty(0, bool), np.empty(0))
    with pytest.raises(InputError, match="bins = 0"):
        calibration_curve(real, np.array([0.5, 0.5]), bins=0)
    with pytest.raises(InputError, match="prior 1.5"):
        calibration_curve(real, np.array([0.5, 0.5]), prior=1.5)
    with pytest.raises(InputError, match="only when both are there"):
        calibration_curve(np.ones(2, bool), np.array([0.5, 0.5]), prior=0.5)


def test_recall_at_rank_by_hand():
    real = np.array([True, True, False, True, False, False])
    score = np.array([0.9, 0.8, 0.8, 0.3, 0.2, 0.1])
    first, second, third, four = recall_at_rank(real, score, ranks=(1, 2, 3, 4, 100))
    assert (first.recall, first.purity, first.score) == (pytest.approx(1 / 3), 1.0, 0.9)
    assert second.recall == pytest.approx(1.5 / 3)  # one of the two of equal score
    assert (third.recall, third.score) == (pytest.approx(2 / 3), 0.8)
    assert (four.recall, four.purity) == (1.0, 0.75)


def test_a_night_is_mostly_artifacts(scored):
    real, score, _ = scored
    night = Night(20_000, 5.0)
    for rank in recall_in_night(real, score, night):
        curve = sampled_curve(real, score, most=3000)
        passing = 20_000 * curve.fpr + 5 * curve.tpr
        before = passing[np.searchsorted(curve.tpr, rank.recall - 1e-9) - 1]
        after = passing[min(np.searchsorted(curve.tpr, rank.recall + 1e-9), len(passing) - 1)]
        assert before - 1e-6 <= rank.k <= after + 1e-6
        assert rank.purity == pytest.approx(5 * rank.recall / rank.k)
    with pytest.raises(InputError, match="no real among the rows"):
        recall_at_rank(np.zeros(3, bool), np.arange(3.0))
    with pytest.raises(InputError, match="one is missing"):
        recall_in_night(np.ones(3, bool), np.arange(3.0), night)


def test_causes_are_named_in_order():
    n = 8
    columns = {
        "mask_flags": np.array([0, int(Mask.SATURATED), 0, 0, 0, 0, 0, 0]),
        "mask_fraction": np.array([0, 0, 0.5, 0, 0, 0, 0, 0]),
        "dipole_ratio": np.array([0, 0.9, 0, 0.9, 0, 0, 0, 0]),
        "dipole_dchi2": np.full(n, 100.0),
        "fwhm": np.array([3, 3, 3, 3, 6, 3, 3, np.nan]),
        "psf_fwhm": np.full(n, 3.0),
        "local_scatter": np.array([1, 1, 1, 1, 1, 2, 1, 1]),
        "snr": np.array([9, 9, 9, 9, 9, 9, -5, 30.0]),
    }
    truth = np.array([True] + [False] * 7)
    found = likely_causes(n, columns, real_by_truth=truth).tolist()
    assert found == [
        "real by the truth", "bright star", "bad pixels", "misalignment", "PSF shape", "crowded field",
        "near the limit", "none of these",
    ]  # fmt: skip
    assert found == list(CAUSE_WORDS)
    assert likely_causes(n, columns, real_by_truth=truth, missed=True)[0] == "none of these"
    assert set(likely_causes(3, {})) == {"none of these"}


def test_false_positives_are_counted_by_file(rng):
    images = np.repeat(np.arange(30), 100)
    real = np.zeros(3000, bool)
    score = np.zeros(3000)
    score[:60] = np.linspace(0.6, 0.9, 60)  # all of image 0
    score[[150, 250, 251]] = 0.95
    rows = np.flatnonzero(score >= 0.5)
    causes = np.where(rows < 60, "misalignment", "none of these")
    names = [f"image {i}" for i in range(30)]
    found = false_positives_by_file(real, score, 0.5, images, names, causes=causes, rng=rng, top=2)
    assert (found.n, found.n_files, found.n_files_with) == (63, 30, 3)
    first, second = found.files
    assert (first.name, len(first.rows), first.rows[0], first.n_bogus) == ("image 0", 60, 59, 100)
    assert (second.name, second.rows.tolist()) == ("image 2", [250, 251])
    assert found.share == pytest.approx(62 / 63)
    assert found.expected_share < 0.3
    assert found.causes == (("misalignment", 60), ("none of these", 3))
    assert first.causes == (("misalignment", 60),)
    none = false_positives_by_file(real, score, 2.0, images, names, causes=causes[:0], rng=rng)
    assert (none.n, none.files) == (0, ())
    assert math.isnan(none.share)


def test_the_worst_misses_come_first():
    real = np.array([True, True, False, True])
    assert worst_false_negatives(real, np.array([0.4, 0.1, 0.0, 0.9]), 0.5).tolist() == [1, 0]


def test_two_per_cent_of_reals_explain_the_slides():
    assert seen_auc(0.994, 0.02) == pytest.approx(0.984, abs=2e-4)
    with pytest.raises(InputError, match="contamination 2"):
        seen_auc(0.9, 2)


def test_contaminated_labels_show_the_area_that_is_expected(rng):
    truth = np.arange(20_000) % 2
    score = 2.5 * truth + rng.normal(size=truth.size)
    seen = truth.copy()
    wrong = np.flatnonzero(truth == 1)[:300]
    seen[wrong] = 0
    found = compare_label_sets(seen, truth, score, model="m", names=("old", "new"), threshold=1.0)
    assert found.contamination == pytest.approx(300 / 10_300)
    assert found.first.auc < found.second.auc
    assert found.expected_auc == pytest.approx(found.first.auc, abs=2e-3)
    assert found.changes == {"0 to 1": 300}
    cleaned = np.where((seen == 0) & (truth == 1), -1, seen)
    left = compare_label_sets(seen, cleaned, score)
    assert left.second.n_bogus == 10_000
    assert left.contamination == pytest.approx(300 / 10_300)
    with pytest.raises(InputError, match="other holds 2"):
        compare_label_sets(seen, truth * 2, score)
    with pytest.raises(InputError, match="other has 0 reals"):
        compare_label_sets(seen, truth * 0, score)
    with pytest.raises(InputError, match="alike"):
        compare_label_sets(seen, truth[:5], score)


def test_studies_are_means_over_seeds():
    rows = [
        {"arm": f"{n} rows", "seed": seed, "n_train": n, "auc": 0.9 + n / 1e5 + seed / 100, "other": "x"}
        for n in (1000, 2000, 4000)
        for seed in (0, 1)
    ]
    found = summarise_study(rows, {"title": "Size", "conclusions": ["More is better."]}, name="size")
    assert (found.title, found.by_size, len(found.arms)) == ("Size", True, 3)
    arm = found.arms[0]
    assert (arm.seeds, arm.n_train) == (2, 1000.0)
    assert (arm.metrics["auc"].mean, arm.metrics["auc"].low) == (pytest.approx(0.915), pytest.approx(0.91))
    assert set(arm.metrics) == {"auc"}
    same = summarise_study([{"arm": "a", "auc": 0.9}, {"arm": "b", "auc": None}], {}, name="channels")
    assert not same.by_size
    assert math.isnan(same.arms[1].metrics["auc"].mean)
    with pytest.raises(InputError, match="a column 'arm' is needed"):
        summarise_study([{"auc": 0.9}], {}, name="x")
    with pytest.raises(InputError, match="none of the measures"):
        summarise_study([{"arm": "a", "loss": 0.9}], {}, name="x")


def test_a_card_recognises_its_training_without_naming_it():
    columns = {"night": np.array(["n1", "n1", "n2", ""]), "tile": np.array(["a", "b", "c", "d"])}
    groups = training_groups(columns, np.array([0, 2, 3]), by=("night", "tile"))
    assert len(groups["night"]) == 2
    assert not any("n1" in text for text in groups["night"])
    seen = seen_groups({"groups": groups}, {"night": ["n2", "n3"], "tile": ["b"], "reference": ["r"]})
    assert seen == {"night": ["n2"]}
    assert seen_groups({}, {"night": ["n2"]}) == {}
    assert training_span(np.array([np.nan, 0.0, 59000.5, 59001.0])) == [59000.5, 59001.0]
    assert training_span(np.array([np.nan])) is None
