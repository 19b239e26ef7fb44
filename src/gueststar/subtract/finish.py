"""What every engine does alike: check its input, join the masks, score the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as nn

from gueststar.diffuse import diffuse_level
from gueststar.errors import SubtractionError
from gueststar.planes import grow_mask
from gueststar.subtract.bins import binned
from gueststar.subtract.cells import cell_medians, smooth_map
from gueststar.subtract.score import score_difference
from gueststar.subtract.star_noise import star_noise
from gueststar.types import Difference, Fact, Image, Mask, Psf, Stars

__all__ = ["check_pair", "difference_mask", "finish_difference", "light", "spread_mask"]

_STRUCTURE_CELL, _STRUCTURE_FEWEST = 16, 40  # every second pixel of every second row
_LIT_SIGMA = 4.6  # of the mean of 4 x 4 px: for bins of mean b and noise s a pixel, b1 + b2 + b3 + b4 > 4.6 s


def check_pair(science: Image, reference: Image) -> None:
    """Raise `SubtractionError` unless both are measured and on one grid."""
    if science.shape != reference.shape:
        raise SubtractionError(
            f"science has shape {science.shape}, the reference {reference.shape}; align the reference first"
        )
    if science.psf is None or reference.psf is None or science.stars is None:
        raise SubtractionError("subtraction needs the PSF of both images and the science stars; call measure_image")


def difference_mask(science: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Flags of both images; those of the reference carry `Mask.REFERENCE` beside them."""
    return science | reference | reference.bool().to(torch.int16).mul_(int(Mask.REFERENCE))


def spread_mask(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Flags of the convolved image, as far as the kernel carries them.

    Where light is missing without limit, in saturated cores, in holes and beyond the frame, that is as far as the
    kernel reaches; other flagged pixels were filled from their neighbours and matter where it carries most of its
    weight.
    """
    lacking = int(Mask.SATURATED | Mask.NO_DATA)
    bits = mask.to(torch.uint8)  # all of `Mask`; bytes are moved in half the time
    holes = nn.pad(bits & lacking, (radius,) * 4, value=int(Mask.NO_DATA))
    inside = grow_mask(holes, radius)[radius:-radius, radius:-radius]
    return grow_mask(bits & ~lacking & 0xFF, -(-radius // 2)).bitwise_or_(inside).to(mask.dtype)


def light(image: Image) -> torch.Tensor:
    """Where an image has light above the sky, in bins of 2 x 2 px: means of 4 x 4 px over 4.6 sigma, grown by a bin.

    Under a nebula or a galaxy that fills the frame, above the level of that (`diffuse_level`).

    A lower limit, or means over more pixels, would leave out noise that is correlated in rows and columns, too, and
    make the sky that is left too quiet.

    Returns
    -------
    Tensor of bool, shape (ny // 2, nx // 2)
    """
    sky, noise = binned(image.data), binned(image.variance)
    diffuse = diffuse_level(image.data, image.variance)
    if diffuse is not None:
        sky -= binned(diffuse)
    limit = noise.sqrt_().mul_(_LIT_SIGMA)
    ny, nx = (int(n) for n in sky.shape)
    if min(ny, nx) < 2:
        return sky > limit
    # Sums of four bins that touch, over what the noise of the first allows.
    rows = sky[:-1] + sky[1:]
    sums = rows[:, :-1] + rows[:, 1:]
    lit = sums.sub_(limit[:-1, :-1]).clamp_(min=0.0).bool()
    found = lit.new_zeros((ny, nx))
    for dy in (0, 1):
        for dx in (0, 1):
            found[dy : ny - 1 + dy, dx : nx - 1 + dx].bitwise_or_(lit)
    return grow_mask(found, 1)


def _structure_scatter(score: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """Scatter of the score around each pixel, at least 1, shape (ny, nx): what a nebula leaves is noise of its place.

    There is no empty sky to measure it on; robust scatters of cells of 32 px hardly see a source.
    """
    some, use = score[::2, ::2], good[::2, ::2]
    middle = cell_medians(some, use, _STRUCTURE_CELL, _STRUCTURE_FEWEST)
    away = (some - smooth_map(middle, (int(some.shape[0]), int(some.shape[1])), empty=0.0)).abs()
    scatter = 1.4826 * cell_medians(away, use, _STRUCTURE_CELL, _STRUCTURE_FEWEST)
    return smooth_map(scatter, (int(score.shape[0]), int(score.shape[1])), empty=1.0).clamp_(min=1.0)


def finish_difference(
    data: torch.Tensor,
    variance: torch.Tensor,
    mask: torch.Tensor,
    psf: Psf | None,
    science: Image,
    reference: Image,
    *,
    engine: str,
    facts: Mapping[str, Fact],
    sources: torch.Tensor | None = None,
) -> Difference:
    """Score the planes of an engine and make the `Difference`.

    Parameters
    ----------
    data, variance, mask : Tensor, shape (ny, nx)
        As in `Difference`.
    psf : Psf
        Of a point source in `data`.
    science, reference : Image
        What was subtracted.
    engine : str
    facts : mapping
        Numbers of the fit.
    sources : Tensor of bool, shape (ny // 2, nx // 2), optional
        Bins where either image has light, from `light`; measured when left out.
    """
    if psf is None:
        raise SubtractionError("a difference needs the PSF of its point sources; call measure_image first")
    if sources is None:
        sources = light(science) | light(reference)
    scored = score_difference(data, variance, mask, psf, sources)
    if any(diffuse_level(one.data, one.variance) is not None for one in (science, reference)):
        rest = _structure_scatter(scored.score, ~mask.bool())
        scored = replace(scored, flux_err=scored.flux_err * rest, score=scored.score / rest)
    noise = star_noise(
        scored.flux, scored.flux_err, ~mask.bool(), reference.data * _flux_scale(facts), psf,
        reference.stars or Stars.empty(),
    )  # fmt: skip
    if noise.share or noise.shift_px:
        flux_err = torch.addcmul(noise.variance, scored.flux_err, scored.flux_err).sqrt_()
        scored = replace(scored, flux_err=flux_err, score=scored.flux / flux_err)
    return Difference(
        data=data,
        variance=variance,
        score=scored.score,
        flux=scored.flux,
        flux_err=scored.flux_err,
        mask=mask,
        psf=psf,
        science_id=science.image_id,
        reference_id=reference.image_id,
        engine=engine,
        wcs=science.wcs,
        zeropoint=science.zeropoint,
        facts={
            **facts,
            "score_scatter": scored.scatter,
            "score_std": scored.std,
            "score_mean": scored.mean,
            "star_noise_share": noise.share,
            "star_noise_px": noise.shift_px,
        },
    )


def _flux_scale(facts: Mapping[str, Fact]) -> float:
    """Science over reference flux of one source, as the engine found it; 1 when it does not say."""
    ratio = facts.get("kernel_sum")
    if not isinstance(ratio, float) or ratio <= 0:
        return 1.0
    return 1.0 / ratio if facts.get("convolved") == "science" else ratio
