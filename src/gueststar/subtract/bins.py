"""Planes averaged over 2 x 2 px: what is smooth is measured there, at a quarter of the cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nn

__all__ = ["BIN", "Bins", "any_in_bin", "binned", "unbinned"]

BIN = 2  #: px; side of a bin


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """A difference in bins, each of shape (ny // 2, nx // 2); an odd last row or column is left out.

    `data` mean, e-; `variance` of the mean, e-^2; `whole` where no pixel is flagged.
    """

    data: torch.Tensor
    variance: torch.Tensor
    whole: torch.Tensor

    @classmethod
    def of(cls, data: torch.Tensor, variance: torch.Tensor, mask: torch.Tensor) -> Bins:
        """Bin the planes of a difference, each (ny, nx)."""
        return cls(binned(data), binned(variance).div_(BIN**2), ~any_in_bin(mask.bool()))

    def minus(self, model: torch.Tensor) -> Bins:
        """The same with a model subtracted."""
        return replace(self, data=self.data - model)


def binned(plane: torch.Tensor) -> torch.Tensor:
    """Mean over 2 x 2 px: rows first, which lie together in memory."""
    ny, nx = (int(n) // BIN * BIN for n in plane.shape)
    rows = plane[0:ny:2, :nx] + plane[1:ny:2, :nx]
    return rows[:, 0::2].add(rows[:, 1::2]).mul_(0.25)


def any_in_bin(plane: torch.Tensor) -> torch.Tensor:
    """Whether any of the four pixels of a bin is True."""
    ny, nx = (int(n) // BIN * BIN for n in plane.shape)
    rows = plane[0:ny:2, :nx] | plane[1:ny:2, :nx]
    return rows[:, 0::2] | rows[:, 1::2]


def unbinned(plane: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Bilinear interpolation of bins back to the pixels of a plane of `shape`; odd edges repeat the last."""
    size = (int(plane.shape[0]) * BIN, int(plane.shape[1]) * BIN)
    fine = nn.interpolate(plane[None, None], size=size, mode="bilinear", align_corners=False)
    rest = (0, shape[1] - size[1], 0, shape[0] - size[0])
    return nn.pad(fine, rest, mode="replicate")[0, 0] if any(rest) else fine[0, 0]
