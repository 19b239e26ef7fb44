"""Overlapping sources in one least-squares fit: all fluxes and positions, with their full covariance."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.detect.measure import Positions, PsfFit, Values, cut_spline, weighted_stamps
from gueststar.spline import shift_pair
from gueststar.types import Difference

__all__ = ["Frame", "fit_together", "frame_at", "joint_fits", "psf_models", "put_rows"]

_STEPS = 25
_ARRIVED = 3e-3  # of chi-square, gained by the last step
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

    def rows(self, keep: torch.Tensor) -> Frame:
        """Some of the groups."""
        some = keep.cpu().numpy()
        return Frame(self.x[some], self.y[some], self.data[keep], self.weight[keep], self.spline[keep])


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
    g = x.shape[1]
    starts = [torch.as_tensor(a - mid[:, None]).to(frame.data) for a, mid in ((x, frame.x), (y, frame.y))]
    flux, chi2, (dx, dy) = _descended(frame, starts, max(1.5, 0.6 * difference.psf.fwhm))
    model = psf_models(frame, dx, dy)
    error = _covariance_root(_slopes(model, flux), frame.weight.flatten(1))
    count = (frame.weight > 0).sum((1, 2)).clamp(min=3 * g + 1)
    tensors = (dx, dy, error[:, g : 2 * g], error[:, 2 * g :], flux, error[:, :g])
    flat = [a.double().cpu().numpy() for a in tensors]
    reduced = np.repeat((chi2 / (count - 3 * g)).double().cpu().numpy(), g)
    return PsfFit(
        (frame.x[:, None] + flat[0]).ravel(), (frame.y[:, None] + flat[1]).ravel(), (flat[2] * scale).ravel(),
        (flat[3] * scale).ravel(), flat[4].ravel(), (flat[5] * scale).ravel(), reduced,
    )  # fmt: skip


def _descended(
    frame: Frame, starts: list[torch.Tensor], reach: float
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Fluxes (m, g), chi-square (m,) and offsets in x and y at the minimum; groups that have arrived drop out."""
    places = [start.clone() for start in starts]
    data, weight = frame.data.flatten(1), frame.weight.flatten(1)
    model = psf_models(frame, places[0], places[1])
    flux = _amplitudes(model[0], data, weight)
    chi2 = _chi2(model[0], flux, data, weight)
    g = flux.shape[1]
    damping = torch.full_like(chi2, 1e-3)
    todo = torch.arange(len(chi2), device=chi2.device)
    part = frame
    for _ in range(_STEPS):
        residual = data - (flux[todo][..., None] * model[0]).sum(1)
        step = _step(_slopes(model, flux[todo]), residual, weight, damping[todo])
        new_flux = flux[todo] + step[:, :g]
        new_places = [
            (place[todo] + step[:, (i + 1) * g : (i + 2) * g].clamp(-0.7, 0.7)).clamp(
                start[todo] - reach, start[todo] + reach
            )
            for i, (place, start) in enumerate(zip(places, starts, strict=True))
        ]
        trial = psf_models(part, new_places[0], new_places[1])
        new_chi2 = _chi2(trial[0], new_flux, data, weight)
        gained = chi2[todo] - new_chi2
        better = gained >= 0
        rows = todo[better]
        flux[rows], chi2[rows] = new_flux[better], new_chi2[better]
        for place, new in zip(places, new_places, strict=True):
            place[rows] = new[better]
        damping[todo] = torch.where(better, damping[todo] * 0.2, damping[todo] * 8.0)
        going = torch.where(better, gained > _ARRIVED + 1e-5 * chi2[todo], damping[todo] < 10.0)
        todo, part = todo[going], part.rows(going)
        if len(todo) == 0:
            break
        data, weight = part.data.flatten(1), part.weight.flatten(1)
        model = [
            torch.where(better[going][:, None, None], a[going], b[going]) for a, b in zip(trial, model, strict=True)
        ]
    return flux, chi2, places


def _slopes(model: list[torch.Tensor], flux: torch.Tensor) -> torch.Tensor:
    """Derivatives of the light with fluxes, x and y of all members, (m, 3 g, pixels)."""
    return torch.cat((model[0], model[1] * flux[..., None], model[2] * flux[..., None]), 1)


def _amplitudes(model: torch.Tensor, data: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fluxes of all members at fixed positions."""
    weighted = model * weight[:, None]
    normal = (weighted @ model.transpose(1, 2)).double()
    ridge = 1e-9 * normal.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    normal = normal + ridge[:, None, None] * torch.eye(model.shape[1], dtype=normal.dtype, device=model.device)
    solved: torch.Tensor = torch.linalg.solve(normal, (weighted @ data[:, :, None])[..., 0].double()).to(model.dtype)
    return solved


def _chi2(model: torch.Tensor, flux: torch.Tensor, data: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return ((data - (flux[..., None] * model).sum(1)) ** 2 * weight).sum(1)


def _normalised(slopes: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weighted slopes, normal matrix of unit diagonal, and the roots of the diagonal."""
    weighted = slopes * weight[:, None]
    normal = (weighted @ slopes.transpose(1, 2)).double()
    root = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-30).sqrt()
    return weighted, normal / (root[:, :, None] * root[:, None, :]), root


def _step(slopes: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    weighted, normal, root = _normalised(slopes, weight)
    right = (weighted @ residual[:, :, None])[..., 0].double() / root
    unit = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    solved: torch.Tensor = torch.linalg.solve(normal + (damping + 1e-9)[:, None, None] * unit, right).div_(root)
    return solved.to(slopes.dtype)


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
    spline = cut_spline(difference.psf, mx, my, _WINGS)
    room = half - spline.shape[-1] // 2
    # Single precision is good to a thousandth of the noise of the brightest sources, and twice as fast.
    return Frame(mx, my, data.float(), weight.float(), nn.pad(spline, (room,) * 4).float())


def frame_at(
    difference: Difference, x: Positions, y: Positions, half: int, dtype: torch.dtype = torch.float64
) -> Frame:
    """Stamps of half width `half` around single pixels."""
    data, weight = weighted_stamps(difference, x, y, 2 * half + 1)
    spline = cut_spline(difference.psf, x, y, _WINGS)
    room = half - spline.shape[-1] // 2
    return Frame(x, y, data.to(dtype), weight.to(dtype), nn.pad(spline.to(dtype), (room,) * 4))


def psf_models(frame: Frame, dx: torch.Tensor, dy: torch.Tensor, order: int = 1) -> list[torch.Tensor]:
    """PSF at offsets (m, g) from the middle, and its derivatives with the offset; each (m, g, s * s)."""
    m, g = dx.shape
    size = frame.data.shape[-1]
    spline = frame.spline[:, None].expand(m, g, size, size).reshape(m * g, size, size)
    u, v = dx.reshape(-1), dy.reshape(-1)
    (wx, sx), (wy, sy) = shift_pair(u, size), shift_pair(v, size)
    wx, sx = wx.transpose(1, 2), sx.transpose(1, 2)
    across, along = spline @ wx, spline @ sx
    planes = [wy @ across, wy @ along, sy @ across]
    if order == 2:
        xx, yy = _bends(u, size).transpose(1, 2), _bends(v, size)
        planes += [wy @ spline @ xx, yy @ across, sy @ along]
    return [plane.reshape(m, g, size * size) for plane in planes]


def _bends(shift: torch.Tensor, size: int) -> torch.Tensor:
    """Second derivatives of `shift_matrices` with the shift."""
    index = torch.arange(size, device=shift.device, dtype=shift.dtype)
    a = (index[None, :, None] - shift[:, None, None] - index[None, None, :]).abs()
    return torch.where(a < 1.0, 3.0 * a - 2.0, (2.0 - a).clamp(min=0.0))
