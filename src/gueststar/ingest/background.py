"""Sky level and sky noise on a mesh (the method of SExtractor, Bertin & Arnouts 1996, A&AS 117, 393, Sec. 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import uniform_filter

from gueststar.errors import PixelError
from gueststar.options import Options

__all__ = ["Background"]


class Background(Options):
    """Measure sky level and noise; sources found in a first pass are left out of the second."""

    mesh_px: int = Field(64, ge=16, le=1024, description="Side of a mesh cell, px")
    filter_cells: int = Field(3, ge=1, le=9, description="Median filter over the mesh, cells")
    source_sigma: float = Field(2.0, gt=0, le=10, description="Smoothed pixels above this are sources, sigma")

    def __call__(
        self, data: NDArray[np.float32], bad: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Measure level and noise.

        Parameters
        ----------
        data : ndarray, shape (ny, nx), float32
            Finite everywhere.
        bad : ndarray of bool, shape (ny, nx)
            True is bad; left out.

        Returns
        -------
        level, noise : ndarray, shape (ny, nx), float32
            In the unit of `data`.

        Raises
        ------
        PixelError
            When no pixel is good, or the good ones are constant.
        """
        good = data[~bad]
        if good.size == 0:
            raise PixelError("no good pixel: all are NaN, masked or saturated; nothing can be measured", n_good=0)
        if float(good.min()) == float(good.max()):
            value = float(good[0])
            raise PixelError(
                f"all {good.size} good pixels have the value {value:g}: there is no sky noise to measure; "
                "was the frame exposed and written in full?",
                value=value,
            )
        mesh = max(8, min(self.mesh_px, min(data.shape) // 3))
        size = {"bw": mesh, "bh": mesh, "fw": self.filter_cells, "fh": self.filter_cells}
        pixels = np.ascontiguousarray(data)
        first = sep.Background(pixels, mask=bad, **size)
        smooth = uniform_filter(np.where(bad, 0, pixels - first.back()), 5)
        sources = uniform_filter((smooth > self.source_sigma * first.rms() * 0.4).astype(np.float32), 7) > 0
        sky = _share_of_sky(sources | bad, mesh) > 0.55
        second = sep.Background(pixels, mask=bad | (sources & _spread(sky, mesh, data.shape)), **size)
        noise = _noise_in_crowds(second.rms(), pixels, bad, sky, mesh)
        if not np.isfinite(noise).all() or not (noise > 0).all():
            fallback = float(np.median(noise[noise > 0])) if (noise > 0).any() else float(good.std())
            noise = np.where(np.isfinite(noise) & (noise > 0), noise, fallback)
        return second.back().astype(np.float32), noise.astype(np.float32)


def _share_of_sky(hidden: NDArray[np.bool_], mesh: int) -> NDArray[np.float64]:
    """Share of pixels that are not hidden in each mesh cell. SEP drops cells with less than half; a crowd hides all."""
    rows, columns = np.arange(0, hidden.shape[0], mesh), np.arange(0, hidden.shape[1], mesh)
    free = np.add.reduceat(np.add.reduceat((~hidden).astype(np.int32), rows, axis=0), columns, axis=1)
    full = np.outer(np.diff(rows, append=hidden.shape[0]), np.diff(columns, append=hidden.shape[1]))
    return np.asarray(free / full)


def _spread(cells: NDArray[Any], mesh: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Every cell's value at each of its pixels."""
    return np.repeat(np.repeat(cells, mesh, axis=0), mesh, axis=1)[: shape[0], : shape[1]]


def _noise_in_crowds(
    noise: NDArray[np.float32], pixels: NDArray[np.float32], bad: NDArray[np.bool_], sky: NDArray[np.bool_], mesh: int
) -> NDArray[np.float32]:
    """Replace the noise of cells in which sources hide the sky, where their light is taken for noise.

    There it comes from the second differences along rows, (x[j-1] - 2 x[j] + x[j+1]) / sqrt(6), whose median absolute
    value stars change little, times what the noise is in units of these where the sky is seen.
    """
    if sky.all():
        return noise
    steps = np.zeros(pixels.shape, np.float32)
    steps[:, 1:-1] = (pixels[:, :-2] - 2.0 * pixels[:, 1:-1] + pixels[:, 2:]) / np.sqrt(6.0)
    fine, here = np.full(sky.shape, np.nan), np.empty(sky.shape)
    for i in range(sky.shape[0]):
        for j in range(sky.shape[1]):
            cell = (slice(i * mesh, (i + 1) * mesh), slice(j * mesh, (j + 1) * mesh))
            here[i, j] = np.median(noise[cell])
            good = steps[cell][~bad[cell]]
            if good.size > 50:
                fine[i, j] = 1.4826 * np.median(np.abs(good))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (here / fine)[sky & np.isfinite(fine) & (fine > 0)]
    ratio = float(np.median(ratios)) if ratios.size else 1.0
    better = np.where(sky | ~np.isfinite(fine) | (fine <= 0), here, np.minimum(here, ratio * fine))
    factor = np.where(here > 0, better / np.maximum(here, 1e-30), 1.0)
    return np.asarray(noise * _spread(factor, mesh, pixels.shape), np.float32)
