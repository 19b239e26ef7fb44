"""A training that was killed goes on to the same bits; one of other options or data is refused; memory that lacks."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from gueststar.errors import InputError, OutputError
from gueststar.realbogus import predict as predicting
from gueststar.realbogus.checkpoint import CHECKPOINT_FILE, Checkpoint, identity
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.feed import Batch, ahead
from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.pieces import Pieces, short_of_memory
from gueststar.realbogus.split import Split, split_groups
from gueststar.realbogus.train import Loop, Train, predict, train_network
from gueststar.realbogus.watch import Watch
from realbogus_stamps import dataset

TINY = Train(epochs=3, batch_size=16, stamp_size=15, seed=2)
METHODS = ("naive", "correct", "coteach", "ensemble", "drop-flagged", "two-stage")
NOISE = MappingProxyType(
    {name: LabelNoise(method=name, folds=2, ramp_epochs=2, flag_above=0.9, flag_reals=False) for name in METHODS}
)
SAME = {"train": TINY}


class KilledError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return dataset(96, np.random.default_rng(5), size=21, pairs=12)


@pytest.fixture(scope="module")
def split(drawn: Dataset) -> Split:
    return split_groups(drawn.columns, rng=np.random.default_rng(0))


@pytest.fixture(scope="module", params=METHODS)
def whole(request: pytest.FixtureRequest, drawn: Dataset, split: Split) -> tuple[str, Any]:
    return request.param, train_robust(drawn, split, TINY, NOISE[request.param])


def same(one: Any, other: Any) -> None:
    """Every bit of two trainings is the same."""
    assert one.history == other.history
    assert (one.best_epoch, one.stopped, dict(one.label_noise)) == (other.best_epoch, other.stopped, other.label_noise)
    np.testing.assert_array_equal(one.validation_logits, other.validation_logits)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def killed_after(calls: int) -> Any:
    """A function that ends the training when it is called so often."""
    left = [calls]

    def count(*_: Any, **__: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KilledError

    return count


@pytest.mark.parametrize(("passes", "steps"), [(3, None), (None, 8)], ids=["after a pass", "within a pass"])
def test_killed_and_resumed_is_the_same_as_run_to_the_end(
    passes: int | None, steps: int | None, whole: tuple[str, Any], drawn: Dataset, split: Split, tmp_path: Path
) -> None:
    method, expected = whole
    who = identity(drawn, split, SAME)
    minutes = 1e-9 if steps else 0.0
    killer = {"epoch": killed_after(passes)} if passes else {"step": killed_after(steps or 1)}
    with pytest.raises(KilledError):
        train_robust(
            drawn, split, TINY, NOISE[method], watch=Watch(Checkpoint(tmp_path, who, minutes=minutes), **killer)
        )
    seen: list[int] = []
    kept = Checkpoint(tmp_path, who, minutes=minutes)
    assert kept.resumed
    found = train_robust(
        drawn, split, TINY, NOISE[method], watch=Watch(kept), progress=lambda _, done, __: seen.append(done)
    )
    same(found, expected)
    assert seen[0] > 1
    # Nothing is left to do: all of it comes from what was kept.
    again = train_robust(
        drawn, split, TINY, NOISE[method], watch=Watch(Checkpoint(tmp_path, who), step=killed_after(1))
    )
    same(again, expected)


def test_a_process_that_is_killed_leaves_a_state_that_goes_on(drawn: Dataset, split: Split, tmp_path: Path) -> None:
    who = identity(drawn, split, SAME)
    child = os.fork()
    if child == 0:  # pragma: no cover - it dies
        train_network(drawn, split, TINY, watch=Watch(Checkpoint(tmp_path, who, minutes=1e-9), step=_dies_at(5)))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    kept = Checkpoint(tmp_path, who)
    assert kept.resumed
    same(train_network(drawn, split, TINY, watch=Watch(kept)), train_network(drawn, split, TINY))
    kept.remove()
    assert not list(tmp_path.iterdir())


def _dies_at(steps: int) -> Any:
    left = [steps]

    def count(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)

    return count


def test_another_training_is_refused_with_what_differs(drawn: Dataset, split: Split, tmp_path: Path) -> None:
    Checkpoint(tmp_path, identity(drawn, split, SAME)).keep("training", {"number": 1})
    for options, words in (
        (TINY.model_copy(update={"batch_size": 12}), r"another one: train.batch_size was 16, is 12; .*--restart"),
        (TINY.model_copy(update={"context": ("a",), "seed": 1, "epochs": 9, "dropout": 0.3}), "train.context was"),
    ):
        with pytest.raises(OutputError, match=words):
            Checkpoint(tmp_path, identity(drawn, split, {"train": options}))
    fewer = Split(split.train[1:], split.validation, split.test)
    with pytest.raises(OutputError, match="its data are others"):
        Checkpoint(tmp_path, identity(drawn, fewer, SAME))
    labels = drawn.labels.copy()
    labels[split.train[0]] = -1
    relabelled = Dataset(drawn.cube, drawn.sigma, {**drawn.columns, "label": labels}, {})
    with pytest.raises(OutputError, match="its data are others"):
        Checkpoint(tmp_path, identity(relabelled, split, SAME))
    often = {"train": TINY.model_copy(update={"checkpoint_minutes": 1.0})}
    assert Checkpoint(tmp_path, identity(drawn, split, often)).kept("training") == {"number": 1}
    assert not Checkpoint(tmp_path, identity(drawn, fewer, SAME), restart=True).resumed
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_a_damaged_file_is_told_and_a_failed_write_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path, {"a": "1"})
    kept.keep("training", {"number": 1})
    before = kept.path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OutputError, match="cannot be written to .*No space left"):
            kept.keep("training", {"number": 2})
    assert kept.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    for content in (before[: len(before) // 2], b"", b"no state at all"):
        kept.path.write_bytes(content)
        with pytest.raises(OutputError, match="cannot be read: .*--restart"):
            Checkpoint(tmp_path, {"a": "1"})


def test_a_state_of_another_network_is_refused(drawn: Dataset, split: Split, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, {"a": "1"})
    with pytest.raises(KilledError):
        train_network(drawn, split, TINY, watch=Watch(kept, epoch=killed_after(2)))
    other = TINY.model_copy(update={"context": ("star_distance",)})
    with pytest.raises(InputError, match="does not fit this network"):
        train_network(drawn, split, other, watch=Watch(Checkpoint(tmp_path, {"a": "1"})))


def test_why_it_stopped_is_told(drawn: Dataset, split: Split) -> None:
    frozen = Train(epochs=60, batch_size=48, stamp_size=15, learning_rate=1e-12, patience=1)
    assert train_network(drawn, split, frozen).stopped == "patience"
    assert train_network(drawn, split, TINY.model_copy(update={"epochs": 1})).stopped == "epochs"


def test_a_step_in_pieces_has_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    weights, x = torch.zeros(3, requires_grad=True), torch.randn(10, 3)
    told: list[str] = []
    pieces, sizes = Pieces(told.append), []

    def learn(part: Batch) -> int:
        sizes.append(len(part))
        if len(part) > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        (((part.inputs[0] @ weights - 1.0) ** 2).mean() * (len(part) / 10)).backward()
        return len(part)

    def clear() -> None:
        weights.grad = None

    assert sum(pieces(Batch(np.arange(10), (x,)), learn, clear=clear)) == 10
    assert sizes == [10, 5, 2, 3, 2, 3]
    found = weights.grad
    clear()
    ((x @ weights - 1.0) ** 2).mean().backward()
    torch.testing.assert_close(found, weights.grad)
    assert told[0].startswith("out of memory with 10 stamps at once; going on with 5")
    assert "the sum of 4 pieces" in told[1]
    with pytest.raises(InputError, match="does not suffice to train on 2 stamps at once: MemoryError"):
        pieces(Batch(np.arange(10), (x,)), lambda _: (_ for _ in ()).throw(MemoryError()), clear=clear)


def test_memory_errors_are_told_from_others() -> None:
    assert short_of_memory(MemoryError())
    assert short_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not short_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not short_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("method", ["naive", "coteach"])
def test_a_training_short_of_memory_goes_on_in_pieces(
    method: str, drawn: Dataset, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, told = Loop.losses, []

    def short(self: Loop, batch: Batch) -> Any:
        if len(batch) > 8:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, batch)

    monkeypatch.setattr(Loop, "losses", short)
    found = train_robust(drawn, split, TINY, NOISE[method], watch=Watch(tell=told.append))
    assert (found.pieces, len(told)) == (2, 1)
    assert len(found.history) == TINY.epochs
    monkeypatch.setattr(Loop, "losses", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_network(drawn, split, TINY)


def test_predictions_take_fewer_stamps_when_memory_is_short(
    drawn: Dataset, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = train_network(drawn, split, TINY.model_copy(update={"epochs": 1})).network
    expected, whole, sizes = predict(network, drawn), predicting.network_inputs, []

    def short(dataset: Any, numbers: Any, rows: Any, *more: Any, **named: Any) -> Any:
        sizes.append(rows.size)
        if rows.size > 30:
            raise MemoryError
        return whole(dataset, numbers, rows, *more, **named)

    monkeypatch.setattr(predicting, "network_inputs", short)
    np.testing.assert_allclose(predict(network, drawn), expected, atol=1e-5)
    assert sizes[0] == 96
    assert max(sizes[-4:]) <= 30


def test_reading_ahead_keeps_order_and_errors() -> None:
    assert list(ahead(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
    assert list(ahead(lambda x: x, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda x: 1 / x, [2, 1, 0, 5]))
