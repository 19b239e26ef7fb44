"""The rows that are evaluated, and which image each of them is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.manifest import PARTS
from gueststar.realbogus.split import IMAGE_COLUMNS
from gueststar.realbogus.stored import StoredDataset

__all__ = ["EvaluatedRows", "choose_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedRows:
    """The rows of a set that are evaluated; rows that are neither real nor artifact are not among them.

    Parameters
    ----------
    data : StoredDataset
    part : str
        'train', 'validation', 'test' or 'all'.
    rows : ndarray of int, shape (n,)
        Their numbers in the set.
    real : ndarray of bool, shape (n,)
    snr : ndarray, shape (n,)
        |S/N|, NaN where unknown.
    neither : int
        Rows of the part that were left out.
    group_by : str
        Column that tells images apart.
    image : ndarray of int, shape (n,)
        Number of the image of each row.
    image_names : tuple of str
    """

    data: StoredDataset
    part: str
    rows: NDArray[np.int64]
    real: NDArray[np.bool_]
    snr: NDArray[np.float32]
    neither: int
    group_by: str
    image: NDArray[np.int32]
    image_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, name: str) -> bool:
        """Whether the set has a column."""
        return name in self.data.column_names

    def number(self, name: str) -> NDArray[np.float32]:
        """A numeric column, shape (n,)."""
        return np.asarray(self.data[name][self.rows], np.float32)

    def text(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as numbers, shape (n,), and the text of each number."""
        codes, texts = self.data.codes(name)
        return codes[self.rows], texts


def choose_rows(data: StoredDataset, part: str, *, group_by: str = "") -> EvaluatedRows:
    """Rows of a part that are real or artifact.

    Raises
    ------
    ConfigError
        When the part or the column is unknown.
    InputError
        When the part holds no such row.
    """
    if part not in (*PARTS, "all"):
        raise ConfigError(f"part {part!r}: one of {', '.join(PARTS)}, all", key="part", value=part)
    rows = np.arange(len(data)) if part == "all" else data.split().parts()[part]
    used = rows[data.labels[rows] >= 0]
    if not used.size:
        sizes = ", ".join(f"{name} {len(mine)}" for name, mine in data.split().parts().items())
        raise InputError(
            f"the part {part} of {data.folder} has {rows.size} rows, none of them real or artifact ({sizes}); give "
            "another one with --part, or --part all for a set that is a test as a whole",
            part=part,
        )
    if group_by and group_by not in data.column_names:
        raise ConfigError(
            f"group_by {group_by!r}: the set has {', '.join(data.column_names)}", key="group_by", value=group_by
        )
    column = group_by or next(name for name in IMAGE_COLUMNS if _tells_apart(data, name))
    codes, names = data.codes(column)
    image = codes[used]
    if "" in names:  # a row without a name is a group of its own
        lone = np.flatnonzero(image == names.index(""))
        image = image.copy()
        image[lone] = len(names) + np.arange(lone.size)
        names = (*names, *(f"row {row}" for row in used[lone].tolist()))
    snr = (
        np.abs(np.asarray(data["snr"][used], np.float32))
        if "snr" in data.column_names
        else np.full(used.size, np.nan, np.float32)
    )
    return EvaluatedRows(
        data, part, used, data.labels[used] == 1, snr, int(rows.size - used.size), column, image, names
    )


def _tells_apart(data: StoredDataset, name: str) -> bool:
    # Every set has a tile, so the search ends.
    return name == IMAGE_COLUMNS[-1] or (name in data.column_names and any(data.codes(name)[1]))
