"""World coordinates into FITS files: copies of frames whose headers say where they look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.align.register import refined_wcs, register
from gueststar.config import Config
from gueststar.errors import AlignmentError, AstrometryError, OutputError
from gueststar.ingest.astrometry import FittedWcs, fit_sip, pixel_scale_arcsec
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.ingest.frame import Frame
from gueststar.instruments import load_instrument
from gueststar.night.edited_fits import edited_fits
from gueststar.night.folders import clean_leftovers, explain_os_error, replace_file
from gueststar.types import Image

__all__ = ["SolvedFile", "solve_files"]

#: Cards of a WCS, of any spelling, that must not stay beside a new one.
_OLD = re.compile(
    r"^(C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA)[12]|(CD|PC|PV|PROJP)\d*_?\d+|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)|WCSAXES|WCSNAME|"
    r"LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX)$"
)


@dataclass(frozen=True, slots=True)
class SolvedFile:
    """What was found for one file.

    Parameters
    ----------
    name : str
    path : Path
        The copy with the WCS.
    how : str
        'astrometry.net', or 'reference'.
    ra_deg, dec_deg : float
        Sky position of the image's centre, ICRS.
    scale_arcsec : float
        Pixel scale, arcsec/px of the file.
    n_stars : int
        Stars given to the program, or matched with the reference.
    rms_px : float
        Residual of the registration on the reference, reference px; NaN for a plate solution.
    error_px : float
        Largest distance of the TAN-SIP from what it was fitted to, px of the file.
    """

    name: str
    path: Path
    how: str
    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    n_stars: int
    rms_px: float
    error_px: float


def solve_files(
    files: Sequence[Path],
    out: Path,
    config: Config,
    *,
    reference: Path | None = None,
    scale_arcsec: tuple[float, float] | None = None,
    near_deg: tuple[float, float] | None = None,
) -> list[SolvedFile]:
    """Write copies of files with a new WCS; pixels and all other cards stay as they are.

    Parameters
    ----------
    files : sequence of Path
    out : Path
        Folder for the copies, of the same names; made if it is not there.
    config : Config
    reference : Path, optional
        A frame of the same field with a good WCS; None: by astrometry.net.
    scale_arcsec : (float, float), optional
        Lowest and highest pixel scale; None: the instrument profile's, or any.
    near_deg : (float, float), optional
        RA, Dec that the frames look at.

    Raises
    ------
    OutputError
        When a copy is there already or cannot be written.
    AlignmentError, AstrometryError, FrameError, KeywordError, PixelError, MissingPartError
        When a file cannot be read or solved; it names the file. Files before it have been written.
    """
    targets = [out / path.name for path in files]
    for path, target in zip(files, targets, strict=True):
        if target.exists():
            raise OutputError(f"{target}: exists already; give another --out for the copy of {path}", path=str(target))
    with explain_os_error(out):
        out.mkdir(parents=True, exist_ok=True)
    clean_leftovers(out)
    against = None if reference is None else _image(_frame(reference, config), config)
    if against is not None and against.wcs is None:
        raise AstrometryError(f"{reference}: the reference has no WCS; solve it first", path=str(reference))
    done = []
    for path, target in zip(files, targets, strict=True):
        frame = _frame(path, config)
        image = _image(frame, config)
        try:
            item, fitted = _solve(path, target, frame, image, config, against, scale_arcsec, near_deg)
        except (AlignmentError, AstrometryError) as error:
            raise type(error)(f"{path.name}: {error.message}", **{**error.facts, "path": str(path)}) from None
        except ValueError as error:
            raise AstrometryError(f"{path.name}: {error}", path=str(path)) from None
        replace_file(target, _copy(path, fitted, item))
        done.append(item)
    return done


def _frame(path: Path, config: Config) -> Frame:
    return read_frame(path, instrument=config.instrument, gain_e_adu=config.gain_e_adu)


def _image(frame: Frame, config: Config) -> Image:
    return frame_image(frame, ingest=config.ingest)


def _solve(
    path: Path,
    target: Path,
    frame: Frame,
    image: Image,
    config: Config,
    against: Image | None,
    scale_arcsec: tuple[float, float] | None,
    near_deg: tuple[float, float] | None,
) -> tuple[SolvedFile, FittedWcs]:
    order = config.solve.sip_order
    rms = float("nan")
    if against is not None and against.wcs is not None:
        align = config.align
        found = register(
            image, against,
            use_wcs=align.use_wcs, order=align.order, search_px=align.search_px, minimum_stars=align.minimum_stars,
        )  # fmt: skip
        fitted, n, rms, how = refined_wcs(found, against.wcs), found.matched, found.rms_px, "reference"
    else:
        known = load_instrument(config.instrument).pixel_scale_arcsec
        if scale_arcsec is None and known is not None:
            margin = config.solve.scale_margin
            scale_arcsec = (known * (1.0 - margin), known * (1.0 + margin))
        solution = config.solve(image, scale_arcsec=scale_arcsec, near_deg=near_deg)
        fitted, n, how = solution.fitted, solution.n_stars, "astrometry.net"
    if frame.instrument.mosaic != "none":
        fitted = _of_raw_pixels(fitted, image.shape, order=max(order, 3))
    ny, nx = fitted.wcs.array_shape
    ra, dec = (float(v) for v in fitted.wcs.all_pix2world((nx - 1) / 2.0, (ny - 1) / 2.0, 0))
    scale = pixel_scale_arcsec(fitted.wcs)
    return SolvedFile(path.name, target, how, ra, dec, scale, n, rms, fitted.error_px), fitted


def _of_raw_pixels(fitted: FittedWcs, shape: tuple[int, int], *, order: int) -> FittedWcs:
    """WCS of the pixels of a colour mosaic, of which four make one of the image."""

    def sky(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(fitted.wcs.all_pix2world((points - 0.5) / 2.0, 0), np.float64)

    return fit_sip(sky, (2 * shape[0], 2 * shape[1]), order=order)


def _copy(path: Path, fitted: FittedWcs, item: SolvedFile) -> bytes:
    def same(stored: NDArray[Any], _scale: float, _zero: float) -> NDArray[Any]:
        return stored

    header: fits.Header = fitted.header()
    cards = {
        key: (header[key], header.comments[key])
        for key in header
        if key not in ("", "COMMENT", "HISTORY", "DATE-OBS", "MJD-OBS", "DATEREF", "MJDREF") and header[key] != ""
    }
    words = f"gueststar {__version__}: WCS by {item.how}, {item.n_stars} stars"
    return edited_fits(path, same, cards=cards, history=words, without=_OLD)
