"""Candidates of a difference: peaks of the score, both signs, measured by PSF fits; trails are one candidate each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from gueststar.detect.blends import fit_blends
from gueststar.detect.dipoles import beyond_shift, dipoles, shift_centres
from gueststar.detect.false_alarms import correlation_of, false_alarm_rate
from gueststar.detect.local import local_scatter
from gueststar.detect.measure import (
    PsfFit,
    aperture_measures,
    local_snr,
    mask_near,
    moments,
    psf_fits,
)
from gueststar.detect.nearby import informative_flags
from gueststar.detect.noise import error_scale, steepness
from gueststar.detect.peaks import find_peaks, peaks_among, pixels_above
from gueststar.detect.shares import beyond_share
from gueststar.detect.trails import Trail, find_trails, trail_of
from gueststar.options import Options
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image

__all__ = ["Detect", "find_peaks"]

_TRAIL_COLUMNS = ("length", "angle", "x0", "y0", "x1", "y1", "peaks")
FoundTrail = tuple[Trail, int]
Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class _Sources:
    """Pixels, signed S/N, factor on the errors, number of the trail or -1, rows split from others, and the fits."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    snr: NDArray[np.float64]
    scale: NDArray[np.float64]
    trail: NDArray[np.int64]
    split: NDArray[np.int64]
    fit: PsfFit


class Detect(Options):
    """Find and measure candidates."""

    threshold_sigma: float = Field(5.0, ge=2, le=1000, description="Score at the peak, sigma, either sign")
    merge_fwhm: float = Field(0.8, ge=0, le=10, description="Weaker peaks of one sign within this are dropped, FWHM")
    edge_px: int = Field(3, ge=0, le=500, description="Peaks closer to the edge of the frame are dropped, px")
    masked_peaks: bool = Field(False, description="Keep candidates whose peak lies on a flagged pixel")
    deblend: bool = Field(True, description="Close sources are fitted together, peaks that hold two are split")
    trails: bool = Field(True, description="Peaks on one straight trail become one candidate with its end points")
    n_most: int = Field(5000, ge=1, description="Keep at most this many, the strongest; the facts tell how many fell")

    def __call__(self, difference: Difference, science: Image, reference: Image) -> Candidates:
        """Find candidates.

        Parameters
        ----------
        difference : Difference
        science : Image
        reference : Image
            On the science grid.

        Returns
        -------
        Candidates
            Strongest first; all columns, also when empty. ``table.meta["n_dropped"]`` counts those beyond `n_most`;
            ``table.meta["false_alarms_expected"]`` is how many noise alone makes on the pixels searched.
        """
        bright = pixels_above(difference.score, self.threshold_sigma)
        x, y = peaks_among(
            *bright,
            difference.score,
            difference.mask,
            radius=self.merge_fwhm * difference.psf.fwhm,
            edge=self.edge_px,
            masked=self.masked_peaks,
        )
        x, y, number, trails = self._without_repeats(x, y, bright, difference)
        dropped = max(0, len(x) - self.n_most)
        if len(x) == 0:
            candidates = Candidates.empty()
        else:
            sources = self._fitted(x[: self.n_most], y[: self.n_most], number[: self.n_most], difference)
            candidates = _measured(sources, difference, science, reference, _trail_columns(sources.trail, trails))
        candidates.table.meta["n_dropped"] = dropped
        candidates.table.meta["false_alarms_expected"] = self._false_alarms(difference)
        return candidates

    def _false_alarms(self, difference: Difference) -> float:
        """Peaks that noise alone makes on the unflagged pixels searched, both signs."""
        ny, nx = difference.shape
        edge = self.edge_px
        seen = difference.mask[edge : max(ny - edge, edge) : 8, edge : max(nx - edge, edge) : 8]
        good = 1.0 if self.masked_peaks else float((seen == 0).float().mean()) if seen.numel() else 0.0
        area = max(ny - 2 * edge, 0) * max(nx - 2 * edge, 0) * good
        return 2.0 * area * false_alarm_rate(self.threshold_sigma, correlation_of(difference.psf))

    def _without_repeats(
        self, x: NDArray[np.int64], y: NDArray[np.int64], bright: Pixels, difference: Difference
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[FoundTrail]]:
        """Peaks, of each trail only the strongest; the number of its trail for each, -1 for none; and the trails."""
        nothing = np.full(len(x), -1, np.int64)
        if not self.trails or len(x) == 0:
            return x, y, nothing, []
        score, mask = difference.score.cpu().numpy(), difference.mask.cpu().numpy()
        fwhm, places = difference.psf.fwhm, (x.astype(np.float64), y.astype(np.float64))
        trails = find_trails(score, mask, *places, fwhm=fwhm, threshold=self.threshold_sigma, bright=bright)
        number = trail_of(trails, *places, np.sign(score[y, x]).astype(np.float64), fwhm)
        # Peaks come strongest first.
        _, first = np.unique(number, return_index=True)
        keep = number < 0
        keep[first] = True
        return x[keep], y[keep], number[keep], [(trail, int((number == i).sum())) for i, trail in enumerate(trails)]

    def _fitted(
        self, x: NDArray[np.int64], y: NDArray[np.int64], trail: NDArray[np.int64], difference: Difference
    ) -> _Sources:
        """Fit each peak, overlapping ones together; further sources of peaks that hold two stand at their strength."""
        snr = difference.score[y, x].double().cpu().numpy()
        scale = error_scale(difference, x, y)
        fit = psf_fits(difference, x, y, scale)
        parent = np.empty(0, np.int64)
        if self.deblend:
            loose = trail < 0
            fit, parent = fit_blends(difference, fit, np.sign(snr), loose, scale, threshold=self.threshold_sigma)
        slope_x, slope_y = steepness(difference)
        fit = replace(fit, x_err=fit.x_err * slope_x, y_err=fit.y_err * slope_y)
        if parent.size == 0:
            return _Sources(x, y, snr, scale, trail, parent, fit)
        ny, nx = difference.shape
        more = slice(len(x), None)
        x = np.append(x, np.clip(np.round(fit.x[more]).astype(np.int64), 0, nx - 1))
        y = np.append(y, np.clip(np.round(fit.y[more]).astype(np.int64), 0, ny - 1))
        snr = np.append(snr, fit.flux[more] / fit.flux_err[more])
        trail = np.append(trail, np.full(parent.size, -1))
        order = np.argsort(-np.abs(snr), kind="stable")
        split = np.flatnonzero(order >= len(x) - parent.size)
        return _Sources(
            x[order], y[order], snr[order], np.append(scale, scale[parent])[order], trail[order], split,
            fit.rows(order),
        )  # fmt: skip


def _measured(
    sources: _Sources, difference: Difference, science: Image, reference: Image, more: Mapping[str, ArrayLike]
) -> Candidates:
    """The table of some sources."""
    x, y, fit, scale, sign = sources.x, sources.y, sources.fit, sources.scale, np.sign(sources.snr)
    shape = moments(difference, x, y, sign, sources.snr)
    aperture, auto = aperture_measures(difference, fit.x, fit.y, sign, shape, scale)
    dipole = dipoles(difference, x, y, sign)
    places = shift_centres(fit.x, fit.y, dipole, reference.stars, difference.psf.fwhm)
    fraction, flags = mask_near(difference, x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = difference.zeropoint - 2.5 * np.log10(np.abs(fit.flux))
        mag_err = 2.5 / np.log(10.0) * fit.flux_err / np.abs(fit.flux)
    columns: dict[str, ArrayLike] = {
        "candidate_id": _identifiers(difference, x, y, sign, sources.split),
        "image_id": np.full(len(x), difference.science_id),
        "x": fit.x,
        "y": fit.y,
        "x_err": fit.x_err,
        "y_err": fit.y_err,
        "flux": fit.flux,
        "flux_err": fit.flux_err,
        "mag": mag,
        "mag_err": mag_err,
        "snr": sources.snr,
        "snr_aper": aperture,
        "snr_auto": auto,
        "fwhm": shape.fwhm,
        "psf_fwhm": np.full(len(x), difference.psf.fwhm),
        "elongation": shape.elongation,
        "psf_chi2": fit.chi2,
        "dipole_separation": dipole.separation,
        "dipole_ratio": dipole.ratio,
        "dipole_dchi2": dipole.dchi2,
        "snr_beyond_shift": beyond_shift(difference, fit, *places, scale),
        "snr_beyond_share": beyond_share(difference, science, reference, fit),
        "science_snr": local_snr(science.data, science.variance, difference.psf, x, y),
        "reference_snr": local_snr(reference.data, reference.variance, difference.psf, x, y),
        "star_distance": _nearest_source(reference, fit.x, fit.y),
        "local_scatter": local_scatter(difference, x, y),
        "mask_fraction": fraction,
        "mask_flags": flags | informative_flags(difference, science, reference, x, y),
        "mjd": np.full(len(x), science.mjd_mid),
        "band": np.full(len(x), science.band),
    }
    columns |= more
    columns["ra"], columns["dec"] = _sky(difference, fit.x, fit.y)
    return Candidates.from_columns({column.name: columns[column.name] for column in CANDIDATE_COLUMNS})


def _trail_columns(number: NDArray[np.int64], trails: list[FoundTrail]) -> dict[str, ArrayLike]:
    """Columns of the trail that each candidate stands for."""
    nan = float("nan")
    rows = [(t.length, t.angle, t.x0, t.y0, t.x1, t.y1, n) for t, n in trails] + [(0.0, nan, nan, nan, nan, nan, 0)]
    # Number -1, no trail, is the last row.
    columns = zip(*(rows[i] for i in number.tolist()), strict=True)
    return {f"trail_{name}": values for name, values in zip(_TRAIL_COLUMNS, columns, strict=True)}


def _identifiers(
    difference: Difference,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    sign: NDArray[np.float64],
    split: NDArray[np.int64],
) -> list[str]:
    key = f"{difference.science_id}/{difference.reference_id}/{difference.engine}"
    which = np.where(np.isin(np.arange(len(x)), split), "/split", "")
    return [
        hashlib.blake2b(f"{key}/{i}/{j}/{s:+.0f}{w}".encode(), digest_size=12).hexdigest()
        for i, j, s, w in zip(x, y, sign, which, strict=True)
    ]


def _nearest_source(reference: Image, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    if reference.stars is None or len(reference.stars) == 0:
        return np.full(len(x), np.inf)
    tree = cKDTree(np.column_stack((reference.stars.x, reference.stars.y)))
    return np.asarray(tree.query(np.column_stack((x, y)))[0])


def _sky(
    difference: Difference, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if difference.wcs is None:
        return np.full(len(x), np.nan), np.full(len(x), np.nan)
    sky = difference.wcs.pixel_to_world(x, y).icrs
    return np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)
