"""Candidates as an audit reads them: few columns of all, the rest of those that matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AuditImage", "AuditRows", "RowSource"]

F8 = NDArray[np.float64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class AuditImage:
    """An image that candidates come from.

    Parameters
    ----------
    name, chip, night, place : str
        Empty where unknown; `place` is the part of the sky.
    mjd : float
        NaN where unknown.
    facts : mapping
        Numbers of the whole image, by the names of `gueststar.types.Outcome.facts`; empty for data sets.
    reason : str
        Why it failed a quality gate; empty: it passed, or was not judged.
    n : int
        Candidates.
    """

    name: str
    chip: str
    night: str
    place: str
    mjd: float
    facts: Mapping[str, Any]
    reason: str
    n: int


class RowSource(Protocol):
    """Where the remaining columns and the stamps of rows are."""

    def columns(self, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of the columns that there are, shape (m,) each."""
        ...

    def stamps(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Stamps (m, 3, k, k) and noise (m, 3), e-; NaN where missing."""
        ...


@dataclass(slots=True, eq=False)
class AuditRows:
    """All candidates of an audit, in the order of their images; arrays of shape (n,).

    Parameters
    ----------
    name : str
        Of the run or set.
    images : list of AuditImage
    image : ndarray of int32
        Number of the image.
    label : ndarray of int8
        1 real, 0 artifact or not known to be real, -1 neither.
    score, threshold : ndarray of float32
        NaN where there is no score.
    x, y, ra, dec, snr : ndarray
        NaN where the source does not tell.
    known : ndarray of str
        What a catalogue, or the truth of the set, knows at the place; empty for nothing.
    source : RowSource
    model : str
        What gave the scores.
    has_known : bool
        Whether anything could have been known: a catalogue was at hand.
    warnings : list of str
    """

    name: str
    images: list[AuditImage]
    image: NDArray[np.int32]
    label: NDArray[np.int8]
    score: NDArray[np.float32]
    threshold: NDArray[np.float32]
    x: F8
    y: F8
    ra: F8
    dec: F8
    snr: NDArray[np.float32]
    known: NDArray[np.str_]
    source: RowSource
    model: str
    has_known: bool
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image)
