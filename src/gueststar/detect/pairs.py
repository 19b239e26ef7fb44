"""Peaks that hold two sources.

Two sources nearer than about 1.2 FWHM make one peak in the score. Around each lone peak a second source is therefore
looked for in what the first leaves: with r the residual, W the weights, P_c the PSF at c and A the model of the first
source,

    gain(c) = (P_c W r)^2 / (P_c W P_c - P_c W A (A W A + L)^-1 A W P_c)

is the chi-square that a second source at c gains, as in the score test (Rao 1948, Proc. Camb. Phil. Soc. 44, 50). A
holds the PSF, its slopes, and its second derivatives: a PSF that is a few per cent too wide, or a little elongated, is
described by the latter. They have a Gaussian prior L, 4 % of the width, so that a PSF in error splits no bright star,
while a true pair, which needs far more of them, is split.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.detect.joint import Frame, fit_together, frame_at, psf_models
from gueststar.detect.measure import PsfFit, Values, cut_psf
from gueststar.types import Difference

__all__ = ["split_peaks"]

_PSF_ERROR = 0.04  # relative error of the width of the PSF, 1 sigma
_NEAREST, _FURTHEST = 0.4, 2.0  # FWHM; where a second source is looked for
_CLOSEST = 0.65  # FWHM; of the two sources that a peak is split into
_FAINTEST = 0.06  # of the flux of the first source


def split_peaks(
    difference: Difference, fit: PsfFit, rows: NDArray[np.int64], scale: Values, *, threshold: float
) -> tuple[NDArray[np.int64], PsfFit, PsfFit]:
    """Look for a second source beside some peaks, and fit both where there is one.

    Parameters
    ----------
    difference : Difference
    fit : PsfFit
        Of each peak alone.
    rows : ndarray of int, shape (k,)
        Peaks to look at.
    scale : ndarray, shape (n,)
        Factor on the errors for correlated noise.
    threshold : float
        Sigma that the second source needs, in all.

    Returns
    -------
    ndarray of int64, PsfFit, PsfFit
        Peaks that were split, and both of their sources, the brighter one first.
    """
    nothing = PsfFit(*(np.empty(0) for _ in fields(PsfFit)))
    if rows.size == 0:
        return rows, nothing, nothing
    x2, y2, gain = _second(difference, fit, rows)
    likely = gain > (0.8 * threshold * scale[rows]) ** 2
    rows, x2, y2 = rows[likely], x2[likely], y2[likely]
    if rows.size == 0:
        return rows, nothing, nothing
    both = np.column_stack((fit.x[rows], x2)), np.column_stack((fit.y[rows], y2))
    scales = np.column_stack((scale[rows], scale[rows]))
    pair = fit_together(difference, *both, scales)
    order = np.argsort(-np.abs(pair.flux.reshape(-1, 2)), axis=1)
    first, second = (
        PsfFit(*(getattr(pair, f.name).reshape(-1, 2)[np.arange(rows.size), order[:, i]] for f in fields(PsfFit)))
        for i in (0, 1)
    )
    test = _tested(difference, first, second)
    apart = np.hypot(second.x - first.x, second.y - first.y)
    fwhm = difference.psf.fwhm
    good = np.sign(first.flux) == np.sign(second.flux)
    good &= (apart > _CLOSEST * fwhm) & (apart < (_FURTHEST + 0.5) * fwhm)
    good &= (np.abs(second.flux) > _FAINTEST * np.abs(first.flux)) & (np.abs(second.flux) > threshold * second.flux_err)
    good &= (np.abs(first.flux) > threshold * first.flux_err) & (test > (threshold * scale[rows]) ** 2)
    keep = [PsfFit(*(getattr(one, f.name)[good] for f in fields(PsfFit))) for one in (first, second)]
    return rows[good], keep[0], keep[1]


def _second(difference: Difference, fit: PsfFit, rows: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Best place (x, y) for a second source of the same sign beside each peak, and the chi-square that it gains."""
    psf, fwhm = difference.psf, difference.psf.fwhm
    x, y = np.round(fit.x[rows]).astype(np.int64), np.round(fit.y[rows]).astype(np.int64)
    # One PSF for all will do to look for the second source; the model of the first has its own.
    middle = [np.array([n // 2]) for n in difference.shape]
    stamp = cut_psf(psf, middle[1], middle[0], 1.0)[0]
    keep, reach = stamp.shape[-1] // 2, int(np.ceil(_FURTHEST * fwhm))
    half = keep + reach
    frame = frame_at(difference, x, y, half, torch.float32)
    at = ((fit.x[rows], x), (fit.y[rows], y))
    dx, dy = (torch.as_tensor((a - mid)[:, None]).to(frame.data) for a, mid in at)
    model, prior = _tolerant(frame, dx, dy, fit.flux[rows], fwhm)
    weight, data = frame.weight.flatten(1), frame.data.flatten(1)
    residual, chol, weighted = _left_over(model, prior, data, weight)
    side = 2 * half + 1
    planes = torch.cat(((residual * weight)[:, None], weighted), 1).reshape(len(x), -1, side, side)
    found = _correlated(planes, stamp)
    squares = _correlated(frame.weight[:, None], stamp**2)[:, 0]
    top = found[:, 0]
    beside = torch.linalg.solve_triangular(chol.to(found.dtype), found[:, 1:].flatten(2), upper=False)
    below = (squares - (beside**2).sum(1).reshape(squares.shape)).clamp(min=0.02 * squares.clamp(min=1e-30))
    gain = top**2 / below
    yy, xx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    far = np.hypot(xx[None] - (fit.x[rows] - x)[:, None, None], yy[None] - (fit.y[rows] - y)[:, None, None])
    allowed = (far >= _NEAREST * fwhm) & (far <= _FURTHEST * fwhm)
    same = (top.cpu().numpy() * np.sign(fit.flux[rows])[:, None, None]) > 0
    value = np.where(allowed & same, gain.cpu().numpy(), -1.0).reshape(len(x), -1)
    best = value.argmax(1)
    return x + xx.ravel()[best], y + yy.ravel()[best], value[np.arange(len(x)), best]


def _tolerant(
    frame: Frame, dx: torch.Tensor, dy: torch.Tensor, flux: Values, fwhm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Model of one source whose PSF may be in error, (m, 6, pixels), and the prior precision of its terms, (m, 6)."""
    planes = [plane[:, 0] for plane in psf_models(frame, dx, dy, order=2)]
    sigma2 = (fwhm / 2.3548) ** 2
    model = torch.stack((*planes[:3], *(sigma2 * plane for plane in planes[3:])), 1)
    size = torch.as_tensor(np.maximum(np.abs(flux), 1e-9) * _PSF_ERROR, device=model.device, dtype=model.dtype)
    tight = 1.0 / size[:, None] ** 2
    free = torch.zeros_like(tight)
    return model, torch.cat((free, free, free, tight, tight, tight), 1)


def _left_over(
    model: torch.Tensor, prior: torch.Tensor, data: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residual of a linear model with a prior, Cholesky factor of its normal matrix, and the weighted model."""
    weighted = model * weight[:, None]
    normal = (weighted @ model.transpose(1, 2) + torch.diag_embed(prior)).double()
    ridge = 1e-9 * normal.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-30)
    normal = normal + ridge[:, None, None] * torch.eye(model.shape[1], dtype=normal.dtype, device=model.device)
    chol = torch.linalg.cholesky(normal)
    solved = torch.cholesky_solve((weighted @ data[:, :, None]).double(), chol).to(model.dtype)
    return data - (solved.transpose(1, 2) @ model)[:, 0], chol, weighted


def _correlated(planes: torch.Tensor, stamp: torch.Tensor) -> torch.Tensor:
    """Correlate planes (n, c, s, s) with one kernel (k, k), where both overlap in full."""
    n, c, size, _ = planes.shape
    done = nn.conv2d(planes.reshape(n * c, 1, size, size).float(), stamp[None, None].float()).to(planes.dtype)
    return done.reshape(n, c, *done.shape[2:])


def _tested(difference: Difference, first: PsfFit, second: PsfFit) -> Values:
    """Chi-square that the second source gains beside a first one whose PSF may be in error."""
    fwhm = difference.psf.fwhm
    x, y = np.round(first.x).astype(np.int64), np.round(first.y).astype(np.int64)
    frame = frame_at(difference, x, y, int(np.ceil((_FURTHEST + 2.0) * fwhm)))
    at = [
        torch.as_tensor((a - mid)[:, None], device=frame.data.device)
        for one in (first, second)
        for a, mid in ((one.x, x), (one.y, y))
    ]
    model, prior = _tolerant(frame, at[0], at[1], first.flux, fwhm)
    weight, data = frame.weight.flatten(1), frame.data.flatten(1)
    residual, chol, weighted = _left_over(model, prior, data, weight)
    other = psf_models(frame, at[2], at[3])[0][:, 0]
    top = (other * weight * residual).sum(1)
    beside = torch.linalg.solve_triangular(chol, weighted @ other[:, :, None], upper=False)[..., 0]
    below = ((other**2 * weight).sum(1) - (beside**2).sum(1)).clamp(min=1e-30)
    return np.asarray((top**2 / below).cpu().numpy())
