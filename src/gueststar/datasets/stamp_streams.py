"""Arrays read from `.npy` files and `.npz` archives a few rows at a time, so that their size does not matter."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError

__all__ = ["ArrayStream", "archive_streams", "array_stream"]


class ArrayStream:
    """Rows of an array, from the first to the last.

    Parameters
    ----------
    file : binary file
        At the beginning of the array; need not be seekable.
    name : str
        Of the array, for errors.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype

    Raises
    ------
    InputError
        When it is not an array of numbers in C order.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self.name = file, name
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{name} cannot be read as a NumPy array: {error}", path=name) from error
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype
        if fortran and len(shape) > 1:
            raise InputError(f"{name} is stored column by column; write it with numpy.ascontiguousarray", path=name)
        if dtype.kind not in "fiubUS":
            raise InputError(f"{name} holds {dtype}; expected numbers", path=name)
        if not shape:
            raise InputError(f"{name} is a single number; expected one value for each stamp", path=name)

    def read(self, rows: int) -> NDArray[Any]:
        """Read the next rows, as stored.

        Raises
        ------
        InputError
            When the file ends before, or a part of an archive is damaged.
        """
        shape = (rows, *self.shape[1:])
        wanted = int(np.prod(shape)) * self.dtype.itemsize
        try:
            data = self._file.read(wanted)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self.name} is damaged: {error}; copy it again", path=self.name) from error
        if len(data) != wanted:
            raise InputError(
                f"{self.name} ends {wanted - len(data)} bytes early; it was cut short: copy it again", path=self.name
            )
        return np.frombuffer(data, self.dtype).reshape(shape)


@contextmanager
def array_stream(path: Path) -> Iterator[ArrayStream]:
    """Open a `.npy` file.

    Raises
    ------
    InputError
        When it is not a file of an array.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    with file:
        yield ArrayStream(file, str(path))


@contextmanager
def archive_streams(path: Path) -> Iterator[dict[str, ArrayStream]]:
    """Open every array of an `.npz` archive, by name; each has its own place in the file.

    Raises
    ------
    InputError
        When it is not such an archive.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            files = {name[:-4]: stack.enter_context(archive.open(name)) for name in names}
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a readable .npz archive: {error}", path=str(path)) from error
        yield {name: ArrayStream(file, f"{path} [{name}]") for name, file in files.items()}
