"""Products appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gueststar.errors import OutputError
from gueststar.night.folders import clean_leftovers, replace_file, staged_folder, write_bytes


def test_folder_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with staged_folder(target) as folder:
        (folder / "x").write_text("1")
        assert not target.exists()
    assert (target / "x").read_text() == "1"
    assert [item.name for item in target.parent.iterdir()] == ["b"]


def test_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), staged_folder(tmp_path / "a" / "b") as folder:
        _fail_after_writing(folder / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept_and_an_empty_folder_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with staged_folder(target) as folder:
        (folder / "x").write_text("1")
    message = r"exists already; choose another --out, or give --overwrite"
    with pytest.raises(OutputError, match=message), staged_folder(target):
        pass
    assert (target / "x").read_text() == "1"


def test_overwrite_replaces_known_files_only(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as folder:
        (folder / "x").write_text("1")
    with staged_folder(target, overwrite=True, known={"x"}) as folder:
        (folder / "x").write_text("2")
    assert (target / "x").read_text() == "2"
    (target / "thesis.tex").write_text("years of work")
    message = r"not replaced: it holds 'thesis.tex'"
    with pytest.raises(OutputError, match=message), staged_folder(target, overwrite=True, known={"x"}):
        pass
    assert (target / "thesis.tex").exists()


def test_old_products_stay_when_the_new_ones_fail(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as folder:
        (folder / "x").write_text("1")
    with pytest.raises(RuntimeError), staged_folder(target, overwrite=True, known={"x"}):
        raise RuntimeError
    assert (target / "x").read_text() == "1"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "no space is left on the disk; free some space or choose another --out"),
        (errno.EROFS, "check who owns the folder, or choose another --out"),
        (errno.EIO, "choose another --out"),
    ],
)
def test_disk_errors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("gueststar.night.folders.os.fsync", fail)
    with pytest.raises(OutputError, match=text) as caught, staged_folder(tmp_path / "out") as folder:
        write_bytes(folder / "x", b"12")
    assert caught.value.facts["errno"] == number
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; a folder is written here"), staged_folder(tmp_path / "file"):
        pass
    with pytest.raises(OutputError, match="cannot write"), staged_folder(tmp_path / "file" / "out"):
        pass


def test_replaced_file_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    replace_file(path, b"1")
    replace_file(path, b"2")
    assert path.read_bytes() == b"2"
    monkeypatch.setattr("gueststar.night.folders.os.fsync", _full)
    with pytest.raises(OutputError, match="no space"):
        replace_file(path, b"3")
    assert path.read_bytes() == b"2"
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]


def _fail_after_writing(path: Path) -> None:
    path.write_text("1")
    raise RuntimeError("boom")


def _full(_handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_leftovers_of_dead_processes_are_cleaned(tmp_path: Path) -> None:
    dead = tmp_path / ".a.part-999999999-00"
    alive = tmp_path / f".b.part-{os.getpid()}-00"
    for folder in (dead, alive, tmp_path / "c"):
        folder.mkdir()
    assert clean_leftovers(tmp_path) == 1
    assert sorted(item.name for item in tmp_path.iterdir()) == [alive.name, "c"]
    assert clean_leftovers(tmp_path / "absent") == 0
