"""Stamps in files are scored as they are in the chain; what cannot be scored has a reason, and no score."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.score_tables import open_table
from gueststar.datasets.scoring import ScoreFiles, score_files
from gueststar.datasets.stamp_sources import open_source
from gueststar.errors import ConfigError, InputError, ModelError, OutputError
from gueststar.realbogus.batches import REASONS, BatchScorer
from gueststar.realbogus.borders import border_noise
from gueststar.realbogus.scalars import measured_scalars
from gueststar.realbogus.score import LoadedModel, load_model, score_stamps
from realbogus_stamps import dataset, sample
from test_datasets_import import triplets
from test_realbogus_stored import write


@pytest.fixture(scope="module")
def drawn():
    return sample(150, np.random.default_rng(31))


def named(cube):
    return {"science": cube[:, 0], "reference": cube[:, 1], "difference": cube[:, 2]}


def table_of(path):
    return pq.read_table(path).to_pydict()


def test_the_border_gives_sky_and_noise_without_bias():
    rng = np.random.default_rng(0)
    cube = rng.normal(100.0, 5.0, (2000, 3, 31, 31)).astype(np.float32)
    cube[:, :, 14:17, 14:17] += 1e5
    before = cube.copy()
    sky, sigma = border_noise(cube)
    assert np.array_equal(cube, before)
    assert abs(sky.mean() - 100.0) < 0.02
    assert abs(sigma.mean() / 5.0 - 1.0) < 0.01
    assert sigma.std() / 5.0 < 0.09
    cube[0, 0], cube[1, 1] = np.nan, 7.0
    cube[2, 2, :10] = np.inf
    sky, sigma = border_noise(cube[:3])
    assert np.isnan(sky[0, 0])
    assert np.isnan(sigma[0, 0])
    assert sky[1, 1] == 7.0
    assert np.isnan(sigma[1, 1])
    assert sigma[2, 2] == pytest.approx(5.0, rel=0.3)


def test_an_archive_with_all_that_is_known_gives_the_scores_of_the_chain(drawn, tmp_path):
    candidates, stamps, _, _ = drawn
    model = load_model()
    names = [item.name for item in model.card.scalars]
    expected = score_stamps(stamps.cube, stamps.sigma, measured_scalars(candidates, names), model)
    columns = {part: candidates[part] for name in names for part in name.split("/")}
    file = tmp_path / "stamps.npz"
    np.savez_compressed(file, **named(stamps.cube), **columns, sigma=stamps.sigma, id=candidates["candidate_id"])
    summary = score_files([file], tmp_path / "scores.parquet", ScoreFiles(batch_size=17))
    found = table_of(tmp_path / "scores.parquet")
    assert np.allclose(found["rb_score"], expected, atol=1e-5)
    assert found["id"] == candidates["candidate_id"].tolist()
    assert found["is_real"] == [bool(score >= np.float32(model.card.threshold)) for score in found["rb_score"]]
    assert set(found["rb_model_hash"]) == {model.card.weights_hash[:16]}
    assert found["mask_fraction"] == [0.0] * 150
    assert summary.n == 150
    assert summary.real == sum(found["is_real"])
    assert summary.noise[str(file)] == "from the file"


def test_bare_arrays_tell_reals_from_artifacts(drawn, tmp_path):
    _, stamps, labels, _ = drawn
    np.save(tmp_path / "small.npy", stamps.cube[:, :, 1:-1, 1:-1])
    wide = np.pad(stamps.cube, ((0, 0), (0, 0), (10, 10), (10, 10)), constant_values=np.nan)
    np.save(tmp_path / "wide.npy", wide.astype(">f8") + 50.0)  # counts with a sky, as another program writes them
    np.save(tmp_path / "sigma.npy", stamps.cube)
    out = tmp_path / "out.parquet"
    score_files([tmp_path / "small.npy", tmp_path / "wide.npy"], out)
    found = table_of(out)
    scores = np.array(found["rb_score"]).reshape(2, -1)
    assert found["id"][:2] == ["0", "1"]
    assert set(found["file"]) == {str(tmp_path / "small.npy"), str(tmp_path / "wide.npy")}
    for part in scores:
        assert part[labels == 1].mean() > part[labels == 0].mean() + 0.3
    told = ScoreFiles(sigma=(10.0, 10.0, 14.142), keep_sky=True)
    summary = score_files([tmp_path / "sigma.npy"], out, told, overwrite=True)
    assert summary.noise[str(tmp_path / "sigma.npy")] == "as told"
    assert np.corrcoef(np.array(table_of(out)["rb_score"]), scores[0])[0, 1] > 0.95


def test_stamps_without_pixels_have_a_reason_and_no_score(drawn, tmp_path):
    cube = drawn[1].cube[:6].copy()
    cube[0] = np.nan
    cube[1, 2] = np.inf
    cube[2, 2] = 0.0
    cube[3, 0, :, :12] = np.nan
    cube[4, 1] = np.nan
    np.save(tmp_path / "stamps.npy", cube)
    for suffix in ("parquet", "csv", "json"):
        summary = score_files([tmp_path / "stamps.npy"], tmp_path / f"out.{suffix}")
    found = table_of(tmp_path / "out.parquet")
    assert found["reason"] == [*REASONS[1:], "", "", ""]
    assert summary.unscored == dict.fromkeys(REASONS[1:], 1)
    assert found["rb_score"][:3] == found["is_real"][:3] == [None] * 3
    assert all(0 <= score <= 1 for score in found["rb_score"][3:])
    assert found["mask_fraction"] == pytest.approx([1.0, 1 / 3, 0.0, 11 / 31 / 3, 1 / 3, 0.0], abs=1e-6)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["rb_score"] for row in rows[:3]] == [None] * 3
    assert [row["rb_score"] for row in rows[3:]] == pytest.approx(found["rb_score"][3:], rel=1e-6)
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["rb_score"] for line in lines][:3] == [""] * 3
    assert float(lines[5]["rb_score"]) == pytest.approx(found["rb_score"][5], rel=1e-6)


def test_a_data_set_and_an_empty_file_are_scored(tmp_path):
    made = dataset(60, np.random.default_rng(5))
    write(tmp_path / "set", made)
    np.save(tmp_path / "none.npy", np.empty((0, 3, 31, 31)))
    summary = score_files([tmp_path / "set", tmp_path / "none.npy"], tmp_path / "out.parquet")
    assert summary.n == 60
    from gueststar.realbogus.package import score_dataset

    expected = score_dataset(load_model(), made)
    assert np.allclose(table_of(tmp_path / "out.parquet")["rb_score"], expected, atol=2e-3)  # stored as float16


def test_alerts_and_triplets_of_ztf_are_scored(shared_data, tmp_path):
    file = shared_data / "ztf_alert_stamps" / "ztf.npz"
    summary = score_files([file], tmp_path / "out.parquet")
    found = table_of(tmp_path / "out.parquet")
    assert summary.n == len(found["id"]) == 510
    assert "and so say the pixels" in summary.planes[str(file)]
    assert len(set(found["id"])) > 500


def test_planes_in_another_order_are_refused_and_can_be_told(tmp_path):
    cube = triplets(120, 33)
    np.save(tmp_path / "wrong.npy", cube[:, [1, 0, 2]])
    np.save(tmp_path / "right.npy", cube)
    out = tmp_path / "out.parquet"
    with pytest.raises(InputError, match=r"wrong.npy: plane 2, said to be the reference, looks like the science image"):
        score_files([tmp_path / "wrong.npy"], out)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    scores = []
    for name, channels in (("right", ""), ("wrong", "reference,science,difference"), ("wrong", "auto")):
        score_files([tmp_path / f"{name}.npy"], out, ScoreFiles(channels=channels), overwrite=True)
        scores.append(table_of(out)["rb_score"])
    assert scores[0] == scores[1] == scores[2]
    np.save(tmp_path / "few.npy", cube[:3])
    with pytest.raises(InputError, match="cannot be told by the pixels of 3 stamps"):
        score_files([tmp_path / "few.npy"], tmp_path / "few.csv", ScoreFiles(channels="auto"))


def test_what_is_no_stamp_is_refused(tmp_path):
    def refused(array, match, name="bad.npy"):
        np.save(tmp_path / name, array)
        with pytest.raises(InputError, match=match):
            score_files([tmp_path / name], tmp_path / "out.parquet")

    refused(np.zeros((4, 3, 21, 21)), "stamps of 21 px do not fit model 'gueststar': smaller than the 31 px")
    refused(np.zeros((4, 3, 32, 32)), "even, so they have no central pixel")
    refused(np.zeros((4, 31, 31, 3)), r"shape \(4, 31, 31, 3\); expected \(n, 3, k, k\)")
    refused(np.asfortranarray(np.zeros((4, 3, 31, 31))), "stored column by column")
    refused(np.zeros((4, 3, 31, 31), complex), "holds complex128; expected numbers")
    file = tmp_path / "cut.npy"
    np.save(file, np.zeros((40, 3, 31, 31)))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="ends 9 bytes early; it was cut short"):
        score_files([file], tmp_path / "out.parquet")
    file.write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be read as a NumPy array"):
        open_source(file)
    with pytest.raises(InputError, match="is not there"):
        open_source(tmp_path / "nothing.npy")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(InputError, match=r"not from \.txt"):
        open_source(tmp_path / "x.txt")


def test_archives_that_lack_something_are_refused(tmp_path):
    planes = named(np.zeros((4, 3, 31, 31), np.float32))
    file = tmp_path / "stamps.npz"
    np.savez(file, science=planes["science"], difference=planes["difference"])
    with pytest.raises(InputError, match="no array reference or template; it has difference, science"):
        open_source(file)
    np.savez(file, **planes | {"science": planes["science"][:2]})
    with pytest.raises(InputError, match="the planes have shapes"):
        open_source(file)
    np.savez(file, **planes, sigma=np.ones(4))
    with pytest.raises(InputError, match=r"sigma has shape \(4,\); expected \(4, 3\)"):
        open_source(file)
    file.write_bytes(b"PK")
    with pytest.raises(InputError, match="not a readable .npz archive"):
        open_source(file)


def test_a_batch_that_does_not_fit_is_halved_and_told(drawn):
    _, stamps, _, _ = drawn
    model = load_model()
    numbers = np.full((len(stamps), len(model.card.scalars)), np.nan, np.float32)
    tried = []

    def run(inputs):
        tried.append(len(inputs["cube"]))
        if tried[-1] > 20:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1048576")
        return model.session(inputs)

    told = []
    scorer = BatchScorer(LoadedModel(model.card, run), batch_size=64, tell=told.append)
    scores = scorer(stamps.cube, stamps.sigma, numbers)
    assert np.allclose(scores, score_stamps(stamps.cube, stamps.sigma, numbers, model), atol=1e-6)
    assert tried[:3] == [64, 32, 16]
    assert scorer.batch_size == max(tried[2:]) == 16
    assert told == [
        "out of memory with 64 stamps at once; going on with 32",
        "out of memory with 32 stamps at once; going on with 16",
    ]


def test_no_memory_at_all_and_other_faults_are_errors(drawn):
    _, stamps, _, _ = drawn
    card = load_model().card
    numbers = np.zeros((len(stamps), len(card.scalars)), np.float32)

    def scorer(error):
        def run(inputs):
            raise error

        return BatchScorer(LoadedModel(card, run))

    with pytest.raises(ModelError, match="does not suffice to score a single stamp"):
        scorer(MemoryError())(stamps.cube, stamps.sigma, numbers)
    with pytest.raises(RuntimeError, match="operator is broken"):
        scorer(RuntimeError("operator is broken"))(stamps.cube, stamps.sigma, numbers)


def test_tables_appear_whole_or_not_at_all(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"expected a name that ends in \.parquet, \.csv, \.json"),
        open_table("x.txt"),
    ):
        pass
    (tmp_path / "there.csv").write_text("old")
    with pytest.raises(OutputError, match="exists already"), open_table(tmp_path / "there.csv"):
        pass
    with pytest.raises(ValueError, match="stop"), open_table(tmp_path / "there.csv", overwrite=True):
        raise ValueError("stop")
    assert (tmp_path / "there.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="science, reference and difference are needed"):
        ScoreFiles.parse({"channels": "science,science,difference"}, source="test")
    with pytest.raises(ConfigError, match="three positive numbers"):
        ScoreFiles.parse({"sigma": (1.0, 0.0, 1.0)}, source="test")


def test_the_command_says_how_the_planes_and_the_noise_were_taken(drawn, tmp_path):
    np.save(tmp_path / "stamps.npy", drawn[1].cube)
    out = tmp_path / "scores.csv"
    result = CliRunner().invoke(app, ["score", str(tmp_path / "stamps.npy"), "--out", str(out), "--batch", "10"])
    assert result.exit_code == 0, result.output
    assert "noise measured in the borders of the stamps" in result.output
    assert "150 stamps in" in result.output
    assert len(out.read_text().splitlines()) == 151
    again = CliRunner().invoke(app, ["score", str(tmp_path / "stamps.npy"), "--out", str(out)])
    assert again.exit_code == 1
    assert "exists already" in again.output
    options = ["--sigma", "10,10,14", "--channels", "science,reference,difference", "--overwrite", "--quiet"]
    quiet = CliRunner().invoke(app, ["score", str(tmp_path / "stamps.npy"), "--out", str(out), *options])
    assert quiet.exit_code == 0, quiet.output
    assert quiet.output == ""
