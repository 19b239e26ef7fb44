"""Find the similarity between two star lists with nothing known: triangles of alike shape, and a test against luck.

Candidates are the similarities that most pairs of alike triangles propose (:mod:`gueststar.align.triangles`; Beroiz et
al. 2020, Astron. Comput. 32, 100384). One is believed when more stars fall on stars than the best of *all* similarities
through two stars of each list would bring together by luck: of k matches two define the map, the others are Poisson
with the mean that the density of the stars gives, and there are n (n - 1) m (m - 1) such maps of n and m stars. Six
common stars among forty strangers in each list pass this on a frame of 2000 x 1128 px, four among none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import poisson

from gueststar.align.triangles import Similarities, densest, propose

__all__ = ["PatternMatch", "match_patterns", "significant"]

Points = NDArray[np.float64]
Solved = tuple[NDArray[np.float64], NDArray[np.float64]]

_SCALES = (0.28, 3.6)  # of a similarity that is believed
_SHEAR = 1.05  # largest ratio of the two scales of an affine map
_LUCKY = 1e-4  # chance of a false similarity that is allowed, in all that is tried for one pair of lists
#: Brightest stars of source and target, and how many nearest ones make triangles (None: all). A target that shows more
#: of the sky, or a science frame in clouds, has its stars far down in the other list.
_STAGES: tuple[tuple[int, int, int | None], ...] = (
    (12, 12, None), (12, 40, None), (40, 12, None), (28, 28, None), (48, 48, None), (12, 100, None), (100, 12, None),
    (160, 160, 7),
)  # fmt: skip
_RADII = (0.35, 0.7, 1.4)  # of a match, in units of the tolerance
# A map that matches stars within a radius can be moved onto two of the pairs; the others are then within 1.5 of it.
_SLACK = 1.5
_CANDIDATES = 40
_AFFINE = 10  # matches from which two scales and a shear are fitted


def significant(matched: int, chance: float, *, fitted: int, trials: float) -> bool:
    """Whether so many matches cannot be luck.

    Of `matched` stars, `fitted` match because the map was made to; the others would, under a wrong map, be Poisson
    with mean `chance`. With `trials` wrong maps tried, less than one lucky one in a thousand is allowed.
    """
    return bool(poisson.sf(matched - fitted - 1, max(chance, 1e-9)) * max(trials, 1) < 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class PatternMatch:
    """A similarity target = matrix @ source + offset, and how well it is supported.

    `matched` stars of the source list fall within a radius of target stars; `chance` is the number expected from one
    wrong similarity at the same star density; `trials` similarities could have been found.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    matched: int
    chance: float
    trials: float

    def __call__(self, points: Points) -> Points:
        """Map points of shape (n, 2)."""
        return points @ self.matrix.T + self.offset

    @property
    def log_luck(self) -> float:
        """Logarithm of the chance that the best wrong similarity matches as many stars."""
        fitted = 2 if self.matched < _AFFINE else 3
        return float(poisson.logsf(self.matched - fitted - 1, max(self.chance, 1e-9)) + np.log(max(self.trials, 1.0)))


def match_patterns(source: Points, target: Points, *, tolerance_px: float = 2.0) -> PatternMatch | None:
    """Find the similarity from source to target.

    Parameters
    ----------
    source, target : ndarray, shape (n, 2)
        Positions x, y in px, brightest first.
    tolerance_px : float
        How far a similarity may be from the true map, target px.

    Returns
    -------
    PatternMatch or None
        None when no similarity is supported by clearly more stars than chance gives.
    """
    # Two halves of one star would count as two matches.
    source, target = _apart(source, 2.0 * tolerance_px), _apart(target, 2.0 * tolerance_px)
    if len(source) < 4 or len(target) < 4:
        return None
    tried: set[tuple[int, int, int | None]] = set()
    for most_s, most_t, neighbours in _STAGES:
        stage = min(most_s, len(source)), min(most_t, len(target)), neighbours
        if stage in tried or (*stage[:2], None) in tried:
            continue
        tried.add(stage)
        found = _match(source, target, stage, tolerance_px)
        if found is not None and _believable(found):
            return _counted(_refine(found, source, target, tolerance_px), source, target, tolerance_px)
    return None


def _believable(match: PatternMatch) -> bool:
    scales = np.linalg.svd(match.matrix, compute_uv=False)
    sane = _SCALES[0] < scales[1] and scales[0] < _SCALES[1] and scales[0] < _SHEAR * scales[1]
    return bool(sane and match.matched >= 4 and match.log_luck < np.log(_LUCKY))


def _apart(points: Points, distance: float) -> Points:
    """Without those that lie close to a brighter one."""
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray") if len(points) > 1 else np.empty((0, 2), int)
    keep = np.ones(len(points), bool)
    keep[pairs.max(1, initial=0) if len(pairs) else []] = False
    return points[keep]


def _match(source: Points, target: Points, stage: tuple[int, int, int | None], tolerance: float) -> PatternMatch | None:
    """The best supported similarity of the brightest stars."""
    n, m, neighbours = stage
    few, many = source[:n], target[:m]
    maps = propose(few, many, tolerance=tolerance, neighbours=neighbours)
    if len(maps) == 0:
        return None
    # Through two stars of each list, of either parity, at each radius; the stages lie within each other.
    trials = n * (n - 1.0) * m * (m - 1.0) * len(_RADII) * 2.0
    best: PatternMatch | None = None
    for matrix, offset in _voted(densest(maps, few, many, _CANDIDATES), few, many, tolerance):
        start = PatternMatch(matrix, offset, 0, 0.0, trials)
        for lists in ((few, many), (source[: 4 * n], target[: 4 * m])):
            found = _refine(start, *lists, tolerance)
            if best is None or found.log_luck < best.log_luck:
                best = found
    return best


def _voted(
    maps: Similarities, source: Points, target: Points, tolerance: float, n: int = 4
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The few of many similarities under which most stars fall on stars."""
    tree = cKDTree(target)
    moves = [maps.matrix(row) for row in range(len(maps))]
    votes = [_pairs(tree, source @ matrix.T + offset, 2.0 * tolerance)[0].size for matrix, offset in moves]
    return [moves[row] for row in np.argsort(-np.array(votes), kind="stable")[:n]]


def _pairs(tree: cKDTree, moved: Points, radius: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of moved and of target stars that lie on each other, each star once."""
    distance, index = tree.query(moved, distance_upper_bound=radius)
    row = np.flatnonzero(np.isfinite(distance))
    row = row[np.argsort(distance[row], kind="stable")]
    _, first = np.unique(index[row], return_index=True)
    return row[first], index[row[first]]


def _refine(match: PatternMatch, source: Points, target: Points, tolerance: float) -> PatternMatch:
    """Refit to all stars that match, from wide to narrow, and count at the radius that speaks most clearly."""
    tree = cKDTree(target)
    matrix, offset = match.matrix, match.offset
    for radius in (4.0 * tolerance, 2.0 * tolerance, tolerance, tolerance):
        row, index = _pairs(tree, source @ matrix.T + offset, radius)
        if row.size < 3:
            break
        solved = _fit(source[row], target[index], matrix)
        if abs(np.linalg.det(solved[0])) < 1e-6:
            break
        matrix, offset = solved
    best = replace(match, matrix=matrix, offset=offset, matched=0)
    for share in _RADII:
        counted = _counted(best, source, target, share * tolerance)
        if best.matched == 0 or counted.log_luck < best.log_luck:
            best = counted
    return best


def _counted(match: PatternMatch, source: Points, target: Points, radius: float) -> PatternMatch:
    """The same map, with its matches within a radius."""
    tree, moved = cKDTree(target), match(source)
    matched = int(_pairs(tree, moved, radius)[0].size)
    return replace(match, matched=matched, chance=_chance(tree, moved, target, _SLACK * radius))


def _fit(
    source: Points, target: Points, matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Affine map of many stars, similarity of the same parity of few."""
    if len(source) >= _AFFINE:
        solved, *_ = np.linalg.lstsq(np.column_stack((source, np.ones(len(source)))), target, rcond=None)
        return np.asarray(solved[:2].T), np.asarray(solved[2])
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    flipped = np.linalg.det(matrix) < 0
    z = np.conj(z) if flipped else z
    d = z - z.mean()
    a = (np.conj(d) * (w - w.mean())).sum() / max(float((np.abs(d) ** 2).sum()), 1e-9)
    b = w.mean() - a * z.mean()
    maps = Similarities(np.array([a]), np.array([b]), np.array([flipped]))
    return maps.matrix(0)


def _chance(tree: cKDTree, moved: Points, target: Points, radius: float) -> float:
    """Matches expected from a wrong map: from the density of the stars, or from the same map shifted, if more."""
    low, high = target.min(0), target.max(0)
    inside = ((moved >= low - radius) & (moved <= high + radius)).all(1)
    area = max(float(np.prod(high - low)), np.pi * radius**2)
    even = inside.sum() * -np.expm1(-len(target) * np.pi * radius**2 / area)
    angle = np.arange(24) * 2.399963  # the golden angle spreads them
    away = radius * (3.0 + 0.5 * np.arange(24))
    shifts = np.column_stack((away * np.cos(angle), away * np.sin(angle)))
    shifted = (moved[inside][None] + shifts[:, None]).reshape(-1, 2)
    # Clusters and galaxies hold more pairs than an even sky; one count is not yet a clump.
    hits = int(np.isfinite(tree.query(shifted, distance_upper_bound=radius)[0]).sum()) if len(shifted) else 0
    return float(max(even, (hits - np.sqrt(hits)) / len(shifts)))
