"""The camera: where each chip looks, what the optics lose, and how pixels and sky correspond.

Random numbers come from one seed and a key, so that any one image can be made alone and is always the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.errors import ConfigError

__all__ = [
    "CHIP_NAME",
    "chip_offset_deg",
    "generator",
    "make_wcs",
    "seed_sequence",
    "sexagesimal",
    "smooth_modes",
    "smooth_plane",
    "smooth_values",
    "utc_date_time",
    "vignetting_plane",
    "wcs_cards",
    "world_to_pixel",
]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

#: Names of the chips of Tomo-e Gozen: quadrant, column, row.
CHIP_NAME = re.compile(r"Q([1-4])-(\d)(\d)")
_WCS_CARD = re.compile(r"NAXIS[12]?$|C(TYPE|UNIT|RPIX|RVAL)[12]$|CD[12]_[12]$|RADESYS$|EQUINOX$|[AB]_(ORDER|\d_\d)$")
_PITCH_DEG = (0.95, 0.68)
_FIELD_RADIUS_DEG = 4.5
_CLEAR_RADIUS_DEG = 2.0


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of one thing (a sky, a chip, an exposure) of a simulation."""
    return np.random.default_rng(seed_sequence(seed, *key))


def seed_sequence(seed: int, *key: int) -> np.random.SeedSequence:
    """The seed behind `generator`.

    Raises
    ------
    ConfigError
        For a negative seed.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}: a whole number from 0 on is needed", key="seed", value=seed)
    return np.random.SeedSequence(seed, spawn_key=key)


def chip_offset_deg(chip: str) -> tuple[float, float]:
    """Offset of a chip's centre from the field's centre: towards +x and +y, deg.

    Chips named 'Q1-11' lie as in Tomo-e Gozen: four quadrants, each with columns of 6, 6, 5 and 4 chips. The distances
    are not published to the pixel; these put all chips inside the field of 9 deg, apart by gaps that a second pointing
    fills. Any other name is the centre of the field.
    """
    match = CHIP_NAME.fullmatch(chip)
    if match is None:
        return 0.0, 0.0
    quadrant, column, row = (int(group) for group in match.groups())
    sign_x = -1.0 if quadrant in (1, 4) else 1.0
    sign_y = 1.0 if quadrant in (1, 2) else -1.0
    return sign_x * (column - 0.5) * _PITCH_DEG[0], sign_y * (row - 0.5) * _PITCH_DEG[1]


def vignetting_plane(shape: tuple[int, int], offset_deg: tuple[float, float], scale_deg: float) -> F4:
    """Share of the light that reaches each pixel: 1 within 2 deg of the field's centre, 0.5 at 4.5 deg."""
    ny, nx = shape
    x = (offset_deg[0] + (np.arange(nx) - (nx - 1) / 2) * scale_deg).astype(np.float32)[None, :]
    y = (offset_deg[1] + (np.arange(ny) - (ny - 1) / 2) * scale_deg).astype(np.float32)[:, None]
    beyond = np.clip((np.sqrt(x * x + y * y) - _CLEAR_RADIUS_DEG) / (_FIELD_RADIUS_DEG - _CLEAR_RADIUS_DEG), 0.0, 1.8)
    share: F4 = (1.0 - 0.5 * beyond).astype(np.float32)
    return share


def wcs_cards(
    shape: tuple[int, int],
    *,
    ra_deg: float,
    dec_deg: float,
    scale_arcsec: float,
    rotation_deg: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    distortion_px: float = 0.0,
) -> dict[str, Any]:
    """Header cards of TAN or TAN-SIP world coordinates of a chip; north up, east left before rotation.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    ra_deg, dec_deg : float
        What the chip's centre looks at, before the shift.
    scale_arcsec : float
        Pixel scale.
    rotation_deg : float
        Rotation about the centre.
    shift_px : (float, float)
        The point (ra, dec) falls this far from the chip's centre.
    distortion_px : float
        Radial cubic distortion at the corner; 0 leaves a plain TAN.
    """
    ny, nx = shape
    scale = scale_arcsec / 3600.0
    c, s = float(np.cos(np.radians(rotation_deg))), float(np.sin(np.radians(rotation_deg)))
    suffix = "-SIP" if distortion_px else ""
    values: dict[str, Any] = {
        "NAXIS": 2, "NAXIS1": nx, "NAXIS2": ny,
        "CTYPE1": "RA---TAN" + suffix, "CTYPE2": "DEC--TAN" + suffix, "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": (nx + 1) / 2 + shift_px[0], "CRPIX2": (ny + 1) / 2 + shift_px[1],
        "CRVAL1": ra_deg, "CRVAL2": dec_deg,
        "CD1_1": -scale * c, "CD1_2": scale * s, "CD2_1": scale * s, "CD2_2": scale * c,
        "RADESYS": "ICRS", "EQUINOX": 2000.0,
    }  # fmt: skip
    if distortion_px:
        cubic = distortion_px / float(np.hypot(nx / 2, ny / 2)) ** 3
        values |= {"A_ORDER": 3, "A_3_0": cubic, "A_1_2": cubic, "B_ORDER": 3, "B_0_3": cubic, "B_2_1": cubic}
    return values


def make_wcs(cards: Mapping[str, Any]) -> WCS:
    """World coordinates from header cards; cards of other matters are ignored."""
    return WCS(fits.Header({key: value for key, value in cards.items() if _WCS_CARD.match(key)}))


def world_to_pixel(wcs: WCS, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[F8, F8]:
    """0-based pixel positions; the distortion is inverted by iteration, and left out far from the chip."""
    ra, dec = np.atleast_1d(np.asarray(ra_deg, np.float64)), np.atleast_1d(np.asarray(dec_deg, np.float64))
    if ra.size == 0:
        return np.empty(0), np.empty(0)
    plain = np.stack(wcs.wcs_world2pix(ra, dec, 0))
    if wcs.sip is not None:
        middle = np.asarray(wcs.wcs.crpix, np.float64)[:, None] - 1.0
        near = (np.abs(plain - middle) < 6000.0).all(axis=0)
        target = plain[:, near]
        guess = target.copy()
        for _ in range(5):
            guess += target - np.stack(wcs.pix2foc(guess[0], guess[1], 0))
        plain[:, near] = guess
    return plain[0], plain[1]


def smooth_modes(rng: np.random.Generator, *, modes: int = 6) -> F8:
    """Random coefficients (modes, modes) of a smooth field of unit variance, in products of cosines."""
    order = np.arange(modes)
    weights = 1.0 / (1.0 + order[:, None] ** 2 + order[None, :] ** 2)
    weights[0, 0] = 0.0
    variance = weights**2 * np.where(order > 0, 0.5, 1.0)[:, None] * np.where(order > 0, 0.5, 1.0)[None, :]
    coefficients: F8 = rng.standard_normal((modes, modes)) * weights / np.sqrt(variance.sum())
    return coefficients


def smooth_plane(coefficients: F8, shape: tuple[int, int]) -> F4:
    """The field of `smooth_modes` on all pixels."""
    rows, columns = (_cosines((np.arange(n) + 0.5) / n, coefficients.shape[0]) for n in shape)
    plane: F4 = (rows @ coefficients).astype(np.float32) @ columns.T.astype(np.float32)
    return plane


def smooth_values(coefficients: F8, x: F8, y: F8, shape: tuple[int, int]) -> F8:
    """The field of `smooth_modes` at positions."""
    rows = _cosines((y + 0.5) / shape[0], coefficients.shape[0])
    columns = _cosines((x + 0.5) / shape[1], coefficients.shape[0])
    values: F8 = np.einsum("ni,ij,nj->n", rows, coefficients, columns, optimize=True)
    return values


def _cosines(t: F8, modes: int) -> F8:
    values: F8 = np.cos(np.pi * t[:, None] * np.arange(modes)[None, :])
    return values


def utc_date_time(mjd: float) -> tuple[str, str]:
    """Date (YYYY-MM-DD) and time of day (hh:mm:ss.ssssss) of a UTC MJD."""
    moment = datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=mjd)
    return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S.%f")


def sexagesimal(value: float, *, sign: bool = False) -> str:
    """Hours or degrees as 'hh:mm:ss.ss'."""
    hundredths = round(abs(value) * 360000)
    units, rest = divmod(hundredths, 360000)
    minutes, rest = divmod(rest, 6000)
    prefix = ("-" if value < 0 else "+") if sign else ""
    return f"{prefix}{units:02d}:{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"
