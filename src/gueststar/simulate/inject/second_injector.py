"""A second injector, for tests only: sources that the first one cannot make.

A classifier trained on artificial reals of the image's own measured PSF may learn that PSF instead of what a source
looks like, and do badly on all that differs. This one shares no profile with `gueststar.simulate.inject`, and must
never be used to make training data: it is there to see what such a classifier misses.

ellipse
    a Moffat profile, elongated, and wider or narrower than the PSF;
empirical
    the pixels of a bright star of the image itself, moved by whole pixels, so that nothing is modelled or interpolated;
trail
    the PSF drawn along 1 to 6 px, as of an asteroid;
variable
    a star of the image that becomes brighter or fainter by a part of its light;
nucleus
    as 'empirical', within 1 FWHM of a galaxy's nucleus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from gueststar.errors import InputError
from gueststar.ingest.psf import psf_photometry
from gueststar.simulate.inject import Injected
from gueststar.simulate.inject.brightness import draw_brightness, flux_of_snr, surface_brightness
from gueststar.simulate.inject.light import UNUSABLE, Light, Patch, clip_stamp, status_of
from gueststar.simulate.inject.places import choose_places
from gueststar.simulate.inject.profiles import psf_of, psf_profiles, psf_stamps
from gueststar.simulate.inject.sources import truth_table
from gueststar.types import Image, Psf, Stars

__all__ = ["KINDS", "Kind", "inject_second", "second_light"]

F8 = NDArray[np.float64]
Kind = Literal["mixed", "ellipse", "empirical", "trail", "variable", "nucleus"]
KINDS: tuple[str, ...] = get_args(Kind)

_FACTS = ("fwhm_px", "ellipticity", "trail_px", "angle_rad", "change_fraction")
_SUBPIXELS = 5
_STAR_SNR = 100.0  # of stars whose pixels serve as a PSF
_NEIGHBOURS = 0.05  # light of neighbours that such a star may have
_UNLIKE = (0.25, 0.05)  # what may differ from the PSF within 1 FWHM and beyond, of the peak: more is a blend
_LEAST_STARS = 3
_FRACTION = (0.01, 0.9, 3.0)  # of a star's light: least change, most that goes, most that comes


@dataclass(frozen=True, slots=True)
class _Source:
    """A place, a profile of unit flux and what is special about it."""

    x: float
    y: float
    profile: Patch
    facts: dict[str, float] = field(default_factory=dict)


_Shape = Callable[[float, float, np.random.Generator], _Source]


def inject_second(
    image: Image,
    n: int,
    *,
    kind: Kind = "mixed",
    rng: np.random.Generator,
    snr: tuple[float, float] = (5.0, 50.0),
    minimum_separation_px: float = 25.0,
) -> Injected:
    """Put sources of another kind into an image.

    Parameters
    ----------
    image : Image
        With measured `psf` and `stars`.
    n : int
        How many are wanted; ``sources.meta`` tells how many there was room for.
    kind : {'mixed', 'ellipse', 'empirical', 'trail', 'variable', 'nucleus'}
        See the module; 'mixed' is as many of each.
    rng : Generator
    snr : (float, float)
        Range of the signal to noise under each source's own profile; log-uniform.
    minimum_separation_px : float
        Smallest distance between two of one kind.

    Returns
    -------
    Injected
        `sources` has the columns of `gueststar.simulate.inject.TRUTH_COLUMNS`, with flux_e and snr negative for a star
        that became fainter; injector_kind; fwhm_px and ellipticity (1 - b/a) of ellipses, trail_px and angle_rad
        (from x to y) of trails and ellipses, change_fraction of variables, else NaN; and status.

    Raises
    ------
    InputError
        When an option is senseless, the image has no PSF, or it has too few bright lone stars to copy.
    """
    light = second_light(image, n, kind=kind, rng=rng, snr=snr, minimum_separation_px=minimum_separation_px)
    return Injected.of(image, light, rng=rng)


def second_light(
    image: Image,
    n: int,
    *,
    kind: Kind = "mixed",
    rng: np.random.Generator,
    snr: tuple[float, float] = (5.0, 50.0),
    minimum_separation_px: float = 25.0,
) -> Light:
    """Light that such sources would bring, on which pixels; parameters and errors as for `inject_second`."""
    psf = psf_of(image)
    if kind not in KINDS:
        raise InputError(f"kind = {kind!r}; valid ones are {', '.join(KINDS)}", kind=kind)
    if n < 0 or not 0 < snr[0] <= snr[1]:
        raise InputError(f"n = {n}, snr = {snr}: positive numbers are needed, the lower snr first", n=n)
    each = [name for name in KINDS if name != "mixed"] if kind == "mixed" else [kind]
    shares = [n // len(each) + (i < n % len(each)) for i in range(len(each))]
    parts = []
    for name, count in zip(each, shares, strict=True):
        if name == "variable":
            parts.append(_variables(image, psf, count, snr=snr, apart=minimum_separation_px, rng=rng))
        else:
            parts.append(_new_sources(image, psf, count, kind=name, snr=snr, apart=minimum_separation_px, rng=rng))
    sources = vstack([part.sources for part in parts], metadata_conflicts="silent")
    sources.meta = {"asked": n, "placed": len(sources)}
    return Light(sources, tuple(patch for part in parts for patch in part.patches))


def _new_sources(
    image: Image,
    psf: Psf,
    n: int,
    *,
    kind: str,
    snr: tuple[float, float],
    apart: float,
    rng: np.random.Generator,
) -> Light:
    """Sources where there was none, half of them on galaxies; or all on nuclei."""
    place = "nucleus" if kind == "nucleus" else "mixed"
    table = choose_places(image, psf, n, rng=rng, placement=place, separation_px=apart)  # type: ignore[arg-type]
    shape = _shape_of(image, psf, kind) if n else None
    made = [] if shape is None else [shape(row["x"], row["y"], rng) for row in table]
    table["x"], table["y"] = [s.x for s in made], [s.y for s in made]
    wanted = draw_brightness(len(made), *snr, rng=rng)
    flux = flux_of_snr(image, [source.profile for source in made], wanted)
    return _light(image, table, made, [s.profile.scaled(f) for s, f in zip(made, flux, strict=True)], wanted, kind)


def _shape_of(image: Image, psf: Psf, kind: str) -> _Shape:
    """What makes the profile of one source."""
    if kind == "ellipse":
        return partial(_ellipse, image.shape, psf)
    if kind == "trail":
        return partial(_trail, image.shape, psf)
    return partial(_empirical, image.shape, _star_stamps(image, psf))


def _light(image: Image, table: Table, made: list[_Source], patches: list[Patch], snr: F8, kind: str) -> Light:
    """Truth, status and patches of sources that are made."""
    flux = np.array([patch.light.sum() for patch in patches], np.float64)
    below = surface_brightness(image, [source.profile for source in made])
    truth = truth_table(image, table, flux_e=flux, snr=snr, surface_e_px=below)
    truth["injector_kind"] = np.full(len(made), kind, "U9")
    for name in _FACTS:
        truth[name] = np.array([source.facts.get(name, np.nan) for source in made], np.float64)
    mask = image.numpy("mask")
    status = [status_of(s.profile, round(s.x), round(s.y), mask) for s in made]
    truth["status"] = np.array(status, "U8")
    kept = tuple(patch for patch, word in zip(patches, status, strict=True) if word == "injected")
    return Light(truth, kept)


def _ellipse(shape: tuple[int, int], psf: Psf, x: float, y: float, rng: np.random.Generator) -> _Source:
    """Elongated Moffat profile, the mean of 5 x 5 points in each pixel; `fwhm_px` is the geometric mean of the axes."""
    fwhm, beta = psf.fwhm * rng.uniform(0.85, 1.2), rng.uniform(2.5, 4.5)
    ellipticity, angle = rng.uniform(0.15, 0.45), rng.uniform(0.0, np.pi)
    half = int(np.ceil(3.5 * fwhm))
    steps = (np.arange((2 * half + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - half - 0.5
    dx, dy = np.meshgrid(steps - (x - round(x)), steps - (y - round(y)))
    stretch = np.sqrt(1.0 - ellipticity)
    along = (np.cos(angle) * dx + np.sin(angle) * dy) * stretch
    across = (np.cos(angle) * dy - np.sin(angle) * dx) / stretch
    alpha2 = 0.25 * fwhm**2 / (2.0 ** (1.0 / beta) - 1.0)
    fine = (1.0 + (along**2 + across**2) / alpha2) ** -beta
    k = 2 * half + 1
    stamp = fine.reshape(k, _SUBPIXELS, k, _SUBPIXELS).mean(axis=(1, 3))
    facts = {"fwhm_px": fwhm, "ellipticity": ellipticity, "angle_rad": angle}
    return _Source(x, y, clip_stamp(stamp / stamp.sum(), round(x), round(y), shape), facts)


def _trail(shape: tuple[int, int], psf: Psf, x: float, y: float, rng: np.random.Generator) -> _Source:
    """The PSF at the middles of the equal parts, 1/4 px or less, of a line whose middle is the place."""
    length, angle = rng.uniform(1.0, 6.0), rng.uniform(0.0, np.pi)
    parts = 4 * int(np.ceil(length))
    along = ((np.arange(parts) + 0.5) / parts - 0.5) * length
    xs, ys = x + along * np.cos(angle), y + along * np.sin(angle)
    stamps = np.maximum(psf_stamps(psf, xs, ys), 0.0)
    k, reach = stamps.shape[-1], 4
    canvas = np.zeros((k + 2 * reach, k + 2 * reach))
    for stamp, u, v in zip(stamps, xs, ys, strict=True):
        row, column = round(v) - round(y) + reach, round(u) - round(x) + reach
        canvas[row : row + k, column : column + k] += stamp
    patch = clip_stamp(canvas / canvas.sum(), round(x), round(y), shape)
    return _Source(x, y, patch, {"trail_px": length, "angle_rad": angle})


def _star_stamps(image: Image, psf: Psf) -> list[tuple[float, float, F8]]:
    """Bright lone stars: place in the pixel (dx, dy), and their own pixels with sum 1, faded out at the edge."""
    stars = image.stars if image.stars is not None else Stars.empty()
    data, mask = image.numpy("data").astype(np.float64), image.numpy("mask")
    half = int(np.ceil(3.0 * psf.fwhm))
    radius = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    fade = np.clip((half - radius) / (0.25 * half), 0.0, 1.0)
    found = []
    for x, y, flux, snr, flags in zip(stars.x, stars.y, stars.flux, stars.snr, stars.flags, strict=True):
        column, row = round(x), round(y)
        box = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
        pixels = data[box] if min(row, column) >= half else data[:0]
        if flags or snr < _STAR_SNR or pixels.shape != radius.shape or (mask[box] & UNUSABLE).any():
            continue
        near = np.hypot(stars.x - x, stars.y - y) < half + 0.5 * psf.fwhm
        ring = pixels[(radius > 0.8 * half) & (radius <= half)]
        stamp = (pixels - np.median(ring)) * fade
        stamp = stamp / stamp.sum()
        if stars.flux[near].sum() > (1.0 + _NEIGHBOURS) * flux or _is_blend(stamp, psf, float(x), float(y), radius):
            continue
        found.append((float(x - column), float(y - row), stamp))
    if len(found) < _LEAST_STARS:
        raise InputError(
            f"only {len(found)} bright stars of this image stand alone; at least {_LEAST_STARS} are needed to copy "
            "their pixels: choose another kind",
            stars=len(found),
        )
    return found


def _is_blend(stamp: F8, psf: Psf, x: float, y: float, radius: F8) -> bool:
    """Whether a star has neighbours too close to be listed: they stand out of the PSF."""
    half = stamp.shape[0] // 2
    model = np.zeros_like(stamp)
    stamps = psf_stamps(psf, x, y)
    patch = clip_stamp(stamps[0], half, half, (stamp.shape[0], stamp.shape[1]))
    model[patch.box] = patch.light
    rest, core = (stamp - model) / model.max(), radius <= psf.fwhm
    return bool(np.abs(rest[core]).max() > _UNLIKE[0] or rest[~core].max() > _UNLIKE[1])


def _empirical(
    shape: tuple[int, int], stamps: list[tuple[float, float, F8]], x: float, y: float, rng: np.random.Generator
) -> _Source:
    """A star's own pixels, moved by whole pixels to as near the place as that goes."""
    dx, dy, stamp = stamps[int(rng.integers(len(stamps)))]
    column, row = round(x - dx), round(y - dy)
    return _Source(column + dx, row + dy, clip_stamp(stamp, column, row, shape))


def _variables(
    image: Image, psf: Psf, n: int, *, snr: tuple[float, float], apart: float, rng: np.random.Generator
) -> Light:
    """Stars that change: each at most once, brighter or fainter as often."""
    stars = image.stars if image.stars is not None else Stars.empty()
    stars = stars[(stars.flags == 0) & (stars.snr > 10.0)]
    stars = stars[rng.permutation(len(stars))]
    flux = psf_photometry(image.data, psf, stars.x, stars.y) if len(stars) else np.empty(0)
    profiles = psf_profiles(image, psf, stars.x, stars.y)
    rows: list[tuple[float, float, float]] = []
    made: list[_Source] = []
    patches: list[Patch] = []
    wanted: list[float] = []
    levels = draw_brightness(len(stars), *snr, rng=rng)
    fractions = flux_of_snr(image, profiles, levels) / np.maximum(flux, 1e-9)
    data, sky = image.numpy("data").astype(np.float64), float(np.median(image.numpy("variance")))
    for i in range(len(stars)):
        if len(made) == n:
            break
        x, y, total, profile = float(stars.x[i]), float(stars.y[i]), float(flux[i]), profiles[i]
        level, fraction, sign = float(levels[i]), float(fractions[i]), -1.0 if len(made) % 2 else 1.0
        close = any(np.hypot(x - u, y - v) < apart for u, v, _ in rows)
        if close or not _FRACTION[0] <= fraction <= _FRACTION[1 if sign < 0 else 2]:
            continue
        rows.append((x, y, total))
        own = _star_light(data[profile.box], profile, total, sky)
        patches.append(replace(profile, light=sign * fraction * own, source=own if sign < 0 else None))
        made.append(_Source(x, y, profile, {"change_fraction": sign * fraction}))
        wanted.append(sign * level)
    columns = np.array(rows, np.float64).reshape(-1, 3)
    table = Table({"x": columns[:, 0], "y": columns[:, 1], "star_flux_e": columns[:, 2]})
    table["placement"] = np.full(len(made), "star", "U8")
    return _light(image, table, made, patches, np.array(wanted, np.float64), "variable")


def _star_light(pixels: F8, profile: Patch, flux: float, sky: float) -> F8:
    """Light of a star, e-: the model, corrected by the pixels where the star outshines the sky.

    The correction is a ratio of means over 3 x 3 px with the sky's variance as a weight towards 1, so that it follows
    what the model gets wrong, and brings little of the noise that is there already.
    """
    model = flux * np.maximum(profile.light, 0.0)
    ratio = (np.maximum(uniform_filter(pixels, 3), 0.0) + sky) / (uniform_filter(model, 3) + sky)
    return np.asarray(model * np.clip(ratio, 0.5, 2.0))
