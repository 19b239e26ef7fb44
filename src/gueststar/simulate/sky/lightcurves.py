"""Light curves of variable sources: one small function for each kind, and how many of each kind there are.

A curve gives the magnitude from the middle of its range in units of the half range: -1 at the brightest, +1 at the
faintest. Curves are determined by the parameters of their source, so that any moment can be asked for alone; what is
random in them comes from numbers hashed from the seed of the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gueststar.simulate.sky.sky_table import Rows

__all__ = [
    "VARIABLE_TYPES",
    "Curve",
    "cepheid",
    "contact_binary",
    "damped_random_walk",
    "delta_scuti",
    "detached_binary",
    "draw_variables",
    "flare_star",
    "mira",
    "rotating",
    "rr_lyrae",
    "semiregular",
    "variable_change",
]

F8 = NDArray[np.float64]
U8 = NDArray[np.uint64]

_WAVES = 64  # waves that make one random walk


class Curve(NamedTuple):
    """Parameters of n sources at a moment.

    Parameters
    ----------
    mjd : float
        The moment.
    period_d : ndarray, shape (n,)
        Period, or time scale of what has none.
    phase : ndarray, shape (n,)
        Phase at MJD 0, 0-1.
    shape : ndarray, shape (n,)
        What makes sources of one kind differ, 0-1.
    seed : ndarray, shape (n,), int64
        Seed of what is random.
    """

    mjd: float
    period_d: F8
    phase: F8
    shape: F8
    seed: NDArray[np.int64]

    @property
    def cycles(self) -> F8:
        """Cycles since MJD 0, phase included."""
        return self.mjd / self.period_d + self.phase

    def at(self, rows: NDArray[np.intp]) -> Curve:
        """Some of the sources."""
        return Curve(self.mjd, self.period_d[rows], self.phase[rows], self.shape[rows], self.seed[rows])


def detached_binary(curve: Curve) -> F8:
    """Eclipsing binary of Algol's kind: flat, with two narrow eclipses of which the second is shallower."""
    width = 0.02 + 0.06 * curve.shape
    first = np.exp(-((_from_whole(curve.cycles) / width) ** 4))
    second = np.exp(-((_from_whole(curve.cycles + 0.5) / width) ** 4))
    return np.asarray(-1.0 + 2.0 * first + (0.4 + 1.4 * curve.shape) * second)


def contact_binary(curve: Curve) -> F8:
    """Eclipsing binary of W Ursae Majoris' kind: always changing, pointed minima of nearly equal depth."""
    swing = np.abs(np.sin(2.0 * np.pi * curve.cycles))
    minor = np.abs(_from_whole(curve.cycles)) > 0.25
    return np.asarray(1.0 - 2.0 * swing - np.where(minor, 0.3 * curve.shape * (1.0 - swing), 0.0))


def rr_lyrae(curve: Curve) -> F8:
    """RR Lyrae star: a rise of 10-25 % of the period, then a slow decline."""
    return _pulsation(curve.cycles, 0.10 + 0.15 * curve.shape)


def cepheid(curve: Curve) -> F8:
    """Classical Cepheid: a rise of 25-40 % of the period."""
    return _pulsation(curve.cycles, 0.25 + 0.15 * curve.shape)


def delta_scuti(curve: Curve) -> F8:
    """Delta Scuti star: two modes that beat, with the first overtone at 0.77 of the period."""
    second = 0.1 + 0.3 * curve.shape
    waves = (1.0 - second) * np.sin(2.0 * np.pi * curve.cycles)
    return np.asarray(waves + second * np.sin(2.0 * np.pi * curve.cycles / 0.77))


def semiregular(curve: Curve) -> F8:
    """Semiregular red giant: two incommensurable periods."""
    slow = 0.2 + 0.3 * curve.shape
    waves = (1.0 - slow) * np.sin(2.0 * np.pi * curve.cycles)
    return np.asarray(waves + slow * np.sin(2.0 * np.pi * curve.cycles * 0.37))


def mira(curve: Curve) -> F8:
    """Mira star: a rise of 40 % of the period, cycles that differ by up to a quarter."""
    drift = np.sin(2.0 * np.pi * (0.31 * curve.cycles + curve.shape))
    return np.asarray(0.85 * _pulsation(curve.cycles, 0.40) + 0.15 * drift)


def rotating(curve: Curve) -> F8:
    """Spotted star that rotates: one or two groups of spots, which drift against each other over a hundred turns."""
    second = 0.5 * curve.shape
    drift = 2.0 * np.pi * (2.01 * curve.cycles + curve.shape)
    return np.asarray((np.sin(2.0 * np.pi * curve.cycles) + second * np.sin(drift)) / (1.0 + second))


def flare_star(curve: Curve) -> F8:
    """Flaring red dwarf: faint, but once in every period, at a random moment, a flare of random height and length.

    A flare rises within a minute or two and falls exponentially within 0.01-0.03 of the period.
    """
    faint = np.ones_like(curve.cycles)
    for back in (0.0, 1.0):
        number = np.floor(curve.cycles) - back
        moment, height, length = (_uniform(curve.seed, number.astype(np.int64) * 3 + k) for k in range(3))
        since = (curve.cycles - number - moment) * curve.period_d
        fall = np.maximum(curve.period_d * (0.01 + 0.02 * length), 1e-9)
        rise = 0.05 * fall
        flare = np.where(since < 0, np.maximum(1.0 + since / rise, 0.0), np.exp(-np.maximum(since, 0.0) / fall))
        faint = np.minimum(faint, 1.0 - 2.0 * height * flare)
    return np.asarray(faint)


def damped_random_walk(curve: Curve) -> F8:
    """Active nucleus: a damped random walk of standard deviation 1/2 (half range: two standard deviations).

    A sum of waves with frequencies from the spectrum of the process, a Lorentzian of width 1 / (2 pi tau), and random
    phases (Shinozuka & Deodatis 1991, Appl. Mech. Rev. 44, 191); tau is `period_d`. Its covariance is
    exp(-|dt| / tau) / 4 (Kelly, Bechtold & Siemiginowska 2009, ApJ 698, 895, Eq. 2), and it needs no earlier state.
    """
    strata = np.arange(_WAVES, dtype=np.int64)
    seed = curve.seed[:, None]
    share = (strata + _uniform(seed, strata)) / _WAVES
    frequency = np.tan(0.5 * np.pi * np.minimum(share, 1.0 - 1e-9)) / curve.period_d[:, None]
    start = 2.0 * np.pi * _uniform(seed, strata + _WAVES)
    waves = np.cos(frequency * curve.mjd + start).sum(axis=1)
    return np.asarray(0.5 * np.sqrt(2.0 / _WAVES) * waves)


def _pulsation(cycles: F8, rise: F8 | float) -> F8:
    """Faintest at phase 0, brightest after `rise` of the period, then a decline that starts fast."""
    phase = cycles % 1.0
    up = np.cos(np.pi * np.minimum(phase / rise, 1.0))
    down = -np.cos(np.pi * np.maximum((phase - rise) / (1.0 - rise), 0.0) ** 0.8)
    return np.asarray(np.where(phase < rise, up, down))


def _from_whole(cycles: F8) -> F8:
    """Distance from the nearest whole cycle, -0.5 to 0.5."""
    return np.asarray(cycles - np.round(cycles))


def _uniform(seed: NDArray[np.int64], index: NDArray[np.int64]) -> F8:
    """Numbers from 0 to 1 hashed of a seed and an index (SplitMix64; Steele, Lea & Flood 2014)."""
    bits: U8 = seed.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + (
        index.astype(np.uint64) + np.uint64(1)
    ) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


class _Kind(NamedTuple):
    """A kind of variable: its curve, its share, and the periods (d) and half ranges (mag) at which it is found."""

    curve: Callable[[Curve], F8]
    share: float
    period_d: tuple[float, float]
    amplitude_mag: tuple[float, float]


# Shares of the periodic kinds after the 780,000 variables of Chen et al. (2020, ApJS 249, 18), rounded; that of flare
# stars, and the ranges of periods and amplitudes, are judged.
_KINDS: dict[str, _Kind] = {
    "contact": _Kind(contact_binary, 0.47, (0.22, 0.8), (0.03, 0.45)),
    "detached": _Kind(detached_binary, 0.07, (0.5, 20.0), (0.03, 1.0)),
    "rr_lyrae": _Kind(rr_lyrae, 0.06, (0.3, 0.8), (0.15, 0.7)),
    "cepheid": _Kind(cepheid, 0.01, (2.0, 40.0), (0.1, 0.7)),
    "delta_scuti": _Kind(delta_scuti, 0.03, (0.04, 0.25), (0.01, 0.3)),
    "semiregular": _Kind(semiregular, 0.13, (30.0, 300.0), (0.05, 1.2)),
    "mira": _Kind(mira, 0.02, (120.0, 500.0), (0.6, 4.0)),
    "rotating": _Kind(rotating, 0.19, (0.4, 30.0), (0.01, 0.25)),
    "flare_star": _Kind(flare_star, 0.02, (0.3, 5.0), (0.05, 2.0)),
    "agn": _Kind(damped_random_walk, 0.0, (50.0, 800.0), (0.05, 1.0)),
}

#: Kinds of variables that have a light curve.
VARIABLE_TYPES = tuple(_KINDS)


def draw_variables(varies: NDArray[np.bool_], amplitude_mag: tuple[float, float], rng: np.random.Generator) -> Rows:
    """Kind and curve of the stars that vary; the columns of others say that they are constant.

    The half range is log-uniform. Kinds of which no star has such a half range are left out; where that leaves none,
    any kind will do.

    Parameters
    ----------
    varies : ndarray, shape (n,), bool
    amplitude_mag : (float, float)
        Smallest and largest half range, mag.
    rng : Generator
    """
    which, count = np.flatnonzero(varies), int(varies.sum())
    amplitude = np.exp(rng.uniform(np.log(amplitude_mag[0]), np.log(amplitude_mag[1]), count))
    shares = np.array([kind.share for kind in _KINDS.values()])
    low, high = np.array([kind.amplitude_mag for kind in _KINDS.values()]).T
    fitting = shares * ((amplitude[:, None] >= low) & (amplitude[:, None] <= high))
    fitting = np.where(fitting.sum(axis=1, keepdims=True) > 0, fitting, shares)
    steps = np.cumsum(fitting, axis=1)
    kind = (rng.random((count, 1)) * steps[:, -1:] >= steps).sum(axis=1)
    periods = np.log([entry.period_d for entry in _KINDS.values()])[kind]
    values: Rows = {
        "kind": np.where(varies, "variable", "star"), "variable_type": np.full(varies.size, "", "U16"),
        "amplitude_mag": np.zeros(varies.size), "period_d": np.full(varies.size, np.nan),
        "phase": np.zeros(varies.size), "curve_shape": np.zeros(varies.size),
        "curve_seed": np.zeros(varies.size, np.int64),
    }  # fmt: skip
    values["variable_type"][which] = np.asarray(VARIABLE_TYPES)[kind]
    values["amplitude_mag"][which] = amplitude
    values["period_d"][which] = np.exp(rng.uniform(periods[:, 0], periods[:, 1]))
    values["phase"][which] = rng.random(count)
    values["curve_shape"][which] = rng.random(count)
    values["curve_seed"][which] = rng.integers(0, 2**62, count)
    return values


def variable_change(variable_type: NDArray[np.str_], amplitude_mag: F8, curve: Curve) -> F8:
    """Magnitudes from the middle of the range, of n variables of any kinds.

    Parameters
    ----------
    variable_type : ndarray of str, shape (n,)
        Members of `VARIABLE_TYPES`.
    amplitude_mag : ndarray, shape (n,)
        Half range.
    curve : Curve
    """
    change = np.zeros(amplitude_mag.shape)
    for name in np.unique(variable_type):
        rows = np.flatnonzero(variable_type == name)
        part = curve.at(rows)
        change[rows] = _KINDS[str(name)].curve(part)
    return np.asarray(amplitude_mag * change)
