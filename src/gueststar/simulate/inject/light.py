"""Light that is put into an image: what is expected on which pixels, and the electrons drawn from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.types import Image, Mask

__all__ = [
    "DARK",
    "UNUSABLE",
    "Light",
    "Patch",
    "clip_stamp",
    "count_status",
    "draw_electrons",
    "electrons_of",
    "shine",
    "status_of",
]

F8 = NDArray[np.float64]
DARK = int(Mask.BAD | Mask.NO_DATA)  #: pixels that hold no light, before and after
UNUSABLE = int(Mask.BAD | Mask.NO_DATA | Mask.SATURATED | Mask.COSMIC_RAY)
_MASKED_SHARE = 0.2
_LEAST_VARIANCE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Light on a rectangle of pixels.

    Parameters
    ----------
    row, column : int
        First pixel.
    light : ndarray, shape (h, w), float64
        Expected electrons, or a profile of unit sum; negative is light that goes away.
    source : ndarray, shape (h, w), or None
        Expected electrons of what fades, before; None where nothing does.
    """

    row: int
    column: int
    light: F8
    source: F8 | None = None

    @property
    def box(self) -> tuple[slice, slice]:
        """Its pixels in the image."""
        h, w = self.light.shape
        return slice(self.row, self.row + h), slice(self.column, self.column + w)

    def scaled(self, factor: float) -> Patch:
        """The same, brighter by a factor."""
        return replace(self, light=self.light * factor)


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Sources and the light that they bring.

    Parameters
    ----------
    sources : Table
        One row each, with a column `status`: 'injected', 'outside' (centre not on the frame) or 'masked'.
    patches : tuple of Patch
        Expected electrons of those that are 'injected', in their order.
    """

    sources: Table
    patches: tuple[Patch, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many are injected, outside and masked."""
        return count_status(self.sources)


def count_status(sources: Table) -> dict[str, int]:
    """How many rows are injected, outside and masked."""
    found = Counter(str(value) for value in sources["status"])
    return {name: found[name] for name in ("injected", "outside", "masked")}


def clip_stamp(stamp: NDArray[np.floating], column: int, row: int, shape: tuple[int, int]) -> Patch:
    """The part of a stamp that falls on the frame when its middle lies on pixel (row, column).

    Parameters
    ----------
    stamp : ndarray, shape (k, l), k and l odd
    column, row : int
    shape : (int, int)
        (ny, nx) of the frame, which holds the middle.
    """
    half = stamp.shape[0] // 2, stamp.shape[1] // 2
    bottom, left = max(0, row - half[0]), max(0, column - half[1])
    top, right = min(shape[0], row + half[0] + 1), min(shape[1], column + half[1] + 1)
    part = stamp[bottom - row + half[0] : top - row + half[0], left - column + half[1] : right - column + half[1]]
    return Patch(bottom, left, np.asarray(part, np.float64))


def status_of(profile: Patch, column: int, row: int, mask: NDArray[np.int16]) -> str:
    """'masked' with a flagged pixel at the centre, or a fifth of the light on flagged pixels; else 'injected'."""
    if mask[row, column] & UNUSABLE:
        return "masked"
    lost = profile.light[(mask[profile.box] & UNUSABLE) != 0]
    return "masked" if abs(lost.sum()) > _MASKED_SHARE * max(abs(profile.light.sum()), 1e-30) else "injected"


def draw_electrons(light: F8, present: F8 | None, expected: F8 | None, rng: np.random.Generator) -> F8:
    """Draw the electrons that come or go.

    Light that comes follows a Poisson law. Light that goes takes each of the electrons that are there with the same
    probability, light / expected, so that what is left is again Poisson (thinning).

    Parameters
    ----------
    light : ndarray
        Expected change, e-.
    present, expected : ndarray or None
        Electrons that are there, and their expectation, sky included; needed where light is negative.
    rng : Generator
    """
    drawn = rng.poisson(np.maximum(light, 0.0)).astype(np.float64)
    if present is not None and expected is not None and (light < 0).any():
        probability = np.clip(-light / np.maximum(expected, 1e-9), 0.0, 1.0)
        drawn -= rng.binomial(np.rint(np.maximum(present, 0.0)).astype(np.int64), probability)
    return drawn


def electrons_of(image: Image, patches: Sequence[Patch], *, response: F8 | None, rng: np.random.Generator) -> F8:
    """Draw the electrons of all patches, on the grid of the image; nothing falls on pixels that hold no light.

    Parameters
    ----------
    image : Image
        Before.
    patches : sequence of Patch
    response : ndarray, shape (ny, nx), or None
        Electrons detected for each one of the image, which is the flat field; None: 1 everywhere.
    rng : Generator
    """
    data, variance, mask = (image.numpy(plane) for plane in ("data", "variance", "mask"))
    added = np.zeros(image.shape)
    for patch in patches:
        box = patch.box
        flat = 1.0 if response is None else response[box]
        light = np.where(mask[box] & DARK, 0.0, patch.light) * flat
        present = expected = None
        if patch.source is not None:
            # Electrons of the sky by its noise; those of the source by the pixels, which hold its own noise.
            sky = float(variance[box].min())
            expected = (patch.source + sky) * flat
            present = (data[box] + sky) * flat + added[box]
        added[box] += draw_electrons(light, present, expected, rng)
    return added


def shine(image: Image, patches: Iterable[Patch], *, rng: np.random.Generator) -> Image:
    """Put light into an image; see `gueststar.simulate.inject.inject` for what that means.

    Parameters
    ----------
    image : Image
    patches : iterable of Patch
        Expected electrons.
    rng : Generator
        For the photon noise.

    Returns
    -------
    Image
        New, with a new `image_id`.
    """
    parts = list(patches)
    data, variance, mask = (image.numpy(plane) for plane in ("data", "variance", "mask"))
    added = electrons_of(image, parts, response=None, rng=rng).astype(np.float32)
    before, data = data, data + added
    least = _LEAST_VARIANCE * variance
    for patch in parts:
        variance[patch.box] += np.where(mask[patch.box] & DARK, 0.0, patch.light).astype(np.float32)
    variance = np.maximum(variance, least)
    over = (added > 0) & (data > np.float32(image.saturation))
    # A pixel that is above the level already stays what it is.
    data[over] = np.maximum(before[over], np.float32(image.saturation))
    mask[over] |= int(Mask.SATURATED)
    digest = hashlib.blake2b(image.image_id.encode() + data.tobytes(), digest_size=8).hexdigest()
    planes = [torch.from_numpy(plane).to(image.data.device) for plane in (data, variance, mask)]
    return replace(image, data=planes[0], variance=planes[1], mask=planes[2], image_id=digest)
