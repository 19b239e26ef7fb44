"""World coordinates: read them with SIP and TPV distortion, whatever spelling the header uses; fit them as TAN-SIP.

SIP (Shupe et al. 2005, ASP Conf. 347, 491) adds polynomials of the pixel position to it before the linear part of the
WCS; TPV adds polynomials of the projected position.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, FITSFixedWarning, Sip
from numpy.typing import NDArray

__all__ = ["FittedWcs", "binned_header", "fit_sip", "pixel_scale_arcsec", "read_wcs"]

F8 = NDArray[np.float64]
_NODES = 24  # along each axis, of the grid that a WCS is fitted to


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


@dataclass(frozen=True, slots=True, eq=False)
class FittedWcs:
    """A fitted WCS, and its largest and rms distance from the positions it was fitted to, px."""

    wcs: WCS
    error_px: float
    rms_px: float

    def header(self) -> fits.Header:
        """Cards for a FITS header, with the distortion."""
        header: fits.Header = self.wcs.to_header(relax=True)
        # astropy writes PC and CDELT; SIP belongs to CD.
        for i, j in ((1, 1), (1, 2), (2, 1), (2, 2)):
            header.remove(f"PC{i}_{j}", ignore_missing=True)
            header[f"CD{i}_{j}"] = float(self.wcs.wcs.cd[i - 1, j - 1])
        for axis in (1, 2):
            header.remove(f"CDELT{axis}", ignore_missing=True)
        return header


def fit_sip(sky: Callable[[F8], F8], shape: tuple[int, int], *, order: int = 4) -> FittedWcs:
    """TAN-SIP world coordinates of an image from the sky positions of its pixels.

    Parameters
    ----------
    sky : callable
        0-based pixel positions x, y of shape (n, 2) to ICRS ra, dec, deg, of the same shape.
    shape : (int, int)
        (ny, nx) of the image.
    order : int
        Of the SIP polynomials; 1 is a plain TAN.

    Returns
    -------
    FittedWcs
        With the inverse polynomials that other programs use.

    Raises
    ------
    ValueError
        For positions that are not finite, or too far apart for a TAN projection.
    """
    ny, nx = shape
    y, x = np.meshgrid(np.linspace(-0.5, ny - 0.5, _NODES), np.linspace(-0.5, nx - 0.5, _NODES), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    middle = np.array([(nx - 1) / 2.0, (ny - 1) / 2.0])
    size = max(nx, ny) / 2.0
    uv = (points - middle) / size
    world, pole = sky(points), sky(middle[None])[0]
    if not np.isfinite(world).all() or not np.isfinite(pole).all():
        raise ValueError("the sky positions of the image are not all finite; no WCS can be fitted to them")
    powers = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
    terms = np.stack([uv[:, 0] ** p * uv[:, 1] ** q for p, q in powers], axis=1)
    for _ in range(4):
        plane = _tan_plane(world, pole)
        solved = np.linalg.lstsq(terms, plane, rcond=None)[0]
        # SIP has no constant term: the reference point moves instead.
        pole = _tan_sky(solved[powers.index((0, 0))][None], pole)[0]
    linear = np.stack((solved[powers.index((1, 0))], solved[powers.index((0, 1))]), axis=1) / size  # deg/px
    if not np.isfinite(linear).all() or abs(np.linalg.det(linear)) < 1e-20:
        raise ValueError(f"the sky positions of the image give a singular matrix {linear.tolist()}")
    wcs = WCS(naxis=2)
    suffix = "-SIP" if order > 1 else ""
    wcs.wcs.ctype = ["RA---TAN" + suffix, "DEC--TAN" + suffix]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = pole, middle + 1.0, linear
    wcs.wcs.cunit, wcs.wcs.radesys = ["deg", "deg"], "ICRS"
    if order > 1:
        inverse = np.linalg.inv(linear).T
        bent = solved @ inverse  # px
        forward = {pq: bent[i] / size ** sum(pq) for i, pq in enumerate(powers) if sum(pq) > 1}
        wcs.sip = _sip(
            forward, _inverse_sip(plane @ np.linalg.inv(linear).T, points - middle, order + 1), order, middle
        )
    wcs.wcs.set()
    wcs.array_shape = shape
    between = np.column_stack(((x[:-1, :-1] + x[1:, 1:]).ravel(), (y[:-1, :-1] + y[1:, 1:]).ravel())) / 2.0
    away = _tan_plane(wcs.all_pix2world(between, 0), pole) - _tan_plane(sky(between), pole)
    distance = np.hypot(*(away @ np.linalg.inv(linear).T).T)
    return FittedWcs(wcs, float(distance.max()), float(np.sqrt(np.mean(distance**2))))


def _sip(forward: dict[tuple[int, int], F8], inverse: dict[tuple[int, int], F8], order: int, middle: F8) -> Sip:
    tables = []
    for terms, highest in ((forward, order), (inverse, order + 1)):
        for axis in (0, 1):
            table = np.zeros((highest + 1, highest + 1))
            for (p, q), value in terms.items():
                table[p, q] = value[axis]
            tables.append(table)
    return Sip(*tables, middle + 1.0)


def _inverse_sip(undistorted: F8, offset: F8, order: int) -> dict[tuple[int, int], F8]:
    """Polynomials that give back the pixel offset from the undistorted one, as AP and BP do."""
    size = float(np.abs(undistorted).max())
    uv = undistorted / size
    powers = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
    terms = np.stack([uv[:, 0] ** p * uv[:, 1] ** q for p, q in powers], axis=1)
    solved = np.linalg.lstsq(terms, offset - undistorted, rcond=None)[0]
    return {pq: solved[i] / size ** sum(pq) for i, pq in enumerate(powers)}


def _tan_plane(world: F8, pole: F8) -> F8:
    """Gnomonic projection about a pole (ra, dec), deg (Calabretta & Greisen 2002, A&A 395, 1077, Sec. 5.1.3)."""
    ra, dec = np.radians(world[:, 0] - pole[0]), np.radians(world[:, 1])
    dec0 = np.radians(pole[1])
    depth = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra)
    if depth.min() < 0.05:
        raise ValueError("the sky positions of the image reach 87 deg and more from their middle; no TAN covers them")
    east = np.cos(dec) * np.sin(ra) / depth
    north = (np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra)) / depth
    return np.asarray(np.degrees(np.column_stack((east, north))))


def _tan_sky(plane: F8, pole: F8) -> F8:
    """Inverse of `_tan_plane`."""
    east, north = np.radians(plane).T
    dec0 = np.radians(pole[1])
    depth = np.cos(dec0) - north * np.sin(dec0)
    ra = pole[0] + np.degrees(np.arctan2(east, depth))
    dec = np.degrees(np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, depth)))
    return np.column_stack((np.mod(ra, 360.0), dec))
