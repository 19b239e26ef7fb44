"""Memory maps of the shards of a data set, with a bound on what they hold in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["ShardMaps"]

_MOST_BYTES = 1 << 28  # pages of a map count as memory of the process until it is closed


class ShardMaps:
    """Stamps of several files, read by memory map.

    Maps are opened when needed, and closed again after 256 MB were read through them. What was read stays in the
    cache of the system, but no longer counts as memory of the process.

    Parameters
    ----------
    paths : sequence of Path
        Files of arrays (n, 3, k, k).
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._open: dict[int, NDArray[np.floating[Any]]] = {}
        self._read = 0

    def __getstate__(self) -> dict[str, Any]:
        # Other processes open their own maps.
        return {"_paths": self._paths, "_open": {}, "_read": 0}

    def gather(
        self, out: NDArray[np.float32], shards: NDArray[np.integer], rows: NDArray[np.integer], seen: slice
    ) -> None:
        """Fill `out` (m, 3, s, s) with the centres `seen` of the rows `rows` (m,) of the files `shards` (m,)."""
        for number in np.unique(shards):
            source = self._map(int(number))
            inside = np.flatnonzero(shards == number)
            for i in inside[np.argsort(rows[inside], kind="stable")]:
                out[i] = source[rows[i], :, seen, seen]
            # A row is read in whole pages, however little of it is wanted.
            self._read += inside.size * source[0].nbytes
        if self._read > _MOST_BYTES:
            self._open.clear()
            self._read = 0

    def _map(self, number: int) -> NDArray[np.floating[Any]]:
        if number not in self._open:
            path = self._paths[number]
            try:
                # A plain view: the subclass of memory maps costs more for each row than the copy of the stamp.
                self._open[number] = np.load(path, mmap_mode="r").view(np.ndarray)
            except (OSError, ValueError) as error:
                raise InputError(f"{path} cannot be read: {error}; look with `gueststar dataset verify`") from error
        return self._open[number]
