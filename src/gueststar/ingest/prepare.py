"""Raw counts to an `Image`: electrons, sky subtracted, variance, mask, stars and point-spread function."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from gueststar.diffuse import diffuse_level
from gueststar.errors import InputError
from gueststar.ingest.background import Background
from gueststar.ingest.bleeds import follow_bleeds
from gueststar.ingest.bright import FindBrightStars
from gueststar.ingest.calibrate import SATURATION_MARGIN
from gueststar.ingest.mask import FindCosmicRays, fill_flagged, flag_borders, flag_constant, flag_saturated
from gueststar.ingest.noise import (
    NoiseCheck,
    check_noise,
    empty_sky,
    noise_of_structure,
    photon_factor,
    read_noise_floor,
)
from gueststar.ingest.psf import MeasurePsf
from gueststar.ingest.stars import FindStars
from gueststar.options import Options
from gueststar.planes import box_mean
from gueststar.types import Fact, Image, Mask

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Ingest", "measure_image", "prepare_image"]


_BELIEVED = (0.7, 1.4)  # scatter of empty pixels over the variance that is given with an image


class Ingest(Options):
    """How raw counts become an image."""

    background: Background = Field(Background(), description="Sky level and noise")
    stars: FindStars = Field(FindStars(), description="Sources of an image")
    psf: MeasurePsf = Field(MeasurePsf(), description="Point-spread function from stars")
    cosmic_rays: FindCosmicRays = Field(FindCosmicRays(), description="Pixels sharper than the PSF allows")
    bright_stars: FindBrightStars = Field(FindBrightStars(), description="Halos, spikes and ghosts")
    saturation_grow_px: int = Field(2, ge=0, le=20, description="Growth of saturated cores, px")
    flag_borders: bool = Field(True, description="Flag edge rows and columns that were not exposed like the rest")
    saturation_margin: float = Field(
        SATURATION_MARGIN,
        gt=0,
        le=1,
        description="Share of the saturation level from which pixels are not trusted",
    )


def prepare_image(
    data: ArrayLike,
    *,
    gain_e_adu: float = 1.0,
    read_noise_e: float = 0.0,
    saturation_adu: float | None = None,
    bleeding: bool = False,
    mask: ArrayLike | None = None,
    wcs: WCS | None = None,
    options: Ingest | None = None,
    device: str = "cpu",
    **fields: Any,
) -> Image:
    """Turn raw counts into an image.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Counts (ADU) with the sky in them; dark and flat done. NaN is no data.
    gain_e_adu : float
        e-/ADU.
    read_noise_e : float
        e-; a floor under the noise measured from the pixels, unless they are independent and scatter far less.
    saturation_adu : float, optional
        Level above which pixels are saturated; None: no limit.
    bleeding : bool
        Charge runs along the columns, as on a CCD: trails are flagged to their ends.
    mask : array_like, shape (ny, nx), optional
        Boolean (True is bad) or bits of `Mask`.
    wcs : astropy.wcs.WCS, optional
    options : Ingest, optional
    device : str
        'cpu', 'cuda' or 'cuda:N'; the measurements run on the CPU, the planes end there.
    **fields
        Any other field of `Image`, such as `zeropoint`, `band`, `mjd_mid`.

    Returns
    -------
    Image
        With psf and stars measured.

    Raises
    ------
    InputError
        For a wrong shape, gain or mask.
    PixelError
        When the pixels are all bad, constant, or hold no usable star.
    """
    options = options or Ingest()
    counts = np.asarray(data)
    if counts.ndim != 2 or min(counts.shape) < 48:
        raise InputError(
            f"data has shape {counts.shape}; expected (ny, nx) with at least 48 px a side", got=str(counts.shape)
        )
    if not np.isfinite(gain_e_adu) or gain_e_adu <= 0:
        raise InputError(f"gain_e_adu = {gain_e_adu!r}; expected a positive number of e-/ADU", gain_e_adu=gain_e_adu)
    image_id = hashlib.blake2b(np.ascontiguousarray(counts).tobytes(), digest_size=8).hexdigest()
    electrons = np.array(counts, np.float32) * np.float32(gain_e_adu)
    flags = _flags(electrons, mask, saturation_adu, gain_e_adu, options, bleeding=bleeding)
    lost = (flags & int(Mask.NO_DATA)) != 0
    electrons[lost] = 0.0
    if options.flag_borders and not lost.any():
        flags |= flag_borders(electrons)
    sky = options.background.measure(electrons, flags != 0)
    signal = electrons - sky.level
    signal[lost] = 0.0
    level_e, noise_e = float(np.median(sky.level)), float(np.median(sky.noise))
    sky_noise = sky.noise
    structure = _is_diffuse(signal, sky_noise * sky_noise)
    if structure:
        sky_noise = np.minimum(sky_noise, noise_of_structure(signal, flags != 0))
        noise_e = float(np.median(sky_noise))
    check = check_noise(signal, sky_noise * sky_noise, ~sky.hidden, structure=structure)
    noise, doubt = read_noise_floor(sky_noise, read_noise_e, check.neighbours)
    photons, excess = photon_factor(noise_e, level_e, 0.0 if doubt else read_noise_e, check.neighbours)
    variance = _variance(signal, noise, photons)
    facts = {
        "sky_e": level_e,
        "sky_noise_e": noise_e,
        "gain_e_adu": float(gain_e_adu),
        "saturated_fraction": float(((flags & int(Mask.SATURATED)) != 0).mean()),
        "extended_objects": len(sky.extended),
        "diffuse_light": structure,
        "photon_factor": photons,
        **_noise_facts(
            check,
            float(np.median(sky_noise[::7, ::7] / noise[::7, ::7])) ** 2,
            "; ".join(filter(None, (doubt, excess))),
        ),
    }
    fields = {"image_id": image_id, **fields, "facts": {**facts, **fields.get("facts", {})}}
    saturation = float("inf") if saturation_adu is None else saturation_adu * gain_e_adu - level_e
    fields.setdefault("halo", options.bright_stars(signal, sky_noise, flags))
    image = Image(
        data=torch.from_numpy(signal),
        variance=torch.from_numpy(variance),
        mask=torch.from_numpy(flags),
        wcs=wcs,
        saturation=saturation,
        **fields,
    )
    return measure_image(image, options=options).to(device)


def _flags(
    electrons: NDArray[np.float32],
    mask: ArrayLike | None,
    saturation_adu: float | None,
    gain_e_adu: float,
    options: Ingest,
    *,
    bleeding: bool,
) -> NDArray[np.int16]:
    flags = np.zeros(electrons.shape, np.int16)
    if mask is not None:
        given = np.asarray(mask)
        if given.shape != electrons.shape:
            raise InputError(f"mask has shape {given.shape}; expected {electrons.shape}", got=str(given.shape))
        flags |= given.astype(np.int16) * np.int16(Mask.BAD if given.dtype == bool else 1)
    flags[~np.isfinite(electrons)] |= int(Mask.NO_DATA)
    full = (flags & int(Mask.SATURATED)) != 0
    if saturation_adu is not None:
        full |= electrons >= options.saturation_margin * saturation_adu * gain_e_adu
    constant = flag_constant(electrons)
    flags |= np.where(full, np.int16(0), constant & np.int16(Mask.NO_DATA))
    full |= (constant & int(Mask.SATURATED)) != 0
    if bleeding and full.any():
        full = follow_bleeds(electrons, full)
    return flags | flag_saturated(full, grow_px=options.saturation_grow_px)


def _variance(signal: NDArray[np.float32], noise: NDArray[np.float32], photons: float) -> NDArray[np.float32]:
    """Sky noise squared plus the sources' own photon noise times a factor, e-^2.

    The photon noise is taken from the 3 x 3 mean, not the pixel itself: weights that know each pixel's own
    fluctuation would bias every weighted flux low.
    """
    smooth = np.maximum(box_mean(torch.from_numpy(signal), 1).numpy(), 0.0)
    # At a bright star's core the mean is too low by a fifth, and the pixel's own fluctuation matters little.
    bright = smooth / (smooth + 5.0 * noise)
    light = smooth + bright * np.maximum(signal - smooth, 0.0)
    if photons != 1.0:
        light *= np.float32(photons)
    return np.asarray(noise * noise + light, np.float32)


def _is_diffuse(signal: NDArray[np.float32], variance: NDArray[np.float32]) -> bool:
    """Whether a nebula or a galaxy fills much of the frame."""
    return diffuse_level(torch.from_numpy(signal), torch.from_numpy(variance)) is not None


def _noise_facts(check: NoiseCheck, scale: float, warning: str) -> dict[str, Fact]:
    """What the check of the noise found; `scale` is the variance checked over the one that was used in the end."""
    numbers = {
        "variance_ratio": check.ratio * scale,
        "variance_ratio_low": check.low * scale,
        "variance_ratio_high": check.high * scale,
        "noise_correlation": check.neighbours,
        "noise_correlation_rows": check.rows,
        "noise_correlation_columns": check.columns,
    }
    facts: dict[str, Fact] = {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
    return {**facts, "noise_warning": warning}


def _checked_variance(
    data: NDArray[np.float32], variance: NDArray[np.float32], flags: NDArray[np.int16]
) -> tuple[NDArray[np.float32], dict[str, Fact]]:
    """A variance that came with the image, scaled when the pixels plainly scatter otherwise; and the facts."""
    empty = empty_sky(data, variance, flags != 0)
    structure = _is_diffuse(data, variance)
    check = check_noise(data, variance, empty, structure=structure)
    if not np.isfinite(check.ratio) or _BELIEVED[0] < check.ratio < _BELIEVED[1]:
        return variance, _noise_facts(check, 1.0, "")
    # Too small a variance makes light of noise: look again for what is empty.
    scaled = variance * np.float32(check.ratio)
    again = check_noise(data, scaled, empty_sky(data, scaled, flags != 0), structure=structure)
    factor = check.ratio * (again.ratio if np.isfinite(again.ratio) else 1.0)
    warning = (
        f"pixels on empty sky scatter by {factor:.3g} times the variance that was given: it is scaled by this; "
        "check the gain and the read noise it was made of"
    )
    return np.asarray(variance * np.float32(factor), np.float32), _noise_facts(again, 1.0, warning)


def measure_image(image: Image, *, options: Ingest | None = None) -> Image:
    """Measure what an image still lacks: stars, PSF, cosmic rays.

    An image that has both stars and psf is returned as it is. A variance that was given is checked against the pixels
    on empty sky: facts ``variance_ratio`` and ``noise_warning``; it is scaled when they plainly scatter otherwise.

    Raises
    ------
    PixelError
        When no star can be used for the PSF.
    """
    if image.stars is not None and image.psf is not None:
        return image
    options = options or Ingest()
    data, variance, flags = image.numpy("data"), image.numpy("variance"), image.numpy("mask")
    checked: dict[str, Fact] = {}
    if "variance_ratio" not in image.facts:
        variance, checked = _checked_variance(data, variance, flags)
    stars = image.stars or options.stars(data, variance, flags)
    psf = image.psf
    if psf is None:
        tensors = torch.from_numpy(data), torch.from_numpy(variance), torch.from_numpy(flags)
        psf = options.psf(*tensors, stars).to(image.data.device)
    rays = options.cosmic_rays(data, variance, flags, psf)
    flags = flags | rays
    if rays.any():
        data = fill_flagged(data, rays != 0)
        hit = rays[np.round(stars.y).astype(int), np.round(stars.x).astype(int)]
        stars = replace(stars, flags=stars.flags | hit)
    facts = {
        **image.facts,
        **checked,
        "n_sources": len(stars),
        "fwhm_px": psf.fwhm,
        "ellipticity": psf.ellipticity,
        "psf_order": psf.order,
        "cosmic_ray_pixels": int((rays != 0).sum()),
    }
    return replace(
        image,
        data=torch.from_numpy(data).to(image.data.device),
        variance=torch.from_numpy(variance).to(image.data.device),
        mask=torch.from_numpy(flags).to(image.data.device),
        psf=psf,
        stars=stars,
        facts=facts,
    )
