"""World coordinates: read them with SIP and TPV distortion, whatever spelling the header uses."""

from __future__ import annotations

import warnings

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, FITSFixedWarning

__all__ = ["binned_header", "pixel_scale_arcsec", "read_wcs"]


def read_wcs(header: fits.Header) -> WCS | None:
    """Celestial WCS of a header; None when it has none.

    TAN with PV coefficients, as SCAMP writes it, is read as TPV; SIP coefficients under a plain TAN are used.

    Raises
    ------
    ValueError
        When the header has a WCS that cannot be used (singular matrix, unreadable).
    """
    ctypes = [str(header.get(f"CTYPE{axis}", "")).upper() for axis in (1, 2)]
    if not (ctypes[0][:4] in ("RA--", "DEC-", "GLON", "GLAT") and ctypes[1]):
        return None
    header = header.copy()
    if all(ctype.endswith("-TAN") for ctype in ctypes) and any(key.startswith("PV1_") for key in header):
        for axis in (1, 2):
            header[f"CTYPE{axis}"] = ctypes[axis - 1].replace("-TAN", "-TPV")
    if all(ctype.endswith("-TAN") for ctype in ctypes) and "A_ORDER" in header and "B_ORDER" in header:
        for axis in (1, 2):
            header[f"CTYPE{axis}"] = ctypes[axis - 1] + "-SIP"
    if not all(ctype.endswith("-SIP") for ctype in (header["CTYPE1"], header["CTYPE2"])):
        for key in [key for key in header if key.split("_")[0] in ("A", "B", "AP", "BP") and "_" in key]:
            del header[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            wcs = WCS(header, naxis=2)
            wcs.wcs.set()
        except (ValueError, KeyError, MemoryError) as error:
            # wcslib begins with the place in its own source; what was wrong comes on the next line.
            lines = [line for line in str(error).splitlines() if not line.startswith("ERROR")] or [str(error)]
            raise ValueError(f"the WCS of the header cannot be used: {lines[0]}") from None
    if not wcs.has_celestial:
        return None
    matrix = np.asarray(wcs.pixel_scale_matrix)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-20:
        raise ValueError(f"the WCS of the header has a singular matrix {matrix.tolist()}")
    return wcs


def binned_header(header: fits.Header) -> fits.Header:
    """WCS keywords for an image binned 2 x 2: pixel origin, scale and SIP coefficients."""
    new = header.copy()
    names = [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]
    for key in [name for name in names if name in new] or ["CDELT1", "CDELT2"]:
        new[key] = 2.0 * float(new.get(key, 1.0))  # a PC matrix alone has steps of 1
    for axis in (1, 2):
        if f"CRPIX{axis}" in new:
            new[f"CRPIX{axis}"] = (float(new[f"CRPIX{axis}"]) - 0.5) / 2.0 + 0.5
    for key in list(new):
        parts = key.split("_")
        if len(parts) == 3 and parts[0] in ("A", "B", "AP", "BP") and parts[1].isdigit() and parts[2].isdigit():
            # f(u, v) in pixels: halving the unit of u, v and f scales a_pq by 2^(p + q - 1).
            new[key] = float(new[key]) * 2.0 ** (int(parts[1]) + int(parts[2]) - 1)
    return new


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Geometric mean of the pixel scale at the reference pixel, arcsec/px."""
    return float(np.sqrt(abs(np.linalg.det(np.asarray(wcs.pixel_scale_matrix)))) * 3600.0)
