"""Folders that appear whole or not at all, and the errors of a disk in plain words."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from gueststar.errors import OutputError

__all__ = ["clean_leftovers", "explain_os_error", "remove_tree", "replace_file", "staged_folder", "write_bytes"]

_MARK = ".part-"


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False, known: Collection[str] = ()) -> Iterator[Path]:
    """Give a folder beside `target` to write into, and rename it to `target` when the block ends well.

    When the block raises, the folder is removed, together with the parents that were made for it, so nothing
    half-written is ever seen under the name `target`.

    Parameters
    ----------
    target : Path
        Folder to make.
    overwrite : bool
        Replace a folder that exists, if it holds nothing but files named in `known`.
    known : collection of str
        File names that gueststar writes there.

    Raises
    ------
    OutputError
        When `target` exists (an empty folder is allowed), or the place cannot be written to.
    """
    target = Path(os.path.abspath(target))
    _check_target(target, overwrite=overwrite, known=known)
    made: list[Path] = []
    staged = target.parent / f".{target.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with explain_os_error(target):
            made = _make_parents(target.parent)
            staged.mkdir()
        yield staged
        with explain_os_error(target):
            _swap(staged, target)
        made = []
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        for folder in reversed(made):
            _remove_if_empty(folder)


def _check_target(target: Path, *, overwrite: bool, known: Collection[str]) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file; a folder is written here: choose another --out", path=str(target))
    with explain_os_error(target):
        present = sorted(item.name for item in target.iterdir())
    if not present:
        return
    if not overwrite:
        raise OutputError(
            f"{target} exists already; choose another --out, or give --overwrite to replace it", path=str(target)
        )
    foreign = [name for name in present if name not in known]
    if foreign:
        raise OutputError(
            f"{target} is not replaced: it holds {foreign[0]!r}, which gueststar did not write; choose another --out",
            path=str(target),
            foreign=foreign[0],
        )


def _make_parents(folder: Path) -> list[Path]:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    missing.reverse()
    for item in missing:
        item.mkdir(exist_ok=True)
    return missing


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # somebody else writes there by now


def _swap(staged: Path, target: Path) -> None:
    """Rename into place; what was there before goes away only after the new one stands."""
    if target.is_dir() and any(target.iterdir()):
        old = target.parent / f".{target.name}{_MARK}old-{secrets.token_hex(4)}"
        target.rename(old)
        staged.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.rename(target)
    _sync_folder(target.parent)


def clean_leftovers(folder: Path) -> int:
    """Remove what killed runs left half-written in a folder; returns how many.

    A folder whose writer is alive (this machine's process list) is left alone.
    """
    removed = 0
    for item in folder.glob(f".*{_MARK}*") if folder.is_dir() else ():
        owner = item.name.rpartition(_MARK)[2].partition("-")[0]
        if owner.isdigit() and _alive(int(owner)):
            continue
        if item.is_dir():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
        removed += 1
    return removed


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file and have it on the disk before returning.

    Products are built in memory and written here, so that a full disk shows as one plain error.

    Raises
    ------
    OutputError
        When the disk is full or the place cannot be written to.
    """
    with explain_os_error(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it into place, so that readers see the old or the new one."""
    with explain_os_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        write_bytes(part, data)
        with explain_os_error(path):
            part.replace(path)
            _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explain_os_error(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(_explain(error, path), path=str(path), errno=error.errno) from error


def _explain(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {path}: no space is left on the disk; free some space or choose another --out"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write {path}: {error.strerror}; check who owns the folder, or choose another --out"
    if error.errno == errno.ENOTDIR:
        return f"cannot write {path}: a part of this path is a file; choose another --out"
    return f"cannot write {path}: {error.strerror or error}; choose another --out"
