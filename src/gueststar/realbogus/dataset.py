"""A labelled set of stamps on disk: memory-mapped pixels, a Parquet table of everything else.

A folder holds

- ``cube.npy`` (n, 3, k, k) float16: stamps in units of the sky noise of their plane, NaN where missing. Half precision
  keeps 3 digits of every pixel, finer than the noise by far;
- ``sigma.npy`` (n, 3) float32: that noise, e-;
- ``rows.parquet``: one row for each stamp, the columns of `Candidates` and those of `ROW_COLUMNS`;
- ``dataset.json``: how it was made, with a hash of its contents.

`gueststar.realbogus.writer.DatasetWriter` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.scalars import scalars_of
from gueststar.realbogus.split import Split, check_split
from gueststar.types import Candidates, Stamps

__all__ = ["ROW_COLUMNS", "Dataset", "LabelledStamps", "symmetry", "turned"]

#: Columns that every row has beside the measured ones, with their meaning.
ROW_COLUMNS: Mapping[str, str] = {
    "label": "1 real, 0 artifact, -1 neither (kept for audit, never trained or tested on)",
    "kind": "what it is: 'injected', 'transient', 'mover', 'variable', 'artifact', ...",
    "true_snr": "signal to noise that was put in; NaN for what was not",
    "tile": "part of the sky; the same stars carry the same name",
    "night": "night or epoch of the science image",
    "reference": "the reference image",
    "chain": "settings of the chain: 'default', or what was changed to have more artifacts",
    "source": "where the frames come from: 'simulated' or the name of a real field",
}
_LARGEST = 6.0e4  # below the largest float16, in units of sigma


class LabelledStamps(Protocol):
    """What a training reads: `Dataset` and `gueststar.realbogus.stored.StoredDataset` are such sets."""

    @property
    def labels(self) -> NDArray[np.int8]:
        """1 real, 0 artifact, -1 neither, shape (n,)."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """How the set was made, as plain values."""
        ...

    @property
    def stamp_size(self) -> int:
        """Width of the stored stamps, px."""
        ...

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that can be asked for."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """One column, shape (n,)."""
        ...

    def codes(self, name: str, /) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers: code of each row, shape (n,), and the text of each code."""
        ...

    def scalars(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Raw measured numbers in the order of a model, shape (n, len(names)); NaN where missing."""
        ...

    def stamps(self, rows: NDArray[np.integer[Any]], *, size: int | None = None) -> NDArray[np.float32]:
        """Centres of the stamps of some rows, shape (m, 3, size, size), in units of the noise; NaN where missing."""
        ...

    def check_split(self, split: Split) -> None:
        """Raise `InputError` when two parts share a row or what holds rows together."""
        ...

    def content_hash(self) -> str:
        """Hash of stamps and rows, 32 hexadecimal digits."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Stamps with labels.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k), float16
        Science, aligned reference, difference in units of `sigma`; NaN where missing. May be memory-mapped.
    sigma : ndarray, shape (n, 3), float32
        Sky noise, e-.
    columns : mapping of str to ndarray
        One array of length n for every column of `ROW_COLUMNS` and of the candidate tables.
    facts : mapping
        How it was made.
    """

    cube: NDArray[np.float16]
    sigma: NDArray[np.float32]
    columns: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        n = len(self.cube)
        if self.cube.ndim != 4 or self.cube.shape[1] != 3 or self.cube.shape[2] != self.cube.shape[3]:
            raise InputError(f"training stamps have shape {self.cube.shape}; expected (n, 3, k, k)")
        if self.sigma.shape != (n, 3):
            raise InputError(f"training sigma has shape {self.sigma.shape}; expected ({n}, 3)")
        missing = sorted(set(ROW_COLUMNS) - set(self.columns))
        wrong = sorted(name for name, values in self.columns.items() if len(values) != n)
        if missing or wrong:
            raise InputError(f"training rows: columns {missing} are missing, {wrong} do not have {n} rows")

    def __len__(self) -> int:
        return len(self.cube)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column."""
        return self.columns[name]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that can be asked for."""
        return tuple(self.columns)

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers: code of each row, and the text of each code."""
        texts, codes = np.unique(np.asarray(self.columns[name]).astype(np.str_), return_inverse=True)
        return codes.reshape(-1).astype(np.int32), tuple(texts.tolist())

    @property
    def labels(self) -> NDArray[np.int8]:
        """1 real, 0 artifact, -1 neither."""
        return np.asarray(self.columns["label"], np.int8)

    @classmethod
    def from_candidates(
        cls, candidates: Candidates, stamps: Stamps, rows: Mapping[str, Any], *, facts: Mapping[str, Any] | None = None
    ) -> Dataset:
        """Label the candidates of one pair.

        Parameters
        ----------
        candidates, stamps
            n of each, in the same order.
        rows : mapping
            Values for every column of `ROW_COLUMNS`: arrays of length n, or one value for all.
        """
        n = len(candidates)
        if len(stamps) != n:
            raise InputError(f"{len(stamps)} stamps were given for {n} candidates; cut one stamp for each")
        sigma = np.asarray(stamps.sigma, np.float32)
        scale = np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan)[:, :, None, None]
        cube = np.clip(stamps.cube / scale, -_LARGEST, _LARGEST).astype(np.float16)
        columns = {name: np.asarray(candidates[name]) for name in candidates.table.colnames}
        columns |= {name: np.broadcast_to(np.asarray(value), (n,)) for name, value in rows.items()}
        return cls(cube, sigma, columns, dict(facts or {}))

    @property
    def stamp_size(self) -> int:
        """Width of the stamps, px."""
        return int(self.cube.shape[-1])

    def scalars(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Raw measured numbers in the order of a model, shape (n, len(names))."""
        return scalars_of(self.columns, names, n=len(self))

    def stamps(self, rows: NDArray[np.integer[Any]], *, size: int | None = None) -> NDArray[np.float32]:
        """Stamps of some rows, or their centres of width `size`, in units of `sigma`; shape (m, 3, size, size)."""
        size = self.stamp_size if size is None else size
        margin = (self.stamp_size - size) // 2
        seen = slice(margin, margin + size)
        return np.asarray(self.cube[rows][:, :, seen, seen], np.float32)

    def check_split(self, split: Split) -> None:
        """Refuse a split that is none; see `gueststar.realbogus.split.check_split`."""
        check_split(self.columns, split)

    def candidates(self) -> Candidates:
        """The rows as a candidate table."""
        return Candidates.from_columns(self.columns)

    def select(self, rows: NDArray[Any]) -> Dataset:
        """Some of the rows, by index or by a boolean array."""
        columns = {name: np.asarray(values)[rows] for name, values in self.columns.items()}
        return Dataset(self.cube[rows], self.sigma[rows], columns, self.facts)

    def content_hash(self) -> str:
        """Hash of stamps and rows, 32 hexadecimal digits; the same data give the same hash on every machine."""
        digest = hashlib.blake2b(digest_size=16)
        for start in range(0, len(self), 1024):
            digest.update(np.ascontiguousarray(self.cube[start : start + 1024]).tobytes())
        digest.update(np.ascontiguousarray(self.sigma).tobytes())
        for name in sorted(self.columns):
            values = np.asarray(self.columns[name])
            digest.update(name.encode())
            digest.update("\0".join(values.astype(str)).encode() if values.dtype.kind in "UO" else values.tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: str | Path, *, memory_map: bool = True) -> Dataset:
        """Read a folder; the stamps stay on disk unless `memory_map` is False.

        Raises
        ------
        InputError
            When the folder is not a training set.
        """
        import pyarrow.parquet as pq

        path = Path(folder)
        try:
            facts = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
            cube = np.load(path / "cube.npy", mmap_mode="r" if memory_map else None)
            sigma = np.load(path / "sigma.npy")
            table = pq.read_table(path / "rows.parquet")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is not a training set that can be read: {error}", path=str(path)) from error
        columns = {}
        for name in table.column_names:
            values = table[name].to_numpy()
            columns[name] = values.astype(np.str_) if values.dtype == object else values
        return cls(cube, sigma, columns, facts)


def symmetry(cube: NDArray[Any], which: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Turn and mirror each stamp by one of the eight symmetries of the square.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
    which : ndarray, shape (n,), integers 0..7
        Bit 0 mirrors x, bit 1 mirrors y, bit 2 exchanges x and y; 0 leaves the stamp as it is.

    Returns
    -------
    ndarray, shape (n, 3, k, k)
        A new array.
    """
    out = np.empty_like(cube)
    for code in range(8):
        rows = which == code
        out[rows] = turned(cube[rows], code)
    return out


def turned(cube: NDArray[Any], code: int) -> NDArray[Any]:
    """All stamps by one symmetry, as `symmetry` numbers them, contiguous; for 0 the array itself."""
    made = cube[..., ::-1] if code & 1 else cube
    made = made[..., ::-1, :] if code & 2 else made
    return np.ascontiguousarray(made.swapaxes(-1, -2) if code & 4 else made)
