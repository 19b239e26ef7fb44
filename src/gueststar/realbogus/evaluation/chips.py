"""Results by detector chip, laid out as the camera.

Tomo-e Gozen has four quadrants of 21 chips: rows of 6, 6, 5 and 4, named Q1-11 to Q4-44. Cameras with other names have
no layout here and get a table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency

from gueststar.realbogus.evaluation.strata import Stratum

__all__ = ["QUADRANTS", "ROWS", "ChipSummary", "chip_name", "quadrant_chips", "summarise_chips"]

QUADRANTS = ("Q1", "Q2", "Q3", "Q4")
ROWS = (6, 6, 5, 4)  #: chips of each row of a quadrant
_PATTERN = re.compile(r"Q?([1-4])[-_ ]?([1-4])[-_ ]?([1-6])")


@dataclass(frozen=True, slots=True)
class ChipSummary:
    """What the chips say together.

    Parameters
    ----------
    camera : bool
        Whether all names are those of the camera.
    missing : tuple of str
        Chips of the camera of which nothing can be said: no rows, or one class only.
    quadrant_auc, quadrant_fpr : dict of str to float
        Mean over the chips of each quadrant of the AUC, and of the false-positive rate at the chip's own threshold.
    mean_auc, mean_fpr : float
        Mean over all chips.
    worst : str
        Chip with the lowest completeness at the common threshold; empty without any.
    worst_tpr, median_tpr : float
    p_alike : float
        Chance that completenesses scatter so much or more when all chips are alike: Pearson's chi-square test of
        homogeneity. The worst of many chips is low by chance, too; NaN where it cannot be told.
    """

    camera: bool
    missing: tuple[str, ...]
    quadrant_auc: dict[str, float]
    quadrant_fpr: dict[str, float]
    mean_auc: float
    mean_fpr: float
    worst: str
    worst_tpr: float
    median_tpr: float
    p_alike: float


def chip_name(name: str) -> str:
    """The name of a chip as in 'Q1-11'; empty when it is none of the camera."""
    found = _PATTERN.fullmatch(name.strip())
    if found is None or int(found[3]) > ROWS[int(found[2]) - 1]:
        return ""
    return f"Q{found[1]}-{found[2]}{found[3]}"


def quadrant_chips(quadrant: str) -> tuple[tuple[str, ...], ...]:
    """Names of the chips of a quadrant, row by row."""
    return tuple(
        tuple(f"{quadrant}-{row}{column}" for column in range(1, n + 1)) for row, n in enumerate(ROWS, start=1)
    )


def summarise_chips(chips: Sequence[Stratum]) -> ChipSummary:
    """Means, gaps and scatter of the chips.

    Parameters
    ----------
    chips : sequence of Stratum
        One for each chip, see `gueststar.realbogus.evaluation.strata.class_strata`.
    """
    camera = bool(chips) and all(chip_name(chip.name) for chip in chips)
    known = {chip_name(chip.name) if camera else chip.name: chip for chip in chips}
    judged = {name: chip for name, chip in known.items() if math.isfinite(chip.auc)}
    every = [name for quadrant in QUADRANTS for row in quadrant_chips(quadrant) for name in row] if camera else []
    by_quadrant = {q: [c for name, c in judged.items() if name.startswith(q)] for q in QUADRANTS} if camera else {}
    complete = [(name, chip.tpr) for name, chip in known.items() if chip.n_real]
    worst, worst_rate = min(complete, key=lambda item: item[1].value) if complete else ("", None)
    return ChipSummary(
        camera=camera,
        missing=tuple(name for name in every if name not in judged),
        quadrant_auc={q: _mean([c.auc for c in members]) for q, members in by_quadrant.items()},
        quadrant_fpr={q: _mean([c.fpr_own.value for c in members]) for q, members in by_quadrant.items()},
        mean_auc=_mean([chip.auc for chip in judged.values()]),
        mean_fpr=_mean([chip.fpr_own.value for chip in judged.values()]),
        worst=worst,
        worst_tpr=worst_rate.value if worst_rate is not None else math.nan,
        median_tpr=float(np.median([rate.value for _, rate in complete])) if complete else math.nan,
        p_alike=_chance_alike([(rate.hits, rate.trials) for _, rate in complete]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _chance_alike(counts: Sequence[tuple[int, int]]) -> float:
    table = np.array([[hits, trials - hits] for hits, trials in counts])
    if len(table) < 2 or not table.sum(axis=0).all():
        return math.nan
    return float(chi2_contingency(table, correction=False).pvalue)
