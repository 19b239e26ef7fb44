"""Read FITS frames: plain, gz or fpack; the image in any HDU; any byte order and number type."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from numpy.typing import NDArray

from gueststar.errors import FrameError, InputError, KeywordError
from gueststar.ingest.astrometry import binned_header, read_wcs
from gueststar.ingest.calibrate import calibrate
from gueststar.ingest.frame import Frame, FrameFacts
from gueststar.ingest.prepare import Ingest, prepare_image
from gueststar.ingest.zeropoint import Catalog, instrumental_zeropoint, zeropoint_from_catalog
from gueststar.instruments import Instrument, load_instrument
from gueststar.types import Image

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Frame", "FrameFacts", "frame_image", "load_image", "read_frame", "read_header_facts"]

_KINDS = {"dark": "dark", "flat": "flat", "bias": "bias", "zero": "bias"}


def read_frame(path: str | Path, *, instrument: str | Instrument = "generic", gain_e_adu: float | None = None) -> Frame:
    """Read one frame.

    Parameters
    ----------
    path : path
        FITS file; ``.gz`` and ``.fz`` are understood.
    instrument : str or Instrument
        Profile, or its name.
    gain_e_adu : float, optional
        Overrides header and profile, e-/ADU.

    Raises
    ------
    FrameError
        When the file is missing, truncated, not FITS, or holds no image.
    KeywordError
        When gain or exposure time are neither in the header nor in the profile.
    """
    profile = load_instrument(instrument) if isinstance(instrument, str) else instrument
    path = Path(path)
    with _opened(path) as hdus:
        index = _image_hdu(hdus, path)
        header = _merged_header(hdus, index)
        pixels = _pixels(hdus, index, path)
    facts = _frame_facts(header, path, profile)
    wcs_header = header
    if profile.mosaic != "none":
        pixels, wcs_header = _unmosaic(pixels, profile, path), binned_header(header)
    return Frame(
        data=pixels,
        header=_plain_header(header),
        wcs=_wcs(wcs_header, path),
        instrument=profile,
        gain_e_adu=_gain(header, profile, path, gain_e_adu),
        read_noise_e=float(_number(header, profile.keywords.read_noise_e, path) or profile.read_noise_e or 0.0),
        saturation_adu=_saturation(header, profile, path),
        n_frames=_n_frames(header, profile, path),
        header_zeropoint_mag=_number(header, profile.keywords.zeropoint_mag, path),
        **{name: getattr(facts, name) for name in facts.__slots__},
    )


def read_header_facts(path: str | Path, *, instrument: str | Instrument = "generic") -> FrameFacts:
    """What the header and the name tell, without reading the pixels; raises as `read_frame`."""
    profile = load_instrument(instrument) if isinstance(instrument, str) else instrument
    path = Path(path)
    with _opened(path) as hdus:
        header = _merged_header(hdus, _image_hdu(hdus, path))
    return _frame_facts(header, path, profile)


def load_image(
    path: str | Path,
    *,
    instrument: str | Instrument = "generic",
    ingest: Ingest | None = None,
    dark: Frame | None = None,
    flat: Frame | None = None,
    catalog: Catalog | None = None,
    gain_e_adu: float | None = None,
    device: str = "cpu",
) -> Image:
    """Read, calibrate and measure one frame.

    Parameters
    ----------
    path : path
    instrument : str or Instrument
        Profile, or its name.
    ingest : Ingest, optional
        How raw counts become an image.
    dark, flat : Frame, optional
        From `combine_darks` and `combine_flats`.
    catalog : Catalog, optional
        Stars of known magnitude for the zero point.
    gain_e_adu : float, optional
        Overrides header and profile, e-/ADU.
    device : str
        'cpu', 'cuda' or 'cuda:N'.

    Raises
    ------
    FrameError, KeywordError, PixelError
        Each names the file.
    """
    frame = read_frame(path, instrument=instrument, gain_e_adu=gain_e_adu)
    return frame_image(calibrate(frame, dark=dark, flat=flat), ingest=ingest, catalog=catalog, device=device)


def frame_image(
    frame: Frame, *, ingest: Ingest | None = None, catalog: Catalog | None = None, device: str = "cpu"
) -> Image:
    """Measure a calibrated frame; see `load_image`."""
    known = frame.header_zeropoint_mag
    if known is not None:
        zeropoint, source = known + 2.5 * float(np.log10(frame.gain_e_adu)), "header"
    else:
        zeropoint, source = instrumental_zeropoint(frame.exposure_s), "instrumental"
    try:
        image = prepare_image(
            frame.data,
            gain_e_adu=frame.gain_e_adu,
            read_noise_e=frame.read_noise_e * float(np.sqrt(frame.n_frames)),
            saturation_adu=frame.saturation_adu,
            mask=frame.mask,
            wcs=frame.wcs,
            options=ingest,
            device=device,
            zeropoint=zeropoint,
            zeropoint_source=source,
            band=frame.band,
            mjd_mid=frame.mjd_mid,
            exposure_s=frame.exposure_s,
            field=frame.field,
            chip=frame.chip,
            instrument=frame.instrument.name,
            header=frame.header,
            facts=frame.facts,
        )
    except InputError as error:
        raise type(error)(f"{frame.name}: {error.message}", **error.facts) from None
    return zeropoint_from_catalog(image, catalog) if catalog is not None else image


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a file; every way in which it is not whole FITS becomes one error that names it."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise FrameError(f"{path}: {what}; expected a FITS file", path=str(path))
    if path.stat().st_size == 0:
        raise FrameError(f"{path}: the file is empty (0 bytes); was it written in full?", path=str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("error", ".*truncated.*", AstropyUserWarning)
        try:
            with fits.open(path, memmap=False) as hdus:
                yield hdus
        except (OSError, EOFError, TypeError, ValueError, IndexError, fits.VerifyError, AstropyUserWarning) as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise FrameError(
                f"{path}: not a whole FITS file ({reason}); is it truncated or of another format?", path=str(path)
            ) from error


def _image_hdu(hdus: fits.HDUList, path: Path) -> int:
    """Index of the first HDU that holds a two-dimensional image."""
    found = []
    for index, hdu in enumerate(hdus):
        shape = getattr(hdu, "shape", None) or ()
        if getattr(hdu, "is_image", False) and sum(n > 1 for n in shape) == 2:
            return index
        found.append(f"{index} {hdu.name or type(hdu).__name__} {shape}")
    raise FrameError(f"{path}: no HDU holds a two-dimensional image; found {'; '.join(found)}", path=str(path))


def _merged_header(hdus: fits.HDUList, index: int) -> fits.Header:
    """The image's header, completed by the primary one."""
    header = hdus[index].header.copy()
    if index > 0:
        header.extend(hdus[0].header.copy(strip=True), unique=True)
    return header


def _pixels(hdus: fits.HDUList, index: int, path: Path) -> NDArray[np.float32]:
    data = hdus[index].data
    if data is None:
        raise FrameError(f"{path}: HDU {index} has a header but no pixels", path=str(path))
    return np.ascontiguousarray(np.squeeze(data).astype(np.float32))


def _frame_facts(header: fits.Header, path: Path, profile: Instrument) -> FrameFacts:
    keys = profile.keywords
    groups = profile.filename.read(path.name)
    exposure = _number(header, keys.exposure_s, path)
    kind = _kind(header, profile, path)
    if exposure is None:
        exposure = profile.exposure_s
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
    return str(found[1]).strip() if found is not None and not isinstance(found[1], fits.card.Undefined) else ""


def _number(header: Mapping[str, Any], names: tuple[str, ...], path: Path) -> float | None:
    found = _first(header, names)
    if found is None or isinstance(found[1], fits.card.Undefined):
        return None
    name, value = found
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise KeywordError(f"{path.name}: {name} = {value!r} is not a finite number", keyword=name, value=str(value))
    return number


def _gain(header: fits.Header, profile: Instrument, path: Path, given: float | None) -> float:
    gain = given if given is not None else _number(header, profile.keywords.gain_e_adu, path)
    gain = gain if gain is not None else profile.gain_e_adu
    names = ", ".join(profile.keywords.gain_e_adu)
    if gain is None:
        raise KeywordError(
            f"{path.name}: no gain: none of the keywords {names} is in the header and profile {profile.name!r} has no "
            "default; give it (--gain on the command line, gain_e_adu in Python or in a profile)",
            keyword=profile.keywords.gain_e_adu[0],
        )
    if gain <= 0:
        raise KeywordError(f"{path.name}: gain {gain} e-/ADU from {names}; expected a positive number", keyword=names)
    return gain


def _n_frames(header: fits.Header, profile: Instrument, path: Path) -> float:
    """How many frames a stack sums; 1 for a single frame or a mean (its gain already tells)."""
    if profile.stack == "single":
        return 1.0
    one = _number(header, profile.keywords.frame_exposure_s, path)
    total = _number(header, profile.keywords.exposure_s, path)
    return max(1.0, float(round(total / one))) if one and total else 1.0


def _saturation(header: fits.Header, profile: Instrument, path: Path) -> float | None:
    """Saturation level in the file's own counts; the profile's level is that of one frame of a stack."""
    level = _number(header, profile.keywords.saturation_adu, path)
    if level is not None:
        return level if level > 0 else None
    if profile.saturation_adu is None:
        return None
    cells = {"bin": 4.0, "green": 2.0}.get(profile.mosaic, 1.0)
    return profile.saturation_adu * cells * (_n_frames(header, profile, path) if profile.stack == "sum" else 1.0)


def _kind(header: fits.Header, profile: Instrument, path: Path) -> str:
    """Light, dark, flat or bias: from the header, else from the beginning of the file's name."""
    text = _text(header, profile.keywords.kind).lower()
    for word, kind in _KINDS.items():
        if word in text or (not text and path.name.lower().startswith(word)):
            return kind
    return "light"


def _mjd_mid(header: fits.Header, profile: Instrument, path: Path, exposure_s: float) -> float:
    """UTC at mid-exposure; NaN when the header has no time."""
    keys = profile.keywords
    text = _text(header, keys.date_obs)
    if text and "T" not in text and ":" not in text:
        clock = _text(header, keys.time_obs)
        text = f"{text}T{clock.split('T')[-1]}" if clock else text
    start = None
    if text:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            start = float(Time(moment.replace(tzinfo=None), scale="utc").mjd)
    if start is None:
        start = _number(header, keys.mjd, path)
    return float("nan") if start is None else start + 0.5 * exposure_s / 86400.0


def _wcs(header: fits.Header, path: Path) -> WCS | None:
    try:
        return read_wcs(header)
    except ValueError as error:
        raise FrameError(f"{path.name}: {error}", path=str(path)) from None


def _unmosaic(pixels: NDArray[np.float32], profile: Instrument, path: Path) -> NDArray[np.float32]:
    """Sum the cells of a colour mosaic (all four, or the two green ones on the diagonal of RGGB)."""
    ny, nx = (n - n % 2 for n in pixels.shape)
    if min(ny, nx) < 2:
        raise FrameError(f"{path.name}: shape {pixels.shape} has no 2 x 2 mosaic cell", path=str(path))
    a, b = pixels[0:ny:2, 1:nx:2], pixels[1:ny:2, 0:nx:2]
    if profile.mosaic == "green":
        return np.ascontiguousarray(a + b)
    return np.ascontiguousarray(a + b + pixels[0:ny:2, 0:nx:2] + pixels[1:ny:2, 1:nx:2])


def _plain_header(header: fits.Header) -> dict[str, Any]:
    """The header as a record of plain values."""
    skip = {"", "COMMENT", "HISTORY"}
    return {
        key: value for key, value in header.items() if key not in skip and isinstance(value, str | int | float | bool)
    }
