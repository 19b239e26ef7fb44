"""What a study trains and tests on: whole groups, planted labels, and nothing that was trained on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gueststar.errors import InputError
from gueststar.realbogus.stored import open_dataset
from gueststar.study.material import open_material, some_groups
from gueststar.study.planting import Relabelled, plant, plant_in
from study_sets import write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "set")


@pytest.fixture(scope="module")
def material(folder):
    return open_material(folder)


def test_parts_are_those_of_the_set(folder, material):
    split = open_dataset(folder).split()
    for name in ("train", "validation"):
        np.testing.assert_array_equal(getattr(material.split, name), getattr(split, name))
    np.testing.assert_array_equal(material.test_rows, split.test)
    images, by = material.images("image_id")
    assert by == "the column image_id"
    assert np.unique(images).size == np.unique(material.column("image_id")).size > 1
    assert material.images("none")[1] == "what is linked by tile, night, reference"
    assert set(material.column("none")) == {""}


def test_smaller_choices_are_whole_groups_inside_larger_ones(material):
    group, labels, rows = material.group, material.dataset.labels, material.split.train
    before = np.empty(0, int)
    for wanted in (20, 40, 80, 120, 500):
        chosen = some_groups(group, labels, rows, wanted, np.random.default_rng(4))
        assert set(before) <= set(chosen) <= set(rows)
        assert np.unique(labels[chosen]).size == 2
        assert not np.isin(np.setdiff1d(rows, chosen), rows[np.isin(group[rows], group[chosen])]).any()
        before = chosen
    np.testing.assert_array_equal(chosen, rows)
    assert some_groups(group, labels, rows, 80, np.random.default_rng(4)).size == pytest.approx(80, abs=20)


def test_most_rows_are_taken_from_both_parts(folder, material):
    less = open_material(folder, max_train=60)
    assert 40 <= less.split.train.size <= 80
    assert set(less.split.train) < set(material.split.train)
    assert set(less.split.validation) < set(material.split.validation)
    np.testing.assert_array_equal(less.test_rows, material.test_rows)
    assert "About 60 rows" in less.notes[0]


def test_a_set_without_validation_part_gets_one_of_whole_groups(tmp_path, folder):
    made = open_material(write_set(tmp_path / "all", all_train=True, seed=4), test=folder)
    assert "no validation part" in made.notes[0]
    assert made.split.validation.size == pytest.approx(64, abs=20)
    assert not set(made.group[made.split.train]) & set(made.group[made.split.validation])
    assert made.split.train.size + made.split.validation.size == 320


def test_what_was_trained_on_is_not_tested_on(tmp_path, folder):
    alone = write_set(tmp_path / "all", all_train=True)
    with pytest.raises(InputError, match="has no test part, so there is nothing to test on"):
        open_material(alone)
    with pytest.raises(InputError, match="has no test part, so there is nothing to test on"):
        open_material(alone, test=alone)
    same_images = write_set(tmp_path / "same", all_train=True, seed=5)
    with pytest.raises(InputError, match=r"image_id 's5image000' is trained on in .* and tested on in .*\(16 such\)"):
        open_material(write_set(tmp_path / "parts", seed=5, n=300, all_train=True), test=same_images)


def test_a_part_without_a_class_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match=r"the train part has 0 reals and \d+ artifacts; a study needs both"):
        open_material(write_set(tmp_path / "bogus", label=0, all_train=True), test=folder)
    with pytest.raises(InputError, match=r"\d+ reals and 0 artifacts to test on; both are needed"):
        open_material(folder, test=write_set(tmp_path / "real", label=1, all_train=True, seed=8))


def test_rows_with_an_old_label_only_are_kept_where_they_are_asked_for(tmp_path):
    folder = write_set(tmp_path / "set", unlabelled=0.2)
    without, with_old = open_material(folder), open_material(folder, old_labels="old_label")
    assert without.test_rows.size < with_old.test_rows.size
    assert (without.labels >= 0).all()
    assert (with_old.labels < 0).any()
    assert with_old.every.train.size > with_old.split.train.size == without.split.train.size


def test_reals_are_planted_until_they_are_the_share(material):
    before = material.dataset.labels.copy()
    noisy, wrong = plant(material.dataset, material.split, 0.15, np.random.default_rng(0))
    np.testing.assert_array_equal(material.dataset.labels, before)
    assert (before[wrong] == 1).all()
    assert (noisy.labels[wrong] == 0).all()
    for rows in (material.split.train, material.split.validation):
        artifacts = rows[noisy.labels[rows] == 0]
        assert np.isin(artifacts, wrong).mean() == pytest.approx(0.15, abs=0.02)
    np.testing.assert_array_equal(noisy.labels[material.test_rows], before[material.test_rows])
    assert noisy.facts["relabelled"] == wrong.size


def test_no_more_than_half_of_the_reals_are_planted_and_a_share_of_one_is_refused():
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert plant_in(labels, np.arange(12), 0.49, np.random.default_rng(0)).size == 2
    assert plant_in(labels, np.arange(12), 0.0, np.random.default_rng(0)).size == 0
    with pytest.raises(InputError, match=r"a share of 1\.0 of the artifacts cannot be real"):
        plant_in(labels, np.arange(12), 1.0, np.random.default_rng(0))


def test_a_relabelled_set_is_the_set_below_but_for_its_labels(material):
    base = material.dataset
    other = Relabelled(base, 1 - base.labels)
    np.testing.assert_array_equal(other["label"], 1 - base["label"])
    np.testing.assert_array_equal(other["snr"], base["snr"])
    np.testing.assert_array_equal(other.stamps(np.arange(3), size=15), base.stamps(np.arange(3), size=15))
    assert (len(other), other.stamp_size) == (len(base), base.stamp_size)
    assert other.content_hash() not in (base.content_hash(), Relabelled(base, base.labels).content_hash())
    with pytest.raises(InputError, match=r"labels of shape \(2,\) for a set of 320 rows"):
        Relabelled(base, np.zeros(2, int))


def test_damage_is_told(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in (copy / "shards").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of 4 shards can be read"):
        open_material(copy)
