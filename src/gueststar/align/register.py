"""Register science on reference: a first map from the WCS or the star patterns, refined on matched stars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.wcs import WCS, NoConvergence
from numpy.typing import NDArray

from gueststar.align.correction import Correction, polynomial_terms, refine, sound, star_positions
from gueststar.align.patterns import PatternMatch, match_patterns
from gueststar.errors import AlignmentError
from gueststar.ingest.astrometry import FittedWcs, fit_sip
from gueststar.types import Image, Stars

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Registration", "refined_wcs", "register"]

Points = NDArray[np.float64]
Map = Callable[[Points], Points]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A map from science to reference pixels.

    Parameters
    ----------
    first : callable
        (n, 2) -> (n, 2), px; from the WCS or from star patterns.
    correction : Correction
        Polynomial in scaled science position, added to the first map, and how well the stars fit it.
    shape : (int, int)
        (ny, nx) of the science image, over which positions are scaled.
    method : {'wcs', 'patterns'}
    shift_px : float
        Median distance between the first map and the refined one.
    quality : {'stars', 'few stars', 'wcs only'}
        Whether the stars prove the map; were too few to prove what they gave; or there were none and the WCS is all.
    """

    first: Map
    correction: Correction
    shape: tuple[int, int]
    method: str
    shift_px: float
    quality: str

    @property
    def matched(self) -> int:
        """Stars used in the fit."""
        return self.correction.matched

    @property
    def order(self) -> int:
        """Order of the polynomial correction."""
        return self.correction.order

    @property
    def rms_px(self) -> float:
        """Residual of the matched stars per axis, reference px; NaN when fewer than three were matched."""
        return self.correction.rms_px

    @property
    def photon_px(self) -> float:
        """The residual that the centroid errors of the stars would give alone, reference px."""
        return self.correction.photon_px

    def __call__(self, points: Points) -> Points:
        """Reference positions of science positions, both (n, 2), px."""
        mapped = self.first(points)
        if self.correction.coefficients is not None:
            mapped = mapped + polynomial_terms(points, self.order, self.shape) @ self.correction.coefficients
        return mapped


def register(
    science: Image,
    reference: Image,
    *,
    use_wcs: bool = True,
    order: int = 4,
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
        Highest order of the polynomial correction; the stars decide how much of it is used.
    search_px : float
        How far the WCS may be off.
    minimum_stars : int
        Matched stars needed to believe a registration.

    Returns
    -------
    Registration
        With the WCS alone, and saying so, where there are too few stars to check it by.

    Raises
    ------
    AlignmentError
        No overlap, no common star pattern, or a WCS that contradicts the sky.
    """
    a, b = _registration_stars(science.stars), _registration_stars(reference.stars)
    if not (use_wcs and science.wcs is not None and reference.wcs is not None):
        return _by_patterns(science, reference, a, b, order=order, minimum_stars=minimum_stars)
    first = wcs_map(science, reference)
    _require_overlap(first, science, reference)

    def fitted(start: Map | None) -> Registration:
        done = refine(
            first, a, b, science.shape,
            order=order, search_px=search_px, reference_shape=reference.shape, start=start,
        )  # fmt: skip
        return _registration(first, done, science, "wcs", minimum_stars)

    def believed(found: Registration) -> bool:
        return found.matched >= minimum_stars and _sound(
            found, a, b, reference.shape, share=0.1, trials=int(search_px**2) + 1
        )

    found = fitted(None)
    if believed(found):
        return found
    patterns = match_patterns(star_positions(a), star_positions(b))
    if patterns is not None:
        miss = _largest_miss(patterns, first, science.shape)
        # A WCS that is turned as well as shifted spoils the vote for one shift.
        found = fitted(patterns) if miss <= search_px else found
        if miss <= search_px and believed(found):
            return found
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


def _by_patterns(
    science: Image, reference: Image, a: Stars, b: Stars, *, order: int, minimum_stars: int
) -> Registration:
    patterns = match_patterns(star_positions(a), star_positions(b))
    if patterns is None:
        raise AlignmentError(
            f"no common star pattern in {len(a)} science and {len(b)} reference stars; do the two frames show the "
            "same sky? Frames with fewer than four common stars need a WCS",
            science_stars=len(a),
            reference_stars=len(b),
        )
    done = refine(patterns, a, b, science.shape, order=order, search_px=4.0, reference_shape=reference.shape)
    found = _registration(patterns, done, science, "patterns", minimum_stars)
    _require_overlap(found, science, reference)
    # The pattern itself was tested against luck; a small share may still be dust or hot pixels that both frames have.
    if found.matched < minimum_stars or not _sound(found, a, b, reference.shape, share=0.03, trials=1):
        raise AlignmentError(
            f"only {found.matched} of {min(len(a), len(b))} stars match between science and reference: fewer than the "
            f"{minimum_stars} needed, or what chance can explain; do the two frames show the same sky?",
            matched=found.matched,
        )
    return found


def _registration(first: Map, done: Correction, science: Image, method: str, minimum_stars: int) -> Registration:
    shift = 0.0
    if done.coefficients is not None:
        y, x = np.meshgrid(*(np.linspace(0, n - 1, 8) for n in science.shape), indexing="ij")
        terms = polynomial_terms(np.column_stack((x.ravel(), y.ravel())), done.order, science.shape)
        shift = float(np.median(np.hypot(*(terms @ done.coefficients).T)))
    quality = "stars" if done.matched >= max(minimum_stars, 3) else "few stars" if done.matched else "wcs only"
    return Registration(first, done, science.shape, method, shift, quality)


def _largest_miss(one: PatternMatch, other: Map, shape: tuple[int, int]) -> float:
    """Largest distance of two maps at centre and corners of the image, px; infinite where one is not defined."""
    ny, nx = shape
    points = np.array([[0, 0], [nx, 0], [0, ny], [nx, ny], [nx / 2, ny / 2]], np.float64)
    away = np.hypot(*(one(points) - other(points)).T)
    return float(away.max()) if np.isfinite(away).all() else float("inf")


def refined_wcs(found: Registration, reference_wcs: WCS, *, order: int = 5) -> FittedWcs:
    """WCS of the science image that agrees with the reference's where the stars are.

    Positions go through the registration to the reference and through its WCS to the sky; a TAN-SIP is fitted to them.
    It is as good as the reference's own WCS and the registration, not better.

    Parameters
    ----------
    found : Registration
    reference_wcs : astropy.wcs.WCS
        Of the reference.
    order : int
        Of the SIP polynomials.

    Returns
    -------
    FittedWcs
        The WCS and how far it is from what it was fitted to.

    Raises
    ------
    ValueError
        When no TAN projection covers the positions.
    """

    def sky(points: Points) -> Points:
        there = found(points)
        place = reference_wcs.pixel_to_world(there[:, 0], there[:, 1]).icrs
        return np.column_stack((place.ra.deg, place.dec.deg))

    return fit_sip(sky, found.shape, order=order)


def wcs_map(science: Image, reference: Image) -> Map:
    """Science pixels to reference pixels through the sky."""
    here, there = science.wcs, reference.wcs
    if here is None or there is None:
        raise AlignmentError("a map through the sky needs a WCS on both images")

    plain = _same_sky(here, there)

    def mapped(points: Points) -> Points:
        try:
            if plain:
                x, y = there.all_world2pix(*here.all_pix2world(points[:, 0], points[:, 1], 0), 0)
            else:
                x, y = there.world_to_pixel(here.pixel_to_world(points[:, 0], points[:, 1]))
        except NoConvergence as error:
            x, y = error.best_solution.T  # far outside, where distortion polynomials cannot be inverted
        return np.column_stack((x, y))

    return mapped


def _same_sky(here: WCS, there: WCS) -> bool:
    """Whether world coordinates of one mean the same in the other: then numbers do, which are far quicker.

    Otherwise the map goes through sky objects, so that galactic or transposed axes on either side mean what they say.
    """
    a, b = here.wcs, there.wcs
    same = [one[:4] for one in a.ctype] == [one[:4] for one in b.ctype] and list(a.cunit) == list(b.cunit)
    return same and here.naxis == there.naxis == 2 and a.radesys == b.radesys and _equal(a.equinox, b.equinox)


def _equal(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))


def _registration_stars(stars: Stars | None) -> Stars:
    """Unflagged sources, brightest first; saturated ones only where nothing else is left."""
    if stars is None:
        raise AlignmentError("registration needs the stars of both images; call measure_image first")
    good = stars[(stars.flags == 0) & (stars.snr > 5.0)]
    if len(good) < 8:
        good = stars[stars.snr > 5.0]
    return good[:1500]


def _sound(found: Registration, a: Stars, b: Stars, shape: tuple[int, int], *, share: float, trials: float) -> bool:
    mapped = found(star_positions(a))
    inside = int(((mapped > 0).all(1) & (mapped[:, 0] < shape[1]) & (mapped[:, 1] < shape[0])).sum())
    return sound(found.matched, inside, len(b), shape, share=share, trials=trials)


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
