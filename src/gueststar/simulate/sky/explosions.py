"""What flares up once: supernovae, outbursts and flares, how their light rises and falls, and those of tonight.

Templates give magnitudes below the peak against age over time scale. They are judged from common knowledge of the
classes, and smooth on purpose: type Ia with a rise of 18 d and a decline of 0.65-0.7 mag in 15 d without a filter;
type II-P with a rise of 8 d, a plateau to 100 d, a fall of 2 mag and the tail of cobalt, 0.98 mag in 100 d; outbursts
like a dwarf nova's. Flares follow Davenport et al. (2014, ApJ 797, 122, Eqs. 1 and 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate.detector import CHIP_PIXELS
from gueststar.simulate.sky.field_galaxies import draw_host_offsets, galaxy_rows
from gueststar.simulate.sky.sky_table import Box, Rows, make_rows
from gueststar.simulate.survey import Survey

__all__ = ["EXPLOSION_TYPES", "draw_flares", "draw_hostless", "draw_supernovae", "explosion_mag"]

F8 = NDArray[np.float64]

# Age (in time scales) and magnitudes below the peak; before the first age the light grows as its square.
_TEMPLATES: dict[str, tuple[list[float], list[float]]] = {
    "SN Ia": (
        [3, 5, 8, 11, 14, 18, 23, 28, 33, 38, 43, 48, 58, 78, 118],
        [3.2, 2.1, 1.15, 0.55, 0.17, 0.0, 0.1, 0.36, 0.66, 0.9, 1.1, 1.35, 1.85, 2.5, 3.5],
    ),
    "SN II-P": ([1, 2, 4, 8, 20, 60, 95, 105, 115, 125, 225], [2.0, 0.9, 0.25, 0.0, 0.1, 0.3, 0.5, 1.1, 2.2, 2.5, 3.5]),
    "outburst": ([0.02, 0.06, 0.12, 0.2, 0.6, 1.0, 1.5, 2.0], [3.5, 1.6, 0.4, 0.0, 0.3, 0.8, 3.0, 4.5]),
}
#: Kinds of light that comes once.
EXPLOSION_TYPES = (*_TEMPLATES, "flare")

_SHARE_IA = 0.7  # of the supernovae of a survey limited by magnitude (judged)
_SHARE_OUTBURST = 0.4  # of the transients without a host
_SUPERNOVA_AGE_D, _OUTBURST_AGE_D = (2.0, 28.0), (0.1, 6.0)
_STRETCH, _OUTBURST_D = (0.8, 1.1), (4.0, 12.0)
_FLARE_MIN = (3.0, 60.0)  # full width at half maximum; log-uniform
_FLARE_AGE = (0.5, 2.0)  # age tonight, in these widths; the peak is at 1
_FLARE_FAINTER_MAG = (1.0, 5.0)
_COLOURS = {"SN Ia": -0.9, "SN II-P": -0.6, "outburst": -1.1, "flare": -1.3, "dwarf": 1.8}


def explosion_mag(kind: str, age: ArrayLike) -> F8:
    """Magnitudes below the peak.

    Parameters
    ----------
    kind : str
        One of `EXPLOSION_TYPES`.
    age : array_like
        Time since the start over the time scale: days over the stretch; for flares over the full width at half
        maximum, with the peak at 1.

    Returns
    -------
    ndarray
        Infinity before the start.
    """
    t = np.asarray(age, np.float64)
    if kind == "flare":
        return _flare_mag(t - 1.0)
    ages, mags = (np.asarray(values, np.float64) for values in _TEMPLATES[kind])
    with np.errstate(divide="ignore", invalid="ignore"):
        early = mags[0] - 5.0 * np.log10(np.where(t > 0, t / ages[0], 0.0))
    slope = (mags[-1] - mags[-2]) / (ages[-1] - ages[-2])
    later = np.interp(t, ages, mags) + slope * np.maximum(t - ages[-1], 0.0)
    return np.asarray(np.where(t < ages[0], early, later))


def _flare_mag(t: F8) -> F8:
    """Magnitudes below the peak of a flare at times from its peak, in units of the full width at half maximum."""
    rise = np.clip(t, -1.0, 0.0)
    up = 1.0 + rise * (1.941 + rise * (-0.175 + rise * (-2.246 - 1.125 * rise)))
    fall = np.maximum(t, 0.0)
    down = (0.6890 * np.exp(-1.600 * fall) + 0.3030 * np.exp(-0.2783 * fall)) / 0.9920
    light = np.where(t < 0, np.where(t > -1.0, np.maximum(up, 0.0), 0.0), down)
    with np.errstate(divide="ignore"):
        return np.asarray(-2.5 * np.log10(light))


def draw_supernovae(survey: Survey, box: Box, *, tonight_mjd: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Host galaxies, and a supernova on each.

    The distance over R25 follows the law of offsets exactly. Its direction is drawn along the galaxy's ellipse, so
    that an edge-on disc has its supernovae near the disc. `host_id` counts the rows of the hosts.
    """
    count = _number(survey.supernovae_per_chip, box, rng)
    x, y = box._replace(margin_px=0.0).place(count, rng)
    mags = rng.uniform(*survey.host_mag, count)
    hosts = galaxy_rows(mags, x, y, rng)
    ratio, angle, re = (hosts[name].astype(np.float64) for name in ("axis_ratio", "angle_rad", "re_arcsec"))
    around = rng.uniform(0.0, 2.0 * np.pi, count)
    direction = angle + np.arctan2(ratio * np.sin(around), np.cos(around))
    offset = draw_host_offsets(count, rng)
    distance = offset * 2.0 * re / survey.pixel_scale_arcsec
    # The supernova lies on the chip; its host may be just outside.
    hosts = hosts | {"px": x - distance * np.cos(direction), "py": y - distance * np.sin(direction)}
    kinds = np.where(rng.random(count) < _SHARE_IA, "SN Ia", "SN II-P")
    new = _explosions("supernova", kinds, x, y, survey=survey, tonight_mjd=tonight_mjd, rng=rng)
    return hosts, new | {"host_id": np.arange(count), "host_mag": mags, "host_offset_r25": offset}


def draw_hostless(survey: Survey, box: Box, *, tonight_mjd: float, rng: np.random.Generator) -> Rows:
    """Transients where no host is seen: supernovae in galaxies too faint, and outbursts of stars too faint."""
    count = _number(survey.hostless_per_chip, box, rng)
    x, y = box._replace(margin_px=0.0).place(count, rng)
    supernova = np.where(rng.random(count) < _SHARE_IA, "SN Ia", "SN II-P")
    kinds = np.where(rng.random(count) < _SHARE_OUTBURST, "outburst", supernova)
    return _explosions("hostless", kinds, x, y, survey=survey, tonight_mjd=tonight_mjd, rng=rng)


def draw_flares(survey: Survey, box: Box, *, tonight_mjd: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Red dwarfs, and a flare under way on each; `host_id` counts the rows of the dwarfs."""
    count = _number(survey.flares_per_chip, box, rng)
    x, y = box._replace(margin_px=0.0).place(count, rng)
    flares = _explosions("flare", np.full(count, "flare"), x, y, survey=survey, tonight_mjd=tonight_mjd, rng=rng)
    mags = flares["mag"].astype(np.float64) + rng.uniform(*_FLARE_FAINTER_MAG, count)
    dwarfs = make_rows("star", x, y, mag=mags, colour=_COLOURS["dwarf"])
    return dwarfs, flares | {"host_id": np.arange(count), "host_mag": mags}


def _explosions(
    kind: str, types: NDArray[np.str_], x: F8, y: F8, *, survey: Survey, tonight_mjd: float, rng: np.random.Generator
) -> Rows:
    """Sources that began some time before tonight; `mag` is that of tonight."""
    count = types.size
    scale = {
        "flare": np.exp(rng.uniform(np.log(_FLARE_MIN[0]), np.log(_FLARE_MIN[1]), count)) / 1440.0,
        "outburst": rng.uniform(*_OUTBURST_D, count),
    }
    age = {
        "flare": rng.uniform(*_FLARE_AGE, count) * scale["flare"],
        "outburst": rng.uniform(*_OUTBURST_AGE_D, count),
    }
    rare = [types == name for name in scale]
    time_scale = np.select(rare, list(scale.values()), rng.uniform(*_STRETCH, count))
    return make_rows(
        kind, x, y, mag=rng.uniform(*survey.transient_mag, count), colour=[_COLOURS[str(name)] for name in types],
        variable_type=types, period_d=time_scale,
        start_mjd=tonight_mjd - np.select(rare, list(age.values()), rng.uniform(*_SUPERNOVA_AGE_D, count)),
    )  # fmt: skip


def _number(per_chip: float, box: Box, rng: np.random.Generator) -> int:
    return int(rng.poisson(per_chip * box.shape[0] * box.shape[1] / CHIP_PIXELS))
