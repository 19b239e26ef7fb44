"""How bright artificial reals are: the law they are drawn from, flux against signal to noise, and the light below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.inject.light import UNUSABLE, Patch
from gueststar.types import Image

__all__ = [
    "DISTRIBUTIONS",
    "Distribution",
    "draw_brightness",
    "flux_of_snr",
    "magnitude",
    "pixel_scale_arcsec",
    "snr_of_flux",
    "surface_brightness",
]

F8 = NDArray[np.float64]
Distribution = Literal["log-uniform", "uniform", "euclidean"]
DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)


def draw_brightness(
    n: int, low: float, high: float, *, distribution: Distribution = "log-uniform", rng: np.random.Generator
) -> F8:
    """Draw S/N or fluxes from a range.

    Parameters
    ----------
    n : int
    low, high : float
        Range, positive.
    distribution : {'log-uniform', 'uniform', 'euclidean'}
        As many in each magnitude; as many in each unit; or brighter than f as f^-3/2, as sources that fill space.
    rng : Generator

    Returns
    -------
    ndarray, shape (n,)
    """
    share = rng.random(n)
    if distribution == "uniform":
        return np.asarray(low + share * (high - low))
    if distribution == "euclidean":
        # Inverse of the cumulative law N(>f) ~ f^-3/2 cut to the range.
        ends = low**-1.5, high**-1.5
        return np.asarray((ends[0] + share * (ends[1] - ends[0])) ** (-2.0 / 3.0))
    return np.asarray(np.exp(np.log(low) + share * np.log(high / low)))


def flux_of_snr(image: Image, profiles: Sequence[Patch], snr: ArrayLike) -> F8:
    """Flux (e-) at which the matched filter has the wanted signal to noise, own photon noise included.

    snr^2 = f^2 sum p^2 / (V + f p), the optimal weighting of Naylor (1998, MNRAS 296, 339), solved by iteration. In
    a sky-limited image this is flux = snr sqrt(V A) with A = 1 / sum p^2 the noise-equivalent area.

    Parameters
    ----------
    image : Image
    profiles : sequence of Patch
        Light of unit flux, one for each source.
    snr : array_like, shape (n,)
    """
    fluxes = np.zeros(len(profiles))
    for i, (p, variance, wanted) in enumerate(_terms(image, profiles, snr)):
        flux = 0.0
        for _ in range(60):
            following = wanted / np.sqrt((p**2 / (variance + flux * p)).sum())
            if abs(following - flux) < 1e-6 * following:
                break
            flux = following
        fluxes[i] = following
    return fluxes


def snr_of_flux(image: Image, profiles: Sequence[Patch], flux: ArrayLike) -> F8:
    """Signal to noise of the matched filter at given fluxes (e-); the inverse of `flux_of_snr`.

    A negative flux, light that goes away, has a negative signal to noise.
    """
    values = [f * np.sqrt((p**2 / (v + max(f, 0.0) * p)).sum()) for p, v, f in _terms(image, profiles, flux)]
    return np.asarray(values, np.float64)


def _terms(image: Image, profiles: Sequence[Patch], numbers: ArrayLike) -> list[tuple[F8, F8, float]]:
    """Profile on good pixels, variance there, and the number that belongs to it."""
    variance, mask = image.numpy("variance"), image.numpy("mask")
    terms = []
    for profile, value in zip(profiles, np.atleast_1d(np.asarray(numbers, np.float64)), strict=True):
        good = (mask[profile.box] & UNUSABLE) == 0
        p = np.maximum(profile.light, 0.0)[good]
        terms.append((p, variance[profile.box][good].astype(np.float64), float(value)))
    return terms


def surface_brightness(image: Image, profiles: Sequence[Patch]) -> F8:
    """Light of the image under each profile, e-/px: its mean weighted by the profile, on good pixels; NaN without."""
    data, mask = image.numpy("data"), image.numpy("mask")
    found = np.full(len(profiles), np.nan)
    for i, profile in enumerate(profiles):
        weight = np.where(mask[profile.box] & UNUSABLE, 0.0, np.maximum(profile.light, 0.0))
        if weight.sum() > 0:
            found[i] = (weight * data[profile.box]).sum() / weight.sum()
    return found


def magnitude(image: Image, flux: ArrayLike) -> F8:
    """AB magnitude of fluxes (e-); NaN when the zero point of the image is only instrumental, or without light."""
    values = np.abs(np.asarray(flux, np.float64))
    if image.zeropoint_source == "instrumental":
        return np.full(values.shape, np.nan)
    return np.asarray(image.zeropoint - 2.5 * np.log10(np.where(values > 0, values, np.nan)))


def pixel_scale_arcsec(image: Image) -> float:
    """Pixel scale by the WCS, else by the shipped profile of the instrument; NaN when neither tells."""
    if image.wcs is not None:
        from astropy.wcs.utils import proj_plane_pixel_area

        return float(np.sqrt(proj_plane_pixel_area(image.wcs.celestial)) * 3600.0)
    from gueststar.instruments import instrument_names, load_instrument

    known = load_instrument(image.instrument).pixel_scale_arcsec if image.instrument in instrument_names() else None
    return float("nan") if known is None else known
