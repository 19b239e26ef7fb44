"""Which nights and chips have left a reference.

Tested are every chip of every night, every night with more than one chip, every chip with more than one night, and
everything together where there is more than one of both; each in every column. Groups of fewer images than
`DriftOptions.least_images` get no p value: they are too few to tell. The two statistics of
`gueststar.realbogus.drift.statistics` make one p value: the smaller of both, judged by how small the smaller one is in
the draws (min-P of Westfall & Young 1993, Resampling-based Multiple Testing). Over all tests the false discovery rate
is kept (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289), which is proved for tests that depend on each other
positively (Benjamini & Yekutieli 2001, Ann. Stat. 29, 1165). Columns of the same images, and groups that share images,
do so as far as can be seen; `benchmarks/drift.py` measures that the rate holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, rankdata

from gueststar.errors import InputError
from gueststar.realbogus.drift.images import standing_out, with_causes
from gueststar.realbogus.drift.result import Drift, DriftOptions, DriftTest, ImageCounts, ImageName
from gueststar.realbogus.drift.statistics import Floats, Scatter, permuted, psi_and_ks, scatter_of

__all__ = ["find_drift", "groups_of", "smallest_p"]

_MANY = 10  # draws at least as far out that end a test early


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
    # So many draws that the best of all tests can be certain.
    wanted = round(2 * len(data.columns) * sum(len(group[2]) >= options.least_images for group in groups) / options.q)
    most = min(max(wanted, options.draws), max(options.most_draws, options.draws))
    tests, highs = [], []
    for done, (night, chip, members) in enumerate(groups):
        for test, high in _group(data, reference, scatters, members, options, most, rng):
            tests.append(replace(test, night=night, chip=chip))
            highs.append((members, high))
        if progress is not None:
            progress(done + 1, len(groups))
    tests = _corrected(tests, options)
    total = reference.counts.sum(axis=0)
    tests = [
        with_causes(test, data, total, *where) if test.drift else test for test, where in zip(tests, highs, strict=True)
    ]
    return Drift(tuple(tests), standing_out(data, reference, options), tuple(_notes(tests, options)))


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
    if len(reference.images) < options.least_reference:
        raise InputError(
            f"the reference has {len(reference.images)} images; {options.least_reference} are needed to know how much "
            "images differ (least_reference)"
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
    options: DriftOptions, most: int, rng: np.random.Generator,
) -> list[tuple[DriftTest, float]]:  # fmt: skip
    """Every column of one group, and the PSI that 19 of 20 draws stay below."""
    tests = [_measured(data, reference, members, i, options) for i in range(len(data.columns))]
    if all(test.reason for test in tests):
        return [(test, float("nan")) for test in tests]
    group = data.counts[members]
    drawn = permuted(data.columns, scatters, group, reference.counts, draws=options.draws, rng=rng)
    p = np.array([smallest_p(drawn[:, i, 2:]) for i in range(len(tests))])
    far = (p * len(drawn) <= _MANY) & np.array([not test.reason for test in tests])
    least = np.full(len(tests), 1.0 / len(drawn))
    if far.any():
        # New draws alone decide: those that led here were chosen for being far out.
        drawn_far = permuted(data.columns, scatters, group, reference.counts, draws=most, rng=rng)
        p = np.where(far, [smallest_p(drawn_far[:, i, 2:]) for i in range(len(tests))], p)
        least[far] = 1.0 / len(drawn_far)
    ways = math.comb(len(members) + len(reference.images), len(members))
    least = np.maximum(least, 1.0 / min(ways, 10**9))  # there are as many draws as a float cannot hold
    made = []
    for i, test in enumerate(tests):
        if test.reason:
            made.append((test, float("nan")))
            continue
        psi, ks = drawn[1:, i, 0], drawn[1:, i, 1]
        tested = replace(
            test, psi_chance=float(np.nanmean(psi)), ks_chance=float(np.nanmean(ks)), p=float(p[i]),
            p_least=float(least[i]),
        )  # fmt: skip
        made.append((tested, float(np.nanquantile(psi, 0.95))))
    return made


def _measured(
    data: ImageCounts, reference: ImageCounts, members: NDArray[np.int64], column: int, options: DriftOptions
) -> DriftTest:
    """Both statistics of one column of one group, and why it cannot be tested; images without rows tell nothing."""
    counts, known = data.of(column)[members], reference.of(column)
    rows, images = int(counts.sum()), int((counts.sum(axis=1) > 0).sum())
    psi, ks = psi_and_ks(data.columns[column], counts.sum(axis=0), known.sum(axis=0))
    reason = ""
    if images < options.least_images:
        words = "1 image with candidates" if images == 1 else f"{images} images with candidates"
        reason = f"{words}: too few images to tell"
    elif rows < options.least_rows:
        reason = f"{rows} rows: too few to tell"
    elif int((known.sum(axis=1) > 0).sum()) < options.least_reference:
        reason = f"fewer than {options.least_reference} images of the reference have rows: too few to tell"
    return DriftTest("", "", data.columns[column].name, len(members), rows, float(psi), float(ks), reason=reason)


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
    tested = np.array([not test.reason for test in tests], bool)
    q = np.full(len(tests), np.nan)
    if tested.any():
        q[tested] = false_discovery_control(np.array([test.p for test in tests])[tested], method="bh")
    made = []
    for test, value in zip(tests, q.tolist(), strict=True):
        certain = value <= options.q
        drift = certain and test.psi - test.psi_chance >= options.least_psi
        made.append(replace(test, q=value, certain=certain, drift=drift))
    return made


def _notes(tests: Sequence[DriftTest], options: DriftOptions) -> list[str]:
    tested = [test for test in tests if not test.reason]
    notes = []
    if len(tested) < len(tests):
        notes.append(
            f"{len(tests) - len(tested)} of {len(tests)} tests were not made: fewer than {options.least_images} images "
            f"or {options.least_rows} rows are too few to tell"
        )
    stuck = [test for test in tested if test.p <= test.p_least * 2.001 and not test.certain]
    if stuck:
        notes.append(
            f"{len(stuck)} tests are farther out than every draw, which is not enough to be certain among "
            f"{len(tested)} tests; the largest PSI of them is {max(test.psi for test in stuck):.2f}. Draw more "
            "(most_draws), compare fewer columns, or have more images"
        )
    return notes
