"""Why a candidate may have been misjudged, as far as its measured numbers tell.

The founding slides named the causes of false positives by looking: misalignment, abnormal PSF shape, crowded field, the
network's own error. These rules say the same from columns that every candidate has. They are hints for a person who
looks at the stamps, no verdicts: the first that fits is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.types import Mask

__all__ = ["CAUSE_COLUMNS", "CAUSE_WORDS", "likely_causes"]

#: Causes in the order in which they are tried, with the rule.
CAUSE_WORDS: dict[str, str] = {
    "real by the truth": "the truth says that something real is there: the label is wrong, not the model",
    "bright star": "on a bright star or its halo, or on saturated pixels",
    "bad pixels": "more than a tenth of the pixels within 1 FWHM are flagged",
    "misalignment": "two lobes of opposite sign, the second over 0.3 of the first, chi-square gain over 25",
    "PSF shape": "width under 0.7 or over 1.4 of the PSF's, or axis ratio over 1.6",
    "crowded field": "the difference scatters by more than 1.3 of its noise around it, or a source lies within 3 px",
    "near the limit": "|S/N| below 7",
    "none of these": "nothing that was measured explains it: the model's own error, or a wrong label",
}
#: Columns that the rules read; a rule whose columns are missing does not fit.
CAUSE_COLUMNS: tuple[str, ...] = (
    "mask_flags", "mask_fraction", "dipole_ratio", "dipole_dchi2", "fwhm", "psf_fwhm", "elongation", "local_scatter",
    "star_distance", "snr",
)  # fmt: skip
_STAR = int(Mask.BRIGHT_STAR | Mask.SATURATED)


def likely_causes(
    n: int,
    columns: Mapping[str, NDArray[Any]],
    *,
    real_by_truth: NDArray[np.bool_] | None = None,
    missed: bool = False,
) -> NDArray[np.str_]:
    """Name a likely cause of each row.

    Parameters
    ----------
    n : int
        Rows.
    columns : mapping of str to ndarray, shape (n,) each
        Any of `CAUSE_COLUMNS`.
    real_by_truth : ndarray of bool, shape (n,), optional
        Artifacts of which a truth says that they are real.
    missed : bool
        The rows are reals that were missed: a label that the truth confirms explains nothing.

    Returns
    -------
    ndarray of str, shape (n,)
        Keys of `CAUSE_WORDS`.
    """
    found = np.full(n, "none of these", "U20")
    number = {name: np.asarray(columns[name], np.float64) for name in columns if name != "mask_flags"}

    def beyond(name: str, low: float, high: float = np.inf) -> NDArray[np.bool_]:
        return (number[name] < low) | (number[name] > high) if name in number else np.zeros(n, bool)

    def over(name: str, limit: float) -> NDArray[np.bool_]:
        return beyond(name, -np.inf, limit)

    flags = np.asarray(columns.get("mask_flags", np.zeros(n)), np.int64)
    width = np.ones(n)
    if {"fwhm", "psf_fwhm"} <= set(number):
        # A width that could not be measured says nothing.
        known = (number["fwhm"] > 0) & (number["psf_fwhm"] > 0)
        width = np.divide(number["fwhm"], number["psf_fwhm"], out=np.ones(n), where=known)
    rules: Sequence[tuple[str, NDArray[np.bool_]]] = (
        ("real by the truth", np.zeros(n, bool) if real_by_truth is None or missed else real_by_truth),
        ("bright star", (flags & _STAR) != 0),
        ("bad pixels", over("mask_fraction", 0.1)),
        ("misalignment", over("dipole_ratio", 0.3) & over("dipole_dchi2", 25.0)),
        ("PSF shape", (width < 0.7) | (width > 1.4) | over("elongation", 1.6)),
        ("crowded field", over("local_scatter", 1.3) | (beyond("star_distance", 3.0) & over("star_distance", 0.0))),
        ("near the limit", np.abs(number["snr"]) < 7.0 if "snr" in number else np.zeros(n, bool)),
    )
    for name, fits in reversed(rules):
        found[fits] = name
    return found
