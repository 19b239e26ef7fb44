"""Small pictures as data URIs, so that the report is one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar.plots import triplet_pixels
from gueststar.report.collect import CandidateRow

__all__ = ["picture_uri", "png_uri", "triplet_uris"]


def picture_uri(path: Path, *, width: int = 1100, quality: int = 80) -> str:
    """A picture file, shrunk to `width` px, as the data URI of a JPEG; empty when it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            height = max(1, round(picture.height * width / picture.width))
            small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError):
        return ""
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return _uri("image/jpeg", buffer.getvalue())


def triplet_uris(out: Path, rows: tuple[CandidateRow, ...]) -> list[str]:
    """Triplets of candidates as data URIs of PNGs, in their order; empty where the stamps cannot be read."""
    opened: dict[str, NDArray[np.float32] | None] = {}
    uris = []
    for row in rows:
        if row.image not in opened:
            opened[row.image] = _stamps(out / "images" / row.image / "stamps.npy")
        cube = opened[row.image]
        uris.append("" if cube is None or row.row >= len(cube) else png_uri(triplet_pixels(np.array(cube[row.row]))))
    return uris


def _stamps(path: Path) -> NDArray[np.float32] | None:
    try:
        cube: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return cube if cube.ndim == 4 else None


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels (ny, nx, 3) with the bottom row first as the data URI of a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    # Pictures have their first row on top, images at the bottom.
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
