"""Training sets on disk, symmetries, and splits that keep groups whole."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.dataset import Dataset, symmetry
from gueststar.realbogus.split import Split, check_split, connected_groups, split_groups
from gueststar.realbogus.writer import DatasetWriter
from realbogus_stamps import dataset, sample


@pytest.fixture(scope="module")
def drawn():
    return dataset(120, np.random.default_rng(3), pairs=12)


def test_stamps_survive_the_half_precision(rng):
    candidates, stamps, labels, _ = sample(20, rng)
    stamps.cube[0, 1, :4] = np.nan
    stamps.cube[1, 0, 3, 3] = 3e7
    stamps.sigma[2, 1] = 0.0
    before = stamps.cube.copy()
    rows = {
        "label": labels,
        "kind": "a",
        "true_snr": 1.0,
        "tile": "t",
        "night": "n",
        "reference": "r",
        "source": "s",
        "chain": "c",
    }
    made = Dataset.from_candidates(candidates, stamps, rows)
    np.testing.assert_array_equal(stamps.cube, before)
    back = made.cube.astype(np.float64) * stamps.sigma[:, :, None, None]
    assert np.isnan(made.cube[0, 1, :4]).all()
    assert np.isnan(made.cube[2, 1]).all()
    assert np.isfinite(made.cube[1]).all()
    np.testing.assert_allclose(back[3:], before[3:], rtol=1e-3, atol=1e-3)
    assert made["tile"].tolist() == ["t"] * 20


def written(folder, *pieces, **facts):
    with DatasetWriter(folder) as writer:
        for piece in pieces:
            writer.add(piece)
        writer.facts = facts
    return folder


def test_a_set_comes_back_from_disk_as_it_was(drawn, tmp_path):
    rows = np.arange(120)
    folder = written(tmp_path / "set", *(drawn.select(part) for part in np.split(rows, [7, 7, 80])), maker="test")
    back = Dataset.load(folder)
    assert isinstance(back.cube, np.memmap)
    np.testing.assert_array_equal(back.cube, drawn.cube)
    np.testing.assert_array_equal(back.sigma, drawn.sigma)
    assert set(back.columns) == set(drawn.columns)
    for name, values in drawn.columns.items():
        np.testing.assert_array_equal(back[name], values)
    assert back.facts["maker"] == "test"
    assert back.facts["n"] == 120
    assert back.facts["hash"] == back.content_hash() == drawn.content_hash()
    assert sorted(file.name for file in folder.iterdir()) == ["cube.npy", "dataset.json", "rows.parquet", "sigma.npy"]
    with pytest.raises(OutputError, match="holds a training set already"):
        DatasetWriter(folder)


def test_a_set_that_was_not_finished_is_none(drawn, tmp_path):
    def interrupted():
        with DatasetWriter(tmp_path) as writer:
            writer.add(drawn)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(InputError, match="is not a training set"):
        Dataset.load(tmp_path)
    assert len(Dataset.load(written(tmp_path, drawn))) == 120


def test_pieces_must_fit(drawn, tmp_path):
    small = Dataset(drawn.cube[..., 1:-1, 1:-1], drawn.sigma, drawn.columns, {})
    with pytest.raises(InputError, match=r"stamps of 31 px and columns .* does not fit a set with 33 px"):
        written(tmp_path / "a", drawn, small)
    with pytest.raises(InputError, match="no stamps at all"):
        written(tmp_path / "b", drawn.select(np.arange(0)))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        written(tmp_path / "file" / "set", drawn)
    with pytest.raises(OutputError, match="inside a block"):
        DatasetWriter(tmp_path / "c")._write_header()


def test_the_hash_follows_the_contents(drawn):
    changed = drawn.cube.copy()
    changed[5, 0, 0, 0] += 1
    other = Dataset(changed, drawn.sigma, drawn.columns, drawn.facts)
    assert other.content_hash() != drawn.content_hash()
    assert drawn.select(np.arange(60)).content_hash() != drawn.content_hash()


def test_what_is_not_a_set_is_refused(drawn, tmp_path):
    with pytest.raises(InputError, match="is not a training set"):
        Dataset.load(tmp_path)
    with pytest.raises(InputError, match="expected \\(n, 3, k, k\\)"):
        Dataset(drawn.cube[:, :2], drawn.sigma, drawn.columns, {})
    with pytest.raises(InputError, match="expected \\(120, 3\\)"):
        Dataset(drawn.cube, drawn.sigma[:3], drawn.columns, {})
    with pytest.raises(InputError, match=r"\['label'\] are missing"):
        Dataset(drawn.cube, drawn.sigma, {k: v for k, v in drawn.columns.items() if k != "label"}, {})


def test_the_eight_symmetries_are_all_different_and_keep_the_centre(rng):
    stamp = rng.normal(size=(1, 3, 5, 5))
    turned = symmetry(np.repeat(stamp, 8, axis=0), np.arange(8))
    assert len({item.tobytes() for item in turned}) == 8
    np.testing.assert_array_equal(turned[0], stamp[0])
    np.testing.assert_array_equal(turned[4], stamp[0].swapaxes(-1, -2))
    np.testing.assert_array_equal(turned[3], np.rot90(stamp[0], 2, axes=(-2, -1)))
    np.testing.assert_array_equal(turned[:, :, 2, 2], np.repeat(stamp[:, :, 2, 2], 8, axis=0))
    np.testing.assert_array_equal(np.sort(turned.reshape(8, -1)), np.sort(np.repeat(stamp.reshape(1, -1), 8, axis=0)))


def columns(**values):
    return {name: np.array(list(text)) for name, text in values.items()}


def test_chains_of_shared_values_make_one_group():
    table = columns(tile="AABBCD", night="123456", reference="uvvwxy")
    assert connected_groups(table).tolist() == [0, 0, 0, 0, 1, 2]
    assert connected_groups(table, by=("tile",)).tolist() == [0, 0, 1, 1, 2, 3]


def test_the_split_is_two_to_one_to_one_and_keeps_groups(drawn, rng):
    split = split_groups(drawn.columns, rng=rng)
    assert [len(part) for part in split.parts().values()] == [60, 30, 30]
    assert np.sort(np.concatenate(list(split.parts().values()))).tolist() == list(range(120))
    check_split(drawn.columns, split)
    tiles = [set(drawn["tile"][rows]) for rows in split.parts().values()]
    assert not tiles[0] & tiles[1] | tiles[0] & tiles[2] | tiles[1] & tiles[2]


def test_the_split_depends_on_the_generator_only(drawn):
    first, second, other = (split_groups(drawn.columns, rng=np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.train, second.train)
    assert first.train.tolist() != other.train.tolist()


@pytest.mark.parametrize("column", ["tile", "night", "reference"])
def test_groups_that_cross_are_refused(drawn, rng, column):
    split = split_groups(drawn.columns, rng=rng)
    values = drawn[column].copy()
    values[split.test[0]] = values[split.train[0]]
    with pytest.raises(InputError, match=f"{column} 'pair.*' is in train and in test") as caught:
        check_split({**drawn.columns, column: values}, split)
    assert caught.value.facts["column"] == column


def test_a_row_may_be_in_one_part_only(drawn, rng):
    split = split_groups(drawn.columns, rng=rng)
    twice = Split(split.train, split.validation, np.append(split.test, split.validation[:1]))
    with pytest.raises(InputError, match="rows are in validation and in test"):
        check_split(drawn.columns, twice)


def test_one_night_cannot_be_split_by_night(drawn, rng):
    one_night = {**drawn.columns, "night": np.full(len(drawn), "20190319")}
    with pytest.raises(InputError, match="1 group"):
        split_groups(one_night, rng=rng)
    split = split_groups(one_night, rng=rng, by=("tile", "reference"))
    assert len(split.test) == 30
