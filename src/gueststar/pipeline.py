"""The stages in order, from two images to scored candidates; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.ingest.prepare import measure_image
from gueststar.quality import Quality, QualityReport
from gueststar.realbogus.chips.names import CHIP_COLUMN
from gueststar.realbogus.score import RealBogus
from gueststar.stamps import CutStamps
from gueststar.subtract.kernel import Kernel
from gueststar.types import Candidates, Difference, Fact, Image, Stamps

__all__ = ["PairResult", "process_pair"]

Observe = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, eq=False)
class PairResult:
    """What became of a pair: the science image, the reference on its grid, their difference, candidates and stamps.

    `quality` tells whether the image may be believed; the candidates of one that may not have its reason in the column
    ``reject_reason``.
    """

    science: Image
    reference: Image
    difference: Difference
    candidates: Candidates
    stamps: Stamps
    quality: QualityReport
    facts: Mapping[str, Fact]


def process_pair(
    science: Image,
    reference: Image,
    *,
    align: Callable[[Image, Image], Image] | None = None,
    subtract: Callable[[Image, Image], Difference] | None = None,
    detect: Callable[[Difference, Image, Image], Candidates] | None = None,
    cut: Callable[[Candidates, Image, Image, Difference], Stamps] | None = None,
    classify: Callable[[Candidates, Stamps], Candidates] | None = None,
    quality: Callable[[Image, Image, Difference, Candidates], QualityReport] | None = None,
    observe: Observe | None = None,
) -> PairResult:
    """Register, subtract, detect and classify.

    Every stage is a callable from core types to core types; None takes the default one.

    Parameters
    ----------
    science, reference : Image
        PSF and stars are measured where they are missing.
    align, subtract, detect, cut, classify, quality : callable, optional
        `Align()`, `Kernel()`, `Detect()`, `CutStamps()`, `RealBogus()`, `Quality()`.
    observe : callable, optional
        Called with each stage's name; the context manager it returns is entered around the stage.

    Returns
    -------
    PairResult

    Raises
    ------
    GueststarError
        `PixelError`, `AlignmentError`, `SubtractionError`, `ModelError`: see each stage.

    Examples
    --------
    >>> result = process_pair(science, reference)  # doctest: +SKIP
    >>> result.candidates.table["x", "y", "snr", "rb_score"]  # doctest: +SKIP
    """
    watch = observe or (lambda stage: nullcontext())
    with watch("measure"):
        science, reference = measure_image(science), measure_image(reference)
    with watch("align"):
        aligned = (align or Align())(science, reference)
    with watch("subtract"):
        difference = (subtract or Kernel())(science, aligned)
    with watch("detect"):
        candidates = (detect or Detect())(difference, science, aligned)
    with watch("stamps"):
        stamps = (cut or CutStamps())(candidates, science, aligned, difference)
    if CHIP_COLUMN not in candidates.table.colnames:
        candidates = candidates.with_columns(**{CHIP_COLUMN: np.full(len(candidates), science.chip)})
    with watch("classify"):
        candidates = (classify or RealBogus())(candidates, stamps)
    with watch("quality"):
        report = (quality or Quality())(science, aligned, difference, candidates)
        candidates = candidates.with_columns(reject_reason=np.full(len(candidates), ", ".join(report.causes)))
    facts = {**_prefixed("reference_", reference.facts), **science.facts}
    facts |= {key: value for key, value in aligned.facts.items() if key.startswith("align_")}
    facts |= {**difference.facts, **report.numbers, "n_candidates": len(candidates)}
    if "false_alarms_expected" in candidates.table.meta:
        facts["false_alarms_expected"] = float(candidates.table.meta["false_alarms_expected"])
    return PairResult(science, aligned, difference, candidates, stamps, report, facts)


def _prefixed(prefix: str, facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {key if key.startswith(prefix) else prefix + key: value for key, value in facts.items()}
