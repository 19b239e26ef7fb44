"""Resample the reference onto the science grid, with variance and mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from gueststar.align.correction import polynomial_terms
from gueststar.align.lanczos import interpolate_tiles
from gueststar.align.noise import NoiseCorrelation, noise_correlation
from gueststar.align.tiles import TileMap, nearest_tiles
from gueststar.planes import all_finite, as_float, grow_mask
from gueststar.spline import MARGIN, coefficients, sample
from gueststar.types import Image, Mask, Psf, Stars, stamp_shape

__all__ = ["Resampled", "position_grid", "resample"]

_STEP = 32  # px between nodes of the coarse grid; between them the map is interpolated bilinearly
_STRIP = 128  # rows resampled at a time
_STAR_PX = 0.1  # a last step of this size leaves far less: each one shrinks by the bend of the map


def position_grid(
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], float]:
    """Evaluate a map on a coarse grid of nodes every 32 px.

    Returns
    -------
    nodes : ndarray, shape (2, rows, columns)
        x and y in the reference at science positions 0, 32, 64 ...
    error_px : float
        Largest difference between the bilinear grid and the map at the centres of the cells.
    """
    rows, columns = (-(-(n - 1) // _STEP) + 1 for n in shape)
    rows, columns = max(rows, 2), max(columns, 2)
    y, x = np.mgrid[:rows, :columns] * float(_STEP)
    nodes = mapping(np.column_stack((x.ravel(), y.ravel()))).T.reshape(2, rows, columns)
    yc, xc = np.mgrid[: rows - 1, : columns - 1] * float(_STEP) + _STEP / 2.0
    centre = mapping(np.column_stack((xc.ravel(), yc.ravel()))).T.reshape(2, rows - 1, columns - 1)
    middle = 0.25 * (nodes[:, 1:, 1:] + nodes[:, :-1, 1:] + nodes[:, 1:, :-1] + nodes[:, :-1, :-1])
    return nodes, float(np.nanmax(np.abs(middle - centre)))


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """The reference on the science grid.

    Parameters
    ----------
    image : Image
    grid_error_px : float
        Largest error of the positions between the nodes of the coarse grid; tiles have none.
    noise : NoiseCorrelation
        Of neighbouring pixels on blank sky.
    """

    image: Image
    grid_error_px: float
    noise: NoiseCorrelation


def resample(
    reference: Image, mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]], science: Image
) -> Resampled:
    """Bring the reference onto the science grid.

    The data are interpolated, by Lanczos weights on tiles where the map is nearly a shift and by cubic B-spline
    elsewhere, and multiplied by the area of a science pixel in reference pixels, so
    that fluxes stay. Where reference pixels are the smaller ones, each science pixel averages over several points. The
    variance is that which a matched filter sees, not that of one pixel: interpolation correlates the noise of
    neighbours, but the sum over a patch of sky keeps the variance of the reference pixels that cover it, so it is
    interpolated and multiplied by the same area. Flags reach every pixel that a flagged one feeds.

    Parameters
    ----------
    reference, science : Image
    mapping : callable
        Science to reference pixels, (n, 2) -> (n, 2).

    Returns
    -------
    Resampled
        The reference on the science grid, the error of the coarse grid, and how the noise of neighbours goes together.
    """
    nodes, error = position_grid(mapping, science.shape)
    matrix = _jacobian(nodes)
    tiles = TileMap.of(_continued(mapping, science.shape), science.shape)
    data, variance, mask = _by_points(reference, nodes, science.shape) if tiles is None else _by_tiles(reference, tiles)
    if not all_finite(data):
        data = torch.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    data.mul_(as_float(~(mask & int(Mask.NO_DATA)).bool(), data.dtype))
    if not all_finite(variance) or float(variance.min()) <= 0:
        good = torch.isfinite(variance) & (variance > 0)
        variance = torch.where(good, variance, reference.variance[::7, ::7].median())
    aligned = replace(
        reference,
        data=data,
        variance=variance,
        mask=mask,
        wcs=science.wcs,
        psf=_move_psf(reference.psf, mapping, matrix, science.shape) if reference.psf is not None else None,
        stars=_move_stars(reference.stars, mapping, matrix, science.shape) if reference.stars is not None else None,
    )
    kernel: Literal["lanczos", "spline"] = "spline" if tiles is None else "lanczos"
    times = 1 if tiles is not None else _times(float(np.median(_area(nodes))))
    return Resampled(aligned, error, noise_correlation(mapping, science.shape, matrix, kernel=kernel, times=times))


def _continued(
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]], shape: tuple[int, int]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The map, continued straight beyond the image: the last tiles reach there, where polynomials run away."""
    last = np.array([shape[1] - 1.0, shape[0] - 1.0])

    def mapped(points: NDArray[np.float64]) -> NDArray[np.float64]:
        near = np.clip(points, 0.0, last)
        edge = mapping(near)
        there = edge.copy()
        for axis in (0, 1):
            beyond = points[:, axis] - near[:, axis]
            out = np.flatnonzero(beyond)
            inward = near[out]
            step = np.minimum(_STEP, last[axis]) * np.sign(beyond[out])
            inward[:, axis] -= step
            there[out] += (edge[out] - mapping(inward)) * (beyond[out] / step)[:, None]
        return there

    return mapped


def _by_tiles(reference: Image, tiles: TileMap) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, variance and mask where the map is nearly a shift: the variance, which is smooth, from nearest pixels."""
    data = interpolate_tiles(reference.data, tiles)
    (variance, flags), outside = nearest_tiles((reference.variance, grow_mask(reference.mask, 1)), tiles)
    scale = float(tiles.area.mean())
    return data, variance.mul_(scale), flags.bitwise_or_(outside.view(torch.uint8).to(flags.dtype) * int(Mask.NO_DATA))


def _by_points(
    reference: Image, nodes: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, variance and mask for any map, point by point: cubic B-spline, averaged where pixels grow."""
    dtype = reference.data.dtype
    grid = torch.as_tensor(nodes, dtype=dtype, device=reference.data.device)
    matrix, area = _jacobian(nodes), _area(nodes)
    areas = torch.as_tensor(area, dtype=dtype, device=grid.device)
    times = _times(float(np.median(area)))
    spline = coefficients(reference.data, margin=MARGIN)
    flags = grow_mask(reference.mask, 1)
    ny, nx = shape
    data, variance = reference.data.new_empty(shape), reference.data.new_empty(shape)
    mask = reference.mask.new_empty(shape)
    for start in range(0, ny, _STRIP):
        rows = slice(start, min(start + _STRIP, ny))
        x, y = _positions(grid, rows, nx)
        scale = _positions(areas[None].expand(2, -1, -1), rows, nx)[0]
        data[rows] = _mean_of_points(spline, x, y, times, matrix) * scale
        look = _lookup(x, y, reference.shape)
        noise = nn.grid_sample(reference.variance[None, None], look, "bilinear", "border", align_corners=True)[0, 0]
        variance[rows] = noise * scale
        nearest = nn.grid_sample(flags.to(dtype)[None, None], look, "nearest", "border", align_corners=True)[0, 0]
        my, mx = reference.shape
        outside = (x < 0) | (y < 0) | (x > mx - 1) | (y > my - 1) | ~torch.isfinite(x + y)
        mask[rows] = nearest.to(torch.int16) | outside.to(torch.int16) * int(Mask.NO_DATA)
    return data, variance, mask


def _positions(nodes: torch.Tensor, rows: slice, nx: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bilinear interpolation of the two node planes at every pixel of some rows."""
    y = torch.arange(rows.start, rows.stop, device=nodes.device, dtype=nodes.dtype) / _STEP
    x = torch.arange(nx, device=nodes.device, dtype=nodes.dtype) / _STEP
    iy = y.floor().long().clamp(0, nodes.shape[1] - 2)
    ix = x.floor().long().clamp(0, nodes.shape[2] - 2)
    fy, fx = (y - iy)[None, :, None], (x - ix)[None, None, :]
    rows_done = torch.lerp(nodes[:, iy], nodes[:, iy + 1], fy)
    done = torch.lerp(rows_done[:, :, ix], rows_done[:, :, ix + 1], fx)
    return done[0], done[1]


def _mean_of_points(
    spline: torch.Tensor, x: torch.Tensor, y: torch.Tensor, times: int, jacobian: NDArray[np.float64]
) -> torch.Tensor:
    """The spline at the pixel centres, or averaged over times x times points in each pixel."""
    if times == 1:
        return sample(spline, x, y)
    (dxx, dxy), (dyx, dyy) = jacobian
    total = torch.zeros_like(x)
    offsets = (torch.arange(times, device=x.device, dtype=x.dtype) + 0.5) / times - 0.5
    for oy in offsets:
        for ox in offsets:
            total += sample(spline, x + ox * dxx + oy * dxy, y + ox * dyx + oy * dyy)
    return total / times**2


def _times(area: float) -> int:
    """Points per axis over which a pixel of so many reference pixels is averaged."""
    return int(np.clip(np.ceil(np.sqrt(area) - 0.2), 1, 4))


def _lookup(x: torch.Tensor, y: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Positions as `grid_sample` wants them."""
    return torch.stack((x * (2.0 / max(shape[1] - 1, 1)) - 1.0, y * (2.0 / max(shape[0] - 1, 1)) - 1.0), -1)[None]


def _area(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of one science pixel in reference pixels, at each node."""
    dxy, dxx = np.gradient(nodes[0], _STEP)
    dyy, dyx = np.gradient(nodes[1], _STEP)
    return np.asarray(np.abs(dxx * dyy - dxy * dyx))


def _jacobian(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean matrix d(reference) / d(science), [[dx/dx, dx/dy], [dy/dx, dy/dy]]."""
    dxy, dxx = np.gradient(nodes[0], _STEP)
    dyy, dyx = np.gradient(nodes[1], _STEP)
    return np.array([[np.nanmean(dxx), np.nanmean(dxy)], [np.nanmean(dyx), np.nanmean(dyy)]])


def _move_psf(
    psf: Psf,
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    jacobian: NDArray[np.float64],
    extent: tuple[int, int],
) -> Psf:
    """The reference's PSF seen on the science grid, with its variation over the chip.

    The stamps are turned and scaled alike everywhere; the polynomial in reference position becomes the one in science
    position of the same order that is nearest to it.
    """
    scale = float(np.sqrt(abs(np.linalg.det(jacobian))))
    half = int(np.clip(np.ceil(psf.size // 2 / scale), 5, 40))
    yy, xx = torch.meshgrid(*(torch.arange(-half, half + 1, dtype=psf.planes.dtype),) * 2, indexing="ij")
    xx, yy = xx.to(psf.planes.device), yy.to(psf.planes.device)
    centre = psf.size // 2
    px = jacobian[0, 0] * xx + jacobian[0, 1] * yy + centre
    py = jacobian[1, 0] * xx + jacobian[1, 1] * yy + centre
    inside = (px >= 0) & (py >= 0) & (px <= psf.size - 1) & (py <= psf.size - 1)
    splines = coefficients(psf.planes, margin=MARGIN)
    times = _times(scale**2)
    moved = torch.stack([_mean_of_points(spline, px, py, times, jacobian) for spline in splines]) * inside
    change = torch.as_tensor(_new_terms(psf, mapping, extent), dtype=moved.dtype, device=moved.device)
    planes = torch.einsum("ij,jkl->ikl", change, moved)
    planes = planes / planes[0].sum()
    planes[1:] -= planes[1:].sum((1, 2), keepdim=True) * planes[:1]
    fwhm, ellipticity = stamp_shape(planes[0].double().cpu().numpy())
    return Psf(planes, fwhm, ellipticity, psf.order, extent)


def _new_terms(
    psf: Psf, mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]], extent: tuple[int, int]
) -> NDArray[np.float64]:
    """Matrix (m, m) that turns planes of the reference's polynomial into planes of the science grid's."""
    if psf.order == 0:
        return np.ones((1, 1))
    y, x = np.meshgrid(*(np.linspace(0, n - 1, 2 * psf.order + 3) for n in extent), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    ny, nx = psf.extent
    there = mapping(points)
    # Beyond the reference there are no data, and its polynomial is nowhere known.
    seen = ((there >= 0) & (there <= (nx - 1, ny - 1))).all(1)
    if seen.sum() < len(psf.exponents) + 3:
        seen = np.isfinite(there).all(1)
        there = np.clip(there, 0, (nx - 1, ny - 1))
    old = polynomial_terms(there[seen], psf.order, psf.extent)
    new = polynomial_terms(points[seen], psf.order, extent)
    # The least of many solutions where only a corner is seen.
    return np.asarray(np.linalg.lstsq(new, old, rcond=1e-3)[0])


def _move_stars(
    stars: Stars,
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    jacobian: NDArray[np.float64],
    shape: tuple[int, int],
) -> Stars:
    """Stars at their science positions, by inverting the map with a few fixed-point steps."""
    target = np.column_stack((stars.x, stars.y))
    inverse = np.linalg.inv(jacobian)
    centre = np.array([[shape[1] / 2.0, shape[0] / 2.0]])
    points = (target - mapping(centre)) @ inverse.T + centre
    for _ in range(4):
        step = (mapping(points) - target) @ inverse.T
        points = points - step
        if not np.abs(step).max(initial=0.0) > _STAR_PX:
            break
    good = np.isfinite(points).all(1) & (points > -0.5).all(1)
    good &= (points[:, 0] < shape[1] - 0.5) & (points[:, 1] < shape[0] - 0.5)
    scale = float(np.sqrt(abs(np.linalg.det(jacobian))))
    kept = stars[good]
    return replace(
        kept, x=points[good, 0], y=points[good, 1], fwhm=kept.fwhm / scale, aperture_px=stars.aperture_px / scale
    )
