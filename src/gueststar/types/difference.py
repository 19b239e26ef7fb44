"""Science minus matched reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as _field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gueststar.types.outcome import Fact
from gueststar.types.psf import Psf

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Difference"]


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Science minus matched reference, on the science grid.

    Parameters
    ----------
    data, variance : Tensor, shape (ny, nx), float32
        e-, e-^2, in the flux scale of the science image. Positive is brighter in the science image.
    score : Tensor, shape (ny, nx), float32
        Matched-filter signal to noise with unit variance on empty sky; 0 where nothing can be said.
    flux, flux_err : Tensor, shape (ny, nx), float32
        PSF flux, e-, and its error for a source centred on each pixel.
    mask : Tensor, shape (ny, nx), int16
        Bits of `Mask` from both images.
    psf : Psf
        Of a point source in `data`.
    facts : mapping
        Numbers of the fit: stamps used, kernel sum, score scatter before scaling and so on.
    """

    data: torch.Tensor
    variance: torch.Tensor
    score: torch.Tensor
    flux: torch.Tensor
    flux_err: torch.Tensor
    mask: torch.Tensor
    psf: Psf
    science_id: str
    reference_id: str
    engine: str
    wcs: WCS | None = None
    zeropoint: float = 25.0
    facts: Mapping[str, Fact] = _field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        for name in ("variance", "score", "flux", "flux_err", "mask"):
            if tuple(getattr(self, name).shape) != shape or len(shape) != 2:
                raise ValueError(f"difference {name} has shape {tuple(getattr(self, name).shape)}; expected {shape}")

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return int(self.data.shape[0]), int(self.data.shape[1])

    def numpy(self, plane: str = "data") -> NDArray[Any]:
        """One plane as a NumPy array; a copy that may be written to."""
        return np.array(getattr(self, plane).cpu().numpy())
