"""Instrument profiles: what a camera's files are called, what their headers say and what its pixels can do.

A profile is data, a TOML file in this folder; a path to any other TOML file of the same form works everywhere a
profile's name does.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gueststar.errors import ConfigError
from gueststar.options import Options

__all__ = ["FileName", "Instrument", "Keywords", "instrument_names", "load_instrument"]


class Keywords(Options):
    """Header keywords that hold each quantity; the first one present wins."""

    gain_e_adu: tuple[str, ...] = Field(("GAIN", "EGAIN"), description="Gain, e-/ADU")
    read_noise_e: tuple[str, ...] = Field(("RDNOISE", "READNOIS", "ENOISE"), description="Read noise, e-")
    saturation_adu: tuple[str, ...] = Field(("SATURATE", "SATLEVEL"), description="Saturation level, ADU")
    exposure_s: tuple[str, ...] = Field(("EXPTIME", "EXPOSURE", "ITIME"), description="Exposure time, s")
    frame_exposure_s: tuple[str, ...] = Field((), description="Exposure time of one frame of a stack, s")
    date_obs: tuple[str, ...] = Field(("DATE-OBS",), description="UTC at the start of the exposure")
    time_obs: tuple[str, ...] = Field(("TIME-OBS", "UTC", "UT"), description="UTC time of day, when DATE-OBS is a date")
    mjd: tuple[str, ...] = Field(("MJD-OBS", "MJD"), description="MJD at the start of the exposure, UTC")
    filter: tuple[str, ...] = Field(("FILTER",), description="Filter")
    object: tuple[str, ...] = Field(("FIELD", "OBJECT"), description="Field or target name")
    chip: tuple[str, ...] = Field(("CHIP", "DET_ID", "CCDID", "EXTNAME"), description="Detector chip")
    kind: tuple[str, ...] = Field(("IMAGETYP", "OBSTYPE", "DATA-TYP"), description="Light, dark, flat or bias")
    observer: tuple[str, ...] = Field(("OBSERVER", "OBSEVER"), description="Observer")
    zeropoint_mag: tuple[str, ...] = Field(("MAGZP", "MAGZERO", "ZP", "PHOTZP"), description="AB mag of 1 ADU")


class FileName(Options):
    """What the name of a file tells.

    `pattern` is a regular expression on the name without its folder and suffixes; its named groups `field`, `chip`,
    `date` (YYYYMMDD), `exposure`, `prefix` and `quadrant` are used where present.
    """

    pattern: str = Field(r"(?P<exposure>.+)", description="Regular expression with named groups")
    chip: str = Field("", description="Format of the chip name from the groups, such as 'Q{quadrant}-{chip}'")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _known_groups(self) -> FileName:
        groups = set(re.compile(self.pattern).groupindex)
        unknown = {name for _, name, _, _ in Formatter().parse(self.chip) if name is not None} - groups
        if unknown:
            raise ValueError(f"chip = {self.chip!r} uses {sorted(unknown)}, which the pattern does not name")
        return self

    def read(self, name: str) -> dict[str, str]:
        """Groups of the pattern in a file name; empty when it does not match."""
        stem = re.sub(r"(\.(fits?|fts|fz|gz))+$", "", Path(name).name, flags=re.IGNORECASE)
        match = re.fullmatch(self.pattern, stem)
        if match is None:
            return {}
        groups = {key: value for key, value in match.groupdict().items() if value is not None}
        if self.chip and "chip" in groups:
            groups["chip"] = self.chip.format(**groups)
        return groups


class Instrument(Options):
    """Profile of one camera."""

    name: str = Field(description="Name of the profile")
    description: str = Field("", description="One line about the camera")
    chips: tuple[str, ...] = Field((), description="Names of all chips; empty when there is only one")
    chip_shape: tuple[int, int] | None = Field(None, description="(ny, nx) of one chip, px")
    pixel_scale_arcsec: float | None = Field(None, gt=0, description="Pixel scale, arcsec/px")
    gain_e_adu: float | None = Field(None, gt=0, description="Gain when the header has none, e-/ADU")
    read_noise_e: float | None = Field(None, ge=0, description="Read noise when the header has none, e-")
    dark_e_s: float = Field(0.0, ge=0, description="Dark current, e-/s/px")
    saturation_adu: float | None = Field(None, gt=0, description="Saturation when the header has none, ADU per frame")
    bleeding: bool = Field(False, description="Charge of saturated stars runs along the columns, as on many CCDs")
    exposure_s: float | None = Field(None, gt=0, description="Exposure time when the header has none, s")
    stack: Literal["single", "sum", "mean"] = Field("single", description="How the frames of a stack were combined")
    mosaic: Literal["none", "bin", "green"] = Field(
        "none", description="Colour mosaic: 'bin' sums each 2 x 2 cell to one pixel, 'green' keeps the two green ones"
    )
    calibrated: bool = Field(False, description="Dark and flat are done already")
    keywords: Keywords = Field(Keywords(), description="Header keywords")
    filename: FileName = Field(FileName(), description="File names")


def instrument_names() -> list[str]:
    """Names of the profiles that come with gueststar."""
    folder = resources.files(__name__)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_instrument(name: str) -> Instrument:
    """Load a profile by name, or from a path to a TOML file.

    Raises
    ------
    ConfigError
        For an unknown name (the valid ones are listed) or a bad profile.
    """
    if not name.endswith(".toml"):
        return _shipped(name)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = (
            "no such file" if missing else "not valid TOML: not UTF-8 text" if isinstance(error, ValueError) else error
        )
        raise ConfigError(f"instrument profile {name!r}: {reason}", key="instrument", value=name) from None
    return _parsed(text, f"instrument profile {name!r}")


@lru_cache(maxsize=64)
def _shipped(name: str) -> Instrument:
    if name not in instrument_names():
        valid = ", ".join(instrument_names())
        raise ConfigError(
            f"instrument = {name!r}: unknown profile; valid ones are {valid}, or a path to a .toml file",
            key="instrument",
            value=name,
        )
    text = (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
    return _parsed(text, f"instrument profile {name!r}")


def _parsed(text: str, source: str) -> Instrument:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}", key="instrument") from None
    return Instrument.parse(values, source=source)
