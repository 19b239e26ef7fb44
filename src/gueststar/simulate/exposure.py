"""One exposure of one chip: the sky through the optics onto the detector and into a file's numbers and header."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from gueststar.simulate.camera import make_wcs, world_to_pixel
from gueststar.simulate.detector.readout import ChipFaults, pixel_noise_e, read_out
from gueststar.simulate.frame import Place, RawFrame, flux_e
from gueststar.simulate.header import header_cards
from gueststar.simulate.optics.conditions import Conditions, make_psf_field, registration_error
from gueststar.simulate.optics.scene import paint_scene
from gueststar.simulate.sky import sky_at
from gueststar.simulate.sky.satellites import draw_satellites
from gueststar.simulate.survey import Survey
from gueststar.simulate.truth import make_truth, source_rows

__all__ = ["expose"]

_CUT_SIGMA = 0.05  # light below this part of the sky's noise in a pixel is not drawn
_FAR_PX = 1e5
_TRAIL_PX = 0.5  # what moves further than this during the exposure is drawn as a trail


def expose(
    survey: Survey,
    sky: Table,
    place: Place,
    conditions: Conditions,
    *,
    rng: np.random.Generator,
    chip: ChipFaults,
    name: str,
    exposure_id: int = 0,
    exposures: int = 1,
) -> tuple[RawFrame, Table]:
    """Make one frame and the truth about it.

    Parameters
    ----------
    survey : Survey
        Camera and faults.
    sky : Table
        From `make_sky`.
    place : Place
        Field and chip.
    conditions : Conditions
        Seeing, sky brightness and pointing.
    rng : Generator
        Of this exposure.
    chip : ChipFaults
        What stays with the chip.
    name : str
        File name without suffix.
    exposure_id : int
        Number of the exposure.
    exposures : int
        Exposures summed in the frame.

    Returns
    -------
    RawFrame, Table
        The truth has one row per source, trail, particle and fault on the frame, with the columns `TRUTH_COLUMNS`.
    """
    seconds = survey.exposure_s * exposures
    sky_e = float(seconds * 10 ** (0.4 * (survey.zeropoint_mag - conditions.sky_mag)) * survey.pixel_scale_arcsec**2)
    noise_e = pixel_noise_e(survey, place, sky_e, exposures)
    cards = place.cards(survey, conditions)
    psf = make_psf_field(conditions, place.shape)
    satellites = draw_satellites(survey, place.shape, exposure_s=survey.exposure_s, exposures=exposures, rng=rng)
    wcs = make_wcs(cards)
    seen = _seen(survey, sky, place, conditions, wcs=wcs, exposures=exposures)
    scene = paint_scene(
        survey, seen, satellites, place, conditions, wcs=wcs, psf=psf, cut=_CUT_SIGMA * noise_e, exposures=exposures
    )
    counts, things = read_out(
        survey, scene.total, place, conditions, sky_e=sky_e, exposures=exposures, rng=rng, chip=chip
    )
    full_e = survey.full_well_e * survey.frames * exposures
    frame = RawFrame(
        data=(counts / np.float32(survey.gain_e_adu)).astype(np.float32),
        header={**header_cards(survey, place, conditions.mjd, exposure_id, exposures=exposures), **cards},
        gain_e_adu=survey.gain_e_adu,
        read_noise_e=survey.read_noise_e * float(np.sqrt(survey.frames * exposures)),
        saturation_adu=survey.saturation_adu * survey.frames * exposures,
        mjd_mid=conditions.mjd + 0.5 * seconds / 86400.0,
        exposure_s=seconds,
        place=place,
        conditions=conditions,
        name=name,
        facts={
            "sky_e": sky_e, "sky_noise_e": noise_e,
            "zeropoint_mag": survey.zeropoint_mag + 2.5 * float(np.log10(seconds)) - conditions.extinction_mag,
        },
    )  # fmt: skip
    sources = source_rows(
        seen,
        frame,
        psf,
        galaxies_e=scene.galaxies,
        nebula_e=scene.nebula,
        clear=scene.clear,
        noise_e=noise_e,
        full_e=full_e,
    )
    return frame, make_truth(frame, sources, [*scene.things, *things])


def _seen(survey: Survey, sky: Table, place: Place, conditions: Conditions, *, wcs: WCS, exposures: int) -> Table:
    """The sky at the middle of the exposure: true pixel positions, fluxes, and the path of what moves."""
    seconds = survey.exposure_s * exposures
    seen = sky_at(sky, conditions.mjd + 0.5 * seconds / 86400.0)
    x, y = world_to_pixel(wcs, seen["ra"], seen["dec"])
    # What moved may be on the other side of the sky, where a tangent plane has no pixels.
    there = np.maximum(np.abs(x), np.abs(y)) < _FAR_PX
    x, y = np.where(there, x, -_FAR_PX), np.where(there, y, -_FAR_PX)
    dx, dy = registration_error(conditions, x, y, place.shape)
    seen["x"], seen["y"] = x + dx, y + dy
    mag = np.asarray(seen["mag"]) + conditions.colour_term * np.asarray(seen["colour"])
    seen["flux"] = flux_e(survey, mag, extinction_mag=conditions.extinction_mag, exposures=exposures)
    seen["re_px"] = seen["re_arcsec"] / survey.pixel_scale_arcsec
    length, angle = np.zeros(len(seen)), np.zeros(len(seen))
    moving = np.flatnonzero(there & ((seen["rate_ra_arcsec_h"] != 0) | (seen["rate_dec_arcsec_h"] != 0)))
    if moving.size:
        rows, hours = seen[moving], seconds / 3600.0
        ra = rows["ra"] + rows["rate_ra_arcsec_h"] * hours / 3600.0 / np.cos(np.radians(rows["dec"]))
        later = np.stack(world_to_pixel(wcs, ra, rows["dec"] + rows["rate_dec_arcsec_h"] * hours / 3600.0))
        step = later - np.stack([x[moving], y[moving]])
        length[moving], angle[moving] = np.hypot(*step), np.arctan2(step[1], step[0])
    seen["trail_px"], seen["trail_rad"] = np.where(length >= _TRAIL_PX, length, 0.0), angle
    return seen
