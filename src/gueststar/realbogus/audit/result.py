"""What an audit found: counts, causes, proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.audit.clues import Usual
from gueststar.realbogus.audit.counts import Counted
from gueststar.realbogus.audit.decision import Decided, Proof

__all__ = ["Audited", "AuditedFile", "FalsePositives", "Section"]

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FalsePositives:
    """The false positives whose causes were looked for, columns of shape (m,).

    Parameters
    ----------
    row : ndarray of int
        Number among all candidates of the audit.
    candidate_id, known, star : ndarray of str
        Identifier; what a catalogue knows at the place; the bright star beside it, with magnitude and distance.
    image : ndarray of int
        Number of the file in `Audited.files`' names.
    x, y, ra, dec, snr, score : ndarray
    numbers : mapping of str to ndarray
        All measured numbers, by name.
    decided : Decided
    """

    row: NDArray[np.int64]
    candidate_id: NDArray[np.str_]
    known: NDArray[np.str_]
    star: NDArray[np.str_]
    image: NDArray[np.int32]
    x: F8
    y: F8
    ra: F8
    dec: F8
    snr: F8
    score: F8
    numbers: Mapping[str, F8]
    decided: Decided

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False)
class AuditedFile:
    """A file with false positives.

    Parameters
    ----------
    rank : int
        1 has most.
    name, chip, night : str
    counted : Counted
    cause : str
        Member of `gueststar.realbogus.audit.decision.CAUSES`.
    confidence : float
        0 to 1; 0 for unknown.
    causes : tuple of (str, int)
        Causes of its false positives, most frequent first.
    proofs : tuple of Proof
        Numbers that speak for the cause.
    rows : ndarray of int
        Its false positives among those looked at, highest score first.
    reason : str
        Why it failed a quality gate; empty: it passed, or was not judged.
    """

    rank: int
    name: str
    chip: str
    night: str
    counted: Counted
    cause: str
    confidence: float
    causes: tuple[tuple[str, int], ...]
    proofs: tuple[Proof, ...]
    rows: NDArray[np.int64]
    reason: str


@dataclass(frozen=True, slots=True)
class Section:
    """A further section of the page: identifier, title, and HTML that is put in as it is."""

    name: str
    title: str
    html: str


@dataclass(frozen=True, slots=True, eq=False)
class Audited:
    """All that an audit found.

    Parameters
    ----------
    name, model : str
    threshold : float
        Score from which on a candidate counts as real; NaN where it differs between rows.
    n, n_real, n_called, n_false : int
        Candidates, reals by their label, called real, and false positives.
    files, chips, nights : sequence
        With false positives first.
    by_file : sequence of Counted
        All files.
    share_top, share_chance : float
        Share of all false positives in the first files, and what chance alone gives.
    top : int
    found : FalsePositives
    usual : mapping of str to Usual
    catalogue : str
    warnings : tuple of str
    sections : tuple of Section
    """

    name: str
    model: str
    threshold: float
    n: int
    n_real: int
    n_called: int
    n_false: int
    files: Sequence[AuditedFile]
    by_file: Sequence[Counted]
    chips: Sequence[Counted]
    nights: Sequence[Counted]
    share_top: float
    share_chance: float
    top: int
    found: FalsePositives
    usual: Mapping[str, Usual]
    catalogue: str
    warnings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = field(default=())
