"""Sky level and sky noise on a mesh (the method of SExtractor, Bertin & Arnouts 1996, A&AS 117, 393, Sec. 3)."""

from __future__ import annotations

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
        second = sep.Background(pixels, mask=bad | _where_sky_is_left(sources, bad, mesh), **size)
        noise = second.rms()
        if not np.isfinite(noise).all() or not (noise > 0).all():
            fallback = float(np.median(noise[noise > 0])) if (noise > 0).any() else float(good.std())
            noise = np.where(np.isfinite(noise) & (noise > 0), noise, fallback)
        return second.back().astype(np.float32), noise.astype(np.float32)


def _where_sky_is_left(sources: NDArray[np.bool_], bad: NDArray[np.bool_], mesh: int) -> NDArray[np.bool_]:
    """The source mask, lifted in mesh cells of which it would leave little: SEP drops those under half."""
    rows, columns = np.arange(0, sources.shape[0], mesh), np.arange(0, sources.shape[1], mesh)
    free = np.add.reduceat(np.add.reduceat((~(sources | bad)).astype(np.int32), rows, axis=0), columns, axis=1)
    full = np.outer(np.diff(rows, append=sources.shape[0]), np.diff(columns, append=sources.shape[1]))
    keep = np.repeat(np.repeat(free > 0.55 * full, mesh, axis=0), mesh, axis=1)
    return np.asarray(sources & keep[: sources.shape[0], : sources.shape[1]])
