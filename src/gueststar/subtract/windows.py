"""Normal equations of the matching kernel, window by window, freed of the noise of the image that is convolved.

Least squares takes the convolved image R as known exactly. Its noise n enters the Gram matrix quadratically: for kernel
pixels a and b it adds the expectation

    sum_p w(p) <n(p + a) n(p + b)> = sqrt(d_a d_b) rho(a - b),    d_a = sum_p w(p) V_R(p + a),

with rho the noise autocorrelation that resampling left. It acts like a Wiener filter: the kernel comes out too soft and
its sum too small, so that bright stars keep a core. As in regression with known errors of the variables (Fuller 1987,
Measurement Error Models, Sec. 2.2), the expectation is subtracted; rho is measured on empty sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from gueststar.planes import as_float, gather_stamps, grow_mask
from gueststar.types import Image, Stars, polynomial_exponents

__all__ = ["Windows", "kernel_prior", "noise_correlation", "position_terms"]

_LAG = 3  # px; beyond it resampled noise is taken as uncorrelated
_SHARES = (0.6, 0.4, 0.2)  # of the expected noise that is subtracted, tried in turn
_RESTLESS = 1.3  # a kernel whose squares sum to more than this times those of the plain fit is refused


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Normal equations of every window; p = k^2 + 1, the last unknown is the background.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Centres, px.
    gram : ndarray, shape (n, p, p)
        Weighted products of the design.
    noise : ndarray, shape (n, k^2)
        sqrt(d_a) of the noise in them.
    rho : ndarray, shape (k^2, k^2)
        Its correlation between kernel pixels.
    right, power : ndarray, shapes (n, p), (n,)
        Products with the target, and its own weighted square.
    expected, count : ndarray, shape (n,)
        Weighted square that the noise alone leaves, and the number of pixels.
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

    @classmethod
    def cut(cls, sharp: Image, target: Image, stars: Stars, radius: int, half: int, model_error: float) -> Windows:
        """Cut windows of half side `half` around stars; those with over 20 % bad pixels are left out.

        Pixels are weighted by the inverse of the geometric mean of their noise and the sky's. Weights by the noise
        alone would be best if the model were perfect; but it is the cores of bright stars that tell a kernel, and noise
        in the image that is convolved matters least there.
        """
        ix, iy = np.round(stars.x).astype(np.int64), np.round(stars.y).astype(np.int64)
        size, full = 2 * half + 1, 2 * (half + radius) + 1
        bad = grow_mask(sharp.mask, min(radius, 3)) | target.mask
        clear = gather_stamps(as_float(bad == 0), ix, iy, size)
        noise = gather_stamps(target.variance + sharp.variance, ix, iy, size)
        goal = gather_stamps(target.data, ix, iy, size)
        keep = (clear.mean((1, 2)) > 0.8).cpu().numpy()
        kept = torch.from_numpy(keep).to(goal.device)
        ix, iy, clear, noise, goal = ix[keep], iy[keep], clear[kept], noise[kept], goal[kept]
        sky = noise.median() if len(ix) else 1.0
        weight = clear / ((noise + (model_error * goal) ** 2) * sky).clamp(min=1e-6).sqrt()
        source = gather_stamps(sharp.data, ix, iy, full)
        k = 2 * radius + 1
        p = k * k + 1
        n = len(ix)
        gram, right = np.empty((n, p, p)), np.empty((n, p))
        spread = gather_stamps(sharp.variance, ix, iy, full)
        noisy = np.empty((n, k * k))
        if n:
            summed = nn.conv2d(spread[None], weight[:, None], groups=n)[0].reshape(n, k * k).flip(1)
            noisy[:] = summed.clamp(min=0.0).sqrt().cpu().numpy()
        rho = _kernel_correlation(noise_correlation(sharp), radius)
        for i in range(n):
            # Column (a, b) of the design is the source shifted so that it meets kernel pixel (a, b).
            shifted = source[i].unfold(0, size, 1).unfold(1, size, 1).reshape(k * k, size * size).flip(0)
            design = torch.cat((shifted, shifted.new_ones(1, size * size)))
            root = weight[i].reshape(-1).sqrt()
            scaled = design * root
            gram[i] = (scaled @ scaled.T).cpu().numpy()
            right[i] = (scaled @ (goal[i].reshape(-1) * root)).cpu().numpy()
        power = (weight * goal**2).sum((1, 2)).double().cpu().numpy()
        expected = (weight * noise).sum((1, 2)).double().cpu().numpy()
        count = (weight > 0).sum((1, 2)).double().cpu().numpy()
        return cls(stars.x[keep], stars.y[keep], gram, noisy, rho, right, power, expected, count)

    def solve(
        self, terms: NDArray[np.float64], keep: NDArray[np.bool_], radius: int, *, free_of_noise: bool = True
    ) -> NDArray[np.float64]:
        """Least squares over the windows kept, freed of the noise or plain; shape (m, k^2 + 1)."""
        t = terms[keep]
        m, p = t.shape[1], self.right.shape[1]
        products = (t[:, :, None] * t[:, None, :]).reshape(len(t), m * m)
        normal = _blocks(products, self.gram[keep].reshape(len(t), p * p), m)
        # The background is free.
        prior = np.full((m, p), 1e-8)
        prior[:, :-1] = kernel_prior(radius, m).reshape(m, p - 1)
        normal[np.diag_indices(m * p)] += prior.ravel()
        right = (t.T @ self.right[keep]).reshape(m * p)
        plain = _refined(normal, right)
        if not free_of_noise:
            return plain.reshape(m, p)
        outer = np.zeros((len(t), p, p), np.float32)
        outer[:, :-1, :-1] = self.noise[keep][:, :, None] * self.noise[keep][:, None, :] * self.rho
        noise = _blocks(products.astype(np.float32), outer.reshape(len(t), p * p), m)
        solved = plain.reshape(m, p)
        # How much may be subtracted depends on how well the windows know the noise: where too much is taken the kernel
        # fits noise, which shows in its power.
        limit = _RESTLESS * _power(solved, t)
        for share in _SHARES:
            try:
                freed = _refined(normal - share * noise, right).reshape(m, p)
            except LinAlgError:
                continue
            if _power(freed, t) < limit:
                return freed
        return solved

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


def kernel_prior(radius: int, m: int) -> NDArray[np.float64]:
    """Inverse variance of a Gaussian prior around 0 for each pixel of m kernel planes, shape (m k^2,)."""
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    width = 0.5 * np.exp(-(xx**2 + yy**2) / (2.0 * (0.5 * radius) ** 2)) + 0.01
    kernel = 1.0 / width.ravel() ** 2
    return np.concatenate([kernel * (1.0 if j == 0 else 10.0) for j in range(m)])


def _blocks(products: NDArray[Any], matrices: NDArray[Any], m: int) -> NDArray[np.float64]:
    """Sum over windows of the Kronecker products t t^T x M, shape (m p, m p)."""
    p = int(np.sqrt(matrices.shape[1]))
    blocks = (products.T @ matrices).reshape(m, m, p, p)
    return np.asarray(blocks.transpose(0, 2, 1, 3).reshape(m * p, m * p), np.float64)


def _refined(normal: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve with one round of iterative refinement: the grams come from float32 products."""
    factor = cho_factor(normal, lower=True)
    solved = cho_solve(factor, right)
    return np.asarray(solved + cho_solve(factor, right - normal @ solved))


def _power(solved: NDArray[np.float64], terms: NDArray[np.float64]) -> float:
    """Mean over the windows of the sum of squares of the kernel: the noise that it passes on."""
    return float(((terms @ solved[:, :-1]) ** 2).sum(1).mean())


def noise_correlation(image: Image, *, step: int = 16) -> NDArray[np.float64]:
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
