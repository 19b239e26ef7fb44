"""Changes of the stamps that are trained on, beside the eight symmetries of the square.

All are off by default. What they are for, and why no more is on: a symmetry of the square changes nothing about what a
stamp is, while each of these trades what the stamps say for robustness against what differs elsewhere.

- ``shift_px``: the centre of a stamp is moved by whole pixels, all planes together, so that the difference stays that
  of the other two. Stamps are cut at the nearest pixel, so shifts by parts of a pixel are in the data already; to make
  more of them would take an interpolation, whose smoothed noise tells an augmented stamp from others.
- ``noise``: the same exposure under a brighter sky. With science and reference in units of their sky noise, independent
  noise of a times that is added to both, the difference gets the difference of the two, and everything is divided by
  sqrt(1 + a^2), so that the noise is 1 again and the source is fainter by that much; the measured numbers that are
  signals to noise follow. The noise is white, as that of a registered and convolved reference is not.
- ``brightness``: all planes are multiplied by one factor, as by a noise map that is wrong by so much; signals to noise
  follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.dataset import symmetry
from gueststar.realbogus.scalars import Scalar

__all__ = ["Augment", "Change"]

_SIGNALS = ("snr", "snr_aper", "snr_auto", "snr_beyond_shift", "snr_beyond_share", "science_snr", "reference_snr")
_SQUARES = ("dipole_dchi2",)


class Augment(Options):
    """How stamps are changed while they are trained on, beside the symmetries of the square; each stamp anew."""

    shift_px: int = Field(
        0, ge=0, le=5, description="Shifts of the centre by up to so many whole pixels in x and y; stamps must be wider"
    )
    noise: float = Field(
        0.0, ge=0, le=2, description="Most noise that is added, in units of the sky noise; drawn from 0 to this"
    )
    brightness: float = Field(
        0.0, ge=0, le=0.5, description="Stamps are multiplied by 1 - this to 1 + this, as by a wrong noise map"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What is done to n stamps: symmetry, shift in y and x, added noise and factor of each.

    Parameters
    ----------
    turn : ndarray of int, shape (n,)
        As `gueststar.realbogus.dataset.symmetry` takes it.
    shift : ndarray of int, shape (n, 2)
        Of the centre, px; at most `margin`.
    noise : ndarray, shape (n,)
        In units of the sky noise.
    factor : ndarray, shape (n,)
    margin : int
        How many pixels more than seen the stamps have at each edge.
    seed : int
        Of the noise.
    powers : ndarray, shape (m,)
        Power of the signal to noise with which each measured number grows.
    """

    turn: NDArray[np.int64]
    shift: NDArray[np.int64]
    noise: NDArray[np.float32]
    factor: NDArray[np.float32]
    margin: int
    seed: int
    powers: NDArray[np.float32]

    @classmethod
    def draw(cls, options: Augment, n: int, rng: np.random.Generator, *, scalars: Sequence[Scalar] = ()) -> Change:
        """Draw changes of n stamps whose measured numbers are `scalars`."""
        far, wrong = options.shift_px, options.brightness
        return cls(
            turn=rng.integers(0, 8, n),
            shift=rng.integers(-far, far + 1, (n, 2)),
            noise=rng.uniform(0.0, options.noise, n).astype(np.float32),
            factor=rng.uniform(1.0 - wrong, 1.0 + wrong, n).astype(np.float32),
            margin=far,
            seed=int(rng.integers(2**63)),
            powers=np.array([_power(scalar.name) for scalar in scalars], np.float32),
        )

    def pixels(self, cube: NDArray[np.float32]) -> NDArray[np.float32]:
        """Changed stamps (n, 3, k, k) of stamps (n, 3, k + 2 margin, k + 2 margin) in units of the noise."""
        if self.margin:
            cube = _shifted(cube, self.shift, self.margin)
        out: NDArray[np.float32] = symmetry(cube, self.turn)
        if self.noise.any():
            out = _fainter(out, self.noise, np.random.default_rng(self.seed))
        if (self.factor != 1.0).any():
            out *= self.factor[:, None, None, None]
        return out

    def numbers(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Measured numbers (n, m) of the changed stamps."""
        gain = self.factor / np.sqrt(1.0 + self.noise**2)
        if (gain == 1.0).all():
            return numbers
        changed: NDArray[np.float32] = numbers * gain[:, None] ** self.powers
        return changed


def _power(name: str) -> int:
    """Power of the signal to noise with which a number, or a ratio a/b/c of numbers, grows."""
    first, *below = ((part in _SIGNALS) + 2 * (part in _SQUARES) for part in name.split("/"))
    return int(first - sum(below))


def _shifted(cube: NDArray[np.float32], shift: NDArray[np.int64], margin: int) -> NDArray[np.float32]:
    """Centres moved by (y, x) px, all planes of a stamp together."""
    size = cube.shape[-1] - 2 * margin
    out = np.empty((*cube.shape[:2], size, size), cube.dtype)
    for dy, dx in np.unique(shift, axis=0):
        rows = (shift == (dy, dx)).all(axis=1)
        y, x = margin + dy, margin + dx
        out[rows] = cube[rows, :, y : y + size, x : x + size]
    return out


def _fainter(cube: NDArray[np.float32], amount: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stamps under a brighter sky, again in units of their noise; missing pixels stay missing."""
    added = rng.standard_normal((cube.shape[0], 2, *cube.shape[2:]), np.float32)
    # The noise of the difference is that of both: half of its variance from each, as with equal exposures.
    difference = (added[:, :1] - added[:, 1:]) * np.float32(np.sqrt(0.5))
    a = amount[:, None, None, None]
    changed: NDArray[np.float32] = (cube + a * np.concatenate((added, difference), axis=1)) / np.sqrt(1.0 + a**2)
    return changed
