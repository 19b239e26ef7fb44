"""Correct a first map by the stars of both images: match them from wide to narrow, fit a polynomial, drop outliers.

Every star counts by the inverse variance of its separation, so that the fit is as good as the photons allow. The order
of the polynomial is the one of least AICc (Hurvich & Tsai 1989, Biometrika 76, 297): more terms only where they explain
more than noise, such as the slow shifts that the atmosphere adds in a short exposure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.align.patterns import significant
from gueststar.types import Stars, polynomial_exponents

__all__ = ["Correction", "polynomial_terms", "refine", "star_positions"]

F8 = NDArray[np.float64]
Map = Callable[[F8], F8]

_RADII_PX = (3.0, 1.5, 1.0, 1.0)
_FLOOR_PX = 0.01  # of the error of a separation: a few bright stars do not decide alone
_WIDENINGS = 6  # repetitions of the first match, while a turned or stretched map finds more stars each time


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What the stars add to a first map.

    Parameters
    ----------
    coefficients : ndarray, shape (m, 2), or None
        Of a polynomial in scaled science position, reference px; None when no star was matched.
    order : int
    matched : int
        Stars that lie on each other.
    rms_px : float
        Residual of the matched stars per axis, clipped and weighted as in the fit, reference px; NaN with fewer than 3.
    photon_px : float
        The same as expected from the centroid errors of the stars alone.
    """

    coefficients: F8 | None = None
    order: int = 0
    matched: int = 0
    rms_px: float = float("nan")
    photon_px: float = float("nan")


def star_positions(stars: Stars) -> F8:
    """Positions, shape (n, 2)."""
    return np.column_stack((stars.x, stars.y))


def polynomial_terms(points: F8, order: int, shape: tuple[int, int]) -> F8:
    """Products u^p v^q of positions scaled to -1..1 over the image, shape (n, m); lowest total power first."""
    u = 2.0 * points[:, 0] / max(shape[1] - 1, 1) - 1.0
    v = 2.0 * points[:, 1] / max(shape[0] - 1, 1) - 1.0
    powers = [(np.ones_like(u), np.ones_like(v))]
    for _ in range(order):
        powers.append((powers[-1][0] * u, powers[-1][1] * v))
    return np.stack([powers[p][0] * powers[q][1] for p, q in polynomial_exponents(order)], axis=1)


def refine(
    first: Map,
    a: Stars,
    b: Stars,
    shape: tuple[int, int],
    *,
    order: int,
    search_px: float,
    reference_shape: tuple[int, int],
    start: Map | None = None,
) -> Correction:
    """Match the stars of science (a) and reference (b) under a first map, and fit what is left.

    Parameters
    ----------
    first : callable
        Science to reference pixels.
    a, b : Stars
    shape, reference_shape : (int, int)
        (ny, nx) of both images.
    order : int
        Highest order of the polynomial.
    search_px : float
        How far `first` may be off.
    start : callable, optional
        A better map to begin with; what is fitted is still the correction to `first`.
    """
    here, there = star_positions(a), star_positions(b)
    if len(a) == 0 or len(b) == 0:
        return Correction()
    base = first(here)
    usable = np.isfinite(base).all(1)
    here, base, a = here[usable], base[usable], a[usable]
    if len(here) == 0:
        return Correction()
    scale = _scale(first, shape)
    tree = cKDTree(there)
    moved = base + _vote_shift(base, there, search_px) if start is None else start(here)
    terms = polynomial_terms(here, order, shape)
    done = Correction()
    radii = [_RADII_PX[0]] * _WIDENINGS + list(_RADII_PX[1:])
    while radii:
        radius = radii.pop(0) * max(1.0, scale)
        row, index = matches(tree, moved, radius)
        if row.size < 3:
            return _by_one_or_two(base, moved, there, search_px, reference_shape)
        if radius == _RADII_PX[0] * max(1.0, scale) and done.matched and row.size < 1.02 * done.matched:
            radii = list(_RADII_PX[1:])  # no more to be found that far away
        variance = _variance(a[row], b[index], scale)
        # Where the first map is turned, the vote brings a part of the chip together: a plane through it finds the
        # rest, a polynomial of higher order runs away from it.
        wide = radius == _RADII_PX[0] * max(1.0, scale)
        most = min(order, _most_order(row.size, narrow=not radii), 1 if wide else order)
        done, coefficients = _fit(terms[row], there[index] - base[row], variance, most)
        moved = base + terms[:, : len(coefficients)] @ coefficients
    return done


def matches(tree: cKDTree, moved: F8, radius: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the moved stars and of those in the tree that lie on each other; each star once, the nearest first."""
    distance, index = tree.query(moved, distance_upper_bound=radius)
    row = np.flatnonzero(distance < np.inf)
    row = row[np.argsort(distance[row], kind="stable")]
    _, first = np.unique(index[row], return_index=True)
    row = np.sort(row[first])
    return row, index[row]


def _by_one_or_two(base: F8, moved: F8, there: F8, search_px: float, shape: tuple[int, int]) -> Correction:
    """One or two stars where no others are near: they give the shift, and no residual."""
    row, index = matches(cKDTree(there), moved, _RADII_PX[0])
    chance = len(there) * np.pi * search_px**2 / (shape[0] * shape[1])
    if row.size == 0 or chance > 0.05:
        return Correction()
    return Correction((there[index] - base[row]).mean(0)[None], 0, int(row.size))


def _scale(first: Map, shape: tuple[int, int]) -> float:
    """Reference pixels in one science pixel, at the centre."""
    x, y = shape[1] / 2.0, shape[0] / 2.0
    corner, along, up = first(np.array([[x, y], [x + 8.0, y], [x, y + 8.0]]))
    area = abs(float(np.linalg.det(np.stack((along - corner, up - corner))))) / 64.0
    return float(np.sqrt(area)) if np.isfinite(area) and area > 0 else 1.0


def _most_order(n: int, *, narrow: bool) -> int:
    """Highest order that so many stars can carry; the higher ones only once the matches are sure."""
    if n < 60 or not narrow:
        return 0 if n < 6 else 1 if n < 20 else 2 if n < 60 else 3
    return 3 if n < 150 else 4 if n < 300 else 5


def _vote_shift(base: F8, there: F8, search_px: float) -> F8:
    """The shift that brings most pairs together: the fullest cell of the histogram of pair differences."""
    near = cKDTree(base[:400]).sparse_distance_matrix(cKDTree(there[:600]), search_px, output_type="ndarray")
    if not near.size:
        return np.zeros(2)
    delta = there[near["j"]] - base[near["i"]]
    tree = cKDTree(delta)
    votes = tree.query_ball_point(delta, 1.0, return_length=True)
    return np.asarray(np.median(delta[tree.query_ball_point(delta[int(np.argmax(votes))], 1.0)], axis=0))


def _variance(a: Stars, b: Stars, scale: float) -> F8:
    """Of the separation per axis, reference px^2: centroid noise FWHM / (2.35 S/N) of both."""
    va = (scale * a.fwhm / 2.35 / np.maximum(a.snr, 1.0)) ** 2
    vb = (b.fwhm / 2.35 / np.maximum(b.snr, 1.0)) ** 2
    return np.asarray(va + vb)


def _fit(terms: F8, target: F8, variance: F8, most: int) -> tuple[Correction, F8]:
    """Clipped weighted fit of the order that the stars speak for, up to `most`."""
    weight = 1.0 / (variance + _FLOOR_PX**2)
    size = (most + 1) * (most + 2) // 2
    coefficients, keep = _clipped(terms[:, :size], target, weight)
    order = _best_order(terms[keep, :size], target[keep], weight[keep], most) if most > 1 else most
    if order < most:
        coefficients, keep = _clipped(terms[:, : (order + 1) * (order + 2) // 2], target, weight)
    residual = (target - terms[:, : len(coefficients)] @ coefficients)[keep]
    w = weight[keep] / weight[keep].sum()
    rms = float(np.sqrt((w @ residual**2).mean()))
    return Correction(coefficients, order, len(target), rms, float(np.sqrt(w @ variance[keep]))), coefficients


def _best_order(terms: F8, target: F8, weight: F8, most: int) -> int:
    """Order of least AICc, from 1 up; the noise is that which the highest order leaves, and no less than expected."""
    n = 2.0 * len(target)
    heavy = terms * weight[:, None]
    normal, right = terms.T @ heavy, heavy.T @ target
    total = float((weight[:, None] * target**2).sum())
    sizes = [(order + 1) * (order + 2) // 2 for order in range(1, most + 1)]
    left = []
    for m in sizes:
        solved = np.linalg.lstsq(normal[:m, :m], right[:m], rcond=None)[0]
        left.append(total - float((solved * right[:m]).sum()))
    noise = max(1.0, left[-1] / max(n - 2.0 * sizes[-1], 1.0))
    cost = [chi2 / noise + 4.0 * m * n / max(n - 2.0 * m - 1.0, 1.0) for chi2, m in zip(left, sizes, strict=True)]
    return 1 + int(np.argmin(cost))


def _clipped(terms: F8, target: F8, weight: F8) -> tuple[F8, NDArray[np.bool_]]:
    """Weighted least squares by normal equations, without stars that deviate by more than 3 of their errors."""
    keep = np.ones(len(target), bool)
    solved: F8 = np.zeros((terms.shape[1], 2))
    heavy = terms * weight[:, None]
    for _ in range(5):
        inside = heavy[keep].T
        solved = np.asarray(np.linalg.lstsq(inside @ terms[keep], inside @ target[keep], rcond=None)[0])
        pull = np.sqrt(((target - terms @ solved) ** 2).sum(1) * weight)
        new = pull < 3.0 * max(1.4826 * float(np.median(pull[keep])), 0.5)
        if new.sum() < terms.shape[1] + 2 or (new == keep).all():
            break
        keep = new
    return solved, keep


def sound(matched: int, inside: int, others: int, shape: tuple[int, int], *, share: float, trials: float) -> bool:
    """Whether the matches within 1 px are too many for luck, and a fair share of those that could be.

    Parameters
    ----------
    matched : int
    inside : int
        Science stars that fall on the reference.
    others : int
        Reference stars.
    shape : (int, int)
        Of the reference.
    share : float
        Smallest share of the stars that could match.
    trials : float
        Maps among which this one was chosen.
    """
    if matched < 3:
        return False
    chance = inside * min(1.0, others * np.pi / (shape[0] * shape[1]))
    enough = matched / max(min(inside, others), 1) > share
    return enough and significant(matched, chance, fitted=3, trials=trials)
