"""Single simulated frames, and pairs of science and reference for training and tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from gueststar.errors import ConfigError
from gueststar.simulate.camera import chip_offset_deg, generator, seed_sequence, utc_date_time
from gueststar.simulate.conditions import Conditions, draw_conditions
from gueststar.simulate.exposure import Place, RawFrame, expose, flux_e
from gueststar.simulate.sky import make_sky, sky_at
from gueststar.simulate.survey import Survey

__all__ = ["CHIP_NAME", "CHIP_SHAPE", "SimulatedPair", "Visit", "simulate_frame", "simulate_pair"]

CHIP_SHAPE = (1128, 2000)
CHIP_NAME = re.compile(r"Q[1-4]-\d\d")

# First number of the key of each kind of random numbers.
_FIELD, _SKY, _CHIP, _CONDITIONS, _EXPOSURE = range(5)
_FIRST_EXPOSURE = 94238
_SMALLEST = 48
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
        Start of the science exposure, UTC; the reference was taken 3 to 60 days before.

    Returns
    -------
    SimulatedPair

    Raises
    ------
    ConfigError
        For a negative seed or a frame of less than 48 px.
    """
    survey = survey or Survey()
    place = _place(survey, seed, 0, chip, shape)
    sky = _sky(survey, seed, 0, place, mjd)
    earlier = mjd - float(generator(seed, _CONDITIONS, 0, 999).uniform(3.0, 60.0))
    conditions = [
        draw_conditions(survey, generator(seed, _CONDITIONS, 0, visit), mjd=when)
        for visit, when in enumerate((mjd, earlier))
    ]
    sharper = generator(seed, _CONDITIONS, 0, 998).random() < survey.reference_sharper
    if sharper and conditions[1].fwhm_px > conditions[0].fwhm_px:
        widths = conditions[1].fwhm_px, conditions[0].fwhm_px
        conditions = [replace(c, fwhm_px=w) for c, w in zip(conditions, widths, strict=True)]
    frames, truths = [], []
    for visit, (which, exposures) in enumerate(zip(conditions, (1, survey.reference_exposures), strict=True)):
        frame, truth = expose(
            survey,
            sky,
            place,
            which,
            rng=generator(seed, _EXPOSURE, 0, 0, visit),
            chip_seed=seed_sequence(seed, _CHIP, *_chip_key(chip)),
            name=_file_name(place, which, _FIRST_EXPOSURE + 1 - visit),
            exposure_id=_FIRST_EXPOSURE + 1 - visit,
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
) -> tuple[RawFrame, Table]:
    """Simulate one exposure of a night; the same whether made alone or with the others.

    Returns
    -------
    RawFrame, Table
        The frame and its truth; `change_e` is against the mean of the earlier visits.
    """
    place = _place(survey, seed, visit.field, visit.chip, shape)
    sky = _sky(survey, seed, visit.field, place, tonight_mjd)
    times = [_visit_mjd(survey, visit.field, number, tonight_mjd) for number in range(survey.earlier_visits)]
    mjd = _visit_mjd(survey, visit.field, visit.visit, tonight_mjd)
    # Weather and pointing are those of the whole exposure, so its chips share them; the optics differ little.
    conditions = draw_conditions(survey, generator(seed, _CONDITIONS, visit.field, visit.visit), mjd=mjd)
    number = _FIRST_EXPOSURE + visit.visit * 1000 + visit.field
    frame, truth = expose(
        survey,
        sky,
        place,
        conditions,
        rng=generator(seed, _EXPOSURE, visit.field, *_chip_key(visit.chip), visit.visit),
        chip_seed=seed_sequence(seed, _CHIP, *_chip_key(visit.chip)),
        name=_file_name(place, conditions, number),
        exposure_id=number,
    )
    return frame, _with_change(survey, truth, sky, conditions, times)


def _place(survey: Survey, seed: int, field: int, chip: str, shape: tuple[int, int]) -> Place:
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
    return Place(name, chip, shape, chip_ra, chip_dec, float(np.degrees(latitude)), offset)


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


def _visit_mjd(survey: Survey, field: int, visit: int, tonight_mjd: float) -> float:
    """Start of a visit: on nights before for the earlier ones, then half an hour apart; fields 12 s apart."""
    field_d = field * 12.0 / 86400.0
    if visit < survey.earlier_visits:
        return tonight_mjd - 5.0 * (survey.earlier_visits - visit) + field_d
    return tonight_mjd + (visit - survey.earlier_visits) / 48.0 + field_d


def _with_change(survey: Survey, truth: Table, sky: Table, now: Conditions, before: Sequence[float]) -> Table:
    """The truth with `change_e`: flux minus the mean flux at the earlier times, e- of this frame."""
    fluxes = [flux_e(survey, sky_at(sky, mjd)["mag"], extinction_mag=now.extinction_mag) for mjd in before]
    quiescent = np.mean(fluxes, axis=0)
    quiescent[np.asarray(sky["kind"]) == "asteroid"] = 0.0
    changed = truth.copy()
    known = np.asarray(changed["source_id"]) >= 0
    rows = changed["source_id"][known]
    if len(sky):
        changed["change_e"][known] = changed["flux_e"][known] - quiescent[rows]
    return changed


def _chip_key(chip: str) -> tuple[int, ...]:
    return tuple(chip.encode("ascii", "replace"))


def _file_name(place: Place, conditions: Conditions, number: int) -> str:
    """Name such as sTMQ1201903190009423811: s, camera and quadrant, date, exposure, chip."""
    date = utc_date_time(conditions.mjd)[0].replace("-", "")
    chip = place.chip if CHIP_NAME.fullmatch(place.chip) else "Q1-11"
    return f"sTMQ{chip[1]}{date}{number:08d}{chip[3:]}"
