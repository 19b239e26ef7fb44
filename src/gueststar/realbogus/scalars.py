"""The measured numbers that the network sees beside the pixels, and why these.

A number may be shown to the network only if it means the same for an artificial real as for a real transient.
Left out, because training could take a short cut through them:

- ``psf_chi2``: artificial reals are drawn with the very PSF model that the fit uses, so theirs is 1 at any brightness,
  while a true bright source shows the error of the model;
- ``star_distance``: it tells where the injector puts artificial reals among the sources of the reference, a choice; one
  put into the reference, to look like a faded source, is not in the list of its sources, which is made before, while a
  true variable or faded source is in it, at distance 0. Who wants it nevertheless: `gueststar.realbogus.context`;
- ``x``, ``y``, ``ra``, ``dec``, ``mjd``, ``band``, ``mask_flags``, identifiers: where and when, not what;
- ``flux``, ``mag`` and errors: tied to exposure time and depth of the survey; ``snr`` says what is needed.

``snr`` is shown because the noise of a shape depends on it. Its distribution is a choice of whoever made the training
set, so `gueststar.realbogus.train` weights both classes to the same distribution: the number alone then says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ModelError
from gueststar.types import Candidates

__all__ = ["DEFAULT_SCALARS", "Compression", "Scalar", "measured_scalars", "scalars_of"]

Compression = Literal["log10_abs", "log1p", "asinh", "linear"]
COMPRESSIONS: tuple[str, ...] = get_args(Compression)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One measured number: column of `Candidates` and how the network compresses it.

    Parameters
    ----------
    name : str
        Column of the candidate table; ``a/b`` is the ratio of two columns.
    compression : {'log10_abs', 'log1p', 'asinh', 'linear'}
        log10 |v|, log(1 + max(v, 0)), asinh(v) or v; it is inside the network, so raw numbers go in.
    context : bool
        Says what stands around a candidate, and may be missing: see `gueststar.realbogus.context`.
    optional : bool
        A table may lack it, for stamps alone do not tell it and earlier versions did not measure it; in training it is
        hidden now and then while the others are seen.
    """

    name: str
    compression: Compression
    context: bool = False
    optional: bool = False

    @property
    def may_lack(self) -> bool:
        """Whether a table without its columns can be scored."""
        return self.context or self.optional


# The sign of `snr` must come first: the network turns negative candidates over by it.
DEFAULT_SCALARS: tuple[Scalar, ...] = (
    Scalar("snr", "log10_abs"),
    Scalar("snr_aper/snr", "asinh"),  # light outside the core: sharp cosmic rays are low, halos high
    Scalar("fwhm", "log10_abs"),
    Scalar("elongation", "log10_abs"),
    Scalar("dipole_separation", "linear"),
    Scalar("dipole_ratio", "asinh"),
    Scalar("dipole_dchi2", "log1p"),
    Scalar("science_snr", "asinh"),
    Scalar("reference_snr", "asinh"),
    Scalar("mask_fraction", "linear"),
    Scalar("snr_beyond_share/snr", "asinh", optional=True),  # what the stars around it leave, too, is no change
)


def measured_scalars(
    candidates: Candidates, names: Sequence[str], *, optional: Collection[str] = ()
) -> NDArray[np.float32]:
    """Raw numbers of every candidate in the order that a model asks for.

    Parameters
    ----------
    candidates : Candidates
        n rows.
    names : sequence of str
        Columns, or ratios of two columns as ``a/b``; `Card.scalars` has them.
    optional : collection of str
        Those of them that are NaN for all when the table lacks a column.

    Returns
    -------
    ndarray, shape (n, len(names)), float32
        NaN where a number is missing or a ratio has no sense.

    Raises
    ------
    ModelError
        When the table lacks a column that the model needs.
    """
    wanted = {part for name in names for part in name.split("/")}
    there = {part: candidates[part] for part in wanted if part in candidates.table.colnames}
    return scalars_of(there, names, n=len(candidates), optional=optional)


def scalars_of(
    columns: Mapping[str, NDArray[Any]], names: Sequence[str], *, n: int, optional: Collection[str] = ()
) -> NDArray[np.float32]:
    """The same from columns of n values; see `measured_scalars`."""
    nothing = np.full(n, np.nan, np.float32)
    lacking = {name for name in optional if not set(name.split("/")) <= columns.keys()}
    found = [nothing if name in lacking else _column(columns, name) for name in names]
    return np.stack(found, axis=1) if found else np.empty((n, 0), np.float32)


def _column(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    parts = name.split("/")
    for part in parts:
        if part not in columns:
            raise ModelError(
                f"the model needs the measured number {name!r}, but the candidate table has no column {part!r}; "
                "score the candidates with the model that was trained on such tables, or detect them again",
                scalar=name,
            )
    values = np.asarray(columns[parts[0]], np.float64)
    for part in parts[1:]:
        below = np.asarray(columns[part], np.float64)
        values = np.divide(values, below, out=np.full(values.shape, np.nan), where=below != 0)
    values = np.where(np.abs(values) < np.finfo(np.float32).max, values, np.nan)
    return values.astype(np.float32)
