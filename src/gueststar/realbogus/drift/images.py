"""Which images: those that a group's drift is due to, and those that are stranger than all images of the reference.

The influence of an image on a group is by how much the population stability index sinks without it. Images are left
out, the largest influence first, until what remains is what chance makes.

One bad image among many moves no group, and no test by ranks can be certain of it: of r images of the reference the
smallest p value is 1 / (r + 1), which is not small where as many images are tried. So it gets none. It is named when
the median of its rows lies outside those of *all* images of the reference, and farther outside than the range that nine
tenths of them span; how often that happens by chance depends on the tails and is measured, not computed. The rule is
that of the far fences of Tukey (1977, Exploratory Data Analysis), put outside the largest value that was ever seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.drift.columns import SHARED
from gueststar.realbogus.drift.result import Cause, DriftOptions, DriftTest, ImageCounts, Standout
from gueststar.realbogus.drift.statistics import psi_and_ks

__all__ = ["standing_out", "with_causes"]


def with_causes(
    test: DriftTest, data: ImageCounts, reference: NDArray[np.number], members: NDArray[np.int64], high: float
) -> DriftTest:
    """The test with the influence of each image, and how many of them explain it.

    Parameters
    ----------
    test : DriftTest
    data : ImageCounts
    reference : ndarray, shape (bins of all columns)
        Counts of the whole reference.
    members : ndarray of int64
        Images of the group.
    high : float
        PSI that chance seldom exceeds.
    """
    number = [column.name for column in data.columns].index(test.column)
    bins, counts = data.columns[number], data.of(number)[members].astype(np.float64)
    start = sum(column.size for column in data.columns[:number])
    known = reference[start : start + bins.size].astype(np.float64)
    alone = psi_and_ks(bins, counts, known)[0]
    without = psi_and_ks(bins, counts.sum(axis=0) - counts, known)[0]
    influence = test.psi - np.where(np.isfinite(without), without, 0.0)
    order = np.argsort(-influence, kind="stable")
    left = counts.sum(axis=0) - np.cumsum(counts[order], axis=0)
    rest = psi_and_ks(bins, left, known)[0]
    calm = np.flatnonzero(~(rest > high))  # nothing left is calm
    causes = tuple(
        Cause(data.images[members[i]], int(counts[i].sum()), float(influence[i]), float(alone[i])) for i in order
    )
    return replace(test, causes=causes, guilty=int(calm[0]) + 1)


def standing_out(data: ImageCounts, reference: ImageCounts, options: DriftOptions) -> tuple[Standout, ...]:
    """Images whose median lies far outside those of all images of the reference, the farthest first.

    A column is passed over where nine tenths of the reference's images have the same median, or fewer images than
    `options.least_reference` have rows enough: then nothing tells how much images differ.

    Parameters
    ----------
    data, reference : ImageCounts
        With the same columns.
    options : DriftOptions
    """
    found = []
    for i, column in enumerate(data.columns):
        rows, known_rows = (side.of(i)[:, :-1].sum(axis=1) for side in (data, reference))
        least = 1 if column.name in SHARED else options.image_rows
        known = reference.medians[known_rows >= least, i]
        if known.size < options.least_reference:
            continue
        low, high = float(known.min()), float(known.max())
        span = float(np.subtract(*np.quantile(known, (0.95, 0.05))))
        if span <= 0:
            continue
        for number in np.flatnonzero(rows >= least).tolist():
            median = float(data.medians[number, i])
            beyond = max(low - median, median - high) / span
            if beyond > options.beyond:
                found.append(Standout(data.images[number], column.name, int(rows[number]), median, low, high, beyond))
    return tuple(sorted(found, key=lambda item: -item.beyond))
