"""Register science on reference: a first map from the WCS or the star patterns, refined on matched stars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.wcs import NoConvergence
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.align.patterns import match_patterns, significant
from gueststar.errors import AlignmentError
from gueststar.types import Image, Stars, polynomial_exponents

__all__ = ["Registration", "register"]

Points = NDArray[np.float64]
Map = Callable[[Points], Points]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A map from science to reference pixels.

    Parameters
    ----------
    first : callable
        (n, 2) -> (n, 2), px; from the WCS or from star patterns.
    correction : ndarray, shape (m, 2) or None
        Polynomial in scaled science position, added to the first map, reference px.
    shape : (int, int)
        (ny, nx) of the science image, over which positions are scaled.
    method : {'wcs', 'patterns', 'identity'}
    matched : int
        Stars used in the fit.
    rms_px : float
        Residual of the matched stars per axis, clipped, reference px; NaN when none were matched.
    shift_px : float
        Median distance between the first map and the refined one.
    """

    first: Map
    correction: NDArray[np.float64] | None
    order: int
    shape: tuple[int, int]
    method: str
    matched: int
    rms_px: float
    shift_px: float

    def __call__(self, points: Points) -> Points:
        """Reference positions of science positions, both (n, 2), px."""
        mapped = self.first(points)
        if self.correction is not None:
            mapped = mapped + _terms(points, self.order, self.shape) @ self.correction
        return mapped


def _terms(points: Points, order: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    u = 2.0 * points[:, 0] / max(shape[1] - 1, 1) - 1.0
    v = 2.0 * points[:, 1] / max(shape[0] - 1, 1) - 1.0
    return np.stack([u**p * v**q for p, q in polynomial_exponents(order)], axis=1)


def register(
    science: Image,
    reference: Image,
    *,
    use_wcs: bool = True,
    order: int = 3,
    search_px: float = 12.0,
    minimum_stars: int = 4,
) -> Registration:
    """Find the map from science to reference pixels.

    Parameters
    ----------
    science, reference : Image
        With stars.
    use_wcs : bool
        Start from the two WCS when both are there; star patterns otherwise.
    order : int
        Highest order of the polynomial correction; few stars lower it.
    search_px : float
        How far the WCS may be off.
    minimum_stars : int
        Matched stars needed to believe a registration.

    Raises
    ------
    AlignmentError
        No overlap, no common star pattern, or a WCS that contradicts the sky.
    """
    a, b = _registration_stars(science.stars), _registration_stars(reference.stars)
    patterns = None
    if use_wcs and science.wcs is not None and reference.wcs is not None:
        first = wcs_map(science, reference)
        _require_overlap(first, science, reference)
        found = _refine(first, a, b, science.shape, order, search_px, "wcs")
        if found.matched >= minimum_stars and _sound(found, a, b, reference.shape, trials=int(search_px**2) + 1):
            return found
        patterns = match_patterns(_points(a), _points(b))
        if patterns is not None:
            centre = np.array([[science.shape[1] / 2.0, science.shape[0] / 2.0]])
            miss = float(np.hypot(*(patterns(centre) - first(centre))[0]))
            raise AlignmentError(
                f"the WCS contradicts the sky: it puts the science centre {miss:.1f} px from where {patterns.matched} "
                f"stars say (searched {search_px:g} px); repair the WCS, or set align.use_wcs = false to register by "
                "star patterns",
                miss_px=miss,
                matched=patterns.matched,
            )
        if min(len(a), len(b)) < minimum_stars:
            return found  # too few stars to check the WCS by: it is all there is
        raise AlignmentError(
            f"the WCS puts only {found.matched} stars of {len(a)} on stars of the reference ({len(b)}), and no common "
            "star pattern was found; do the two frames show the same sky, in focus?",
            matched=found.matched,
        )
    patterns = match_patterns(_points(a), _points(b))
    if patterns is None:
        raise AlignmentError(
            f"no common star pattern in {len(a)} science and {len(b)} reference stars; do the two frames show the "
            "same sky? Frames with fewer than four common stars need a WCS",
            science_stars=len(a),
            reference_stars=len(b),
        )
    found = _refine(patterns, a, b, science.shape, order, 4.0, "patterns")
    _require_overlap(found, science, reference)
    if found.matched < minimum_stars or not _sound(found, a, b, reference.shape, trials=patterns.trials):
        raise AlignmentError(
            f"only {found.matched} of {min(len(a), len(b))} stars match between science and reference: fewer than the "
            f"{minimum_stars} needed, or what chance can explain; do the two frames show the same sky?",
            matched=found.matched,
        )
    return found


def wcs_map(science: Image, reference: Image) -> Map:
    """Science pixels to reference pixels through the sky."""
    here, there = science.wcs, reference.wcs
    if here is None or there is None:
        raise AlignmentError("a map through the sky needs a WCS on both images")

    def mapped(points: Points) -> Points:
        # Through sky objects, so that galactic or transposed axes on either side mean what they say.
        sky = here.pixel_to_world(points[:, 0], points[:, 1])
        try:
            x, y = there.world_to_pixel(sky)
        except NoConvergence as error:
            x, y = error.best_solution.T  # far outside, where distortion polynomials cannot be inverted
        return np.column_stack((x, y))

    return mapped


def _registration_stars(stars: Stars | None) -> Stars:
    """Unflagged sources, brightest first; saturated ones only where nothing else is left."""
    if stars is None:
        raise AlignmentError("registration needs the stars of both images; call measure_image first")
    good = stars[(stars.flags == 0) & (stars.snr > 5.0)]
    if len(good) < 8:
        good = stars[stars.snr > 5.0]
    return good[:1500]


def _points(stars: Stars) -> Points:
    return np.column_stack((stars.x, stars.y))


def _sound(found: Registration, a: Stars, b: Stars, shape: tuple[int, int], *, trials: int) -> bool:
    """Whether the matches within 1 px are too many for luck, and a fair share of those that could be."""
    if found.matched < 3:
        return False
    mapped = found(_points(a))
    inside = int(((mapped > 0).all(1) & (mapped[:, 0] < shape[1]) & (mapped[:, 1] < shape[0])).sum())
    chance = inside * min(1.0, len(b) * np.pi / (shape[0] * shape[1]))
    share = found.matched / max(min(inside, len(b)), 1)
    return share > 0.1 and significant(found.matched, chance, fitted=3, trials=trials)


def _require_overlap(first: Map, science: Image, reference: Image) -> None:
    ny, nx = science.shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, 16), np.linspace(0, nx - 1, 16), indexing="ij")
    mapped = first(np.column_stack((x.ravel(), y.ravel())))
    my, mx = reference.shape
    with np.errstate(invalid="ignore"):
        inside = (mapped > -0.5).all(1) & (mapped[:, 0] < mx - 0.5) & (mapped[:, 1] < my - 0.5)
    if inside.mean() < 0.01:
        apart = np.hypot(mapped[:, 0] - mx / 2.0, mapped[:, 1] - my / 2.0)
        apart = apart[np.isfinite(apart)]
        far = float(np.median(apart)) if apart.size else None
        words = "on opposite sides of the sky" if far is None else f"{far:.0f} reference pixels apart"
        raise AlignmentError(
            f"science and reference do not overlap: their centres are {words}; choose a reference of the same field",
            distance_px=far,
        )


def _refine(
    first: Map, a: Stars, b: Stars, shape: tuple[int, int], order: int, search_px: float, method: str
) -> Registration:
    """Match stars from wide to narrow, fit the correction with clipping."""
    here, there = _points(a), _points(b)
    nothing = Registration(first, None, 0, shape, method, 0, float("nan"), 0.0)
    if len(a) == 0 or len(b) == 0:
        return nothing
    base = first(here)
    usable = np.isfinite(base).all(1)
    here, base, a = here[usable], base[usable], a[usable]
    if len(here) == 0:
        return nothing
    tree = cKDTree(there)
    correction = np.zeros((1, 2))
    correction[0] = _vote_shift(base, there, search_px)
    used, matched, rms, index = 0, np.zeros(len(here), bool), float("nan"), np.zeros(len(here), int)
    # Where the first map is turned, the vote brings a part of the chip together; a plane through that part finds the
    # rest, a polynomial of higher order runs away from it.
    for radius, most in ((3.0, 1), (3.0, 1), (1.5, order), (1.0, order), (1.0, order)):
        moved = base + _terms(here, used, shape) @ correction
        distance, index = tree.query(moved, distance_upper_bound=radius)
        matched = np.isfinite(distance)
        # The nearest in both directions, so that crowding does not give one star to two.
        matched &= _mutual(moved, there, index, matched)
        n = int(matched.sum())
        if n < 3:
            return nothing
        used = min(order, most, 0 if n < 6 else 1 if n < 20 else 2 if n < 60 else 3)
        weight = _weights(a, b, matched, index)
        target = there[index[matched]] - base[matched]
        correction, keep = _clipped_fit(_terms(here[matched], used, shape), target, weight)
        residual = (target - _terms(here[matched], used, shape) @ correction)[keep]
        rms = float(np.sqrt(np.average(residual**2, axis=0, weights=weight[keep]).mean()))
    shift = float(np.median(np.hypot(*(_terms(here, used, shape) @ correction).T)))
    return Registration(first, correction, used, shape, method, int(matched.sum()), rms, shift)


def _vote_shift(base: Points, there: Points, search_px: float) -> NDArray[np.float64]:
    """The shift that brings most pairs together: the fullest cell of the histogram of pair differences."""
    near = cKDTree(base[:400]).query_ball_tree(cKDTree(there[:600]), search_px)
    pairs = [(i, j) for i, group in enumerate(near) for j in group]
    if not pairs:
        return np.zeros(2)
    i, j = np.array(pairs).T
    delta = there[j] - base[i]
    tree = cKDTree(delta)
    votes = tree.query_ball_point(delta, 1.0, return_length=True)
    return np.asarray(np.median(delta[tree.query_ball_point(delta[int(np.argmax(votes))], 1.0)], axis=0))


def _mutual(moved: Points, there: Points, index: NDArray[np.int64], matched: NDArray[np.bool_]) -> NDArray[np.bool_]:
    back = cKDTree(moved).query(there[np.where(matched, index, 0)])[1]
    return np.asarray(back == np.arange(len(moved)))


def _weights(a: Stars, b: Stars, matched: NDArray[np.bool_], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inverse variance of the separation: centroid noise FWHM / (2.35 S/N) of both, and a floor of 0.01 px."""
    other = index[matched]
    va = (a.fwhm[matched] / 2.35 / np.maximum(a.snr[matched], 1.0)) ** 2
    vb = (b.fwhm[other] / 2.35 / np.maximum(b.snr[other], 1.0)) ** 2
    return np.asarray(1.0 / (va + vb + 1e-4))


def _clipped_fit(
    terms: NDArray[np.float64], target: Points, weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    keep = np.ones(len(target), bool)
    solved = np.zeros((terms.shape[1], 2))
    for _ in range(5):
        root = np.sqrt(weight[keep])[:, None]
        solved[:] = np.linalg.lstsq(terms[keep] * root, target[keep] * root, rcond=None)[0]
        pull = np.hypot(*(target - terms @ solved).T) * np.sqrt(weight)
        limit = 3.0 * max(1.4826 * float(np.median(pull[keep])), 0.5)
        new = pull < limit
        if new.sum() < terms.shape[1] + 2 or (new == keep).all():
            break
        keep = new
    return solved, keep
