"""`gueststar evaluate`: a small drawn set, scored and judged, from the command line and from Python."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import realbogus_stamps
from gueststar.cli.main import app
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.lineage import training_groups
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.package import score_dataset
from gueststar.realbogus.score import load_model
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.stored import open_dataset
from gueststar.report.evaluation import write_evaluation
from gueststar.report.evaluation_checks import check_sample, check_training, time_note
from gueststar.report.evaluation_inputs import read_efficiency, read_second_labels, read_studies
from gueststar.report.evaluation_models import Contender, distinct_names, read_scores
from gueststar.report.evaluation_page import count, number, percent, signed, span, upper_of
from gueststar.report.evaluation_results import EvaluateOptions, measure
from gueststar.report.evaluation_sample import choose_rows

FAST = EvaluateOptions(draws=50, false_negatives=5, figures=False)
N = 300


def write_set(folder, *, n=N, seed=1, **given):
    """A set of drawn candidates of 12 images on 4 chips; the last third is its test part."""
    rng = np.random.default_rng(seed)
    candidates, stamps, labels, kinds = realbogus_stamps.sample(n, rng)
    image = np.arange(n) * 12 // n
    names = np.array([f"image{i:02d}" for i in image])
    columns = {name: np.asarray(candidates[name]) for name in candidates.table.colnames}
    columns |= {
        "label": labels, "kind": kinds, "true_snr": np.abs(candidates["snr"]), "tile": names, "night": names,
        "reference": names, "chain": "default", "source": "drawn", "suspicion": "", "image": names,
        "split": np.where(image < 8, "train", "test"),
        "chip": np.array(["Q1-11", "Q1-12", "Q2-31", "Q4-44"])[image % 4],
        "true_kind": np.where(labels == 1, "supernova", ""), "mjd": 59000.0 + image,
        **dict(zip(SIGMA_COLUMNS, stamps.sigma.T, strict=True)),
    }  # fmt: skip
    columns |= given
    with ShardWriter(folder, rows_per_shard=128) as writer:
        writer.add(stamps.cube / stamps.sigma[:, :, None, None], columns)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "drawn")


@pytest.fixture
def chosen(data):
    return choose_rows(data, "all")


def contender(chosen, *, name="m", noise=0.15, **given):
    """Scores that are right mostly."""
    scores = np.clip(np.where(chosen.real, 0.85, 0.15) + np.random.default_rng(0).normal(0, noise, len(chosen)), 0, 1)
    values = {"threshold": 0.5, "threshold_meaning": "", "origin": "test", "training": {}, "facts": {}} | given
    return Contender(name, scores.astype(np.float32), **values)


def write_table(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_the_command_writes_page_tables_and_figures(data, tmp_path):
    out = tmp_path / "evaluation"
    command = ["evaluate", str(data.folder), "--out", str(out), "--set", "draws=50", "--per-night", "1000"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Of 1,000 artifacts a night" in result.stdout
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="data:image/png' in page
    assert "Q3-15" in page, "a chip without data is shown"
    for title in (
        "Operating points",
        "Signal to noise",
        "Chips",
        "Calibration",
        "False positives by file",
        "Missed reals",
    ):
        assert f"<h2>{title}" in page
    facts = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["data"]["part"] == "test"
    assert facts["data"]["n"] == 100
    points = pq.read_table(out / "tables" / "operating_points.parquet").to_pylist()
    assert [p["point"] for p in points] == [
        "card", "TPR 0.9", "TPR 0.977", "TPR 0.98", "FPR 0.01", "FPR 0.001", "FPR 0.0002",
    ]  # fmt: skip
    card = points[0]
    real = data.labels[data.split().test] == 1
    assert card["tp"] + card["fn"] == real.sum()
    scores = score_dataset(load_model("shipped"), data, data.split().test)
    assert card["fp"] == int((scores[~real] >= np.float32(card["threshold"])).sum())
    assert card["false_positives_per_night"] == pytest.approx(1000 * card["fp"] / (~real).sum())
    assert facts["models"][0]["points"][0]["tp"] == card["tp"]
    csv = pyarrow.csv.read_csv(out / "tables" / "chips.csv").to_pylist()
    assert {row["chip"] for row in csv} == {"Q1-11", "Q1-12", "Q2-31", "Q4-44"}
    assert (out / "figures" / "roc.png").read_bytes().startswith(b"\x89PNG")
    (out / "figures" / "stale.png").write_bytes(b"")
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "holds an evaluation already" in " ".join(again.output.split())
    assert CliRunner().invoke(app, [*command, "--overwrite", "--quiet", "--set", "figures=false"]).exit_code == 0
    assert not list((out / "figures").glob("*.png")), "nothing is left of the evaluation before"


def test_scores_that_are_written_give_the_same_evaluation(data, tmp_path):
    first = write_evaluation(data, tmp_path / "a", FAST)
    table = tmp_path / "a" / "tables" / "scores.parquet"
    again = write_evaluation(data, tmp_path / "b", FAST, scores=[table])
    assert again.results.models[0].at_threshold == first.results.models[0].at_threshold
    assert again.results.models[0].auc == first.results.models[0].auc
    assert again.results.models[0].name == first.results.models[0].name
    two = write_evaluation(data, tmp_path / "c", FAST, models=["shipped"], scores=[table])
    assert [item.difference for item in two.results.differences] == [0.0] * len(METRICS)
    assert all(item.better == "" for item in two.results.differences)
    assert "Models compared" in two.page.read_text(encoding="utf-8")
    drawn = two.results.drawn_threshold
    assert drawn[0] == drawn[1]
    kept = drawn[0]["tpr_at_threshold"]
    assert kept.value == pytest.approx(two.results.models[0].at_threshold.tpr.value)
    table = pq.read_table(tmp_path / "c" / "tables" / "intervals.parquet").to_pylist()
    assert {"tpr_at_threshold", "fpr_at_threshold", *METRICS} == {row["metric"] for row in table}
    assert "its card" in two.page.read_text(encoding="utf-8")
    assert (tmp_path / "c" / "tables" / "differences.csv").exists()


def test_tables_of_scores_are_matched_by_row_or_name(chosen, tmp_path):
    n = len(chosen.data)
    values = np.linspace(0, 1, n).astype(np.float32)
    mixed = np.random.default_rng(3).permutation(n)
    ids = np.asarray(chosen.data["candidate_id"])
    by_row = read_scores(chosen, write_table(tmp_path / "row.parquet", row=mixed, rb_score=values[mixed]))
    by_id = read_scores(chosen, write_table(tmp_path / "id.parquet", id=ids[mixed].tolist(), rb_score=values[mixed]))
    in_order = read_scores(chosen, write_table(tmp_path / "order.parquet", score=values))
    for found in (by_row, by_id, in_order):
        np.testing.assert_array_equal(found.scores, values[chosen.rows])
        assert np.isnan(found.threshold)
    pyarrow.csv.write_csv(pa.table({"id": ids.tolist(), "rb_score": values}), tmp_path / "s.csv")
    np.testing.assert_allclose(read_scores(chosen, tmp_path / "s.csv").scores, values[chosen.rows])
    holes = write_table(tmp_path / "holes.parquet", row=np.arange(n), rb_score=[None, *values[1:].tolist()])
    assert read_scores(chosen, holes).unscored == 1
    with pytest.raises(InputError, match="no column rb_score or score"):
        read_scores(chosen, write_table(tmp_path / "x.parquet", row=mixed))
    with pytest.raises(InputError, match=f"{n - 5} of {n} evaluated rows are not in it"):
        read_scores(chosen, write_table(tmp_path / "y.parquet", row=np.arange(5), rb_score=values[:5]))
    with pytest.raises(InputError, match="cannot be told apart"):
        read_scores(chosen, write_table(tmp_path / "z.parquet", rb_score=values[:7]))
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(InputError, match="no table of scores"):
        read_scores(chosen, tmp_path / "bad.parquet")


def test_a_model_is_refused_on_its_own_training(data, chosen):
    known = {"hash": data.content_hash()}
    with pytest.raises(ConfigError, match="is the set that m was trained on"):
        check_training(chosen, contender(chosen, training=known))
    train = choose_rows(data, "train")
    with pytest.raises(ConfigError, match="take --part test"):
        check_training(train, contender(train, training=known))
    test = choose_rows(data, "test")
    assert check_training(test, contender(test, training=known)) == []
    assert "all after it: a time-forward split" in time_note(test, contender(test, training=known))


def test_what_was_fitted_on_the_rows_is_told(data, chosen):
    whole, test = (choose_rows(data, part) for part in ("all", "test"))
    fitted = {"calibration": "half of the nights of the test part", "threshold": "validation part"}
    found = check_training(test, contender(test, training={"hash": data.content_hash()}, fitted=fitted))
    assert len(found) == 2
    assert "its calibration comes from rows that are here (half of the nights of the test part of this set)" in found[0]
    assert "what the threshold keeps is too good" in found[1]
    assert check_training(whole, contender(whole, training={"hash": "other"}, fitted=fitted)) == found


def test_groups_that_were_trained_on_are_told(data, chosen):
    groups = training_groups({"night": data["night"], "tile": data["tile"]}, np.arange(30), by=("night", "tile"))
    found = check_training(chosen, contender(chosen, training={"hash": "other", "groups": groups, "mjd": [1.0, 2.0]}))
    assert len(found) == 2
    assert "was trained or validated on 2 tile value(s) that are here" in found[0]
    later = contender(chosen, training={"hash": "other", "mjd": [58000.0, 58001.0]})
    assert "all after it" in time_note(chosen, later)
    assert "overlapping it" in time_note(chosen, contender(chosen, training={"mjd": [58000.0, 59003.0]}))
    assert "does not tell the times" in time_note(chosen, contender(chosen))


def test_a_small_or_strange_sample_is_warned_of(chosen, tmp_path):
    item = contender(chosen, threshold=0.99, threshold_meaning="98 % of the reals of the validation part")
    text = " ".join(check_sample(chosen, [item]))
    assert "do not resolve a false-positive rate of 2e-4" in text
    assert "12 groups by image" in text
    assert "somewhat too narrow" in text
    few = np.where(chosen.real, chosen.image, chosen.image % 5)
    text = " ".join(check_sample(replace(chosen, image=few), [item]))
    assert "5 groups by image with artifacts: intervals that draw whole groups are not to be trusted" in text
    assert "was to keep 98 % of the reals; here it keeps" in text
    assert "chains" not in text
    kind = np.where(np.arange(N) % 5 == 0, "asteroid", "noise")
    other = choose_rows(write_set(tmp_path / "set", chain="align=1", true_kind=kind, snr=np.full(N, np.nan)), "all")
    text = " ".join(check_sample(other, [contender(other)]))
    assert "100.0 % of the artifacts come from chains" in text
    assert "of the artifacts whose truth is known are real by it" in text
    assert f"{N} rows have no S/N" in text


def test_one_class_alone_is_evaluated_as_far_as_it_goes(tmp_path):
    data = write_set(tmp_path / "reals", label=np.ones(N, np.int8))
    report = write_evaluation(data, tmp_path / "out", FAST, part="all")
    assert any("holds reals only" in text for text in report.warnings)
    assert report.results.models[0].curve is None
    assert "keeps" in report.headline
    assert "No artifact passes" not in report.page.read_text(encoding="utf-8")
    bogus = write_set(tmp_path / "bogus", label=np.zeros(N, np.int8))
    report = write_evaluation(bogus, tmp_path / "other", FAST, part="all")
    assert "artifacts a night pass" in report.headline


def test_second_labels_and_truth(data, chosen, tmp_path):
    kind = np.array(data["true_kind"])
    kind[np.flatnonzero(data.labels == 0)[:7]] = "asteroid"
    other = write_set(tmp_path / "set", true_kind=kind, old=np.where(data.labels < 0, -1, 1 - data.labels))
    second = read_second_labels(other, "true_kind")
    assert (second == -1).sum() == 7
    assert ((second == 1) == (data.labels == 1)).all()
    report = write_evaluation(
        other, tmp_path / "out", FAST.model_copy(update={"labels_column": "true_kind"}), part="all"
    )
    (found,) = report.results.label_sets
    assert found.changes == {"0 to -1": 7}
    assert "Old and new labels" in report.page.read_text(encoding="utf-8")
    swapped = write_evaluation(other, tmp_path / "swap", FAST.model_copy(update={"labels_column": "old"}), part="all")
    assert swapped.results.label_sets[0].second.auc == pytest.approx(1 - swapped.results.label_sets[0].first.auc)
    with pytest.raises(ConfigError, match="--labels-column nothing: the set has"):
        read_second_labels(data, "nothing")
    with pytest.raises(ConfigError, match="labels are 1 real, 0 artifact, -1 neither"):
        read_second_labels(data, "x_err" if (data["x_err"] > 1).any() else "kind")


def test_studies_are_read_leniently(data, tmp_path):
    size, arms = tmp_path / "studies" / "size", tmp_path / "studies" / "arms"
    size.mkdir(parents=True)
    arms.mkdir()
    (size / "study.json").write_text('{"title": "How many rows", "conclusions": ["More helps."]}')
    write_table(
        size / "results.parquet", arm=["a", "b", "c"], seed=[0, 0, 0], n_train=[100, 200, 400], auc=[0.9, 0.95, 0.97],
        **{"fpr_at_tpr_0.98": [0.1, 0.05, 0.03]},
    )  # fmt: skip
    write_table(size / "chips.parquet", arm=["a"], chip=["Q1-11"], auc=[0.5])
    (arms / "study.json").write_text("{}")
    write_table(arms / "runs.parquet", arm=["x", "x", "y"], auc=[0.9, 0.92, 0.8])
    found = {study.name: study for study in read_studies([tmp_path / "studies"])}
    assert found["size"].by_size
    assert [arm.seeds for arm in found["arms"].arms] == [2, 1]
    report = write_evaluation(data, tmp_path / "out", FAST.model_copy(update={"figures": True}), studies=[size, arms])
    page = report.page.read_text(encoding="utf-8")
    assert "How many rows" in page
    assert "More helps." in page
    assert (tmp_path / "out" / "figures" / "study_1.png").exists()
    assert len(pq.read_table(tmp_path / "out" / "tables" / "studies.parquet")) == 5
    with pytest.raises(InputError, match="holds no study"):
        read_studies([tmp_path])
    (arms / "runs.parquet").unlink()
    with pytest.raises(InputError, match="no Parquet table with a column 'arm'"):
        read_studies([arms])
    (arms / "study.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_studies([arms])


def test_the_completeness_of_the_chain_is_shown(data, tmp_path):
    limits = [
        {"origin": "artificial", "class": "all", "axis": "snr", "series": series, "level": level, "value": value,
         "low": 5.0, "high": 9.0, "n": 40}
        for series, values in (("detected", (5.5, 7.25)), ("real", (6.0, None)))
        for level, value in zip((0.5, 0.9), values, strict=True)
    ]  # fmt: skip
    losses = [{"origin": "artificial", "class": "galaxy", "n": 40, "real": 30, "detection": 10}]
    file = tmp_path / "efficiency.json"
    file.write_text(json.dumps({"run": "night7", "losses": losses, "limits": limits, "frames_searched": 9}))
    chain = read_efficiency(tmp_path)
    assert (chain.run, chain.frames_searched, chain.charts) == ("night7", 9, ())
    page = write_evaluation(data, tmp_path / "out", FAST, efficiency=file).page.read_text(encoding="utf-8")
    assert "The whole chain" in page
    assert "7.25" in page
    assert "not reached" in page
    snr = np.linspace(3.0, 30.0, 60)
    write_table(
        tmp_path / "efficiency.parquet", occupied=np.zeros(60, bool), snr=snr, mag=25.0 - np.log(snr), found=snr > 6,
        real=snr > 7, image=["one"] * 60,
    )  # fmt: skip
    charts = read_efficiency(file).charts
    assert len(charts) == 2
    assert "S/N in the science image" in charts[0]
    (tmp_path / "efficiency.parquet").write_text("no table")
    with pytest.raises(InputError, match="efficiency.parquet is not a readable Parquet file"):
        read_efficiency(file)
    file.write_text("[]")
    with pytest.raises(InputError, match="no facts by name"):
        read_efficiency(file)
    file.write_text("{}")
    with pytest.raises(InputError, match="no losses and limits"):
        read_efficiency(file)


def test_parts_and_options_that_do_not_fit_are_refused(data, chosen, tmp_path):
    with pytest.raises(ConfigError, match="part 'tests': one of train, validation, test, all"):
        choose_rows(data, "tests")
    with pytest.raises(InputError, match="give another one with --part, or --part all"):
        choose_rows(data, "validation")
    with pytest.raises(ConfigError, match="group_by 'field': the set has"):
        choose_rows(data, "all", group_by="field")
    with pytest.raises(ConfigError, match="no model and no table of scores"):
        measure(chosen, [])
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(OutputError, match="holds an evaluation already"):
        write_evaluation(data, tmp_path)
    unknown = choose_rows(write_set(tmp_path / "bogus", label=np.zeros(N, np.int8)), "all")
    with pytest.raises(ConfigError, match="has no threshold and the sample no reals"):
        measure(unknown, [contender(unknown, threshold=np.nan)])


def test_without_a_threshold_the_completeness_gives_one(chosen):
    model = measure(chosen, [contender(chosen, threshold=np.nan)], FAST).models[0]
    assert model.at_threshold.tpr.value >= 0.98
    assert "none was given" in model.threshold_words
    given = measure(chosen, [contender(chosen)], FAST.model_copy(update={"threshold": 0.7})).models[0]
    assert given.threshold == pytest.approx(0.7)


def test_rows_without_an_image_are_groups_of_their_own(tmp_path):
    names = np.array(["one"] * 100 + [""] * 200)
    chosen = choose_rows(write_set(tmp_path / "set", image=names), "all")
    assert len(np.unique(chosen.image)) == 201
    assert len(chosen.image_names) > chosen.image.max()


def test_models_of_one_name_are_told_apart(chosen):
    same = [contender(chosen, origin="a/one"), contender(chosen, origin="b/two"), contender(chosen, origin="c/two")]
    assert [item.name for item in distinct_names(same)] == ["m (one)", "m (two)", "m (two) #3"]


def test_numbers_are_written_with_the_digits_they_deserve():
    from gueststar.realbogus.evaluate import rate

    assert [percent(x) for x in (0.0, 0.5, 0.02104, 0.00402, 0.000234, float("nan"))] == [
        "0 %", "50.00 %", "2.10 %", "0.402 %", "0.0234 %", "–",
    ]  # fmt: skip
    assert upper_of(rate(0, 1000)) == "< 0.368 %"
    assert span(rate(10, 1000)) == "0.481 – 1.83 %"
    assert span(rate(10, 1000), miss=True) == "98.17 – 99.52 %"
    assert (number(None), number(1.23456, 2), signed(0.5, 1), count(12345.4)) == ("–", "1.23", "+0.5", "12,345")
