"""What is compared and what is found: counts of images, tests of groups of them, images that stand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.drift.statistics import ColumnBins, Floats

__all__ = ["Cause", "Drift", "DriftOptions", "DriftTest", "ImageCounts", "ImageName", "Standout"]


class DriftOptions(Options):
    """What counts as drift, and how long is drawn."""

    q: float = Field(0.05, gt=0, lt=1, description="False discovery rate that is allowed over all tests")
    least_psi: float = Field(
        0.1, ge=0, description="PSI beyond that of chance from which a difference that is certain is warned of"
    )
    least_images: int = Field(3, ge=2, description="Images that a group needs; fewer are too few to tell")
    least_rows: int = Field(30, ge=1, description="Rows that a group needs in a column; fewer are too few to tell")
    least_reference: int = Field(20, ge=3, description="Images that a reference needs")
    most_reference: int = Field(
        1000, ge=3, description="Images of the reference that are kept and drawn from; more are thinned at random"
    )
    draws: int = Field(1000, ge=50, le=10**6, description="Draws of images for each group")
    most_draws: int = Field(
        50_000, ge=50, le=10**6, description="New draws for a group that fewer than 10 of the first are as far out as"
    )
    image_rows: int = Field(
        10,
        ge=1,
        description="Rows that an image needs in a column to be called strange by itself; one where all rows share the "
        "value of their image",
    )
    beyond: float = Field(
        1.0,
        ge=0,
        description="How far beyond all images of the reference the median of an image must lie to be called strange, "
        "in units of the range that nine tenths of them span",
    )
    seed: int = Field(0, ge=0, description="Of the draws")


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image and where it belongs; chip and night are 'unknown' where they are."""

    name: str
    night: str
    chip: str


@dataclass(frozen=True, slots=True, eq=False)
class ImageCounts:
    """Counts in bins of each image.

    Parameters
    ----------
    columns : tuple of ColumnBins
    counts : ndarray of int32, shape (images, bins of all columns)
    medians : ndarray, shape (images, columns)
        Of each image; NaN where it has no finite value.
    images : tuple of ImageName
    """

    columns: tuple[ColumnBins, ...]
    counts: NDArray[np.int32]
    medians: Floats
    images: tuple[ImageName, ...]

    def of(self, number: int) -> NDArray[np.int32]:
        """Counts of one column, shape (images, bins)."""
        start = sum(column.size for column in self.columns[:number])
        return self.counts[:, start : start + self.columns[number].size]

    def some(self, images: NDArray[np.integer] | slice, columns: list[int] | None = None) -> ImageCounts:
        """Some of the images, in some of the columns."""
        chosen = range(len(self.columns)) if columns is None else columns
        counts = np.concatenate([self.of(i)[images] for i in chosen], axis=1)
        names = tuple(self.images[i] for i in np.arange(len(self.images))[images])
        return ImageCounts(tuple(self.columns[i] for i in chosen), counts, self.medians[images][:, list(chosen)], names)


@dataclass(frozen=True, slots=True)
class Cause:
    """An image and its part in a drift.

    Parameters
    ----------
    image : ImageName
    rows : int
    influence : float
        By how much the PSI of the group sinks without it.
    psi : float
        PSI of the image alone.
    """

    image: ImageName
    rows: int
    influence: float
    psi: float


@dataclass(frozen=True, slots=True)
class Standout:
    """An image that is stranger by itself than every image of the reference, in one column.

    Parameters
    ----------
    image : ImageName
    column : str
    rows : int
    median : float
        Of its rows.
    low, high : float
        Smallest and largest median of an image of the reference.
    beyond : float
        How far outside, in units of the range that nine tenths of the reference's images span.
    """

    image: ImageName
    column: str
    rows: int
    median: float
    low: float
    high: float
    beyond: float


@dataclass(frozen=True, slots=True)
class DriftTest:
    """One column of one group against the reference.

    Parameters
    ----------
    night, chip : str
        Empty: all of them.
    column : str
    images, rows : int
    psi, ks : float
        As measured.
    psi_chance, ks_chance : float
        Mean over the draws: what chance alone makes of as many images; NaN where it was not tested.
    p : float
        NaN where it was not tested.
    p_least : float
        The smallest that the draws could have given.
    q : float
        Benjamini-Hochberg: the false discovery rate at which this test is just called a discovery.
    certain, drift : bool
        q is below the limit; and the PSI is beyond chance by the least that is warned of.
    reason : str
        Why it was not tested; else empty.
    causes : tuple of Cause
        Images of a drift, the largest influence first; the first `guilty` of them explain it.
    guilty : int
        How many have to be left out until the PSI is what chance makes.
    """

    night: str
    chip: str
    column: str
    images: int
    rows: int
    psi: float = float("nan")
    ks: float = float("nan")
    psi_chance: float = float("nan")
    ks_chance: float = float("nan")
    p: float = float("nan")
    p_least: float = float("nan")
    q: float = float("nan")
    certain: bool = False
    drift: bool = False
    reason: str = ""
    causes: tuple[Cause, ...] = ()
    guilty: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """All tests, those of whole nights and chips too, images that stand out, and what should be known of them."""

    tests: tuple[DriftTest, ...]
    standouts: tuple[Standout, ...]
    notes: tuple[str, ...]

    @property
    def drifting(self) -> tuple[DriftTest, ...]:
        """Those that left the reference, the largest excess of the PSI first."""
        found = [test for test in self.tests if test.drift]
        return tuple(sorted(found, key=lambda test: test.psi_chance - test.psi))
