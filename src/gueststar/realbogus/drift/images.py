"""Which images: those that a group's drift is due to, and those that are stranger than all images of the reference.

The influence of an image on a group is by how much the population stability index sinks without it. Images are left
out, the largest influence first, until what remains is what chance makes.

One bad image among many moves no group, and no test by ranks can be certain of it: of r images of the reference the
smallest p value is 1 / (r + 1), which is not small where as many images are tried. So it gets none. It is named when
the median of its rows lies outside those of *all* images of the reference, and farther outside than the range that nine
tenths of them span; how often that happens by chance depends on the tails and is measured, not computed. The rule is
that of the far fences of Tukey (1977, Exploratory Data Analysis), put outside the largest value that was ever seen.
Distances are those of logarithms of what is positive by its nature, such as widths and noise, of which twice and half
are equally far, and of log-odds of scores.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.drift.columns import POSITIVE, SHARED
from gueststar.realbogus.drift.result import Cause, DriftOptions, DriftTest, ImageCounts, Standout
from gueststar.realbogus.drift.statistics import Floats, psi_and_ks

__all__ = ["judged_images", "standing_out", "stretched", "with_causes"]

_LEAST_SCORE = 1e-6  # scores closer to 0 or 1 are rounded single precision
_LEAST_PART = 1e-3  # of the smallest median of the reference; what is below, or negative, counts as this


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
        mine, known = (judged_images(side, i, options.image_rows) for side in (data, reference))
        known = reference.medians[known, i]
        if known.size < options.least_reference:
            continue
        low, high = float(known.min()), float(known.max())
        drawn = stretched(column.name, known, low)
        span = float(np.subtract(*np.quantile(drawn, (0.95, 0.05))))
        if span <= 0:
            continue
        medians = data.medians[mine, i]
        values = stretched(column.name, medians, low)
        outside = np.maximum(drawn.min() - values, values - drawn.max()) / span
        for j in np.flatnonzero(outside > options.beyond).tolist():
            rows = int(data.of(i)[mine[j], :-1].sum())
            found.append(
                Standout(data.images[mine[j]], column.name, rows, float(medians[j]), low, high, float(outside[j]))
            )
    return tuple(sorted(found, key=lambda item: -item.beyond))


def judged_images(data: ImageCounts, column: int, image_rows: int) -> NDArray[np.int64]:
    """Images with rows enough for their median to be compared: one where all rows share the value of their image."""
    least = 1 if data.columns[column].name in SHARED else image_rows
    return np.flatnonzero(data.of(column)[:, :-1].sum(axis=1) >= least)


def stretched(name: str, values: Floats, low: float) -> Floats:
    """Values on the scale on which images are compared.

    Parameters
    ----------
    name : str
        Of the column.
    values : ndarray
    low : float
        Smallest median of an image of the reference.
    """
    if name == "rb_score":
        inside = np.clip(values, _LEAST_SCORE, 1 - _LEAST_SCORE)
        return np.asarray(np.log(inside / (1 - inside)))
    if name not in POSITIVE or low <= 0:
        return values
    return np.asarray(np.log(np.maximum(values, _LEAST_PART * low)))
