"""What kind of residual a difference stamp holds, by which template explains it.

The light L of a stamp is the mean of science and reference. To first order a shift d of the stars leaves -d . grad L, a
wrong flux scale c L, and a wrong width or shape of the point-spread function second derivatives of L (the first terms
of the expansion of a matching kernel, Alard & Lupton 1998, ApJ 503, 325, eq. 1-3, for small differences). A new source
leaves a point-spread function, a cosmic ray or hot pixel less than one, a bad column a line. Each template is fitted to
the core of the difference with the noise of its pixels; what it takes off chi-square, freed of what noise alone gives
its parameters, is the logarithm of a likelihood ratio, times two.

Whether a point source or something sharper lies at the centre is told beside a star: both are fitted together with all
that a star leaves, of which only the light that science and reference share is taken, so that a new source or a fault
in one of them has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESIDUAL_COLUMNS", "residual_measures"]

F8 = NDArray[np.float64]

#: Columns of `residual_measures`.
RESIDUAL_COLUMNS = (
    "residual_chi2", "shift_share", "shape_share", "scale_share", "point_share", "pixel_share", "line_share", "shift_x",
    "shift_y", "shift_err", "light_snr", "pixel_gain", "line_gain", "spot_gain",
)  # fmt: skip
_HALF = 9  # px; half width of the core that is fitted
_SPOT_HALF, _SPOT_PIXELS = 3, 5  # where the strongest pixels are looked for, px; and how many
_MODEL_ERROR = 0.003  # of the light: floor of the noise where a star is bright


def residual_measures(
    cube: NDArray[np.floating], sigma: NDArray[np.floating], fwhm: NDArray[np.floating]
) -> dict[str, F8]:
    """Fit the templates.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        Science, reference, difference, e-; NaN where missing.
    sigma : ndarray, shape (n, 3)
        Noise of the sky per pixel, e-.
    fwhm : ndarray, shape (n,)
        Of the PSF in the difference, px.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``residual_chi2`` above a constant and per degree of freedom; the share of it that each template explains
        (``shift_share``, ``shape_share``, ``scale_share``, ``point_share``, ``pixel_share``, ``line_share``; 0 to 1);
        ``shift_x``, ``shift_y`` (px, of the science light against the reference) with the error ``shift_err`` of each;
        ``light_snr``, of the light in the core; ``pixel_gain``, ``line_gain`` and ``spot_gain``, how much more of
        chi-square one pixel, a column or row, or the five strongest pixels of the centre take off than a point source
        does, beside what a star leaves; ``spot_gain`` in units of ``residual_chi2`` where that is above 1. NaN where
        nothing can be measured.
    """
    n, k = len(cube), cube.shape[-1]
    half = min(_HALF, k // 2 - 1)
    at = slice(k // 2 - half - 1, k // 2 + half + 2)  # one pixel more, for derivatives
    core = np.asarray(cube[:, :, at, at], np.float64)
    noise = np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan).astype(np.float64)
    science, reference = (_without_sky(cube[:, i]) for i in (0, 1))
    light = np.nan_to_num(0.5 * (core[:, 0] - science[:, None, None] + core[:, 1] - reference[:, None, None]))
    # Smoothed a little, so that noise has no part in the derivatives.
    light = _smooth(light)
    inner = slice(1, -1)
    data, flat = core[:, 2, inner, inner].reshape(n, -1), light[:, inner, inner].reshape(n, -1)
    photons = np.clip(2.0 * flat, 0.0, None)
    variance = noise[:, 2:3] ** 2 + photons + (_MODEL_ERROR * flat) ** 2
    weight = np.where(np.isfinite(data) & np.isfinite(variance), 1.0 / variance, 0.0)
    data = np.nan_to_num(data)
    templates = _templates(light, fwhm, half)
    base = _fit(data, weight, [np.ones_like(data)])[0]
    dof = (weight > 0).sum(axis=1) - 1
    excess = base - dof
    found: dict[str, F8] = {"residual_chi2": np.where(dof > 20, base / np.maximum(dof, 1), np.nan)}
    usable = (dof > 20) & (base > dof + 3.0 * np.sqrt(2.0 * np.maximum(dof, 1)))
    constant = np.ones_like(data)
    for name, parts in templates.items():
        chi2, values, errors = _fit(data, weight, [constant, *parts])
        gain = base - chi2 - len(parts)
        share = np.where(usable, np.clip(gain / np.maximum(excess, 1.0), 0.0, 1.0), np.where(dof > 20, 0.0, np.nan))
        found[f"{name}_share"] = share
        if name == "shift":
            found["shift_x"], found["shift_y"] = -values[:, 1], -values[:, 2]
            found["shift_err"] = np.sqrt(0.5 * (errors[:, 1] ** 2 + errors[:, 2] ** 2))
    found["light_snr"] = np.where(
        dof > 20, flat.clip(0.0).sum(axis=1) / np.sqrt(np.nansum(variance, axis=1) + 1e-12), np.nan
    )
    shared = np.minimum(core[:, 0] - science[:, None, None], core[:, 1] - reference[:, None, None])
    found |= _sharper(data, weight, _smooth(np.nan_to_num(shared)), fwhm, half, dof > 20)
    for name in ("shift_x", "shift_y", "shift_err"):
        found[name] = np.where((dof > 20) & (found["light_snr"] > 3.0), found[name], np.nan)
    return {name: found[name] for name in RESIDUAL_COLUMNS}


def _sharper(
    data: F8, weight: F8, light: F8, fwhm: NDArray[np.floating], half: int, usable: NDArray[np.bool_]
) -> dict[str, F8]:
    """How much better a pixel, a line, or a few pixels explain the centre than a point source, beside a star.

    A cosmic ray crosses some pixels, at a slant or along a track. A star spreads its light over more, so that five free
    pixels explain less of it than its profile does.
    """
    n, width = len(data), 2 * half + 1
    # Centroids of what is undersampled are a pixel off at times.
    strength = (data * np.sqrt(weight)).reshape(n, width, width)[:, half - 1 : half + 2, half - 1 : half + 2]
    place = np.abs(strength).reshape(n, 9).argmax(axis=1)
    centre = place % 3 - 1, place // 3 - 1
    templates = _templates(light, fwhm, half, centre=centre)
    star = [np.ones_like(data), *templates["shift"], *templates["shape"], *templates["scale"]]
    point = _fit(data, weight, [*star, *templates["point"]])[0]
    pixel = _fit(data, weight, [*star, *templates["pixel"]])[0]
    lines = [_fit(data, weight, [*star, line])[0] for line in templates["line"]]
    at = slice(half - _SPOT_HALF, half + _SPOT_HALF + 1)
    number = np.arange(width**2).reshape(width, width)[at, at].ravel()
    strongest = np.argsort(-np.abs(data[:, number]) * np.sqrt(weight[:, number]), axis=1)[:, :_SPOT_PIXELS]
    free = weight.copy()
    np.put_along_axis(free, number[strongest], 0.0, axis=1)
    spot = _fit(data, free, star)[0]
    # Where a bright star leaves more than noise everywhere, its five worst pixels say nothing.
    base = _fit(data, weight, [np.ones_like(data)])[0] / np.maximum((weight > 0).sum(axis=1) - 1, 1)
    return {
        "spot_gain": np.where(usable, (point - spot) / np.maximum(base, 1.0), np.nan),
        "pixel_gain": np.where(usable, point - pixel, np.nan),
        "line_gain": np.where(usable, point - np.minimum(*lines), np.nan),
    }


def _without_sky(plane: NDArray[np.floating]) -> F8:
    """Level of the sky of each stamp: the median of its rim, half of which may be stars; 0 where it has none."""
    rim = np.concatenate([plane[:, 0], plane[:, -1], plane[:, 1:-1, 0], plane[:, 1:-1, -1]], axis=1).astype(np.float64)
    there = np.isfinite(rim)
    ordered = np.sort(np.where(there, rim, np.inf), axis=1)
    count = there.sum(axis=1)
    level = ordered[np.arange(len(rim)), np.clip((count - 1) // 2, 0, rim.shape[1] - 1)]
    return np.where(count > 8, level, 0.0)


def _smooth(plane: F8) -> F8:
    """A (1, 2, 1) / 4 filter along both axes."""
    padded = np.pad(plane, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return 0.25 * rows[:, :, :-2] + 0.5 * rows[:, :, 1:-1] + 0.25 * rows[:, :, 2:]


def _templates(
    light: F8,
    fwhm: NDArray[np.floating],
    half: int,
    *,
    centre: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None,
) -> dict[str, list[F8]]:
    """Templates of each kind, each of shape (n, pixels); `centre`: (x, y) of what is at the centre, px."""
    n = len(light)
    middle, left, right = light[:, 1:-1, 1:-1], light[:, 1:-1, :-2], light[:, 1:-1, 2:]
    below, above = light[:, :-2, 1:-1], light[:, 2:, 1:-1]
    cross = 0.25 * (light[:, 2:, 2:] + light[:, :-2, :-2] - light[:, 2:, :-2] - light[:, :-2, 2:])
    xx, yy = left + right - 2.0 * middle, below + above - 2.0 * middle
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)[:, None]
    if centre is not None:
        x, y = x - centre[0][:, None, None], y - centre[1][:, None, None]
    s2 = (np.where(np.isfinite(fwhm) & (fwhm > 0.5), fwhm, 3.0).astype(np.float64) / 2.3548) ** 2
    point = np.exp(-0.5 * (x**2 + y**2) / s2[:, None, None])
    # One pixel and its neighbours: what is narrower than any star.
    pixel = np.broadcast_to(np.exp(-0.5 * (x**2 + y**2) / 0.45**2), point.shape)
    column = np.broadcast_to((np.abs(x) < 0.6).astype(np.float64), point.shape)
    row = np.broadcast_to((np.abs(y) < 0.6).astype(np.float64), point.shape)

    def flat(*planes: F8) -> list[F8]:
        return [np.ascontiguousarray(plane).reshape(n, -1) for plane in planes]

    return {
        "shift": flat(0.5 * (right - left), 0.5 * (above - below)), "shape": flat(xx + yy, xx - yy, cross),
        "scale": flat(middle), "point": flat(point), "pixel": flat(pixel), "line": flat(column, row),
    }  # fmt: skip


def _fit(data: F8, weight: F8, parts: Sequence[F8]) -> tuple[F8, F8, F8]:
    """Weighted least squares of each row: chi-square (n,), coefficients and errors (n, m)."""
    # Of unit size, so that the equations are well conditioned whatever the flux.
    scale = np.stack([np.sqrt(np.einsum("ij,ij,ij->i", weight, part, part)) + 1e-30 for part in parts], axis=1)
    design = np.stack(parts, axis=1) / scale[:, :, None]
    weighted = design * weight[:, None, :]
    normal = np.matmul(weighted, design.transpose(0, 2, 1)) + 1e-9 * np.eye(len(parts))
    right = np.einsum("imj,ij->im", weighted, data)
    solved = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    chi2 = np.einsum("ij,ij,ij->i", weight, data, data) - np.einsum("im,im->i", solved, right)
    errors = np.sqrt(np.clip(np.diagonal(np.linalg.inv(normal), axis1=1, axis2=2), 0.0, None))
    return chi2, solved / scale, errors / scale
