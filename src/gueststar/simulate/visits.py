"""Single simulated frames, and pairs of science and reference for training and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from gueststar.errors import ConfigError
from gueststar.instruments import Instrument, load_instrument
from gueststar.simulate.camera import chip_offset_deg, generator, seed_sequence
from gueststar.simulate.detector.readout import ChipFaults
from gueststar.simulate.exposure import expose
from gueststar.simulate.frame import Place, RawFrame, flux_e
from gueststar.simulate.header import file_name
from gueststar.simulate.optics.conditions import Conditions, draw_conditions, fail_wcs, share_optics
from gueststar.simulate.sky import make_sky, sky_at
from gueststar.simulate.survey import Survey

__all__ = ["CHIP_SHAPE", "SimulatedPair", "Visit", "field_sky", "simulate_frame", "simulate_pair"]

CHIP_SHAPE = (1128, 2000)

# First number of the key of each kind of random numbers.
_FIELD, _SKY, _CHIP, _CONDITIONS, _EXPOSURE, _HOLES, _WCS, _AGE, _OPTICS = range(9)
_FIRST_EXPOSURE = 94238
_SMALLEST = 48
_MOVING = ("asteroid", "near_earth")
# Rotation from galactic to equatorial axes (ICRS; Hipparcos catalogue, vol. 1, Eq. 1.5.11).
_GALACTIC = np.array(
    [
        [-0.0548755604, 0.4941094279, -0.8676661490],
        [-0.8734370902, -0.4448296300, -0.1980763734],
        [-0.4838350155, 0.7469822445, 0.4559837762],
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPair:
    """A science and a reference frame of one place, and what is true about them.

    Parameters
    ----------
    science, reference : RawFrame
        Raw frames; ``.image()`` makes images of them.
    truth : Table
        All sources and cosmic rays on the science frame: x, y (px, 0-based), ra, dec (deg), kind, mag, flux_e,
        change_e (what a perfect difference holds, e- of the science frame), snr (of the flux), host_id, host_mag,
        host_offset_r25, length_px (of cosmic rays).
    """

    science: RawFrame
    reference: RawFrame
    truth: Table


@dataclass(frozen=True, slots=True)
class Visit:
    """One exposure of a simulated night; numbers from 0.

    Parameters
    ----------
    field, visit : int
        Which field and which visit of it.
    chip : str
        Name of the chip.
    """

    field: int
    chip: str
    visit: int


def simulate_pair(
    survey: Survey | None = None,
    *,
    seed: int,
    shape: tuple[int, int] = CHIP_SHAPE,
    chip: str = "Q1-11",
    mjd: float = 61000.45,
    instrument: Instrument | None = None,
) -> SimulatedPair:
    """Simulate a science frame and an earlier reference frame.

    Parameters
    ----------
    survey : Survey, optional
        What the survey is like; `Survey.varied()` for training.
    seed : int
        The same seed gives the same bytes; every seed has its own field, weather and pointing.
    shape : (int, int)
        (ny, nx) of the frames.
    chip : str
        Where in the camera the chip sits.
    mjd : float
        Start of the science exposure, UTC; the reference is older by the survey's `reference_age_d`.
    instrument : Instrument, optional
        Profile of the camera; that of Tomo-e Gozen when left out.

    Returns
    -------
    SimulatedPair

    Raises
    ------
    ConfigError
        For a negative seed or a frame of less than 48 px.
    """
    survey = survey or Survey()
    place = _place(survey, seed, 0, chip, shape, instrument)
    sky = _sky(survey, seed, 0, place, mjd)
    earlier = mjd - _age(survey, seed, 0)
    conditions = [
        draw_conditions(survey, generator(seed, _CONDITIONS, 0, visit), mjd=when, earlier=visit == 1)
        for visit, when in enumerate((mjd, earlier))
    ]
    sharper = generator(seed, _CONDITIONS, 0, 998).random() < survey.reference_sharper
    if sharper and conditions[1].fwhm_px > conditions[0].fwhm_px:
        science, earlier_ones = conditions
        conditions = [
            replace(mine, fwhm_px=other.fwhm_px, bad_seeing=other.bad_seeing)
            for mine, other in ((science, earlier_ones), (earlier_ones, science))
        ]
    frames, truths = [], []
    for visit, (drawn, exposures) in enumerate(zip(conditions, (1, survey.reference_exposures), strict=True)):
        which = share_optics(survey, drawn, generator(seed, _OPTICS, *_chip_key(chip)))
        which = fail_wcs(survey, which, generator(seed, _WCS, 0, *_chip_key(chip), visit))
        number = _FIRST_EXPOSURE + 1 - visit
        frame, truth = expose(
            survey,
            sky,
            place,
            which,
            rng=generator(seed, _EXPOSURE, 0, 0, visit),
            chip=_faults(seed, 0, chip, earlier=visit == 1),
            name=file_name(place, which.mjd, number),
            exposure_id=number,
            exposures=exposures,
        )
        frames.append(frame)
        truths.append(truth)
    truth = _with_change(survey, truths[0], sky, conditions[0], [earlier])
    return SimulatedPair(frames[0], frames[1], truth)


def simulate_frame(
    survey: Survey,
    visit: Visit,
    *,
    seed: int,
    shape: tuple[int, int] = CHIP_SHAPE,
    tonight_mjd: float = 61000.45,
    instrument: Instrument | None = None,
) -> tuple[RawFrame, Table]:
    """Simulate one exposure of a night; the same whether made alone or with the others.

    Parameters
    ----------
    survey : Survey
    visit : Visit
        Field, chip and visit.
    seed : int
    shape : (int, int)
        (ny, nx) of the chip.
    tonight_mjd : float
        First exposure of tonight, UTC.
    instrument : Instrument, optional
        Profile of the camera; that of Tomo-e Gozen when left out.

    Returns
    -------
    RawFrame, Table
        The frame and its truth; `change_e` is against the mean of the earlier visits.
    """
    place = _place(survey, seed, visit.field, visit.chip, shape, instrument)
    sky = _sky(survey, seed, visit.field, place, tonight_mjd)
    times = [_visit_mjd(survey, seed, visit.field, number, tonight_mjd) for number in range(survey.earlier_visits)]
    mjd = _visit_mjd(survey, seed, visit.field, visit.visit, tonight_mjd)
    earlier = visit.visit < survey.earlier_visits
    # Weather and pointing are those of the whole exposure, so its chips share them; the WCS of each may fail alone.
    drawn = draw_conditions(survey, generator(seed, _CONDITIONS, visit.field, visit.visit), mjd=mjd, earlier=earlier)
    key = (visit.field, *_chip_key(visit.chip), visit.visit)
    optics = share_optics(survey, drawn, generator(seed, _OPTICS, *_chip_key(visit.chip)))
    conditions = fail_wcs(survey, optics, generator(seed, _WCS, *key))
    number = _FIRST_EXPOSURE + visit.visit * 1000 + visit.field
    frame, truth = expose(
        survey,
        sky,
        place,
        conditions,
        rng=generator(seed, _EXPOSURE, *key),
        chip=_faults(seed, visit.field, visit.chip, earlier=earlier),
        name=file_name(place, conditions.mjd, number),
        exposure_id=number,
    )
    return frame, _with_change(survey, truth, sky, conditions, times)


def field_sky(
    survey: Survey,
    field: int,
    chip: str,
    *,
    seed: int,
    shape: tuple[int, int] = CHIP_SHAPE,
    tonight_mjd: float = 61000.45,
    instrument: Instrument | None = None,
) -> Table:
    """Everything that one chip of one field of a night may see, orbits and light curves included; see `make_sky`."""
    return _sky(survey, seed, field, _place(survey, seed, field, chip, shape, instrument), tonight_mjd)


def _faults(seed: int, field: int, chip: str, *, earlier: bool) -> ChipFaults:
    """What stays with a chip; all earlier frames of a field have the same holes."""
    holes = seed_sequence(seed, _HOLES, field, *_chip_key(chip)) if earlier else None
    return ChipFaults(seed_sequence(seed, _CHIP, *_chip_key(chip)), holes)


def _age(survey: Survey, seed: int, field: int) -> float:
    """Days between the last earlier visit of a field and tonight."""
    return float(generator(seed, _AGE, field).uniform(*survey.reference_age_d))


def _place(
    survey: Survey, seed: int, field: int, chip: str, shape: tuple[int, int], instrument: Instrument | None
) -> Place:
    """Centre of a chip of a field, drawn uniformly over the sky between the latitudes of the survey."""
    if min(shape) < _SMALLEST:
        raise ConfigError(f"shape = {shape}: (ny, nx) of at least {_SMALLEST} px each is needed", key="shape")
    rng = generator(seed, _FIELD, field)
    low, high = np.sin(np.radians(survey.galactic_latitude_deg))
    latitude = float(np.arcsin(rng.uniform(low, high)))
    sign, longitude = rng.choice([-1.0, 1.0]), rng.uniform(0.0, 2.0 * np.pi)
    # The side of the galactic plane is turned so that the field is seen from the north.
    candidates = [_equatorial(longitude, s * latitude) for s in (sign, -sign)]
    ra, dec = max(candidates, key=lambda place: place[1]) if candidates[0][1] < -20.0 else candidates[0]
    offset = chip_offset_deg(chip)
    chip_dec = float(np.clip(dec + offset[1], -89.0, 89.0))
    chip_ra = float((ra - offset[0] / np.cos(np.radians(chip_dec))) % 360.0)
    minutes_ra, minutes_dec = int(ra * 4), int(abs(dec) * 60)
    sign_dec = "-" if dec < 0 else "+"
    name = f"J{minutes_ra // 60:02d}{minutes_ra % 60:02d}{sign_dec}{minutes_dec // 60:02d}{minutes_dec % 60:02d}"
    camera = instrument or load_instrument("tomoe")
    return Place(name, chip, shape, chip_ra, chip_dec, float(np.degrees(latitude)), camera, offset)


def _equatorial(longitude: float, latitude: float) -> tuple[float, float]:
    """RA and Dec (deg) of galactic coordinates (rad)."""
    vector = _GALACTIC @ [
        np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    ]  # fmt: skip
    return float(np.degrees(np.arctan2(vector[1], vector[0])) % 360.0), float(np.degrees(np.arcsin(vector[2])))


def _sky(survey: Survey, seed: int, field: int, place: Place, tonight_mjd: float) -> Table:
    return make_sky(
        survey,
        place.wcs(survey),
        place.shape,
        latitude_deg=place.latitude_deg,
        tonight_mjd=tonight_mjd,
        rng=generator(seed, _SKY, field, *_chip_key(place.chip)),
    )


def _visit_mjd(survey: Survey, seed: int, field: int, visit: int, tonight_mjd: float) -> float:
    """Start of a visit: earlier ones on nights before, 5 days apart; tonight's by the gap; fields 12 s apart."""
    field_d = field * 12.0 / 86400.0
    if visit < survey.earlier_visits:
        days = round(_age(survey, seed, field)) + 5.0 * (survey.earlier_visits - 1 - visit)
        return tonight_mjd - days + field_d
    return tonight_mjd + (visit - survey.earlier_visits) * survey.visit_gap_min / 1440.0 + field_d


def _with_change(survey: Survey, truth: Table, sky: Table, now: Conditions, before: Sequence[float]) -> Table:
    """The truth with `change_e`: flux minus the mean flux at the earlier times, e- of this frame.

    What moves was somewhere else then: all of its light is change.
    """
    exposed = 0.5 * survey.exposure_s / 86400.0
    fluxes = [flux_e(survey, sky_at(sky, mjd + exposed)["mag"], extinction_mag=now.extinction_mag) for mjd in before]
    quiescent = np.mean(fluxes, axis=0)
    quiescent[np.isin(sky["kind"], _MOVING)] = 0.0
    changed = truth.copy()
    known = (np.asarray(truth["source_id"]) >= 0) & (np.asarray(truth["kind"]) != "ghost")
    if known.any():
        # As a share, so that clouds and colour terms of this frame, which are in flux_e, are no change of the source.
        steady = flux_e(survey, truth["mag"][known], extinction_mag=now.extinction_mag)
        share = 1.0 - quiescent[np.asarray(truth["source_id"])[known]] / steady
        changed["change_e"][known] = share * np.asarray(truth["flux_e"])[known]
    return changed


def _chip_key(chip: str) -> tuple[int, ...]:
    return tuple(chip.encode("ascii", "replace"))
