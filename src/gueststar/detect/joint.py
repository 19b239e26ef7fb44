"""Overlapping sources in one least-squares fit: all fluxes and positions, with their full covariance."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.detect.measure import Positions, PsfFit, Values, cut_psf, weighted_stamps
from gueststar.spline import coefficients, shift_matrices
from gueststar.types import Difference

__all__ = ["Frame", "fit_together", "frame_at", "joint_fits", "psf_models", "put_rows"]

_STEPS = 25
_USED = 1.5  # FWHM; pixels this close to a source count
_WINGS = 2.5  # FWHM; of the PSF that is drawn


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Stamps around groups of one size: middle pixels (m,), data and weights (m, s, s), spline of the PSF (m, s, s)."""

    x: Positions
    y: Positions
    data: torch.Tensor
    weight: torch.Tensor
    spline: torch.Tensor


def put_rows(fit: PsfFit, rows: NDArray[np.int64], new: PsfFit) -> PsfFit:
    """The same fits with some rows replaced."""
    columns = {f.name: getattr(fit, f.name).copy() for f in fields(PsfFit)}
    for name, values in columns.items():
        values[rows] = getattr(new, name)
    return PsfFit(**columns)


def joint_fits(difference: Difference, x: Values, y: Values, group: NDArray[np.int64], scale: Values) -> PsfFit:
    """Fit the sources of each group together: Levenberg-Marquardt steps on all fluxes and positions.

    Parameters
    ----------
    difference : Difference
    x, y : ndarray, shape (n,)
        Where to begin, px; sources move up to 0.6 FWHM from there.
    group : ndarray of int, shape (n,)
        Sources of one number belong together.
    scale : ndarray, shape (n,)
        Factor on the errors for correlated noise.

    Returns
    -------
    PsfFit
        Of each source, in the order given; chi-square of its group.
    """
    result = PsfFit(*(np.zeros(len(x)) for _ in fields(PsfFit)))
    _, number, count = np.unique(group, return_inverse=True, return_counts=True)
    for size in np.unique(count):
        order = np.argsort(number, kind="stable")
        rows = order[count[number[order]] == size].reshape(-1, size)
        result = put_rows(result, rows.ravel(), fit_together(difference, x[rows], y[rows], scale[rows]))
    return result


def fit_together(difference: Difference, x: Values, y: Values, scale: Values) -> PsfFit:
    """Groups of one size, (m, g) each; the result is flat."""
    frame = _frame_of(difference, x, y)
    m, g = x.shape
    data, weight = frame.data.flatten(1), frame.weight.flatten(1)
    start_x, start_y = (
        torch.as_tensor(a - mid[:, None], device=data.device) for a, mid in ((x, frame.x), (y, frame.y))
    )
    reach = max(1.5, 0.6 * difference.psf.fwhm)
    dx, dy = start_x.clone(), start_y.clone()
    model = psf_models(frame, dx, dy)
    flux = _amplitudes(model[0], data, weight)
    chi2 = _chi2(model[0], flux, data, weight)
    damping = torch.full((m,), 1e-3, dtype=torch.float64, device=data.device)
    for _ in range(_STEPS):
        slopes = torch.cat((model[0], model[1] * flux[..., None], model[2] * flux[..., None]), 1)
        residual = data - (flux[..., None] * model[0]).sum(1)
        step = _step(slopes, residual, weight, damping)
        new_flux = flux + step[:, :g]
        new_x = torch.minimum(torch.maximum(dx + step[:, g : 2 * g].clamp(-0.7, 0.7), start_x - reach), start_x + reach)
        new_y = torch.minimum(torch.maximum(dy + step[:, 2 * g :].clamp(-0.7, 0.7), start_y - reach), start_y + reach)
        trial = psf_models(frame, new_x, new_y)
        new_chi2 = _chi2(trial[0], new_flux, data, weight)
        better = new_chi2 <= chi2
        gained = torch.where(better, chi2 - new_chi2, torch.zeros_like(chi2)).amax()
        flux, dx, dy = (torch.where(better[:, None], a, b) for a, b in ((new_flux, flux), (new_x, dx), (new_y, dy)))
        model = [torch.where(better[:, None, None], a, b) for a, b in zip(trial, model, strict=True)]
        chi2 = torch.where(better, new_chi2, chi2)
        damping = torch.where(better, damping * 0.2, damping * 8.0).clamp(1e-8, 1e6)
        if bool(better.all()) and float(gained) < 1e-3:
            break
    slopes = torch.cat((model[0], model[1] * flux[..., None], model[2] * flux[..., None]), 1)
    error = _covariance_root(slopes, weight)
    count = (weight > 0).sum(1).clamp(min=3 * g + 1)
    flat = [a.cpu().numpy() for a in (dx, dy, error[:, g : 2 * g], error[:, 2 * g :], flux, error[:, :g])]
    reduced = np.repeat((chi2 / (count - 3 * g)).cpu().numpy(), g)
    return PsfFit(
        (frame.x[:, None] + flat[0]).ravel(), (frame.y[:, None] + flat[1]).ravel(), (flat[2] * scale).ravel(),
        (flat[3] * scale).ravel(), flat[4].ravel(), (flat[5] * scale).ravel(), reduced,
    )  # fmt: skip


def _amplitudes(model: torch.Tensor, data: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fluxes of all members at fixed positions."""
    weighted = model * weight[:, None]
    normal = weighted @ model.transpose(1, 2)
    ridge = 1e-9 * normal.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    normal = normal + ridge[:, None, None] * torch.eye(model.shape[1], dtype=model.dtype, device=model.device)
    solved: torch.Tensor = torch.linalg.solve(normal, (weighted @ data[:, :, None])[..., 0])
    return solved


def _chi2(model: torch.Tensor, flux: torch.Tensor, data: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return ((data - (flux[..., None] * model).sum(1)) ** 2 * weight).sum(1)


def _normalised(slopes: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weighted slopes, normal matrix of unit diagonal, and the roots of the diagonal."""
    weighted = slopes * weight[:, None]
    normal = weighted @ slopes.transpose(1, 2)
    root = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-30).sqrt()
    return weighted, normal / (root[:, :, None] * root[:, None, :]), root


def _step(slopes: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    weighted, normal, root = _normalised(slopes, weight)
    right = (weighted @ residual[:, :, None])[..., 0] / root
    unit = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    solved: torch.Tensor = torch.linalg.solve(normal + (damping + 1e-9)[:, None, None] * unit, right).div_(root)
    return solved


def _covariance_root(slopes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """One sigma of every parameter, the others free."""
    _, normal, root = _normalised(slopes, weight)
    unit = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    inverse = torch.linalg.inv(normal + 1e-6 * unit)
    error: torch.Tensor = inverse.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt().div_(root)
    return error


def _frame_of(difference: Difference, x: Values, y: Values) -> Frame:
    """Stamps that hold groups (m, g), with weights within 1.5 FWHM of a member."""
    fwhm = difference.psf.fwhm
    mx, my = np.round(x.mean(1)).astype(np.int64), np.round(y.mean(1)).astype(np.int64)
    spread = max(np.abs(x - mx[:, None]).max(), np.abs(y - my[:, None]).max())
    half = int(np.ceil(spread + _USED * fwhm))
    data, weight = weighted_stamps(difference, mx, my, 2 * half + 1)
    steps = torch.arange(-half, half + 1, dtype=torch.float64, device=data.device)
    dx, dy = (torch.as_tensor(a - m[:, None], device=data.device) for a, m in ((x, mx), (y, my)))
    r2 = (steps - dx[..., None])[:, :, None, :] ** 2 + (steps - dy[..., None])[:, :, :, None] ** 2
    weight = weight * (r2.amin(1) <= (_USED * fwhm) ** 2)
    stamp = cut_psf(difference.psf, mx, my, _WINGS)
    spline = coefficients(stamp)
    room = half - stamp.shape[-1] // 2
    return Frame(mx, my, data, weight, nn.pad(spline, (room,) * 4))


def frame_at(difference: Difference, x: Positions, y: Positions, half: int) -> Frame:
    """Stamps of half width `half` around single pixels."""
    data, weight = weighted_stamps(difference, x, y, 2 * half + 1)
    stamp = cut_psf(difference.psf, x, y, _WINGS)
    room = half - stamp.shape[-1] // 2
    return Frame(x, y, data, weight, nn.pad(coefficients(stamp), (room,) * 4))


def psf_models(frame: Frame, dx: torch.Tensor, dy: torch.Tensor, order: int = 1) -> list[torch.Tensor]:
    """PSF at offsets (m, g) from the middle, and its derivatives with the offset; each (m, g, s * s)."""
    m, g = dx.shape
    size = frame.data.shape[-1]
    spline = frame.spline[:, None].expand(m, g, size, size).reshape(m * g, size, size)
    u, v = dx.reshape(-1), dy.reshape(-1)
    wx, wy = shift_matrices(u, size).transpose(1, 2), shift_matrices(v, size)
    sx, sy = shift_matrices(u, size, derivative=True).transpose(1, 2), shift_matrices(v, size, derivative=True)
    across, along = spline @ wx, spline @ sx
    planes = [wy @ across, wy @ along, sy @ across]
    if order == 2:
        # Second derivatives by differences: the slope of a cubic spline is smooth enough for that.
        h = 0.25
        xx = shift_matrices(u + h, size, derivative=True) - shift_matrices(u - h, size, derivative=True)
        yy = shift_matrices(v + h, size, derivative=True) - shift_matrices(v - h, size, derivative=True)
        planes += [wy @ spline @ xx.transpose(1, 2) / (2 * h), yy @ across / (2 * h), sy @ along]
    return [plane.reshape(m, g, size * size) for plane in planes]
