"""What bright stars add beyond the core of the point-spread function: far wings, aureole, spikes and ghosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.optics.painter import PsfField, add_stamps, moffat_pixels, moffat_radius

__all__ = ["Halo", "aureole_pixels", "ghost_pixels", "ghost_places", "paint_bright", "spike_pixels"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

_BAND = 30_000  # pixels done at once
_SMALL = (8, 12, 20, 32)  # half widths of stamps for halos that are many
_PAD = 2 * _SMALL[-1] + 2
_REACH = 500  # px to which an aureole is followed
# Reflections of the optics are the same for all stars: radius (px), share of the light, offset (px) towards the field
# centre per degree from it, share of the radius that the camera blocks.
_GHOSTS = ((35.0, 4e-5, 30.0, 0.35), (90.0, 1e-4, -45.0, 0.4), (240.0, 1e-4, 80.0, 0.3))


@dataclass(frozen=True, slots=True)
class Halo:
    """Light around a star in one exposure.

    Parameters
    ----------
    share : float
        Part of the star's light in the aureole, within 500 px.
    slope : float
        Its brightness falls as r to the minus `slope`.
    spikes : float
        Part of the light in the four spikes.
    angle_rad : float
        Position angle of the first spike.
    ghosts : float
        Factor on the brightness of the ghosts.
    toward_centre : (float, float)
        Unit vector from the chip to the field centre times the distance in degrees: x, y.
    """

    share: float
    slope: float
    spikes: float
    angle_rad: float
    ghosts: float
    toward_centre: tuple[float, float]


def aureole_pixels(radius2: F4, *, slope: float, core: float) -> F4:
    """Aureole of total flux 1 within 500 px: (r^2 + core^2)^(-slope / 2), tapered to zero at the edge.

    The form follows King (1971, PASP 83, 199); the slope of real telescopes is 2 to 3.
    """
    taper = np.maximum(np.float32(1.0) - radius2 / np.float32(_REACH**2), np.float32(0.0))
    values: F4 = np.exp(np.float32(-slope / 2) * np.log(radius2 + np.float32(core**2)))
    values *= taper * taper * np.float32(1.0 / _aureole_total(slope, core))
    return values


@lru_cache(maxsize=64)
def _aureole_total(slope: float, core: float) -> float:
    r = np.linspace(0.0, _REACH, 4001)
    radial = 2.0 * np.pi * r * (r**2 + core**2) ** (-slope / 2) * (1.0 - r**2 / float(_REACH) ** 2) ** 2
    return float(np.trapezoid(radial, r))


def spike_pixels(dx: F4, dy: F4, *, angle_rad: float, width: float, smear_px2: tuple[float, float] = (0.0, 0.0)) -> F4:
    """Four spikes of total flux about 1 along two crossed lines, widening slowly and fading as r^-1.7.

    `width` is their FWHM; `smear_px2` is the variance added across the first and the second line.
    """
    c, s = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    along, across = c * dx + s * dy, c * dy - s * dx
    total = np.zeros(np.broadcast_shapes(dx.shape, dy.shape), np.float32)
    for (u, v), smear in zip(((along, across), (across, along)), smear_px2, strict=True):
        sigma = np.float32(np.sqrt((width / 2.355) ** 2 + smear))
        inverse = np.float32(1.0) / (sigma + np.float32(0.003) * np.abs(u))
        away = v * inverse
        exponent = np.float32(-0.85) * np.log(u * u + np.float32(64.0)) - np.float32(0.5) * away * away
        total += inverse * np.exp(exponent, out=exponent)
    total *= np.float32(1.0 / _spike_total())
    return total


@lru_cache(maxsize=1)
def _spike_total() -> float:
    r = np.linspace(0.0, _REACH, 2001)
    return float(4.0 * np.sqrt(2.0 * np.pi) * np.trapezoid((r**2 + 64.0) ** -0.85, r))


def ghost_pixels(dx: F4, dy: F4, *, radius: float, hole: float) -> F4:
    """Out-of-focus reflection of total flux 1: a disc with the shadow of the camera in it and soft rims."""
    r = np.sqrt(dx * dx + dy * dy)
    soft = np.float32(max(2.0, 0.03 * radius))
    disc = 1.0 / (1.0 + np.exp(np.clip((r - radius) / soft, -30, 30)))
    shadow = 1.0 / (1.0 + np.exp(np.clip((r - hole * radius) / soft, -30, 30)))
    values: F4 = ((disc - shadow) / (np.pi * radius**2 * (1.0 - hole**2))).astype(np.float32)
    return values


def paint_bright(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike, flux: ArrayLike, psf: PsfField, *, halo: Halo, cut: float
) -> F4:
    """Draw what bright stars add outside the stamps that `paint_points` draws.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    x, y, flux : array_like, shape (n,)
        Positions (px) and fluxes of all stars; those whose halo stays below `cut` are left out.
    psf : PsfField
        Point-spread function; its wings go on beyond its tabulated stamp. Trailing and defocus smear all but ghosts.
    halo : Halo
        Aureole, spikes and ghosts of this exposure.
    cut : float
        Light below this per pixel (unit of the flux) is not followed.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    plane = np.zeros(shape, np.float32)
    xs, ys, fluxes = (np.atleast_1d(np.asarray(a, np.float64)) for a in (x, y, flux))
    width, smear = float(psf.fwhm.mean()), psf.smear
    halos = np.minimum(_halo_reach(fluxes, halo, width, cut) + smear, _REACH)
    wings = np.minimum(moffat_radius(fluxes, cut=cut, fwhm=width, beta=psf.beta) + smear, _REACH)
    lit = (halos > 2.0 * width + smear) & (halos > smear)
    small = lit & (halos <= _SMALL[-1])
    plane += _small_halos(shape, xs[small], ys[small], fluxes[small], radius=halos[small], psf=psf, halo=halo)
    for i in np.flatnonzero(lit & ~small):
        for box, dx, dy in _bands(shape, xs[i], ys[i], halos[i]):
            plane[box] += np.float32(fluxes[i]) * _halo_light(dx, dy, radius=np.float32(halos[i]), psf=psf, halo=halo)
    for i in np.flatnonzero(wings > psf.half):
        _add_wings(plane, xs[i], ys[i], fluxes[i], radius=wings[i], psf=psf)
    for i in np.flatnonzero(lit):
        _add_ghosts(plane, x=xs[i], y=ys[i], flux=fluxes[i], halo=halo, cut=cut)
    return plane


def _halo_reach(flux: F8, halo: Halo, width: float, cut: float) -> F8:
    """Radius (px) at which aureole and spikes of each star fall below `cut`."""
    r = np.linspace(1.0, _REACH, 500, dtype=np.float32)
    aureole = halo.share * aureole_pixels(r * r, slope=halo.slope, core=3.0 * width)
    spike = halo.spikes * spike_pixels(r, np.zeros_like(r), angle_rad=0.0, width=width)
    brightness = np.maximum.accumulate((aureole + spike)[::-1])[::-1].astype(np.float64)
    count = np.searchsorted(-brightness, -cut / np.maximum(flux, 1e-30))
    reach: F8 = r[np.clip(count - 1, 0, r.size - 1)].astype(np.float64) * (count > 0)
    return reach


def _halo_light(dx: F4, dy: F4, *, radius: F4 | np.float32, psf: PsfField, halo: Halo) -> F4:
    """Aureole and spikes of stars of flux 1, with a soft end; the box would show otherwise."""
    width = float(psf.fwhm.mean())
    light = np.zeros(np.broadcast_shapes(dx.shape, dy.shape), np.float32)
    for u, v, weight in _copies(psf):
        near = (dx - u) ** 2 + (dy - v) ** 2
        light += np.float32(halo.share) * weight * aureole_pixels(near, slope=halo.slope, core=3.0 * width)
    smear = _across(psf, halo.angle_rad)
    light += np.float32(halo.spikes) * spike_pixels(dx, dy, angle_rad=halo.angle_rad, width=width, smear_px2=smear)
    light *= np.clip((radius - np.sqrt(dx * dx + dy * dy)) / (np.float32(0.15) * radius), 0.0, 1.0)
    return light


def _small_halos(shape: tuple[int, int], x: F8, y: F8, flux: F8, *, radius: F8, psf: PsfField, halo: Halo) -> F4:
    """Halos of up to 32 px, of which there are many: those of one size are done together."""
    canvas, (ny, nx), pad = np.zeros(np.add(shape, 2 * _PAD), np.float32), shape, _PAD
    near = (np.abs(x - nx / 2) < nx / 2 + _SMALL[-1]) & (np.abs(y - ny / 2) < ny / 2 + _SMALL[-1])
    which = np.searchsorted(_SMALL, radius)
    for i, half in enumerate(_SMALL):
        grid = np.arange(-half, half + 1)
        members, step = np.flatnonzero(near & (which == i)), max(1, _BAND // (2 * half + 1) ** 2)
        for start in range(0, members.size, step):
            chunk = members[start : start + step]
            column, row = np.round(x[chunk]), np.round(y[chunk])
            dx = (grid[None, None, :] - (x[chunk] - column)[:, None, None]).astype(np.float32)
            dy = (grid[None, :, None] - (y[chunk] - row)[:, None, None]).astype(np.float32)
            reach = radius[chunk].astype(np.float32)[:, None, None]
            stamps = _halo_light(dx, dy, radius=reach, psf=psf, halo=halo)
            stamps *= flux[chunk].astype(np.float32)[:, None, None]
            add_stamps(canvas, column, row, stamps, pad)
    return canvas[pad : pad + ny, pad : pad + nx]


def _add_wings(plane: F4, x: float, y: float, flux: float, *, radius: float, psf: PsfField) -> None:
    """Wings of the point-spread function beyond the tabulated stamp."""
    fwhm, e1, e2 = (float(a[0]) for a in psf.at(x, y))
    for box, dx, dy in _bands(plane.shape, x, y, radius):
        light = np.zeros((dy.size, dx.size), np.float32)
        for u, v, weight in _copies(psf):
            light += weight * moffat_pixels(dx - u, dy - v, fwhm=fwhm, beta=psf.beta, e1=e1, e2=e2, integrate=False)
        stamp = np.abs(dx + np.float32(x - np.round(x))) < psf.half + 0.5
        stamp = stamp & (np.abs(dy + np.float32(y - np.round(y))) < psf.half + 0.5)
        plane[box] += np.float32(flux) * np.where(stamp, np.float32(0.0), light)


def _add_ghosts(plane: F4, *, x: float, y: float, flux: float, halo: Halo, cut: float) -> None:
    for radius, share, offset, hole in _GHOSTS:
        if halo.ghosts * share * flux / (np.pi * radius**2 * (1.0 - hole**2)) < cut:
            continue
        gx, gy = x + offset * halo.toward_centre[0], y + offset * halo.toward_centre[1]
        for box, dx, dy in _bands(plane.shape, gx, gy, 1.3 * radius):
            plane[box] += np.float32(halo.ghosts * share * flux) * ghost_pixels(dx, dy, radius=radius, hole=hole)


def _copies(psf: PsfField) -> Iterator[tuple[np.float32, np.float32, np.float32]]:
    """Offsets and weights of the copies that stand for trailing and defocus; without them the star itself."""
    points = psf.blur.four_points() if psf.blur else (np.zeros(1), np.zeros(1), np.ones(1))
    yield from zip(*(a.astype(np.float32) for a in points), strict=True)


def _across(psf: PsfField, angle_rad: float) -> tuple[float, float]:
    """Variance that trailing and defocus add across the first and the second line of spikes, px^2."""
    if psf.blur is None:
        return 0.0, 0.0
    xx, yy, xy = psf.blur.covariance
    c, s = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    return s * s * xx + c * c * yy - 2.0 * c * s * xy, c * c * xx + s * s * yy + 2.0 * c * s * xy


def _bands(shape: tuple[int, ...], x: float, y: float, radius: float) -> Iterator[tuple[tuple[slice, slice], F4, F4]]:
    """The pixels within `radius` that are on the plane, as bands of rows that stay in the processor's cache.

    Each is its slices, and the distances from the point as a row and a column.
    """
    reach = int(radius)
    x0, x1 = max(0, round(x) - reach), min(shape[1], round(x) + reach + 1)
    y0, y1 = max(0, round(y) - reach), min(shape[0], round(y) + reach + 1)
    if x0 >= x1:
        return
    dx = (np.arange(x0, x1) - x).astype(np.float32)[None, :]
    step = max(1, _BAND // (x1 - x0))
    for start in range(y0, y1, step):
        rows = slice(start, min(start + step, y1))
        yield (rows, slice(x0, x1)), dx, (np.arange(rows.start, rows.stop) - y).astype(np.float32)[:, None]


def ghost_places(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike, flux: ArrayLike, *, halo: Halo, cut: float
) -> Table:
    """Where the ghosts are that `paint_bright` draws: row (of the star), x, y, radius_px, flux_e; on the plane only."""
    xs, ys, fluxes = (np.atleast_1d(np.asarray(a, np.float64)) for a in (x, y, flux))
    blocks = []
    for radius, share, offset, hole in _GHOSTS:
        gx, gy = xs + offset * halo.toward_centre[0], ys + offset * halo.toward_centre[1]
        light = halo.ghosts * share * fluxes
        seen = light / (np.pi * radius**2 * (1.0 - hole**2)) > cut
        seen &= (np.abs(gx - shape[1] / 2) < shape[1] / 2) & (np.abs(gy - shape[0] / 2) < shape[0] / 2)
        rows = np.flatnonzero(seen)
        blocks.append((rows, gx[rows], gy[rows], np.full(rows.size, radius), light[rows]))
    columns = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    return Table(columns, names=("row", "x", "y", "radius_px", "flux_e"))
