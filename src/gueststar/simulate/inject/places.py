"""Where artificial reals go: anywhere, on galaxies that the image itself shows, or beside its stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate.inject.light import UNUSABLE
from gueststar.simulate.sky import draw_host_offsets
from gueststar.types import Image, Psf

__all__ = ["PLACEMENTS", "UNUSABLE", "Placement", "choose_places"]

F8 = NDArray[np.float64]
Placement = Literal["mixed", "random", "galaxy", "star", "nucleus"]
PLACEMENTS: tuple[str, ...] = get_args(Placement)

_TRIES = 40
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class _Place:
    """A proposed place; offset in units of R25, light of host or star in e-."""

    x: float
    y: float
    placement: str = "random"
    host_offset_r25: float = _NAN
    host_flux_e: float = _NAN
    star_flux_e: float = _NAN


def choose_places(
    image: Image, psf: Psf, n: int, *, rng: np.random.Generator, placement: Placement, separation_px: float
) -> Table:
    """Choose up to `n` places away from flagged pixels, from the frame's edge and from each other.

    Parameters
    ----------
    image : Image
    psf : Psf
        Tells galaxies from stars; half its stamp is kept free along the edge.
    n : int
        How many are wanted.
    rng : Generator
    placement : {'mixed', 'random', 'galaxy', 'star', 'nucleus'}
        See `gueststar.simulate.inject.draw_artificial_reals`.
    separation_px : float
        Smallest distance between two.

    Returns
    -------
    Table
        x, y (px), placement ('random' where no place of the wanted kind was free), host_offset_r25, host_flux_e and
        star_flux_e (NaN where there is none). ``meta`` holds 'asked', 'placed', and 'random_instead', how many were
        wanted on a galaxy or star and became random.
    """
    kinds = _kinds(n, placement, rng)
    galaxies = _find_galaxies(image, psf) if {"galaxy", "nucleus"} & set(kinds) else np.empty((0, 6))
    stars = _find_stars(image) if "star" in kinds else np.empty((0, 3))
    mask = image.numpy("mask")
    taken, instead = _Taken(separation_px), 0
    rows: list[_Place] = []
    for kind in kinds:
        for attempt in range(2 * _TRIES):
            wanted = kind if attempt < _TRIES else "random"
            place = _propose(wanted, image.shape, galaxies=galaxies, stars=stars, fwhm=psf.fwhm, rng=rng)
            if _is_good(place.x, place.y, mask, edge=psf.size // 2) and taken.is_far(place.x, place.y):
                taken.add(place.x, place.y)
                rows.append(place)
                instead += place.placement != kind
                break
    names = _Place.__slots__
    table = Table(
        {name: np.array([getattr(row, name) for row in rows], "U8" if name == "placement" else "f8") for name in names}
    )
    table.meta = {"asked": n, "placed": len(rows), "random_instead": instead}
    return table


def _kinds(n: int, placement: Placement, rng: np.random.Generator) -> list[str]:
    if placement != "mixed":
        return [placement] * n
    kinds = ["galaxy" if i % 2 else "random" for i in range(n)]
    return [kinds[i] for i in rng.permutation(n)]


def _find_galaxies(image: Image, psf: Psf) -> F8:
    """Extended sources: x, y, R25 (px), axis ratio, angle (rad), isophotal flux (e-); shape (n, 6).

    R25 is taken as twice the half-light radius, the PSF's own taken out in quadrature.
    """
    import sep

    data, variance, flags = (np.ascontiguousarray(image.numpy(p)) for p in ("data", "variance", "mask"))
    found = sep.extract(data, 2.0, var=variance, mask=flags != 0, minarea=max(5, int(psf.fwhm**2)))
    if len(found) == 0:
        return np.empty((0, 6))
    radius, _ = sep.flux_radius(data, found["x"], found["y"], 6.0 * found["a"], 0.5, subpix=1, normflux=found["flux"])
    star_radius = _half_light(psf)
    near = np.clip(np.round(found["y"]).astype(int), 0, data.shape[0] - 1)
    column = np.clip(np.round(found["x"]).astype(int), 0, data.shape[1] - 1)
    noise = np.sqrt(variance[near, column] * found["npix"])
    wide = (radius > 1.2 * star_radius) & (radius < 60.0) & (found["flux"] > 8.0 * noise)
    # The peak of a saturated or blended pair of stars is not that of a galaxy: blends show a flag.
    wide &= (found["flag"] & (sep.OBJ_MERGED | sep.OBJ_TRUNC)) == 0
    kept = found[wide]
    size = 2.0 * np.sqrt(np.maximum(radius[wide] ** 2 - star_radius**2, 0.25))
    columns = [kept["x"], kept["y"], size, kept["b"] / kept["a"], kept["theta"], kept["flux"]]
    galaxies: F8 = np.stack(columns, axis=1).astype(np.float64)
    return galaxies


def _half_light(psf: Psf) -> float:
    """Half-light radius of the PSF stamp, px."""
    stamp = psf.stamp.cpu().numpy().astype(np.float64)
    yy, xx = np.indices(stamp.shape) - stamp.shape[0] // 2
    order = np.argsort(np.hypot(xx, yy).ravel())
    light = np.cumsum(stamp.ravel()[order])
    return float(np.interp(0.5 * light[-1], light, np.hypot(xx, yy).ravel()[order]))


def _find_stars(image: Image) -> F8:
    """Positions (px) and fluxes (e-) of unflagged stars, shape (n, 3)."""
    if image.stars is None or len(image.stars) == 0:
        return np.empty((0, 3))
    good = image.stars.flags == 0
    places: F8 = np.stack([image.stars.x[good], image.stars.y[good], image.stars.flux[good]], axis=1)
    return places


def _propose(
    kind: str, shape: tuple[int, int], *, galaxies: F8, stars: F8, fwhm: float, rng: np.random.Generator
) -> _Place:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    if kind in ("galaxy", "nucleus") and len(galaxies):
        x, y, size, ratio, theta, flux = (float(value) for value in galaxies[rng.integers(len(galaxies))])
        if kind == "galaxy":
            offset = float(draw_host_offsets(1, rng)[0])
            u, v = offset * size * np.cos(angle), offset * size * np.sin(angle) * ratio
        else:
            distance = rng.uniform(0.0, 1.0) * fwhm
            u, v = distance * np.cos(angle), distance * np.sin(angle)
            offset = float(np.hypot(u, v / max(ratio, 0.05)) / size)
        c, s = np.cos(theta), np.sin(theta)
        return _Place(float(x + u * c - v * s), float(y + u * s + v * c), kind, offset, host_flux_e=flux)
    if kind == "star" and len(stars):
        x, y, flux = (float(value) for value in stars[rng.integers(len(stars))])
        distance = rng.uniform(0.0, 5.0) * fwhm
        return _Place(x + distance * float(np.cos(angle)), y + distance * float(np.sin(angle)), kind, star_flux_e=flux)
    return _Place(float(rng.uniform(0, shape[1] - 1)), float(rng.uniform(0, shape[0] - 1)))


def _is_good(x: float, y: float, mask: NDArray[np.int16], *, edge: int) -> bool:
    ny, nx = mask.shape
    margin = min(edge, (min(ny, nx) - 1) // 4)
    if not (margin <= x <= nx - 1 - margin and margin <= y <= ny - 1 - margin):
        return False
    row, column = round(y), round(x)
    return not (mask[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] & UNUSABLE).any()


class _Taken:
    """Places that are taken, in cells as wide as the separation: only the nine around a new one need be looked at."""

    def __init__(self, separation: float) -> None:
        self._separation = separation
        self._cells: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def _cell(self, x: float, y: float) -> tuple[int, int]:
        width = max(self._separation, 1.0)
        return int(x // width), int(y // width)

    def add(self, x: float, y: float) -> None:
        self._cells.setdefault(self._cell(x, y), []).append((x, y))

    def is_far(self, x: float, y: float) -> bool:
        i, j = self._cell(x, y)
        near = (self._cells.get((i + a, j + b), ()) for a in (-1, 0, 1) for b in (-1, 0, 1))
        return all(math.hypot(u - x, v - y) >= self._separation for cell in near for u, v in cell)
