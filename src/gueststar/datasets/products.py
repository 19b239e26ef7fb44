"""The products of runs, as far as a data set is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.night.products import read_outcome
from gueststar.report.collect import read_run
from gueststar.report.truth_table import table_of
from gueststar.types import Outcome

__all__ = ["FILES", "ProductImage", "Products", "nights_of", "read_mask", "read_products", "read_rows", "read_stamps"]

#: Tables and stamps of each class: what was detected, and artificial reals that were found.
FILES = {0: ("candidates.parquet", "stamps.npy"), 1: ("injected_reals.parquet", "injected_reals.npy")}
_NIGHT_GAP = 0.25  # d; between exposures of one night there is less


@dataclass(frozen=True, slots=True)
class ProductImage:
    """One processed image.

    Parameters
    ----------
    run : int
        Which of the runs it belongs to.
    folder : Path
    outcome : Outcome
    tile, reference : str
        Part of the sky; hash of the reference's pixels.
    reference_name : str
        What its run calls the reference.
    n : (int, int)
        Rows of class 0 and of class 1.
    columns : frozenset of str
        Columns that all its tables have.
    """

    run: int
    folder: Path
    outcome: Outcome
    tile: str
    reference: str
    reference_name: str
    n: tuple[int, int]
    columns: frozenset[str]

    @property
    def rejected(self) -> bool:
        """Whether it failed a quality gate."""
        return self.outcome.status == "rejected"


@dataclass(slots=True)
class Products:
    """Runs and their images; `skipped` tells what could not be read, and why."""

    names: list[str] = field(default_factory=list)
    records: list[Mapping[str, Any]] = field(default_factory=list)
    images: list[ProductImage] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_products(runs: Sequence[Path], *, tile: str = "field_chip", stamps: bool = True) -> Products:
    """Look through the folders of runs; no stamp is read.

    Parameters
    ----------
    runs : sequence of Path
        Folders that `gueststar run` wrote.
    tile : {'field_chip', 'field'}
        What counts as one part of the sky.
    stamps : bool
        Whether images without their stamps are skipped.

    Raises
    ------
    InputError
        When a folder is not that of a run, or no image can be used.
    """
    products = Products()
    for number, folder in enumerate(runs):
        record = read_run(folder)
        name = folder.resolve().name
        products.names.append(name if name not in products.names else f"{name}-{number}")
        products.records.append(record)
        for image in sorted(record["images"]):
            stored = read_outcome(folder / "images" / image / "outcome.json")
            if stored is None or stored[0].status not in ("ok", "rejected"):
                continue
            try:
                products.images.append(_look(number, folder / "images" / image, stored[0], tile, stamps))
            except InputError as error:
                products.skipped.append(f"{products.names[-1]}/{image}: {error.message}")
    if not products.images:
        raise InputError(
            f"{', '.join(map(str, runs))}: no processed image that can be used"
            + (f"; the first: {products.skipped[0]}" if products.skipped else "; every image of the run failed")
        )
    return products


def _look(run: int, folder: Path, outcome: Outcome, tile: str, need_stamps: bool) -> ProductImage:
    counts: list[int] = [0, 0]
    columns: frozenset[str] | None = None
    notes: dict[str, Any] = {}
    for label, (table, stamps) in FILES.items():
        if label and not (folder / table).is_file():
            continue
        try:
            meta = pq.read_metadata(folder / table)
            shape = np.load(folder / stamps, mmap_mode="r").shape if need_stamps else (meta.num_rows, 0, 0, 0)
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise InputError(f"{table} or {stamps} cannot be read: {error}") from error
        if len(shape) != 4 or shape[0] != meta.num_rows:
            raise InputError(f"{stamps} has shape {shape} for {meta.num_rows} rows of {table}")
        names = frozenset(meta.schema.to_arrow_schema().names)
        columns = names if columns is None else columns & names
        counts[label] = meta.num_rows
        notes = notes or json.loads((meta.metadata or {}).get(b"gueststar", b"{}"))
    field_name = outcome.field or "no field"
    place = field_name if tile == "field" else f"{field_name} {outcome.chip}".strip()
    reference = str(notes.get("reference", ""))
    return ProductImage(
        run, folder, outcome, place, str(notes.get("reference_id", "")) or reference, reference.removesuffix(".fits"),
        (counts[0], counts[1]), columns or frozenset(),
    )  # fmt: skip


def nights_of(mjd: NDArray[np.float64]) -> list[str]:
    """Name of the night of each exposure: a gap of more than 6 hours begins another one.

    Parameters
    ----------
    mjd : ndarray, shape (n,)
        UTC; NaN has no night, and its name is 'unknown'.

    Returns
    -------
    list of str
        Named by the day of the night's first exposure, as ``mjd58561``.
    """
    order = np.argsort(mjd, kind="stable")
    names, start, last = ["unknown"] * len(mjd), 0, -np.inf
    for i in order:
        if not np.isfinite(mjd[i]):
            continue
        if mjd[i] - last > _NIGHT_GAP:
            start = int(mjd[i])
        last = mjd[i]
        names[i] = f"mjd{start}"
    return names


def read_rows(image: ProductImage, label: int) -> Table:
    """Rows of one class of an image; of length 0 where there are none."""
    if image.n[label] == 0:
        return Table()
    return table_of(pq.read_table(image.folder / FILES[label][0]))


def read_stamps(image: ProductImage, label: int) -> NDArray[np.float32]:
    """Stamps of one class of an image, e-, memory-mapped."""
    stamps: NDArray[np.float32] = np.load(image.folder / FILES[label][1], mmap_mode="r")
    return stamps


def read_mask(image: ProductImage) -> NDArray[np.integer[Any]] | None:
    """Flags of the difference; None when it was not kept."""
    path = image.folder / "difference.fits"
    if not path.is_file():
        return None
    try:
        with fits.open(path) as hdus:
            return np.asarray(hdus["MASK"].data)
    except (OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable difference: {error}", path=str(path)) from error
