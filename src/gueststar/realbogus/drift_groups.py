"""Which nights and chips have left a reference, and which of their images are the cause.

Tested are every chip of every night, every night with more than one chip, every chip with more than one night, and
everything together where there is more than one of both; each in every column. The two statistics of
`gueststar.realbogus.drift` make one p value: the smaller of both, judged by how small the smaller one is in the draws
(min-P of Westfall & Young 1993). Over all tests the false discovery rate is kept (Benjamini & Hochberg 1995,
J. R. Stat. Soc. B 57, 289).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import false_discovery_control, rankdata

from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.drift import ColumnBins, Floats, Scatter, permuted, psi_and_ks, scatter_of

__all__ = ["Cause", "Drift", "DriftOptions", "DriftTest", "ImageCounts", "ImageName", "find_drift", "smallest_p"]

_MANY = 10  # draws at least as far out that end a test early


class DriftOptions(Options):
    """What counts as drift, and how long is drawn."""

    q: float = Field(0.05, gt=0, lt=1, description="False discovery rate that is allowed over all tests")
    least_psi: float = Field(
        0.1, ge=0, description="PSI beyond that of chance from which a difference that is certain is warned of"
    )
    draws: int = Field(1000, ge=50, le=10**6, description="Draws of images for each group")
    most_draws: int = Field(
        20_000, ge=50, le=10**6, description="New draws for a group that fewer than 10 of the first are as far out as"
    )
    least_rows: int = Field(30, ge=1, description="Rows that a group needs in a column; fewer are not tested")
    least_images: int = Field(20, ge=3, description="Images that a reference needs")
    most_images: int = Field(
        1000,
        ge=3,
        description="Images of the reference that are kept and drawn from; a larger one is thinned at random",
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
    images : tuple of ImageName
    """

    columns: tuple[ColumnBins, ...]
    counts: NDArray[np.int32]
    images: tuple[ImageName, ...]

    def of(self, number: int) -> NDArray[np.int32]:
        """Counts of one column, shape (images, bins)."""
        start = sum(column.size for column in self.columns[:number])
        return self.counts[:, start : start + self.columns[number].size]


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
        Mean over the draws: what chance alone makes of as many images.
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
    """All tests, those of whole nights and chips too, and what should be known of them."""

    tests: tuple[DriftTest, ...]
    notes: tuple[str, ...]

    @property
    def drifting(self) -> tuple[DriftTest, ...]:
        """Those that left the reference, the largest excess of the PSI first."""
        found = [test for test in self.tests if test.drift]
        return tuple(sorted(found, key=lambda test: test.psi_chance - test.psi))


def find_drift(
    data: ImageCounts, reference: ImageCounts, options: DriftOptions | None = None, *, rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Drift:  # fmt: skip
    """Compare every chip of every night with a reference.

    Parameters
    ----------
    data, reference : ImageCounts
        With the same columns in the same bins.
    options : DriftOptions, optional
    rng : Generator
    progress : callable, optional
        Called as progress(groups done, groups in all).

    Raises
    ------
    InputError
        When the bins differ, there is no image, or the reference has too few.
    """
    options = options or DriftOptions()
    _check(data, reference, options)
    scatters = [scatter_of(column, reference.of(i)) for i, column in enumerate(reference.columns)]
    groups = groups_of(data.images)
    tests, highs = [], []
    for done, (night, chip, members) in enumerate(groups):
        for test, high in _group(data, reference, scatters, members, options, len(groups), rng):
            tests.append(replace(test, night=night, chip=chip))
            highs.append((members, high))
        if progress is not None:
            progress(done + 1, len(groups))
    tests = _corrected(tests, options)
    total = reference.counts.sum(axis=0)
    tests = [
        _blamed(test, data, total, *where) if test.drift else test for test, where in zip(tests, highs, strict=True)
    ]
    return Drift(tuple(tests), tuple(_notes(tests, len(reference.images), options)))


def _check(data: ImageCounts, reference: ImageCounts, options: DriftOptions) -> None:
    same = len(data.columns) == len(reference.columns) and all(
        a.name == b.name and np.array_equal(a.edges, b.edges)
        for a, b in zip(data.columns, reference.columns, strict=True)
    )
    if not same:
        raise InputError(
            "data and reference are not counted in the same bins; count the data in those of the reference"
        )
    if not data.images:
        raise InputError("there is no image with candidates to compare; look at the run or choose another part")
    if len(reference.images) < options.least_images:
        raise InputError(
            f"the reference has {len(reference.images)} images; {options.least_images} are needed to know how much "
            "images differ (least_images)"
        )


def groups_of(images: Sequence[ImageName]) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Night, chip (empty: all) and images of every group that is tested; none is there twice."""
    nights, chips = (np.array([getattr(image, name) for image in images]) for name in ("night", "chip"))
    made = []
    for night, chip in sorted(set(zip(nights.tolist(), chips.tolist(), strict=True))):
        made.append((night, chip, np.flatnonzero((nights == night) & (chips == chip))))
    for night in np.unique(nights).tolist():
        if np.unique(chips[nights == night]).size > 1:
            made.append((night, "", np.flatnonzero(nights == night)))
    for chip in np.unique(chips).tolist():
        if np.unique(nights[chips == chip]).size > 1:
            made.append(("", chip, np.flatnonzero(chips == chip)))
    if np.unique(nights).size > 1 and np.unique(chips).size > 1:
        made.append(("", "", np.arange(len(images))))
    return made


def _group(
    data: ImageCounts, reference: ImageCounts, scatters: Sequence[Scatter], members: NDArray[np.int64],
    options: DriftOptions, groups: int, rng: np.random.Generator,
) -> list[tuple[DriftTest, float]]:  # fmt: skip
    """Every column of one group, and the PSI that 19 of 20 draws stay below."""
    group = data.counts[members]
    drawn = permuted(data.columns, scatters, group, reference.counts, draws=options.draws, rng=rng)
    p = np.array([smallest_p(drawn[:, i, 2:]) for i in range(len(data.columns))])
    far = p * len(drawn) <= _MANY
    if far.any() and len(members) > 1:
        # New draws alone decide: those that led here were chosen for being far out.
        wanted = round(2 * groups * len(data.columns) / options.q)
        draws = min(max(wanted, options.draws), max(options.most_draws, options.draws))
        drawn_far = permuted(data.columns, scatters, group, reference.counts, draws=draws, rng=rng)
        p = np.where(far, [smallest_p(drawn_far[:, i, 2:]) for i in range(len(data.columns))], p)
    else:
        drawn_far = drawn
    made = []
    for i, column in enumerate(data.columns):
        rows = int(data.of(i)[members].sum())
        test = DriftTest("", "", column.name, len(members), rows)
        if rows < options.least_rows:
            made.append((replace(test, reason=f"{rows} rows, {options.least_rows} are needed"), float("nan")))
            continue
        draws_of = drawn[1:, i, :2]
        chance = np.nanmean(draws_of, axis=0)
        test = replace(
            test, psi=float(drawn[0, i, 0]), ks=float(drawn[0, i, 1]), psi_chance=float(chance[0]),
            ks_chance=float(chance[1]), p=float(p[i]), p_least=1.0 / len(drawn_far if far[i] else drawn),
        )  # fmt: skip
        made.append((test, float(np.nanquantile(draws_of[:, 0], 0.95))))
    return made


def smallest_p(drawn: Floats) -> float:
    """P value of the first row of statistics, by the min-P of its columns among all rows.

    Parameters
    ----------
    drawn : ndarray, shape (1 + draws, statistics)
        Large is far out; NaN counts as not far out at all.
    """
    values = np.round(np.where(np.isfinite(drawn), drawn, -1.0), 9)
    # How many rows are at least as far out.
    ranks = rankdata(-values, method="max", axis=0).min(axis=1)
    return float((ranks <= ranks[0]).mean())


def _corrected(tests: Sequence[DriftTest], options: DriftOptions) -> list[DriftTest]:
    tested = np.array([np.isfinite(test.p) for test in tests], bool)
    q = np.full(len(tests), np.nan)
    if tested.any():
        q[tested] = false_discovery_control(np.array([test.p for test in tests])[tested], method="bh")
    made = []
    for test, value in zip(tests, q.tolist(), strict=True):
        certain = value <= options.q
        drift = certain and test.psi - test.psi_chance >= options.least_psi
        made.append(replace(test, q=value, certain=certain, drift=drift))
    return made


def _blamed(
    test: DriftTest, data: ImageCounts, total: NDArray[np.integer], members: NDArray[np.int64], high: float
) -> DriftTest:
    """The same with the influence of each image, and how many of them explain it."""
    number = [column.name for column in data.columns].index(test.column)
    bins, counts = data.columns[number], data.of(number)[members].astype(np.float64)
    start = sum(column.size for column in data.columns[:number])
    reference = total[start : start + bins.size].astype(np.float64)
    alone = psi_and_ks(bins, counts, reference)[0]
    without = psi_and_ks(bins, counts.sum(axis=0) - counts, reference)[0]
    influence = test.psi - np.where(np.isfinite(without), without, 0.0)
    order = np.argsort(-influence, kind="stable")
    left = counts.sum(axis=0) - np.cumsum(counts[order], axis=0)
    rest = psi_and_ks(bins, left, reference)[0]
    calm = np.flatnonzero(~(rest > high))  # nothing left is calm
    causes = tuple(
        Cause(data.images[members[i]], int(counts[i].sum()), float(influence[i]), float(alone[i])) for i in order
    )
    return replace(test, causes=causes, guilty=int(calm[0]) + 1)


def _notes(tests: Sequence[DriftTest], images: int, options: DriftOptions) -> list[str]:
    tested = [test for test in tests if np.isfinite(test.p)]
    notes = []
    if len(tested) < len(tests):
        notes.append(f"{len(tests) - len(tested)} of {len(tests)} tests were not made: fewer than "
                     f"{options.least_rows} rows, so nothing is known of them")  # fmt: skip
    stuck = [test for test in tested if test.p <= test.p_least * 2.001 and not test.certain]
    if stuck:
        notes.append(
            f"{len(stuck)} tests are farther out than every draw, which is not enough to be certain among "
            f"{len(tested)} tests; the largest PSI of them is {max(test.psi for test in stuck):.2f}. Draw more "
            f"(most_draws), or, where the group is a single image, have a reference of more images than {images}"
        )
    return notes
