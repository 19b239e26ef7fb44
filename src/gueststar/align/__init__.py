"""Reference onto the science grid: registration, then resampling of data, variance and mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from gueststar.align.halos import move_halo
from gueststar.align.register import register
from gueststar.align.resample import resample
from gueststar.errors import AlignmentError
from gueststar.options import Options
from gueststar.types import Image, Mask

__all__ = ["Align"]


class Align(Options):
    """Bring a reference onto the grid of a science image."""

    use_wcs: bool = Field(True, description="Start from the WCS of both frames; false: from star patterns")
    order: int = Field(
        4,
        ge=0,
        le=5,
        description="Highest order of the polynomial fitted to the matched stars; they decide how much is used",
    )
    search_px: float = Field(12.0, gt=0, le=200, description="How far a WCS may be off, reference px")
    minimum_stars: int = Field(4, ge=3, le=1000, description="Matched stars needed to believe a registration")
    minimum_overlap: float = Field(0.05, gt=0, le=1, description="Share of the science image the reference must cover")

    def __call__(self, science: Image, reference: Image) -> Image:
        """Register and resample.

        Parameters
        ----------
        science, reference : Image
            With stars measured.

        Returns
        -------
        Image
            The reference on the science grid; facts `align_method`, `align_matched`, `align_rms_px`, `align_shift_px`,
            `align_overlap`, `align_scale`, `align_rotation_deg` and `align_grid_error_px` are added.

        Raises
        ------
        AlignmentError
            No overlap, no common stars, a WCS that contradicts the sky, or the same image twice.
        """
        if science.image_id and science.image_id == reference.image_id:
            raise AlignmentError(
                f"science and reference are the same image (id {science.image_id}); their difference is empty by "
                "construction; choose an earlier frame as the reference",
                image_id=science.image_id,
            )
        found = register(
            science,
            reference,
            use_wcs=self.use_wcs,
            order=self.order,
            search_px=self.search_px,
            minimum_stars=self.minimum_stars,
        )
        done = resample(reference, found, science)
        aligned = done.image
        overlap = float(((aligned.mask & int(Mask.NO_DATA)) == 0).float().mean())
        if overlap < self.minimum_overlap:
            raise AlignmentError(
                f"the reference covers {100 * overlap:.1f} % of the science image, expected at least "
                f"{100 * self.minimum_overlap:g} % (align.minimum_overlap)",
                overlap=overlap,
            )
        centre = np.array([[science.shape[1] / 2.0, science.shape[0] / 2.0]])
        step = (found(centre + np.array([[100.0, 0.0]])) - found(centre))[0]
        facts = {
            **reference.facts,
            "align_method": found.method,
            "align_matched": found.matched,
            "align_order": found.order,
            "align_rms_px": found.rms_px,
            "align_photon_px": found.photon_px,
            "align_quality": found.quality,
            "align_shift_px": found.shift_px,
            "align_overlap": overlap,
            "align_scale": float(np.hypot(*step) / 100.0),
            "align_rotation_deg": float(np.degrees(np.arctan2(step[1], step[0]))),
            "align_grid_error_px": done.grid_error_px,
            "align_noise_scatter": done.noise.scatter,
            "align_noise_lag1": done.noise.lag1,
        }
        return replace(aligned, facts=facts, halo=move_halo(reference.halo, found, science.shape))
