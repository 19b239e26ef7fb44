"""Data sets in shards: written in pieces, read by memory map, damaged ones told, groups kept whole."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.realbogus.manifest import Manifest, read_manifest
from gueststar.realbogus.scalars import DEFAULT_SCALARS
from gueststar.realbogus.shard_files import ShardFiles, open_stamps
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import Split, split_groups
from gueststar.realbogus.stored import open_dataset
from gueststar.realbogus.suspicion import REASONS, check_reasons, join_reasons, mask_reasons, visits_at
from gueststar.realbogus.train import Train, predict, train_network
from gueststar.types import Mask
from realbogus_stamps import dataset

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def drawn():
    return dataset(240, np.random.default_rng(3), pairs=12)


def rows_of(drawn, **given):
    """Columns of a set for rows that were drawn, divided by their groups."""
    split = split_groups(drawn.columns, rng=np.random.default_rng(1))
    part = np.empty(len(drawn), "U10")
    for name, rows in split.parts().items():
        part[rows] = name
    suspicion = np.where(np.arange(len(drawn)) % 10 == 3, "bright_star,flagged", "")
    sigma = {f"sky_sigma_{plane}": drawn.sigma[:, i] for i, plane in enumerate(("science", "reference", "difference"))}
    return {**drawn.columns, **sigma, "split": part, "suspicion": suspicion, "true_kind": ""} | given


def write(folder, drawn, columns=None, *, pieces=(7, 7, 100), **options):
    columns = columns or rows_of(drawn)
    with ShardWriter(folder, **{"rows_per_shard": 50, **options}) as writer:
        for part in np.split(np.arange(len(drawn)), pieces):
            writer.add(drawn.cube[part], {name: np.asarray(values)[part] if np.ndim(values) else values
                                          for name, values in columns.items()})  # fmt: skip
        writer.provenance["maker"] = "test"
    return folder


@pytest.fixture(scope="module")
def folder(drawn, tmp_path_factory):
    return write(tmp_path_factory.mktemp("sets") / "set", drawn)


def test_what_was_written_in_pieces_comes_back(drawn, folder):
    stored = open_dataset(folder)
    assert len(stored) == 240
    assert [shard.n for shard in stored.manifest.shards] == [50, 50, 50, 50, 40]
    assert not list(folder.rglob("*.part"))
    rows = np.random.default_rng(5).permutation(240)
    np.testing.assert_array_equal(stored.stamps(rows), drawn.cube[rows].astype(np.float32))
    np.testing.assert_array_equal(stored.stamps(rows[:9], size=21), drawn.stamps(rows[:9], size=21))
    np.testing.assert_array_equal(stored.labels, drawn.labels)
    np.testing.assert_array_equal(stored.sigma(rows), drawn.sigma[rows])
    for name, values in drawn.columns.items():
        np.testing.assert_array_equal(stored[name], values)
    names = [scalar.name for scalar in DEFAULT_SCALARS]
    np.testing.assert_array_equal(stored.scalars(names), drawn.scalars(names))
    codes, texts = stored.codes("tile")
    np.testing.assert_array_equal(np.array(texts)[codes], drawn["tile"])
    assert stored.facts["maker"] == "test"
    field = pq.read_schema(folder / "shards" / "00000.rows.parquet").field("flux")
    assert field.metadata[b"unit"] == b"electron"


def test_the_hash_is_that_of_the_contents(drawn, folder, tmp_path):
    again = write(tmp_path / "again", drawn, pieces=(100,))
    assert open_dataset(again).content_hash() == open_dataset(folder).content_hash()
    other = write(tmp_path / "other", drawn, rows_of(drawn, kind="else"))
    assert open_dataset(other).content_hash() != open_dataset(folder).content_hash()


def test_batches_hold_every_row_once_in_the_order_that_the_generator_says(drawn, folder):
    stored = open_dataset(folder)
    for options in ({}, {"rng": 1}, {"rng": 1, "window": 2}):
        seed = options.pop("rng", None)
        runs = []
        for _ in range(2):
            rng = None if seed is None else np.random.default_rng(seed)
            runs.append(list(stored.batches(batch_size=32, size=25, columns=("snr", "kind"), rng=rng, **options)))
        order = np.concatenate([batch.rows for batch in runs[0]])
        np.testing.assert_array_equal(np.sort(order), np.arange(240))
        assert (order.tolist() == list(range(240))) == (seed is None)
        assert [len(batch) for batch in runs[0]] == [32] * 7 + [16]
        for batch, same in zip(*runs, strict=True):
            np.testing.assert_array_equal(batch.rows, same.rows)
            np.testing.assert_array_equal(batch.cube, drawn.stamps(batch.rows, size=25))
            np.testing.assert_array_equal(batch.columns["snr"], drawn["snr"][batch.rows])
            np.testing.assert_array_equal(batch.columns["kind"], drawn["kind"][batch.rows])
            np.testing.assert_array_equal(batch.labels, drawn.labels[batch.rows])
    windowed = [batch.rows for batch in stored.batches(batch_size=20, rng=np.random.default_rng(2), window=1)]
    assert max(len(np.unique(rows // 50)) for rows in windowed) <= 2


def test_parts_and_chosen_rows(folder):
    stored = open_dataset(folder)
    with pytest.raises(InputError, match="has no column 'colour'; it has band, candidate_id"):
        stored["colour"]
    split = stored.split()
    assert [len(part) for part in split.parts().values()] == [120, 60, 60]
    stored.check_split(split)
    found = np.concatenate([batch.rows for batch in stored.batches("validation", batch_size=7)])
    np.testing.assert_array_equal(found, split.validation)
    assert [batch.rows.tolist() for batch in stored.batches(np.array([5, 3]), batch_size=1)] == [[5], [3]]
    assert list(stored.batches(np.empty(0, int))) == []
    with pytest.raises(InputError, match="part 'tests': one of train"):
        next(stored.batches("tests"))
    with pytest.raises(InputError, match=r"centres of 35 px cannot be cut from stamps of 33 px"):
        stored.stamps(np.arange(2), size=35)


def test_rows_are_left_out_by_reason(drawn, folder):
    every, some = open_dataset(folder), open_dataset(folder, exclude=["flagged"])
    kept = np.flatnonzero(np.arange(240) % 10 != 3)
    assert (len(every), len(some), some.excluded) == (240, 216, ("flagged",))
    np.testing.assert_array_equal(some["candidate_id"], drawn["candidate_id"][kept])
    np.testing.assert_array_equal(some.stamps(np.arange(216)), drawn.stamps(kept))
    assert some.facts["excluded"] == ["flagged"]
    assert len(open_dataset(folder, exclude=["repeated"])) == 240
    with pytest.raises(ConfigError, match="reason 'moon' is unknown; there are failed_image"):
        open_dataset(folder, exclude=["moon"])


def test_damaged_shards_are_named_skipped_and_counted(drawn, tmp_path):
    folder = write(tmp_path / "set", drawn)
    shards = folder / "shards"
    whole = (shards / "00001.stamps.npy").read_bytes()
    (shards / "00001.stamps.npy").write_bytes(whole[:-7])
    (shards / "00003.rows.parquet").unlink()
    changed = bytearray((shards / "00004.stamps.npy").read_bytes())
    changed[-100] ^= 1
    (shards / "00004.stamps.npy").write_bytes(bytes(changed))
    stored = open_dataset(folder)
    assert [(item.shard, item.rows) for item in stored.damaged] == [("00001", 50), ("00003", 50)]
    assert f"has {len(whole) - 7} bytes instead of {len(whole)}" in stored.damaged[0].reason
    assert "cannot be read: No such file" in stored.damaged[1].reason
    kept = np.r_[0:50, 100:150, 200:240]
    np.testing.assert_array_equal(stored["candidate_id"], drawn["candidate_id"][kept])
    np.testing.assert_array_equal(stored.stamps(np.arange(90)), drawn.stamps(kept[:90]))
    assert [item["shard"] for item in stored.facts["damaged"]] == ["00001", "00003"]
    hashed = open_dataset(folder, check_hashes=True)
    assert [item.shard for item in hashed.damaged] == ["00001", "00003", "00004"]
    assert "its hash is not that of the manifest" in hashed.damaged[2].reason
    for path in shards.glob("*.npy"):
        path.write_bytes(b"no")
    with pytest.raises(InputError, match="none of 5 shards can be read"):
        open_dataset(folder)


def test_files_of_the_right_size_with_the_wrong_contents_are_damage(drawn, tmp_path):
    folder = write(tmp_path / "set", drawn)
    for ending in ("00000.stamps.npy", "00001.rows.parquet"):
        path = folder / "shards" / ending
        path.write_bytes(bytes(path.stat().st_size))
    damaged = open_dataset(folder).damaged
    assert "00000.stamps.npy cannot be read as a NumPy array" in damaged[0].reason
    assert damaged[1].reason == "00001.rows.parquet is not a Parquet file"
    write(tmp_path / "other", drawn)
    folder = tmp_path / "other"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["stamp_size"] = 35
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        InputError, match=r"holds float16 stamps \(50, 3, 33, 33\) and 50 rows instead of float16 \(50, 3, 35, 35\)"
    ):
        open_dataset(folder)


def test_a_folder_without_a_manifest_is_no_set(drawn, tmp_path):
    def interrupted():
        with ShardWriter(tmp_path, rows_per_shard=50) as writer:
            writer.add(drawn.cube, rows_of(drawn))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(InputError, match=r"is not a data set: .*gueststar dataset build"):
        open_dataset(tmp_path)
    small = drawn.select(np.arange(40))
    assert len(open_dataset(write(tmp_path, small, {n: np.asarray(v)[:40] if np.ndim(v) else v for n, v in
                                                    rows_of(drawn).items()}, pieces=(3,)))) == 40  # fmt: skip
    assert len(list((tmp_path / "shards").iterdir())) == 2
    with pytest.raises(OutputError, match="holds a data set already"):
        ShardWriter(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 9}, "version 9 of the format; this program reads up to 1"),
        ({"n": 3}, "do not hold the 3 rows"),
        ({"stamp_size": 32}, "must be odd"),
        ({"colour": 1}, "colour = 1: unknown key"),
        ({"shards": []}, "shards"),
    ],
)
def test_manifests_that_cannot_be_right_are_refused(folder, tmp_path, change, words):
    values = json.loads((folder / "manifest.json").read_text()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=words):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)


def test_manifest_says_the_same_every_time(folder):
    manifest = read_manifest(folder)
    assert Manifest.model_validate_json(manifest.text()) == manifest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 2}, "label 2: 1 is real, 0 artifact, -1 neither"),
        ({"split": "exam"}, "split 'exam': one of train, validation, test"),
        ({"snr": np.zeros(3)}, r"column 'snr' has shape \(3,\); expected \(240,\)"),
        ({"split": np.array(["train", "test"] * 120)}, "tile 'pair000' is in t.*; the test would see"),
    ],
)
def test_columns_that_cannot_be_right_are_refused(drawn, tmp_path, change, words):
    with pytest.raises(InputError, match=words), ShardWriter(tmp_path) as writer:
        writer.add(drawn.cube, rows_of(drawn, **change))


def adding(folder, *pieces):
    with ShardWriter(folder) as writer:
        for cube, columns in pieces:
            writer.add(cube, columns)


def test_stamps_that_cannot_be_right_are_refused(drawn, tmp_path):
    columns, cube = rows_of(drawn), drawn.cube
    for wrong in (cube[:, :2], cube[..., :-1], cube[..., :-1, :-1], cube[..., 7:-7, 7:-7]):
        with pytest.raises(InputError, match=r"expected \(n, 3, k, k\).* odd and at least 21"):
            adding(tmp_path, (wrong, columns))
    with pytest.raises(InputError, match=r"need the columns \['kind'\]"):
        adding(tmp_path, (cube, {name: values for name, values in columns.items() if name != "kind"}))
    with pytest.raises(InputError, match="stamps of 31 px"):
        adding(tmp_path, (cube, columns), (cube[..., 1:-1, 1:-1], columns))
    with pytest.raises(InputError, match=r"columns that differ in \['more'\]"):
        adding(tmp_path, (cube, columns), (cube, {**columns, "more": 1}))
    with pytest.raises(InputError, match=r"columns that differ in \['x'\]"):
        adding(tmp_path, (cube, columns), (cube, {**columns, "x": "east"}))
    with pytest.raises(InputError, match="without a single row"):
        adding(tmp_path, (cube[:0], {}))
    with pytest.raises(InputError, match="at least one row"):
        ShardWriter(tmp_path, rows_per_shard=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        adding(tmp_path / "file" / "set", (cube, columns))


def test_huge_and_missing_pixels_survive(drawn, tmp_path):
    cube = drawn.cube.astype(np.float64)
    cube[0, 0, 0, 0], cube[1, 2] = 1e9, np.nan
    for dtype in ("float16", "float32"):
        with ShardWriter(tmp_path / dtype, dtype=dtype) as writer:
            writer.add(cube, rows_of(drawn))
        back = open_dataset(tmp_path / dtype).stamps(np.arange(2))
        assert back[0, 0, 0, 0] == pytest.approx(6e4, rel=1e-3)
        assert np.isnan(back[1, 2]).all()
        assert np.isfinite(back[1, :2]).all()


def test_groups_that_cross_are_named_on_reading(drawn, folder):
    stored = open_dataset(folder)
    split = stored.split()
    moved = Split(split.train[:-1], split.validation, np.append(split.test, split.train[-1]))
    with pytest.raises(InputError, match="tile 'pair.*' is in train and in test") as caught:
        stored.check_split(moved)
    assert caught.value.facts["column"] == "tile"
    with pytest.raises(InputError, match="rows of test are in another part"):
        stored.check_split(Split(split.train, split.validation, split.train[:1]))


def test_a_set_that_is_not_divided_says_so(drawn, tmp_path):
    folder = write(tmp_path / "set", drawn, rows_of(drawn, split=""), group_by=())
    with pytest.raises(InputError, match="is not divided into train, validation, test"):
        open_dataset(folder).split()


def test_measured_numbers_that_a_set_lacks_are_missing(drawn, tmp_path):
    columns = {name: values for name, values in rows_of(drawn).items() if name not in ("fwhm", "elongation")}
    stored = open_dataset(write(tmp_path / "set", drawn, columns))
    numbers = stored.scalars(["snr", "fwhm", "fwhm/snr"])
    assert np.isfinite(numbers[:, 0]).all()
    assert np.isnan(numbers[:, 1:]).all()


def test_few_files_are_open_and_none_is_shared_between_processes(folder, monkeypatch):
    monkeypatch.setattr("gueststar.realbogus.shard_files._MOST_OPEN", 2)
    stored = open_dataset(folder)
    before = stored.stamps(np.arange(240))
    assert len(stored._files._open) == 2
    again = pickle.loads(pickle.dumps(stored))
    assert not again._files._open
    np.testing.assert_array_equal(again.stamps(np.arange(240)), before)
    again._files.close()
    np.testing.assert_array_equal(again.stamps(np.arange(3)), before[:3])


def test_other_programs_can_map_the_stamps(drawn, folder):
    mapped = np.load(folder / "shards" / "00001.stamps.npy", mmap_mode="r")
    np.testing.assert_array_equal(mapped, drawn.cube[50:100])


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(drawn, tmp_path):
    folder = write(tmp_path / "set", drawn)
    stored = open_dataset(folder)
    path = folder / "shards" / "00000.stamps.npy"
    stored.stamps(np.arange(2))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    assert np.isfinite(stored.stamps(np.arange(49))).all()
    with pytest.raises(InputError, match="ends within row 49; it was cut short"):
        stored.stamps(np.arange(50))


def test_only_arrays_of_stamps_are_opened(tmp_path):
    for array in (np.zeros((3, 3)), np.zeros((1, 3, 21, 21)), np.zeros((2, 3, 21, 21), np.float32).T):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError, match=r"expected float16 or float32 \(n, 3, k, k\)"):
            open_stamps(tmp_path / "a.npy")


def test_a_shard_that_goes_away_while_it_is_read_is_an_error(drawn, tmp_path):
    folder = write(tmp_path / "set", drawn)
    stored = open_dataset(folder)
    for path in (folder / "shards").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="stamps.npy cannot be read as a NumPy array: .*dataset verify"):
        stored.stamps(np.arange(3))
    with pytest.raises(InputError, match="rows.parquet cannot be read"):
        stored["snr"]
    with pytest.raises(InputError, match="cannot be read"):
        ShardFiles([folder / "no.npy"]).gather(
            np.empty((1, 3, 3, 3), np.float32), np.zeros(1, int), np.zeros(1, int), slice(0, 3)
        )


def test_training_from_disk_is_training_from_memory(drawn, folder):
    stored = open_dataset(folder)
    options = Train(epochs=2, batch_size=32, stamp_size=21)
    split = stored.split()
    trained, same = (train_network(data, split, options) for data in (stored, drawn))
    assert trained.history == same.history
    np.testing.assert_array_equal(predict(trained.network, stored), predict(same.network, drawn))


def test_training_says_what_a_set_lacks(drawn, folder, tmp_path):
    stored = open_dataset(folder)
    with pytest.raises(InputError, match=r"stamps of 33 px cannot train .* sees 35 px.*train.stamp_size=33"):
        train_network(stored, stored.split(), Train(stamp_size=35))
    one = open_dataset(write(tmp_path / "set", drawn, rows_of(drawn, label=1)))
    with pytest.raises(InputError, match="the train part has 120 reals and 0 artifacts"):
        train_network(one, one.split(), Train(stamp_size=21))


def test_reasons_are_joined_and_checked():
    marks = {"flagged": np.array([True, True, False]), "bright_star": np.array([False, True, False])}
    assert join_reasons(3, marks).tolist() == ["flagged", "bright_star,flagged", ""]
    assert join_reasons(2, {}).tolist() == ["", ""]
    assert check_reasons(["flagged", "failed_image", "flagged"]) == ("failed_image", "flagged")
    with pytest.raises(ConfigError, match="'x' is unknown"):
        join_reasons(1, {"x": np.ones(1, bool)})
    found = mask_reasons(np.array([0, Mask.BRIGHT_STAR, Mask.COSMIC_RAY | Mask.REFERENCE, Mask.REFERENCE]))
    assert found["bright_star"].tolist() == [False, True, False, False]
    assert found["flagged"].tolist() == [False, False, True, False]
    assert len(REASONS) == 7


def test_visits_at_one_place_are_counted_once_each():
    places = np.array([[0, 0], [0.5, 0], [0.2, 0], [5, 5], [np.nan, 0], [5.1, 5]])
    assert visits_at(places, np.array([0, 1, 1, 0, 2, 0]), radius=1.0).tolist() == [2, 2, 2, 1, 1, 1]
    assert visits_at(np.empty((0, 2)), np.empty(0, int), radius=1.0).tolist() == []


def test_columns_read_together_are_those_read_alone(folder):
    stored = open_dataset(folder)
    for rows in (stored, stored.select(np.arange(1, len(stored), 3))):
        names = rows.column_names
        together = rows.columns(names)
        assert tuple(together) == names
        for name in names:
            np.testing.assert_array_equal(together[name], rows[name])
    assert stored.columns([]) == {}
    with pytest.raises(InputError, match="no column 'nothing'"):
        stored.columns(["snr", "nothing"])
