"""Dark and flat: combine the night's calibration frames, apply them to a light frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gueststar.errors import InputError
from gueststar.ingest.frame import Frame
from gueststar.types import Mask

__all__ = ["SATURATION_MARGIN", "calibrate", "combine_darks", "combine_flats"]

SATURATION_MARGIN = 0.95  #: share of the saturation level above which the response is not trusted
_HOT_SIGMA = 20.0
_DARK_MATCH = 0.1


def combine_darks(frames: Sequence[Frame]) -> Frame:
    """Median of dark (or bias) frames of one exposure time; hot pixels are flagged `Mask.BAD`.

    Raises
    ------
    InputError
        For no frames, or frames of several shapes or exposure times.
    """
    cube = _stack(frames, "dark")
    times = {round(frame.exposure_s, 2) for frame in frames if np.isfinite(frame.exposure_s)}
    if len(times) > 1:
        raise InputError(f"dark frames of several exposure times {sorted(times)} s cannot be combined")
    dark = np.median(cube, axis=0).astype(np.float32)
    middle = float(np.median(dark))
    scatter = 1.4826 * float(np.median(np.abs(dark - middle)))
    flags = np.where(dark - middle > _HOT_SIGMA * max(scatter, 1e-3), np.int16(Mask.BAD), np.int16(0))
    return replace(frames[0], data=dark, mask=flags, kind="dark", name=f"dark of {len(frames)}")


def combine_flats(frames: Sequence[Frame], *, dark: Frame | None = None) -> Frame:
    """Median of flat frames, each divided by its own median; 1 on average.

    Pixels below 0.2 are flagged `Mask.BAD`.

    Parameters
    ----------
    frames : sequence of Frame
    dark : Frame, optional
        Subtracted from each flat first: the pedestal would dilute the flat.

    Raises
    ------
    InputError
        For no frames, several shapes, or flats without light.
    """
    cube = _stack(frames, "flat")
    if dark is not None:
        _same_shape(frames[0], dark, "dark")
        cube = cube - dark.data
    levels = np.median(cube, axis=(1, 2))
    if not (levels > 0).all():
        worst = frames[int(np.argmin(levels))].name
        raise InputError(f"flat frame {worst} has a median of {levels.min():.1f} ADU above the dark; expected light")
    flat = np.median(cube / levels[:, None, None], axis=0).astype(np.float32)
    flags = np.where(flat < 0.2, np.int16(Mask.BAD), np.int16(0))
    return replace(frames[0], data=flat, mask=flags, kind="flat", name=f"flat of {len(frames)}")


def calibrate(frame: Frame, *, dark: Frame | None = None, flat: Frame | None = None) -> Frame:
    """Subtract the dark, divide by the flat, carry over their bad pixels.

    A dark of another exposure time is subtracted unscaled, as a pedestal; the facts then say so.

    Parameters
    ----------
    frame : Frame
        Raw counts.
    dark, flat : Frame, optional
        From `combine_darks` and `combine_flats`.

    Returns
    -------
    Frame
        A new frame; saturation is lowered by the pedestal.

    Raises
    ------
    InputError
        When shapes differ.
    """
    if dark is None and flat is None:
        return frame
    data = frame.data.copy()
    flags = np.zeros(data.shape, np.int16) if frame.mask is None else frame.mask.copy()
    saturation = frame.saturation_adu
    facts = dict(frame.facts)
    full = np.zeros(data.shape, bool) if saturation is None else data >= SATURATION_MARGIN * saturation
    if dark is not None:
        _same_shape(frame, dark, "dark")
        data -= dark.data
        flags |= dark.mask if dark.mask is not None else np.int16(0)
        saturation = None if saturation is None else saturation - float(np.median(dark.data))
        matched = abs(dark.exposure_s - frame.exposure_s) <= _DARK_MATCH * frame.exposure_s
        facts["dark"] = f"{dark.name}, {dark.exposure_s:g} s" + ("" if matched else ", as pedestal only")
    if flat is not None:
        _same_shape(frame, flat, "flat")
        data /= np.maximum(flat.data, np.float32(0.2))
        flags |= flat.mask if flat.mask is not None else np.int16(0)
        facts["flat"] = flat.name
    # Saturation is a property of the raw counts: the flat moves its level from pixel to pixel.
    flags[full] |= np.int16(Mask.SATURATED)
    return replace(
        frame, data=data, mask=flags, saturation_adu=saturation, saturation_in_mask=saturation is not None, facts=facts
    )


def _stack(frames: Sequence[Frame], what: str) -> np.ndarray:
    if not frames:
        raise InputError(f"no {what} frames to combine")
    for other in frames[1:]:
        _same_shape(frames[0], other, what)
    return np.stack([frame.data for frame in frames]).astype(np.float32)


def _same_shape(frame: Frame, other: Frame, what: str) -> None:
    if frame.data.shape != other.data.shape:
        raise InputError(
            f"{frame.name} has shape {frame.data.shape}, the {what} {other.name} {other.data.shape}; "
            "calibration frames must come from the same chip and binning"
        )
