"""Change of a star beyond the share of its light that its neighbours leave, too.

Where the kernel or the flat field is a little wrong, every star of a region keeps the same share of its light in the
difference. Each of them looks like a variable star, and no stamp of one can tell; its neighbours do. With c the light
that both images have at a place (the lesser of science and matched reference, so that of something new or gone it is
nothing) and f the flux in the difference, the shares f / c of the nearest stars have a median e and a scatter s beyond
their errors, and

    (f - e c) / sqrt(sigma_f^2 + (s c)^2)

is the signal to noise of what they do not explain. It is that of f itself for a new source on empty sky.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.detect.measure import PsfFit, Values, local_flux
from gueststar.types import Difference, Image

__all__ = ["beyond_share"]

_NEIGHBOURS = 12
_FEWEST = 5
_APART = 3.0  # FWHM; closer stars share light with the candidate
_LEAST_SNR = 20.0  # fainter stars tell shares to worse than 5 %
_MOST_STARS = 4000  # the brightest of an image; more lie closer together than shares change


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """Places of stars, each of shape (n, 2) and (n,): the share of light left and its error."""

    points: Values
    share: Values
    error: Values


def beyond_share(difference: Difference, science: Image, reference: Image, fit: PsfFit) -> Values:
    """Signal to noise of the change of each candidate beyond what stars around it leave.

    Parameters
    ----------
    difference : Difference
    science : Image
    reference : Image
        On the science grid; its stars are the neighbours: unflagged ones of a signal to noise above 20 in the science
        image.
    fit : PsfFit
        Of the candidates, shape (n,).

    Returns
    -------
    ndarray, shape (n,)
        Signed. From the 12 nearest stars that are at least 3 FWHM away; with fewer than 5 it is flux over error.
    """
    result = fit.flux / fit.flux_err
    stars = _star_shares(difference, science, reference)
    if stars.share.size < _FEWEST:
        return result
    near = 3 * _NEIGHBOURS  # some of them are too close
    distance, index = cKDTree(stars.points).query(
        np.column_stack((fit.x, fit.y)), k=min(near, stars.share.size), workers=1
    )
    distance, index = distance.reshape(len(result), -1), index.reshape(len(result), -1)
    use = distance > _APART * difference.psf.fwhm
    use &= np.cumsum(use, axis=1) <= _NEIGHBOURS
    told = use.sum(1) >= _FEWEST
    if not told.any():
        return result
    share, scatter = _median_and_scatter(stars.share[index[told]], stars.error[index[told]], use[told])
    common = _common_light(
        difference, science, np.round(fit.x).astype(np.int64), np.round(fit.y).astype(np.int64), fit.flux
    )[told]
    error = np.hypot(fit.flux_err[told], scatter * common)
    result[told] = (fit.flux[told] - share * common) / error
    return result


def _star_shares(difference: Difference, science: Image, reference: Image) -> _Shares:
    nothing = _Shares(np.empty((0, 2)), np.empty(0), np.empty(0))
    if reference.stars is None or len(reference.stars) == 0:
        return nothing
    stars = reference.stars[reference.stars.flags == 0]
    x, y = np.round(stars.x).astype(np.int64), np.round(stars.y).astype(np.int64)
    ny, nx = difference.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    stars, x, y = stars[inside], x[inside], y[inside]
    brightest = np.argsort(-stars.flux, kind="stable")[:_MOST_STARS]
    x, y, places = x[brightest], y[brightest], np.column_stack((stars.x, stars.y))[brightest]
    if x.size == 0:
        return nothing
    flux = difference.flux.cpu().numpy()[y, x].astype(np.float64)
    error = difference.flux_err.cpu().numpy()[y, x].astype(np.float64)
    clean = difference.mask.cpu().numpy()[y, x] == 0
    common = _common_light(difference, science, x, y, flux)
    good = clean & np.isfinite(error) & (error > 0) & (common > _LEAST_SNR * error)
    return _Shares(places[good], (flux / np.maximum(common, 1e-9))[good], (error / np.maximum(common, 1e-9))[good])


def _common_light(
    difference: Difference, science: Image, x: NDArray[np.int64], y: NDArray[np.int64], change: Values
) -> Values:
    """PSF flux, e-, that both images have at each position; never negative."""
    light = local_flux(science.data, difference.variance, difference.psf, x, y)
    return np.maximum(np.minimum(light, light - change), 0.0)


def _median_and_scatter(share: Values, error: Values, use: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Median of each row, and the scatter beyond the errors, from the median absolute deviation."""
    kept = np.where(use, share, np.nan)
    middle = np.nanmedian(kept, axis=1)
    deviation = 1.4826 * np.nanmedian(np.abs(kept - middle[:, None]), axis=1)
    noise = np.nanmedian(np.where(use, error, np.nan), axis=1)
    # The median of n values is itself known to 1.25 / sqrt(n) of their scatter.
    own = 1.2533 * deviation / np.sqrt(use.sum(1))
    return middle, np.hypot(np.sqrt(np.maximum(deviation**2 - noise**2, 0.0)), own)
