"""Table and picture of a training."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gueststar.errors import OutputError
from gueststar.realbogus.history import CURVES_FILE, HISTORY_FILE, history_figure, write_history
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.train import Epoch, Trained


def history(n: int) -> tuple[Epoch, ...]:
    return tuple(Epoch(0.7 * 0.6**i, 0.6 * 0.7**i + 0.01 * i, 1.0 - 0.1 * 0.5**i, 1e-3) for i in range(n))


def trained(n: int = 6) -> Trained:
    return Trained(RealBogusNet(size=15), history(n), 4, np.empty(0, np.float32), stopped="patience")


def test_table_and_picture_are_written_and_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        write_history(tmp_path / "m", trained(), title="m 1")
    with (tmp_path / "m" / HISTORY_FILE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["pass"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row["best"] for row in rows] == ["0", "0", "0", "0", "1", "0"]
    assert float(rows[0]["train_loss"]) == pytest.approx(0.7)
    assert float(rows[5]["validation_auc"]) == pytest.approx(1 - 0.1 * 0.5**5, abs=1e-6)
    assert (tmp_path / "m" / CURVES_FILE).stat().st_size > 10_000
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="curves of the training cannot be written"):
        write_history(tmp_path / "file", trained())


def test_the_picture_marks_the_best_pass_and_says_why_it_ended() -> None:
    left, right = history_figure(history(6), 4, stopped="patience", title="t").axes
    title = left.get_title(loc="left")
    assert "best pass 5 of 6" in title
    assert "patience" in title
    for axes in (left, right):
        marked = [line for line in axes.get_lines() if line.get_label() == "best pass"]
        assert marked[0].get_xdata()[0] == 5
    assert left.get_yscale() == "log"
    np.testing.assert_allclose(right.get_lines()[0].get_ydata()[-1], 0.1 * 0.5**5)


def test_one_pass_perfect_scores_and_lost_numbers_can_be_drawn(tmp_path: Path) -> None:
    for epoch in (Epoch(0.5, 0.4, 1.0, 1e-3), Epoch(float("nan"), float("nan"), 0.5, 1e-3)):
        history_figure([epoch], 0).savefig(tmp_path / "one.png")
