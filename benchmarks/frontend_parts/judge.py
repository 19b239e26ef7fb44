"""Judge a difference against the truth: artifacts, residuals at stars, fluxes, recall, the score on empty sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from frontend_parts.fields import TRANSIENTS, FieldPair
from gueststar.ingest.psf import psf_photometry
from gueststar.simulate.causes import causes_of
from gueststar.types import Candidates, Difference, Image

__all__ = ["ARTIFACTS", "judge"]

#: Causes that a better subtraction would not have; cosmic rays, hot pixels and saturated stars are not its doing.
ARTIFACTS = ("star", "galaxy", "bright_star", "ghost", "edge", "noise")
_RADIUS_PX = 2.0


def judge(pair: FieldPair, aligned: Image, difference: Difference, candidates: Candidates) -> dict[str, Any]:
    """All numbers of one difference."""
    fwhm = max(pair.science.psf.fwhm, pair.reference.psf.fwhm)
    causes = causes_of(
        candidates["x"], candidates["y"], pair.truth, pair.reference_truth, shape=pair.science.shape, fwhm_px=fwhm
    )
    bad = np.isin(causes, ARTIFACTS)
    positive = candidates["snr"] > 0
    transients = _transients(pair, aligned)
    numbers: dict[str, Any] = {
        "artifacts_positive": int((bad & positive).sum()),
        "artifacts_negative": int((bad & ~positive).sum()),
        "noise_peaks": int((causes == "noise").sum()),
        "candidates": len(candidates),
        "chi2_p90": chi2_p90(pair, aligned, difference),
        "flux_scale": (scale := flux_scale(pair)),
        **_fluxes(transients, candidates, scale),
        **_empty_score(pair, difference),
    }
    kinds, counts = np.unique(causes, return_counts=True)
    numbers["causes"] = {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}
    return numbers


def _transients(pair: FieldPair, aligned: Image) -> Table:
    """Those on good pixels of both images, with the S/N of their change."""
    truth = pair.truth[np.isin(pair.truth["kind"], TRANSIENTS)]
    ny, nx = pair.science.shape
    x, y = np.round(np.asarray(truth["x"])).astype(int), np.round(np.asarray(truth["y"])).astype(int)
    inside = (x >= 8) & (x < nx - 8) & (y >= 8) & (y < ny - 8)
    flagged = (pair.science.numpy("mask") != 0) | (aligned.numpy("mask") != 0)
    good = inside.copy()
    good[inside] &= ~flagged[y[inside], x[inside]]
    truth = truth[good]
    share = np.asarray(truth["change_e"]) / np.maximum(np.asarray(truth["flux_e"]), 1e-9)
    truth["change_snr"] = share * np.asarray(truth["snr"])
    return truth[(truth["change_snr"] > 5.0) & ~np.asarray(truth["saturated"], bool)]


def flux_scale(pair: FieldPair) -> float:
    """PSF flux over true flux of lone bright stars of the science image: what a zero point takes out; 1 if too few.

    Flat field, gain, colour and the normalisation of the PSF are in it alike for stars and for transients. Lone means
    no other light of 2 % within 2 FWHM; stricter bounds leave too few in a crowd, and change the median by 0.3 %.
    """
    truth, radius = pair.truth, 2.0 * pair.science.psf.fwhm
    x, y, flux = (np.asarray(truth[name], float) for name in ("x", "y", "flux_e"))
    ny, nx = pair.science.shape
    sound = (np.asarray(truth["kind"]) == "star") & (np.asarray(truth["snr"]) > 100.0)
    sound &= ~np.asarray(truth["saturated"], bool) & (x > 30) & (y > 30) & (x < nx - 31) & (y < ny - 31)
    bright = np.flatnonzero(sound)
    tree = cKDTree(np.column_stack((x, y)))
    near = tree.query_ball_point(np.column_stack((x[bright], y[bright])), radius)
    alone = [sum(flux[j] for j in group if j != i) < 0.02 * flux[i] for i, group in zip(bright, near, strict=True)]
    bright = bright[np.array(alone, bool)]
    flags = pair.science.numpy("mask")
    clear = [not flags[j - 3 : j + 4, i - 3 : i + 4].any() for i, j in np.round((x[bright], y[bright])).T.astype(int)]
    bright = bright[np.array(clear, bool)]
    if bright.size < 8:
        return 1.0
    measured = psf_photometry(pair.science.data, pair.science.psf, x[bright], y[bright])
    return float(np.median(measured / flux[bright]))


def _fluxes(truth: Table, candidates: Candidates, scale: float) -> dict[str, Any]:
    positive = candidates["snr"] > 0
    places = np.column_stack((candidates["x"], candidates["y"]))[positive]
    if len(truth) == 0 or len(places) == 0:
        return {"transients": len(truth), "found": 0, "ratios": [], "pulls": []}
    distance, index = cKDTree(places).query(np.column_stack((truth["x"], truth["y"])))
    hit = distance < _RADIUS_PX
    flux, error = (candidates[name][positive][index] for name in ("flux", "flux_err"))
    true, snr = scale * np.asarray(truth["change_e"]), np.asarray(truth["change_snr"])
    hostless = np.asarray(truth["kind"]) == "hostless"
    bright = hit & (snr > 20.0) & hostless
    # Fainter ones are found where noise lifts them, which is a bias of the threshold, not of the flux.
    sure = hit & (snr > 8.0) & hostless
    return {
        "transients": len(truth),
        "found": int(hit.sum()),
        "ratios": [[float(r), float(e)] for r, e in zip((flux / true)[bright], (error / true)[bright], strict=True)],
        "pulls": ((flux - true) / error)[sure].tolist(),
    }


def chi2_p90(pair: FieldPair, aligned: Image, difference: Difference, *, snr: float = 200.0) -> float:
    """90th percentile of the reduced chi-square on unflagged discs of 1.5 FWHM around unsaturated stars.

    The noise is not the engine's own claim: it is the scatter of the difference on empty sky, the photon noise of the
    true scene, and that of the reference's stars, passed on as the reference's sky noise is.
    """
    truth = pair.truth
    points = np.isin(truth["kind"], ("star",)) & (np.asarray(truth["snr"]) > snr)
    points &= ~np.asarray(truth["saturated"], bool)
    radius = 1.5 * pair.science.psf.fwhm
    data = difference.numpy().astype(np.float64)
    empty = _empty_sky(pair, difference, 2.0 * pair.science.psf.fwhm)
    if empty.sum() < 2000:
        return float("nan")
    sky = _robust_variance(data[empty])
    passed = max(sky - _robust_variance(pair.science.numpy()[empty]), 0.0)
    noise = aligned.numpy("variance")
    stars = np.maximum(noise / np.median(noise[empty]) - 1.0, 0.0)
    pull2 = data**2 / (sky + np.maximum(pair.scene, 0.0) + passed * stars)
    flagged = difference.numpy("mask") != 0
    found = _disc_means(pull2, flagged, np.asarray(truth["x"])[points], np.asarray(truth["y"])[points], radius)
    return float(np.quantile(found, 0.9)) if found.size >= 5 else float("nan")


def _robust_variance(values: NDArray[np.floating]) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    return float((high - low) / 1.349) ** 2


def _disc_means(
    plane: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float64]:
    half = int(np.ceil(radius))
    grid = np.mgrid[-half : half + 1, -half : half + 1]
    disc = np.hypot(*grid) <= radius
    means = []
    ny, nx = plane.shape
    for cx, cy in zip(np.round(x).astype(int), np.round(y).astype(int), strict=True):
        if not (half <= cx < nx - half and half <= cy < ny - half):
            continue
        cut = (slice(cy - half, cy + half + 1), slice(cx - half, cx + half + 1))
        if not flagged[cut][disc].any():
            means.append(plane[cut][disc].mean())
    return np.array(means)


def _empty_sky(pair: FieldPair, difference: Difference, radius: float) -> NDArray[np.bool_]:
    """Unflagged pixels far from every source of either frame, by the truth."""
    free = np.ones(pair.science.shape, bool)
    ny, nx = free.shape
    for table in (pair.truth, pair.reference_truth):
        snr = np.nan_to_num(np.asarray(table["snr"], np.float64))
        rows = table[(snr > 0.7) | np.isin(table["kind"], ("cosmic_ray", "hot_pixel", "telegraph"))]
        x, y = np.round(np.asarray(rows["x"])), np.round(np.asarray(rows["y"]))
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        free[y[inside].astype(int), x[inside].astype(int)] = False
    empty = distance_transform_edt(free) > radius
    # Wings of bright stars and galaxies reach further.
    return empty & (difference.numpy("mask") == 0) & (pair.scene < 0.1 * np.sqrt(pair.science.numpy("variance")))


def _empty_score(pair: FieldPair, difference: Difference) -> dict[str, Any]:
    empty = _empty_sky(pair, difference, 2.0 * pair.science.psf.fwhm)
    values = difference.numpy("score")[empty]
    values = values[values != 0]
    if values.size < 2000:
        return {"score_std": float("nan"), "empty_pixels": int(values.size)}
    kept = values[np.abs(values) < 5.5]
    return {"score_std": float(kept.std()), "empty_pixels": int(values.size)}
