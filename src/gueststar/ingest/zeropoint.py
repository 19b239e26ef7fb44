"""Photometric zero point: from a catalogue when given, else instrumental and said so.

Where the catalogue has colours, a colour term is fitted with it: catalogue minus instrumental magnitude is
zero point + term * (colour - median colour), by least absolute deviations first and clipped least squares then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.ingest.psf import psf_photometry
from gueststar.types import Fact, Image

__all__ = ["Catalog", "instrumental_zeropoint", "zeropoint_from_catalog"]

_FEWEST_COLOURED = 12  # stars with a colour from which a term is fitted
_COLOUR_SPREAD = 0.1  # mag; half of what the inner 80 % of the colours must span


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Stars of known magnitude: `ra_deg`, `dec_deg` (ICRS) and `mag` (AB), each of shape (n,).

    `colour` (mag, any pair of filters), where the catalogue has it, is NaN for stars without.
    """

    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    mag: NDArray[np.float64]
    colour: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.ra_deg.shape == self.dec_deg.shape == self.mag.shape:
            raise InputError(f"catalogue columns differ: {self.ra_deg.shape} {self.dec_deg.shape} {self.mag.shape}")
        if self.colour is not None and self.colour.shape != self.mag.shape:
            raise InputError(f"catalogue columns differ: colour {self.colour.shape}, mag {self.mag.shape}")


def instrumental_zeropoint(exposure_s: float) -> float:
    """Magnitude of 1 e- if 1 e-/s were 25 mag: only good for differences within one instrument."""
    return 25.0 + (2.5 * float(np.log10(exposure_s)) if np.isfinite(exposure_s) and exposure_s > 0 else 0.0)


def zeropoint_from_catalog(image: Image, catalog: Catalog, *, radius_px: float = 3.0, minimum: int = 5) -> Image:
    """The image with its zero point measured: clipped median of catalogue minus instrumental magnitude.

    Facts: ``zeropoint_stars`` used, their ``zeropoint_scatter_mag``, the error ``zeropoint_err_mag``. With colours of
    at least 12 stars that spread by 0.1 mag, the zero point is that at their median colour ``zeropoint_colour``, and
    ``colour_term`` and ``colour_term_err`` say how it changes with the colour (mag per mag).

    Parameters
    ----------
    image : Image
        With a WCS, stars and a PSF.
    catalog : Catalog
    radius_px : float
        Match radius.
    minimum : int
        Matched stars needed.

    Raises
    ------
    InputError
        Without a WCS, or when too few stars match; the message says how many.
    """
    if image.wcs is None:
        raise InputError("a zero point from a catalogue needs a WCS, and this image has none; leave the catalogue out")
    if image.stars is None or image.psf is None:
        raise InputError("a zero point from a catalogue needs measured stars; call measure_image first")
    from scipy.spatial import cKDTree

    x, y = image.wcs.world_to_pixel(SkyCoord(catalog.ra_deg, catalog.dec_deg, unit="deg"))
    ny, nx = image.shape
    inside = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0) & (x < nx - 1) & (y < ny - 1)
    stars = image.stars[(image.stars.flags == 0) & (image.stars.snr > 10) & (image.stars.flux > 0)]
    matched = 0
    if inside.any() and len(stars):
        distance, index = cKDTree(np.column_stack((stars.x, stars.y))).query(np.column_stack((x[inside], y[inside])))
        near = distance < radius_px
        matched = int(near.sum())
    if matched < minimum:
        raise InputError(
            f"only {matched} stars match the catalogue within {radius_px:g} px ({int(inside.sum())} catalogue stars "
            f"lie in the image, {len(stars)} were measured); expected at least {minimum}; is the WCS right?",
            n_matched=matched,
        )
    matched_stars = stars[index[near]]
    flux = psf_photometry(image.data, image.psf, matched_stars.x, matched_stars.y)
    offset = catalog.mag[inside][near] + 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    colour = np.full(offset.shape, np.nan) if catalog.colour is None else catalog.colour[inside][near]
    fit = _fit(offset, colour)
    facts = {**image.facts, **fit.facts()}
    return replace(image, zeropoint=fit.zeropoint, zeropoint_source="catalog", facts=facts)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Zero point at a colour, the term, their errors (mag), and the stars that were used."""

    zeropoint: float
    error: float
    scatter: float
    stars: int
    colour: float | None = None
    term: float | None = None
    term_error: float | None = None

    def facts(self) -> dict[str, Fact]:
        plain: dict[str, Fact] = {
            "zeropoint_stars": self.stars,
            "zeropoint_scatter_mag": self.scatter,
            "zeropoint_err_mag": self.error,
        }
        if self.term is None:
            return plain
        return {
            **plain,
            "zeropoint_colour": self.colour,
            "colour_term": self.term,
            "colour_term_err": self.term_error,
        }


def _fit(offset: NDArray[np.float64], colour: NDArray[np.float64]) -> _Fit:
    coloured = np.isfinite(offset) & np.isfinite(colour)
    if coloured.sum() >= _FEWEST_COLOURED:
        low, high = np.quantile(colour[coloured], (0.1, 0.9))
        if high - low > 2.0 * _COLOUR_SPREAD:
            return _with_term(offset[coloured], colour[coloured])
    keep = np.isfinite(offset)
    scatter = 0.0
    for _ in range(4):
        middle = np.median(offset[keep])
        scatter = float(1.4826 * np.median(np.abs(offset[keep] - middle)))
        keep = np.isfinite(offset) & (np.abs(offset - middle) < 3.0 * max(scatter, 0.01))
    n = int(keep.sum())
    return _Fit(float(np.median(offset[keep])), 1.2533 * scatter / float(np.sqrt(n)), scatter, n)


def _with_term(offset: NDArray[np.float64], colour: NDArray[np.float64]) -> _Fit:
    middle = float(np.median(colour))
    design = np.column_stack((np.ones(colour.size), colour - middle))
    solved = np.array([np.median(offset), 0.0])
    # Least absolute deviations by reweighting: wrong matches and variables pull with a bounded force.
    for _ in range(20):
        weight = 1.0 / np.sqrt((offset - design @ solved) ** 2 + 1e-4)
        solved = np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (weight * offset))
    keep = np.ones(offset.size, bool)
    scatter = 0.0
    for _ in range(6):
        away = np.abs(offset - design @ solved)
        scatter = float(1.4826 * np.median(away))
        keep = away < 3.0 * max(scatter, 0.01)
        solved = np.linalg.lstsq(design[keep], offset[keep], rcond=None)[0]
    n = int(keep.sum())
    spread = float(np.std(offset[keep] - design[keep] @ solved)) * float(np.sqrt(n / max(n - 2, 1)))
    error = spread * np.sqrt(np.diag(np.linalg.inv(design[keep].T @ design[keep])))
    return _Fit(float(solved[0]), float(error[0]), scatter, n, middle, float(solved[1]), float(error[1]))
