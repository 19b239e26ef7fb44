"""Sky level and sky noise on a mesh (after SExtractor, Bertin & Arnouts 1996, A&AS 117, 393, Sec. 3).

Four things are done otherwise. Sources are masked in several passes, so that a crowd does not lift the sky. Light that
reaches far, of galaxies and of bright stars (:mod:`gueststar.ingest.extended`), is left out as far as it can be
followed, and the sky beneath is interpolated: it would be taken for sky and leave a ring in every difference. Where a
nebula fills the frame, the sky is a smooth surface beneath it. And the mesh is filtered and interpolated around a
smooth surface, so that a slope is kept to the edge of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from gueststar.diffuse import DIFFUSE_SHARE, diffuse_level
from gueststar.errors import PixelError
from gueststar.ingest.extended import BIN, bin_plane, extended_light, within
from gueststar.ingest.mesh import Mesh, clipped_cells
from gueststar.options import Options
from gueststar.planes import box_mean, grow_mask

__all__ = ["Background", "Sky"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ENOUGH = 0.08  # share of a cell that must be sky for its level to be used
_MOST_EXTENDED = 0.5  # of the frame may be left out for extended objects
_TWICE = 2  # passes of the filter
_QUIET = 0.2  # noise of a 5 x 5 mean, in units of that of a pixel


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """What a frame's sky is.

    `level` and `noise` at each pixel, shape (ny, nx), float32; `hidden` where there is light of sources or a bad pixel;
    `extended`, the objects whose light reaches far: x, y, radius (px), shape (n, 3).
    """

    level: F4
    noise: F4
    hidden: Flags
    extended: F8


class Background(Options):
    """Measure sky level and noise; what is light of sources is left out."""

    mesh_px: int = Field(64, ge=16, le=1024, description="Side of a mesh cell, px")
    filter_cells: int = Field(3, ge=1, le=9, description="Median filter over the mesh, cells")
    source_sigma: float = Field(2.0, gt=0, le=10, description="Smoothed pixels above this are sources, sigma")
    extended_sigma: float = Field(
        0.03,
        ge=0,
        le=1,
        description="Galaxies and halos are followed until they are below this, sigma of a pixel; 0: not at all",
    )
    diffuse_share: float = Field(
        DIFFUSE_SHARE,
        ge=0,
        le=1,
        description="Where light of a nebula, above the noise of a pixel, fills more of the frame than this, the sky "
        "is a smooth surface beneath it instead of the mesh; 1: never",
    )

    def __call__(self, data: F4, bad: Flags) -> tuple[F4, F4]:
        """Level and noise alone; see `measure`."""
        sky = self.measure(data, bad)
        return sky.level, sky.noise

    def measure(self, data: F4, bad: Flags) -> Sky:
        """Measure level, noise and extended objects.

        Parameters
        ----------
        data : ndarray, shape (ny, nx), float32
            Finite everywhere.
        bad : ndarray of bool, shape (ny, nx)
            True is bad; left out.

        Returns
        -------
        Sky
            In the unit of `data`.

        Raises
        ------
        PixelError
            When no pixel is good, or the good ones are constant.
        """
        spread = _check(data, bad)
        mesh = Mesh((data.shape[0], data.shape[1]), max(8, min(self.mesh_px, min(data.shape) // 3)))
        pixels = np.where(bad, np.float32(np.inf), data)
        cells = _Cells(*clipped_cells(mesh.split(pixels, np.inf, step=2)), mesh, spread)
        extended, hidden = np.empty((0, 3)), bad
        for last in (False, True):
            level = self._filtered(cells.level, mesh)
            excess = pixels - mesh.surface(level)
            noise = mesh.surface(np.maximum(cells.noise, 0.3 * float(np.median(cells.noise))))
            hidden = self._sources(excess, noise)
            if self.extended_sigma > 0:
                extended, around = self._extended(data, bad, cells, mesh)
                _mark(hidden, around)
            excess[hidden] = np.inf
            # What is left of each cell is measured from the surface: a slope within it would count as noise.
            off, noise_of, count = clipped_cells(mesh.split(excess, np.inf, step=1 if last else 2))
            cells = _Cells(off + level.ravel(), noise_of, count, mesh, spread)
        surface = mesh.surface(self._filtered(cells.level, mesh))
        if self._has_nebula(data - surface, bad, cells.noise):
            # The mesh takes a part of its light for sky, in every exposure another one.
            surface = mesh.surface(_surface(cells.level, cells.known, mesh))
        scatter = mesh.surface(ndimage.median_filter(cells.noise, self.filter_cells, mode="nearest"))
        lowest = np.float32(0.5 * cells.noise.min())
        return Sky(surface, np.maximum(scatter, lowest), hidden | bad, extended)

    def _has_nebula(self, above: F4, bad: Flags, noise: F8) -> bool:
        """Whether light that the mesh cannot follow fills much of the frame; it adds to the noise of its cells."""
        quiet = torch.full(above.shape, float(np.quantile(noise, 0.25)) ** 2)
        above = np.where(bad, np.float32(0.0), above)
        return diffuse_level(torch.from_numpy(above), quiet, share=self.diffuse_share) is not None

    def _filtered(self, level: F8, mesh: Mesh) -> F8:
        """Median filter around a smooth surface, and again on what it left: once alone would flatten what is curved."""
        smooth = _surface(level, np.isfinite(level), mesh)
        for _ in range(_TWICE):
            smooth = smooth + ndimage.median_filter(level - smooth, self.filter_cells, mode="nearest")
        return smooth

    def _sources(self, excess: F4, noise: F4) -> Flags:
        """Where 5 x 5 means stand above the sky, grown by 3 px; infinite is bad."""
        smooth = box_mean(torch.from_numpy(np.where(np.isfinite(excess), excess, np.float32(0.0))), 2)
        lit = smooth > torch.from_numpy(noise) * (2.0 * _QUIET * self.source_sigma)
        return np.asarray(grow_mask(lit.view(torch.uint8), 3).numpy().view(bool))

    def _extended(self, data: F4, bad: Flags, cells: _Cells, mesh: Mesh) -> tuple[F8, Flags]:
        binned = bin_plane(data, bad)
        shape = binned.mean.shape
        # The far sky: surfaces too stiff to follow the object.
        level, noise = (mesh.surface(_surface(one, cells.known, mesh)) for one in (cells.level, cells.noise))
        step = np.s_[BIN // 2 : shape[0] * BIN : BIN, BIN // 2 : shape[1] * BIN : BIN]
        level, noise = level[step], np.maximum(noise[step], np.float32(0.3 * np.median(cells.noise)))
        found = extended_light(binned.mean - level, noise, binned.count, limit=self.extended_sigma)
        return found, within(shape, found, most=_MOST_EXTENDED)


class _Cells:
    """Level and noise of the cells of a mesh, with those filled in that have too little sky; shape (rows, columns)."""

    def __init__(self, level: F8, noise: F8, count: NDArray[np.int64], mesh: Mesh, spread: float) -> None:
        shape = mesh.counts
        level, noise, count = level.reshape(shape), noise.reshape(shape), count.reshape(shape)
        known = np.isfinite(level) & np.isfinite(noise) & (noise > 0)
        enough = known & (count > max(16.0, _ENOUGH * float(count.max())))
        self.known = enough if enough.any() else known
        if not self.known.any():
            # Every cell is constant in itself, or has no good pixel: there is one level and one noise.
            self.level = np.full(shape, float(np.nanmedian(level)))
            self.noise = np.full(shape, spread)
            self.known = np.ones(shape, bool)
            return
        smooth = _surface(np.where(self.known, level, 0.0), self.known, mesh)
        self.level = smooth + _filled(level - smooth, self.known)
        middle = float(np.median(noise[self.known]))
        self.noise = np.maximum(middle + _filled(noise - middle, self.known), 0.1 * middle)


def _filled(cells: F8, known: Flags) -> F8:
    """Unknown cells from the known ones near them: a weighted mean that fades to zero far from all."""
    if known.all():
        return cells
    values = np.where(known, cells, 0.0)
    weight = ndimage.gaussian_filter(known.astype(np.float64), 1.5, mode="constant")
    near = ndimage.gaussian_filter(values, 1.5, mode="constant") / (weight + 1e-3)
    return np.where(known, cells, near)


def _surface(level: F8, known: Flags, mesh: Mesh) -> F8:
    """Quadratic surface through the known cells, leaving out what stands above it: objects, not sky."""
    y, x = (np.broadcast_to(axis, level.shape) for axis in mesh.places())
    terms = np.stack([np.ones(level.shape), x, y, x * x, x * y, y * y], axis=-1)
    m = 6 if known.sum() >= 24 else 3 if known.sum() >= 8 else 1
    use, fitted = known.copy(), np.zeros(level.shape)
    for _ in range(6):
        design, values = terms[use][:, :m], level[use]
        solved = np.linalg.lstsq(design, values, rcond=None)[0]
        fitted = terms[..., :m] @ solved
        off = level - fitted
        middle = float(np.median(off[use]))
        scatter = 1.4826 * float(np.median(np.abs(off[use] - middle)))
        keep = known & (off < middle + 2.5 * scatter) & (off > middle - 4.0 * scatter)
        if keep.sum() < max(2 * m, 0.3 * known.sum()) or (keep == use).all():
            break
        use = keep
    return np.asarray(fitted)


def _mark(hidden: Flags, bins: Flags) -> None:
    """Hide the pixels of bins, in place."""
    rows, columns = bins.shape
    view = hidden[: rows * BIN, : columns * BIN].reshape(rows, BIN, columns, BIN)
    view |= bins[:, None, :, None]


def _check(data: F4, bad: Flags) -> float:
    """Standard deviation of the good pixels; raises when there are none or they are constant."""
    good = data[~bad] if bad.any() else data
    if good.size == 0:
        raise PixelError("no good pixel: all are NaN, masked or saturated; nothing can be measured", n_good=0)
    low, high = float(good.min()), float(good.max())
    if low == high:
        raise PixelError(
            f"all {good.size} good pixels have the value {low:g}: there is no sky noise to measure; "
            "was the frame exposed and written in full?",
            value=low,
        )
    return float(good.std(dtype=np.float64))
