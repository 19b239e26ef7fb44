"""Similarities that two star lists propose: triangles of alike shape, and where their maps agree.

Triangles are described by two side ratios, which do not change under shift, rotation, scale and reflection (Groth 1986,
AJ 91, 1244). Each pair of alike triangles proposes a similarity. Of n common stars, all n (n - 1) (n - 2) / 6 triangles
propose the same one, while those of strangers scatter over all shifts, scales and angles: the fullest cells of that
space hold the candidates (Lang et al. 2010, AJ 139, 1782, do the same with quads).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Similarities", "densest", "propose"]

Points = NDArray[np.float64]
Complex = NDArray[np.complex128]

_MOST_SCALE = 4.0
_ALIKE = 0.006  # distance of two shapes that are looked at, where triangles are many; 0.02 where few
_MOST = 300_000  # proposals
_CELL = 0.03  # in log scale, in angle (rad), and in position over the size of the target list


@dataclass(frozen=True, slots=True, eq=False)
class Similarities:
    """Maps z -> a z + b, or a conj(z) + b where flipped, with z = x + i y; all of shape (n,)."""

    a: Complex
    b: Complex
    flipped: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.a.size)

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Similarities:
        """Some of them."""
        return Similarities(self.a[rows], self.b[rows], self.flipped[rows])

    def matrix(self, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix (2, 2) and offset (2,) of one of them."""
        a, b, sign = self.a[row], self.b[row], -1.0 if self.flipped[row] else 1.0
        return np.array([[a.real, -sign * a.imag], [a.imag, sign * a.real]]), np.array([b.real, b.imag])


def propose(source: Points, target: Points, *, tolerance: float, neighbours: int | None = None) -> Similarities:
    """Similarities of all pairs of alike triangles.

    Parameters
    ----------
    source, target : ndarray, shape (n, 2)
    tolerance : float
        A map that leaves more than twice this at a corner is no proposal, target px.
    neighbours : int, optional
        Triangles of each star with this many nearest ones; None: of all stars.
    """
    shape_s, corner_s = _triangles(source, neighbours)
    shape_t, corner_t = _triangles(target, neighbours)
    nothing = Similarities(np.empty(0, complex), np.empty(0, complex), np.empty(0, bool))
    if len(shape_s) == 0 or len(shape_t) == 0:
        return nothing
    # Shapes fill about 0.3 of the unit square: this many lie within `_ALIKE`, and a few more are looked at.
    k = int(np.clip(5 + np.ceil(np.pi * _ALIKE**2 * len(shape_t) / 0.3), 5, min(64, _MOST // len(shape_s) + 1)))
    k = min(k, len(shape_t))
    distance, index = cKDTree(shape_t).query(shape_s, k=k, distance_upper_bound=0.02)
    row, column = np.nonzero(np.isfinite(distance.reshape(len(shape_s), k)))
    if row.size == 0:
        return nothing
    s, t = source[corner_s[row]], target[corner_t[index.reshape(len(shape_s), k)[row, column]]]
    maps, residual = _similarities(s, t)
    scale = np.abs(maps.a)
    return maps.at((residual < 2.0 * tolerance) & (scale < _MOST_SCALE) & (scale > 1.0 / _MOST_SCALE))


def densest(maps: Similarities, source: Points, target: Points, n: int) -> Similarities:
    """The mean map of each of the cells in which most proposals lie; at most `n`, the fullest first."""
    centre = complex(*source.mean(0))
    size = max(float(np.sqrt(target.var(0).sum())), 1.0)
    middle = (maps.a * np.where(maps.flipped, np.conj(centre), centre) + maps.b) / size
    features = np.column_stack((np.log(np.abs(maps.a)), np.angle(maps.a), middle.real, middle.imag)) / _CELL
    found: list[Similarities] = []
    counts: list[int] = []
    for offset in (0.0, 0.5):  # what an edge cuts in one grid is whole in the other
        order, first, count = _groups(np.column_stack((np.floor(features + offset), maps.flipped)).astype(np.int64))
        for group in np.argsort(-count, kind="stable")[:n]:
            rows = order[first[group] : first[group] + count[group]]
            mean = Similarities(
                maps.a[rows].mean(keepdims=True), maps.b[rows].mean(keepdims=True), maps.flipped[rows[:1]]
            )
            found.append(mean)
            counts.append(int(count[group]))
    best = np.argsort(-np.array(counts, np.int64), kind="stable")[:n]
    return Similarities(*(np.concatenate([getattr(found[i], name) for i in best]) for name in ("a", "b", "flipped")))


def _groups(cells: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Order that puts equal rows together, first of each group in it, and how many there are."""
    key = np.zeros(len(cells), np.int64)
    for column in cells.T:
        low, high = int(column.min()), int(column.max())
        key = key * (high - low + 1) + (column - low)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] - 1))
    return order, first, np.diff(first, append=len(order))


def _triangles(points: Points, neighbours: int | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shapes (n, 2) and vertices (n, 3): vertex 0 is opposite the longest side, 2 opposite the shortest."""
    n = len(points)
    if n < 3:
        return np.empty((0, 2)), np.empty((0, 3), np.int64)
    if neighbours is None or n <= neighbours + 1:
        index = np.array(list(combinations(range(n), 3)), np.int64)
    else:
        _, near = cKDTree(points).query(points, k=neighbours)
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


def _similarities(s: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[Similarities, NDArray[np.float64]]:
    """Least-squares similarity (of the better parity) for each pair of triangles (n, 3, 2), and its worst residual."""
    zs, zt = s[..., 0] + 1j * s[..., 1], t[..., 0] + 1j * t[..., 1]
    cs, ct = zs.mean(1, keepdims=True), zt.mean(1, keepdims=True)
    ds, dt = zs - cs, zt - ct
    norm = np.maximum((np.abs(ds) ** 2).sum(1), 1e-9)
    plain = (np.conj(ds) * dt).sum(1) / norm
    mirror = (ds * dt).sum(1) / norm
    rest = [np.abs(dt - a[:, None] * d).max(1) for a, d in ((plain, ds), (mirror, np.conj(ds)))]
    flipped = rest[1] < rest[0]
    a = np.where(flipped, mirror, plain)
    origin = np.where(flipped, np.conj(cs[:, 0]), cs[:, 0])
    return Similarities(a, ct[:, 0] - a * origin, flipped), np.minimum(*rest)
