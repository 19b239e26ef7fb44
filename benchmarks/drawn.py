"""Differences drawn from known point sources: analytic profiles, photon noise, the score of the real chain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gueststar.subtract.bins import any_in_bin
from gueststar.subtract.score import score_difference
from gueststar.types import Difference, Image, Psf, Stars

F8 = NDArray[np.float64]
SKY_SIGMA = 20.0
SPACING = 40
SIDE = 16 * SPACING


@dataclass(frozen=True)
class Moffat:
    """A Moffat profile, sampled at pixel centres."""

    fwhm: float = 2.8
    beta: float = 3.0
    ellipticity: float = 0.0

    def __call__(self, dx: F8, dy: F8) -> F8:
        q = np.sqrt(1.0 - self.ellipticity)
        alpha2 = 0.25 * self.fwhm**2 / (2.0 ** (1.0 / self.beta) - 1.0)
        r2 = (dx * q) ** 2 + (dy / q) ** 2
        return np.asarray((self.beta - 1.0) / (np.pi * alpha2) * (1.0 + r2 / alpha2) ** -self.beta)

    def stamp(self, size: int = 31) -> F8:
        yy, xx = np.mgrid[:size, :size] - (size - 1) / 2.0
        return self(xx, yy)

    @property
    def flux_error(self) -> float:
        """Of a faint source on the sky alone."""
        return SKY_SIGMA / float(np.sqrt((self.stamp() ** 2).sum()))


def places(rng: np.random.Generator) -> tuple[F8, F8]:
    """256 places at random about those of a grid."""
    yy, xx = np.mgrid[:16, :16] * float(SPACING) + SPACING / 2.0
    return xx.ravel() + rng.uniform(-4.0, 4.0, 256), yy.ravel() + rng.uniform(-4.0, 4.0, 256)


def paint(x: F8, y: F8, flux: F8, profile: Moffat, reach: int = 12) -> F8:
    """Light of sources, e-/px."""
    plane = np.zeros((SIDE, SIDE))
    for u, v, f in zip(x, y, flux, strict=True):
        i, j = round(u), round(v)
        rows = np.arange(max(j - reach, 0), min(j + reach + 1, SIDE))
        columns = np.arange(max(i - reach, 0), min(i + reach + 1, SIDE))
        if rows.size and columns.size:
            plane[np.ix_(rows, columns)] += f * profile(columns[None, :] - u, rows[:, None] - v)
    return plane


def difference_of(light: F8, rng: np.random.Generator, profile: Moffat, photons: F8 | None = None) -> Difference:
    """A difference with noise of the sky and of `photons` (of the light itself when None)."""
    variance = SKY_SIGMA**2 + np.maximum(light if photons is None else photons, 0.0)
    data = torch.from_numpy((light + rng.normal(0.0, 1.0, light.shape) * np.sqrt(variance)).astype(np.float32))
    noise = torch.from_numpy(variance.astype(np.float32))
    mask = torch.zeros(light.shape, dtype=torch.int16)
    psf = Psf.from_stamp(profile.stamp())
    sources = any_in_bin(torch.from_numpy((light != 0) | (variance > SKY_SIGMA**2)))
    scored = score_difference(data, noise, mask, psf, sources)
    return Difference(data, noise, scored.score, scored.flux, scored.flux_err, mask, psf, "drawn", "drawn", "drawn")


def image_of(stars: Stars | None = None) -> Image:
    """An empty image with a list of stars."""
    return Image(
        torch.zeros(SIDE, SIDE), torch.full((SIDE, SIDE), SKY_SIGMA**2 / 2), torch.zeros(SIDE, SIDE, dtype=torch.int16),
        psf=Psf.from_stamp(Moffat().stamp()), stars=stars or Stars.empty(), image_id="drawn",
    )  # fmt: skip


def stars_at(x: F8, y: F8, flux: F8) -> Stars:
    """A list of stars with nothing but places and fluxes."""
    ones = np.ones(len(x))
    return Stars(x, y, flux, 100.0 * ones, 2.8 * ones, ones, ones, np.zeros(len(x), np.int64))
