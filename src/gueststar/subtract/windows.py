"""Normal equations of the matching kernel, window by window, freed of the noise of the image that is convolved.

Least squares takes the convolved image R as known exactly. Its noise n enters the Gram matrix quadratically: for kernel
pixels a and b it adds the expectation

    sum_p w(p) <n(p + a) n(p + b)> = sqrt(d_a d_b) rho(a - b),    d_a = sum_p w(p) V_R(p + a),

with rho the noise autocorrelation that resampling left. It acts like a Wiener filter: the kernel comes out too soft and
its sum too small, so that bright stars keep a core. As in regression with known errors of the variables (Fuller 1987,
Measurement Error Models, Sec. 2.2), the expectation is subtracted; rho is measured on empty sky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from scipy.linalg.blas import dsyrk, ssyrk

from gueststar.planes import as_float, gather_stamps
from gueststar.subtract.least_squares import blocks, kernel_power, kernel_prior, kernel_support, refined
from gueststar.types import Image, Stars, polynomial_exponents

__all__ = ["SHARES", "Windows", "noise_correlation", "position_terms"]

_LAG = 3  # px; beyond it resampled noise is taken as uncorrelated
SHARES = (0.6, 0.4, 0.2)  #: of the expected noise that is subtracted, tried in turn


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Normal equations of every window; p = q + 1, the kernel has q free pixels and the last unknown is the background.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Centres, px.
    gram : ndarray, shape (n, p, p)
        Weighted products of the design.
    noise : ndarray, shape (n, q)
        sqrt(d_a) of the noise in them.
    rho : ndarray, shape (q, q)
        Its correlation between kernel pixels.
    right, power : ndarray, shapes (n, p), (n,)
        Products with the target, and its own weighted square.
    expected, count : ndarray, shape (n,)
        Weighted square that the noise alone leaves, and the number of pixels.
    radius : int
        Half width k // 2 of the kernel, px.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    gram: NDArray[np.float64]
    noise: NDArray[np.float64]
    rho: NDArray[np.float64]
    right: NDArray[np.float64]
    power: NDArray[np.float64]
    expected: NDArray[np.float64]
    count: NDArray[np.float64]
    radius: int

    @classmethod
    def cut(cls, sharp: Image, target: Image, stars: Stars, radius: int, half: int, model_error: float) -> Windows:
        """Cut windows of half side `half` around stars; those with over 20 % bad pixels are left out.

        Pixels are weighted by the inverse of the geometric mean of their noise and the sky's. Weights by the noise
        alone would be best if the model were perfect; but it is the cores of bright stars that tell a kernel, and noise
        in the image that is convolved matters least there.
        """
        ix, iy = np.round(stars.x).astype(np.int64), np.round(stars.y).astype(np.int64)
        size, full = 2 * half + 1, 2 * (half + radius) + 1
        grow = min(radius, 3)
        spread = _grown(gather_stamps(sharp.mask, ix, iy, size + 2 * grow), grow)
        clear = as_float(~(spread | gather_stamps(target.mask, ix, iy, size).bool()), target.data.dtype)
        noise = gather_stamps(target.variance, ix, iy, size) + gather_stamps(sharp.variance, ix, iy, size)
        goal = gather_stamps(target.data, ix, iy, size)
        keep = (clear.mean((1, 2)) > 0.8).cpu().numpy()
        kept = torch.from_numpy(keep).to(goal.device)
        ix, iy, clear, noise, goal = ix[keep], iy[keep], clear[kept], noise[kept], goal[kept]
        sky = noise.median() if len(ix) else 1.0
        weight = clear / ((noise + (model_error * goal) ** 2) * sky).clamp(min=1e-6).sqrt()
        source = gather_stamps(sharp.data, ix, iy, full)
        k, inside = 2 * radius + 1, kernel_support(radius)
        p = int(inside.sum()) + 1
        n = len(ix)
        gram, right = np.empty((n, p, p)), np.empty((n, p))
        spread = gather_stamps(sharp.variance, ix, iy, full)
        noisy = np.empty((n, p - 1))
        if n:
            summed = nn.conv2d(spread[None], weight[:, None], groups=n)[0].reshape(n, k * k).flip(1)
            noisy[:] = summed.clamp(min=0.0).sqrt().cpu().numpy()[:, inside]
        rho = _kernel_correlation(noise_correlation(sharp), radius)[np.ix_(inside, inside)]
        # Column (a, b) of the design is the source shifted so that it meets kernel pixel (a, b): turned by half a turn,
        # windows list these shifts in the order of the kernel's pixels.
        turned, root, aim = (plane.flip(1, 2) for plane in (source, weight.sqrt(), goal))
        used = torch.as_tensor(np.append(np.flatnonzero(inside), k * k), device=source.device)
        every = source.new_empty((k * k + 1, size * size))
        for i in range(n):
            shifted = turned[i].unfold(0, size, 1).unfold(1, size, 1)
            torch.mul(shifted, root[i], out=every[:-1].view(k, k, size, size))
            every[-1] = root[i].reshape(-1)
            scaled = every[used]
            gram[i] = _squared(scaled)
            right[i] = (scaled @ (aim[i] * root[i]).reshape(-1)).cpu().numpy()
        power = (weight * goal**2).sum((1, 2)).double().cpu().numpy()
        expected = (weight * noise).sum((1, 2)).double().cpu().numpy()
        count = (weight > 0).sum((1, 2)).double().cpu().numpy()
        return cls(stars.x[keep], stars.y[keep], gram, noisy, rho, right, power, expected, count, radius)

    def solve(
        self,
        terms: NDArray[np.float64],
        keep: NDArray[np.bool_],
        *,
        shares: Sequence[float] = (),
        most_power: float = np.inf,
    ) -> tuple[NDArray[np.float64], float]:
        """Least squares over the windows kept.

        Parameters
        ----------
        terms : ndarray, shape (n, m)
            Polynomial terms of the windows.
        keep : ndarray of bool, shape (n,)
        shares : sequence of float
            Free the solution of these shares of the noise of the image that is convolved, tried in turn; plain least
            squares when none will do.
        most_power : float
            How much may be subtracted depends on how well the windows know the noise: where too much is taken the
            kernel fits noise, which shows in its power. A solution of more power than this is refused.

        Returns
        -------
        ndarray of shape (m, p), float
            The solution, and the share that it was freed of.
        """
        t = terms[keep]
        m, p = t.shape[1], self.right.shape[1]
        normal = blocks(t, self.gram[keep].reshape(len(t), p * p))
        # The background is free.
        prior = np.full((m, p), 1e-8)
        prior[:, :-1] = kernel_prior(self.radius, m).reshape(m, -1)[:, kernel_support(self.radius)]
        normal[np.diag_indices(m * p)] += prior.ravel()
        right = (t.T @ self.right[keep]).reshape(m * p)
        noise = self._noise(t, keep) if shares else np.zeros(())
        for share in shares:
            try:
                freed = refined(normal - share * noise, right).reshape(m, p)
            except LinAlgError:
                continue
            if kernel_power(freed, t) < most_power:
                return freed, share
        return refined(normal, right).reshape(m, p), 0.0

    def _noise(self, t: NDArray[np.float64], keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What the noise of the convolved image adds to the normal equations."""
        m, p = t.shape[1], self.right.shape[1]
        root = self.noise[keep].astype(np.float32)
        outer = np.zeros((len(t), p, p), np.float32)
        np.multiply(root[:, :, None], root[:, None, :], out=outer[:, :-1, :-1])
        noise = blocks(t.astype(np.float32), outer.reshape(len(t), p * p))
        noise *= np.tile(np.pad(self.rho, (0, 1)), (m, m))
        return noise

    def planes(self, solved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kernels of a solution, 0 in the corners; shape (m, k, k)."""
        k = 2 * self.radius + 1
        planes = np.zeros((len(solved), k * k))
        planes[:, kernel_support(self.radius)] = solved[:, :-1]
        return planes.reshape(-1, k, k)

    def residual(self, terms: NDArray[np.float64], solved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted square of what a solution leaves in every window."""
        local = terms @ solved
        fitted = np.einsum("np,np->n", np.einsum("npq,nq->np", self.gram, local), local)
        return np.asarray(self.power - 2.0 * (local * self.right).sum(1) + fitted)

    def misfit(self, residual: NDArray[np.float64], keep: NDArray[np.bool_]) -> float:
        """What the model leaves beyond noise, as a share of a star's light: the median of the brighter half."""
        bright = keep & (self.power >= np.median(self.power[keep]))
        beyond = np.maximum(residual - self.expected, 0.0) / np.maximum(self.power, 1e-30)
        return float(np.sqrt(np.median(beyond[bright])))

    def outliers(self, residual: NDArray[np.float64], keep: NDArray[np.bool_], clip: float) -> NDArray[np.bool_]:
        """Windows that fit worse than noise and the usual misfit explain: variables, blends with bad pixels.

        The misfit grows with the flux, so that a bright star is no outlier for showing what all stars have.
        """
        usual = max(self.misfit(residual, keep), 0.005) ** 2 * self.power
        spread = self.expected * np.sqrt(2.0 / np.maximum(self.count, 1.0)) + usual
        return np.asarray(residual - self.expected - usual > clip * spread)


def _grown(stamps: torch.Tensor, radius: int) -> torch.Tensor:
    """Whether a flag lies within `radius` px along both axes; stamps become smaller by that on each side."""
    flags = stamps.bool()
    for axis in (1, 2):
        size = flags.shape[axis] - 2 * radius
        near = flags.narrow(axis, 0, size)
        for step in range(1, 2 * radius + 1):
            near = near | flags.narrow(axis, step, size)
        flags = near
    return flags


def _squared(design: torch.Tensor) -> NDArray[np.floating]:
    """D D^T; on the CPU by the BLAS routine that makes one triangle only, in half the time."""
    if design.device.type != "cpu":
        return np.asarray((design @ design.T).cpu().numpy())
    plane = design.numpy()
    routine = ssyrk if plane.dtype == np.float32 else dsyrk
    # Fortran reads the rows as columns.
    lower = routine(1.0, plane.T, trans=1, lower=1)
    return np.asarray(lower + np.tril(lower, -1).T)


def noise_correlation(image: Image, *, step: int = 32) -> NDArray[np.float64]:
    """Autocorrelation of the noise of empty sky, at lags -3..3 in y and x; shape (7, 7), 1 at the centre.

    Parameters
    ----------
    image : Image
    step : int
        Every so many rows are used.
    """
    size = 2 * _LAG + 1
    unit = np.zeros((size, size))
    unit[_LAG, _LAG] = 1.0
    ny, nx = image.shape
    if min(ny, nx) < 4 * size:
        return unit
    # Each row that is used, and the next few.
    starts = torch.arange(_LAG, ny - _LAG, step, device=image.data.device)
    rows = (starts[:, None] + torch.arange(_LAG + 1, device=starts.device)).reshape(-1)
    pull = image.data[rows] / image.variance[rows].sqrt()
    dark = (pull.abs() < 3.5) & (image.mask[rows] == 0)
    # Sources leave their wings in the sky; empty sky is where the neighbourhood is dark, too.
    level = float(pull[dark].mean()) if bool(dark.any()) else 0.0
    good = as_float(dark, pull.dtype)
    pull = torch.nan_to_num(pull - level).mul_(good).reshape(len(starts), _LAG + 1, nx)
    good = good.reshape(pull.shape)
    columns = slice(_LAG, nx - _LAG)
    here, have = pull[:, 0, columns], good[:, 0, columns]
    found = unit.copy()
    for dy in range(_LAG + 1):
        for dx in range(-_LAG, _LAG + 1):
            if dy == 0 and dx < 0:
                continue
            shifted = slice(_LAG + dx, nx - _LAG + dx)
            pairs = (have * good[:, dy, shifted]).sum()
            value = float((here * pull[:, dy, shifted]).sum() / pairs.clamp(min=1.0))
            found[_LAG + dy, _LAG + dx] = found[_LAG - dy, _LAG - dx] = value
    return found if found[_LAG, _LAG] > 0 else unit


def _kernel_correlation(lags: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Correlation between all pairs of kernel pixels, shape (k^2, k^2)."""
    k = 2 * radius + 1
    y, x = (axis.ravel() for axis in np.mgrid[:k, :k])
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    near = (np.abs(dy) <= _LAG) & (np.abs(dx) <= _LAG)
    return np.where(near, lags[np.clip(dy, -_LAG, _LAG) + _LAG, np.clip(dx, -_LAG, _LAG) + _LAG], 0.0)


def position_terms(
    x: NDArray[np.float64], y: NDArray[np.float64], order: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Polynomial terms in position scaled to -1..1 over the chip, shape (n, m)."""
    u = 2.0 * x / max(shape[1] - 1, 1) - 1.0
    v = 2.0 * y / max(shape[0] - 1, 1) - 1.0
    return np.stack([u**p * v**q for p, q in polynomial_exponents(order)], axis=1)
