"""Data sets from the products of a small simulated night: labels, doubts, truth, parts, balance; their commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.config import load_config
from gueststar.datasets.build import BuildSet, build_dataset
from gueststar.datasets.known import read_known, read_truth
from gueststar.datasets.products import nights_of
from gueststar.datasets.summary import summarise, verify_dataset
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.night.products import read_candidates
from gueststar.night.run import run_night
from gueststar.realbogus.card import read_model
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.thinning import parse_balance, thin_classes
from gueststar.simulate.causes import REAL_KINDS
from gueststar.simulate.night import write_night
from gueststar.simulate.survey import Survey

# A sky that is full of what changes, and a chain that lets artifacts through.
SURVEY = Survey(
    supernovae_per_chip=200.0, hostless_per_chip=60.0, variable_fraction=0.05, asteroid_density=60.0,
    galactic_latitude_deg=(20.0, 40.0), cosmic_rays_per_chip=60.0, wobble_px=0.2,
)  # fmt: skip
SETTINGS = [
    "instrument=tomoe", "night.pictures=false", "night.inject=12", "night.workers=1", "detect.threshold_sigma=4.5",
    "ingest.cosmic_rays.enabled=false", "stamps.size=31", "quality.ellipticity=0.3",
]  # fmt: skip
BY_TILE = BuildSet(group_by=("tile", "reference"), rows_per_shard=40)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a night of four fields, its run (one of eight images is rejected), and nothing else."""
    folder = tmp_path_factory.mktemp("datasets")
    write_night(folder / "night", SURVEY, fields=4, chips=["Q1-11"], visits=4, seed=4, shape=(260, 300))
    totals = run_night(folder / "night", folder / "run", load_config(None, SETTINGS), mapper=map).totals
    assert (totals["ok"], totals["rejected"]) == (7, 1)
    return folder


@pytest.fixture(scope="module")
def made(night: Path):
    return build_dataset([night / "run"], night / "set", BY_TILE, truth=[night / "night"])


def images_of(night: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted((night / "run" / "images").iterdir())}


def test_both_classes_come_from_the_products(night: Path, made) -> None:
    detected = sum(len(read_candidates(path / "candidates.parquet")) for path in images_of(night).values())
    reals = sum(pq.read_metadata(path / "injected_reals.parquet").num_rows for path in images_of(night).values())
    assert ((made.labels == 0).sum(), (made.labels == 1).sum()) == (detected, reals)
    assert set(made["kind"][made.labels == 1]) == {"injected"}
    assert set(made["placement"][made.labels == 1]) <= {"random", "galaxy", "star"}
    ratio = (made["snr"] / made["true_snr"])[made.labels == 1]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.15)
    assert np.isnan(made["true_snr"][made.labels == 0]).all()
    assert len(made.manifest.shards) == -(-len(made) // 40)


def test_stamps_and_columns_are_those_of_the_image(night: Path, made) -> None:
    images, kinds = made["image"], made.labels
    for name, path in images_of(night).items():
        for label, (table, stamps) in enumerate(
            (("candidates.parquet", "stamps.npy"), ("injected_reals.parquet", "injected_reals.npy"))
        ):
            mine = np.flatnonzero((images == name) & (kinds == label))
            stored, cube = pq.read_table(path / table), np.load(path / stamps)
            assert made["candidate_id"][mine].tolist() == stored["candidate_id"].to_pylist()
            for column in ("x", "flux", "snr", "mask_flags", "rb_score", "sky_sigma_science"):
                np.testing.assert_array_equal(made[column][mine], stored[column].to_numpy())
            back = made.stamps(mine) * made.sigma(mine)[:, :, None, None]
            np.testing.assert_allclose(back, cube, rtol=2e-3, atol=0.02)


def test_artificial_reals_lie_where_they_were_put(night: Path) -> None:
    for path in images_of(night).values():
        put, found = pq.read_table(path / "injected.parquet"), pq.read_table(path / "injected_reals.parquet")
        places = np.column_stack([put["x"].to_numpy(), put["y"].to_numpy()])
        for x, y, flux in zip(found["x"].to_numpy(), found["y"].to_numpy(), found["flux"].to_numpy(), strict=True):
            near = np.argmin(np.hypot(*(places - (x, y)).T))
            assert np.hypot(*(places[near] - (x, y))) < 2.0
            assert 1 / 3 < flux / put["flux_e"][int(near)].as_py() < 3
            assert not put["occupied"][int(near)].as_py()


def test_truth_names_what_is_real_among_the_artifacts(night: Path, made) -> None:
    truth = pq.read_table(night / "night" / "truth.parquet").to_pandas()
    kind, labels = made["true_kind"], made.labels
    assert set(kind[labels == 1]) == {"injected"}
    real = np.isin(kind, REAL_KINDS)
    assert 15 <= real.sum() < (labels == 0).sum()
    images, xs, ys, flux = made["image"], made["x"], made["y"], made["flux"]
    right = 0
    for i in np.flatnonzero(real & np.isin(kind, ("supernova", "hostless"))):
        rows = truth[(truth["image"] == images[i]) & (truth["kind"] == kind[i])]
        distance = np.hypot(rows["x"] - xs[i], rows["y"] - ys[i])
        best = rows.iloc[int(np.argmin(distance))]
        assert distance.min() < 5.0
        right += 1 / 3 < flux[i] / best["change_e"] < 3
    assert right >= 0.8 * np.isin(kind, ("supernova", "hostless")).sum()
    # And hardly any bright change that was detected has gone unnamed.
    for i in np.flatnonzero((labels == 0) & ~real):
        rows = truth[(truth["image"] == images[i]) & np.isin(truth["kind"], ("supernova", "hostless"))]
        close = rows[np.hypot(rows["x"] - xs[i], rows["y"] - ys[i]) < 1.5]
        assert not (np.abs(close["change_e"]) / close["flux_e"] * close["snr"] > 5).any()
    contamination = summarise(made).contamination
    assert contamination == pytest.approx(real.sum() / (labels == 0).sum())


def test_doubts_are_marked_with_their_reason(night: Path, made) -> None:
    suspicion = made["suspicion"]

    def marked(reason: str) -> np.ndarray:
        return np.array([reason in text.split(",") for text in suspicion])

    rejected = [
        name
        for name, path in images_of(night).items()
        if json.loads((path / "outcome.json").read_text())["status"] == "rejected"
    ]
    np.testing.assert_array_equal(marked("failed_image"), np.isin(made["image"], rejected))
    assert marked("failed_image")[made.labels == 1].any()
    np.testing.assert_array_equal(marked("flagged"), (made["mask_flags"] & 15) != 0)
    transient = np.isin(made["true_kind"], ("supernova", "hostless", "flare"))
    np.testing.assert_array_equal(marked("known_transient"), transient)
    np.testing.assert_array_equal(marked("known_variable"), np.isin(made["true_kind"], ("variable", "nucleus")))
    np.testing.assert_array_equal(marked("repeated"), made["visits"] > 1)
    assert not marked("repeated")[made.labels == 1].any()


def test_repeated_places_are_those_of_the_sky(night: Path, tmp_path: Path) -> None:
    # The same run twice is two visits of every place.
    twice = tmp_path / "again"
    shutil.copytree(night / "run", twice)
    made = build_dataset([night / "run", twice], tmp_path / "set", BY_TILE)
    artifacts = made.labels == 0
    assert (made["visits"][artifacts] >= 2).all()
    assert set(made["suspicion"][artifacts & (made["mask_flags"] == 0)]) >= {"repeated"}
    assert set(made["source"]) == {"run", "again"}
    strict = build_dataset(
        [night / "run", twice], tmp_path / "strict", BY_TILE.model_copy(update={"repeat_visits": 90})
    )
    assert not any("repeated" in text for text in strict["suspicion"])
    assert [item["run"] for item in strict.facts["runs"]] == ["run", "again"]


def test_parts_do_not_share_a_tile_or_reference(made) -> None:
    split = made.split()
    assert all(len(part) for part in split.parts().values())
    for column in ("tile", "reference"):
        values = [set(made[column][rows]) for rows in split.parts().values()]
        assert not (values[0] & values[1] | values[0] & values[2] | values[1] & values[2])
    assert made.manifest.group_by == ("tile", "reference")


def test_one_night_cannot_be_divided_by_night(night: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 group.*4 tiles, 5 nights, 4 references.*--group-by tile,reference"):
        build_dataset([night / "run"], tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_seed_decides_and_nothing_else(night: Path, made, tmp_path: Path) -> None:
    again = build_dataset([night / "run"], tmp_path / "a", BY_TILE, truth=[night / "night"])
    assert again.content_hash() == made.content_hash()
    chosen = [
        build_dataset([night / "run"], tmp_path / f"{i}", BY_TILE.model_copy(update={"balance": "1:1", "seed": seed}))
        for i, seed in enumerate((3, 3, 4))
    ]
    assert chosen[0].content_hash() == chosen[1].content_hash() != chosen[2].content_hash()


def test_balance_holds_in_every_part_and_interval(night: Path, made, tmp_path: Path) -> None:
    thin = build_dataset([night / "run"], tmp_path / "a", BY_TILE.model_copy(update={"balance": "1:1"}))
    for rows in thin.split().parts().values():
        assert (thin.labels[rows] == 1).sum() == (thin.labels[rows] == 0).sum() > 0
    strata = BY_TILE.model_copy(update={"balance": "1:2", "strata": (10.0,)})
    both = build_dataset([night / "run"], tmp_path / "b", strata)
    for rows in both.split().parts().values():
        for bright in (False, True):
            mine = both.labels[rows][(np.abs(both["snr"][rows]) >= 10) == bright]
            assert abs(2 * (mine == 1).sum() - (mine == 0).sum()) <= 1
    assert len(both) < len(made)


def test_exclusion_while_building(night: Path, made, tmp_path: Path) -> None:
    options = BY_TILE.model_copy(update={"exclude": ("failed_image", "flagged"), "sign": "positive"})
    clean = build_dataset([night / "run"], tmp_path / "set", options)
    assert len(clean) < len(made)
    assert not any("failed_image" in text or "flagged" in text for text in clean["suspicion"])
    assert (clean["snr"] > 0).all()
    with pytest.raises(ConfigError, match="reason 'clouds' is unknown"):
        build_dataset([night / "run"], tmp_path / "x", BY_TILE.model_copy(update={"exclude": ("clouds",)}))


def test_known_objects_are_marked(night: Path, made, tmp_path: Path) -> None:
    artifacts = np.flatnonzero((made.labels == 0) & (made["suspicion"] == ""))[:3]
    ra, dec, mjd = (made[name][artifacts] for name in ("ra", "dec", "mjd"))
    later = np.array([np.nan, mjd[1], mjd[2] + 0.1])
    pq.write_table(
        pa.table({"ra": ra, "dec": dec + 1 / 3600, "kind": ["variable", "asteroid", "asteroid"], "mjd": later}),
        tmp_path / "known.parquet",
    )
    (tmp_path / "more.csv").write_text(f"ra,dec,kind\n{ra[2]},{dec[2]},transient\n")
    marked = build_dataset(
        [night / "run"], tmp_path / "set", BY_TILE, known=[tmp_path / "known.parquet", tmp_path / "more.csv"]
    )
    where = [int(np.flatnonzero(marked["candidate_id"] == name)[0]) for name in made["candidate_id"][artifacts]]
    assert marked["true_kind"][where].tolist() == ["variable", "asteroid", "transient"]
    for row, reason in zip(where, ("known_variable", "known_asteroid", "known_transient"), strict=True):
        assert reason in marked["suspicion"][row]
    (tmp_path / "wrong.csv").write_text("ra,dec,kind\n1,2,moon\n")
    with pytest.raises(InputError, match="kind 'moon' is unknown; there are asteroid"):
        read_known([tmp_path / "wrong.csv"])
    (tmp_path / "wrong.csv").write_text("ra,dec\n1,2\n")
    with pytest.raises(InputError, match="expected a table with ra, dec"):
        read_known([tmp_path / "wrong.csv"])


def test_damaged_products_are_skipped_and_told(night: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(night / "run", run)
    first, second, third, *_ = sorted((run / "images").iterdir())
    (first / "stamps.npy").write_bytes(b"no")
    np.save(second / "stamps.npy", np.zeros((1, 3, 31, 31), np.float32))
    (third / "outcome.json").unlink()
    made = build_dataset([run], tmp_path / "set", BY_TILE)
    assert set(made["image"]) == {path.name for path in (run / "images").iterdir()} - {
        first.name, second.name, third.name,
    }  # fmt: skip
    assert len(made.facts["skipped"]) == 2
    assert f"run/{first.name}: candidates.parquet or stamps.npy cannot be read" in made.facts["skipped"][0]
    for path in (run / "images").glob("*/stamps.npy"):
        path.write_bytes(b"no")
    with pytest.raises(InputError, match="no processed image that can be used; the first: run/"):
        build_dataset([run], tmp_path / "none", BY_TILE)


def test_products_without_a_class_are_refused(night: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(night / "run", run)
    for path in (run / "images").glob("*/injected_reals.*"):
        path.unlink()
    n = sum(len(read_candidates(path / "candidates.parquet")) for path in images_of(night).values())
    with pytest.raises(InputError, match=rf"0 artificial reals and {n} artifacts were found.*--inject 200"):
        build_dataset([run], tmp_path / "set", BY_TILE)
    with pytest.raises(InputError, match=r"were left after the choice.*exclude less"):
        build_dataset(
            [night / "run"], tmp_path / "set", BY_TILE.model_copy(update={"balance": "1:1000000"})
        )  # fmt: skip
    with pytest.raises(InputError, match="is not the folder of a run"):
        build_dataset([tmp_path], tmp_path / "set", BY_TILE)
    with pytest.raises(ConfigError, match="strata without a balance"):
        build_dataset([run], tmp_path / "set", BY_TILE.model_copy(update={"strata": (7.0,)}))


def test_a_set_is_not_written_over(night: Path, made) -> None:
    with pytest.raises(OutputError, match="holds a data set already"):
        build_dataset([night / "run"], made.folder, BY_TILE)


def test_truth_that_is_none_is_refused(night: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truth.parquet cannot be read"):
        read_truth([tmp_path])
    pq.write_table(pa.table({"image": ["a"]}), tmp_path / "truth.parquet")
    with pytest.raises(InputError, match="lacks the columns kind, x, y"):
        read_truth([tmp_path])
    truth = read_truth([night / "night"])
    nothing = truth.kinds(np.zeros(2), np.zeros(2), "other", (), shape=None, fwhm_px=3.0)
    assert nothing.tolist() == ["", ""]
    name = next(iter(images_of(night)))
    alone = truth.kinds(np.array([5.0]), np.array([5.0]), f"sub__{name}", (), shape=None, fwhm_px=3.0)
    assert alone[0]


def test_nights_are_told_by_gaps() -> None:
    mjd = np.array([61000.9, 61000.95, 61001.05, np.nan, 61001.45, 60990.2])
    assert nights_of(mjd) == ["mjd61000", "mjd61000", "mjd61000", "unknown", "mjd61001", "mjd60990"]


def test_wrong_balances_are_refused() -> None:
    assert parse_balance("all") is None
    assert parse_balance("1:3") == (1.0, 3.0)
    for text in ("1", "0:1", "a:b", "1:-1", "1:2:3", "inf:1"):
        with pytest.raises(ConfigError, match="'all', or reals to artifacts"):
            parse_balance(text)


def test_thinning_takes_from_the_class_that_is_too_large() -> None:
    rng = np.random.default_rng(2)
    labels = np.array([1] * 10 + [0] * 100 + [-1] * 5)
    part, snr = np.zeros(115, int), np.r_[np.full(110, 8.0), np.full(5, 90.0)]
    keep = thin_classes(labels, part, snr, ratio=(1, 2), rng=rng)
    assert [(keep & (labels == label)).sum() for label in (1, 0, -1)] == [10, 20, 5]
    keep = thin_classes(labels, part, snr, ratio=(1, 1000), rng=rng)
    assert [(keep & (labels == label)).sum() for label in (1, 0, -1)] == [0, 100, 5]
    assert thin_classes(labels, part, snr, ratio=None, rng=rng).all()


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_commands_build_show_and_check(night: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = call(
        "dataset", "build", night / "run", "--out", out, "--group-by", "tile,reference", "--truth", night / "night",
        "--balance", "2:1", "--split", "2:1:1", "--set", "rows_per_shard=30", "--seed", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for words in ("stamps of 31 px", "validation", "failed_image", "% of the artifacts are real by the truth"):
        assert words in done.output
    shown = call("dataset", "info", out, "--exclude", "flagged,failed_image")
    assert shown.exit_code == 0
    assert "Q1-11" in shown.output
    checked = call("dataset", "verify", out)
    assert checked.exit_code == 0
    assert "all as the manifest says" in checked.output
    path = next((out / "shards").glob("*.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(bytes(data))
    broken = call("dataset", "verify", out, "--quiet")
    assert broken.exit_code == 1
    assert "its hash is not that of the manifest" in broken.output
    assert "1 of" in broken.output
    result = verify_dataset(out)
    assert (len(result.damaged), result.sound) == (1, False)
    path.write_bytes(bytes(data[:-9]))
    assert "is skipped, 30 rows" in " ".join(call("dataset", "info", out).output.split())


def test_commands_say_what_is_wrong(night: Path, tmp_path: Path) -> None:
    wrong = call("dataset", "build", night / "run", "--out", tmp_path / "a", "--group-by", "moon")
    assert wrong.exit_code == 2
    assert "group_by" in wrong.output
    single = call("dataset", "build", night / "run", "--out", tmp_path / "b")
    assert single.exit_code == 1
    assert "--group-by tile,reference" in " ".join(single.output.split())
    assert call("dataset", "build", night / "run", "--out", tmp_path / "c", "--split", "1:-1:0").exit_code == 2
    assert call("dataset", "info", tmp_path).exit_code == 1


def test_groups_that_cross_are_found_by_verify(night: Path, tmp_path: Path) -> None:
    build_dataset([night / "run"], tmp_path / "set", BY_TILE)
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    manifest["group_by"] = ["night"]
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    result = verify_dataset(tmp_path / "set")
    assert not result.damaged
    assert "night 'mjd" in result.problems[0]


def test_train_takes_a_set(night: Path, made, tmp_path: Path) -> None:
    words = ["--data", made.folder, "--exclude", "failed_image", "--epochs", 1, "--set", "train.batch_size=16"]
    done = call("train", "--out", tmp_path / "model", *words, "--set", "train.stamp_size=31")
    assert done.exit_code == 0, done.output
    card = read_model(tmp_path / "model")[0]
    assert card.metrics["test"]["n_real"] > 0
    assert card.training_data["hash"] == made.content_hash()
    assert card.training_data["excluded"] == ["failed_image"]
    assert card.training_data["n"] == len(open_dataset(made.folder, exclude=["failed_image"]))
    assert (tmp_path / "model" / "roc.png").stat().st_size > 10_000
    robust = call("train", "--out", tmp_path / "robust", *words, "--labels", "coteach", "--set", "train.stamp_size=31")
    assert robust.exit_code == 0, robust.output
    noise = read_model(tmp_path / "robust")[0].training["label_noise"]
    assert noise["method"] == "coteach"
    assert noise["left_out_share_of_each_epoch"] == [0.0]
    assert card.training["label_noise"] == {"method": "naive"}
    again = call("train", "--out", tmp_path / "twin", *words, "--quiet")
    assert again.exit_code == 0
    assert read_model(tmp_path / "twin")[0].weights_hash == card.weights_hash
    assert "holds a model already" in call("train", "--out", tmp_path / "model", *words).output


def test_train_refuses_a_set_with_other_sources(made, tmp_path: Path) -> None:
    both = call("train", "--out", tmp_path / "m", "--data", made.folder, "--pairs", 3)
    assert both.exit_code == 2
    assert "--pairs makes a set" in both.output
    alone = call("train", "--out", tmp_path / "m", "--exclude", "flagged")
    assert alone.exit_code == 2
    assert "give one with --data" in alone.output
