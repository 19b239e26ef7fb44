"""Find the similarity between two star lists with nothing known: triangles, their shapes matched in a tree.

Triangles of near neighbours among the brightest stars are described by two side ratios, which do not change under
shift, rotation, scale and reflection (Groth 1986, AJ 91, 1244; Beroiz et al. 2020, Astron. Comput. 32, 100384). Each
pair of alike triangles proposes a similarity; the one under which most stars fall on stars wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import poisson

__all__ = ["PatternMatch", "match_patterns", "significant"]

Points = NDArray[np.float64]

_SCALES = (0.2, 5.0)  # of a similarity that is believed
_SHEAR = 1.1  # largest ratio of the two scales of an affine map


def significant(matched: int, chance: float, *, fitted: int, trials: int) -> bool:
    """Whether so many matches cannot be luck.

    Of `matched` stars, `fitted` match because the map was made to; the others would, under a wrong map, be Poisson
    with mean `chance`. With `trials` wrong maps tried, less than one lucky one in a thousand is allowed.
    """
    return bool(poisson.sf(matched - fitted - 1, max(chance, 1e-9)) * max(trials, 1) < 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class PatternMatch:
    """A similarity target = matrix @ source + offset, and how well it is supported.

    `matched` stars of the source list fall within the tolerance of target stars; `chance` is the number expected from
    one wrong similarity at the same star density; `trials` similarities were tried.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    matched: int
    chance: float
    trials: int

    def __call__(self, points: Points) -> Points:
        """Map points of shape (n, 2)."""
        return points @ self.matrix.T + self.offset


def match_patterns(
    source: Points, target: Points, *, n_stars: tuple[int, ...] = (40, 80, 160), tolerance_px: float = 2.0
) -> PatternMatch | None:
    """Find the similarity from source to target.

    Parameters
    ----------
    source, target : ndarray, shape (n, 2)
        Positions x, y in px, brightest first.
    n_stars : tuple of int
        How many of the brightest to use, tried in turn.
    tolerance_px : float
        In target pixels.

    Returns
    -------
    PatternMatch or None
        None when no similarity is supported by clearly more stars than chance gives.
    """
    if len(source) < 4 or len(target) < 4:
        return None
    best: PatternMatch | None = None
    for n in n_stars:
        found = _match(source[:n], target[:n], tolerance_px)
        if found is not None:
            found = _refine(found, source[: 3 * n], target[: 3 * n], tolerance_px)
            if best is None or found.matched > best.matched:
                best = found
            if _believable(found):
                return found
        if n >= max(len(source), len(target)):
            break
    return best if best is not None and _believable(best) else None


def _believable(match: PatternMatch) -> bool:
    scales = np.linalg.svd(match.matrix, compute_uv=False)
    sane = _SCALES[0] < scales[1] and scales[0] < _SCALES[1] and scales[0] < _SHEAR * scales[1]
    return sane and significant(match.matched, match.chance, fitted=4, trials=match.trials)


def _triangles(points: Points) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shapes (n, 2) and vertices (n, 3): vertex 0 is opposite the longest side, 2 opposite the shortest."""
    n = len(points)
    _, near = cKDTree(points).query(points, k=min(7, n))
    corners = {
        tuple(sorted((int(row[0]), int(row[a]), int(row[b]))))
        for row in near
        for a, b in combinations(range(1, len(row)), 2)
    }
    index = np.array(sorted(corners), np.int64)
    sides = np.stack(
        [np.hypot(*(points[index[:, b]] - points[index[:, c]]).T) for b, c in ((1, 2), (0, 2), (0, 1))], axis=1
    )
    order = np.argsort(-sides, axis=1)
    sides = np.take_along_axis(sides, order, 1)
    index = np.take_along_axis(index, order, 1)
    shape = np.stack((sides[:, 1] / sides[:, 0], sides[:, 2] / np.maximum(sides[:, 1], 1e-9)), axis=1)
    # Needles and equal sides leave the order of the vertices to noise.
    good = (sides[:, 2] > 0.15 * sides[:, 0]) & (shape[:, 0] < 0.98) & (shape[:, 1] < 0.98) & (sides[:, 2] > 4.0)
    return shape[good], index[good]


def _match(source: Points, target: Points, tolerance: float) -> PatternMatch | None:
    shape_s, corner_s = _triangles(source)
    shape_t, corner_t = _triangles(target)
    if len(shape_s) == 0 or len(shape_t) == 0:
        return None
    k = min(5, len(shape_t))
    distance, index = cKDTree(shape_t).query(shape_s, k=k, distance_upper_bound=0.02)
    distance, index = distance.reshape(len(shape_s), k), index.reshape(len(shape_s), k)
    pick = np.argsort(distance, axis=None)[: min(4000, int(np.isfinite(distance).sum()))]
    if pick.size == 0:
        return None
    s, t = source[corner_s[pick // k]], target[corner_t[index.ravel()[pick]]]
    matrices, offsets, residual = _similarities(s, t)
    sane = residual < 2.0 * tolerance
    if not sane.any():
        return None
    return _vote(source, target, matrices[sane], offsets[sane], tolerance)


def _similarities(s: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Least-squares similarity (either parity) for each pair of triangles (n, 3, 2), and its worst residual."""
    zs, zt = s[..., 0] + 1j * s[..., 1], t[..., 0] + 1j * t[..., 1]
    cs, ct = zs.mean(1, keepdims=True), zt.mean(1, keepdims=True)
    ds, dt = zs - cs, zt - ct
    norm = np.maximum((np.abs(ds) ** 2).sum(1), 1e-9)
    matrices, offsets, residuals = [], [], []
    for flipped in (False, True):
        d = np.conj(ds) if flipped else ds
        a = (np.conj(d) * dt).sum(1) / norm
        residuals.append(np.abs(dt - a[:, None] * d).max(1))
        sign = -1.0 if flipped else 1.0
        matrix = np.stack((np.stack((a.real, -sign * a.imag), -1), np.stack((a.imag, sign * a.real), -1)), 1)
        matrices.append(matrix)
        offsets.append(
            np.column_stack((ct.real, ct.imag)) - np.einsum("nij,nj->ni", matrix, np.column_stack((cs.real, cs.imag)))
        )
    better = residuals[1] < residuals[0]
    return (
        np.where(better[:, None, None], matrices[1], matrices[0]),
        np.where(better[:, None], offsets[1], offsets[0]),
        np.minimum(*residuals),
    )


def _vote(
    source: Points, target: Points, matrices: NDArray[np.float64], offsets: NDArray[np.float64], tolerance: float
) -> PatternMatch | None:
    """The proposal under which most source stars fall on target stars."""
    tree = cKDTree(target)
    moved = np.einsum("nij,kj->nki", matrices, source) + offsets[:, None, :]
    distance, _ = tree.query(moved.reshape(-1, 2), distance_upper_bound=2.0 * tolerance)
    votes = np.isfinite(distance).reshape(len(matrices), len(source)).sum(1)
    best = int(np.argmax(votes))
    if votes[best] < 4:
        return None
    return PatternMatch(matrices[best], offsets[best], int(votes[best]), 0.0, len(matrices))


def _refine(match: PatternMatch, source: Points, target: Points, tolerance: float) -> PatternMatch:
    """Refit an affine map to all stars that match, from wide to narrow."""
    tree = cKDTree(target)
    matrix, offset = match.matrix, match.offset
    for radius in (4.0 * tolerance, 2.0 * tolerance, tolerance, tolerance):
        distance, index = tree.query(source @ matrix.T + offset, distance_upper_bound=radius)
        hit = np.isfinite(distance)
        if hit.sum() < 4:
            break
        design = np.column_stack((source[hit], np.ones(hit.sum())))
        solved, *_ = np.linalg.lstsq(design, target[index[hit]], rcond=None)
        if abs(np.linalg.det(solved[:2])) < 1e-6:
            break
        matrix, offset = solved[:2].T, solved[2]
    moved = source @ matrix.T + offset
    distance, _ = tree.query(moved, distance_upper_bound=tolerance)
    low, high = target.min(0), target.max(0)
    inside = int(((moved >= low) & (moved <= high)).all(1).sum())
    area = max(float(np.prod(high - low)), 1.0)
    chance = inside * min(1.0, len(target) * np.pi * tolerance**2 / area)
    return PatternMatch(matrix, offset, int(np.isfinite(distance).sum()), float(chance), match.trials)
