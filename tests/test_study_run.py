"""Runs of a study are kept as they finish, found again, and refused when they were made otherwise."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from gueststar.errors import ConfigError, InputError, OutputError, StageError
from gueststar.realbogus.evaluate import auc
from gueststar.report.evaluation_inputs import read_studies
from gueststar.study.files import run_path
from gueststar.study.paired import METRICS
from gueststar.study.run import run_study
from study_sets import CheapStudy, write_set

CHEAP = CheapStudy(seeds=(0, 1), boots=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "set")


def stamps_of(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}


def test_files_hold_what_was_run(folder, tmp_path):
    told = []
    result = run_study(CHEAP, folder, tmp_path, tell=lambda *words: told.append(words))
    assert not result.failures
    assert told[0][1:] == (0, 8.0)
    assert told[-2:] == [("6 of 6 runs", 8.0, 8.0), ("6 of 6 runs; intervals are drawn", 8.0, 8.0)]
    table = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [(row["arm"], row["seed"]) for row in table] == [(a, s) for s in (0, 1) for a in "abc"]
    names = ["study", "arm", "seed", "n_train", "steps", "seconds", "n_real", "n_bogus", "auc", "auc_err", *METRICS[1:]]
    assert list(table[0]) == names
    rows = pq.read_table(tmp_path / "test_rows.parquet").to_pydict()
    labels = np.array(rows["label"])
    scores = np.load(tmp_path / "runs" / "b-1.npy")
    assert table[4]["auc"] == pytest.approx(auc(labels == 1, scores))
    assert (table[4]["n_real"], table[4]["n_bogus"]) == ((labels == 1).sum(), (labels == 0).sum())
    chips = pq.read_table(tmp_path / "chips.parquet").to_pylist()
    assert {row["chip"] for row in chips} == set(rows["chip"]) == {"11", "12"}
    assert sum(row["n_real"] for row in chips) == 6 * (labels == 1).sum()
    facts = json.loads((tmp_path / "study.json").read_text())
    assert facts["study"] == "cheap"
    assert facts["conclusions"] == ["6 runs"]
    assert facts["arms"][1]["metrics"]["auc"]["value"] == pytest.approx((table[1]["auc"] + table[4]["auc"]) / 2)
    page = (tmp_path / "study.html").read_text()
    for text in ("Drawn scores", "6 runs", "Everything.", "data:image/png;base64,", "12", "fewer than ten"):
        assert text in page
    assert "| a | 7 | 3 |" in (tmp_path / "study.md").read_text()
    table = read_studies([tmp_path])[0]
    assert [arm.arm for arm in table.arms] == ["a", "b", "c"]
    assert table.conclusions == ("6 runs",)


def test_a_rerun_makes_what_is_missing_only_and_gives_the_same(folder, tmp_path):
    run_study(CHEAP, folder, tmp_path)
    before, figures = stamps_of(tmp_path), (tmp_path / "study.json").read_bytes()
    run_path(tmp_path, "b", 1).unlink()
    run_study(CHEAP, folder, tmp_path)
    after = stamps_of(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"b-1.json", "b-1.npy"}
    assert json.loads((tmp_path / "study.json").read_bytes())["comparisons"] == json.loads(figures)["comparisons"]
    more = run_study(CHEAP.model_copy(update={"seeds": (0, 1, 2), "boots": 30}), folder, tmp_path)
    assert more.results.seeds == (0, 1, 2)
    assert {name: stamps_of(tmp_path)[name] for name in after} == after
    assert run_study(CHEAP.model_copy(update={"only": ("a",)}), folder, tmp_path).results.arms == ("a",)


def test_processes_give_what_one_gives(folder, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        run_study(CHEAP, folder, tmp_path / name, workers=workers)
    for path in (tmp_path / "one" / "runs").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "two" / "runs" / path.name).read_bytes()
    first, second = ((tmp_path / name / "study.png").read_bytes() for name in ("one", "two"))
    assert first == second


def test_runs_of_other_options_or_data_are_refused_and_left_alone(folder, tmp_path):
    run_study(CHEAP, folder, tmp_path / "out")
    before = stamps_of(tmp_path / "out")
    other = CHEAP.model_copy(update={"noise": 2.0})
    with pytest.raises(
        OutputError, match=r"made otherwise: options\.noise was 1\.0 and is 2\.0; choose another folder"
    ):
        run_study(other, folder, tmp_path / "out")
    another = write_set(tmp_path / "set", seed=6)
    with pytest.raises(OutputError, match="made otherwise: data was .* and is .*; test was"):
        run_study(CHEAP, another, tmp_path / "out")
    assert stamps_of(tmp_path / "out") == before


def test_a_damaged_run_is_told(folder, tmp_path):
    run_study(CHEAP, folder, tmp_path)
    run_path(tmp_path, "a", 0).write_text("{")
    with pytest.raises(InputError, match=r"a-0\.json cannot be read: .*; remove it, and the run is made again"):
        run_study(CHEAP, folder, tmp_path)


def test_one_arm_that_fails_does_not_stop_the_others(folder, tmp_path):
    result = run_study(CHEAP.model_copy(update={"broken": "b"}), folder, tmp_path)
    assert [(item.arm, item.seed) for item in result.failures] == [("b", 0), ("b", 1)]
    assert result.results.arms == ("a", "c")
    assert "b, seed 0: nothing can be drawn for it" in (tmp_path / "study.md").read_text()


def test_a_study_without_a_run_is_an_error(folder, tmp_path):
    alone = CHEAP.model_copy(update={"broken": "b", "only": ("b",)})
    with pytest.raises(StageError, match="no arm of the study has a run .*: nothing can be drawn for it"):
        run_study(alone, folder, tmp_path)


def test_unknown_arms_and_senseless_seeds_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="arm 'x' is none of a, b, c"):
        run_study(CHEAP.model_copy(update={"only": ("x",)}), folder, tmp_path)
    with pytest.raises(ConfigError, match=r"seeds = \(1, 1\): .*seeds must be whole numbers from 0, each once"):
        CheapStudy.parse({"seeds": (1, 1)})


def test_a_folder_that_cannot_be_written_is_an_error(folder, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"test_rows\.parquet cannot be written"):
        run_study(CHEAP, folder, tmp_path / "out")
