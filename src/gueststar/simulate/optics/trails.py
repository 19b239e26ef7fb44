"""Trails: sources that move during an exposure, onto pixels, with rows that are exposed one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.optics.painter import PsfField, paint_points

__all__ = ["paint_trails"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

# Points stand this far apart, in FWHM. A line of points differs from a line by the power of the profile at the
# frequency of the points, which is nothing here.
_SPACING = 0.15
# Light below the cut is that of many points together: of those within about two FWHM.
_POINTS_TOGETHER = 4.0 / _SPACING


def paint_trails(
    shape: tuple[int, int],
    x0: ArrayLike,
    y0: ArrayLike,
    x1: ArrayLike,
    y1: ArrayLike,
    flux: ArrayLike,
    psf: PsfField,
    *,
    cut: float = 0.01,
    t0_s: ArrayLike | None = None,
    t1_s: ArrayLike | None = None,
    exposure_s: float = 1.0,
    rolling_shutter_s: float = 0.0,
) -> F4:
    """Draw line sources, which move evenly, on an empty plane.

    A source gives light all the way; recorded is what it gives while the row at which it is, is exposed: row y from
    rolling_shutter_s y / (ny - 1) for `exposure_s`.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    x0, y0, x1, y1 : array_like, shape (n,)
        Ends of the paths, px; they may lie far beyond the plane. Both ends may be the same point.
    flux : array_like, shape (n,)
        Light along the whole path, any unit.
    psf : PsfField
        Point-spread function.
    cut : float
        Light below this per pixel (same unit) is not followed.
    t0_s, t1_s : array_like, shape (n,), optional
        When the sources are at the ends, s from the start of the exposure of row 0; None: 0 and `exposure_s`.
    exposure_s : float
        Exposure time of each row.
    rolling_shutter_s : float
        Delay of the last row behind the first.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    starts = np.column_stack([np.atleast_1d(np.asarray(v, np.float64)) for v in (x0, y0)])
    ends = np.column_stack([np.atleast_1d(np.asarray(v, np.float64)) for v in (x1, y1)])
    fluxes = np.atleast_1d(np.asarray(flux, np.float64))
    times = [
        np.broadcast_to(np.asarray(given if given is not None else default, np.float64), fluxes.shape)
        for given, default in ((t0_s, 0.0), (t1_s, exposure_s))
    ]
    delay = rolling_shutter_s / max(shape[0] - 1, 1)
    step = _SPACING * float(psf.fwhm.min())
    points: list[F8] = [np.empty((0, 3))]
    for start, end, light, first, last in zip(starts, ends, fluxes, *times, strict=True):
        low, high = _on_plane(start, end, shape, psf.half + 2.0)
        low, high = _while_exposed(
            (low, high), time=(float(first), float(last)), row=(start[1], end[1]), delay=delay, exposure_s=exposure_s
        )
        if high <= low:
            continue
        length = float(np.hypot(*(end - start))) * (high - low)
        count = max(1, int(np.ceil(length / step)))
        # Midpoints of equal parts: the ends are right to second order.
        along = low + (high - low) * (np.arange(count)[:, None] + 0.5) / count
        points.append(np.hstack([start + along * (end - start), np.full((count, 1), light * (high - low) / count)]))
    x, y, parts = np.vstack(points).T
    return paint_points(shape, x, y, parts, psf, cut=cut / _POINTS_TOGETHER)


def _on_plane(start: F8, end: F8, shape: tuple[int, int], margin: float) -> tuple[float, float]:
    """Part of a path, as shares of it, that is within a margin of the plane."""
    low, high = 0.0, 1.0
    for at, to, size in zip(start, end, shape[::-1], strict=True):
        low, high = _cut(low, high, float(to - at), float(at + margin))
        low, high = _cut(low, high, float(at - to), float(size - 1 + margin - at))
    return low, high


def _while_exposed(
    part: tuple[float, float], *, time: tuple[float, float], row: tuple[float, float], delay: float, exposure_s: float
) -> tuple[float, float]:
    """The part of a path that is passed while the row there is exposed; `delay` is that of each row, s."""
    # Time since the exposure of the row began: linear along the path.
    late = time[0] - delay * row[0], time[1] - delay * row[1]
    low, high = _cut(*part, late[1] - late[0], late[0])
    return _cut(low, high, late[0] - late[1], exposure_s - late[0])


def _cut(low: float, high: float, slope: float, start: float) -> tuple[float, float]:
    """Where `start` + s `slope` >= 0, for s from `low` to `high`; (1, 0) where nowhere."""
    if slope == 0.0:
        return (low, high) if start >= 0.0 else (1.0, 0.0)
    edge = -start / slope
    return (max(low, edge), high) if slope > 0.0 else (low, min(high, edge))
