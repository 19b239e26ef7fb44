"""`gueststar train` on a data set: stopped, refused, gone on with, and what it says meanwhile."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from gueststar.cli.main import app
from gueststar.errors import OutputError
from gueststar.realbogus.card import read_model
from gueststar.realbogus.checkpoint import CHECKPOINT_FILE
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Loop
from gueststar.realbogus.train_options import Train, slow_precision
from gueststar.realbogus.writer import DatasetWriter
from gueststar.training.kept_sets import kept_set
from gueststar.training.passes import TrainingSet
from realbogus_stamps import dataset

SET = ("--set", "train.stamp_size=15", "--set", "train.batch_size=16", "--set", "train.threads=1", "--epochs", "3")


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["train", *(str(word) for word in words)])


def words_of(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = dataset(96, np.random.default_rng(8), size=21, pairs=12)
    part = np.empty(96, "U10")
    for name, rows in split_groups(drawn.columns, rng=np.random.default_rng(1)).parts().items():
        part[rows] = name
    sigma = {f"sky_sigma_{plane}": drawn.sigma[:, i] for i, plane in enumerate(("science", "reference", "difference"))}
    made = tmp_path_factory.mktemp("sets") / "set"
    with ShardWriter(made, rows_per_shard=40) as writer:
        writer.add(drawn.cube, {"suspicion": "", **drawn.columns, **sigma, "split": part, "true_kind": ""})
    return made


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the user lose patience at a step."""
    whole = Loop.descend

    def arm(step: int) -> None:
        left = [step]

        def descend(self: Loop) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            whole(self)

        monkeypatch.setattr(Loop, "descend", descend)

    return arm


@pytest.mark.parametrize("labels", ["naive", "coteach"])
def test_stopped_by_the_user_it_goes_on_to_the_same_model(
    labels: str, folder: Path, stopped_at: Callable[[int], None], tmp_path: Path
) -> None:
    out, words = tmp_path / "model", (*SET, "--data", folder, "--labels", labels)
    stopped_at(8)
    stopped = call("--out", out, *words)
    assert stopped.exit_code == 130, stopped.output
    assert "The same command goes on from" in words_of(stopped)
    assert (out / CHECKPOINT_FILE).is_file()
    other = call("--out", out, *words, "--seed", 4)
    assert other.exit_code == 1
    assert "train.seed was 0, is 4" in words_of(other)
    assert "--restart" in words_of(other)
    stopped_at(10_000)
    done = call("--out", out, *words)
    assert done.exit_code == 0, done.output
    for text in ("going on with the training that was stopped", "pass 3 loss", "all passes were made", "training.png"):
        assert text in words_of(done)
    assert {file.name for file in out.iterdir()} == {
        "card.json", "model.onnx", "weights.npz", "roc.png", "training.png", "training.csv",
    }  # fmt: skip
    twin = call("--out", tmp_path / "twin", *words, "--quiet")
    assert (twin.exit_code, twin.output) == (0, "")
    cards = [read_model(tmp_path / name)[0] for name in ("model", "twin")]
    assert cards[0] == cards[1]
    assert cards[0].training["stopped"] == "epochs"
    assert (out / "training.csv").read_text() == (tmp_path / "twin" / "training.csv").read_text()


def test_stopped_before_anything_was_kept_and_begun_anew(
    folder: Path, stopped_at: Callable[[int], None], tmp_path: Path
) -> None:
    words = ("--out", tmp_path / "model", *SET, "--data", folder)
    stopped_at(1)
    early = call(*words)
    assert early.exit_code == 130
    assert "Nothing of the training was kept yet" in words_of(early)
    stopped_at(8)
    assert call(*words).exit_code == 130
    stopped_at(10_000)
    anew = call(*words, "--seed", 4, "--restart")
    assert anew.exit_code == 0, anew.output
    assert "going on" not in anew.output
    assert read_model(tmp_path / "model")[0].training["options"]["seed"] == 4


def test_threads_are_one_for_each_core_unless_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gueststar.training

    given: list[int] = []

    def fake(options: Any, *_: Any, **__: Any) -> None:
        given.append(options.train.threads)
        raise OutputError("enough")

    monkeypatch.setattr(gueststar.training, "train_stored", fake)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(2)), raising=False)
    for words in ((), ("--set", "train.threads=5")):
        assert call("--out", tmp_path / "m", "--data", folder, *words).exit_code == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert call("--out", tmp_path / "m", "--data", folder).exit_code == 1
    assert given == [2, 5, 8]


def test_a_set_that_was_made_for_the_same_options_is_used_again(tmp_path: Path, rng: np.random.Generator) -> None:
    options = TrainingSet(n_pairs=3)
    assert kept_set(tmp_path / "set", options, {}) is None
    from gueststar import __version__

    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(dataset(24, rng, size=21))
        made = options.model_copy(update={"workers": 2}).model_dump(mode="json")
        writer.facts = {"options": made, "real_passes": {"m31": 4}, "code_version": __version__}
    found = kept_set(tmp_path / "set", options, {"m31": ()})
    assert found is not None
    assert len(found) == 24
    with pytest.raises(OutputError, match="not the one that is asked for .n_pairs, seed, real frames differ"):
        kept_set(tmp_path / "set", TrainingSet(n_pairs=4, seed=1), {})


def renamed(drawn: Any, name: str) -> Any:
    """The same set as if it were of other frames."""
    columns = {key: np.char.add(name, drawn[key]) for key in ("tile", "night", "reference")}
    chain = np.where(np.arange(len(drawn)) % 3, "default", "worse")
    return replace(drawn, columns={**drawn.columns, **columns, "chain": chain})


def stored(made: Path, drawn: Any, part: str) -> Path:
    sigma = {f"sky_sigma_{plane}": drawn.sigma[:, i] for i, plane in enumerate(("science", "reference", "difference"))}
    with ShardWriter(made) as writer:
        writer.add(drawn.cube, {"suspicion": "", **drawn.columns, **sigma, "split": part, "true_kind": ""})
    return made


def test_half_the_bits_on_a_processor_without_them_are_told(monkeypatch):
    half = Train(precision="bfloat16")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert "float32 is nearly three times quicker here" in slow_precision(half)
    assert slow_precision(Train()) == slow_precision(Train(precision="bfloat16", device="cuda")) == ""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert slow_precision(half) == ""
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")  # a later PyTorch may not tell
    assert slow_precision(half) == ""


def test_a_model_is_measured_on_sets_of_other_frames(folder, tmp_path):
    drawn = dataset(40, np.random.default_rng(9), size=21, pairs=5)
    apart = renamed(drawn, "b")
    failed = np.where(np.arange(40) % 4, "flagged", "flagged,failed_image")
    other = stored(tmp_path / "other", replace(apart, columns={**apart.columns, "suspicion": failed}), "")
    result = call("--data", folder, "--out", tmp_path / "model", *SET, "--epochs", 1, "--test", other)
    assert result.exit_code == 0, result.output
    metrics = read_model(tmp_path / "model")[0].metrics
    assert set(metrics) == {"test", "other", "other_default_chain", "other_accepted"}
    assert metrics["other_accepted"]["n_real"] + metrics["other_accepted"]["n_bogus"] == 30
    assert metrics["other"]["n_real"] + metrics["other"]["n_bogus"] == 40
    assert metrics["other_default_chain"]["n_real"] + metrics["other_default_chain"]["n_bogus"] == 26


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--test", "SET"), "give --data"),
        (("--data", "SET", "--test", "SET"), "is the set that is trained on"),
        (("--data", "SET", "--test", "SHARES"), "and is trained on"),
        (("--data", "SET", "--test", "SHARES", "--test", "deeper/SHARES"), "two folders are named"),
    ],
)
def test_sets_that_would_test_nothing_are_refused(folder, tmp_path, words, message):
    shares = stored(tmp_path / "shares", dataset(24, np.random.default_rng(8), size=21, pairs=3), "test")
    places = {"SET": folder, "SHARES": shares, "deeper/SHARES": tmp_path / "deeper" / "shares"}
    result = call("--out", tmp_path / "model", *SET, *(places.get(word, word) for word in words))
    assert result.exit_code != 0
    assert message in words_of(result)
    assert not (tmp_path / "model").exists()
