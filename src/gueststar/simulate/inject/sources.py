"""The truth about artificial reals: the columns of their table, and what the image tells about their places."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate.inject.brightness import (
    flux_of_snr,
    magnitude,
    pixel_scale_arcsec,
    snr_of_flux,
    surface_brightness,
)
from gueststar.simulate.inject.profiles import on_frame, psf_of, psf_profiles
from gueststar.types import Image

__all__ = ["TRUTH_COLUMNS", "describe_sources", "truth_table"]

F8 = NDArray[np.float64]

#: Columns of what is drawn.
TRUTH_COLUMNS = (
    "x", "y", "flux_e", "snr", "mag", "placement", "host_offset_r25", "host_mag", "star_mag", "surface_e_px",
    "surface_mag_arcsec2",
)  # fmt: skip


def describe_sources(image: Image, sources: Table) -> Table:
    """Complete the columns of artificial reals: flux from S/N or S/N from flux, magnitudes, and the light below.

    Parameters
    ----------
    image : Image
        With a measured `psf`; before the injection.
    sources : Table
        x, y (px) and flux_e (e-) or snr; if it has host_offset_r25, host_flux_e, star_flux_e or placement, these are
        used. Other columns are kept at the end.

    Returns
    -------
    Table
        With `TRUTH_COLUMNS`; NaN where the place is outside the frame.
    """
    psf, n = psf_of(image), len(sources)
    x, y = (np.asarray(sources[name], np.float64) for name in ("x", "y"))
    on = on_frame(x, y, image.shape)
    profiles = psf_profiles(image, psf, x[on], y[on])
    given: dict[str, F8] = {name: np.full(n, np.nan) for name in ("flux_e", "snr", "surface_e_px")}
    for name in ("flux_e", "snr"):
        if name in sources.colnames:
            given[name][:] = sources[name]
    if "flux_e" not in sources.colnames:
        given["flux_e"][on] = flux_of_snr(image, profiles, given["snr"][on])
    elif "snr" not in sources.colnames:
        given["snr"][on] = snr_of_flux(image, profiles, given["flux_e"][on])
    given["surface_e_px"][on] = surface_brightness(image, profiles)
    return truth_table(image, sources, **given)


def truth_table(image: Image, sources: Table, **columns: F8) -> Table:
    """Truth in the order of `TRUTH_COLUMNS`, from columns that are given and fluxes of host and star."""
    n = len(sources)
    nothing = np.full(n, np.nan)
    known = {name: np.asarray(sources[name]) for name in sources.colnames} | columns
    known.setdefault("placement", np.full(n, "given", "U8"))
    known.setdefault("host_offset_r25", nothing)
    known["mag"] = magnitude(image, known["flux_e"])
    known["host_mag"] = magnitude(image, known.pop("host_flux_e", nothing))
    known["star_mag"] = magnitude(image, known.pop("star_flux_e", nothing))
    known["surface_mag_arcsec2"] = _per_arcsec2(image, known["surface_e_px"])
    order = [*TRUTH_COLUMNS, *(name for name in known if name not in TRUTH_COLUMNS)]
    return Table({name: known[name] for name in order}, meta=dict(sources.meta))


def _per_arcsec2(image: Image, surface_e_px: NDArray[np.generic]) -> F8:
    values = np.asarray(surface_e_px, np.float64)
    positive = np.where(values > 0, values, np.nan)
    return magnitude(image, positive / pixel_scale_arcsec(image) ** 2)
