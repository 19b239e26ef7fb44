"""Known skies for truth tests: analytic stars on a pixel grid, Poisson and read noise; nothing of the simulator.

Profiles are sampled at the pixel centres, so the profile named here *is* the point-spread function of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from gueststar.ingest.prepare import prepare_image
from gueststar.types import Image

SKY_E = 400.0  # e-/px
READ_NOISE_E = 3.0
NOISE_E = float(np.sqrt(SKY_E + READ_NOISE_E**2))  # of empty sky, e-/px


@dataclass(frozen=True)
class Shape:
    """A point-spread function: a Gaussian, or a Moffat profile when `beta` is given."""

    fwhm: float = 2.8  # geometric mean of both axes, px
    beta: float | None = None
    ellipticity: float = 0.0  # 1 - b/a
    angle_deg: float = 0.0  # of the major axis, from x to y

    def __call__(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Light per pixel at an offset from a source of unit flux."""
        angle, q = np.radians(self.angle_deg), 1.0 - self.ellipticity
        along = (np.cos(angle) * dx + np.sin(angle) * dy) * np.sqrt(q)
        across = (np.cos(angle) * dy - np.sin(angle) * dx) / np.sqrt(q)
        r2 = along**2 + across**2
        if self.beta is None:
            sigma2 = self.fwhm**2 / (8.0 * np.log(2.0))
            return np.exp(-0.5 * r2 / sigma2) / (2.0 * np.pi * sigma2)
        alpha2 = 0.25 * self.fwhm**2 / (2.0 ** (1.0 / self.beta) - 1.0)
        return (self.beta - 1.0) / (np.pi * alpha2) * (1.0 + r2 / alpha2) ** -self.beta

    def reach(self, flux: float) -> int:
        """Radius within which all but 0.2 e- a pixel lies, px."""
        radii = np.arange(2.0, 120.0)
        faint = flux * self(radii, np.zeros_like(radii)) < 0.2
        return int(radii[int(np.argmax(faint))]) if faint.any() else 120

    def stamp(self, size: int) -> np.ndarray:
        """The profile centred on the middle pixel of a square of side `size`."""
        y, x = np.mgrid[:size, :size] - (size - 1) / 2.0
        return self(x, y)


ShapeField = Shape | Callable[[float, float], Shape]


@dataclass(frozen=True)
class Stars:
    """True positions (0-based pixel centres) and fluxes (e-), each of shape (n,)."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __add__(self, other: Stars) -> Stars:
        return Stars(np.append(self.x, other.x), np.append(self.y, other.y), np.append(self.flux, other.flux))

    def __getitem__(self, keep: np.ndarray | slice) -> Stars:
        return Stars(self.x[keep], self.y[keep], self.flux[keep])

    @property
    def points(self) -> np.ndarray:
        """(n, 2)."""
        return np.column_stack((self.x, self.y))

    def scaled(self, factor: float) -> Stars:
        """The same stars, brighter by a factor."""
        return replace(self, flux=self.flux * factor)

    def seen_by(self, camera: Affine) -> Stars:
        """The same stars on the pixels of another camera."""
        x, y = camera(self.points).T
        return Stars(x, y, self.flux)


@dataclass(frozen=True)
class Affine:
    """Pixels of one camera to pixels of another: rotated and scaled about `centre`, flipped, then shifted."""

    shift: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    scale: float = 1.0
    flip: bool = False
    centre: tuple[float, float] = (128.0, 128.0)

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2)."""
        c, s = self.scale * np.cos(np.radians(self.rotation_deg)), self.scale * np.sin(np.radians(self.rotation_deg))
        return np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if self.flip else 1.0, 1.0])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map (n, 2) positions."""
        return (points - self.centre) @ self.matrix.T + self.centre + self.shift

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """Map (n, 2) positions back."""
        return (points - self.shift - np.array(self.centre)) @ np.linalg.inv(self.matrix).T + self.centre


def scatter(
    rng: np.random.Generator,
    n: int,
    shape: tuple[int, int],
    *,
    flux: tuple[float, float] = (500.0, 60_000.0),
    margin: float = -8.0,
    apart: float = 0.0,
    avoid: Stars | None = None,
) -> Stars:
    """Stars at random: as many faint as bright ones per magnitude, none within `apart` px of another or of `avoid`."""
    ny, nx = shape
    taken = avoid.points if avoid is not None else np.empty((0, 2))
    first = len(taken)
    for point in rng.uniform((margin, margin), (nx - 1 - margin, ny - 1 - margin), (200 * n, 2)):
        if apart == 0.0 or (((taken - point) ** 2).sum(1) > apart**2).all():
            taken = np.vstack((taken, point))
        if len(taken) == first + n:
            break
    points = taken[first:]
    if len(points) < n:
        raise RuntimeError(f"no room for {n} stars {apart} px apart in {shape}")
    return Stars(points[:, 0], points[:, 1], np.exp(rng.uniform(*np.log(flux), n)))


def paint(shape: tuple[int, int], stars: Stars, psf: ShapeField) -> np.ndarray:
    """Noiseless light of stars, e-/px."""
    ny, nx = shape
    plane = np.zeros(shape)
    for x, y, flux in zip(stars.x, stars.y, stars.flux, strict=True):
        profile = psf if isinstance(psf, Shape) else psf(x, y)
        r = profile.reach(abs(flux))
        ix, iy = round(x), round(y)
        xs, ys = slice(max(ix - r, 0), max(min(ix + r + 1, nx), 0)), slice(max(iy - r, 0), max(min(iy + r + 1, ny), 0))
        xx, yy = np.arange(xs.start, xs.stop), np.arange(ys.start, ys.stop)
        if xx.size and yy.size:
            plane[ys, xs] += flux * profile(xx[None, :] - x, yy[:, None] - y)
    return plane


def expose(
    light: np.ndarray, rng: np.random.Generator, *, sky: float | np.ndarray = SKY_E, read_noise: float = READ_NOISE_E
) -> np.ndarray:
    """Counts of one exposure, e-, with the sky in them, float32."""
    return (rng.poisson(light + sky) + rng.normal(0.0, read_noise, light.shape)).astype(np.float32)


def photograph(
    shape: tuple[int, int],
    stars: Stars,
    psf: ShapeField,
    rng: np.random.Generator,
    *,
    sky: float | np.ndarray = SKY_E,
    **fields: object,
) -> Image:
    """An exposure of stars, through `prepare_image`."""
    return prepare_image(expose(paint(shape, stars, psf), rng, sky=sky), **fields)


def matched(truth: Stars, x: np.ndarray, y: np.ndarray, *, radius: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Indices of true stars and of measured positions that lie on each other."""
    if len(truth) == 0 or len(x) == 0:
        return np.empty(0, int), np.empty(0, int)
    distance, index = cKDTree(np.column_stack((x, y))).query(truth.points)
    near = distance < radius
    return np.flatnonzero(near), index[near]


def empty_places(
    rng: np.random.Generator, n: int, shape: tuple[int, int], stars: Stars, psf: Shape, *, margin: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels (x, y) where the truth has less light than a tenth of the sky's noise."""
    dark = paint(shape, stars, replace(psf, fwhm=1.5 * psf.fwhm)) < 0.1 * NOISE_E
    dark[:margin], dark[-margin:], dark[:, :margin], dark[:, -margin:] = (False,) * 4
    y, x = np.nonzero(dark)
    pick = rng.choice(len(x), min(n, len(x)), replace=False)
    return x[pick], y[pick]
