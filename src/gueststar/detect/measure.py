"""Measurements of candidates, all at once: PSF fit, apertures, moments, neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import sep
import torch
from numpy.typing import NDArray

from gueststar.planes import gather_stamps
from gueststar.spline import coefficients, shift_pair
from gueststar.types import Difference, Psf

__all__ = [
    "PsfFit",
    "Shape",
    "aperture_measures",
    "cut_psf",
    "cut_spline",
    "local_flux",
    "local_snr",
    "mask_near",
    "moments",
    "psf_fits",
    "weighted_stamps",
]

_ARRIVED_PX = 1e-4
Positions = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PsfFit:
    """Position, flux and their errors of a point source, and the reduced chi-square; each of shape (n,)."""

    x: Values
    y: Values
    x_err: Values
    y_err: Values
    flux: Values
    flux_err: Values
    chi2: Values

    def rows(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> PsfFit:
        """Some of the fits."""
        return PsfFit(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Width, axis ratio and direction (from x to y, rad) from Gaussian-weighted moments; each of shape (n,)."""

    fwhm: Values
    elongation: Values
    theta: Values


def cut_psf(psf: Psf, x: Positions, y: Positions, radius_fwhm: float) -> torch.Tensor:
    """PSF at positions, cut at some FWHM, float64."""
    stamps = psf.at(x, y).double()
    half = psf.size // 2
    keep = int(np.clip(np.ceil(radius_fwhm * psf.fwhm), 3, half))
    return stamps[:, half - keep : half + keep + 1, half - keep : half + keep + 1]


def cut_spline(psf: Psf, x: Positions, y: Positions, radius_fwhm: float) -> torch.Tensor:
    """Spline coefficients of the PSF at positions, cut as by `cut_psf`; of its few planes, not of every stamp."""
    return cut_psf(replace(psf, planes=coefficients(psf.planes.double())), x, y, radius_fwhm)


def weighted_stamps(difference: Difference, x: Positions, y: Positions, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Stamps of the data and of the inverse variance, 0 on flagged pixels and outside; (n, size, size), float64."""
    data = gather_stamps(difference.data, x, y, size).double()
    noise = gather_stamps(difference.variance, x, y, size).double()
    flags = gather_stamps(difference.mask, x, y, size)
    # Outside the frame the variance is 0.
    return data, torch.where((flags == 0) & (noise > 0), 1.0 / noise.clamp(min=1e-6), torch.zeros_like(noise))


def psf_fits(difference: Difference, x: Positions, y: Positions, scale: Values, *, steps: int = 5) -> PsfFit:
    """Fit a shifted PSF to each candidate by Gauss-Newton steps on flux and position.

    Parameters
    ----------
    difference : Difference
    x, y : ndarray of int64, shape (n,)
        Peak pixels.
    scale : ndarray, shape (n,)
        Factor on the errors for correlated noise.
    steps : int
        Iterations; each moves at most 0.5 px, in all at most 1.5 px from the peak.
    """
    spline = cut_spline(difference.psf, x, y, 1.5)
    size = spline.shape[-1]
    data, weight = weighted_stamps(difference, x, y, size)
    dx, dy = (
        torch.zeros(len(x), dtype=torch.float64, device=data.device),
        torch.zeros(len(x), dtype=torch.float64, device=data.device),
    )
    normal = data.new_zeros((len(x), 3, 3))
    solved = data.new_zeros((len(x), 3))
    floor = torch.eye(3, dtype=torch.float64, device=data.device) * 1e-12
    last = False
    for step in range(steps + 1):
        last = last or step == steps
        (wx, sx), (wy, sy) = shift_pair(dx, size), shift_pair(dy, size)
        across = spline @ wx.transpose(1, 2)
        model = wy @ across
        slope_x = wy @ (spline @ sx.transpose(1, 2))
        slope_y = sy @ across
        design = torch.stack((model, slope_x, slope_y), 1).flatten(2)
        weighted = design * weight.flatten(1)[:, None]
        normal = weighted @ design.transpose(1, 2)
        size_of = normal.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)[:, None, None]
        right = (weighted @ data.flatten(1)[:, :, None])[..., 0]
        if last:
            # Flux alone at the final position, so that its error is that of a flux.
            solved[:, 0] = right[:, 0] / normal[:, 0, 0].clamp(min=1e-30)
            break
        solved = torch.linalg.solve(normal + floor * size_of, right)
        flux = torch.where(solved[:, 0].abs() < 1e-9, torch.full_like(dx, 1e-9), solved[:, 0])
        before = dx, dy
        dx = (dx + (solved[:, 1] / flux).nan_to_num(0.0).clamp(-0.5, 0.5)).clamp(-1.5, 1.5)
        dy = (dy + (solved[:, 2] / flux).nan_to_num(0.0).clamp(-0.5, 0.5)).clamp(-1.5, 1.5)
        last = max(float((dx - before[0]).abs().max()), float((dy - before[1]).abs().max())) < _ARRIVED_PX
    flux = solved[:, 0]
    residual = data - flux[:, None, None] * model
    count = (weight > 0).sum((1, 2)).clamp(min=2)
    chi2 = (residual**2 * weight).sum((1, 2)) / (count - 1)
    error = normal[:, 0, 0].clamp(min=1e-30).rsqrt()
    position = [flux.abs().clamp(min=1e-9) * normal[:, i, i].clamp(min=1e-30).sqrt() for i in (1, 2)]
    to = [a.cpu().numpy() for a in (dx, dy, flux, error, chi2, *(1.0 / p for p in position))]
    return PsfFit(x + to[0], y + to[1], to[5] * scale, to[6] * scale, to[2], to[3] * scale, to[4])


def moments(difference: Difference, x: Positions, y: Positions, sign: Values, snr: Values, *, steps: int = 4) -> Shape:
    """Adaptive second moments: the weight takes the shape of the source (Bernstein & Jarvis 2002, AJ 123, 583).

    The width is in units of what the PSF itself has, so that a point source has the FWHM of the PSF. Noise makes round
    sources look long: with e = (a^2 - b^2) / (a^2 + b^2), both components of which scatter by 2 / `snr` (their eq.
    5-7), the mean square of the noise is taken out of e^2.

    Parameters
    ----------
    difference : Difference
    x, y : ndarray of int64, shape (n,)
        Peak pixels.
    sign, snr : ndarray, shape (n,)
        Sign of the source and its signal to noise.
    steps : int
        Iterations.
    """
    fwhm = difference.psf.fwhm
    half = int(np.clip(np.ceil(2.5 * fwhm), 4, 24))
    data = gather_stamps(difference.data, x, y, 2 * half + 1).double().cpu().numpy() * sign[:, None, None]
    psf = cut_psf(difference.psf, *_centre(difference), 2.5).cpu().numpy()
    own, _, _ = _adapted(psf, fwhm, steps)
    wide, e, theta = _adapted(data, fwhm, steps)
    scatter = 2.0 / np.maximum(np.abs(snr), 1.0)
    e = np.sqrt(np.clip(e**2 - 2.0 * scatter**2, 0.0, 0.99))
    return Shape(wide * fwhm / float(own[0]), np.clip(np.sqrt((1.0 + e) / (1.0 - e)), 1.0, 20.0), theta)


def _centre(difference: Difference) -> tuple[Positions, Positions]:
    """The middle pixel of the frame, x and y."""
    ny, nx = difference.shape
    return np.array([nx // 2]), np.array([ny // 2])


def _adapted(data: Values, fwhm: float, steps: int) -> tuple[Values, Values, Values]:
    """FWHM, e and direction from adaptive moments of stamps (n, k, k)."""
    n, size, _ = data.shape
    yy, xx = np.mgrid[:size, :size] - float(size // 2)
    cxx, cyy, cxy = (np.full(n, (fwhm / 2.3548) ** 2), np.full(n, (fwhm / 2.3548) ** 2), np.zeros(n))
    mx, my = np.zeros(n), np.zeros(n)
    for _ in range(steps):
        det = cxx * cyy - cxy**2
        ux, uy = xx - mx[:, None, None], yy - my[:, None, None]
        form = (cyy[:, None, None] * ux**2 - 2 * cxy[:, None, None] * ux * uy + cxx[:, None, None] * uy**2) / det[
            :, None, None
        ]
        weighted = data * np.exp(-0.5 * np.clip(form, 0.0, 50.0))
        total = weighted.sum((1, 2))
        ok = total > 0
        total = np.where(ok, total, 1.0)
        mx = np.where(ok, np.clip(mx + 2.0 * (weighted * ux).sum((1, 2)) / total, -2, 2), mx)
        my = np.where(ok, np.clip(my + 2.0 * (weighted * uy).sum((1, 2)) / total, -2, 2), my)
        # Under a weight of its own shape a Gaussian's moments come out halved.
        new = [2.0 * (weighted * a).sum((1, 2)) / total for a in (ux * ux, uy * uy, ux * uy)]
        low, high = (0.25 * fwhm / 2.3548) ** 2, (3.0 * fwhm / 2.3548) ** 2
        cxx = np.where(ok, np.clip(new[0], low, high), cxx)
        cyy = np.where(ok, np.clip(new[1], low, high), cyy)
        limit = 0.98 * np.sqrt(cxx * cyy)
        cxy = np.where(ok, np.clip(new[2], -limit, limit), cxy)
    middle, spread = 0.5 * (cxx + cyy), np.hypot(0.5 * (cxx - cyy), cxy)
    area = np.sqrt(np.maximum(middle**2 - spread**2, 1e-12))
    return 2.3548 * np.sqrt(area), spread / middle, 0.5 * np.arctan2(2.0 * cxy, cxx - cyy)


def aperture_measures(
    difference: Difference, x: Values, y: Values, sign: Values, shape: Shape, scale: Values
) -> tuple[Values, Values]:
    """Signed S/N in an aperture of 1 FWHM radius, and in the Kron ellipse (Kron 1980, ApJS 43, 305)."""
    data = np.ascontiguousarray(difference.data.cpu().numpy())
    noise = np.sqrt(difference.variance.cpu().numpy())
    flux, error, _ = sep.sum_circle(data, x, y, difference.psf.fwhm, err=noise)
    aperture = flux / np.maximum(error * scale, 1e-9)
    auto = np.empty(len(x))
    sigma = shape.fwhm / 2.3548
    a, b = sigma * np.sqrt(shape.elongation), sigma / np.sqrt(shape.elongation)
    for side in (1.0, -1.0):
        pick = sign == side
        if not pick.any():
            continue
        plane = data if side > 0 else -data
        args = (x[pick], y[pick], a[pick], b[pick], np.clip(shape.theta[pick], -1.5707, 1.5707))
        radius, _ = sep.kron_radius(plane, *args, 6.0)
        radius = 2.5 * np.clip(np.nan_to_num(radius, nan=1.0), 1.4, 4.0)
        total, spread, _ = sep.sum_ellipse(plane, *args, radius, err=noise, subpix=1)
        auto[pick] = side * total / np.maximum(spread * scale[pick], 1e-9)
    return aperture, auto


def local_flux(data: torch.Tensor, variance: torch.Tensor, psf: Psf, x: Positions, y: Positions) -> Values:
    """PSF flux, e-, of whatever stands at each position of an image; includes neighbours and hosts."""
    stamp = cut_psf(psf, x, y, 1.0)
    k = stamp.shape[-1]
    weight = 1.0 / gather_stamps(variance, x, y, k).double().clamp(min=1e-6)
    top = (stamp * gather_stamps(data, x, y, k).double() * weight).sum((1, 2))
    return np.asarray((top / (stamp**2 * weight).sum((1, 2)).clamp(min=1e-30)).cpu().numpy())


def local_snr(data: torch.Tensor, variance: torch.Tensor, psf: Psf, x: Positions, y: Positions) -> Values:
    """PSF signal to noise of whatever stands at each position of an image; includes neighbours and hosts."""
    stamp = cut_psf(psf, x, y, 1.0)
    k = stamp.shape[-1]
    weight = 1.0 / gather_stamps(variance, x, y, k).double().clamp(min=1e-6)
    top = (stamp * gather_stamps(data, x, y, k).double() * weight).sum((1, 2))
    return np.asarray((top / (stamp**2 * weight).sum((1, 2)).clamp(min=1e-30).sqrt()).cpu().numpy())


def mask_near(difference: Difference, x: Positions, y: Positions) -> tuple[Values, NDArray[np.int32]]:
    """Share of flagged pixels within 1 FWHM, and all their bits."""
    radius = int(np.clip(np.ceil(difference.psf.fwhm), 1, 15))
    size = 2 * radius + 1
    flags = gather_stamps(difference.mask, x, y, size).cpu().numpy().astype(np.int32)
    yy, xx = np.mgrid[:size, :size] - radius
    disc = np.hypot(xx, yy) <= difference.psf.fwhm
    chosen = flags[:, disc]
    return (chosen != 0).mean(1), np.bitwise_or.reduce(chosen, axis=1).astype(np.int32)
