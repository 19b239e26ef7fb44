"""Stars that moved between two images, told from new sources.

A star of flux F that is shifted by s leaves F s grad P: two lobes of opposite sign and no light in all. `dipoles` looks
for the second lobe of a candidate. `beyond_shift` asks what is left of a candidate when any shift may explain it: with
P the PSF at the candidate and c the place of the star beside it,

    D = f P + g grad P_c + h grad grad P_c

is fitted, and f over its error, all of g free, is the signal to noise of a point source that no shift can imitate. The
second derivatives stand for a shift that is no longer small; their prior is half a pixel times g. The lobes of a
shifted star keep none of their signal to noise. A new source keeps all of it on top of a star, where the gradient is
nothing like it, at least 79 % at 0.6 FWHM, where it is most so, and all of it further out; and it keeps it, too, when
the star beside it was subtracted with a shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.detect.joint import frame_at, psf_models
from gueststar.detect.measure import Positions, PsfFit, Values, cut_psf
from gueststar.planes import gather_stamps
from gueststar.types import Difference, Stars

__all__ = ["Dipole", "beyond_shift", "dipoles", "shift_centres"]

_REACH = 2.0  # FWHM; a star further away cannot make a lobe here
_USED = 1.5  # FWHM; pixels this close to the candidate or the star count
_BEND_PX = 0.5  # how far the middle of a shift lies from the star


@dataclass(frozen=True, slots=True, eq=False)
class Dipole:
    """Second lobe of opposite sign, `dx`, `dy` px from the first; each of shape (n,)."""

    separation: Values
    ratio: Values
    dchi2: Values
    dx: NDArray[np.int64]
    dy: NDArray[np.int64]


def dipoles(difference: Difference, x: Positions, y: Positions, sign: Values) -> Dipole:
    """Look for a lobe of opposite sign and fit two PSFs together.

    The second PSF sits on the strongest score of opposite sign within 2 FWHM; where that is below 3 sigma there is no
    second lobe. The fluxes of both come from a common least-squares fit.
    """
    radius = int(np.clip(np.ceil(2.0 * difference.psf.fwhm), 3, 20))
    size = 2 * radius + 1
    near = gather_stamps(difference.score, x, y, size).cpu().numpy() * sign[:, None, None]
    yy, xx = np.mgrid[:size, :size] - radius
    near = np.where(np.hypot(xx, yy) <= radius, near, 0.0).reshape(len(x), -1)
    lowest = near.argmin(1)
    has = near[np.arange(len(x)), lowest] < -3.0
    dx, dy = np.where(has, xx.ravel()[lowest], 0), np.where(has, yy.ravel()[lowest], 0)
    zero = np.zeros(len(x))
    if not has.any():
        return Dipole(zero, zero.copy(), zero.copy(), dx, dy)
    stamp = cut_psf(difference.psf, x, y, 1.5)
    k = stamp.shape[-1]
    full = k + 2 * radius
    data = gather_stamps(difference.data, x, y, full).double()
    noise = gather_stamps(difference.variance, x, y, full).double().clamp(min=1e-6)
    first, second = data.new_zeros(data.shape), data.new_zeros(data.shape)
    first[:, radius : radius + k, radius : radius + k] = stamp
    index = torch.arange(k)
    rows = torch.from_numpy(radius + dy)[:, None, None] + index[None, :, None]
    columns = torch.from_numpy(radius + dx)[:, None, None] + index[None, None, :]
    second[torch.arange(len(x))[:, None, None], rows, columns] = stamp
    aa, bb, ab = ((p * q / noise).sum((1, 2)) for p, q in ((first, first), (second, second), (first, second)))
    ad, bd = ((p * data / noise).sum((1, 2)) for p in (first, second))
    det = (aa * bb - ab * ab).clamp(min=1e-30)
    f1, f2 = (bb * ad - ab * bd) / det, (aa * bd - ab * ad) / det
    gained = (f1 * ad + f2 * bd - ad * ad / aa.clamp(min=1e-30)).clamp(min=0.0).cpu().numpy()
    ratio = (-f2 / torch.where(f1 == 0, torch.full_like(f1, 1e-9), f1)).clamp(-5, 5).cpu().numpy()
    apart = np.where(has, np.hypot(dx, dy), 0.0)
    return Dipole(apart, np.where(has, ratio, 0.0), np.where(has, gained, 0.0), dx, dy)


def shift_centres(
    x: Values, y: Values, dipole: Dipole, stars: Stars | None, fwhm: float
) -> tuple[Values, Values, NDArray[np.bool_]]:
    """The star whose shift may have made each candidate, or the middle of its two lobes; and where there is either.

    Of several stars it is the one that gives most light at the candidate.
    """
    cx, cy = x + 0.5 * dipole.dx, y + 0.5 * dipole.dy
    has = dipole.separation > 0
    if stars is None or len(stars) == 0:
        return cx, cy, has
    points = np.column_stack((stars.x, stars.y))
    most = np.zeros(len(x))
    near = cKDTree(points).query(np.column_stack((x, y)), k=min(4, len(points)), distance_upper_bound=_REACH * fwhm)
    distance, index = (np.reshape(a, (len(x), -1)) for a in near)
    for d, i in zip(distance.T, index.T, strict=True):
        known = np.isfinite(d)
        j = np.where(known, i, 0)
        light = np.where(known, np.abs(stars.flux[j]) * np.exp(-(np.where(known, d, 0.0) ** 2) / fwhm**2), 0.0)
        better = light > most
        cx, cy, most = np.where(better, stars.x[j], cx), np.where(better, stars.y[j], cy), np.maximum(most, light)
    return cx, cy, has | (most > 0)


def beyond_shift(
    difference: Difference, fit: PsfFit, cx: Values, cy: Values, has: NDArray[np.bool_], scale: Values
) -> Values:
    """Signal to noise of the point source at each candidate when a shift at a place beside it is fitted as well.

    Parameters
    ----------
    difference : Difference
    fit : PsfFit
        Of the candidates, shape (n,).
    cx, cy : ndarray, shape (n,)
        Place of the star, px.
    has : ndarray of bool, shape (n,)
        Where there is such a place; elsewhere the result is the flux over its error.
    scale : ndarray, shape (n,)
        Factor on the errors for correlated noise.

    Returns
    -------
    ndarray, shape (n,)
        Signed.
    """
    result = fit.flux / fit.flux_err
    rows = np.flatnonzero(has)
    if rows.size == 0:
        return result
    fwhm = difference.psf.fwhm
    x, y = np.round(fit.x[rows]).astype(np.int64), np.round(fit.y[rows]).astype(np.int64)
    frame = frame_at(difference, x, y, int(np.ceil((_REACH + _USED) * fwhm)))
    side = frame.data.shape[-1]
    u, v = (
        torch.as_tensor(np.column_stack((a[rows], c[rows])) - middle[:, None], device=frame.data.device)
        for a, c, middle in ((fit.x, cx, x), (fit.y, cy, y))
    )
    planes = psf_models(frame, u, v, order=2)
    steps = torch.arange(side, dtype=torch.float64, device=u.device) - side // 2
    r2 = (steps - u[..., None])[:, :, None, :] ** 2 + (steps - v[..., None])[:, :, :, None] ** 2
    weight = (frame.weight * (r2.amin(1) <= (_USED * fwhm) ** 2)).flatten(1)
    model = torch.stack((planes[0][:, 0], *(plane[:, 1] for plane in planes[1:])), 1)
    weighted = model * weight[:, None]
    normal = weighted @ model.transpose(1, 2)
    right = (weighted @ frame.data.flatten(1)[:, :, None])[..., 0]
    first = _solved(normal[:, :3, :3], right[:, :3])[0]
    bend = _BEND_PX * torch.hypot(first[:, 1], first[:, 2]).clamp(min=1e-9)
    free = torch.zeros_like(bend)
    prior = torch.stack((free, free, free, 1 / bend**2, 1 / bend**2, 1 / bend**2), 1)
    solved, error = _solved(normal + torch.diag_embed(prior), right)
    result[rows] = (solved[:, 0] / error[:, 0]).cpu().numpy() / scale[rows]
    return result


def _solved(normal: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Solution of normal equations (m, k, k) and its errors, both (m, k); scaled first, so that it stays stable."""
    root = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-30).sqrt()
    unit = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    inverse = torch.linalg.inv(normal / (root[:, :, None] * root[:, None, :]) + 1e-9 * unit)
    solved = (inverse @ (right / root)[:, :, None])[..., 0] / root
    return solved, inverse.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt() / root
