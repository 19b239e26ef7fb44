"""What is in a data set, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.damage import Damage, find_damage
from gueststar.realbogus.manifest import read_manifest
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.realbogus.suspicion import REASONS

__all__ = ["SetSummary", "Verification", "summarise", "verify_dataset"]

_SNR_LIMITS = (5.0, 7.0, 10.0, 20.0, 40.0)


@dataclass(frozen=True, slots=True)
class SetSummary:
    """Numbers of a data set.

    Parameters
    ----------
    n : int
        Rows that are used.
    stamp_size : int
        Px.
    tables : dict
        Title to (name, reals, artifacts, neither) for each value: by part, S/N, chip, suspicion, what it is by the
        truth.
    missing : float
        Share of pixels without data, of a sample of 1000 stamps.
    contamination : float
        Share of class 0 that is real by the truth; NaN without a truth.
    damaged : tuple of Damage
    """

    n: int
    stamp_size: int
    tables: dict[str, list[tuple[str, int, int, int]]]
    missing: float
    contamination: float
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of `verify_dataset`: shards and rows in all, damaged shards, and what else is wrong, as sentences."""

    shards: int
    rows: int
    damaged: tuple[Damage, ...]
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damaged and not self.problems


def summarise(data: StoredDataset) -> SetSummary:
    """Count the rows of a data set by everything that matters."""
    strength = np.abs(np.asarray(data["snr"], np.float64)) if "snr" in data.column_names else np.full(len(data), np.nan)
    names = ["no S/N", *_between(_SNR_LIMITS)]
    interval = np.where(np.isfinite(strength), np.searchsorted(_SNR_LIMITS, strength, side="right") + 1, 0)
    tables = {
        "part": _counted(*data.codes("split"), data.labels, empty="none"),
        "S/N": _counted(interval, names, data.labels, empty="", ordered=True),
    }
    if "chip" in data.column_names:
        tables["chip"] = _counted(*data.codes("chip"), data.labels, empty="none")
    codes, texts = data.codes("suspicion")
    rows = []
    for reason in REASONS:
        marked = np.array([reason in text.split(",") for text in texts], bool)[codes]
        rows.append((reason, *_by_label(data.labels[marked])))
    tables["suspicion"] = [("none", *_by_label(data.labels[np.array([not t for t in texts], bool)[codes]])), *rows]
    codes, texts = data.codes("true_kind")
    tables["truth"] = _counted(codes, texts, data.labels, empty="unknown")
    sample = np.unique(np.linspace(0, len(data) - 1, min(len(data), 1000)).astype(np.int64))
    missing = float(np.isnan(data.stamps(sample)).mean()) if len(data) else 0.0
    return SetSummary(
        len(data), data.stamp_size, tables, missing, _contamination(codes, texts, data.labels), data.damaged
    )


def verify_dataset(folder: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Read every byte of a data set, compare hashes, and check labels and groups.

    Parameters
    ----------
    folder : path
    progress : callable, optional
        Called as progress(shards done, shards in all).

    Raises
    ------
    InputError
        When it is not a data set.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    damaged = []
    for done, shard in enumerate(manifest.shards, start=1):
        reason = find_damage(folder, shard, manifest, check_hashes=True)
        if reason:
            damaged.append(Damage(shard.name, reason, shard.n))
        if progress is not None:
            progress(done, len(manifest.shards))
    problems = []
    try:
        data = open_dataset(folder)
        if any(data.codes("split")[1]):
            data.check_split(data.split())
    except InputError as error:
        if len(damaged) < len(manifest.shards):
            problems.append(error.message)
    return Verification(len(manifest.shards), manifest.n, tuple(damaged), tuple(problems))


def _between(limits: Sequence[float]) -> list[str]:
    inner = [f"{low:g}-{high:g}" for low, high in pairwise(limits)]
    return [f"< {limits[0]:g}", *inner, f"> {limits[-1]:g}"]


def _counted(
    codes: NDArray[np.integer], names: Sequence[str], labels: NDArray[np.int8], *, empty: str, ordered: bool = False
) -> list[tuple[str, int, int, int]]:
    """Rows of each code by label; those that occur, by name unless they have an order."""
    found = []
    for code, name in enumerate(names):
        mine = labels[codes == code]
        if mine.size:
            found.append((name or empty, *_by_label(mine)))
    # Numbers by their size, other names by the alphabet.
    return found if ordered else sorted(found, key=lambda row: (not row[0].isdigit(), row[0].zfill(8)))


def _by_label(labels: NDArray[np.int8]) -> tuple[int, int, int]:
    counts = Counter(labels.tolist())
    return counts[1], counts[0], counts[-1]


def _contamination(codes: NDArray[np.int32], texts: Sequence[str], labels: NDArray[np.int8]) -> float:
    from gueststar.simulate.causes import REAL_KINDS

    artifact = labels == 0
    known = artifact & np.array([bool(text) for text in texts], bool)[codes]
    if not known.any():
        return float("nan")
    return float(np.array([text in REAL_KINDS for text in texts], bool)[codes][known].mean())
