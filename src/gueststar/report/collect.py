"""Gather what a run has stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.night.products import read_outcome
from gueststar.types import Outcome

__all__ = ["CandidateRow", "Injected", "NightRecord", "collect", "read_run"]

_COLUMNS = ("x", "y", "ra", "dec", "snr", "rb_score")


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate of the gallery; `row` is its place in the image's stamps.npy."""

    image: str
    row: int
    x: float
    y: float
    ra: float
    dec: float
    snr: float
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Injected:
    """All artificial reals of a run, columns of shape (n,)."""

    snr: NDArray[np.float64]
    found: NDArray[np.bool_]
    real: NDArray[np.bool_]
    occupied: NDArray[np.bool_]
    pull: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.snr.size)


@dataclass(frozen=True, slots=True, eq=False)
class NightRecord:
    """A stored run: run.json, the outcomes, all scores and S/N, the best candidates, the artificial reals."""

    out: Path
    run: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    snr: NDArray[np.float64]
    score: NDArray[np.float64]
    best: tuple[CandidateRow, ...]
    injected: Injected
    damaged: tuple[str, ...]


def read_run(out: Path) -> dict[str, Any]:
    """Read run.json; raises InputError when `out` is not the folder of a run."""
    try:
        run: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
        sorted(run["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out} is not the folder of a run: run.json: {error}", path=str(out)) from error
    return run


def collect(out: Path, *, top: int) -> NightRecord:
    """Read a run's folder.

    Parameters
    ----------
    out : Path
        Folder that `run_night` wrote.
    top : int
        Candidates of the gallery, both signs.

    Raises
    ------
    InputError
        When it is not the folder of a run.
    """
    run = read_run(out)
    names = sorted(run["images"])
    outcomes, tables, damaged = [], [], []
    injected: list[pa.Table] = []
    best: list[CandidateRow] = []
    for name in names:
        folder = out / "images" / name
        stored = read_outcome(folder / "outcome.json")
        if stored is None:
            reason = run.get("not_stored", {}).get(name, "outcome.json is missing or damaged")
            outcomes.append(Outcome(name, run["images"][name], stage="store", reason=reason))
            continue
        outcomes.append(stored[0])
        if stored[0].status != "ok":
            continue
        try:
            table = _columns(folder / "candidates.parquet")
            if (folder / "injected.parquet").is_file():
                injected.append(pq.read_table(folder / "injected.parquet"))
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            damaged.append(f"{name}: {error}")
            continue
        tables.append((table["snr"], table["rb_score"]))
        best = _merged(best, name, table, top)
    snr = np.concatenate([snr for snr, _ in tables]) if tables else np.empty(0)
    score = np.concatenate([score for _, score in tables]) if tables else np.empty(0)
    return NightRecord(out, run, tuple(outcomes), snr, score, tuple(best), _injected(injected), tuple(damaged))


def _columns(path: Path) -> dict[str, NDArray[np.float64]]:
    """Number columns of a candidate table; NaN where a column is absent."""
    names = [name for name in _COLUMNS if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=names)
    n = table.num_rows
    return {
        name: table[name].to_numpy().astype(np.float64) if name in names else np.full(n, np.nan) for name in _COLUMNS
    }


def _merged(
    best: list[CandidateRow], name: str, table: Mapping[str, NDArray[np.float64]], top: int
) -> list[CandidateRow]:
    """The `top` best of those so far and those of one more image."""
    order = np.lexsort((-np.abs(table["snr"]), -np.round(np.nan_to_num(table["rb_score"], nan=-1.0), 3)))[:top]
    rows = [
        CandidateRow(name, int(i), *(float(table[key][i]) for key in ("x", "y", "ra", "dec", "snr", "rb_score")))
        for i in order
    ]
    return sorted(best + rows, key=lambda row: (-round(np.nan_to_num(row.score, nan=-1.0), 3), -abs(row.snr)))[:top]


def _injected(tables: list[pa.Table]) -> Injected:
    names = ("snr", "found", "real", "occupied", "candidate_flux", "candidate_flux_err", "flux_e")
    columns = {
        name: np.concatenate([table[name].to_numpy() for table in tables]) if tables else np.empty(0) for name in names
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = (columns["candidate_flux"] - columns["flux_e"]) / columns["candidate_flux_err"]
    found, real, occupied = (columns[name].astype(bool) for name in ("found", "real", "occupied"))
    return Injected(columns["snr"].astype(np.float64), found, real, occupied, pull.astype(np.float64))
