"""Old labels against new ones: planted wrong labels, a version that cleans them, and what each figure says."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.label_versions import Decisions, decide_labels
from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.stored import open_dataset
from gueststar.study.contamination import ContaminationStudy
from gueststar.study.labellings import changes_of
from gueststar.study.old_new import draw_old_new, old_and_new
from gueststar.study.run import run_study
from study_sets import write_set
from test_study_findings import results_of


def decided(folder, rows, labels, version, base=""):
    """Keep a version of the labels."""
    texts = ("",) * len(rows)
    given = tuple(map(int, rows)), tuple(map(int, labels)), texts, texts
    return decide_labels(folder, Decisions(folder, *given, "", base), version, base=base)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A set whose labels are right, a version `dirty` that calls the faint reals artifacts, and `cleaned` that ends it.

    Reals planted at random would only dilute the artifacts: a network still ranks these stamps rightly.
    """
    folder = write_set(tmp_path_factory.mktemp("sets") / "set", n=400, size=21, pairs=40)
    data = open_dataset(folder)
    real = data.labels == 1
    rows = np.flatnonzero(real & (data["snr"] < np.median(data["snr"][real])))
    decided(folder, rows, np.zeros(rows.size), "dirty")
    decided(folder, rows, np.ones(rows.size), "cleaned", base="dirty")
    return folder, rows


def test_a_cleaned_version_gives_a_better_model_and_apart_a_better_test_set(truth, tmp_path):
    folder, rows = truth
    study = ContaminationStudy(
        old_version="dirty", new_version="cleaned", seeds=(0, 1), boots=100,
        train={"epochs": 4, "batch_size": 32, "stamp_size": 15},
    )  # fmt: skip
    found = run_study(study, folder, tmp_path / "study").findings
    steps = {(item.metric, item.part): item.interval for item in found.comparisons}
    better = steps["auc", "training made new, tested on new labels"]
    cleaner = steps["auc", "test labels made new, trained on old labels"]
    both = steps["auc", "both made new"]
    assert better.low > 0
    # The model that learnt the wrong labels is believed where the test repeats them; the other one is not.
    apart = steps["auc", "test labels made new, trained on new labels"]
    assert apart.low > 0
    assert apart.low > cleaner.value
    assert both.value == pytest.approx(better.value + cleaner.value)
    assert found.sentences[1].count("better model") == 1
    for label in ("old", "new"):
        assert found.sentences[0].count(f"trained on {label}") == found.sentences[0].count(f"tested on {label}") == 2
    dirty, test = open_dataset(folder, labels="dirty"), open_dataset(folder).split().test
    c = np.isin(test, rows).sum() / (dirty.labels[test] == 0).sum()
    assert found.facts["contamination_of_old_test_labels"] == pytest.approx(c)
    table = found.tables[-1]
    assert table.title == "Labels that were changed"
    assert [row[0] for row in table.rows] == ["train", "validation", "test"]
    assert sum(int(row[table.header.index("artifact to real")]) for row in table.rows) == rows.size
    page = (tmp_path / "study" / "study.html").read_text()
    assert page.index("<h2>Old and new labels</h2>") < page.index("<h2>Every arm</h2>")
    facts = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [arm["arm"] for arm in facts["arms"]] == ["old labels", "new labels"]
    assert pq.read_table(tmp_path / "study" / "results.parquet").num_rows == 4


def test_the_formula_holds_for_wrong_labels_of_both_classes():
    n, c, e = 40000, 0.1, 0.06
    rng = np.random.default_rng(3)
    other = (rng.random(n) < 0.5).astype(np.int8)
    labels = np.where(rng.random(n) < np.where(other == 0, c, e), 1 - other, other).astype(np.int8)
    results = results_of({"old": 1.5, "new": 1.5}, n=n, labels=labels, other=other)
    table = old_and_new(results, "old", "new").tables[0]
    for row in table.rows:
        assert float(row[1].split()[0]) == pytest.approx(float(row[3]), abs=4e-3)
    assert "e = " in table.note
    assert table.header[-1] == "old, by c and e"


def test_what_training_alone_did_is_zero_for_equal_models_and_the_ways_add_up():
    labels = (np.arange(4000) % 2).astype(np.int8)
    other = labels.copy()
    other[1:800:2] = 0
    other[1001:1101] = -1
    results = results_of({"old": 2.0, "new": 2.0}, labels=labels, other=other)
    found = old_and_new(results, "old", "new")
    by_part = {(item.metric, item.part): item.interval.value for item in found.comparisons}
    for metric in ("auc", "fnr_at_fpr_0.01", "fpr_at_tpr_0.98"):
        training = [v for (m, part), v in by_part.items() if m == metric and part.startswith("training")]
        assert training == [0, 0]
    assert "100 rows with a label in one of the two only are not in the formula" in found.tables[0].note
    assert len(draw_old_new(results, "old", "new").axes) == 3
    assert "both needed" in old_and_new(results, "old", "other").sentences[0]


def test_changes_are_counted():
    found = changes_of(np.array([0, 0, 1, -1, 1], np.int8), np.array([1, 0, -1, 0, 1], np.int8))
    assert found.pop("kept") == 2
    assert {name: count for name, count in found.items() if count} == {
        "artifact to real": 1, "real to neither": 1, "neither to artifact": 1,
    }  # fmt: skip


def test_versions_of_another_test_set_are_named_apart(truth, tmp_path):
    folder, _ = truth
    other = write_set(tmp_path / "other", n=200, size=21, pairs=20, seed=9, all_train=True)
    study = ContaminationStudy(new_version="dirty")
    with pytest.raises(ConfigError, match="other has no labels 'dirty'; it has those of the set alone"):
        study.open(folder, test=other)
    first = open_dataset(other).labels
    rows = np.flatnonzero(first == 1)[:5]
    decided(other, rows, np.full(5, -1), "checked")
    material = study.model_copy(update={"test_new_version": "checked"}).open(folder, test=other)
    np.testing.assert_array_equal(material.old_test_labels, first)
    assert (material.labels[rows] == -1).all()
    assert (material.old_labels != material.dataset.labels).any()
    assert len(material.old_hash()) == 32
    decided(other, np.flatnonzero(first == 1), np.zeros((first == 1).sum()), "none")
    with pytest.raises(InputError, match=r"0 reals and 200 artifacts to test on; both are needed"):
        study.model_copy(update={"test_new_version": "none"}).open(folder, test=other)
    with pytest.raises(InputError, match=r"to test on by the old labels; both are needed"):
        study.model_copy(update={"test_new_version": "", "test_old_version": "none"}).open(folder, test=other)


def test_the_command_compares_versions(truth, tmp_path):
    folder, _ = truth
    base = ["study", "contamination", str(folder), "--out", str(tmp_path / "out")]
    tiny = ["--seeds", "0", "--boots", "20", "--epochs", "1", "--set", "train.stamp_size=15"]
    done = CliRunner().invoke(app, [*base, *tiny, "--old", "dirty"])
    assert done.exit_code == 0, done.output
    assert "From old labels (training and test) to new ones the AUC changes by" in done.stdout
    arms = json.loads((tmp_path / "out" / "study.json").read_text())["arms"]
    assert arms[0]["words"] == "trained on version dirty of the labels"
    assert arms[1]["words"] == "trained on the labels of the set"
    again = CliRunner().invoke(app, [*base, *tiny, "--old", "dirty", "--new", "cleaned"])
    assert again.exit_code == 1
    assert "holds runs that were made otherwise" in " ".join(again.stderr.split())
    wrong = CliRunner().invoke(app, [*base, *tiny, "--new", "best"])
    assert wrong.exit_code == 2
    assert "has no labels 'best'" in " ".join(wrong.stderr.split())
