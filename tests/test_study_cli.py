"""`gueststar study`: every command runs on a small set, and says what is wrong with what it was given."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from study_sets import write_set

TINY = [
    "--seeds",
    "0",
    "--boots",
    "20",
    "--epochs",
    "1",
    "--set",
    "train.stamp_size=15",
    "--set",
    "train.batch_size=64",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "set", n=200, size=31, pairs=20)


@pytest.mark.parametrize(
    ("study", "options", "words"),
    [
        ("size", ["--fractions", "1/2,1", "--equal", "epochs"], "With 100 rows: AUC"),
        ("channels", ["--sizes", "21", "--arms", "triplet,21 px"], "21 px: "),
        ("contamination", ["--share", "0.2", "--set", 'methods=["naive"]'], "With 20 % of reals among the artifacts"),
        ("baselines", ["--networks", "seed"], "gueststar leaves "),
        ("chips", ["--fewest", "3", "--arms", "all,film", "--left-out", "0"], "Winner: "),
    ],
)
def test_every_study_runs_and_prints_what_it_found(folder, tmp_path, study, options, words):
    out = tmp_path / study
    done = CliRunner().invoke(app, ["study", study, str(folder), "--out", str(out), *TINY, *options])
    assert done.exit_code == 0, done.output
    assert words in done.stdout
    facts = json.loads((out / "study.json").read_text())
    assert facts["study"] == study
    assert facts["options"]["seeds"] == [0]
    assert (out / "study.png").stat().st_size > 5000
    again = CliRunner().invoke(app, ["study", study, str(folder), "--out", str(out), *TINY, *options, "--quiet"])
    assert (again.exit_code, again.stdout) == (0, "")


@pytest.mark.parametrize(
    ("command", "options", "code", "words"),
    [
        ("size", ["--fractions", "1/0"], 2, "--fractions '1/0': shares such as 0.25 or 1/4"),
        ("size", ["--seeds", "a"], 2, "--seeds 'a': whole numbers with commas are needed"),
        ("size", ["--equal", "rows"], 2, "equal = 'rows'"),
        ("channels", ["--sizes", "20"], 2, "stamp widths must be odd"),
        ("channels", ["--arms", "sky"], 2, "arm 'sky' is none of difference only, science + difference"),
        ("contamination", ["--old-labels", "older"], 1, "the data set has no column 'older'"),
        ("baselines", ["--networks", "net"], 2, "networks.0 = 'net'"),
        ("chips", ["--fewest", "500"], 1, "at least two are needed"),
        ("size", ["--exclude", "ugly"], 2, "reason 'ugly' is unknown"),
    ],
)
def test_what_is_wrong_is_said(folder, tmp_path, command, options, code, words):
    out = ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["study", command, str(folder), *out, *options])
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())
