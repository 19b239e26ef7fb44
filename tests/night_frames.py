"""Small nights of FITS files for the tests of the runner, the commands and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

import skies

SHAPE = (192, 224)
GAIN = 1.6
PSF = skies.Shape(fwhm=2.8)
NEW = skies.Stars(np.array([110.3]), np.array([90.6]), np.array([14_000.0]))


def counts(seed: int, *, new: bool = False, shift: float = 0.0, fwhm: float = 2.8) -> np.ndarray:
    """ADU of one exposure of a fixed field of 60 stars; `new` adds a source at (110.3, 90.6)."""
    stars = skies.scatter(np.random.default_rng(3), 60, SHAPE, flux=(3000.0, 90_000.0), apart=9.0, avoid=NEW)
    if new:
        stars = stars + NEW
    moved = skies.Stars(stars.x + shift, stars.y - shift, stars.flux)
    light = skies.paint(SHAPE, moved, skies.Shape(fwhm=fwhm))
    return (skies.expose(light, np.random.default_rng(seed)) / GAIN).astype(np.float32)


def write(path: Path, data: np.ndarray | None, *, minute: int = 0, **cards: object) -> Path:
    """Write a FITS file with the keywords that a generic frame needs."""
    header = fits.Header()
    header["IMAGETYP"], header["OBJECT"], header["FILTER"] = "Light Frame", "M 31", "V"
    header["EXPTIME"], header["GAIN"] = 30.0, GAIN
    header["DATE-OBS"] = f"2026-01-02T03:{minute:02d}:00"
    for key, value in cards.items():
        if value is None:
            del header[key]
        else:
            header[key.replace("_", "-")] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(data, header).writeto(path)
    return path


def write_night(folder: Path, n: int = 4) -> list[Path]:
    """A field visited n times, one minute apart; the last frame has the new source."""
    return [
        write(folder / f"light{i}.fits", counts(100 + i, new=i == n - 1, shift=0.3 * i), minute=i) for i in range(n)
    ]
