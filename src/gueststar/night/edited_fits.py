"""A copy of a FITS file in which only the numbers of its image are changed."""

from __future__ import annotations

import gzip
import io
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from gueststar.errors import FrameError

__all__ = ["Change", "edited_fits"]

#: Given the stored numbers (ny, nx), and step and zero of their scale (BSCALE, BZERO): the new numbers.
Change = Callable[[NDArray[Any], float, float], NDArray[Any]]
_CHECKS = ("CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM")
_UNREADABLE = (OSError, EOFError, TypeError, ValueError, LookupError, fits.VerifyError)


def edited_fits(
    path: Path,
    change: Change,
    *,
    cards: Mapping[str, tuple[Any, str]],
    history: str,
    without: re.Pattern[str] | None = None,
) -> bytes:
    """Bytes of a FITS file with new numbers in its image, all else as it was.

    Type, scale, compression, header and the other HDUs stay. Floating-point pixels that were compressed with loss are
    compressed without: to quantise them again would add noise.

    Parameters
    ----------
    path : Path
        The first two-dimensional image of this file is edited; gzip files are written gzipped.
    change : callable
        Makes the new numbers from those stored, before their scaling.
    cards : mapping
        Keywords to add to the image's header: (value, comment).
    history : str
        Line to add to its history.
    without : re.Pattern, optional
        Keywords to leave out, in all headers of the file.

    Raises
    ------
    FrameError
        When the file cannot be read or its image not written.
    """
    raw = path.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            plain = gzip.decompress(raw) if packed else raw
            data = _edited(plain, change, cards=cards, history=history, without=without)
        except _UNREADABLE as error:
            raise FrameError(f"{path}: cannot be copied with new pixels: {error}", path=str(path)) from error
    return gzip.compress(data, mtime=0) if packed else data


def _edited(
    raw: bytes,
    change: Change,
    *,
    cards: Mapping[str, tuple[Any, str]],
    history: str,
    without: re.Pattern[str] | None,
) -> bytes:
    with fits.open(io.BytesIO(raw), memmap=False, do_not_scale_image_data=True) as hdus:
        index = next(i for i, hdu in enumerate(hdus) if _is_image(hdu))
        hdu = hdus[index]
        stored = np.squeeze(hdu.data)
        scale, zero = float(hdu.header.get("BSCALE", 1.0)), float(hdu.header.get("BZERO", 0.0))
        new = change(stored.astype(stored.dtype.newbyteorder("=")), scale, zero).reshape(hdu.data.shape)
        if isinstance(hdu, fits.CompImageHDU) and new.dtype.kind == "f":
            hdus[index] = hdu = fits.CompImageHDU(
                new, hdu.header, name=hdu.name, compression_type="GZIP_2", quantize_level=0.0
            )
        else:
            hdu.data[...] = new
        checked = any(key in hdu.header for key in _CHECKS)
        for key in _CHECKS:
            hdu.header.remove(key, ignore_missing=True)
        if without is not None:
            for header in (hdus[0].header, hdu.header):
                for key in {key for key in header if without.match(key)}:
                    header.remove(key, remove_all=True)
        hdu.header.update(cards)
        hdu.header.add_history(history)
        buffer = io.BytesIO()
        hdus.writeto(buffer, output_verify="silentfix+ignore", checksum=checked)
    return buffer.getvalue()


def _is_image(hdu: Any) -> bool:
    return bool(getattr(hdu, "is_image", False)) and sum(n > 1 for n in getattr(hdu, "shape", None) or ()) == 2
