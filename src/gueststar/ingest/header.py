"""What a header tells, by the keywords of an instrument profile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time

from gueststar.errors import KeywordError
from gueststar.ingest.frame import FrameFacts
from gueststar.instruments import Instrument

__all__ = ["CELLS", "frame_facts", "gain", "n_frames", "number", "plain_header", "read_noise", "saturation"]

#: Raw pixels summed into one, for each treatment of a colour mosaic.
CELLS = {"none": 1.0, "bin": 4.0, "green": 2.0}
_KINDS = {"dark": "dark", "flat": "flat", "bias": "bias", "zero": "bias"}


def plain_header(header: fits.Header) -> dict[str, Any]:
    """The header as a record of plain values; cards that cannot be parsed are left out."""
    record: dict[str, Any] = {}
    for card in header.cards:
        try:
            key, value = card.keyword, card.value
        except (fits.VerifyError, ValueError):
            continue
        if key not in ("", "COMMENT", "HISTORY") and isinstance(value, str | int | float | bool):
            record.setdefault(key, value)
    return record


def frame_facts(header: Mapping[str, Any], path: Path, profile: Instrument) -> FrameFacts:
    """Kind, field, chip, band and times of a frame; raises `KeywordError` for a light frame without exposure time."""
    keys = profile.keywords
    groups = profile.filename.read(path.name)
    exposure = number(header, keys.exposure_s, path)
    kind = _kind(header, profile, path)
    if exposure is None:
        exposure = profile.exposure_s
    if kind == "light" and exposure is not None and exposure <= 0:
        raise KeywordError(
            f"{path.name}: exposure time {exposure:g} s from {', '.join(keys.exposure_s)}; expected a positive number",
            keyword=keys.exposure_s[0],
            value=exposure,
        )
    if exposure is None and kind == "light":
        raise KeywordError(
            f"{path.name}: no exposure time: none of the keywords {', '.join(keys.exposure_s)} is in the header; "
            "set exposure_s in the instrument profile",
            keyword=keys.exposure_s[0],
        )
    return FrameFacts(
        name=path.name,
        kind=kind,
        field=groups.get("field") or _text(header, keys.object),
        chip=groups.get("chip") or _text(header, keys.chip),
        band=_text(header, keys.filter),
        exposure_s=float("nan") if exposure is None else exposure,
        mjd_mid=_mjd_mid(header, profile, path, exposure or 0.0),
    )


def _first(header: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any] | None:
    for name in names:
        value = header.get(name)
        if value is not None and value != "":
            return name, value
    return None


def _text(header: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = _first(header, names)
    return str(found[1]).strip() if found is not None else ""


def number(header: Mapping[str, Any], names: tuple[str, ...], path: Path) -> float | None:
    """First of the keywords that is there, as a finite number; None when none is; else `KeywordError`."""
    found = _first(header, names)
    if found is None:
        return None
    name, value = found
    try:
        finite = float(value)
    except (TypeError, ValueError):
        finite = float("nan")
    if not np.isfinite(finite):
        raise KeywordError(f"{path.name}: {name} = {value!r} is not a finite number", keyword=name, value=str(value))
    return finite


def read_noise(header: Mapping[str, Any], profile: Instrument, path: Path) -> float:
    """Read noise of one frame, e-; that of a summed mosaic cell is of all its pixels."""
    found = number(header, profile.keywords.read_noise_e, path)
    found = found if found is not None else profile.read_noise_e
    return float(found or 0.0) * float(np.sqrt(CELLS[profile.mosaic]))


def gain(header: Mapping[str, Any], profile: Instrument, path: Path, given: float | None) -> float:
    """Gain given, or of the header, or of the profile, e-/ADU; `KeywordError` when there is none."""
    value = given if given is not None else number(header, profile.keywords.gain_e_adu, path)
    value = value if value is not None else profile.gain_e_adu
    names = ", ".join(profile.keywords.gain_e_adu)
    if value is None:
        raise KeywordError(
            f"{path.name}: no gain: none of the keywords {names} is in the header and profile {profile.name!r} has no "
            "default; give it (--gain on the command line, gain_e_adu in Python or in a profile)",
            keyword=profile.keywords.gain_e_adu[0],
        )
    if value <= 0:
        raise KeywordError(f"{path.name}: gain {value} e-/ADU from {names}; expected a positive number", keyword=names)
    return value


def n_frames(header: Mapping[str, Any], profile: Instrument, path: Path) -> float:
    """How many frames a stack sums; 1 for a single frame or a mean (its gain already tells)."""
    if profile.stack != "sum":
        return 1.0
    one = number(header, profile.keywords.frame_exposure_s, path)
    total = number(header, profile.keywords.exposure_s, path)
    return max(1.0, float(round(total / one))) if one and total else 1.0


def saturation(header: Mapping[str, Any], profile: Instrument, path: Path) -> float | None:
    """Saturation level of one raw pixel in the file's counts; the profile's level is that of one frame of a stack."""
    level = number(header, profile.keywords.saturation_adu, path)
    if level is not None:
        return level if level > 0 else None
    if profile.saturation_adu is None:
        return None
    return profile.saturation_adu * n_frames(header, profile, path)


def _kind(header: Mapping[str, Any], profile: Instrument, path: Path) -> str:
    """Light, dark, flat or bias: from the header, else from the beginning of the file's name."""
    text = _text(header, profile.keywords.kind).lower()
    for word, kind in _KINDS.items():
        if word in text or (not text and path.name.lower().startswith(word)):
            return kind
    return "light"


def _mjd_mid(header: Mapping[str, Any], profile: Instrument, path: Path, exposure_s: float) -> float:
    """UTC at mid-exposure; NaN when the header has no time."""
    keys = profile.keywords
    text = _text(header, keys.date_obs)
    if text and "T" not in text and ":" not in text:
        clock = _text(header, keys.time_obs)
        text = f"{text}T{clock.split('T')[-1]}" if clock else text
    start = None
    if "T" in text or ":" in text:  # a date alone would be midnight
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            start = float(Time(moment.replace(tzinfo=None), scale="utc").mjd)
    if start is None:
        start = number(header, keys.mjd, path)
    return float("nan") if start is None else start + 0.5 * exposure_s / 86400.0
