"""One calibrated image and the sources on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as _field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gueststar.types.mask import Mask
from gueststar.types.outcome import Fact
from gueststar.types.psf import Psf

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["HALO_BLOCK_PX", "Image", "Stars"]

HALO_BLOCK_PX = 8  #: side of a block of `Image.halo`, px


@dataclass(frozen=True, slots=True, eq=False)
class Stars:
    """Sources of one image, brightest first, or in a crowd or a nebula the highest peaks; every column has shape (n,).

    `flux` e- in an aperture of radius `aperture_px` and its `snr`, `fwhm` px, `elongation` a/b, `peak` e-, `flags` the
    mask bits under the source.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    snr: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    elongation: NDArray[np.float64]
    peak: NDArray[np.float64]
    flags: NDArray[np.int64]
    aperture_px: float = float("nan")

    def __post_init__(self) -> None:
        shapes = {name: column.shape for name, column in self.columns().items()}
        if len(set(shapes.values())) != 1 or len(self.x.shape) != 1:
            raise ValueError(f"star columns must have one common shape (n,), got {shapes}")

    def __len__(self) -> int:
        return int(self.x.size)

    def __getitem__(self, keep: NDArray[Any] | np.bool_ | slice) -> Stars:
        return Stars(**{name: column[keep] for name, column in self.columns().items()}, aperture_px=self.aperture_px)

    @classmethod
    def empty(cls) -> Stars:
        """No sources."""
        floats = (np.empty(0) for _ in range(7))
        return cls(*floats, flags=np.empty(0, np.int64))  # type: ignore[misc,arg-type]

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "aperture_px"}


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One calibrated, sky-subtracted image.

    Parameters
    ----------
    data : Tensor, shape (ny, nx), float32
        Electrons, sky-subtracted; finite everywhere (bad pixels hold 0 and are flagged).
    variance : Tensor, shape (ny, nx), float32
        e-^2, positive and finite.
    mask : Tensor, shape (ny, nx), int16
        Bits of `Mask`; non-zero is bad.
    psf : Psf or None
        None: not measured yet; `process_pair` measures it.
    stars : Stars or None
        None: not measured yet; `process_pair` measures them.
    wcs : astropy.wcs.WCS or None
        None: registered by star patterns.
    zeropoint : float
        AB magnitude of 1 e- in this image.
    zeropoint_source : {'catalog', 'header', 'instrumental'}
        Where the zero point comes from; an instrumental one is only good for differences.
    saturation : float
        e- above the sky at which a pixel counts as saturated; inf when there is no limit.
    image_id : str
        Hash of the pixels.
    halo : ndarray of bool, shape (ny // 8, nx // 8), or None
        True where blocks of 8 x 8 px lie in the halo, the spikes or a ghost of a bright star; None: nowhere, or not
        measured. It is no part of the mask: such pixels are good, and what is found there is flagged.
    """

    data: torch.Tensor
    variance: torch.Tensor
    mask: torch.Tensor
    psf: Psf | None = None
    stars: Stars | None = None
    wcs: WCS | None = None
    zeropoint: float = 25.0
    zeropoint_source: str = "instrumental"
    band: str = ""
    mjd_mid: float = float("nan")
    exposure_s: float = float("nan")
    saturation: float = float("inf")
    image_id: str = ""
    field: str = ""
    chip: str = ""
    instrument: str = "generic"
    header: Mapping[str, Any] = _field(default_factory=dict)
    facts: Mapping[str, Fact] = _field(default_factory=dict)
    halo: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"image data has shape {shape}; expected (ny, nx)")
        # Double precision is for checks of the arithmetic; everything that reads frames makes float32.
        real = torch.float64 if self.data.dtype == torch.float64 else torch.float32
        for name, dtype in (("data", real), ("variance", real), ("mask", torch.int16)):
            plane = getattr(self, name)
            if tuple(plane.shape) != shape or plane.dtype != dtype or plane.device != self.data.device:
                raise ValueError(
                    f"image {name} is {plane.dtype} {tuple(plane.shape)} on {plane.device}; "
                    f"expected {dtype} {shape} on {self.data.device}"
                )

    @classmethod
    def from_arrays(
        cls,
        data: ArrayLike,
        variance: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        psf: Psf | ArrayLike | None = None,
        device: str = "cpu",
        **fields: Any,
    ) -> Image:
        """Make an image from NumPy arrays of calibrated, sky-subtracted electrons.

        Pixels that are not finite, or whose variance is not a positive number, are set to 0 and flagged
        `Mask.NO_DATA`. For raw counts use `gueststar.prepare_image`, which measures sky and noise.

        Parameters
        ----------
        data : array_like, shape (ny, nx)
            Electrons, sky-subtracted. Any byte order and number type.
        variance : array_like, shape (ny, nx) or scalar
            e-^2.
        mask : array_like, shape (ny, nx), optional
            Boolean (True is bad) or bits of `Mask`.
        psf : Psf or array_like, shape (k, k), optional
            Measured from the stars by `process_pair` when absent.
        device : str
            'cpu', 'cuda' or 'cuda:N'.
        **fields
            Any other field of `Image`.
        """
        pixels = np.array(data, dtype=np.float32)
        if pixels.ndim != 2:
            raise ValueError(f"image data has shape {pixels.shape}; expected (ny, nx)")
        noise = np.array(variance, dtype=np.float32)
        if noise.ndim and noise.shape != pixels.shape:
            raise ValueError(f"image variance has shape {noise.shape}; expected {pixels.shape} or a number")
        noise = np.array(np.broadcast_to(noise, pixels.shape))
        flags = np.zeros(pixels.shape, np.int16)
        if mask is not None:
            given = np.asarray(mask)
            if given.shape != pixels.shape:
                raise ValueError(f"image mask has shape {given.shape}; expected {pixels.shape}")
            flags |= given.astype(np.int16) * (int(Mask.BAD) if given.dtype == bool else 1)
        lost = ~np.isfinite(pixels) | ~np.isfinite(noise) | ~(noise > 0)
        flags[lost] |= int(Mask.NO_DATA)
        fields.setdefault("image_id", hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest())
        pixels[lost] = 0.0
        good = noise[~lost]
        noise[lost] = float(np.median(good)) if good.size else 1.0
        if psf is not None and not isinstance(psf, Psf):
            psf = Psf.from_stamp(psf)
        return cls(
            data=torch.from_numpy(pixels).to(device),
            variance=torch.from_numpy(noise).to(device),
            mask=torch.from_numpy(flags).to(device),
            psf=psf.to(device) if psf is not None else None,
            **fields,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return int(self.data.shape[0]), int(self.data.shape[1])

    def numpy(self, plane: str = "data") -> NDArray[Any]:
        """One plane ('data', 'variance', 'mask') as a NumPy array; a copy that may be written to."""
        return np.array(getattr(self, plane).cpu().numpy())

    def to(self, device: torch.device | str) -> Image:
        """The same on another device."""
        return replace(
            self,
            data=self.data.to(device),
            variance=self.variance.to(device),
            mask=self.mask.to(device),
            psf=self.psf.to(device) if self.psf is not None else None,
        )
