"""Cubic B-spline interpolation of planes and stamps (Unser 1999, IEEE Signal Processing Magazine 16, 22).

The samples are first turned into B-spline coefficients, by division with the B-spline's discrete transfer function
(2 + cos w) / 3 in Fourier space. The spline is then evaluated with four bilinear look-ups per point
(Sigg & Hadwiger 2005, GPU Gems 2, ch. 20), which runs alike on CPU and GPU. It interpolates: at whole pixels it gives
back the samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nn

__all__ = ["MARGIN", "coefficients", "sample", "shift_matrices", "shift_pair", "shift_stamps"]

MARGIN = 2  #: coefficients that `sample` needs beyond each edge
_PAD = 12  # the filter decays by 0.27 per pixel: 1e-7 over the pad


def coefficients(planes: torch.Tensor, *, margin: int = 0) -> torch.Tensor:
    """B-spline coefficients of samples, over the last two axes; edges are continued by their last value.

    `margin` keeps that many coefficients beyond each edge; `sample` needs `MARGIN` of them.
    """
    lead = planes.shape[:-2]
    ny, nx = planes.shape[-2:]
    if planes.numel() == 0:
        return planes.new_zeros(*lead, ny + 2 * margin, nx + 2 * margin)
    flat = planes.reshape(-1, 1, ny, nx)
    padded = nn.pad(flat, (_PAD, _PAD, _PAD, _PAD), mode="replicate")
    sizes = (_good_size(padded.shape[-2]), _good_size(padded.shape[-1]))
    spectrum = torch.fft.rfft2(padded, s=sizes)
    options = {"device": planes.device, "dtype": planes.dtype}
    wy = 2.0 * torch.pi * torch.fft.fftfreq(sizes[0], **options)
    wx = 2.0 * torch.pi * torch.fft.rfftfreq(sizes[1], **options)
    spectrum = spectrum / ((2.0 + torch.cos(wy)) / 3.0)[:, None] / ((2.0 + torch.cos(wx)) / 3.0)[None, :]
    first = _PAD - margin
    ny, nx = ny + 2 * margin, nx + 2 * margin
    done: torch.Tensor = torch.fft.irfft2(spectrum, s=sizes)[..., first : first + ny, first : first + nx]
    return done.reshape(*lead, ny, nx).contiguous()


def _good_size(n: int) -> int:
    """Smallest product of 2, 3 and 5 that is at least n."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _weights(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For a fraction t in [0, 1): weight of the first pair of taps, and where in each pair to look."""
    s = 1.0 - t
    w0 = s * s * s / 6.0
    w1 = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
    w3 = t * t * t / 6.0
    g0 = w0 + w1
    return g0, w1 / g0 - 1.0, w3 / (1.0 - g0) + 1.0


def sample(coefficient: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Evaluate a spline at positions.

    Parameters
    ----------
    coefficient : Tensor, shape (ny + 2 MARGIN, nx + 2 MARGIN)
        From ``coefficients(plane, margin=MARGIN)``.
    x, y : Tensor, shape (my, mx)
        0-based pixel positions in the plane.

    Returns
    -------
    Tensor, shape (my, mx)
        Positions outside the plane take the edge's values; mask them by yourself.
    """
    ny, nx = coefficient.shape
    x, y = x + MARGIN, y + MARGIN
    fx, fy = torch.floor(x), torch.floor(y)
    gx, ax, bx = _weights(x - fx)
    gy, ay, by = _weights(y - fy)
    scale_x, scale_y = 2.0 / max(nx - 1, 1), 2.0 / max(ny - 1, 1)
    left, right = (fx + ax) * scale_x - 1.0, (fx + bx) * scale_x - 1.0
    top, bottom = (fy + ay) * scale_y - 1.0, (fy + by) * scale_y - 1.0

    def look(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        grid = torch.stack((u, v), -1)[None]
        return nn.grid_sample(coefficient[None, None], grid, "bilinear", "border", align_corners=True)[0, 0]

    upper = torch.lerp(look(right, top), look(left, top), gx)
    lower = torch.lerp(look(right, bottom), look(left, bottom), gx)
    return torch.lerp(lower, upper, gy)


def shift_matrices(shift: torch.Tensor, size: int, *, derivative: bool = False) -> torch.Tensor:
    """Matrices W with (W c)[i] = spline of coefficients c at i - shift; shape (n, size, size).

    Parameters
    ----------
    shift : Tensor, shape (n,)
        px.
    derivative : bool
        Of the shifted samples with respect to the shift.
    """
    index = torch.arange(size, device=shift.device, dtype=shift.dtype)
    t = index[None, :, None] - shift[:, None, None] - index[None, None, :]
    a = t.abs()
    if derivative:
        inner = -2.0 * t + 1.5 * t * a
        outer = -0.5 * torch.sign(t) * (2.0 - a) ** 2
        slope = torch.where(a < 1.0, inner, torch.where(a < 2.0, outer, torch.zeros_like(t)))
        return -slope
    inner = 2.0 / 3.0 - a * a + 0.5 * a * a * a
    outer = (2.0 - a) ** 3 / 6.0
    return torch.where(a < 1.0, inner, torch.where(a < 2.0, outer, torch.zeros_like(t)))


def shift_pair(shift: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`shift_matrices` and their derivative with the shift, in less time than one after the other."""
    index = torch.arange(size, device=shift.device, dtype=shift.dtype)
    t = index[None, :, None] - shift[:, None, None] - index[None, None, :]
    a = t.abs()
    rest = (2.0 - a).clamp_(min=0.0)
    near = a < 1.0
    square = rest * rest
    value = torch.where(near, (0.5 * a - 1.0) * a * a + 2.0 / 3.0, square * rest / 6.0)
    slope = torch.where(near, (2.0 - 1.5 * a) * t, 0.5 * torch.sign(t) * square)
    return value, slope


def shift_stamps(coefficient: torch.Tensor, dx: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Move stamps by (dx, dy) px.

    Parameters
    ----------
    coefficient : Tensor, shape (n, k, k) or (k, k)
        From `coefficients`.
    dx, dy : Tensor, shape (n,)

    Returns
    -------
    Tensor, shape (n, k, k)
    """
    size = coefficient.shape[-1]
    return shift_matrices(dy, size) @ coefficient @ shift_matrices(dx, size).transpose(-1, -2)
