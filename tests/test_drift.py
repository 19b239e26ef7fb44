"""Drift: quiet where nothing moved, loud where something did, and the images that moved are named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from drift_sets import drawn, write_run
from gueststar.cli.main import app
from gueststar.datasets.drift_profile import profile_of_model, write_profile
from gueststar.datasets.drift_samples import read_sample
from gueststar.datasets.drifting import read_known, write_drift
from gueststar.errors import ConfigError, InputError, ModelError, OutputError
from gueststar.realbogus.card import read_model
from gueststar.realbogus.drift.groups import find_drift, smallest_p
from gueststar.realbogus.drift.images import standing_out, stretched
from gueststar.realbogus.drift.model_profile import copy_profile, read_model_profile
from gueststar.realbogus.drift.profile import count_all, image_medians, make_profile, profile_text, read_profile
from gueststar.realbogus.drift.result import DriftOptions, ImageName
from gueststar.realbogus.drift.statistics import bins_of, count_rows, psi_and_ks
from gueststar.realbogus.store import verify_model
from realbogus_models import model_and_set
from study_sets import write_set

QUICK = DriftOptions(draws=200, most_draws=1000)


def compared(data, reference, rng, options=QUICK):
    known = make_profile(reference, options, rng=rng).counts
    return find_drift(count_all(data, known.columns), known, options, rng=rng)


# The statistics


def test_psi_is_that_of_its_definition_and_the_distance_that_of_scipy(rng):
    from scipy.stats import ks_2samp

    first, second = rng.normal(size=3000), rng.normal(0.4, 1.2, 500)
    bins = bins_of("a", first, coarse=10, fine=400)
    one, two = (count_rows(bins, x, np.zeros(x.size, int), 1)[0] for x in (second, first))
    psi, ks = psi_and_ks(bins, one, two)
    edges = np.quantile(first, np.arange(1, 10) / 10, method="inverted_cdf")
    p, q = ((np.append(np.bincount(np.searchsorted(edges, x), minlength=10), 0) + 0.5) for x in (second, first))
    p, q = p / p.sum(), q / q.sum()
    assert psi == pytest.approx(np.sum((p - q) * np.log(p / q)), rel=1e-9)
    exact = ks_2samp(first, second).statistic
    assert exact - 1 / 400 <= ks <= exact + 1e-12
    np.testing.assert_allclose(psi_and_ks(bins, two, two), 0.0, atol=1e-12)


def test_missing_values_have_a_bin_of_their_own_and_equal_ones_are_not_torn(rng):
    values = np.r_[np.zeros(500), rng.normal(5, 1, 300), np.full(200, np.nan)]
    bins = bins_of("a", values)
    counts = count_rows(bins, values, np.zeros(values.size, int), 1)[0]
    assert counts.sum() == values.size
    assert counts[-1] == 200
    assert counts[0] == 500
    np.testing.assert_array_equal(count_rows(bins, np.array([np.inf, -np.inf]), np.zeros(2, int), 1)[0, :-1], 0)
    with pytest.raises(InputError, match=r"column a: the reference has no finite value of it"):
        bins_of("a", np.full(3, np.nan))


def test_p_of_the_smaller_of_two_counts_ties_and_is_never_zero():
    drawn_ = np.array([[3.0, 0.0], [1.0, 5.0], [2.0, 1.0], [0.0, 2.0]])
    assert smallest_p(drawn_) == 0.5  # first in one statistic, as the second row is in the other
    assert smallest_p(np.zeros((5, 2))) == 1.0
    assert smallest_p(np.array([[np.nan, np.nan], [1.0, 1.0]])) == 1.0


def test_images_that_differ_among_each_other_are_no_drift_although_rows_say_so():
    """Rows taken for independent would call nearly every group a drift; whole images are exchanged."""
    from scipy.stats import ks_2samp

    p_images, p_rows = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        reference, data = drawn(rng, 40), drawn(rng, 4)
        tests = compared(data, reference, rng, DriftOptions(draws=100, most_draws=100)).tests
        p_images.append(next(test.p for test in tests if test.column == "a"))
        p_rows.append(ks_2samp(data.columns["a"], reference.columns["a"]).pvalue)
    assert np.mean(np.array(p_images) <= 0.1) < 0.25  # 0.1 is expected; 0.25 is four standard errors above
    assert np.mean(np.array(p_images) <= 0.5) == pytest.approx(0.5, abs=0.26)
    assert np.mean(np.array(p_rows) <= 0.1) > 0.4


def test_a_night_that_moved_is_warned_of_with_the_images_that_did(rng):
    names = [ImageName(f"image{i:03d}", "night", f"{11 + i // 8}") for i in range(24)]
    data = drawn(rng, 24, shift=dict.fromkeys((1, 2, 5, 6), 3.0), names=names)
    before = {name: values.copy() for name, values in data.columns.items()}
    drift = compared(data, drawn(rng, 120), rng)
    left = drift.drifting
    assert {(test.night, test.chip, test.column) for test in left} >= {("night", "11", "a")}
    assert {test.column for test in left} == {"a"}
    assert not any(test.chip in ("12", "13") for test in left)
    chip = next(test for test in left if test.chip == "11")
    assert {cause.image.name for cause in chip.causes[:4]} == {"image001", "image002", "image005", "image006"}
    assert 2 <= chip.guilty <= 4
    assert chip.q <= 0.05
    assert chip.psi > chip.psi_chance + 0.1
    assert chip.causes[3].influence > 0 > chip.causes[4].influence
    np.testing.assert_array_equal(before["a"], data.columns["a"])


def test_every_chip_night_and_both_are_tested_once(rng):
    names = [ImageName(f"i{i}", f"n{i % 2}", f"{11 + i // 2 % 2}") for i in range(12)]
    drift = compared(drawn(rng, 12, names=names), drawn(rng, 30), rng)
    groups = [(test.night, test.chip) for test in drift.tests if test.column == "a"]
    assert len(groups) == len(set(groups)) == 9
    assert {("n0", ""), ("", "11"), ("", ""), ("n1", "12")} <= set(groups)
    q = np.array([test.q for test in drift.tests])
    p = np.array([test.p for test in drift.tests])
    assert (q >= p).all()


def test_a_long_night_against_a_large_reference_is_tested(rng):
    """There are more ways to deal so many images than a float can hold."""
    drift = compared(drawn(rng, 1000, rows=(1, 3)), drawn(rng, 600, rows=(1, 3)), rng, DriftOptions(draws=50))
    assert all(np.isfinite(test.p) for test in drift.tests)


def test_too_little_is_unknown_and_said(rng):
    few = drawn(rng, 4, rows=(3, 4))
    drift = compared(few, drawn(rng, 30), rng)
    assert [test.reason for test in drift.tests] == ["12 rows: too few to tell"] * 2
    assert not drift.drifting
    assert "2 of 2 tests were not made: fewer than 3 images or 30 rows" in drift.notes[0]
    with pytest.raises(InputError, match=r"the reference has 5 images; 20 are needed"):
        compared(few, drawn(rng, 5), rng)
    tight = compared(drawn(rng, 3, shift=dict.fromkeys(range(3), 9.0)), drawn(rng, 20), rng, DriftOptions(q=1e-4))
    assert "farther out than every draw" in tight.notes[-1]


@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_are_too_few_and_get_no_p_value_however_far_out(rng, images):
    drift = compared(drawn(rng, images, shift=dict.fromkeys(range(images), 9.0)), drawn(rng, 40), rng)
    words = "1 image with candidates" if images == 1 else "2 images with candidates"
    for test in drift.tests:
        assert test.reason == f"{words}: too few images to tell"
        assert np.isnan([test.p, test.q, test.psi_chance]).all()
        assert np.isfinite(test.psi)
    assert not drift.drifting


def test_images_without_candidates_do_not_make_a_group_large_enough(rng):
    names = [ImageName(f"i{i}", "night", "11") for i in range(6)]
    whole = drawn(rng, 6, names=names)
    kept = whole.image < 2
    empty = replace(whole, image=whole.image[kept], columns={name: x[kept] for name, x in whole.columns.items()})
    drift = compared(empty, drawn(rng, 40), rng)
    assert {test.reason for test in drift.tests} == {"2 images with candidates: too few images to tell"}
    assert drift.tests[0].images == 6


def test_one_bad_image_among_many_is_named_and_good_ones_are_not(rng):
    data = drawn(rng, 40, shift={17: 4.0})
    drift = compared(data, drawn(rng, 80), rng)
    (found,) = drift.standouts
    assert (found.image.name, found.column) == ("image017", "a")
    assert found.median > found.high > found.low
    assert found.beyond > 1
    assert found.rows == (data.image == 17).sum()
    assert not any(test.certain for test in drift.tests)  # no group of 40 has moved
    assert not compared(drawn(rng, 40), drawn(rng, 80), rng).standouts


def test_nothing_stands_out_where_images_of_the_reference_are_all_alike_or_few(rng):
    same = drawn(rng, 40)
    same = replace(same, columns={"a": np.zeros(same.image.size)})
    other = replace(same, columns={"a": np.full(same.image.size, 5.0)})
    known = make_profile(same, QUICK, rng=rng).counts
    assert standing_out(count_all(other, known.columns), known, QUICK) == ()
    known = make_profile(drawn(rng, 40, rows=(3, 6)), QUICK, rng=rng).counts
    far = count_all(drawn(rng, 3, shift={0: 99.0}), known.columns)
    assert standing_out(far, known, QUICK) == ()


def test_widths_are_compared_by_ratios_scores_by_odds_and_what_has_a_sign_by_differences():
    values = np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(np.diff(stretched("fwhm", np.array([1.0, 2.0, 4.0]), 1.0)), np.log(2))
    np.testing.assert_allclose(stretched("rb_score", values, 0.25), [-np.log(3), 0, np.log(3)])
    np.testing.assert_array_equal(stretched("reference_snr", values, 0.25), values)
    np.testing.assert_array_equal(stretched("fwhm", values, 0.0), values)
    assert np.isfinite(stretched("fwhm", np.array([-1.0, 0.0]), 1.0)).all()
    assert np.isfinite(stretched("rb_score", np.array([0.0, 1.0]), 0.1)).all()


def test_medians_of_images_are_those_of_numpy(rng):
    values, image = rng.normal(size=200), rng.integers(0, 9, 200)
    values[rng.random(200) < 0.2] = np.nan
    values[image == 4] = np.nan
    found = image_medians(values, image, 10)
    for number in range(10):
        mine = values[(image == number) & np.isfinite(values)]
        np.testing.assert_equal(found[number], np.median(mine) if mine.size else np.nan)


def test_counts_in_other_bins_are_refused(rng):
    first, other = (make_profile(drawn(rng, 30), rng=rng).counts for _ in range(2))
    with pytest.raises(InputError, match="not counted in the same bins"):
        find_drift(first, other, rng=rng)
    none = first.some(slice(0, 0))
    with pytest.raises(InputError, match="no image with candidates to compare"):
        find_drift(none, first, rng=rng)


# Profiles


def test_a_profile_comes_back_and_holds_no_row(rng, tmp_path):
    made = make_profile(drawn(rng, 50), DriftOptions(most_reference=30), rng=rng)
    write_profile(tmp_path / "p.json", made)
    back = read_profile(tmp_path / "p.json")
    assert (back.images_in_all, len(back.counts.images)) == (50, 30)
    np.testing.assert_array_equal(back.counts.counts, made.counts.counts)
    np.testing.assert_array_equal(back.counts.columns[0].edges, made.counts.columns[0].edges)
    np.testing.assert_allclose(back.counts.medians, made.counts.medians, rtol=1e-5)
    with pytest.raises(OutputError, match=r"p\.json exists already"):
        write_profile(tmp_path / "p.json", made)
    with pytest.raises(ConfigError, match=r"the name of a profile ends in \.json"):
        write_profile(tmp_path / "p.txt", made)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "is no profile of a reference"),
        ({"version": 2}, "version 2 of the format; this program reads 1"),
        ({"counts": [[1]]}, r"is damaged: counts of shape \(1, 1\) for 30 images"),
        ({"images": 3}, "is damaged"),
        ({"medians": [[1]]}, r"is damaged: medians of shape \(1, 1\) for 30 images"),
    ],
)
def test_damaged_profiles_are_refused(rng, tmp_path, change, words):
    values = json.loads(profile_text(make_profile(drawn(rng, 30), rng=rng)))
    (tmp_path / "p.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(InputError, match=words):
        read_profile(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as a profile"):
        read_known(tmp_path / "p.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = model_and_set(tmp_path_factory.mktemp("model"))
    write_set(root / "nights", n=600, size=21, pairs=60, chips=2)
    return root


def test_a_model_keeps_what_it_was_made_with_and_older_ones_can_be_given_it(model, tmp_path):
    # The card of an older model knows nothing of profiles.
    with pytest.raises(InputError, match=r"keeps no profile of what it was made with; make it with `gueststar model"):
        read_known(model / "model")
    made = profile_of_model(model / "model", model / "nights")
    assert made.counts.columns[0].name == "rb_score"
    assert len(made.counts.images) == 30  # validation and test of 60 images
    assert made.model == read_known_hash(model)
    with pytest.raises(InputError, match=r"artifacts of 15 images .*; 20 are needed for a profile"):
        profile_of_model(model / "model", model / "nights", "test")
    with pytest.raises(ConfigError, match="part 'night': one of train, validation, test, all"):
        profile_of_model(model / "model", model / "nights", "night")
    done = CliRunner().invoke(app, ["model", "profile", str(model / "model"), "--data", str(model / "nights"), "-q"])
    assert done.exit_code == 0, done.output
    assert read_known(model / "model").images_in_all == 30
    again = CliRunner().invoke(app, ["model", "profile", str(model / "model"), "--data", str(model / "nights"), "-q"])
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    copy_profile(model / "model", tmp_path)
    assert (tmp_path / "profile.json").is_file()
    (model / "model" / "profile.json").unlink()
    with pytest.raises(InputError, match="keeps no profile"):
        read_model_profile(model / "model")


def test_the_shipped_model_has_a_profile_of_its_own_scores():
    made, card = read_model_profile("shipped"), read_model("shipped")[0]
    assert made.model == card.weights_hash[:16]
    assert made.rows == "artifacts"
    assert len(made.counts.images) >= DriftOptions().least_reference
    assert made.counts.columns[0].name == "rb_score"
    assert any("profile.json" in text for text in card.caveats)


def test_a_profile_of_another_model_is_found_out(model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model / "model", folder)
    shipped = read_model_profile("shipped")
    write_profile(folder / "profile.json", replace(shipped, model="0" * 16))
    with pytest.raises(ModelError, match=r"profile\.json holds scores of the model 0{16}, not of"):
        verify_model(folder)
    write_profile(folder / "profile.json", replace(shipped, model=read_known_hash(model)), overwrite=True)
    assert "profile.json too" in verify_model(folder)[1]


def read_known_hash(model):
    return json.loads((model / "model" / "card.json").read_text())["weights_hash"][:16]


def test_training_writes_a_profile_where_there_are_images_enough(model, tmp_path):
    from gueststar.realbogus.stored import open_dataset
    from gueststar.realbogus.train import Train
    from gueststar.realbogus.watch import Watch
    from gueststar.training import Training, train_stored

    options = Training(train=Train(epochs=1, batch_size=64, stamp_size=15))
    train_stored(options, open_dataset(model / "nights"), tmp_path / "new")
    made = read_model_profile(tmp_path / "new")
    assert made.name == "nights"
    assert {"rb_score", "snr", "sky_sigma_science"} <= {column.name for column in made.counts.columns}
    told: list[str] = []
    few = write_set(tmp_path / "few", n=200, size=21, pairs=16)
    train_stored(options, open_dataset(few), tmp_path / "small", watch=Watch(tell=told.append))
    assert not (tmp_path / "small" / "profile.json").exists()
    assert any("no profile for `gueststar drift`" in text for text in told)


# Runs, data sets, the page and the command


def test_a_run_with_one_bad_chip_is_warned_of_by_the_command(tmp_path):
    good = write_run(tmp_path / "good", images=60, name="g", seed=2)
    bad = write_run(tmp_path / "bad", images=20, bad_chip="12")
    out = tmp_path / "drift"
    quick = ["--set", "draws=200", "--set", "most_draws=2000"]
    done = CliRunner().invoke(app, ["drift", str(bad), "--against", str(good), "--out", str(out), *quick])
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "Warning: chip 12 in night mjd60000 has left the reference in" in text
    assert "chip 11 in night" not in text
    page = (out / "drift.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count('class="sortable"') == 2
    assert "is unlike every image of the reference: " in text
    facts = json.loads((out / "drift.json").read_text())
    assert {item["column"] for item in facts["drift"]} >= {"fwhm", "psf_fwhm", "seeing_px"}
    assert {item["image"]["chip"] for item in facts["standing_out"]} == {"12"}
    table = pq.read_table(out / "drift.parquet")
    assert set(table["chip"].to_pylist()) == {"", "11", "12"}
    causes = pq.read_table(out / "drift_images.parquet").to_pylist()
    assert {row["image_chip"] for row in causes if row["guilty"] and row["chip"] == "12"} == {"12"}
    again = CliRunner().invoke(app, ["drift", str(bad), "--against", str(good), "--out", str(out), *quick])
    assert again.exit_code == 1
    assert "holds a drift report already" in " ".join(again.stderr.split())
    strict = ["drift", str(bad), "--against", str(good), *quick, "--fail-on-drift", "--quiet"]
    assert CliRunner().invoke(app, strict).exit_code == 1
    calm = write_run(tmp_path / "calm", images=20, name="c", seed=5)
    done = CliRunner().invoke(app, ["drift", str(calm), "--against", str(good), *quick, "--fail-on-drift"])
    assert done.exit_code == 0, done.output
    assert "Nothing left the reference" in done.stdout


def test_scores_of_another_model_are_not_compared(tmp_path):
    good = write_run(tmp_path / "good", images=40, name="g", seed=2)
    other = write_run(tmp_path / "other", images=20, model="n")
    report = write_drift(read_sample(other), read_sample(good), options=QUICK)
    assert "rb_score" not in {test.column for test in report.drift.tests}
    assert any("scores are not compared" in text for text in report.warnings)
    outcome = next((other / "images").iterdir()) / "outcome.json"
    outcome.write_text(outcome.read_text().replace('"rb_model_hash": "n"', '"rb_model_hash": "o"'))
    mixed = read_sample(other)
    assert "rb_score" not in mixed.columns
    assert mixed.notes == ("scores are not compared: 2 models made them (n, o)",)
    same = write_drift(read_sample(good), read_sample(good), options=QUICK)
    assert "rb_score" in {test.column for test in same.drift.tests}
    assert not same.drift.drifting
    assert any("images with the same name on both sides: 40" in text for text in same.warnings)


def test_images_of_a_run_that_tell_nothing_are_left_out_and_said(tmp_path):
    run = write_run(tmp_path / "run", images=10, chips=3)
    places = sorted((run / "images").iterdir())
    for place, words in ((places[0], '"rejected"'), (places[1], '"failed"')):
        outcome = place / "outcome.json"
        outcome.write_text(outcome.read_text().replace('"ok"', words))
    empty = pq.read_table(places[2] / "candidates.parquet")
    pq.write_table(empty.slice(0, 0), places[2] / "candidates.parquet")
    (places[3] / "candidates.parquet").write_bytes(b"PAR1")
    table = pq.read_table(places[4] / "candidates.parquet")
    pq.write_table(table.drop_columns(["fwhm"]), places[4] / "candidates.parquet")
    sample = read_sample(run)
    assert len(sample.images) == 7
    assert np.isnan(sample.columns["fwhm"]).sum() == table.num_rows
    notes = " ".join(sample.notes)
    assert "left out: run/s003: candidates.parquet or stamps.npy cannot be read" in notes
    assert "rejected by a quality gate, and not compared: s000 alone" in notes
    assert "without a candidate, and not compared: s002 alone" in notes
    known = write_run(tmp_path / "known", images=40, name="k")
    report = write_drift(sample, read_sample(known), options=QUICK)
    assert any(
        "the reference has no image of chip 13: compared with its other chips" in text for text in report.warnings
    )
    for place in places[3:]:
        pq.write_table(empty.slice(0, 0), place / "candidates.parquet")
    with pytest.raises(InputError, match=r"none of its 9 images passed the gates and has a candidate .* \(rejected by"):
        read_sample(run)


def test_a_profile_stands_for_its_data_set(tmp_path, model):
    runner, target = CliRunner(), tmp_path / "p.json"
    made = runner.invoke(app, ["drift", "--against", str(model / "nights"), "--write-profile", str(target)])
    assert made.exit_code == 0, made.output
    base = ["drift", str(model / "nights"), "--set", "draws=100", "--columns", "snr"]
    one = runner.invoke(app, [*base, "--against", str(target), "--out", str(tmp_path / "one")])
    two = runner.invoke(app, [*base, "--against", str(model / "nights"), "--out", str(tmp_path / "two")])
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    first, second = (pq.read_table(tmp_path / name / "drift.parquet") for name in ("one", "two"))
    np.testing.assert_allclose(first["psi"].to_numpy(), second["psi"].to_numpy())
    scored = profile_of_model(model / "model", model / "nights")
    told = write_drift(read_sample(model / "nights"), scored, options=QUICK).warnings
    assert any("scores are not compared: nights has none; give a data set its own by --scores" in text for text in told)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--against", "{set}"], 2, "nothing to do: give DATA to compare, or --write-profile"),
        (["{set}", "--against", "{set}", "--rows", "stars"], 2, "--rows stars: one of artifacts, reals, all"),
        (["{set}", "--against", "{set}", "--columns", "sky"], 2, "--columns sky: "),
        (["{set}", "--against", "{set}", "--columns", "tile"], 2, "has texts in it, and numbers are compared"),
        (["{set}", "--against", "{run}", "--against-part", "train"], 2, "is a run: its candidates have scores"),
        (["{set}", "--against", "{set}/shards"], 1, "is neither a data set (manifest.json) nor the folder of a run"),
        (["{set}", "--against", "{model}"], 1, "keeps no profile of what it was made with"),
        (["{set}", "--against", "{profile}", "--against-part", "train"], 2, "is a profile already"),
        (["{set}", "--against", "{set}", "--set", "q=2"], 2, "q = "),
    ],
)
def test_what_is_wrong_is_said(tmp_path, model, rng, options, code, words):
    places = {"set": model / "nights", "model": model / "model", "profile": tmp_path / "p.json"}
    places["run"] = write_run(tmp_path / "run", images=3)
    write_profile(places["profile"], make_profile(drawn(rng, 30), rng=rng))
    done = CliRunner().invoke(app, ["drift", *(text.format(**places) for text in options)])
    assert done.exit_code == code, done.output
    assert words in " ".join(done.stderr.split())
