"""The second processing of an image: artificial reals are put into it before the subtraction, and looked for."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from gueststar.efficiency.evidence import SearchRules, residual_at
from gueststar.efficiency.losses import judge_sources, lost_frame
from gueststar.simulate.inject.brightness import draw_brightness
from gueststar.simulate.inject.light import UNUSABLE
from gueststar.types import Candidates, Difference, Image

__all__ = ["image_rng", "lost_artificial_reals", "match_artificial_reals", "unsearched_reals", "with_flagged_places"]


def image_rng(seed: int, name: str) -> np.random.Generator:
    """Random numbers that depend on the seed of the run and the name of the image, not on the order of processing."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def with_flagged_places(image: Image, sources: Table, *, snr: tuple[float, float], rng: np.random.Generator) -> Table:
    """Add places on flagged pixels, as many as the same density of sources has there.

    Places of artificial reals are drawn away from pixels without data, bad, saturated ones and cosmic rays; real
    transients fall on those too, and are lost.

    Parameters
    ----------
    image : Image
    sources : Table
        From `draw_artificial_reals`.
    snr : (float, float)
        Range of the S/N.
    rng : Generator

    Returns
    -------
    Table
        The sources, and below them those added, with placement 'random', S/N, and the flux that the others have at
        this S/N.
    """
    flagged = binary_dilation((image.numpy("mask") & UNUSABLE) != 0, np.ones((3, 3), bool))
    share = float(flagged.mean())
    # Where nearly all is flagged there is hardly a place to compare with.
    n = int(len(sources) * share / max(1.0 - share, 0.05) + rng.random())
    row, column = np.nonzero(flagged)
    if n == 0 or row.size == 0:
        return sources
    chosen = rng.integers(row.size, size=n)
    drawn = draw_brightness(n, *snr, rng=rng)
    per_snr = float(np.median(np.asarray(sources["flux_e"]) / np.asarray(sources["snr"])))
    x, y = (axis[chosen] + rng.uniform(-0.5, 0.5, n) for axis in (column, row))
    ny, nx = image.shape
    added: dict[str, object] = {name: np.full(n, np.nan) for name in sources.colnames if name != "placement"}
    added |= {"x": np.clip(x, 0, nx - 1), "y": np.clip(y, 0, ny - 1), "snr": drawn, "flux_e": per_snr * drawn}
    if "placement" in sources.colnames:
        added["placement"] = np.full(n, "random", "U8")
    return vstack([sources, Table(added)], metadata_conflicts="silent")


def match_artificial_reals(
    sources: Table,
    candidates: Candidates,
    difference: Difference,
    before: Candidates,
    *,
    radius_px: float,
    threshold: float,
    edge_px: int = 0,
    rules: SearchRules | None = None,
    difference_before: Difference | None = None,
) -> Table:
    """Say of each artificial real whether it was found, and at which step it was lost.

    A positive candidate within the radius finds it; each candidate finds at most one, the nearest pairs first.

    Parameters
    ----------
    sources : Table
        x, y, flux_e, snr, placement; with a column status, those that are not 'injected' were not put in.
    candidates : Candidates
        Of the image with the sources in it.
    difference : Difference
        With the sources in it.
    before : Candidates
        Of the image without them.
    radius_px : float
    threshold : float
        Score from which a candidate counts as real.
    edge_px : int
        Rim of the frame in which nothing is detected.
    rules : SearchRules, optional
        How the difference was searched; the default rules when left out.
    difference_before : Difference, optional
        Without the sources in it: what the subtraction had left at their places.

    Returns
    -------
    Table
        `sources` with found, real (found, and scored at the threshold or above), lost_at and lost_why (see
        `gueststar.realbogus.audit.missed_steps`), peak_snr, beside_px and local_scatter (see
        `gueststar.efficiency.losses.judge_sources`), residual_snr (the largest |score| within 1.5 FWHM before),
        occupied (there was a candidate before), mask_flags under the position, snr_difference (flux over its error in
        the difference: what detection can reach), candidate_id, candidate_snr, candidate_flux, candidate_flux_err,
        offset_px and rb_score.
    """
    known = sources.copy()
    known["change_e"] = np.asarray(sources["flux_e"], np.float64)
    expected = _expected(sources, difference)
    rules = replace(rules or SearchRules(), edge_px=edge_px, fwhm_px=difference.psf.fwhm)
    result = judge_sources(
        known, candidates, mask=difference.numpy("mask"), radius_px=radius_px, threshold=threshold, edge_px=edge_px,
        score=difference.numpy("score"), rules=rules, expected_snr=np.where(expected > 0, expected, np.nan),
    )  # fmt: skip
    result.remove_column("change_e")
    result["residual_snr"] = np.full(len(result), np.nan, np.float32)
    if difference_before is not None:
        result["residual_snr"] = residual_at(
            difference_before.numpy("score"), difference_before.numpy("mask"), sources["x"], sources["y"],
            inner_px=0.0, outer_px=1.5 * difference.psf.fwhm,
        ).astype(np.float32)  # fmt: skip
    xy = np.column_stack([np.asarray(sources["x"], np.float64), np.asarray(sources["y"], np.float64)])
    earlier = _positions(before)[before["snr"] > 0]
    result["occupied"] = _near(xy, earlier, radius_px)
    result["snr_difference"] = expected
    return result


def _expected(sources: Table, difference: Difference) -> NDArray[np.float32]:
    """Flux over its error in the difference; 0 where it has no data."""
    ny, nx = difference.shape
    column = np.clip(np.round(np.asarray(sources["x"], np.float64)).astype(int), 0, nx - 1)
    line = np.clip(np.round(np.asarray(sources["y"], np.float64)).astype(int), 0, ny - 1)
    error = difference.numpy("flux_err")[line, column]
    flux = np.asarray(sources["flux_e"], np.float32)
    return np.asarray(np.divide(flux, error, out=np.zeros_like(flux), where=error > 0), np.float32)


def lost_artificial_reals(sources: Table) -> Table:
    """Artificial reals of an image whose second processing failed, with the columns of `match_artificial_reals`."""
    known = sources.copy()
    known["change_e"] = np.asarray(sources["flux_e"], np.float64)
    result = lost_frame(known)
    result.remove_column("change_e")
    result["occupied"] = np.zeros(len(result), bool)
    result["residual_snr"] = np.full(len(result), np.nan, np.float32)
    result["snr_difference"] = np.full(len(result), np.nan, np.float32)
    return result


def unsearched_reals(n: int, *, snr: tuple[float, float], rng: np.random.Generator) -> Table:
    """Artificial reals that a frame would have got, had it not failed: S/N only, the rest is not known.

    Parameters
    ----------
    n : int
    snr : (float, float)
        Range of their S/N.
    rng : Generator
    """
    nothing = np.full(n, np.nan)
    drawn = Table({"x": nothing, "y": nothing, "flux_e": nothing, "snr": draw_brightness(n, *snr, rng=rng)})
    drawn["placement"] = np.full(n, "", "U8")
    return lost_artificial_reals(drawn)


def _positions(candidates: Candidates) -> NDArray[np.float64]:
    return np.column_stack([candidates["x"], candidates["y"]]).astype(np.float64)


def _near(xy: NDArray[np.float64], others: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    if len(others) == 0 or len(xy) == 0:
        return np.zeros(len(xy), bool)
    distance, _ = cKDTree(others).query(xy, distance_upper_bound=radius)
    near: NDArray[np.bool_] = np.isfinite(distance)
    return near
