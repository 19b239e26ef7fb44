"""Data sets read from disk: stamps and columns when they are asked for, batches in any order.

Nothing here grows with the stamps: a row costs about 20 bytes, and 4 to 8 more for each number that is asked for.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.damage import Damage, find_damage
from gueststar.realbogus.label_versions import LabelVersion, read_label_version
from gueststar.realbogus.manifest import PARTS, SIGMA_COLUMNS, Manifest, Shard, read_manifest
from gueststar.realbogus.row_batches import Batch, in_batches, shuffled
from gueststar.realbogus.scalars import scalars_of
from gueststar.realbogus.shard_files import ShardFiles
from gueststar.realbogus.shard_tables import ShardTables
from gueststar.realbogus.split import Split, check_coded_split
from gueststar.realbogus.suspicion import check_reasons, has_reason

__all__ = ["StoredDataset", "open_dataset"]


class StoredDataset:
    """Rows of a data set on disk; `open_dataset` makes it.

    ``data["snr"]`` reads one column of all rows. Rows are numbered from 0 in the order of the shards, those left out
    not counted.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    damaged : tuple of Damage
        Shards that were skipped.
    excluded : tuple of str
        Reasons of suspicion whose rows are left out.
    label_version : str
        Version of the labels; empty: those of the set.
    labels : ndarray, shape (n,), int8
        1 real, 0 artifact, -1 neither.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        shards: Sequence[Shard],
        damaged: Sequence[Damage],
        excluded: Sequence[str],
    ) -> None:
        self.folder, self.manifest = folder, manifest
        self.damaged, self.excluded = tuple(damaged), tuple(excluded)
        self._shards = tuple(shards)
        self._files = ShardFiles([shard.files(folder)[0] for shard in shards])
        self._chosen_by, self.label_version = "", ""
        self._use([np.arange(shard.n, dtype=np.int32) for shard in shards])
        if excluded:
            codes, texts = self.codes("suspicion")
            drop = np.array([has_reason(text, excluded) for text in texts], bool)[codes]
            ends = np.cumsum([0, *(shard.n for shard in shards)])
            self._use([np.flatnonzero(~drop[a:b]).astype(np.int32) for a, b in pairwise(ends)])
        self.labels: NDArray[np.int8] = np.asarray(self["label"], np.int8)
        wrong = np.setdiff1d(self.labels, (-1, 0, 1))
        if wrong.size:
            raise InputError(f"{folder}: label {wrong[0]}: 1 is real, 0 artifact, -1 neither; there is nothing else")

    def _use(self, kept: Sequence[NDArray[np.int32]]) -> None:
        """Use some rows of each shard, and number them."""
        self._tables = ShardTables([shard.files(self.folder)[1] for shard in self._shards], kept)
        self._shard = np.repeat(np.arange(len(kept), dtype=np.int32), [len(rows) for rows in kept])
        self._row = np.concatenate(kept)
        self._last_scalars: tuple[tuple[str, ...], NDArray[np.float32]] | None = None

    def numbers(self) -> NDArray[np.int64]:
        """Number of each row in the whole set, shape (n,): the same whatever is left out here."""
        first, starts = 0, {}
        for shard in self.manifest.shards:
            starts[shard.name] = first
            first += shard.n
        start = np.array([starts[shard.name] for shard in self._shards], np.int64)
        return start[self._shard] + self._row

    def relabelled(self, version: LabelVersion) -> StoredDataset:
        """The same rows with a version of their labels, and another hash."""
        made = copy.copy(self)
        made.labels = version.applied(self.labels, self.numbers())
        made.label_version = version.facts.name
        text = f"{self.content_hash()} labels {version.facts.labels_hash}"
        made._chosen_by = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return made

    def select(self, rows: NDArray[np.integer[Any]]) -> StoredDataset:
        """Some of the rows, in their order, as a set of its own; shards without any of them are not read again.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
            Their numbers in this set.
        """
        rows = np.unique(rows)
        made = copy.copy(self)
        shard, row = self._shard[rows], self._row[rows]
        there = np.unique(shard).tolist() or [0]
        made._shards = tuple(self._shards[i] for i in there)
        made._files = ShardFiles([item.files(self.folder)[0] for item in made._shards])
        made._use([row[shard == i] for i in there])
        made.labels = self.labels[rows]
        digest = hashlib.blake2b(f"{self.content_hash()} {len(self)} ".encode(), digest_size=16)
        digest.update(rows.astype(np.int64).tobytes())
        made._chosen_by = digest.hexdigest()
        return made

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column, shape (n,); texts as fixed-width strings. Nothing is kept: it is read again every time."""
        if name == "label" and self.label_version:
            return self.labels.copy()
        return self._tables.column(name)

    @property
    def stamp_size(self) -> int:
        """Width of the stored stamps, px."""
        return self.manifest.stamp_size

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that can be asked for."""
        return self._tables.names

    @property
    def facts(self) -> Mapping[str, Any]:
        """How it was made, and what was left out of it here."""
        damage = [{"shard": item.shard, "reason": item.reason, "rows": item.rows} for item in self.damaged]
        left_out: dict[str, Any] = {"excluded": list(self.excluded), "damaged": damage}
        if self.label_version:
            left_out["labels"] = {"version": self.label_version, "data_hash": self.manifest.content_hash}
        return {**self.manifest.provenance, **{name: value for name, value in left_out.items() if value}}

    def content_hash(self) -> str:
        """Hash of all that the set holds, as its manifest tells it; of a version of its labels and chosen rows, too."""
        return self._chosen_by or self.manifest.content_hash

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers: code of each row, and the text of each code."""
        return self._tables.codes(name)

    def scalars(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Measured numbers in the order of a model, shape (n, len(names)); NaN where the set lacks one.

        Not to be written to: those asked for last are kept, because trainings of many models ask for the same.
        """
        if self._last_scalars is not None and self._last_scalars[0] == tuple(names):
            return self._last_scalars[1]
        there = set(self.column_names)
        numbers = np.empty((len(self), len(names)), np.float32)
        for i, name in enumerate(names):
            parts = set(name.split("/"))
            columns = {part: self[part] if part in there else np.full(len(self), np.nan) for part in parts}
            numbers[:, i] = scalars_of(columns, [name], n=len(self))[:, 0]
        numbers.setflags(write=False)
        self._last_scalars = (tuple(names), numbers)
        return numbers

    def stamps(self, rows: NDArray[np.integer[Any]], *, size: int | None = None) -> NDArray[np.float32]:
        """Stamps of some rows, or their centres.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
        size : int, optional
            Width of the centre that is wanted, px, odd; None: the whole stamp.

        Returns
        -------
        ndarray, shape (m, 3, size, size), float32
            In units of the sky noise of each plane; NaN where there are no data.
        """
        size = self.stamp_size if size is None else size
        if size % 2 == 0 or not 1 <= size <= self.stamp_size:
            raise InputError(
                f"centres of {size} px cannot be cut from stamps of {self.stamp_size} px; odd and no larger"
            )
        margin = (self.stamp_size - size) // 2
        cube = np.empty((len(rows), 3, size, size), np.float32)
        self._files.gather(cube, self._shard[rows], self._row[rows], slice(margin, margin + size))
        return cube

    def sigma(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Sky noise of each plane of some rows, e-, shape (m, 3)."""
        return np.stack([np.asarray(self[name][rows], np.float32) for name in SIGMA_COLUMNS], axis=1)

    def split(self) -> Split:
        """Row numbers of each part, as the set itself divides them.

        Raises
        ------
        InputError
            When no row belongs to any part.
        """
        codes, texts = self.codes("split")
        parts = [
            np.flatnonzero(codes == texts.index(part)) if part in texts else np.empty(0, np.int64) for part in PARTS
        ]
        if not any(part.size for part in parts):
            raise InputError(f"{self.folder} is not divided into {', '.join(PARTS)}; build or import it with --split")
        return Split(*parts)

    def check_split(self, split: Split) -> None:
        """Refuse a split in which two parts share a row, or a value of a column that holds rows together.

        Raises
        ------
        InputError
            Names the parts, the column and an example.
        """
        check_coded_split(split, ((name, *self.codes(name)) for name in self.manifest.group_by), n=len(self))

    def batches(
        self,
        rows: NDArray[np.integer[Any]] | Literal["train", "validation", "test"] | None = None,
        *,
        batch_size: int = 256,
        size: int | None = None,
        columns: Sequence[str] = (),
        rng: np.random.Generator | None = None,
        window: int | None = None,
    ) -> Iterator[Batch]:
        """Go through rows in batches.

        Parameters
        ----------
        rows : ndarray of int, or the name of a part, optional
            None: all rows.
        batch_size : int
            Rows of a batch; the last one has what is left.
        size : int, optional
            Width of the centres that are wanted, px; None: whole stamps.
        columns : sequence of str
            Columns that come with each batch.
        rng : Generator, optional
            Shuffles the rows; None: in their order.
        window : int, optional
            Shuffle within this many shards at a time, themselves in random order: a disk that is slow at random places
            reads each shard once. None: among all rows.

        Yields
        ------
        Batch
        """
        chosen = self._chosen(rows)
        values = {name: self[name] for name in columns}
        if rng is not None:
            chosen = shuffled(chosen, self._shard[chosen], shards=len(self._shards), rng=rng, window=window)
        for part in in_batches(chosen, batch_size):
            taken = {name: column[part] for name, column in values.items()}
            yield Batch(part, self.stamps(part, size=size), self.labels[part], taken)

    def _chosen(self, rows: Any) -> NDArray[np.int64]:
        if rows is None:
            return np.arange(len(self))
        if isinstance(rows, str):
            parts = self.split().parts()
            if rows not in parts:
                raise InputError(f"part {rows!r}: one of {', '.join(PARTS)}")
            return parts[rows]
        return np.asarray(rows, np.int64)


def open_dataset(
    folder: str | Path, *, exclude: Sequence[str] = (), check_hashes: bool = False, labels: str = ""
) -> StoredDataset:
    """Open a data set.

    Shards that are missing, truncated or of another size than the manifest says are skipped, and told in `damaged`.

    Parameters
    ----------
    folder : path
    exclude : sequence of str
        Reasons of suspicion (`gueststar.realbogus.suspicion.REASONS`) whose rows are left out.
    check_hashes : bool
        Read all files and compare their hashes, too: finds every changed byte, at the speed of the disk.
    labels : str
        Version of the labels, see `gueststar.realbogus.label_versions`; empty: those of the set.

    Returns
    -------
    StoredDataset

    Raises
    ------
    InputError
        When it is not a data set, a reason is unknown, a column that every set has is missing, no shard is sound, or
        the labels are damaged or belong to another set.
    ConfigError
        When the set has no such version of its labels.
    """
    folder = Path(folder)
    exclude = check_reasons(exclude)
    manifest = read_manifest(folder)
    sound, damaged = [], []
    for shard in manifest.shards:
        reason = find_damage(folder, shard, manifest, check_hashes=check_hashes)
        if reason:
            damaged.append(Damage(shard.name, reason, shard.n))
        else:
            sound.append(shard)
    if not sound:
        raise InputError(f"{folder}: none of {len(damaged)} shards can be read; the first: {damaged[0].reason}")
    made = StoredDataset(folder, manifest, sound, damaged, exclude)
    return made.relabelled(read_label_version(folder, labels, manifest)) if labels else made
