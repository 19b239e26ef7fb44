"""A nebula as an exposure sees it: moved with the pointing, blurred by the PSF of each part of the chip."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates
from scipy.signal import fftconvolve

from gueststar.simulate.camera import world_to_pixel
from gueststar.simulate.frame import Place, flux_e
from gueststar.simulate.optics.conditions import Conditions, registration_error
from gueststar.simulate.optics.painter import PsfField
from gueststar.simulate.sky.nebula import draw_nebula, nebula_pixels
from gueststar.simulate.sky.sky_table import chip_box
from gueststar.simulate.survey import Survey

__all__ = ["paint_nebula"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

_STEP = 40.0  # px between places whose position on the sky is computed; between them it is interpolated


def paint_nebula(
    survey: Survey, seed: int, place: Place, conditions: Conditions, *, wcs: WCS, psf: PsfField, exposures: int
) -> F4:
    """Light of the nebula of a field on a frame.

    Parameters
    ----------
    survey : Survey
        With `nebula_mag_arcsec2`.
    seed : int
        Of the nebula; see `draw_nebula`.
    place : Place
    conditions : Conditions
    wcs : WCS
        By the frame's header.
    psf : PsfField
    exposures : int
        Exposures summed in the frame.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        e-; zeros where the survey has no nebula.
    """
    if survey.nebula_mag_arcsec2 is None:
        return np.zeros(place.shape, np.float32)
    box = chip_box(survey, place.shape)
    nebula = draw_nebula(seed, box, slope=survey.nebula_slope, contrast=survey.nebula_contrast)
    half = min(psf.half, 3 * int(np.ceil(psf.fwhm.max())) + int(np.ceil(psf.smear)))
    x, y = _nominal(survey, place, conditions, wcs, margin=half)
    sharp = map_coordinates(nebula, nebula_pixels(nebula, box, x, y), order=3, output=np.float32)
    one = survey.pixel_scale_arcsec**2 * flux_e(
        survey, survey.nebula_mag_arcsec2, extinction_mag=conditions.extinction_mag, exposures=exposures
    )
    return np.asarray(np.float32(one) * _seen(sharp, psf, half), np.float32)


def _nominal(survey: Survey, place: Place, conditions: Conditions, wcs: WCS, *, margin: int) -> tuple[F8, F8]:
    """Nominal pixel positions of what falls on the pixels of a frame and on a margin around it."""
    ys, xs = (np.arange(-margin, n + margin, dtype=np.float64) for n in place.shape)
    knots = [np.linspace(a[0], a[-1], max(6, int(np.ceil(a.size / _STEP)))) for a in (ys, xs)]
    ky, kx = np.meshgrid(*knots, indexing="ij")
    flat_x, flat_y = kx.ravel(), ky.ravel()
    # Light on a pixel comes from where the header's position is, less the error of registration there.
    dx, dy = registration_error(conditions, flat_x, flat_y, place.shape)
    ra, dec = wcs.all_pix2world(flat_x - dx, flat_y - dy, 0)
    columns = world_to_pixel(place.wcs(survey), ra, dec)
    x, y = (RectBivariateSpline(*knots, column.reshape(ky.shape))(ys, xs) for column in columns)
    return x, y


def _seen(sharp: F4, psf: PsfField, half: int) -> F4:
    """Convolved with the PSF of each place of the grid, interpolated between them; the margin is cut off."""
    ny, nx = (n - 2 * half for n in sharp.shape)
    grid = psf.tables.shape[:2]
    cut = slice(psf.half - half, psf.half + half + 1)
    middle = psf.tables.shape[2] // 2
    columns = psf.place_weights(np.arange(nx), np.zeros(nx)).reshape(nx, *grid).sum(1)
    rows = psf.place_weights(np.zeros(ny), np.arange(ny)).reshape(ny, *grid).sum(2)
    seen = np.zeros((ny, nx))
    for j in range(grid[0]):
        for i in range(grid[1]):
            kernel = psf.tables[j, i, middle, middle, cut, cut].astype(np.float64)
            blurred = fftconvolve(sharp, kernel / kernel.sum(), mode="valid")
            seen += rows[:, j, None] * columns[None, :, i] * blurred
    return seen.astype(np.float32)
