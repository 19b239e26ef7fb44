"""Likely wrong labels: ranked with reasons, decided about, and kept as versions beside the set."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit
from typer.testing import CliRunner

import realbogus_stamps
from gueststar.cli.main import app
from gueststar.datasets.label_versions import decide_labels, list_label_versions, read_decisions
from gueststar.datasets.suspects import SUSPECT_COLUMNS, FindSuspects, find_suspects, read_suspects, write_suspects
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.realbogus.label_cleaning.confident import confident_labels
from gueststar.realbogus.label_cleaning.folds import out_of_fold_logits
from gueststar.realbogus.label_cleaning.physics import PHYSICS_WORDS, PhysicsWeights, physics_evidence
from gueststar.realbogus.label_cleaning.quality import share_found, share_found_of_images
from gueststar.realbogus.label_cleaning.ranking import SuspectRules, rank_suspects
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.train import Train
from gueststar.report.evaluation_checks import check_training
from gueststar.report.evaluation_inputs import read_second_labels
from gueststar.report.evaluation_models import Contender
from gueststar.report.evaluation_sample import choose_rows
from gueststar.report.labels_page import labels_page

N, WRONG = 120, (3, 20, 41, 77, 100)
QUIET = ("--quiet",)


def write_set(folder, **given):
    """Candidates of 12 images in 3 shards; some reals are called artifacts, and scores that know the truth."""
    rng = np.random.default_rng(3)
    candidates, stamps, _, _ = realbogus_stamps.sample(N, rng, size=21)
    truth = np.arange(N) % 2 == 0
    truth[list(WRONG)] = True
    labels = truth.astype(np.int8)
    labels[list(WRONG)] = 0
    names = np.array([f"image{i:02d}" for i in np.arange(N) * 12 // N])
    columns = {name: np.asarray(candidates[name]) for name in candidates.table.colnames}
    columns |= {
        "label": labels, "kind": np.where(labels == 1, "injected", "artifact"), "true_snr": np.nan, "tile": names,
        "night": names, "reference": names, "chain": "default", "source": "drawn", "suspicion": "", "image": names,
        "split": np.where(np.arange(N) < 80, "train", "test"), "chip": "Q1-11", "true_kind": "",
        **dict(zip(SIGMA_COLUMNS, stamps.sigma.T, strict=True)),
    }  # fmt: skip
    with ShardWriter(folder, rows_per_shard=40) as writer:
        writer.add(stamps.cube / stamps.sigma[:, :, None, None], columns | given)
    scores = expit(np.where(truth, 3.0, -3.0) + rng.normal(0, 0.5, N))
    pq.write_table(pa.table({"row": np.arange(N), "rb_score": scores}), folder / "scores.parquet")
    return open_dataset(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("labels") / "drawn")


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "drawn")


@pytest.fixture(scope="module")
def found(shared):
    return find_suspects(shared, scores=[shared.folder / "scores.parquet"])


def run(*arguments):
    return CliRunner().invoke(app, [str(item) for item in arguments], env={"COLUMNS": "300"})


def decisions_file(folder, items, name="decisions.json", **facts):
    path = folder / name
    path.write_text(json.dumps({"format": "gueststar-label-decisions", **facts, "decisions": items}))
    return path


# Confident learning


def test_confident_learning_counts_by_the_thresholds_of_the_classes():
    chance = np.array([0.9, 0.8, 0.7, 0.05, 0.1, 0.1, 0.2, 0.9])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    made = confident_labels(labels, logit(chance))
    # Rows 3 and 7 contradict their labels, and have no part in the thresholds.
    t0, t1 = (0.9 + 0.9 + 0.8) / 3, (0.9 + 0.8 + 0.7) / 3
    assert np.allclose(made.thresholds, (t0, t1))
    assert made.joint.tolist() == [[2, 1], [1, 2]]
    assert np.allclose(made.wrong, 1 / 3)
    assert np.array_equal(made.contradiction >= 0, [False, False, False, True, False, False, False, True])
    assert np.allclose(made.self_confidence, np.where(labels == 1, chance, 1 - chance))


def test_confident_learning_is_not_misled_by_scores_that_are_too_high():
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.5
    labels = truth.astype(int)
    wrong = rng.choice(np.flatnonzero(truth), 200, replace=False)
    labels[wrong] = 0
    share = 200 / (labels == 0).sum()
    for shift in (0.0, 2.0):
        made = confident_labels(labels, np.where(truth, 4.0, -4.0) + rng.normal(0, 1, 4000) + shift)
        assert abs(made.wrong[0] - share) < 0.02
        assert made.wrong[1] < 0.01


@pytest.mark.parametrize(
    ("labels", "logits", "match"),
    [
        ([0, 1], [0.0], r"\(n,\) alike"),
        ([0, 2], [0.0, 1.0], "label 2"),
        ([0, 0], [0.0, 1.0], "0 reals and 2 artifacts"),
        ([0, 1], [0.0, np.nan], "0 reals and 1 artifacts"),
    ],
)
def test_confident_learning_refuses_what_it_cannot_judge(labels, logits, match):
    with pytest.raises(InputError, match=match):
        confident_labels(np.array(labels), np.array(logits))


# Physics


def test_physics_speaks_for_and_against_labels():
    columns = {
        "snr": np.array([20.0, 20, -20, 20, 20]), "fwhm": np.array([3.0, 3, 3, 3, 6]), "psf_fwhm": np.full(5, 3.0),
        "dipole_ratio": np.array([0, 0, 0, 0.8, 0.0]), "dipole_dchi2": np.array([0, 0, 0, 90, 0.0]),
    }  # fmt: skip
    suspicion = np.array(["", "repeated,known_asteroid", "", "flagged", "known_variable"])
    labels = np.array([0, 0, 0, 0, 1])
    before = {name: values.copy() for name, values in columns.items()}
    made = physics_evidence(labels, columns, suspicion)
    assert made.reasons.tolist() == ["point_like", "known_asteroid,repeated,point_like", "", "", "artifact_like"]
    assert made.weight.tolist() == [1.0, 6.0, 0.0, -1.0, 1.0]
    assert made.known.tolist() == [False, True, False, False, False]
    assert all(np.array_equal(before[name], columns[name]) for name in columns)
    none = physics_evidence(labels, {})
    assert not none.weight.any()
    assert set(PHYSICS_WORDS) == set(PhysicsWeights.model_fields)


# Ranking


def test_wrong_labels_come_first_and_artificial_reals_are_not_doubted(found, shared):
    table = found.table
    assert table.column_names == list(SUSPECT_COLUMNS)
    assert set(table["row"].to_pylist()[: len(WRONG)]) == set(WRONG)
    assert table["suspect"].to_pylist().count(True) == len(WRONG)
    assert table["proposed_label"].to_pylist() == [1] * 5 + [0] * (len(table) - 5)
    assert set(table["label"].to_pylist()) == {0}
    assert found.facts["trusted"] == int((shared.labels == 1).sum())
    assert "labelled artifact, but networks that have not seen it score it 0.9" in table["reasons"][0].as_py()
    made = share_found(np.array(table["row"]), np.array(WRONG))
    assert (made.looked, made.found.value) == (8, 1.0)


def test_catalogues_outweigh_networks_and_propose_to_leave_out():
    labels, logits = np.array([0, 0, 0, 1, 1, -1]), np.array([-1.0, -3, np.nan, 3, -3, 0])
    suspicion = np.array(["known_transient", "", "", "", "", ""])
    made = rank_suspects(labels, logits, suspicion=suspicion)
    assert 5 not in made.rows
    at = {row: i for i, row in enumerate(made.rows.tolist())}
    assert made.suspect[at[0]]
    assert made.proposed[at[0]] == -1
    assert at[4] < at[3]  # a real that the networks contradict
    assert made.proposed[at[4]] == 0
    assert np.isnan(made.score[at[2]])
    assert made.words()[at[2]] == "not judged by a network"
    trusting = rank_suspects(
        labels, logits, SuspectRules(trusted_kinds=("injected",)), kinds=np.array(["injected"] * 6), suspicion=suspicion
    )
    assert set(trusting.rows) == {0, 1, 2}
    with pytest.raises(InputError, match="alike"):
        rank_suspects(labels, logits[:3])


def test_share_found_refuses_nonsense():
    assert share_found(np.array([5, 1, 2]), np.array([1, 9]), budget=1.0).found.value == 0.5
    with pytest.raises(InputError, match="plant some"):
        share_found(np.array([1]), np.array([], int))
    with pytest.raises(InputError, match="twice"):
        share_found(np.array([1, 1]), np.array([1]))
    with pytest.raises(InputError, match="budget"):
        share_found(np.array([1]), np.array([1]), budget=0)


def test_the_share_found_is_drawn_by_images(rng):
    ranked, wrong, image = rng.permutation(400), np.arange(0, 60), np.arange(400) % 20
    once = np.ones((1, 20), int)
    for budget in (0.5, 1.5, 30.0):
        expected = share_found(ranked, wrong, budget=budget).found.value
        assert share_found_of_images(ranked, wrong, image, once, budget=budget)[0] == pytest.approx(expected)
    # A draw is the sample with the rows of its images repeated, copies side by side.
    times = rng.multinomial(20, np.full(20, 0.05), size=30)
    found = share_found_of_images(ranked, wrong, image, times)
    for share, drawn in zip(found, times, strict=True):
        copies = np.repeat(ranked, drawn[image[ranked]])
        total = drawn[image[wrong]].sum()
        assert share == pytest.approx(np.isin(copies[: round(1.5 * total)], wrong).sum() / total)
    alone = share_found_of_images(ranked, np.array([3]), image, np.eye(20, dtype=int))
    assert np.isnan(alone).sum() == 19  # draws without a wrong label
    with pytest.raises(InputError, match=r"draws \(1, 19\) do not cover 20 images"):
        share_found_of_images(ranked, wrong, image, once[:, :19])
    with pytest.raises(InputError, match="plant some"):
        share_found_of_images(ranked, wrong[:0], image, once)


def test_networks_judge_images_that_they_have_not_seen(monkeypatch, shared):
    from gueststar.realbogus.label_cleaning import folds

    seen = []

    class Trained:
        network = None

    def train(dataset, split, *_, **__):
        dataset.check_split(split)
        seen.append(split)
        return Trained()

    def predict(_, dataset, rows):
        mine = np.concatenate([seen[-1].train, seen[-1].validation])
        images = dataset["image"]
        assert not set(images[rows]) & set(images[mine])
        return np.full(rows.size, float(len(seen)))

    monkeypatch.setattr(folds, "train_robust", train)
    monkeypatch.setattr(folds, "predict", predict)
    logits = out_of_fold_logits(shared, Train(epochs=1), folds=4)
    assert sorted(set(logits)) == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match="folds = 2"):
        out_of_fold_logits(shared, folds=2)
    with pytest.raises(InputError, match=r"12 group\(s\)"):
        out_of_fold_logits(shared, folds=13)


def test_real_folds_give_a_logit_to_every_row(shared):
    options = FindSuspects(folds=3, train=Train(epochs=1, stamp_size=15, batch_size=64))
    made = find_suspects(shared, options)
    assert np.isfinite(made.table["oof_score"].to_numpy()).all()
    assert made.facts["judged_by"] == ["3 networks, each trained without the images that it judges"]


def test_tables_are_read_as_they_were_written(found, tmp_path):
    path = tmp_path / "suspects.parquet"
    write_suspects(path, found.table)
    table, facts = read_suspects(path)
    assert table.equals(found.table)
    assert facts == found.facts
    write_suspects(tmp_path / "suspects.csv", found.table)
    with pytest.raises(OutputError, match="--overwrite"):
        write_suspects(path, found.table)
    with pytest.raises(ConfigError, match=r"\.parquet or \.csv"):
        write_suspects(tmp_path / "suspects.txt", found.table)
    with pytest.raises(InputError, match="no table of suspects as Parquet"):
        read_suspects(tmp_path / "suspects.csv")
    pq.write_table(pa.table({"row": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="it lacks"):
        read_suspects(tmp_path / "other.parquet")


def test_a_model_that_was_trained_on_the_set_is_refused_with_other_labels_too(data):
    decide_labels(data.folder, decisions_file(data.folder, [{"row": 3, "label": 1}]), "v1")
    newer = open_dataset(data.folder, labels="v1")
    scores = np.zeros(N, np.float32)
    on_set = Contender("m", scores, 0.5, "", "m", {"hash": data.content_hash()}, {})
    on_version = Contender("m", scores, 0.5, "", "m", {"hash": newer.content_hash(), **newer.facts}, {})
    for model in (on_set, on_version):
        for rows in (data, newer):
            with pytest.raises(ConfigError, match="was trained on"):
                check_training(choose_rows(rows, "all"), model)


# The page


def test_the_page_stands_alone(found, shared):
    page = labels_page(shared, found.table, found.facts, most=8)
    assert page.count("<figure") == 8
    assert page.count("data:image/") == 8
    assert 'src="http' not in page
    assert f'id="row{found.table["row"][0]}"' in page
    assert shared.content_hash() in page
    with pytest.raises(InputError, match="another set"):
        labels_page(shared, found.table, {**found.facts, "data_hash": "0"})
    with pytest.raises(InputError, match="row 999 of the suspects"):
        labels_page(shared, found.table.set_column(1, "row", pa.array([999] * len(found.table))), found.facts, most=1)


# Versions


def test_a_version_changes_labels_and_hash_and_nothing_else(data):
    items = [{"row": 3, "label": 1, "reason": "a star"}, {"row": 20, "label": "neither"}, {"row": 5, "label": "keep"}]
    path = decisions_file(data.folder, items, data_hash=data.content_hash())
    made = decide_labels(data.folder, path, "v1", by="Ada", note="first look")
    assert made.facts.changes == {"0 to 1": 1, "0 to -1": 1}
    assert made.facts.decisions == 3
    new = open_dataset(data.folder, labels="v1")
    assert {3: 1, 20: -1}.items() <= dict(enumerate(new.labels.tolist())).items()
    assert np.flatnonzero(new.labels != data.labels).tolist() == [3, 20]
    assert np.array_equal(new["label"], new.labels)
    assert np.array_equal(new.select(np.arange(2, 10))["label"], new.labels[2:10])
    assert new.content_hash() != data.content_hash()
    assert new.facts["labels"] == {"version": "v1", "data_hash": data.content_hash()}
    assert open_dataset(data.folder).content_hash() == data.content_hash()
    assert next(new.batches(np.array([3]))).labels.tolist() == [1]
    (listed,) = list_label_versions(data.folder)
    assert listed.rows.tolist() == [3, 5, 20]
    assert listed.old.tolist() == [0, data.labels[5], 0]
    assert listed.reasons[0] == "a star"
    assert listed.by == ("Ada",) * 3
    assert np.array_equal(read_second_labels(data, "", version="v1"), new.labels)
    with pytest.raises(ConfigError, match="one second set"):
        read_second_labels(data, "label", version="v1")


def test_rows_keep_their_numbers_when_others_are_left_out(tmp_path):
    data = write_set(tmp_path / "set", suspicion=np.where(np.arange(N) < 50, "flagged", ""))
    decide_labels(data.folder, decisions_file(tmp_path, [{"row": 77, "label": 1}, {"row": 3, "label": 1}]), "v1")
    (data.folder / "shards" / f"{data.manifest.shards[1].name}.stamps.npy").unlink()
    new = open_dataset(data.folder, labels="v1", exclude=["flagged"])
    assert new.numbers().tolist() == list(range(80, N))
    assert np.array_equal(new.labels, data.labels[80:])
    with pytest.raises(InputError, match="row 77 .*damaged shards"):
        decide_labels(data.folder, decisions_file(tmp_path, [{"row": 77, "label": 1}]), "v2")


def test_a_version_goes_on_from_another(data):
    first = decisions_file(data.folder, [{"row": 3, "label": 1}, {"row": 20, "label": 1}])
    decide_labels(data.folder, first, "v1", by="Ada")
    second = decisions_file(data.folder, [{"row": 20, "label": -1}], "more.json", labels="v1")
    with pytest.raises(InputError, match="give --base v1"):
        decide_labels(data.folder, second, "v2")
    made = decide_labels(data.folder, second, "v2", base="v1", by="Ben")
    assert made.rows.tolist() == [3, 20]
    assert made.new.tolist() == [1, -1]
    assert made.old.tolist() == [0, 1]
    assert made.by == ("Ada", "Ben")
    assert open_dataset(data.folder, labels="v1").labels[20] == 1


def test_what_is_no_decision_is_refused(data, tmp_path):
    folder = data.folder
    good = decisions_file(tmp_path, [{"row": 3, "label": 1}])
    decide_labels(folder, good, "v1")
    with pytest.raises(OutputError, match="never replaced"):
        decide_labels(folder, good, "v1")
    with pytest.raises(ConfigError, match=r"version '\.\./v'"):
        decide_labels(folder, good, "../v")
    with pytest.raises(ConfigError, match="it has v1"):
        decide_labels(folder, good, "v2", base="v0")
    for items, match in (
        ([{"row": 3, "label": 2}], "decided to be 2"),
        ([{"row": 3, "lable": 1}], "decided to be None"),
        ([{"row": 3, "label": True}], "decided to be True"),
        ([{"row": "x", "label": 1}], "about row 'x'"),
        ([{"row": 3, "label": 1}, {"row": 3, "label": 0}], "decided twice"),
        ([{"row": N, "label": 1}], f"row {N} .* rows 0 to {N - 1}"),
        ([{"row": 3, "label": 1, "candidate_id": "c000004"}], "candidate 'c000003'"),
        ([], "no decision"),
        ([3], "list 'decisions'"),
    ):
        with pytest.raises(InputError, match=match):
            decide_labels(folder, decisions_file(tmp_path, items, "bad.json"), "v2")
    with pytest.raises(InputError, match="another set"):
        decide_labels(folder, decisions_file(tmp_path, [{"row": 3, "label": 1}], "b.json", data_hash="ab"), "v2")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="as JSON"):
        read_decisions(tmp_path / "broken.json")
    with pytest.raises(InputError, match="as CSV"):
        read_decisions(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns row and label"):
        read_decisions(tmp_path / "bad.csv")
    assert [item.facts.name for item in list_label_versions(folder)] == ["v1"]


def test_a_version_of_a_set_that_changed_is_refused(data, tmp_path):
    made = decide_labels(data.folder, decisions_file(tmp_path, [{"row": 3, "label": 1}]), "v1")
    table = data.folder / "labels" / "v1.parquet"
    before = table.read_bytes()
    changed = pq.read_table(table).set_column(2, "new", pa.array([0], pa.int8()))
    pq.write_table(changed, table)
    with pytest.raises(InputError, match=r"v1\.parquet was changed"):
        open_dataset(data.folder, labels="v1")
    table.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        open_dataset(data.folder, labels="v1")
    table.write_bytes(before)
    facts = data.folder / "labels" / "v1.json"
    facts.write_text(json.dumps({**made.facts.model_dump(), "data_hash": "ab" * 16}))
    with pytest.raises(InputError, match="the set was changed"):
        open_dataset(data.folder, labels="v1")
    facts.write_text("{}")
    with pytest.raises(InputError, match="does not describe"):
        open_dataset(data.folder, labels="v1")
    with pytest.raises(ConfigError, match="has no labels 'v2'"):
        open_dataset(data.folder, labels="v2")


# The commands


def test_the_commands_lead_from_suspects_to_a_version(data, tmp_path):
    table, page, folder = tmp_path / "s.parquet", tmp_path / "s.html", data.folder
    made = run("labels", "suspect", folder, "--out", table, "--scores", folder / "scores.parquet", "--page", page)
    assert made.exit_code == 0, made.output
    assert "suspects: 5 artifacts, 0 reals" in made.output
    assert page.read_text().startswith("<!doctype html>")
    again = run("labels", "suspect", folder, "--out", table, "--scores", folder / "scores.parquet")
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    shown = run("labels", "show", folder, table, "--top", "2", "--page", page, "--overwrite")
    assert shown.exit_code == 0, shown.output
    assert "labelled artifact, but networks" in shown.output
    assert run("labels", "show", folder, table, "--page", tmp_path / "s.pdf").exit_code == 2
    assert "no version beside them" in run("labels", "list", folder).output
    decisions = tmp_path / "d.csv"
    decisions.write_text('row,label,candidate_id,reason\n3,1,"c000003","a ""star"""\n5,keep,,\n')
    done = run("labels", "decide", folder, "--decisions", decisions, "--version", "v1", "--by", "Ada", "--note", "one")
    assert done.exit_code == 0, done.output
    assert "2 rows decided, 1 from 0 to 1" in done.output
    assert "Ada" in run("labels", "list", folder).output
    all_doubted = run(
        "labels", "suspect", folder, "--out", tmp_path / "t.csv", "--scores", folder / "scores.parquet",
        "--trust", "none", "--label-version", "v1", *QUIET,
    )  # fmt: skip
    assert all_doubted.exit_code == 0, all_doubted.output
    assert len((tmp_path / "t.csv").read_text().splitlines()) == N + 1


def test_training_on_a_version_is_of_a_data_set(tmp_path):
    made = run("train", "--out", tmp_path / "m", "--label-version", "v1")
    assert made.exit_code == 2
    assert "give one with --data" in made.output
