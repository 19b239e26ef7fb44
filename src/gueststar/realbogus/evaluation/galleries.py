"""Which misjudged rows to look at: false positives by the image they come from, and the worst false negatives.

False positives come in crowds: in the founding slides 20 files held 26 % of all. An image whose subtraction failed
explains many at once, so all false positives of the top files are shown, not the best of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.evaluate import Threshold

__all__ = ["FalsePositives", "FileCount", "false_positives_by_file", "worst_false_negatives"]


@dataclass(frozen=True, slots=True, eq=False)
class FileCount:
    """False positives of one image.

    Parameters
    ----------
    name : str
    rows : ndarray of int
        Row numbers, highest score first.
    n_bogus : int
        All artifacts of this image.
    share : float
        Of all false positives.
    causes : tuple of (str, int)
        Likely causes and how often, most frequent first.
    """

    name: str
    rows: NDArray[np.int64]
    n_bogus: int
    share: float
    causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class FalsePositives:
    """False positives by image.

    Parameters
    ----------
    n : int
        In all.
    n_files, n_files_with : int
        Images with artifacts, and those of them with false positives.
    files : tuple of FileCount
        The worst, most false positives first.
    share : float
        Of all false positives that these hold; NaN without any.
    expected_share : float
        What as many top images would hold if every artifact had the same chance to pass (mean of 200 draws); the
        crowding is what is beyond it.
    causes : tuple of (str, int)
        Of all false positives.
    """

    n: int
    n_files: int
    n_files_with: int
    files: tuple[FileCount, ...]
    share: float
    expected_share: float
    causes: tuple[tuple[str, int], ...]


def false_positives_by_file(
    real: NDArray[np.bool_],
    scores: NDArray[Any],
    threshold: Threshold,
    images: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    causes: NDArray[np.str_],
    rng: np.random.Generator,
    top: int = 20,
) -> FalsePositives:
    """Count false positives by image and choose the worst images.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
    threshold : float or ndarray, shape (n,)
    images : ndarray of int, shape (n,)
        Number of the image of each row.
    names : sequence of str
        Of the images.
    causes : ndarray of str, shape (m,)
        Likely cause of each false positive, in the order of its rows.
    rng : Generator
        For the share that chance alone gives.
    top : int
        Images that are chosen.
    """
    rows = np.flatnonzero(~real & (scores >= threshold))
    n_bogus = np.bincount(images[~real], minlength=len(names))
    counts = np.bincount(images[rows], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:top]
    order = order[counts[order] > 0]
    files = []
    for image in order:
        mine = np.flatnonzero(images[rows] == image)
        mine = mine[np.argsort(-scores[rows[mine]], kind="stable")]
        files.append(
            FileCount(
                names[image], rows[mine], int(n_bogus[image]), len(mine) / len(rows),
                tuple(Counter(causes[mine].tolist()).most_common()),
            )
        )  # fmt: skip
    return FalsePositives(
        n=len(rows),
        n_files=int((n_bogus > 0).sum()),
        n_files_with=int((counts > 0).sum()),
        files=tuple(files),
        share=sum(len(item.rows) for item in files) / len(rows) if len(rows) else float("nan"),
        expected_share=_by_chance(n_bogus, len(rows), top, rng),
        causes=tuple(Counter(causes.tolist()).most_common()),
    )


def worst_false_negatives(
    real: NDArray[np.bool_], scores: NDArray[Any], threshold: Threshold, *, most: int = 60
) -> NDArray[np.int64]:
    """Rows of the missed reals, lowest score first."""
    rows = np.flatnonzero(real & (scores < threshold))
    return rows[np.argsort(scores[rows], kind="stable")][:most]


def _by_chance(n_bogus: NDArray[np.int64], n: int, top: int, rng: np.random.Generator, *, draws: int = 200) -> float:
    if n == 0:
        return float("nan")
    counts = rng.multinomial(n, n_bogus / n_bogus.sum(), size=draws)
    return float(np.sort(counts, axis=1)[:, ::-1][:, :top].sum(axis=1).mean() / n)
