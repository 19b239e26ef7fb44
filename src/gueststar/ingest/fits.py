"""Read FITS frames: plain, gz or fpack; the image in any HDU; any byte order and number type."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from numpy.typing import NDArray

from gueststar.errors import FrameError, InputError
from gueststar.ingest.astrometry import binned_header, read_wcs
from gueststar.ingest.calibrate import calibrate
from gueststar.ingest.frame import Frame, FrameFacts
from gueststar.ingest.header import CELLS, frame_facts, gain, n_frames, number, plain_header, read_noise, saturation
from gueststar.ingest.prepare import Ingest, prepare_image
from gueststar.ingest.zeropoint import Catalog, instrumental_zeropoint, zeropoint_from_catalog
from gueststar.instruments import Instrument, load_instrument
from gueststar.types import Image, Mask

if TYPE_CHECKING:
    from astropy.wcs import WCS

# All that astropy, zlib and the decompressors have been seen to raise on damaged files.
_UNREADABLE = (
    OSError,
    EOFError,
    TypeError,
    ValueError,
    LookupError,
    zlib.error,
    MemoryError,
    fits.VerifyError,
    AstropyUserWarning,
    CfitsioException,
)

__all__ = ["Frame", "FrameFacts", "frame_image", "load_image", "read_frame", "read_header_facts"]


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
        record = plain_header(header)
    facts = frame_facts(record, path, profile)
    level = saturation(record, profile, path)
    mask = None
    if profile.mosaic != "none":
        pixels, mask = _unmosaic(pixels, profile, path, level)
        level = None if level is None else level * CELLS[profile.mosaic]
        header = binned_header(header)
    return Frame(
        data=pixels,
        header=record,
        wcs=_wcs(header, path),
        instrument=profile,
        gain_e_adu=gain(record, profile, path, gain_e_adu),
        read_noise_e=read_noise(record, profile, path),
        saturation_adu=level,
        n_frames=n_frames(record, profile, path),
        header_zeropoint_mag=number(record, profile.keywords.zeropoint_mag, path),
        mask=mask,
        **{name: getattr(facts, name) for name in facts.__slots__},
    )


def read_header_facts(path: str | Path, *, instrument: str | Instrument = "generic") -> FrameFacts:
    """What the header and the name tell, without reading the pixels; raises as `read_frame`."""
    profile = load_instrument(instrument) if isinstance(instrument, str) else instrument
    path = Path(path)
    with _opened(path) as hdus:
        record = plain_header(_merged_header(hdus, _image_hdu(hdus, path)))
    return frame_facts(record, path, profile)


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

    Returns
    -------
    Image
        With PSF and stars measured.

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
            saturation_adu=None if frame.saturation_in_mask else frame.saturation_adu,
            bleeding=frame.instrument.bleeding,
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
        if frame.saturation_in_mask and frame.saturation_adu is not None:
            sky = float(image.facts["sky_e"] or 0.0)
            image = replace(image, saturation=frame.saturation_adu * frame.gain_e_adu - sky)
        return zeropoint_from_catalog(image, catalog) if catalog is not None else image
    except InputError as error:
        raise type(error)(f"{frame.name}: {error.message}", **error.facts) from None


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
            with _stream(path) as stream, fits.open(stream, memmap=False) as hdus:
                yield hdus
        except _UNREADABLE as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise FrameError(
                f"{path}: not a whole FITS file ({reason}); is it truncated or of another format?", path=str(path)
            ) from error


def _stream(path: Path) -> BinaryIO:
    """The file, unpacked when it is gzipped; opened here so that it is closed whatever happens."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return BytesIO(gzip.decompress(path.read_bytes())) if packed else path.open("rb")


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


def _wcs(header: fits.Header, path: Path) -> WCS | None:
    try:
        return read_wcs(header)
    except ValueError as error:
        raise FrameError(f"{path.name}: {error}", path=str(path)) from None


def _unmosaic(
    pixels: NDArray[np.float32], profile: Instrument, path: Path, saturation: float | None
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Sum the cells of a colour mosaic: all four, or the two green ones on the diagonal of RGGB.

    A cell with one saturated pixel is flagged: its sum does not show it.
    """
    ny, nx = (n - n % 2 for n in pixels.shape)
    if min(ny, nx) < 2:
        raise FrameError(f"{path.name}: shape {pixels.shape} has no 2 x 2 mosaic cell", path=str(path))
    parts = [pixels[0:ny:2, 1:nx:2], pixels[1:ny:2, 0:nx:2]]
    if profile.mosaic == "bin":
        parts += [pixels[0:ny:2, 0:nx:2], pixels[1:ny:2, 1:nx:2]]
    level = np.inf if saturation is None else saturation
    full = np.any([part >= level for part in parts], axis=0)
    return np.ascontiguousarray(np.sum(parts, axis=0)), full.astype(np.int16) * np.int16(Mask.SATURATED)
