"""Where artificial reals go: anywhere, on galaxies that the image itself shows, or beside its stars."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate.sky import draw_host_offsets
from gueststar.types import Image, Mask, Psf

__all__ = ["PLACEMENTS", "UNUSABLE", "Placement", "choose_places"]

F8 = NDArray[np.float64]
Placement = Literal["mixed", "random", "galaxy", "star"]
PLACEMENTS: tuple[str, ...] = get_args(Placement)

UNUSABLE = int(Mask.BAD | Mask.NO_DATA | Mask.SATURATED | Mask.COSMIC_RAY)
_TRIES = 40


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
    placement : {'mixed', 'random', 'galaxy', 'star'}
        See `gueststar.simulate.inject.draw_artificial_reals`.
    separation_px : float
        Smallest distance between two.

    Returns
    -------
    Table
        x, y (px) and placement; 'random' where no place of the wanted kind was free.
    """
    kinds = _kinds(n, placement, rng)
    galaxies = _find_galaxies(image, psf) if "galaxy" in kinds else np.empty((0, 5))
    stars = _find_stars(image) if "star" in kinds else np.empty((0, 2))
    mask = image.numpy("mask")
    rows: list[tuple[float, float, str]] = []
    taken = np.empty((0, 2))
    for kind in kinds:
        for attempt in range(2 * _TRIES):
            wanted = kind if attempt < _TRIES else "random"
            x, y, became = _propose(wanted, image.shape, galaxies=galaxies, stars=stars, fwhm=psf.fwhm, rng=rng)
            if _is_free(x, y, mask, edge=psf.size // 2, taken=taken, separation=separation_px):
                rows.append((x, y, became))
                taken = np.vstack([taken, [x, y]])
                break
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return Table(columns, names=("x", "y", "placement"), dtype=("f8", "f8", "U8"))


def _kinds(n: int, placement: Placement, rng: np.random.Generator) -> list[str]:
    if placement != "mixed":
        return [placement] * n
    kinds = ["galaxy" if i % 2 else "random" for i in range(n)]
    return [kinds[i] for i in rng.permutation(n)]


def _find_galaxies(image: Image, psf: Psf) -> F8:
    """Extended sources: x, y, R25 (px), axis ratio, angle (rad); shape (n, 5).

    R25 is taken as twice the half-light radius, the PSF's own taken out in quadrature.
    """
    import sep

    data, variance, flags = (np.ascontiguousarray(image.numpy(p)) for p in ("data", "variance", "mask"))
    found = sep.extract(data, 2.0, var=variance, mask=flags != 0, minarea=max(5, int(psf.fwhm**2)))
    if len(found) == 0:
        return np.empty((0, 5))
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
    galaxies: F8 = np.stack([kept["x"], kept["y"], size, kept["b"] / kept["a"], kept["theta"]], axis=1).astype(
        np.float64
    )
    return galaxies


def _half_light(psf: Psf) -> float:
    """Half-light radius of the PSF stamp, px."""
    stamp = psf.stamp.cpu().numpy().astype(np.float64)
    yy, xx = np.indices(stamp.shape) - stamp.shape[0] // 2
    order = np.argsort(np.hypot(xx, yy).ravel())
    light = np.cumsum(stamp.ravel()[order])
    return float(np.interp(0.5 * light[-1], light, np.hypot(xx, yy).ravel()[order]))


def _find_stars(image: Image) -> F8:
    """Positions of unflagged stars, shape (n, 2)."""
    if image.stars is None or len(image.stars) == 0:
        return np.empty((0, 2))
    good = image.stars.flags == 0
    places: F8 = np.stack([image.stars.x[good], image.stars.y[good]], axis=1)
    return places


def _propose(
    kind: str, shape: tuple[int, int], *, galaxies: F8, stars: F8, fwhm: float, rng: np.random.Generator
) -> tuple[float, float, str]:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    if kind == "galaxy" and len(galaxies):
        x, y, size, ratio, theta = galaxies[rng.integers(len(galaxies))]
        offset = float(draw_host_offsets(1, rng)[0]) * size
        u, v = offset * np.cos(angle), offset * np.sin(angle) * ratio
        c, s = np.cos(theta), np.sin(theta)
        return float(x + u * c - v * s), float(y + u * s + v * c), "galaxy"
    if kind == "star" and len(stars):
        x, y = stars[rng.integers(len(stars))]
        distance = rng.uniform(1.0, 5.0) * fwhm
        return float(x + distance * np.cos(angle)), float(y + distance * np.sin(angle)), "star"
    return float(rng.uniform(0, shape[1] - 1)), float(rng.uniform(0, shape[0] - 1)), "random"


def _is_free(x: float, y: float, mask: NDArray[np.int16], *, edge: int, taken: F8, separation: float) -> bool:
    ny, nx = mask.shape
    margin = min(edge, (min(ny, nx) - 1) // 4)
    if not (margin <= x <= nx - 1 - margin and margin <= y <= ny - 1 - margin):
        return False
    row, column = round(y), round(x)
    if (mask[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] & UNUSABLE).any():
        return False
    return not len(taken) or bool((np.hypot(taken[:, 0] - x, taken[:, 1] - y) >= separation).all())
