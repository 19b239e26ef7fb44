"""Light of bright stars at the place of a candidate, in units of the noise of the sky.

Far from its core the light of a star falls with the square of the distance; about a fiftieth of it lies in this aureole
(King 1971, PASP 83, 199; Slater, Harding & Mihos 2009, PASP 121, 1267). A star of flux F leaves 0.02 F / (2 pi r^2) per
pixel at r px, so that one number tells how much a star of any brightness disturbs a place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["StarList", "halo_light", "halo_sigma", "star_beside"]

F8 = NDArray[np.float64]
_SHARE = 0.02  # of the light that lies in the aureole
_NEAREST_PX = 4.0  # nearer than this it is the star itself
_REACH_PX = 0.01  # px that a star reaches per S/N of its flux, beyond its core
_FARTHEST_PX = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class StarList:
    """Bright stars near some candidates: names, and ra, dec (ICRS, deg), mag, shape (n,) each."""

    name: tuple[str, ...]
    ra: F8
    dec: F8
    mag: F8

    def __len__(self) -> int:
        return len(self.name)


def halo_sigma(flux_e: F8, distance_px: F8, sky_sigma_e: F8) -> F8:
    """Light of a star per pixel, in sigma of the sky."""
    r = np.maximum(distance_px, _NEAREST_PX)
    return np.asarray(_SHARE * flux_e / (2.0 * np.pi * r**2) / np.maximum(sky_sigma_e, 1e-6))


def star_beside(flux_e: F8, distance_px: F8, sky_sigma_e: F8, *, fwhm_px: F8) -> F8:
    """S/N of the flux of a star where a place lies within its reach, else 0.

    A residual of a hundredth of the light is usual at any star, so that it is the brightness of a star that makes it
    seen; the S/N counts the photons of the star and the noise of the sky under its point-spread function.

    Parameters
    ----------
    flux_e, distance_px, sky_sigma_e, fwhm_px : ndarray, shape (n,)
        Of the star, e-; from the star to the place; noise of the sky per pixel, e-; of its image.
    """
    flux = np.maximum(flux_e, 0.0)
    width = np.where(np.isfinite(fwhm_px) & (fwhm_px > 0.5), fwhm_px, 3.0)
    sky2 = 4.0 * np.pi * (width / 2.3548) ** 2 * np.maximum(sky_sigma_e, 1e-6) ** 2
    snr = flux / np.sqrt(flux + sky2)
    reach = np.minimum(_REACH_PX * snr + np.maximum(3.0, 1.5 * width), _FARTHEST_PX)
    return np.asarray(np.where(distance_px <= reach, snr, np.where(np.isfinite(distance_px), 0.0, np.nan)))


def halo_light(
    ra: F8, dec: F8, zeropoint: F8, sky_sigma_e: F8, stars: StarList, *, arcsec_px: float
) -> tuple[F8, NDArray[np.int64], F8]:
    """The star of a list that disturbs each place most.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        ICRS, deg.
    zeropoint : ndarray, shape (n,)
        AB magnitude of 1 e-.
    sky_sigma_e : ndarray, shape (n,)
        Noise of the sky per pixel, e-.
    stars : StarList
    arcsec_px : float
        Pixel scale.

    Returns
    -------
    (halo, star, distance) : ndarray, shape (n,) each
        Light in sigma, 0 without any star; number of the star, -1 for none; its distance, px. NaN in the first and
        last where the place is not known.
    """
    n = len(ra)
    halo, star, distance = np.full(n, np.nan), np.full(n, -1, np.int64), np.full(n, np.nan)
    for i in np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & np.isfinite(zeropoint)):
        halo[i] = 0.0
        if len(stars) == 0:
            continue
        du = ((stars.ra - ra[i] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[i])) * 3600.0
        r = np.hypot(du, (stars.dec - dec[i]) * 3600.0) / arcsec_px
        light = halo_sigma(10.0 ** (0.4 * (zeropoint[i] - stars.mag)), r, np.full(len(r), sky_sigma_e[i]))
        best = int(np.argmax(light))
        halo[i], star[i], distance[i] = light[best], best, r[best]
    return halo, star, distance
