"""Artificial reals: point sources of the image's own point-spread function, put into it before subtraction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from gueststar.errors import InputError
from gueststar.simulate.places import PLACEMENTS, UNUSABLE, Placement, choose_places
from gueststar.spline import coefficients, shift_stamps
from gueststar.types import Image, Mask, Psf

__all__ = ["Injected", "Placement", "draw_artificial_reals", "inject", "psf_stamps"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_DARK = int(Mask.BAD | Mask.NO_DATA)  # pixels that hold no light, before and after
_MASKED_SHARE = 0.2


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


def psf_stamps(psf: Psf, x: ArrayLike, y: ArrayLike) -> F4:
    """PSF at sub-pixel positions, on stamps centred on the nearest pixel.

    The measured stamp is shifted by cubic spline inside a border of zeros; its sum stays 1 to better than 0.1 %.

    Parameters
    ----------
    psf : Psf
    x, y : array_like, shape (n,)
        Positions, px.

    Returns
    -------
    ndarray, shape (n, k + 4, k + 4), float32
        Centred on pixel (round(y), round(x)).
    """
    xs, ys = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    stamps = psf.at(xs, ys).cpu().numpy().astype(np.float64)
    k = stamps.shape[-1]
    padded = np.zeros((len(stamps), k + 4, k + 4))
    padded[:, 2:-2, 2:-2] = stamps
    dx, dy = torch.from_numpy(xs - np.round(xs)), torch.from_numpy(ys - np.round(ys))
    # A spline, as the chain itself uses: shifting undersampled stamps in Fourier space makes rows ring.
    shifted = shift_stamps(coefficients(torch.from_numpy(padded)), dx, dy).numpy()
    result: F4 = shifted.astype(np.float32)
    return result


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
    psf = _psf_of(image)
    x, y, flux = _columns(sources)
    data, variance, mask = (image.numpy(plane) for plane in ("data", "variance", "mask"))
    ny, nx = image.shape
    status = np.full(len(sources), "injected", "U8")
    on = np.isfinite(x) & np.isfinite(y)
    on &= (np.round(np.where(on, x, -1)) >= 0) & (np.round(np.where(on, x, nx)) < nx)
    on &= (np.round(np.where(on, y, -1)) >= 0) & (np.round(np.where(on, y, ny)) < ny)
    status[~on] = "outside"
    stamps = psf_stamps(psf, x[on], y[on])
    for i, stamp in zip(np.flatnonzero(on), stamps, strict=True):
        box, part = _overlap(image.shape, x[i], y[i], stamp.shape[0])
        if _is_masked(mask, stamp[part], box, round(x[i]), round(y[i])):
            status[i] = "masked"
            continue
        light = np.where(mask[box] & _DARK, 0.0, flux[i] * stamp[part].astype(np.float64))
        counts = rng.poisson(np.maximum(light, 0.0)) + np.minimum(light, 0.0)
        data[box] += counts.astype(np.float32)
        variance[box] += np.maximum(light, 0.0).astype(np.float32)
    over = (data > np.float32(image.saturation)) & ((mask & _DARK) == 0)
    data[over] = np.float32(image.saturation) if np.isfinite(image.saturation) else data[over]
    mask[over] |= int(Mask.SATURATED)
    drawn = sources.copy()
    drawn["status"] = status
    digest = hashlib.blake2b(image.image_id.encode() + data.tobytes(), digest_size=8).hexdigest()
    facts = {**image.facts, "artificial_reals": int((status == "injected").sum())}
    planes = [torch.from_numpy(plane).to(image.data.device) for plane in (data, variance, mask)]
    changed = replace(image, data=planes[0], variance=planes[1], mask=planes[2], image_id=digest, facts=facts)
    return Injected(changed, drawn)


def draw_artificial_reals(
    image: Image,
    n: int,
    *,
    rng: np.random.Generator,
    snr: tuple[float, float] = (5.0, 50.0),
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
    snr : (float, float)
        Range of the matched-filter signal to noise in this image, own photon noise included; log-uniform.
    placement : {'mixed', 'random', 'galaxy', 'star'}
        Anywhere; on galaxies, offset from the nucleus as supernovae are (ZTF Bright Transient Survey); within 1 to 5
        FWHM of a star; or half random and half galaxy.
    minimum_separation_px : float
        Smallest distance between two of them.

    Returns
    -------
    Table
        x, y (px), flux_e (e-), snr, placement (what it became: 'random' where the image shows no galaxy or star).
        ``meta`` holds 'asked' and 'placed'.

    Raises
    ------
    InputError
        When the image has no PSF or an option is senseless.
    """
    psf = _psf_of(image)
    if placement not in PLACEMENTS:
        raise InputError(f"placement = {placement!r}; valid ones are {', '.join(PLACEMENTS)}", placement=placement)
    if not 0 < snr[0] <= snr[1] or n < 0 or minimum_separation_px < 0:
        raise InputError(
            f"snr = {snr}, n = {n}, minimum_separation_px = {minimum_separation_px}: positive numbers are needed, "
            "the lower snr first",
            n=n,
        )
    table = choose_places(image, psf, n, rng=rng, placement=placement, separation_px=minimum_separation_px)
    table["snr"] = np.exp(rng.uniform(np.log(snr[0]), np.log(snr[1]), len(table)))
    table["flux_e"] = _flux_of_snr(image, psf, table)
    table.meta = {"asked": n, "placed": len(table)}
    return table["x", "y", "flux_e", "snr", "placement"]


def _psf_of(image: Image) -> Psf:
    if image.psf is None:
        raise InputError(
            f"image {image.image_id or '(no id)'} has no PSF; measure it first, with "
            "gueststar.ingest.prepare.measure_image",
            image=image.image_id,
        )
    return image.psf


def _columns(sources: Table) -> tuple[F8, F8, F8]:
    missing = [name for name in ("x", "y", "flux_e") if name not in sources.colnames]
    if missing:
        raise InputError(f"sources lack the columns {', '.join(missing)}; they have {', '.join(sources.colnames)}")
    x, y, flux = (np.asarray(sources[name], np.float64) for name in ("x", "y", "flux_e"))
    if not (np.isfinite(flux) & (flux >= 0)).all():
        raise InputError(f"flux_e from {flux.min()} to {flux.max()}: fluxes must be finite and not negative")
    return x, y, flux


def _overlap(shape: tuple[int, int], x: float, y: float, k: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the image and of a stamp of width k around (x, y) where they overlap."""
    boxes, parts = [], []
    for centre, size in ((round(y), shape[0]), (round(x), shape[1])):
        low, high = max(0, centre - k // 2), min(size, centre + k // 2 + 1)
        boxes.append(slice(low, high))
        parts.append(slice(low - centre + k // 2, high - centre + k // 2))
    return (boxes[0], boxes[1]), (parts[0], parts[1])


def _is_masked(mask: NDArray[np.int16], stamp: F4, box: tuple[slice, slice], column: int, row: int) -> bool:
    lost = (mask[box] & UNUSABLE) != 0
    return bool(mask[row, column] & UNUSABLE) or float(stamp[lost].sum()) > _MASKED_SHARE


def _flux_of_snr(image: Image, psf: Psf, table: Table) -> F8:
    """Flux (e-) at which the matched filter has the wanted signal to noise, own photon noise included.

    snr^2 = f^2 sum p^2 / (V + f p), the optimal weighting of Naylor (1998, MNRAS 296, 339), solved by iteration. In
    a sky-limited image this is flux = snr sqrt(V A) with A = 1 / sum p^2 the noise-equivalent area.
    """
    variance = image.numpy("variance").astype(np.float64)
    mask = image.numpy("mask")
    stamps = np.maximum(psf_stamps(psf, table["x"], table["y"]), 0.0).astype(np.float64) if len(table) else np.empty(0)
    fluxes = np.zeros(len(table))
    for i, stamp in enumerate(stamps):
        box, part = _overlap(image.shape, table["x"][i], table["y"][i], stamp.shape[0])
        p = np.where(mask[box] & UNUSABLE, 0.0, stamp[part])
        flux = 0.0
        for _ in range(60):
            following = float(table["snr"][i]) / np.sqrt((p**2 / (variance[box] + flux * p)).sum())
            if abs(following - flux) < 1e-6 * following:
                break
            flux = following
        fluxes[i] = following
    return fluxes
