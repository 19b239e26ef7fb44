"""Does something come back: at the same place of the sky, at the same pixel, or along a line of motion.

A variable or transient comes back at its place of the sky, a detector fault at its pixel while the sky moves under it,
an asteroid a little further along a straight line. What chance alone gives is known from the density of candidates, so
each count comes with the logarithm of how improbable it is by chance (Poisson).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import poisson

__all__ = ["Detections", "repeats_of", "tracks_of"]

F8 = NDArray[np.float64]
_NEAR_SKY_ARCSEC = 2.0
_NEAR_PX = 1.3
_MOVED_PX = 3.0  # a pixel sees another place of the sky from here on
_FASTEST_ARCSEC_H = 150.0
_SLOWEST_ARCSEC_H = 4.0
_STRAIGHT_ARCSEC = 1.5
_NIGHT_D = 0.4
_MOST_OF_A_FIELD = 600


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """All candidates of an audit, arrays of shape (n,).

    Parameters
    ----------
    x, y : ndarray
        Pixels.
    ra, dec : ndarray
        ICRS, deg; NaN where unknown.
    mjd : ndarray
        Of the exposure; NaN where unknown.
    image, chip, place : ndarray of int
        Number of the image, of the chip (-1: unknown), and of the part of the sky.
    """

    x: F8
    y: F8
    ra: F8
    dec: F8
    mjd: F8
    image: NDArray[np.int32]
    chip: NDArray[np.int32]
    place: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)


def repeats_of(all_rows: Detections, rows: NDArray[np.int64], images_of_place: NDArray[np.int64]) -> dict[str, F8]:
    """Count what comes back at the place and at the pixel of some rows.

    Parameters
    ----------
    all_rows : Detections
    rows : ndarray of int, shape (m,)
    images_of_place : ndarray of int, shape (places,)
        Images of each part of the sky.

    Returns
    -------
    dict of str to ndarray, shape (m,)
        ``visits_sky``: other images with a candidate within 2 arcsec (or at the pixel, where no sky position is
        known and none can tell sky and pixel apart); ``visits_pixel``: images of the chip with one at the same pixel
        that see other sky there; ``sky_surprise``, ``pixel_surprise``: -log10 of the probability of as many by chance.
        NaN where it cannot be told: no position, or no second image.
    """
    m = len(rows)
    found = {name: np.full(m, np.nan) for name in ("visits_sky", "sky_surprise", "visits_pixel", "pixel_surprise")}
    if m == 0:
        return found
    sky = _unit(all_rows.ra, all_rows.dec)
    known = np.flatnonzero(np.isfinite(sky).all(axis=1))
    if known.size:
        tree = cKDTree(sky[known])
        reach = np.radians(_NEAR_SKY_ARCSEC / 3600.0)
        mine = np.flatnonzero(np.isfinite(sky[rows]).all(axis=1) & (images_of_place[all_rows.place[rows]] > 1))
        near = tree.query_ball_point(sky[rows[mine]], reach)
        wide = tree.query_ball_point(sky[rows[mine]], 15.0 * reach, return_length=True)
        for i, hits, around in zip(mine.tolist(), near, wide.tolist(), strict=True):
            others = set(all_rows.image[known[hits]].tolist()) - {int(all_rows.image[rows[i]])}
            own = len(hits)
            expected = max(around - own, 0) / (15.0**2 - 1.0)
            found["visits_sky"][i] = len(others)
            found["sky_surprise"][i] = _surprise(len(others), expected)
    for chip in np.unique(all_rows.chip[rows]):
        of_chip = np.flatnonzero(all_rows.chip == chip)
        if np.unique(all_rows.image[of_chip]).size < 2:
            continue
        mine = np.flatnonzero(all_rows.chip[rows] == chip)
        _at_pixels(found, all_rows, rows, mine, of_chip)
    return found


def _at_pixels(
    found: dict[str, F8],
    all_rows: Detections,
    rows: NDArray[np.int64],
    mine: NDArray[np.int64],
    of_chip: NDArray[np.int64],
) -> None:
    pixels = np.column_stack([all_rows.x, all_rows.y])
    tree = cKDTree(pixels[of_chip])
    near = tree.query_ball_point(pixels[rows[mine]], _NEAR_PX)
    wide = tree.query_ball_point(pixels[rows[mine]], 20.0 * _NEAR_PX, return_length=True)
    scale = _arcsec_per_px(all_rows, of_chip)
    for i, hits, around in zip(mine.tolist(), near, wide.tolist(), strict=True):
        own = rows[i]
        others = of_chip[hits]
        others = others[all_rows.image[others] != all_rows.image[own]]
        same_place = all_rows.place[others] == all_rows.place[own]
        moved = _apart_arcsec(all_rows, others, own) > _MOVED_PX * scale
        # Without sky positions only another field proves another place of the sky.
        elsewhere = np.where(np.isfinite(all_rows.ra[others]), moved, ~same_place)
        count = len(set(all_rows.image[others[elsewhere]].tolist()))
        expected = max(around - len(hits), 0) / (20.0**2 - 1.0)
        found["visits_pixel"][i] = count
        found["pixel_surprise"][i] = _surprise(count, expected)


def _arcsec_per_px(rows: Detections, which: NDArray[np.int64]) -> float:
    """Pixel scale from pairs of neighbours in the list that lie on one image; 1 where none can tell."""
    a, b = which[:-1], which[1:]
    same = (rows.image[a] == rows.image[b]) & np.isfinite(rows.ra[a]) & np.isfinite(rows.ra[b])
    a, b = a[same][:500], b[same][:500]
    pixels = np.hypot(rows.x[a] - rows.x[b], rows.y[a] - rows.y[b])
    far = pixels > 20.0
    if not far.any():
        return 1.0
    apart = np.degrees(np.linalg.norm(_unit(rows.ra[a], rows.dec[a]) - _unit(rows.ra[b], rows.dec[b]), axis=1)) * 3600.0
    return float(np.median(apart[far] / pixels[far]))


def _apart_arcsec(rows: Detections, others: NDArray[np.int64], own: int) -> F8:
    apart = _unit(rows.ra[others], rows.dec[others]) - _unit(rows.ra[[own]], rows.dec[[own]])
    return np.asarray(np.degrees(np.linalg.norm(apart, axis=1)) * 3600.0)


def _unit(ra_deg: F8, dec_deg: F8) -> F8:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _surprise(count: int, expected: float) -> float:
    """-log10 of the chance of as many or more; at most 12."""
    if count <= 0:
        return 0.0
    return float(min(-np.log10(max(poisson.sf(count - 1, max(expected, 1e-4)), 1e-12)), 12.0))


def tracks_of(all_rows: Detections, rows: NDArray[np.int64]) -> dict[str, F8]:
    """Look for straight, even motion among some rows.

    Parameters
    ----------
    all_rows : Detections
    rows : ndarray of int, shape (m,)
        Those that may move, such as what was called real.

    Returns
    -------
    dict of str to ndarray, shape (m,)
        ``track_points``: images of one night in which a row and others lie on one line at even speed (3 or more, else
        0); ``track_rate``, arcsec per hour. NaN where fewer than three images with sky positions and times could tell.
    """
    points, rate = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    known = np.isfinite(all_rows.ra[rows]) & np.isfinite(all_rows.mjd[rows])
    for place in np.unique(all_rows.place[rows[known]]) if len(rows) else ():
        mine = np.flatnonzero(known & (all_rows.place[rows] == place))
        mjd = all_rows.mjd[rows[mine]]
        for night in np.unique(np.floor(mjd - np.min(mjd) + 0.5)) if mine.size else ():
            part = mine[np.floor(mjd - np.min(mjd) + 0.5) == night]
            if np.unique(all_rows.image[rows[part]]).size < 3 or part.size > _MOST_OF_A_FIELD:
                continue
            points[part], rate[part] = _tracks(all_rows, rows[part])
    return {"track_points": points, "track_rate": rate}


def _tracks(rows: Detections, part: NDArray[np.int64]) -> tuple[F8, F8]:
    ra0, dec0 = float(np.median(rows.ra[part])), float(np.median(rows.dec[part]))
    u = ((rows.ra[part] - ra0 + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec0)) * 3600.0
    v = (rows.dec[part] - dec0) * 3600.0
    hours, image = (rows.mjd[part] - rows.mjd[part].min()) * 24.0, rows.image[part]
    points, rate = np.zeros(part.size), np.zeros(part.size)
    for i in range(part.size):
        dt = hours - hours[i]
        later = (dt > 1e-3) & (image != image[i])
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = np.hypot(u - u[i], v - v[i]) / dt
        for j in np.flatnonzero(later & (speed > _SLOWEST_ARCSEC_H) & (speed < _FASTEST_ARCSEC_H)):
            off = np.hypot(u - u[i] - (u[j] - u[i]) * dt / dt[j], v - v[i] - (v[j] - v[i]) * dt / dt[j])
            members = np.flatnonzero(off < _STRAIGHT_ARCSEC)
            count = np.unique(image[members]).size
            if count >= 3:
                better = members[points[members] < count]
                points[better], rate[better] = count, speed[j]
    return points, rate
