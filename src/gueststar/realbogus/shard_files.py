"""Stamps read from the files of a data set, row by row.

The files can be mapped into memory by whoever likes to. Here rows are read by their place: pages of a map count as
memory of the process, far more of them than were asked for, and a file that is cut short while it is mapped kills the
process instead of raising an error.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["ShardFiles", "StampFile", "open_stamps"]

_MOST_OPEN = 64  # files; a system allows some hundreds


@dataclass(slots=True)
class StampFile:
    """An open file of stamps: shape and type of its array, and where it begins in the file."""

    path: Path
    handle: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int

    def read(self, row: int, out: NDArray[Any]) -> None:
        """Read one row into an array of its shape and type.

        Raises
        ------
        InputError
            When the file ends before.
        """
        length = os.preadv(self.handle, [out.data.cast("B")], self.start + row * out.nbytes)
        if length != out.nbytes:
            raise InputError(
                f"{self.path} ends within row {row}; it was cut short: look with `gueststar dataset verify`",
                path=str(self.path),
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self.handle)


def open_stamps(path: Path) -> StampFile:
    """Open a file of stamps and read its header.

    Raises
    ------
    InputError
        When it cannot be opened or is not an array (n, 3, k, k) of half or single precision in C order.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
        handle = os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a NumPy array: {error}; look with `gueststar dataset verify`", path=str(path)
        ) from error
    if fortran or len(shape) != 4 or dtype not in (np.dtype("<f2"), np.dtype("<f4")):
        os.close(handle)
        raise InputError(f"{path} holds {dtype} of shape {shape}; expected float16 or float32 (n, 3, k, k) in C order")
    return StampFile(path, handle, shape, dtype, start)


class ShardFiles:
    """Stamps of several files.

    Parameters
    ----------
    paths : sequence of Path
        Files of arrays (n, 3, k, k).
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._open: dict[int, StampFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Other processes open the files themselves.
        return {"_paths": self._paths, "_open": {}}

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; they are opened again when needed."""
        while self._open:
            self._open.popitem()[1].close()

    def gather(
        self, out: NDArray[np.float32], shards: NDArray[np.integer], rows: NDArray[np.integer], seen: slice
    ) -> None:
        """Fill `out` (m, 3, s, s) with the centres `seen` of the rows `rows` (m,) of the files `shards` (m,).

        Raises
        ------
        InputError
            When a file cannot be read.
        """
        for number in np.unique(shards):
            source = self._file(int(number))
            whole = np.empty(source.shape[1:], source.dtype)
            inside = np.flatnonzero(shards == number)
            for i in inside[np.argsort(rows[inside], kind="stable")]:
                source.read(int(rows[i]), whole)
                out[i] = whole[:, seen, seen]

    def _file(self, number: int) -> StampFile:
        if number not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = open_stamps(self._paths[number])
        return self._open[number]
