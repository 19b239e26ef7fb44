"""Names and headers of simulated files: those of Tomo-e Gozen, or plain ones in the words of a camera's profile."""

from __future__ import annotations

from gueststar.errors import ConfigError
from gueststar.instruments import Instrument, Keywords
from gueststar.simulate.camera import CHIP_NAME, sexagesimal, utc_date_time
from gueststar.simulate.frame import Place
from gueststar.simulate.survey import Survey

__all__ = ["file_name", "header_cards", "survey_of"]

Cards = dict[str, str | int | float | bool]


def survey_of(instrument: Instrument, survey: Survey | None = None) -> Survey:
    """The survey with the camera of a profile: what was not set on purpose is taken from the profile.

    Raises
    ------
    ConfigError
        For a camera whose files hold a colour mosaic.
    """
    survey = survey or Survey()
    if instrument.mosaic != "none":
        raise ConfigError(
            f"instrument = {instrument.name!r}: its files hold a colour mosaic, which is not simulated; "
            "choose a profile with mosaic = 'none'",
            key="instrument",
            value=instrument.name,
        )
    if instrument.name == "tomoe":
        return survey
    camera = {
        "pixel_scale_arcsec": instrument.pixel_scale_arcsec,
        "gain_e_adu": instrument.gain_e_adu,
        "read_noise_e": instrument.read_noise_e,
        "dark_e_s": instrument.dark_e_s,
        "saturation_adu": instrument.saturation_adu,
        "rolling_shutter_s": 0.0,
    }
    if instrument.stack == "single":
        camera |= {"frames": 1, "frame_s": instrument.exposure_s or survey.exposure_s}
    values = {key: value for key, value in camera.items() if value is not None and key not in survey.model_fields_set}
    return Survey.parse({**survey.model_dump(exclude_unset=True), **values}, source=f"camera {instrument.name!r}")


def file_name(place: Place, mjd: float, number: int) -> str:
    """Name without suffix: such as sTMQ1201903190009423811 (s, camera and quadrant, date, exposure, chip)."""
    date = utc_date_time(mjd)[0].replace("-", "")
    if place.instrument.name != "tomoe":
        parts = [place.instrument.name, place.field, date, f"{number:08d}", *([place.chip] if place.chip else [])]
        return "_".join(parts)
    chip = place.chip if CHIP_NAME.fullmatch(place.chip) else "Q1-11"
    return f"sTMQ{chip[1]}{date}{number:08d}{chip[3:]}"


def header_cards(survey: Survey, place: Place, mjd: float, number: int, *, exposures: int = 1) -> Cards:
    """Keywords of one frame, without its world coordinates.

    Parameters
    ----------
    survey : Survey
    place : Place
    mjd : float
        Start of the exposure, UTC.
    number : int
        Of the exposure.
    exposures : int
        Exposures summed in the frame.
    """
    date, clock = utc_date_time(mjd)
    seconds = survey.exposure_s * exposures
    common: Cards = {
        "EXP_ID": number, "OBSERVER": "gueststar", "GAIN": survey.gain_e_adu, "EXPTIME": seconds,
        "RA": sexagesimal(place.ra_deg / 15.0), "DEC": sexagesimal(place.dec_deg, sign=True),
    }  # fmt: skip
    if place.instrument.name != "tomoe":
        frames = survey.frames * exposures
        return common | _by_profile(
            place.instrument.keywords,
            gain_e_adu=survey.gain_e_adu,
            read_noise_e=survey.read_noise_e * frames**0.5,
            saturation_adu=survey.saturation_adu * (1 if place.instrument.stack != "single" else frames),
            exposure_s=seconds,
            frame_exposure_s=survey.frame_s,
            date_obs=f"{date}T{clock}",
            filter="L",
            object=place.field,
            chip=place.chip,
            kind="LIGHT",
        )
    return {
        "OBJECT": f"{place.field}_dith1", "TELAPSE": seconds, "EXPTIME1": survey.frame_s, "TFRAME": survey.frame_s,
        "DATA-FPS": 1.0 / survey.frame_s, "DATA-TYP": "OBJECT", "OBS-MOD": "Imaging", "FILTER": "BLANK",
        "PROJECT": "gueststar simulation", "PIPELINE": "simulate", "DATE-OBS": date, "TIME-OBS": clock, "UTC": clock,
        "DET_ID": place.chip, **common,
    }  # fmt: skip


def _by_profile(keywords: Keywords, **values: str | float) -> Cards:
    """Cards under the keywords by which the profile reads them."""
    cards: Cards = {}
    for quantity, value in values.items():
        names = getattr(keywords, quantity)
        if names and value != "":
            cards[names[0]] = value
    return cards
