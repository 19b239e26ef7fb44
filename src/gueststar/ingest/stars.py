"""Sources of one image: where they are, how bright, how wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import sep
import torch
from numpy.typing import NDArray
from pydantic import Field

from gueststar.diffuse import diffuse_level
from gueststar.options import Options
from gueststar.types import Mask, Stars

_CROWDED = 0.5  # share of the frame within two widths of a source from which isophotes overlap
_CONTRAST = 0.005  # of the light of an isophote; what has less is not a source of its own
_CONTRAST_IN_CROWDS = 0.0005
_LIT = 0.2  # share of the pixels above the threshold from which isophotes join up over the frame
_FIRST_MESH = 24  # px, before the width of a star is known
_ALIKE = 0.15  # meshes that differ by less are not tried both
_LEVEL_FWHM = 5.5  # mesh of the level that is taken off then
_FEW = 20  # of the most significant sources tell the width of a star, or a fifth of all
_KNOT = 2.2  # widths; what is wider is no star
_CONFUSION = 0.5  # share of the scatter about that level that is noise; without it islands join up here and there

__all__ = ["FindStars", "select_point_sources", "typical_fwhm"]


class FindStars(Options):
    """Find sources with SEP (Barbary 2016, JOSS 1, 58), centre them by windowed moments, take half-light widths."""

    threshold_sigma: float = Field(4.0, ge=1.5, le=100, description="Detection threshold per pixel, sigma")
    minimum_area_px: int = Field(5, ge=1, le=100, description="Pixels above the threshold")
    n_centred: int = Field(
        1500, ge=10, description="How many of the brightest get windowed positions and half-light widths"
    )
    n_most: int = Field(40000, ge=100, description="Keep at most this many, brightest first")

    def __call__(self, data: NDArray[np.float32], variance: NDArray[np.float32], mask: NDArray[np.int16]) -> Stars:
        """Find sources; all arrays have shape (ny, nx); `mask` holds bits of `Mask`. Empty when there are none."""
        noise = np.sqrt(variance)
        lit = (data > self.threshold_sigma * noise).mean() > _LIT
        if lit or diffuse_level(torch.from_numpy(data), torch.from_numpy(variance)) is not None:
            data, noise, found = self._above_neighbours(data, noise, mask)
        else:
            found = self._extract(data, noise, _CONTRAST)
            found = found[np.argsort(-found["flux"], kind="stable")]
        found = found[: self.n_most]
        if len(found) == 0:
            return Stars.empty()
        fwhm = 2.3548 * np.sqrt(np.maximum(0.5 * (found["a"] ** 2 + found["b"] ** 2), 0.01))
        x, y = found["x"].copy(), found["y"].copy()
        spikes = _are_spikes(data, found["xpeak"], found["ypeak"])
        broad = np.flatnonzero(~spikes)[: self.n_centred]
        width = typical_fwhm(fwhm[broad])
        if len(found) * np.pi * (2.0 * width) ** 2 > _CROWDED * data.size:
            # Isophotes of blends are wide; what a source holds in units of its peak is closer to the PSF in a crowd.
            width = min(width, typical_fwhm(_concentration(found)[broad]))
        n = min(self.n_centred, len(found))
        wx, wy, flag = sep.winpos(data, x[:n], y[:n], np.full(n, max(width, 2.5) / 2.3548))
        ok = (np.hypot(wx - x[:n], wy - y[:n]) < 1.5) & (flag & sep.APER_TRUNC == 0)
        x[:n][ok], y[:n][ok] = wx[ok], wy[ok]
        # Isophotal moments grow with flux; the half-light radius does not, so the brightest get their width from it.
        half_light, flag = sep.flux_radius(data, x[:n], y[:n], np.full(n, 2.5 * width), 0.5)
        fwhm[:n] = np.where((flag & sep.APER_TRUNC == 0) & (half_light > 0.3), 2.0 * half_light, fwhm[:n])
        aperture = 1.2 * width
        flux, flux_err, _ = sep.sum_circle(data, x, y, aperture, err=noise)
        return Stars(
            x=x,
            y=y,
            flux=np.asarray(flux, np.float64),
            snr=np.asarray(flux / np.maximum(flux_err, 1e-9), np.float64),
            fwhm=fwhm,
            elongation=np.asarray(found["a"] / np.maximum(found["b"], 1e-3), np.float64),
            peak=np.asarray(found["peak"], np.float64),
            flags=_flags_near(mask, x, y, max(1, round(0.7 * width))) | spikes * int(Mask.COSMIC_RAY),
            aperture_px=aperture,
        )

    def _above_neighbours(
        self, data: NDArray[np.float32], noise: NDArray[np.float32], mask: NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]:
        """What rises above the light of a crowd, a galaxy or a nebula, level over a few widths of a star; noise; stars.

        Where wings overlap above the threshold, one isophote holds many stars, and a star is told apart in it only if
        it has half a percent of all that light: the more stars there are, the fewer are found. What stands out most at
        its peak are stars, whatever shines around them; the knots of a nebula are wider and are left out.
        """
        mesh = _FIRST_MESH
        for last in (False, True):
            rest, scatter = _above_level(data, noise, mesh)
            found = self._extract(rest, scatter, _CONTRAST_IN_CROWDS)
            significance = found["peak"] / scatter[found["ypeak"], found["xpeak"]]
            found = found[np.argsort(-significance, kind="stable")]
            concentration = _concentration(found)
            sharp = ~_are_spikes(rest, found["xpeak"], found["ypeak"])
            width = typical_fwhm(concentration[sharp][: max(_FEW, int(sharp.sum()) // 5)])
            wanted = int(np.clip(_LEVEL_FWHM * width, 12, 64))
            if last or abs(wanted - mesh) < _ALIKE * mesh:
                break
            mesh = wanted
        full = mask[found["ypeak"], found["xpeak"]] & int(Mask.SATURATED) != 0
        return rest, scatter, found[(concentration < _KNOT * width) | full]

    def _extract(self, data: NDArray[np.float32], noise: NDArray[np.float32], contrast: float) -> NDArray[Any]:
        options = {"err": noise, "minarea": self.minimum_area_px, "deblend_nthresh": 16}
        sep.set_extract_pixstack(max(1_000_000, data.size))
        sep.set_sub_object_limit(65_536)
        try:
            found = sep.extract(data, self.threshold_sigma, deblend_cont=contrast, **options)
        except Exception as error:
            if "deblending overflow" not in str(error):
                raise
            found = sep.extract(data, self.threshold_sigma, deblend_cont=1.0, **options)
        return np.asarray(found)


def _concentration(found: NDArray[Any]) -> NDArray[np.float64]:
    """Width of sources by what they hold in units of their peak: FWHM of a Gaussian with both, px."""
    return np.asarray(np.sqrt(0.8825 * np.maximum(found["flux"], 0.0) / np.maximum(found["peak"], 1e-9)))


def _above_level(
    data: NDArray[np.float32], noise: NDArray[np.float32], mesh: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What rises above the level of cells of `mesh` px, and its noise with half of the scatter in them."""
    level = sep.Background(data, bw=mesh, bh=mesh)
    return data - level.back(), np.hypot(noise, np.float32(_CONFUSION) * level.rms())


def _are_spikes(data: NDArray[np.float32], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether sources are sharper at their peak pixel than optics can be: hot pixels, rays, tracks.

    Known before any PSF is, and needed for it: on a raw frame far from the Milky Way they outnumber the stars. A star
    of FWHM 1.5 px has at most 0.4 of its 3 x 3 in the central pixel, and 0.3 of the peak in the pixels beside it.
    """
    ny, nx = data.shape
    x, y = np.clip(x, 1, nx - 2), np.clip(y, 1, ny - 2)
    near = np.stack([data[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    peak = np.maximum(near[4], 1e-9)
    alone = peak > 0.6 * near.sum(0)
    beside = np.minimum(np.maximum(near[3], near[5]), np.maximum(near[1], near[7]))
    return np.asarray(alone | (beside < 0.15 * peak))


def _flags_near(
    mask: NDArray[np.int16], x: NDArray[np.float64], y: NDArray[np.float64], radius: int
) -> NDArray[np.int64]:
    """All mask bits within a square of half side `radius` around each position."""
    flags = np.zeros(x.size, np.int64)
    ny, nx = mask.shape
    ix, iy = np.round(x).astype(int), np.round(y).astype(int)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            flags |= mask[np.clip(iy + dy, 0, ny - 1), np.clip(ix + dx, 0, nx - 1)]
    return flags


def typical_fwhm(fwhm: NDArray[np.float64]) -> float:
    """Most common width: the half-sample mode of log width (Robertson & Cryer 1974), px."""
    values = np.sort(np.log(fwhm[np.isfinite(fwhm) & (fwhm > 0)]))
    if values.size == 0:
        return 3.0
    while values.size > 3:
        n = (values.size + 1) // 2
        widths = values[n - 1 :] - values[: values.size - n + 1]
        start = int(np.argmin(widths))
        values = values[start : start + n]
    return float(np.exp(values.mean()))


def select_point_sources(stars: Stars, *, minimum_snr: float = 20.0, n_most: int = 250) -> NDArray[np.int64]:
    """Indices of unflagged, isolated sources of the most common width, brightest first."""
    usable = (stars.flags == 0) & (stars.snr > minimum_snr)
    if not usable.any():
        return np.empty(0, np.int64)
    width = typical_fwhm(stars.fwhm[usable][:400])
    round_ = stars.elongation < max(1.3, 1.25 * float(np.median(stars.elongation[usable])))
    alike = usable & round_ & (np.abs(np.log(stars.fwhm / width)) < 0.2)
    index = np.flatnonzero(alike)
    if index.size < 8:  # few sources: better a mixed bag than nothing
        index = np.flatnonzero(usable & (np.abs(np.log(stars.fwhm / width)) < 0.4))
    return index[_isolated(stars, index, 4.0 * width)][:n_most]


def _isolated(stars: Stars, index: NDArray[np.int64], radius: float) -> NDArray[np.bool_]:
    """Whether no neighbour with over 5 % of the flux lies within `radius`; waived when few would be left."""
    from scipy.spatial import cKDTree

    points = np.column_stack((stars.x, stars.y))
    near = cKDTree(points).query_ball_point(points[index], radius)
    alone = np.array(
        [
            all(j == i or stars.flux[j] < 0.05 * stars.flux[i] for j in group)
            for i, group in zip(index, near, strict=True)
        ],
        dtype=bool,
    )
    return alone if alone.sum() >= 12 else np.ones(index.size, bool)
