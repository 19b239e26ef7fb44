"""Is this image, this subtraction, fit to be believed, and if not, why.

The causes of most false positives are properties of whole images, which can be measured before any network looks: a
registration that failed, a point-spread function that is trailed or far wider than the reference's, a sky of patchy
clouds, a reference full of holes. Each is a number with a limit. An image beyond a limit is rejected: its candidates
are kept, with the reason, but are no alerts and train nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from gueststar.options import Options
from gueststar.planes import quartiles
from gueststar.types import Candidates, Difference, Fact, Image, Stars

__all__ = ["CAUSES", "Quality", "QualityReport"]

#: Causes, each with the number that tells it, its unit, and the option that limits it.
CAUSES: dict[str, tuple[str, str, str]] = {
    "misaligned": ("quality_astrometric_rms_px", "px", "astrometric_rms_px"),
    "trailed": ("quality_ellipticity", "", "ellipticity"),
    "wide PSF": ("quality_width_ratio", "times the reference's", "width_ratio"),
    "clouds": ("quality_transparency_mag", "mag", "transparency_mag"),
    "crowded": ("quality_crowding", "sources per PSF area", "crowding"),
    "bright star": ("quality_saturated", "of the pixels", "saturated"),
    "high background": ("quality_noise_ratio", "times the reference's noise", "noise_ratio"),
    "reference holes": ("quality_masked", "of the pixels", "masked"),
    "poor subtraction": ("quality_misfit", "of a star's light", "misfit"),
    "too many candidates": ("quality_candidates", "per million pixels", "candidates"),
}
_CELLS = (4, 6)
_FEWEST = 4  # stars in a cell of the transparency map


@dataclass(frozen=True, slots=True, eq=False)
class QualityReport:
    """What the gates found.

    Parameters
    ----------
    causes : tuple of str
        Names of the gates that the image failed, the worst first; empty: it passed.
    reason : str
        The same in words, with numbers and limits.
    numbers : mapping
        All numbers, also those within their limits; None where nothing could be measured.
    """

    causes: tuple[str, ...]
    reason: str
    numbers: Mapping[str, Fact]

    @property
    def passed(self) -> bool:
        """Whether the image may alert and train."""
        return not self.causes


class Quality(Options):
    """Gates on a processed image; a limit of 0 switches its gate off."""

    astrometric_rms_px: float = Field(0.35, ge=0, le=50, description="Scatter of the registration, px")
    ellipticity: float = Field(0.30, ge=0, le=1, description="1 - b/a of the science PSF")
    width_ratio: float = Field(3.0, ge=0, le=20, description="FWHM of the science image over the reference's")
    transparency_mag: float = Field(0.15, ge=0, le=5, description="Scatter of the flux ratio over the chip, mag")
    crowding: float = Field(0.35, ge=0, le=100, description="Sources per area of one FWHM radius")
    saturated: float = Field(0.05, ge=0, le=1, description="Share of the pixels that are saturated")
    noise_ratio: float = Field(8.0, ge=0, le=1000, description="Noise of the science sky over the reference's, in flux")
    masked: float = Field(0.6, ge=0, le=1, description="Share of the pixels that are flagged in either image")
    misfit: float = Field(0.12, ge=0, le=10, description="What the kernel leaves of a star's light (engine kernel)")
    candidates: float = Field(500.0, ge=0, le=1e6, description="Candidates per million pixels")

    def __call__(
        self, science: Image, reference: Image, difference: Difference, candidates: Candidates
    ) -> QualityReport:
        """Measure and judge.

        Parameters
        ----------
        science, reference : Image
            On one grid, with stars and PSF.
        difference : Difference
        candidates : Candidates

        Returns
        -------
        QualityReport
        """
        numbers = _measured(science, reference, difference, candidates)
        failed: list[tuple[float, str, str]] = []
        for cause, (name, unit, option) in CAUSES.items():
            value, limit = numbers[name], float(getattr(self, option))
            if isinstance(value, float) and limit > 0 and value > limit:
                words = f"{cause}: {value:.3g} {unit}".rstrip() + f", limit {limit:g} (quality.{option})"
                failed.append((value / limit, cause, words))
        failed.sort(reverse=True)
        return QualityReport(tuple(cause for _, cause, _ in failed), "; ".join(words for *_, words in failed), numbers)


def _measured(science: Image, reference: Image, difference: Difference, candidates: Candidates) -> dict[str, Fact]:
    ny, nx = science.shape
    widths = [image.psf.fwhm if image.psf is not None else None for image in (science, reference)]
    flagged = int(torch.count_nonzero(difference.mask))
    stars = science.stars or Stars.empty()
    area = None if widths[0] is None else len(stars) * np.pi * widths[0] ** 2 / (ny * nx)
    ratio = difference.facts.get("kernel_sum")
    noise = [float(image.variance[::16, ::16].median().sqrt()) for image in (science, reference)]
    scale = float(ratio) if isinstance(ratio, float) and ratio > 0 else 1.0
    # A kernel that convolves the science image gives the inverse ratio.
    scale = 1.0 / scale if difference.facts.get("convolved") == "science" else scale
    measured = {
        "astrometric_rms_px": reference.facts.get("align_rms_px"),
        "ellipticity": None if science.psf is None else science.psf.ellipticity,
        "width_ratio": widths[0] / widths[1] if widths[0] and widths[1] else None,
        "transparency_mag": transparency_scatter(stars, reference.stars or Stars.empty(), (ny, nx)),
        "crowding": area,
        "saturated": science.facts.get("saturated_fraction"),
        "noise_ratio": noise[0] / max(noise[1] * scale, 1e-9),
        "masked": flagged / (ny * nx),
        "misfit": difference.facts.get("kernel_misfit"),
        "candidates": 1e6 * len(candidates) / max(ny * nx - flagged, 1),
    }
    return {f"quality_{name}": _plain(value) for name, value in measured.items()}


def transparency_scatter(stars: Stars, reference: Stars, shape: tuple[int, int]) -> float | None:
    """Scatter over the chip of the flux ratio science to reference: patchy clouds.

    Parameters
    ----------
    stars, reference : Stars
        Of both images, on one grid.
    shape : (int, int)
        (ny, nx).

    Returns
    -------
    float or None
        Robust standard deviation of the medians of 4 x 6 cells, mag, freed of the noise of the medians; None with
        fewer than six cells that hold four common stars.
    """
    a, b = (one[(one.flags == 0) & (one.snr > 20.0)] for one in (stars, reference))
    if len(a) == 0 or len(b) == 0:
        return None
    distance, index = cKDTree(np.column_stack((b.x, b.y))).query(np.column_stack((a.x, a.y)), distance_upper_bound=1.5)
    hit = np.isfinite(distance)
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = -2.5 * np.log10(a.flux[hit] / b.flux[index[hit]])
    good = np.isfinite(mag)
    cell = _cell_of(a.x[hit][good], a.y[hit][good], shape)
    medians, errors = [], []
    for number in np.unique(cell):
        values = mag[good][cell == number]
        if values.size >= _FEWEST:
            low, middle, high = quartiles(values)
            medians.append(middle)
            errors.append(1.2533 * (high - low) / 1.349 / np.sqrt(values.size))
    if len(medians) < 6:
        return None
    low, _, high = quartiles(np.array(medians))
    return float(np.sqrt(max(((high - low) / 1.349) ** 2 - float(np.median(errors)) ** 2, 0.0)))


def _cell_of(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.int64]:
    rows, columns = _CELLS
    row = np.clip((y * rows / shape[0]).astype(np.int64), 0, rows - 1)
    return row * columns + np.clip((x * columns / shape[1]).astype(np.int64), 0, columns - 1)


def _plain(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
