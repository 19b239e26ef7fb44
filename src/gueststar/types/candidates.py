"""Detections of a difference image: the table, its columns, the stamps around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from astropy.table import Column, Table
from astropy.units import Unit, UnitBase
from numpy.typing import ArrayLike, NDArray

__all__ = ["CANDIDATE_COLUMNS", "CandidateColumn", "Candidates", "Stamps"]


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
        (
            "snr",
            "f4",
            "",
            "matched-filter (PSF) S/N, signed: the score at the peak; of a source split off, flux over error",
        ),
        ("snr_aper", "f4", "", "in an aperture of radius 1 FWHM, signed"),
        ("snr_auto", "f4", "", "in the Kron ellipse (FLUX_AUTO), signed"),
        ("fwhm", "f4", "pix", "from Gaussian-weighted moments; that of the PSF for a point source"),
        ("psf_fwhm", "f4", "pix", "of the PSF in the difference, for comparison"),
        ("elongation", "f4", "", "a / b from Gaussian-weighted moments, what noise adds taken out"),
        ("psf_chi2", "f4", "", "reduced chi-square of the PSF fit"),
        ("dipole_separation", "f4", "pix", "distance of the two lobes in the two-PSF fit; 0 without a second lobe"),
        ("dipole_ratio", "f4", "", "minus flux of the second lobe over the first: 1 for a shifted star, 0 for none"),
        ("dipole_dchi2", "f4", "", "chi-square gained by the second lobe"),
        (
            "snr_beyond_shift",
            "f4",
            "",
            "signed S/N that no shift of the star beside it explains; far below snr: it is one",
        ),
        (
            "snr_beyond_share",
            "f4",
            "",
            "signed S/N of the change beyond the share of light that stars around leave, too",
        ),
        ("trail_length", "f4", "pix", "of the straight trail that it stands for; 0: none"),
        ("trail_angle", "f4", "deg", "direction of the trail from x to y, 0 to 180; NaN: none"),
        ("trail_x0", "f4", "pix", "one end of the trail; NaN: none"),
        ("trail_y0", "f4", "pix", "one end of the trail; NaN: none"),
        ("trail_x1", "f4", "pix", "the other end of the trail; NaN: none"),
        ("trail_y1", "f4", "pix", "the other end of the trail; NaN: none"),
        ("trail_peaks", "i4", "", "peaks that it stands for; 0: no trail"),
        ("science_snr", "f4", "", "PSF signal to noise at the position in the science image"),
        ("reference_snr", "f4", "", "PSF signal to noise at the position in the matched reference"),
        ("star_distance", "f4", "pix", "to the nearest source found in the reference"),
        (
            "local_scatter",
            "f4",
            "",
            "scatter of the score within 32 px: 1 on empty sky, more where stars leave residuals",
        ),
        ("mask_fraction", "f4", "", "share of flagged pixels within 1 FWHM"),
        ("mask_flags", "i4", "", "bits of Mask within 1 FWHM; BRIGHT_STAR and COSMIC_RAY also of the candidate itself"),
        ("mjd", "f8", "d", "UTC at mid-exposure"),
        ("band", "U16", "", "filter of the science image"),
    )
)


@cache
def _unit(name: str) -> UnitBase | None:
    """Units are parsed once."""
    return Unit(name) if name else None


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
        made = [
            Column(
                np.array(columns[column.name], dtype=column.dtype, ndmin=1),
                name=column.name,
                unit=_unit(column.unit),
                description=column.description,
            )
            for column in CANDIDATE_COLUMNS
        ]
        return cls(Table(made, copy=False))

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
