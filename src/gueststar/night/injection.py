"""The second processing of an image: artificial reals are put into it before the subtraction, and looked for."""

from __future__ import annotations

import hashlib

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

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

    Returns
    -------
    Table
        `sources` with found, real (found, and scored at the threshold or above), lost_at (see
        `gueststar.efficiency.losses`), occupied (there was a candidate before), mask_flags under the position,
        snr_difference (flux over its error in the difference: what detection can reach), candidate_id, candidate_snr,
        candidate_flux, candidate_flux_err, offset_px and rb_score.
    """
    known = sources.copy()
    known["change_e"] = np.asarray(sources["flux_e"], np.float64)
    result = judge_sources(
        known, candidates, mask=difference.numpy("mask"), radius_px=radius_px, threshold=threshold, edge_px=edge_px
    )
    result.remove_column("change_e")
    xy = np.column_stack([np.asarray(sources["x"], np.float64), np.asarray(sources["y"], np.float64)])
    earlier = _positions(before)[before["snr"] > 0]
    result["occupied"] = _near(xy, earlier, radius_px)
    ny, nx = difference.shape
    column = np.clip(np.round(xy[:, 0]).astype(int), 0, nx - 1)
    line = np.clip(np.round(xy[:, 1]).astype(int), 0, ny - 1)
    error = difference.numpy("flux_err")[line, column]
    flux = np.asarray(result["flux_e"], np.float32)
    result["snr_difference"] = np.divide(flux, error, out=np.zeros_like(flux), where=error > 0)
    return result


def lost_artificial_reals(sources: Table) -> Table:
    """Artificial reals of an image whose second processing failed, with the columns of `match_artificial_reals`."""
    known = sources.copy()
    known["change_e"] = np.asarray(sources["flux_e"], np.float64)
    result = lost_frame(known)
    result.remove_column("change_e")
    result["occupied"] = np.zeros(len(result), bool)
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
