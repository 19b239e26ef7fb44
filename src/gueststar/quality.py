"""Is this image, this subtraction, fit to be believed, and if not, why.

The causes of most false positives are properties of whole images, which can be measured before any network looks: a
registration that failed, a point-spread function that is far wider than the reference's, a sky of patchy clouds, a
crowd without any sky, a reference full of holes. Each is a number with a limit. An image beyond a limit is rejected:
its candidates are kept, with the reason, but are no alerts and train nothing.
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
    "misaligned in part": ("quality_unmatched", "of the bright stars", "unmatched"),
    "trailed": ("quality_ellipticity", "", "ellipticity"),
    "wide PSF": ("quality_width_ratio", "times the reference's", "width_ratio"),
    "clouds": ("quality_transparency_mag", "mag", "transparency_mag"),
    "crowded": ("quality_crowding", "of the scatter is light", "crowding"),
    "bright star": ("quality_saturated", "of the pixels", "saturated"),
    "high background": ("quality_noise_ratio", "times the reference's noise", "noise_ratio"),
    "structured background": ("quality_background", "of the sky noise", "background"),
    "reference holes": ("quality_masked", "of the pixels", "masked"),
    "poor subtraction": ("quality_misfit", "of a star's light", "misfit"),
    "too many candidates": ("quality_candidates", "per million pixels", "candidates"),
}
_CELLS = (4, 6)
_EFFECTS = ("structured background", "poor subtraction", "too many candidates")  # also of other causes; named last
_CROWD = 0.85  # share of light from which source lists say little
_FEWEST_BRIGHT = 8  # stars that tell whether the registration holds everywhere
_FEWEST = 4  # stars in a cell of the transparency map


@dataclass(frozen=True, slots=True, eq=False)
class QualityReport:
    """What the gates found.

    Parameters
    ----------
    causes : tuple of str
        Names of the gates that the image failed, the worst first, then what may follow from others; empty: it
        passed.
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
    unmatched: float = Field(0.25, ge=0, le=1, description="Bright science stars that no reference star is near to")
    ellipticity: float = Field(0.6, ge=0, le=1, description="1 - b/a of the science PSF")
    width_ratio: float = Field(4.0, ge=0, le=20, description="FWHM of the science image over the reference's")
    transparency_mag: float = Field(0.08, ge=0, le=5, description="Scatter of the flux ratio over the chip, mag")
    crowding: float = Field(0.95, ge=0, le=1, description="Share of the scatter of all pixels that is light, not noise")
    saturated: float = Field(0.05, ge=0, le=1, description="Share of the pixels that are saturated")
    noise_ratio: float = Field(8.0, ge=0, le=1000, description="Noise of the science sky over the reference's, in flux")
    background: float = Field(
        0.5,
        ge=0,
        le=100,
        description="Scatter of the difference's level over the chip, in units of a pixel's sky noise",
    )
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
        return self.judged(_measured(science, reference, difference, candidates))

    def judged(self, numbers: Mapping[str, Fact]) -> QualityReport:
        """Judge numbers that were measured before, by these limits.

        Parameters
        ----------
        numbers : mapping
            Those of a report, by name.
        """
        failed: list[tuple[bool, float, str, str]] = []
        for cause, (name, unit, option) in CAUSES.items():
            value, limit = numbers[name], float(getattr(self, option))
            if isinstance(value, float) and limit > 0 and value > limit:
                words = f"{cause}: {value:.3g} {unit}".rstrip() + f", limit {limit:g} (quality.{option})"
                failed.append((cause in _EFFECTS, -value / limit, cause, words))
        failed.sort()
        causes = tuple(cause for *_, cause, _ in failed)
        return QualityReport(causes, "; ".join(words for *_, words in failed), numbers)


def _measured(science: Image, reference: Image, difference: Difference, candidates: Candidates) -> dict[str, Fact]:
    ny, nx = science.shape
    widths = [image.psf.fwhm if image.psf is not None else None for image in (science, reference)]
    flagged = int(torch.count_nonzero(difference.mask))
    lit = light_share(science)
    stars = science.stars or Stars.empty()
    ratio = difference.facts.get("kernel_sum")
    noise = [float(image.variance[::16, ::16].median().sqrt()) for image in (science, reference)]
    scale = float(ratio) if isinstance(ratio, float) and ratio > 0 else 1.0
    # A kernel that convolves the science image gives the inverse ratio.
    scale = 1.0 / scale if difference.facts.get("convolved") == "science" else scale
    measured = {
        "astrometric_rms_px": reference.facts.get("align_rms_px"),
        # In a crowd the sources found on two frames are not the same ones.
        "unmatched": None if lit is not None and lit > _CROWD else unmatched_share(science, reference, difference),
        "ellipticity": None if science.psf is None else science.psf.ellipticity,
        "width_ratio": widths[0] / widths[1] if widths[0] and widths[1] else None,
        "transparency_mag": transparency_scatter(stars, reference.stars or Stars.empty(), (ny, nx)),
        "crowding": lit,
        "saturated": science.facts.get("saturated_fraction"),
        "noise_ratio": noise[0] / max(noise[1] * scale, 1e-9),
        "background": level_scatter(difference) / max(noise[0], 1e-9),
        "masked": flagged / (ny * nx),
        "misfit": difference.facts.get("kernel_misfit"),
        "candidates": 1e6 * len(candidates) / max(ny * nx - flagged, 1),
    }
    return {f"quality_{name}": _plain(value) for name, value in measured.items()}


def unmatched_share(science: Image, reference: Image, difference: Difference) -> float | None:
    """Share of the bright science stars without a star of the reference near them: the registration holds in part.

    The scatter of the registration knows the stars that were matched, and is small on a chip of which one half was
    matched and the other lost.

    Returns
    -------
    float or None
        Of at most the 200 brightest unflagged stars of S/N > 20 on good pixels, those with no star of the reference
        within 1.5 px or half a FWHM; None with fewer than eight.
    """
    stars, others = science.stars or Stars.empty(), reference.stars or Stars.empty()
    stars = stars[(stars.flags == 0) & (stars.snr > 20.0)][:200]
    if len(stars) < _FEWEST_BRIGHT or len(others) == 0:
        return None
    ny, nx = difference.shape
    x, y = (np.clip(np.round(a).astype(np.int64), 0, n - 1) for a, n in ((stars.x, nx), (stars.y, ny)))
    good = difference.mask.cpu().numpy()[y, x] == 0
    if good.sum() < _FEWEST_BRIGHT:
        return None
    radius = max(1.5, 0.5 * science.psf.fwhm) if science.psf is not None else 1.5
    tree = cKDTree(np.column_stack((others.x, others.y)))
    distance = tree.query(np.column_stack((stars.x, stars.y))[good])[0]
    return float((distance > radius).mean())


def light_share(science: Image) -> float | None:
    """Share of the scatter of the pixels that is light and not noise: 0 on an empty sky, towards 1 in a crowd.

    Light is alike in neighbouring pixels, noise is not: with s(n) the robust scatter of the difference of pixels n
    apart, 1 - s(1)^2 / s(16)^2. Sources on less than half of the pixels hardly change it; where they cover all, there
    is no sky left to measure, and the sources that can be told apart become no more. A PSF of standard deviation s px
    gives exp(-1 / (4 s^2)) at most.

    Returns
    -------
    float or None
        None where hardly a pixel is good, or all are the same.
    """
    scatter = []
    for step in (1, 16):
        first, second = (plane[::8, ::4] for plane in (science.data[:, :-step], science.data[:, step:]))
        good = (science.mask[::8, :-step:4] | science.mask[::8, step::4]) == 0
        values = (first - second)[good].cpu().numpy()
        if values.size < 1000:
            return None
        low, _, high = quartiles(values)
        scatter.append((high - low) / 1.349)
    return float(np.clip(1.0 - (scatter[0] / scatter[1]) ** 2, 0.0, 1.0)) if scatter[1] > 0 else None


def level_scatter(difference: Difference) -> float:
    """Scatter over the chip of the level of the difference, e-: what the sky has that the background mesh has not.

    Robust standard deviation of the medians of 64 px cells, every eighth pixel of every eighth row, freed of the noise
    of the medians.
    """
    data, good = difference.data[::8, ::8].cpu().numpy(), (difference.mask[::8, ::8] == 0).cpu().numpy()
    rows, columns = (n // 8 for n in data.shape)
    if rows * columns < 6:
        return 0.0
    cells, use = (
        plane[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 64)
        for plane in (data, good)
    )
    count = use.sum(1)
    ordered = np.sort(np.where(use, cells, np.inf), axis=1)[count >= 32]
    count = count[count >= 32]
    if count.size < 6:
        return 0.0
    at = np.arange(count.size)
    low, middle, high = (ordered[at, (count * share).astype(np.int64)] for share in (0.25, 0.5, 0.75))
    first, _, last = quartiles(middle)
    own = 1.2533 * float(np.median((high - low) / 1.349 / np.sqrt(count)))
    return float(np.sqrt(max(((last - first) / 1.349) ** 2 - own**2, 0.0)))


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
