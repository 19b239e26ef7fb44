"""Least squares for a kernel of free pixels whose every pixel is a polynomial in chip position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

__all__ = ["blocks", "kernel_power", "kernel_prior", "kernel_support", "refined"]


def kernel_support(radius: int) -> NDArray[np.bool_]:
    """Pixels of a square of side 2 radius + 1 that lie in a disc, which leaves out the corners; shape (k^2,)."""
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(xx**2 + yy**2 <= (radius + 0.5) ** 2).ravel()


def kernel_prior(radius: int, m: int) -> NDArray[np.float64]:
    """Inverse variance of a Gaussian prior around 0 for each pixel of m kernel planes, shape (m k^2,)."""
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    width = 0.5 * np.exp(-(xx**2 + yy**2) / (2.0 * (0.5 * radius) ** 2)) + 0.01
    kernel = 1.0 / width.ravel() ** 2
    return np.concatenate([kernel * (1.0 if j == 0 else 10.0) for j in range(m)])


def blocks(terms: NDArray[Any], matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Sum over windows of the Kronecker products t t^T x M, with t (n, m) and M (n, p p); shape (m p, m p)."""
    m, p = terms.shape[1], int(np.sqrt(matrices.shape[1]))
    rows, columns = np.triu_indices(m)
    summed = ((terms[:, rows] * terms[:, columns]).T @ matrices).reshape(-1, p, p)
    made = np.empty((m, p, m, p))
    for i, j, block in zip(rows.tolist(), columns.tolist(), summed, strict=True):
        # The M are symmetric, so that a block is that on the other side of the diagonal.
        made[i, :, j] = made[j, :, i] = block
    return made.reshape(m * p, m * p)


def refined(normal: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve with one round of iterative refinement: the grams come from float32 products."""
    factor = cho_factor(normal, lower=True)
    solved = cho_solve(factor, right)
    return np.asarray(solved + cho_solve(factor, right - normal @ solved))


def kernel_power(solved: NDArray[np.float64], terms: NDArray[np.float64]) -> float:
    """Mean over the windows of the sum of squares of the kernel: the noise that it passes on."""
    return float(((terms @ solved[:, :-1]) ** 2).sum(1).mean())
