"""Known skies for truth tests: analytic stars on a pixel grid, Poisson and read noise, nothing of the package itself.

Profiles are sampled at the pixel centres, so the profile named here *is* the point-spread function that an image shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gueststar.ingest.prepare import Ingest, prepare_image
from gueststar.types import Image

SKY_E = 400.0  # e-/px
READ_NOISE_E = 3.0
NOISE_E = float(np.sqrt(SKY_E + READ_NOISE_E**2))  # of empty sky, e-/px


@dataclass(frozen=True)
class Shape:
    """A point-spread function: a Gaussian, or a Moffat profile when `beta` is given."""

    fwhm: float = 2.8
    beta: float | None = None
    ellipticity: float = 0.0  # 1 - b/a
    angle_deg: float = 0.0  # of the major axis, from x to y

    def __call__(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Light per pixel of a source of unit flux; `fwhm` is the geometric mean of both axes."""
        angle, q = np.radians(self.angle_deg), 1.0 - self.ellipticity
        along = (np.cos(angle) * dx + np.sin(angle) * dy) * np.sqrt(q)
        across = (-np.sin(angle) * dx + np.cos(angle) * dy) / np.sqrt(q)
        r2 = along**2 + across**2
        if self.beta is None:
            sigma2 = (self.fwhm / 2.3548200450309493) ** 2
            return np.exp(-0.5 * r2 / sigma2) / (2.0 * np.pi * sigma2)
        alpha2 = (0.5 * self.fwhm) ** 2 / (2.0 ** (1.0 / self.beta) - 1.0)
        return (self.beta - 1.0) / (np.pi * alpha2) * (1.0 + r2 / alpha2) ** -self.beta

    @property
    def reach(self) -> int:
        """Radius beyond which a source is not drawn, px."""
        return int(np.ceil((3.5 if self.beta is None else 12.0) * self.fwhm)) + 1

    def stamp(self, size: int) -> np.ndarray:
        """The profile centred on the middle pixel of a square of side `size`."""
        y, x = np.mgrid[:size, :size] - (size - 1) / 2.0
        return self(x, y)


@dataclass(frozen=True)
class Stars:
    """True positions (0-based pixel centres) and fluxes (e-), each of shape (n,)."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __add__(self, other: Stars) -> Stars:
        return Stars(*(np.append(a, b) for a, b in zip(self.columns, other.columns, strict=True)))

    def __getitem__(self, keep: np.ndarray | slice) -> Stars:
        return Stars(*(column[keep] for column in self.columns))

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x, self.y, self.flux

    @property
    def points(self) -> np.ndarray:
        return np.column_stack((self.x, self.y))

    def scaled(self, factor: float) -> Stars:
        return replace(self, flux=self.flux * factor)

    def moved(self, matrix: np.ndarray, offset: np.ndarray) -> Stars:
        """Stars at matrix @ position + offset."""
        x, y = self.points @ np.asarray(matrix).T + np.asarray(offset)[:, None].T[0]
        raise NotImplementedError
