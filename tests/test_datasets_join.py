"""Several data sets as one: every row once, in its part, nothing of the sets changed."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.joining import join_datasets
from gueststar.datasets.summary import verify_dataset
from gueststar.errors import InputError, OutputError
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.stored import open_dataset
from realbogus_stamps import dataset


def write(folder, seed, *, name, size=21, **more):
    drawn = dataset(60, np.random.default_rng(seed), size=size, pairs=9)
    columns = {**drawn.columns, **{key: np.char.add(name, drawn[key]) for key in ("tile", "night", "reference")}}
    part = np.empty(60, "U10")
    for key, rows in split_groups(columns, rng=np.random.default_rng(0)).parts().items():
        part[rows] = key
    sigma = dict(zip(SIGMA_COLUMNS, drawn.sigma.T, strict=True))
    with ShardWriter(folder, rows_per_shard=25) as writer:
        writer.add(drawn.cube, {**columns, **sigma, "split": part, "suspicion": "", "true_kind": "", **more})
        writer.provenance = {"made_by": name}
    return folder


@pytest.fixture
def two(tmp_path):
    return write(tmp_path / "a", 1, name="a"), write(tmp_path / "b", 2, name="b")


def test_the_joined_set_has_the_rows_of_both(two, tmp_path):
    before = [open_dataset(folder) for folder in two]
    done = []
    joined = join_datasets(two, tmp_path / "both", progress=lambda *step: done.append(step))
    assert len(joined) == 120
    for name in ("split", "tile", "snr", "label"):
        np.testing.assert_array_equal(joined[name], np.concatenate([data[name] for data in before]))
    np.testing.assert_array_equal(joined.stamps(np.arange(60, 120)), before[1].stamps(np.arange(60)))
    assert [item["name"] for item in joined.facts["sets"]] == ["a", "b"]
    assert [item["hash"] for item in joined.facts["sets"]] == [data.content_hash() for data in before]
    assert joined.facts["sets"][1]["provenance"] == {"made_by": "b"}
    assert done[-1] == (6, 6)
    assert verify_dataset(tmp_path / "both").sound
    assert [open_dataset(folder).content_hash() for folder in two] == [data.content_hash() for data in before]
    shutil.rmtree(two[0])  # linked or copied, it stands by itself
    assert verify_dataset(tmp_path / "both").sound


def test_where_files_cannot_be_linked_they_are_copied(two, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert len(join_datasets(two, tmp_path / "both")) == 120
    assert verify_dataset(tmp_path / "both").sound


def test_what_does_not_fit_is_refused(two, tmp_path):
    out = tmp_path / "both"
    with pytest.raises(InputError, match="two data sets or more"):
        join_datasets(two[:1], out)
    with pytest.raises(InputError, match="a holds stamps of .*a; every row can be there once only"):
        join_datasets([two[0], two[0]], out)
    with pytest.raises(InputError, match="has stamp_size 23, .*a has 21"):
        join_datasets([two[0], write(tmp_path / "wide", 3, name="c", size=23)], out)
    with pytest.raises(InputError, match="differ in the columns weather; make both with one version"):
        join_datasets([two[0], write(tmp_path / "more", 3, name="c", weather="fair")], out)
    text = write(tmp_path / "text", 4, name="text", seeing="good")
    number = write(tmp_path / "number", 5, name="number", seeing=1.5)
    with pytest.raises(InputError, match="differ in the columns seeing"):
        join_datasets([text, number], out)
    # The same tiles, but dealt to one part: they were in several of the other set.
    with pytest.raises(InputError, match="is in .* of .*a and in test of .*tested; the test would see what was"):
        join_datasets([two[0], write(tmp_path / "tested", 3, name="a", split="test")], out)
    next((two[1] / "shards").glob("*.stamps.npy")).write_bytes(b"cut short")
    with pytest.raises(InputError, match="b is damaged: .*`gueststar dataset verify`"):
        join_datasets(two, out)
    assert not out.exists()


def test_a_set_is_not_written_over(two, tmp_path):
    with pytest.raises(OutputError, match="b holds a data set already"):
        join_datasets([two[0], write(tmp_path / "c", 5, name="c")], two[1])


def test_the_command_joins(two, tmp_path):
    called = CliRunner().invoke(app, ["dataset", "join", *map(str, two), "--out", str(tmp_path / "both")])
    assert called.exit_code == 0, called.output
    assert "120 stamps" in called.output
    assert len(open_dataset(tmp_path / "both")) == 120
