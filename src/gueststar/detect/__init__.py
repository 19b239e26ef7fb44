"""Candidates of a difference: peaks of the score, both signs, measured by PSF fits; trails are one candidate each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from gueststar.detect.local import local_scatter
from gueststar.detect.measure import aperture_measures, dipoles, local_snr, mask_near, moments, psf_fits
from gueststar.detect.trails import Trail, find_trails, trail_of
from gueststar.options import Options
from gueststar.planes import gather_stamps
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image

__all__ = ["Detect", "find_peaks"]

_TRAIL_COLUMNS = ("length", "angle", "x0", "y0", "x1", "y1", "peaks")
FoundTrail = tuple[Trail, int]


class Detect(Options):
    """Find and measure candidates."""

    threshold_sigma: float = Field(5.0, ge=2, le=1000, description="Score at the peak, sigma, either sign")
    merge_fwhm: float = Field(0.8, ge=0, le=10, description="Weaker peaks of one sign within this are dropped, FWHM")
    edge_px: int = Field(3, ge=0, le=500, description="Peaks closer to the edge of the frame are dropped, px")
    masked_peaks: bool = Field(False, description="Keep candidates whose peak lies on a flagged pixel")
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
            Strongest first; all columns, also when empty. ``table.meta["n_dropped"]`` counts those beyond `n_most`.
        """
        x, y = find_peaks(
            difference.score,
            difference.mask,
            threshold=self.threshold_sigma,
            radius=self.merge_fwhm * difference.psf.fwhm,
            edge=self.edge_px,
            masked=self.masked_peaks,
        )
        x, y, number, trails = self._without_repeats(x, y, difference)
        dropped = max(0, len(x) - self.n_most)
        x, y, number = x[: self.n_most], y[: self.n_most], number[: self.n_most]
        candidates = Candidates.empty()
        if len(x):
            columns = _trail_columns(number, trails)
            candidates = self._measured(x, y, difference, science, reference, columns)
        candidates.table.meta["n_dropped"] = dropped
        return candidates

    def _without_repeats(
        self, x: NDArray[np.int64], y: NDArray[np.int64], difference: Difference
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[FoundTrail]]:
        """Peaks, of each trail only the strongest; the number of its trail for each, -1 for none; and the trails."""
        nothing = np.full(len(x), -1, np.int64)
        if not self.trails or len(x) == 0:
            return x, y, nothing, []
        score, fwhm = difference.numpy("score"), difference.psf.fwhm
        places = x.astype(np.float64), y.astype(np.float64)
        trails = find_trails(score, difference.numpy("mask"), *places, fwhm=fwhm, threshold=self.threshold_sigma)
        number = trail_of(trails, *places, np.sign(score[y, x]).astype(np.float64), fwhm)
        # Peaks come strongest first.
        _, first = np.unique(number, return_index=True)
        keep = number < 0
        keep[first] = True
        return x[keep], y[keep], number[keep], [(trail, int((number == i).sum())) for i, trail in enumerate(trails)]

    def _measured(
        self,
        x: NDArray[np.int64],
        y: NDArray[np.int64],
        difference: Difference,
        science: Image,
        reference: Image,
        more: Mapping[str, ArrayLike],
    ) -> Candidates:
        score = difference.score.cpu().numpy()[y, x]
        scale = _error_scale(difference, x, y)
        fit = psf_fits(difference, x, y, scale)
        sign = np.sign(score)
        shape = moments(difference, x, y, sign)
        aperture, auto = aperture_measures(difference, fit.x, fit.y, sign, shape, scale)
        dipole = dipoles(difference, x, y, sign)
        fraction, flags = mask_near(difference, x, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            mag = difference.zeropoint - 2.5 * np.log10(np.abs(fit.flux))
            mag_err = 2.5 / np.log(10.0) * fit.flux_err / np.abs(fit.flux)
        columns: dict[str, ArrayLike] = {
            "candidate_id": _identifiers(difference, x, y, sign),
            "image_id": np.full(len(x), difference.science_id),
            "x": fit.x,
            "y": fit.y,
            "x_err": fit.x_err,
            "y_err": fit.y_err,
            "flux": fit.flux,
            "flux_err": fit.flux_err,
            "mag": mag,
            "mag_err": mag_err,
            "snr": score,
            "snr_aper": aperture,
            "snr_auto": auto,
            "fwhm": shape.fwhm,
            "psf_fwhm": np.full(len(x), difference.psf.fwhm),
            "elongation": shape.elongation,
            "psf_chi2": fit.chi2,
            "dipole_separation": dipole.separation,
            "dipole_ratio": dipole.ratio,
            "dipole_dchi2": dipole.dchi2,
            "science_snr": local_snr(science.data, science.variance, difference.psf, x, y),
            "reference_snr": local_snr(reference.data, reference.variance, difference.psf, x, y),
            "star_distance": _nearest_source(reference, fit.x, fit.y),
            "local_scatter": local_scatter(difference, x, y),
            "mask_fraction": fraction,
            "mask_flags": flags,
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


def find_peaks(
    score: torch.Tensor, mask: torch.Tensor, *, threshold: float, radius: float, edge: int, masked: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Local extrema of a score plane.

    Parameters
    ----------
    score, mask : Tensor, shape (ny, nx)
    threshold : float
        On the absolute value.
    radius : float
        Within this, the stronger of two peaks of one sign stays, px.
    edge : int
        Frame left out, px.
    masked : bool
        Keep peaks on flagged pixels.

    Returns
    -------
    x, y : ndarray of int64, shape (n,)
        Strongest first.
    """
    ny, nx = (int(n) for n in score.shape)
    above = score.abs() >= threshold
    if not masked:
        above &= mask == 0
    above[:edge], above[ny - edge :], above[:, :edge], above[:, nx - edge :] = (False,) * 4
    y, x = (axis.cpu().numpy() for axis in torch.nonzero(above, as_tuple=True))
    if len(x) == 0:
        return x, y
    near = gather_stamps(score, x, y, 3).reshape(len(x), 9)
    centre = near[:, 4:5]
    top = ((near * torch.sign(centre)) <= centre.abs()).all(1).cpu().numpy()
    x, y, value = x[top], y[top], centre[:, 0].cpu().numpy()[top]
    order = np.argsort(-np.abs(value), kind="stable")
    x, y, value = x[order], y[order], value[order]
    points = np.column_stack((x, y)).astype(float)
    dead = np.zeros(len(x), bool)
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    # Sorted by strength, the first of each pair is the stronger: it removes the second unless it is itself removed.
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] if len(pairs) else ():
        if not dead[i] and np.sign(value[i]) == np.sign(value[j]):
            dead[j] = True
    return x[~dead], y[~dead]


def _error_scale(difference: Difference, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much larger the error of a flux is than white noise of the variance says."""
    stamps = difference.psf.at(x, y)
    size = difference.psf.size
    noise = gather_stamps(difference.variance, x, y, size).clamp(min=1e-6)
    white = 1.0 / (stamps**2 / noise).sum((1, 2)).clamp(min=1e-30).sqrt()
    error = difference.flux_err.cpu().numpy()[y, x]
    scale = error / white.cpu().numpy()
    return np.where(np.isfinite(scale), np.clip(scale, 0.2, 5.0), 1.0)


def _identifiers(
    difference: Difference, x: NDArray[np.int64], y: NDArray[np.int64], sign: NDArray[np.float64]
) -> list[str]:
    key = f"{difference.science_id}/{difference.reference_id}/{difference.engine}"
    return [
        hashlib.blake2b(f"{key}/{i}/{j}/{s:+.0f}".encode(), digest_size=12).hexdigest()
        for i, j, s in zip(x, y, sign, strict=True)
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
