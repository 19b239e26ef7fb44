"""The measured numbers of an explanation, in words and against those of the training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gueststar.realbogus.explain.explanation import Explanation
from gueststar.realbogus.explain.standard import Standard

__all__ = ["NumberRow", "number_rows", "number_text"]

_UNKNOWN = (float("nan"), float("nan"), float("nan"), float("nan"))
_POSITIVE = ("dipole_separation", "dipole_ratio", "dipole_dchi2", "mask_fraction")  # numbers that are never below 0
_WORDS = {
    "snr": "S/N", "snr_aper/snr": "S/N in 1 FWHM / S/N", "fwhm": "FWHM (px)", "elongation": "elongation a/b",
    "dipole_separation": "dipole: separation (px)", "dipole_ratio": "dipole: flux ratio of lobes",
    "dipole_dchi2": "dipole: chi-square gained", "science_snr": "S/N in the science image",
    "reference_snr": "S/N in the reference", "mask_fraction": "flagged pixels, share",
    "fwhm/psf_fwhm": "FWHM / FWHM of the PSF", "psf_chi2": "chi-square of the PSF fit",
    "snr_beyond_shift": "S/N beyond a shifted star",
    "snr_beyond_share": "S/N beyond its neighbours", "local_scatter": "local scatter",
}  # fmt: skip
_OTHERS = ("fwhm/psf_fwhm", "psf_chi2", "snr_beyond_shift", "snr_beyond_share", "local_scatter")


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A measured number: its words, value, range of mean ± scatter in training, deviation from it, contribution.

    What is not known is NaN; `seen` tells whether the model is shown it.
    """

    words: str
    value: float
    low: float
    high: float
    deviation: float
    contribution: float
    seen: bool


def number_rows(
    explanation: Explanation, standard: Standard | None, columns: dict[str, float] | None = None
) -> list[NumberRow]:
    """Rows of the measured numbers, those that the model is shown first.

    Parameters
    ----------
    explanation : Explanation
    standard : Standard, optional
        What they were in training.
    columns : dict, optional
        Other measured numbers of the candidate.
    """
    names, m = explanation.candidate.names, len(explanation.candidate.names)
    unknown = np.full(m, np.nan)
    order = explanation.candidate.number_order
    low, high = (
        (unknown, unknown) if standard is None else (standard.typical(-1.0)[order], standard.typical(1.0)[order])
    )
    parts = explanation.ablation.numbers if explanation.gradients is None else explanation.gradients.numbers
    rows = [
        NumberRow(
            _WORDS.get(name, name), float(explanation.candidate.scalars[i]),
            max(float(low[i]), 0.0) if name in _POSITIVE else float(low[i]), float(high[i]),
            float(explanation.deviations[i]), float(parts[i]), seen=True,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    given = columns or {}
    for name in _OTHERS:
        above, _, below = name.partition("/")
        if name in names or above not in given or (below and not given.get(below, 0) > 0):
            continue
        value = given[above] / (given[below] if below else 1.0)
        rows.append(NumberRow(_WORDS[name], value, *_UNKNOWN, seen=False))
    return rows


def number_text(value: float) -> str:
    """Three digits; a dash for no number."""
    return f"{value:.3g}".replace("-", "−") if np.isfinite(value) else "–"
