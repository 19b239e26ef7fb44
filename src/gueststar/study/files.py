"""Runs of a study on disk: each is kept as soon as it is done, and found again by what it was made with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError, OutputError
from gueststar.study.results import Run

__all__ = ["plain", "read_run", "run_path", "write_bytes", "write_json", "write_run", "write_table"]


def run_path(folder: Path, arm: str, seed: int) -> Path:
    """File that tells of one run; its scores lie beside it."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "_", arm.replace("+", " plus ")).strip("_")
    return folder / "runs" / f"{slug}-{seed}.json"


def write_run(folder: Path, run: Run, held: Mapping[str, Any], *, version: str) -> None:
    """Keep a run: its scores first, then what tells of them."""
    path = run_path(folder, run.arm, run.seed)
    scores = path.with_suffix(".npy")
    _written(scores, lambda part: np.save(part, run.scores))
    values = {"arm": run.arm, "seed": run.seed, "n_train": run.n_train, "steps": run.steps, "seconds": run.seconds}
    write_json(path, {**values, "facts": dict(run.facts), "held": dict(held), "version": version})


def read_run(folder: Path, arm: str, seed: int, held: Mapping[str, Any], n: int) -> Run | None:
    """A run that was kept; None where there is none that is whole.

    Parameters
    ----------
    folder : Path
    arm : str
    seed : int
    held : mapping
        Options and hashes that it must have been made with.
    n : int
        Test rows.

    Raises
    ------
    OutputError
        When it was made with others: what differs is named.
    """
    path = run_path(folder, arm, seed)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        scores = np.load(path.with_suffix(".npy"), mmap_mode="r")
        kept = {name: values[name] for name in ("arm", "seed", "n_train", "steps", "seconds", "facts")}
        before = values["held"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read: {error}; remove it, and the run is made again") from error
    if (different := _differences(before, plain(held))) or scores.shape != (n,):
        what = "; ".join(different) or f"{scores.shape[0]} test rows instead of {n}"
        raise OutputError(
            f"{folder} holds runs that were made otherwise: {what}; choose another folder, or give what was given "
            "before",
            path=str(folder),
        )
    return Run(scores=scores, **kept)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """What differs between two trees of plain values."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in sorted(set(before) | set(now)):
            found += _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
        return found
    return [] if before == now else [f"{path} was {before!r} and is {now!r}"]


def plain(value: Any) -> Any:
    """Values that JSON keeps as they are; numbers that are none become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON, whole or not at all."""
    write_bytes(path, (json.dumps(plain(values), indent=1, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    _written(path, lambda part: part.write_bytes(data))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]] | Mapping[str, NDArray[Any]]) -> None:
    """Write rows, or columns, as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(rows, Mapping):
        table = pa.table({name: pa.array(values) for name, values in rows.items()})
    else:
        table = pa.Table.from_pylist([dict(row) for row in rows])
    _written(path, lambda part: pq.write_table(table, part))


def _written(path: Path, write: Any) -> None:
    part = path.with_name(f".{path.name}.part{path.suffix}")  # NumPy adds the suffix where it is missing
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}", path=str(path)) from error
