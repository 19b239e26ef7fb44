"""Candidates of a difference: peaks of the score, both signs, measured by PSF fits."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from gueststar.detect.measure import aperture_measures, dipoles, local_snr, mask_near, moments, psf_fits
from gueststar.options import Options
from gueststar.planes import gather_stamps
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image

__all__ = ["Detect", "find_peaks"]


class Detect(Options):
    """Find and measure candidates."""

    threshold_sigma: float = Field(5.0, ge=2, le=1000, description="Score at the peak, sigma, either sign")
    merge_fwhm: float = Field(0.8, ge=0, le=10, description="Weaker peaks of one sign within this are dropped, FWHM")
    edge_px: int = Field(3, ge=0, le=500, description="Peaks closer to the edge of the frame are dropped, px")
    masked_peaks: bool = Field(False, description="Keep candidates whose peak lies on a flagged pixel")
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
        dropped = max(0, len(x) - self.n_most)
        x, y = x[: self.n_most], y[: self.n_most]
        candidates = Candidates.empty() if len(x) == 0 else self._measured(x, y, difference, science, reference)
        candidates.table.meta["n_dropped"] = dropped
        return candidates

    def _measured(
        self, x: NDArray[np.int64], y: NDArray[np.int64], difference: Difference, science: Image, reference: Image
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
            "mask_fraction": fraction,
            "mask_flags": flags,
            "mjd": np.full(len(x), science.mjd_mid),
            "band": np.full(len(x), science.band),
        }
        columns["ra"], columns["dec"] = _sky(difference, fit.x, fit.y)
        return Candidates.from_columns({column.name: columns[column.name] for column in CANDIDATE_COLUMNS})


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
