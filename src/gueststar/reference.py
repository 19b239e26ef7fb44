"""Make a reference: coadd earlier frames of one field and chip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from gueststar.align import Align
from gueststar.errors import AlignmentError, InputError
from gueststar.ingest.mask import fill_flagged
from gueststar.ingest.prepare import measure_image
from gueststar.options import Options
from gueststar.types import Fact, Image, Mask

__all__ = ["MakeReference"]


class MakeReference(Options):
    """Coadd earlier frames on the grid of the sharpest one."""

    clip_sigma: float = Field(5.0, ge=2, le=50, description="Pixels that deviate more from the median are left out")
    slope_factor: float = Field(
        1.2, ge=0, le=10, description="Share of the local slope (e-/px) allowed on top of noise"
    )
    widest: float = Field(
        1.5, ge=1, le=20, description="Frames are left out whose FWHM is over this times that of the sharpest"
    )
    least_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Pixels that frames with less than this part of the whole weight reach are left out: there the PSF "
        "is another one, and stars leave residuals",
    )
    align: Align = Field(Align(), description="Registration of the frames on each other")

    def __call__(self, images: Sequence[Image]) -> Image:
        """Coadd frames: flux-scaled, weighted by the inverse sky variance, outliers clipped against the median.

        A single frame is returned as it is. Frames that cannot be registered are left out and named in the facts.

        Parameters
        ----------
        images : sequence of Image
            With psf and stars.

        Returns
        -------
        Image
            In the flux scale of the sharpest frame; facts `reference_frames`, `reference_left_out`.

        Raises
        ------
        InputError
            For no frames.
        AlignmentError
            When none of several can be registered on the sharpest.
        """
        if not images:
            raise InputError("no frames to make a reference from")
        ordered = sorted(images, key=lambda image: (image.psf.fwhm if image.psf else 99.0, image.image_id))
        ordered, blurred = self._sharp(ordered)
        facts: dict[str, Fact]
        if len(ordered) == 1:
            facts = {"reference_frames": 1, "reference_left_out": "; ".join(blurred)}
            return replace(ordered[0], facts={**ordered[0].facts, **facts})
        # The sharpest may be a stranger: the next one is tried until at least half of the frames gather.
        moved, left_out = self._gather(ordered, 0)
        for first in range(1, len(ordered)):
            if 2 * len(moved) >= len(ordered):
                break
            others, left = self._gather(ordered, first)
            if len(others) > len(moved):
                moved, left_out = others, left
        if len(moved) == 1:
            raise AlignmentError(f"none of {len(images)} frames could be registered on another: {left_out[0]}")
        best = moved[0]
        data, variance, mask = self._coadd(moved)
        left_out = blurred + left_out
        facts = {"reference_frames": len(moved), "reference_left_out": "; ".join(left_out)}
        coadd = replace(
            best,
            data=data,
            variance=variance,
            mask=mask,
            psf=None,
            stars=None,
            image_id=hashlib.blake2b("/".join(i.image_id for i in moved).encode(), digest_size=8).hexdigest(),
            mjd_mid=float(np.nanmean([image.mjd_mid for image in moved])) if _have_times(moved) else float("nan"),
            facts={**best.facts, **facts},
        )
        return measure_image(coadd)

    def _sharp(self, ordered: Sequence[Image]) -> tuple[list[Image], list[str]]:
        """Frames about as sharp as the sharpest, and why others are left out: one blurred frame spoils a coadd."""
        sharpest = ordered[0].psf.fwhm if ordered[0].psf else None
        kept, left_out = [], []
        for image in ordered:
            if sharpest and image.psf and image.psf.fwhm > self.widest * sharpest:
                left_out.append(f"{image.image_id}: FWHM {image.psf.fwhm:.1f} px, the sharpest has {sharpest:.1f}")
            else:
                kept.append(image)
        return kept, left_out

    def _gather(self, images: Sequence[Image], first: int) -> tuple[list[Image], list[str]]:
        """Frames on the grid and in the flux scale of one of them, itself first; and why others were left out."""
        best = images[first]
        moved, left_out = [best], []
        for image in (*images[:first], *images[first + 1 :]):
            try:
                aligned = self.align(best, image)
            except AlignmentError as error:
                left_out.append(f"{image.image_id}: {error.message}")
                continue
            ratio = flux_ratio(best, aligned)
            moved.append(replace(aligned, data=aligned.data * ratio, variance=aligned.variance * ratio**2))
        return moved, left_out

    def _coadd(self, images: Sequence[Image]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        data = torch.stack([image.data for image in images])
        variance = torch.stack([image.variance for image in images])
        good = torch.stack([image.mask for image in images]) == 0
        middle = torch.where(good, data, torch.nan).nanmedian(0).values
        deviation = (data - middle).abs()
        # Two frames have no majority: of two that disagree, the fainter is kept, for cosmic rays are bright.
        if len(images) == 2:
            middle = torch.where(good, data, torch.inf).min(0).values
            deviation = data - middle
        # In the core of a star registration and seeing change pixels by more than noise, in step with the slope there
        # (the test of AstroDrizzle: Gonzaga et al. 2012, The DrizzlePac Handbook, Sec. 4.2.6).
        allowance = self.clip_sigma * variance.sqrt() + self.slope_factor * _steepest(middle)
        good &= ~(deviation > allowance)
        # One weight for a whole frame: weights that know a pixel's own photon noise favour its faint fluctuations.
        sky = torch.stack([image.variance.median() for image in images])[:, None, None]
        weight = good / sky
        total = weight.sum(0)
        have = total > 0
        summed = torch.where(
            have, (weight * data.nan_to_num(0.0)).sum(0) / total.clamp(min=1e-30), torch.zeros_like(total)
        )
        spread = (weight**2 * variance).sum(0) / total.clamp(min=1e-30) ** 2
        noise = torch.where(have & (spread > 0), spread, variance.median())
        flags = images[0].mask
        nowhere = images[0].mask & int(Mask.NO_DATA)
        for image in images[1:]:
            flags, nowhere = flags | image.mask, nowhere & image.mask
        # Small holes, flagged in every frame, are filled from their neighbours; where there never were data, nothing.
        holes = ~have & (nowhere == 0)
        filled = fill_flagged(summed.cpu().numpy(), holes.cpu().numpy())
        summed = torch.from_numpy(filled).to(summed.device)
        spoilt = (flags & ~int(Mask.NO_DATA)) | int(Mask.BAD)
        mask = nowhere | torch.where(holes, spoilt, torch.zeros_like(flags))
        if self.least_share > 0:
            reached = torch.stack([(image.mask & int(Mask.NO_DATA)) == 0 for image in images]) / sky
            mask = mask | (reached.sum(0) < self.least_share * (1.0 / sky).sum()).to(torch.int16) * int(Mask.NO_DATA)
        # A star saturated in one frame has lost flux there; clipping by weight would leave its rim wrong.
        saturated = torch.stack([(image.mask & int(Mask.SATURATED)) != 0 for image in images]).any(0)
        mask = mask | saturated.to(torch.int16) * int(Mask.SATURATED)
        return summed.contiguous(), noise.contiguous(), mask


def _steepest(plane: torch.Tensor) -> torch.Tensor:
    """Largest absolute difference to the four neighbours."""
    filled = plane.nan_to_num(0.0, posinf=0.0, neginf=0.0)
    slope = torch.zeros_like(filled)
    for axis in (0, 1):
        step = filled.diff(dim=axis).abs()
        length = step.shape[axis]
        for start in (0, 1):
            part = slope.narrow(axis, start, length)
            torch.maximum(part, step, out=part)
    return slope


def _have_times(images: Sequence[Image]) -> bool:
    return any(np.isfinite(image.mjd_mid) for image in images)


def flux_ratio(first: Image, second: Image) -> float:
    """Median flux ratio first / second of common stars on one grid; 1 when there are too few."""
    from scipy.spatial import cKDTree

    if first.stars is None or second.stars is None or min(len(first.stars), len(second.stars)) < 3:
        return 1.0
    a = first.stars[(first.stars.flags == 0) & (first.stars.snr > 15)][:500]
    b = second.stars[(second.stars.flags == 0) & (second.stars.snr > 15)][:500]
    if min(len(a), len(b)) < 3:
        return 1.0
    distance, index = cKDTree(np.column_stack((b.x, b.y))).query(np.column_stack((a.x, a.y)))
    near = distance < 1.5
    if near.sum() < 3:
        return 1.0
    ratio = a.flux[near] / b.flux[index[near]]
    return float(np.median(ratio[ratio > 0])) if (ratio > 0).any() else 1.0
