"""What bright stars add beyond the core of the point-spread function: far wings, aureole, spikes and ghosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.painter import PsfField, moffat_pixels, moffat_radius

__all__ = ["Halo", "aureole_pixels", "ghost_pixels", "paint_bright", "spike_pixels"]

F4 = NDArray[np.float32]

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
    edge2 = float(_REACH) ** 2
    taper = np.clip(1.0 - radius2 / np.float32(edge2), 0.0, None) ** 2
    r = np.linspace(0.0, _REACH, 4001)
    radial = 2.0 * np.pi * r * (r**2 + core**2) ** (-slope / 2) * (1.0 - r**2 / edge2) ** 2
    values: F4 = (radius2 + np.float32(core**2)) ** np.float32(-slope / 2) * taper / np.float32(np.trapezoid(radial, r))
    return values


def spike_pixels(dx: F4, dy: F4, *, angle_rad: float, width: float) -> F4:
    """Four spikes of total flux about 1 along two crossed lines, widening slowly and fading as r^-1.7."""
    c, s = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    along, across = c * dx + s * dy, c * dy - s * dx
    total = np.zeros(np.broadcast_shapes(dx.shape, dy.shape), np.float32)
    for u, v in ((along, across), (across, along)):
        sigma = np.float32(width / 2.355) + np.float32(0.003) * np.abs(u)
        fade = (u * u + np.float32(64.0)) ** np.float32(-0.85)
        total += fade * np.exp(np.float32(-0.5) * (v / sigma) ** 2) / sigma
    r = np.linspace(0.0, _REACH, 2001)
    norm = 4.0 * np.sqrt(2.0 * np.pi) * np.trapezoid((r**2 + 64.0) ** -0.85, r)
    values: F4 = total * np.float32(1.0 / norm)
    return values


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
        Point-spread function; its wings go on beyond its tabulated stamp.
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
    width = float(psf.fwhm.mean())
    reach = _reach(fluxes, psf, halo, width, cut)
    for i in np.flatnonzero(reach > 2.0 * width):
        radius = int(reach[i])
        box = _box(shape, xs[i], ys[i], radius)
        if box is not None:
            dx, dy = _offsets(box, xs[i], ys[i])
            plane[box] += np.float32(fluxes[i]) * _around(
                dx, dy, radius=radius, x=xs[i], y=ys[i], psf=psf, halo=halo, width=width
            )
        _add_ghosts(plane, x=xs[i], y=ys[i], flux=fluxes[i], halo=halo, cut=cut)
    return plane


def _reach(flux: NDArray[np.float64], psf: PsfField, halo: Halo, width: float, cut: float) -> NDArray[np.float64]:
    """Radius (px) at which wings, aureole and spikes of each star fall below `cut`."""
    r = np.linspace(1.0, _REACH, 500, dtype=np.float32)
    aureole = halo.share * aureole_pixels(r * r, slope=halo.slope, core=3.0 * width)
    spike = halo.spikes * spike_pixels(r, np.zeros_like(r), angle_rad=0.0, width=width)
    brightness = np.maximum.accumulate((aureole + spike)[::-1])[::-1].astype(np.float64)
    count = np.searchsorted(-brightness, -cut / np.maximum(flux, 1e-30))
    reach = r[np.clip(count - 1, 0, r.size - 1)] * (count > 0)
    wings = moffat_radius(flux, cut=cut, fwhm=width, beta=psf.beta)
    radius: NDArray[np.float64] = np.minimum(np.maximum(reach, np.where(wings > psf.half, wings, 0.0)), _REACH)
    return radius


def _around(dx: F4, dy: F4, *, radius: int, x: float, y: float, psf: PsfField, halo: Halo, width: float) -> F4:
    """Wings beyond the tabulated stamp, aureole and spikes, for flux 1."""
    r2 = dx * dx + dy * dy
    light = np.float32(halo.share) * aureole_pixels(r2, slope=halo.slope, core=3.0 * width)
    light += np.float32(halo.spikes) * spike_pixels(dx, dy, angle_rad=halo.angle_rad, width=width)
    # A soft end; the box would show otherwise.
    light *= np.clip((radius - np.sqrt(r2)) / np.float32(0.15 * radius), 0.0, 1.0)
    if radius > psf.half:
        fwhm, e1, e2 = (float(a[0]) for a in psf.at(x, y))
        wings = moffat_pixels(dx, dy, fwhm=fwhm, beta=psf.beta, e1=e1, e2=e2, integrate=False)
        stamp = (np.abs(dx + (x - np.round(x))) < psf.half + 0.5) & (np.abs(dy + (y - np.round(y))) < psf.half + 0.5)
        light += np.where(stamp, np.float32(0.0), wings)
    return light


def _add_ghosts(plane: F4, *, x: float, y: float, flux: float, halo: Halo, cut: float) -> None:
    for radius, share, offset, hole in _GHOSTS:
        if halo.ghosts * share * flux / (np.pi * radius**2) < cut:
            continue
        gx, gy = x + offset * halo.toward_centre[0], y + offset * halo.toward_centre[1]
        box = _box(plane.shape, gx, gy, int(1.3 * radius))
        if box is not None:
            dx, dy = _offsets(box, gx, gy)
            plane[box] += np.float32(halo.ghosts * share * flux) * ghost_pixels(dx, dy, radius=radius, hole=hole)


def _box(shape: tuple[int, ...], x: float, y: float, radius: int) -> tuple[slice, slice] | None:
    """Slices of the pixels within `radius` that are on the plane; None when there are none."""
    y0, y1 = max(0, round(y) - radius), min(shape[0], round(y) + radius + 1)
    x0, x1 = max(0, round(x) - radius), min(shape[1], round(x) + radius + 1)
    return (slice(y0, y1), slice(x0, x1)) if y0 < y1 and x0 < x1 else None


def _offsets(box: tuple[slice, slice], x: float, y: float) -> tuple[F4, F4]:
    """Distances of the pixels of a box from a point, as a row and a column."""
    dx = (np.arange(box[1].start, box[1].stop) - x).astype(np.float32)[None, :]
    dy = (np.arange(box[0].start, box[0].stop) - y).astype(np.float32)[:, None]
    return dx, dy
