"""Images and calibration frames on disk: written by one process of a run, read by the others.

Plain, uncompressed FITS: a reference is read for every image of its field, and decompression would cost more than the
subtraction.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from gueststar import __version__
from gueststar.errors import FrameError
from gueststar.ingest.frame import Frame, FrameFacts
from gueststar.instruments import load_instrument
from gueststar.night.folders import replace_file
from gueststar.types import Image, Psf, Stars

__all__ = ["read_image", "read_image_facts", "read_master", "write_image", "write_master"]

_IMAGE_MARK, _MASTER_MARK = "GSIMAGE", "GSMASTER"
#: FITS integers are signed; the planes of an image in the order of the file.
_PLANES = ("data", "variance", "mask")
_TEXTS = ("zeropoint_source", "band", "image_id", "field", "chip", "instrument")
_NUMBERS = ("zeropoint", "mjd_mid", "exposure_s", "saturation")


def write_image(path: Path, image: Image, *, key: str = "") -> None:
    """Write an image with its PSF and stars; `read_image` gives it back.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    header = fits.Header()
    header[_IMAGE_MARK] = (1, "gueststar image")
    header["GUESTVER"] = (__version__, "software version")
    header["GSKEY"] = (key, "what it was made from")
    numbers = {name: _json_number(getattr(image, name)) for name in _NUMBERS}
    texts = {name: getattr(image, name) for name in _TEXTS}
    header["BUNIT"] = "electron"
    hdus: list[Any] = [fits.PrimaryHDU(header=header)]
    wcs_cards = fits.Header() if image.wcs is None else image.wcs.to_header(relax=True)
    for plane in _PLANES:
        hdus.append(fits.ImageHDU(image.numpy(plane), header=wcs_cards.copy(), name=plane.upper()))
    notes: dict[str, Any] = {**numbers, **texts, "facts": {k: _json_number(v) for k, v in image.facts.items()}}
    if image.halo is not None:
        hdus.append(fits.ImageHDU(image.halo.astype(np.uint8), name="HALO"))
    if image.psf is not None:
        hdus.append(fits.ImageHDU(image.psf.planes.cpu().numpy(), name="PSF"))
        notes["psf"] = {name: getattr(image.psf, name) for name in ("fwhm", "ellipticity", "order", "extent")}
    if image.stars is not None:
        hdus.append(fits.BinTableHDU(Table(image.stars.columns()), name="STARS"))
        notes["stars"] = {
            f.name: getattr(image.stars, f.name) for f in fields(Stars) if f.name not in image.stars.columns()
        }
    # JSON in a table cell: header cards are too short for it and would round the numbers.
    hdus.append(fits.BinTableHDU(Table({"json": [json.dumps(notes)]}), name="NOTES"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    replace_file(path, buffer.getvalue())


def read_image(path: Path, *, device: str = "cpu") -> Image:
    """Read an image that `write_image` wrote.

    Raises
    ------
    FrameError
        When the file is not such an image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(path, memmap=False) as hdus:
                image = _image(hdus, _notes(hdus))
        except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
            raise FrameError(f"{path}: not an image written by gueststar: {error}", path=str(path)) from error
    return image.to(device) if device != "cpu" else image


def _image(hdus: fits.HDUList, notes: dict[str, Any]) -> Image:
    wcs = WCS(hdus["DATA"].header)
    values: dict[str, Any] = {plane: _tensor(hdus[plane.upper()].data) for plane in _PLANES}
    values |= {name: float("nan" if notes[name] is None else notes[name]) for name in _NUMBERS}
    values |= {name: notes[name] for name in _TEXTS}
    if "HALO" in hdus:
        values["halo"] = np.array(hdus["HALO"].data) != 0
    if "psf" in notes:
        shape = {**notes["psf"], "extent": tuple(notes["psf"]["extent"])}
        values["psf"] = Psf(_tensor(hdus["PSF"].data), **shape)
    if "stars" in notes:
        rows = hdus["STARS"].data
        columns = {name: np.array(rows[name]).astype(rows[name].dtype.newbyteorder("=")) for name in rows.names}
        values["stars"] = Stars(**{**columns, **notes["stars"]})
    return Image(wcs=wcs if wcs.has_celestial else None, facts=notes["facts"], **values)


def read_image_facts(path: Path) -> tuple[FrameFacts, str] | None:
    """Facts and key of a stored image, without reading its pixels; None when the file is anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(path, lazy_load_hdus=True) as hdus:
                if _IMAGE_MARK not in hdus[0].header:
                    return None
                notes, key = _notes(hdus), str(hdus[0].header.get("GSKEY", ""))
        except (OSError, KeyError, ValueError, TypeError):
            return None
    exposure, mjd = (float("nan" if notes[name] is None else notes[name]) for name in ("exposure_s", "mjd_mid"))
    return FrameFacts(path.name, "light", notes["field"], notes["chip"], notes["band"], exposure, mjd), key


def write_master(path: Path, frame: Frame) -> None:
    """Write a combined dark or flat."""
    header = fits.Header()
    header[_MASTER_MARK] = (1, "gueststar calibration frame")
    header["GUESTVER"] = (__version__, "software version")
    header["KIND"] = frame.kind
    header["NAME"] = frame.name
    header["CHIP"], header["FILTER"] = frame.chip, frame.band
    if np.isfinite(frame.exposure_s):
        header["EXPTIME"] = (frame.exposure_s, "[s]")
    hdus: list[Any] = [fits.PrimaryHDU(header=header), fits.ImageHDU(frame.data, name="DATA")]
    if frame.mask is not None:
        hdus.append(fits.ImageHDU(frame.mask, name="MASK"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    replace_file(path, buffer.getvalue())


@lru_cache(maxsize=6)
def read_master(path: Path) -> Frame:
    """Read a combined dark or flat; the last few are kept in memory.

    Raises
    ------
    FrameError
        When the file is not one.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            header = hdus[0].header
            data = np.array(hdus["DATA"].data, np.float32)
            mask = np.array(hdus["MASK"].data, np.int16) if "MASK" in hdus else None
            kind, name = str(header["KIND"]), str(header["NAME"])
    except (OSError, KeyError, ValueError) as error:
        raise FrameError(f"{path}: not a calibration frame written by gueststar: {error}", path=str(path)) from error
    return Frame(
        name=name, kind=kind, field="", chip=str(header["CHIP"]), band=str(header["FILTER"]),
        exposure_s=float(header.get("EXPTIME", "nan")), mjd_mid=float("nan"), data=data, header={}, wcs=None,
        instrument=load_instrument("generic"), gain_e_adu=1.0, mask=mask,
    )  # fmt: skip


def _notes(hdus: fits.HDUList) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads(hdus["NOTES"].data["json"][0])
    return notes


def _tensor(data: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(data.astype(data.dtype.newbyteorder("="))))


def _json_number(value: Any) -> Any:
    """JSON knows no NaN; infinity is kept as text, which float() reads back."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
