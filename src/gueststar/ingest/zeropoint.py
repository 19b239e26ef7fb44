"""Photometric zero point: from a catalogue when given, else instrumental and said so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.ingest.psf import psf_photometry
from gueststar.types import Image

__all__ = ["Catalog", "instrumental_zeropoint", "zeropoint_from_catalog"]


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Stars of known magnitude: `ra_deg`, `dec_deg` (ICRS) and `mag` (AB), each of shape (n,)."""

    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    mag: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.ra_deg.shape == self.dec_deg.shape == self.mag.shape:
            raise InputError(f"catalogue columns differ: {self.ra_deg.shape} {self.dec_deg.shape} {self.mag.shape}")


def instrumental_zeropoint(exposure_s: float) -> float:
    """Magnitude of 1 e- if 1 e-/s were 25 mag: only good for differences within one instrument."""
    return 25.0 + (2.5 * float(np.log10(exposure_s)) if np.isfinite(exposure_s) and exposure_s > 0 else 0.0)


def zeropoint_from_catalog(image: Image, catalog: Catalog, *, radius_px: float = 3.0, minimum: int = 5) -> Image:
    """The image with its zero point measured: clipped median of catalogue minus instrumental magnitude.

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
    keep = np.isfinite(offset)
    for _ in range(4):
        middle = np.median(offset[keep])
        scatter = 1.4826 * np.median(np.abs(offset[keep] - middle))
        keep = np.isfinite(offset) & (np.abs(offset - middle) < 3.0 * max(scatter, 0.01))
    facts = {**image.facts, "zeropoint_stars": int(keep.sum()), "zeropoint_scatter_mag": float(scatter)}
    return replace(image, zeropoint=float(np.median(offset[keep])), zeropoint_source="catalog", facts=facts)
