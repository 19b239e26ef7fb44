"""Triplet cutouts around candidates."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field, field_validator

from gueststar.options import Options
from gueststar.planes import gather_stamps, inside_stamps
from gueststar.types import Candidates, Difference, Image, Mask, Stamps

__all__ = ["CutStamps"]


class CutStamps(Options):
    """Cut science, aligned reference and difference around each candidate."""

    size: int = Field(63, ge=21, le=255, description="Side of a stamp, px, odd")

    @field_validator("size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that a stamp has a central pixel")
        return value

    def __call__(self, candidates: Candidates, science: Image, reference: Image, difference: Difference) -> Stamps:
        """Cut the stamps.

        Parameters
        ----------
        candidates : Candidates
        science : Image
        reference : Image
            On the science grid.
        difference : Difference

        Returns
        -------
        Stamps
            NaN outside the frame and where there are no data; the candidate lies in the central pixel.
        """
        x = np.round(candidates["x"]).astype(np.int64).clip(0, science.shape[1] - 1)
        y = np.round(candidates["y"]).astype(np.int64).clip(0, science.shape[0] - 1)
        n = len(candidates)
        cube = np.empty((n, 3, self.size, self.size), np.float32)
        sigma = np.empty((n, 3), np.float32)
        inside = inside_stamps(science.shape, x, y, self.size)
        sources: tuple[Image | Difference, ...] = (science, reference, difference)
        for plane, source in enumerate(sources):
            cut = gather_stamps(source.data, x, y, self.size).cpu().numpy()
            lacking = (gather_stamps(source.mask, x, y, self.size).cpu().numpy() & int(Mask.NO_DATA)) != 0
            cube[:, plane] = np.where(inside & ~lacking, cut, np.nan)
            sigma[:, plane] = np.sqrt(_sky_variance(source.variance, x, y))
        return Stamps(cube, sigma, candidates["candidate_id"])


def _sky_variance(variance: torch.Tensor, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Variance of the sky near positions: the lower quartile over a coarse cell, free of the sources' photon noise."""
    step, thin = 64, 4
    ny, nx = (int(n) for n in variance.shape)
    rows, columns = -(-ny // step), -(-nx // step)
    sample = variance[::thin, ::thin].cpu().numpy()
    side = step // thin
    padded = np.pad(sample, ((0, rows * side - sample.shape[0]), (0, columns * side - sample.shape[1])), mode="reflect")
    cells = padded.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, side * side)
    quartile = np.partition(cells, side * side // 4, axis=-1)[..., side * side // 4]
    return np.asarray(quartile[y // step, x // step])
