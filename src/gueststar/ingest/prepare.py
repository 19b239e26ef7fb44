"""Raw counts to an `Image`: electrons, sky subtracted, variance, mask, stars and point-spread function."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from gueststar.errors import InputError
from gueststar.ingest.background import Background
from gueststar.ingest.calibrate import SATURATION_MARGIN
from gueststar.ingest.mask import FindCosmicRays, fill_flagged, flag_borders, flag_saturated
from gueststar.ingest.psf import MeasurePsf
from gueststar.ingest.stars import FindStars
from gueststar.options import Options
from gueststar.planes import box_mean
from gueststar.types import Image, Mask

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Ingest", "measure_image", "prepare_image"]


class Ingest(Options):
    """How raw counts become an image."""

    background: Background = Field(Background(), description="Sky level and noise")
    stars: FindStars = Field(FindStars(), description="Sources of an image")
    psf: MeasurePsf = Field(MeasurePsf(), description="Point-spread function from stars")
    cosmic_rays: FindCosmicRays = Field(FindCosmicRays(), description="Pixels sharper than the PSF allows")
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
        e-; a floor under the noise measured from the pixels.
    saturation_adu : float, optional
        Level above which pixels are saturated; None: no limit.
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
    flags = _flags(electrons, mask, saturation_adu, gain_e_adu, options)
    lost = (flags & int(Mask.NO_DATA)) != 0
    electrons[lost] = 0.0
    if options.flag_borders and not lost.any():
        flags |= flag_borders(electrons)
    level, noise = options.background(electrons, flags != 0)
    signal = electrons - level
    signal[lost] = 0.0
    variance = _variance(signal, np.maximum(noise, np.float32(read_noise_e)))
    sky = float(np.median(level))
    facts = {
        "sky_e": sky,
        "sky_noise_e": float(np.median(noise)),
        "gain_e_adu": float(gain_e_adu),
        "saturated_fraction": float(((flags & int(Mask.SATURATED)) != 0).mean()),
    }
    fields = {"image_id": image_id, **fields, "facts": {**facts, **fields.get("facts", {})}}
    saturation = float("inf") if saturation_adu is None else saturation_adu * gain_e_adu - sky
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
    return flags | flag_saturated(full, grow_px=options.saturation_grow_px)


def _variance(signal: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sky noise squared plus the sources' own photon noise, e-^2.

    The photon noise is taken from the 3 x 3 mean, not the pixel itself: weights that know each pixel's own
    fluctuation would bias every weighted flux low.
    """
    smooth = np.maximum(box_mean(torch.from_numpy(signal), 1).numpy(), 0.0)
    # At a bright star's core the mean is too low by a fifth, and the pixel's own fluctuation matters little.
    bright = smooth / (smooth + 5.0 * noise)
    return np.asarray(noise * noise + smooth + bright * np.maximum(signal - smooth, 0.0), np.float32)


def measure_image(image: Image, *, options: Ingest | None = None) -> Image:
    """Measure what an image still lacks: stars, PSF, cosmic rays.

    An image that has both stars and psf is returned as it is.

    Raises
    ------
    PixelError
        When no star can be used for the PSF.
    """
    if image.stars is not None and image.psf is not None:
        return image
    options = options or Ingest()
    data, variance, flags = image.numpy("data"), image.numpy("variance"), image.numpy("mask")
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
        "n_sources": len(stars),
        "fwhm_px": psf.fwhm,
        "ellipticity": psf.ellipticity,
        "psf_order": psf.order,
        "cosmic_ray_pixels": int((rays != 0).sum()),
    }
    return replace(
        image,
        data=torch.from_numpy(data).to(image.data.device),
        mask=torch.from_numpy(flags).to(image.data.device),
        psf=psf,
        stars=stars,
        facts=facts,
    )
