"""The core types that stages pass to each other: frozen, slotted, shapes checked when made.

Planes are PyTorch tensors on one device. NumPy enters through `Image.from_arrays` and leaves through `Image.numpy`.
Pixel coordinates are 0-based pixel centres, x along columns, y along rows. Fluxes are electrons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as _field
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = [
    "CANDIDATE_COLUMNS",
    "CandidateColumn",
    "Candidates",
    "Difference",
    "Fact",
    "Image",
    "Mask",
    "Outcome",
    "Psf",
    "Stamps",
    "Stars",
    "Status",
]

Fact = str | int | float | bool | None
Status = Literal["ok", "rejected", "failed", "crashed"]


class Mask(IntFlag):
    """Bits of a mask plane; zero is a good pixel."""

    BAD = 1  #: dead, hot or otherwise known to be bad
    SATURATED = 2  #: at or above the saturation level, grown by the charge that spilled
    COSMIC_RAY = 4  #: sharper than the point-spread function allows
    NO_DATA = 8  #: not exposed, outside the frame, or not a finite number
    BRIGHT_STAR = 16  #: in the halo, spikes or ghosts of a bright star
    REFERENCE = 32  #: in a difference: the flag beside it comes from the reference


@dataclass(frozen=True, slots=True, eq=False)
class Psf:
    """Point-spread function, sampled at the pixel scale, that may vary over the chip.

    PSF(x, y) = sum_j planes[j] T_j(u, v) with T_j = u^p v^q, p + q <= order, in the order of `exponents`,
    and u, v = position scaled to -1..1 over `extent`.

    Parameters
    ----------
    planes : Tensor, shape (m, k, k), float32
        Coefficient planes, m = (order + 1)(order + 2) / 2, k odd. ``planes[0]`` sums to 1, the others to 0.
    fwhm : float
        Full width at half maximum at the chip centre, px.
    ellipticity : float
        1 - b/a at the chip centre.
    order : int
        Order of the polynomial in position; 0 is a constant PSF.
    extent : (int, int)
        (ny, nx) of the chip that u, v run over.
    """

    planes: torch.Tensor
    fwhm: float
    ellipticity: float = 0.0
    order: int = 0
    extent: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        m = (self.order + 1) * (self.order + 2) // 2
        shape = tuple(self.planes.shape)
        if len(shape) != 3 or shape[0] != m or shape[1] != shape[2] or shape[1] % 2 == 0:
            raise ValueError(f"psf planes have shape {shape}; expected ({m}, k, k) with k odd for order {self.order}")

    @classmethod
    def from_stamp(cls, stamp: ArrayLike) -> Psf:
        """Make a constant PSF from one stamp (k, k), k odd; it is normalised to sum 1."""
        array = np.asarray(stamp, np.float64)
        if array.ndim != 2 or not np.isfinite(array).all() or array.sum() <= 0:
            raise ValueError(f"psf stamp of shape {array.shape} must be (k, k), finite, with a positive sum")
        array = array / array.sum()
        fwhm, ellipticity = stamp_shape(array)
        return cls(torch.from_numpy(array[None].astype(np.float32)), fwhm, ellipticity)

    @property
    def size(self) -> int:
        """Width k of the stamp, px."""
        return int(self.planes.shape[-1])

    @property
    def stamp(self) -> torch.Tensor:
        """PSF at the chip centre, shape (k, k), sum 1."""
        return self.planes[0]

    @property
    def exponents(self) -> list[tuple[int, int]]:
        """Powers (p, q) of u and v for each plane."""
        return polynomial_exponents(self.order)

    def at(self, x: ArrayLike, y: ArrayLike) -> torch.Tensor:
        """PSF centred on a pixel, for each position; shape (n, k, k)."""
        ny, nx = self.extent
        u = 2.0 * np.atleast_1d(np.asarray(x, np.float64)) / max(nx - 1, 1) - 1.0
        v = 2.0 * np.atleast_1d(np.asarray(y, np.float64)) / max(ny - 1, 1) - 1.0
        terms = np.stack([u**p * v**q for p, q in self.exponents], axis=1) if self.order else np.ones((u.size, 1))
        weights = torch.as_tensor(terms, dtype=self.planes.dtype, device=self.planes.device)
        return torch.einsum("nm,mij->nij", weights, self.planes)

    def to(self, device: torch.device | str) -> Psf:
        """The same on another device."""
        return replace(self, planes=self.planes.to(device))


def polynomial_exponents(order: int) -> list[tuple[int, int]]:
    """Powers (p, q) of u^p v^q with p + q <= order, lowest total power first."""
    return [(total - q, q) for total in range(order + 1) for q in range(total + 1)]


def stamp_shape(stamp: NDArray[np.float64]) -> tuple[float, float]:
    """FWHM (px) and ellipticity 1 - b/a of a stamp, from its half-light level and adaptive moments.

    The width is twice the radius at which the azimuthal profile falls to half of its central value; the axis
    ratio comes from moments under a round Gaussian of that width (Bernstein & Jarvis 2002, AJ 123, 583, Sec. 3.1,
    one iteration).
    """
    k = stamp.shape[0]
    yy, xx = np.mgrid[:k, :k] - (k - 1) / 2.0
    r = np.hypot(xx, yy).ravel()
    near = r < max(3.0, k / 3.0)
    order = np.argsort(r[near], kind="stable")
    radius, value = r[near][order], stamp.ravel()[near][order]
    bins = np.round(radius * 2) / 2
    grid = np.unique(bins)
    profile = np.array([value[bins == b].mean() for b in grid])
    half = profile[0] / 2.0
    below = np.flatnonzero(profile < half)
    if profile[0] <= 0 or below.size == 0:
        return float(k), 0.0
    i = int(below[0])
    r0 = float(radius[bins == grid[i - 1]].mean()) if i else 0.0
    r1 = float(radius[bins == grid[i]].mean())
    fraction = (profile[i - 1] - half) / max(profile[i - 1] - profile[i], 1e-30)
    fwhm = 2.0 * (r0 + fraction * (r1 - r0))
    sigma2 = (max(fwhm, 1.0) / 2.3548) ** 2
    weight = stamp * np.exp(-(xx**2 + yy**2) / (2.0 * sigma2))
    total = weight.sum()
    mxx, myy, mxy = ((weight * a).sum() / total for a in (xx * xx, yy * yy, xx * yy))
    # The weight halves the variance of a Gaussian of the same width; undo it on the eigenvalues.
    middle, spread = (mxx + myy) / 2.0, np.hypot((mxx - myy) / 2.0, mxy)
    major, minor = (1.0 / max(1.0 / max(e, 1e-9) - 1.0 / sigma2, 1e-9) for e in (middle + spread, middle - spread))
    return float(fwhm), float(np.clip(1.0 - np.sqrt(minor / major), 0.0, 0.99))


@dataclass(frozen=True, slots=True, eq=False)
class Stars:
    """Sources of one image, brightest first; every column has shape (n,), float64.

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

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"image data has shape {shape}; expected (ny, nx)")
        for name, dtype in (("data", torch.float32), ("variance", torch.float32), ("mask", torch.int16)):
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


@dataclass(frozen=True, slots=True)
class CandidateColumn:
    """Name, type, unit and meaning of one column of `Candidates`."""

    name: str
    dtype: str
    unit: str
    description: str


CANDIDATE_COLUMNS: tuple[CandidateColumn, ...] = tuple(
    CandidateColumn(*row)
    for row in (
        ("candidate_id", "U24", "", "deterministic: hash of science, reference, engine and position"),
        ("image_id", "U16", "", "hash of the science pixels"),
        ("x", "f8", "pix", "column, 0-based pixel centres, PSF fit"),
        ("y", "f8", "pix", "row, 0-based pixel centres, PSF fit"),
        ("x_err", "f4", "pix", "1 sigma"),
        ("y_err", "f4", "pix", "1 sigma"),
        ("ra", "f8", "deg", "ICRS; NaN without a WCS"),
        ("dec", "f8", "deg", "ICRS; NaN without a WCS"),
        ("flux", "f4", "electron", "PSF flux in the difference, signed"),
        ("flux_err", "f4", "electron", "1 sigma, scaled by the measured scatter of empty sky"),
        ("mag", "f4", "mag", "AB magnitude of |flux|"),
        ("mag_err", "f4", "mag", "1 sigma"),
        ("snr", "f4", "", "matched-filter (PSF) signal to noise, signed: the value of the score at the peak"),
        ("snr_aper", "f4", "", "in an aperture of radius 1 FWHM, signed"),
        ("snr_auto", "f4", "", "in the Kron ellipse (FLUX_AUTO), signed"),
        ("fwhm", "f4", "pix", "from Gaussian-weighted moments"),
        ("psf_fwhm", "f4", "pix", "of the PSF in the difference, for comparison"),
        ("elongation", "f4", "", "a / b from Gaussian-weighted moments"),
        ("psf_chi2", "f4", "", "reduced chi-square of the PSF fit"),
        ("dipole_separation", "f4", "pix", "distance of the two lobes in the two-PSF fit; 0 without a second lobe"),
        ("dipole_ratio", "f4", "", "minus flux of the second lobe over the first: 1 for a shifted star, 0 for none"),
        ("dipole_dchi2", "f4", "", "chi-square gained by the second lobe"),
        ("science_snr", "f4", "", "PSF signal to noise at the position in the science image"),
        ("reference_snr", "f4", "", "PSF signal to noise at the position in the matched reference"),
        ("star_distance", "f4", "pix", "to the nearest source found in the reference"),
        ("mask_fraction", "f4", "", "share of flagged pixels within 1 FWHM"),
        ("mask_flags", "i4", "", "bits of Mask within 1 FWHM"),
        ("mjd", "f8", "d", "UTC at mid-exposure"),
        ("band", "U16", "", "filter of the science image"),
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Detections of one difference image, one row each; later stages only add columns.

    Parameters
    ----------
    table : astropy.table.Table
        At least the columns of `CANDIDATE_COLUMNS`. An empty table keeps all its columns.
    """

    table: Table

    def __post_init__(self) -> None:
        missing = [column.name for column in CANDIDATE_COLUMNS if column.name not in self.table.colnames]
        if missing:
            raise ValueError(f"candidate table lacks columns {missing}")

    @classmethod
    def from_columns(cls, columns: Mapping[str, ArrayLike]) -> Candidates:
        """Make the table from arrays; every column of `CANDIDATE_COLUMNS` must be there, all of one length."""
        missing = [column.name for column in CANDIDATE_COLUMNS if column.name not in columns]
        if missing:
            raise ValueError(f"candidate columns {missing} are missing")
        table = Table()
        for column in CANDIDATE_COLUMNS:
            table[column.name] = np.asarray(columns[column.name], dtype=column.dtype)
            table[column.name].unit = column.unit or None
            table[column.name].description = column.description
        return cls(table)

    @classmethod
    def empty(cls) -> Candidates:
        """No candidates, with all columns."""
        return cls.from_columns({column.name: np.empty(0, column.dtype) for column in CANDIDATE_COLUMNS})

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column as a plain array."""
        return np.asarray(self.table[name])

    def with_columns(self, **columns: ArrayLike) -> Candidates:
        """The same rows with more columns; a column that exists is an error."""
        clash = [name for name in columns if name in self.table.colnames]
        if clash:
            raise ValueError(f"candidate columns {clash} exist already; stages only add columns")
        table = self.table.copy()
        for name, values in columns.items():
            table[name] = np.asarray(values)
        return Candidates(table)


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """Triplet cutouts around candidates, unnormalised.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k), float32
        Science, aligned reference, difference; e-. NaN outside the frame and on pixels without data.
    sigma : ndarray, shape (n, 3), float32
        Noise of the sky per pixel in each plane, e-.
    candidate_id : ndarray, shape (n,)
        Which candidate each belongs to.
    """

    cube: NDArray[np.float32]
    sigma: NDArray[np.float32]
    candidate_id: NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.candidate_id)
        shape = self.cube.shape
        if len(shape) != 4 or shape[0] != n or shape[1] != 3 or shape[2] != shape[3]:
            raise ValueError(f"stamp cube has shape {shape}; expected ({n}, 3, k, k)")
        if self.sigma.shape != (n, 3):
            raise ValueError(f"stamp sigma has shape {self.sigma.shape}; expected ({n}, 3)")

    def __len__(self) -> int:
        return len(self.candidate_id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Parameters
    ----------
    image : str
        Name of the science file.
    status : {'ok', 'rejected', 'failed', 'crashed'}
        'rejected' by a quality gate, 'failed' with one of our errors, 'crashed' with any other.
    stage, reason : str
        Where and why it did not end well; empty when ok.
    facts : mapping
        Numbers of every stage.
    seconds : mapping
        Wall time per stage.
    products : mapping
        Product name to path, relative to the run's folder.
    counts : mapping
        Numbers of candidates.
    traceback : str
        Kept when crashed.
    """

    image: str
    status: Status
    stage: str = ""
    reason: str = ""
    field: str = ""
    chip: str = ""
    mjd: float | None = None
    facts: Mapping[str, Fact] = _field(default_factory=dict)
    seconds: Mapping[str, float] = _field(default_factory=dict)
    products: Mapping[str, str] = _field(default_factory=dict)
    counts: Mapping[str, int] = _field(default_factory=dict)
    traceback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinity become None."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """The inverse of `as_dict`; unknown keys are left out."""
        return cls(**{name: values[name] for name in _names(cls) if name in values})


def _names(kind: Any) -> Iterable[str]:
    return tuple(kind.__slots__)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
