"""Artificial reals: point sources of the image's own point-spread function, put into it before subtraction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.simulate.inject.brightness import DISTRIBUTIONS, Distribution, draw_brightness
from gueststar.simulate.inject.light import Light, count_status, shine, status_of
from gueststar.simulate.inject.places import PLACEMENTS, Placement, choose_places
from gueststar.simulate.inject.profiles import on_frame, psf_of, psf_profiles, psf_stamps
from gueststar.simulate.inject.sources import TRUTH_COLUMNS, describe_sources
from gueststar.types import Image

__all__ = [
    "TRUTH_COLUMNS",
    "Distribution",
    "Injected",
    "Placement",
    "describe_sources",
    "draw_artificial_reals",
    "inject",
    "point_light",
    "psf_stamps",
]

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Injected:
    """An image with artificial reals in it.

    Parameters
    ----------
    image : Image
        New image with a new `image_id`; `psf` and `stars` are those measured before.
    sources : Table
        The sources as given, with a column `status`: 'injected', 'outside' (centre not on the frame) or 'masked'
        (a flagged pixel at the centre, or a fifth of the light on flagged pixels); only the first are in the image.
    """

    image: Image
    sources: Table

    @property
    def counts(self) -> dict[str, int]:
        """How many sources are 'injected', 'outside' and 'masked'."""
        return count_status(self.sources)

    @classmethod
    def of(cls, image: Image, light: Light, *, rng: np.random.Generator) -> Injected:
        """Put light into an image; the facts of the new one tell how many sources it has, and were left out."""
        counts = light.counts
        facts = {
            **image.facts,
            "artificial_reals": counts["injected"],
            "artificial_reals_outside": counts["outside"],
            "artificial_reals_masked": counts["masked"],
        }
        return cls(replace(shine(image, light.patches, rng=rng), facts=facts), light.sources)


def inject(image: Image, sources: Table, *, rng: np.random.Generator) -> Injected:
    """Put point sources into an image.

    The electrons of each source are drawn from a Poisson law around PSF times flux, and the variance grows by that
    expectation. Pixels that pass the saturation level are clipped there and flagged. Pixels flagged as bad or
    without data stay as they are.

    Parameters
    ----------
    image : Image
        With a measured `psf`.
    sources : Table
        Columns x, y (px, 0-based) and flux_e (e-), such as from `draw_artificial_reals`; others are kept.
    rng : Generator
        For the photon noise.

    Returns
    -------
    Injected

    Raises
    ------
    InputError
        When the image has no PSF, a column is missing, or a flux is negative or not finite.
    """
    return Injected.of(image, point_light(image, sources), rng=rng)


def point_light(image: Image, sources: Table) -> Light:
    """Light that point sources would bring, on which pixels; parameters and errors as for `inject`."""
    x, y, flux = _columns(sources)
    psf = psf_of(image)
    on = on_frame(x, y, image.shape)
    if not (np.isfinite(flux[on]) & (flux[on] >= 0)).all():
        low, high = flux[on].min(), flux[on].max()
        raise InputError(f"flux_e from {low} to {high}: fluxes must be finite and not negative")
    status = np.where(on, "injected", "outside").astype("U8")
    mask = image.numpy("mask")
    patches = []
    for i, profile in zip(np.flatnonzero(on), psf_profiles(image, psf, x[on], y[on]), strict=True):
        status[i] = status_of(profile, round(x[i]), round(y[i]), mask)
        if status[i] == "injected":
            # The spline leaves ripples below zero, which are no light; the sum is kept.
            light = np.maximum(profile.light, 0.0)
            patches.append(replace(profile, light=flux[i] * light * (profile.light.sum() / light.sum())))
    drawn = sources.copy()
    drawn["status"] = status
    return Light(drawn, tuple(patches))


def draw_artificial_reals(
    image: Image,
    n: int,
    *,
    rng: np.random.Generator,
    snr: tuple[float, float] | None = None,
    mag: tuple[float, float] | None = None,
    distribution: Distribution = "log-uniform",
    placement: Placement = "mixed",
    minimum_separation_px: float = 25.0,
) -> Table:
    """Choose places and fluxes of artificial reals.

    Parameters
    ----------
    image : Image
        With a measured `psf`.
    n : int
        How many are wanted; fewer come back when the frame has no room for more.
    rng : Generator
    snr : (float, float), optional
        Range of the matched-filter signal to noise in this image, own photon noise included; 5 to 50 when neither
        this nor `mag` is given.
    mag : (float, float), optional
        Range of the AB magnitude instead; needs a zero point from a catalogue or the header.
    distribution : {'log-uniform', 'uniform', 'euclidean'}
        As many in each magnitude; as many in each unit of S/N (of magnitude, with `mag`); or N brighter than f as
        f^-3/2.
    placement : {'mixed', 'random', 'galaxy', 'star', 'nucleus'}
        Anywhere; on galaxies, offset from the nucleus as supernovae are (ZTF Bright Transient Survey); within 1 FWHM
        of a galaxy's nucleus; within 5 FWHM of a star, uniform in distance; or half random and half galaxy.
    minimum_separation_px : float
        Smallest distance between two of them.

    Returns
    -------
    Table
        x, y (px); flux_e (e-), snr and mag; placement (what it became: 'random' where the image shows no galaxy or
        star); host_offset_r25 and host_mag, or star_mag, of what it was placed at; surface_e_px, the light of the
        image under the PSF there before (e-/px), and surface_mag_arcsec2. What is not known, such as magnitudes
        without a zero point, is NaN. ``meta`` holds 'asked', 'placed' and 'random_instead'.

    Raises
    ------
    InputError
        When the image has no PSF, or no zero point for `mag`, or an option is senseless.
    """
    psf = psf_of(image)
    _check_options(image, n, snr=snr, mag=mag, distribution=distribution, placement=placement)
    if minimum_separation_px < 0:
        raise InputError(f"minimum_separation_px = {minimum_separation_px}: a distance in px is needed")
    table = choose_places(image, psf, n, rng=rng, placement=placement, separation_px=minimum_separation_px)
    if mag is not None:
        fluxes = [10 ** (0.4 * (image.zeropoint - value)) for value in (mag[1], mag[0])]
        # Magnitudes are logarithms already: even in magnitudes is even in the logarithm of the flux.
        law: Distribution = "euclidean" if distribution == "euclidean" else "log-uniform"
        table["flux_e"] = draw_brightness(len(table), *fluxes, distribution=law, rng=rng)
    else:
        table["snr"] = draw_brightness(len(table), *(snr or (5.0, 50.0)), distribution=distribution, rng=rng)
    return describe_sources(image, table)


def _columns(sources: Table) -> tuple[F8, F8, F8]:
    missing = [name for name in ("x", "y", "flux_e") if name not in sources.colnames]
    if missing:
        raise InputError(f"sources lack the columns {', '.join(missing)}; they have {', '.join(sources.colnames)}")
    x, y, flux = (np.asarray(sources[name], np.float64) for name in ("x", "y", "flux_e"))
    return x, y, flux


def _check_options(
    image: Image,
    n: int,
    *,
    snr: tuple[float, float] | None,
    mag: tuple[float, float] | None,
    distribution: str,
    placement: str,
) -> None:
    for name, value, valid in (("placement", placement, PLACEMENTS), ("distribution", distribution, DISTRIBUTIONS)):
        if value not in valid:
            raise InputError(f"{name} = {value!r}; valid ones are {', '.join(valid)}", value=value)
    if n < 0:
        raise InputError(f"n = {n}: a number of sources is needed", n=n)
    if snr is not None and mag is not None:
        raise InputError(f"snr = {snr} and mag = {mag}: give one of them")
    if snr is not None and not 0 < snr[0] <= snr[1] < np.inf:
        raise InputError(f"snr = {snr}: positive numbers are needed, the lower snr first")
    if mag is not None and not -np.inf < mag[0] <= mag[1] < np.inf:
        raise InputError(f"mag = {mag}: two magnitudes are needed, the brighter first")
    if mag is not None and image.zeropoint_source == "instrumental":
        raise InputError(
            f"mag = {mag}: this image has no zero point; give it one (--catalog or --zeropoint on the command "
            "line), or choose snr"
        )
