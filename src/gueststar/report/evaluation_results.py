"""All measures of an evaluation, from rows and scores; no file is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import ConfigError
from gueststar.options import Options
from gueststar.realbogus.evaluate import OperatingPoint, Threshold, auc, auc_error, operating_point, threshold_at_tpr
from gueststar.realbogus.evaluation.calibration_curve import CalibrationCurve, calibration_curve
from gueststar.realbogus.evaluation.causes import CAUSE_COLUMNS, likely_causes
from gueststar.realbogus.evaluation.chips import ChipSummary, summarise_chips
from gueststar.realbogus.evaluation.compare import Difference, Replicas, differences, resample
from gueststar.realbogus.evaluation.curves import Curve, Night, NightPoint, night_point, operating_points, sampled_curve
from gueststar.realbogus.evaluation.drawn_images import Drawn, draw_threshold
from gueststar.realbogus.evaluation.galleries import FalsePositives, false_positives_by_file, worst_false_negatives
from gueststar.realbogus.evaluation.label_sets import LabelSets, compare_label_sets
from gueststar.realbogus.evaluation.ranking import Rank, recall_at_rank, recall_in_night
from gueststar.realbogus.evaluation.strata import (
    BINNED,
    SNR_BINS,
    SNR_CUTS,
    Judged,
    Stratum,
    binned_strata,
    class_strata,
    snr_strata,
)
from gueststar.report.evaluation_models import Contender, threshold_text
from gueststar.report.evaluation_sample import EvaluatedRows

__all__ = ["CLASSES", "EvaluateOptions", "ModelResults", "Results", "measure"]

#: Text columns by which rows are told apart where a set has them, with their words.
CLASSES: dict[str, str] = {
    "kind": "kind",
    "true_kind": "what it is by the truth",
    "placement": "where an artificial real was put",
    "night": "night",
    "field": "field",
    "band": "filter",
    "chain": "chain",
    "source": "source",
    "suspicion": "doubt about the label",
}
Progress = Callable[[str, int, int], None]


class EvaluateOptions(Options):
    """How an evaluation is made."""

    per_night: int = Field(20_000, ge=1, le=10**9, description="Artifacts of a night")
    reals_per_night: float = Field(5.0, gt=0, le=1e6, description="Reals of a night")
    completeness: float = Field(0.98, gt=0, lt=1, description="At which parts of the sample are compared")
    threshold: float | None = Field(None, ge=0, le=1, description="Common threshold; None: that of each model")
    group_by: str = Field("", description="Column that tells images apart; empty: the first of those that are usual")
    labels_column: str = Field("", description="Column with a second set of labels; empty: none")
    label_version: str = Field("", description="Version of the labels as a second set of labels; empty: none")
    draws: int = Field(500, ge=50, le=100_000, description="Draws of images for the intervals of differences")
    bins: int = Field(15, ge=2, le=1000, description="Bins of the calibration curve")
    top_files: int = Field(20, ge=1, le=1000, description="Images with the most false positives that are shown")
    most_stamps: int = Field(3000, ge=0, le=100_000, description="Most stamps of false positives in the page")
    false_negatives: int = Field(60, ge=0, le=10_000, description="Missed reals that are shown")
    figures: bool = Field(True, description="Draw figures; the page and the tables are made without them, too")
    seed: int = Field(0, ge=0, lt=2**63, description="Of all that is drawn")

    @property
    def night(self) -> Night:
        """What a night holds."""
        return Night(self.per_night, self.reals_per_night)


@dataclass(frozen=True, slots=True, eq=False)
class ModelResults:
    """What was measured of one model; what needs both classes is empty or None without them.

    Parameters
    ----------
    name : str
    threshold : float or ndarray, shape (n,)
        The common one: of the options, of the model, or, where neither is known, of the completeness asked for. Of a
        set of models that of each row.
    threshold_words : str
    at_threshold : OperatingPoint
    auc, auc_err : float
    points : tuple of NightPoint
        The first is that of the common threshold.
    curve : Curve or None
    cuts, intervals : tuple of Stratum
        By S/N as in the slides, and in intervals.
    chips : tuple of Stratum
    chip_summary : ChipSummary or None
    strata : dict of str to tuple of Stratum
        Words to the parts.
    calibration, balanced : CalibrationCurve or None
        As sampled, and with classes of equal weight.
    ranks, night_ranks : tuple of Rank
    """

    name: str
    threshold: Threshold
    threshold_words: str
    at_threshold: OperatingPoint
    auc: float
    auc_err: float
    points: tuple[NightPoint, ...]
    curve: Curve | None
    cuts: tuple[Stratum, ...]
    intervals: tuple[Stratum, ...]
    chips: tuple[Stratum, ...]
    chip_summary: ChipSummary | None
    strata: dict[str, tuple[Stratum, ...]]
    calibration: CalibrationCurve | None
    balanced: CalibrationCurve | None
    ranks: tuple[Rank, ...]
    night_ranks: tuple[Rank, ...]

    @property
    def threshold_text(self) -> str:
        """The common threshold in words, three digits."""
        return threshold_text(self.threshold)

    def point(self, name: str) -> NightPoint:
        """One operating point by name, such as 'TPR 0.98'."""
        return next(item for item in self.points if item.point.name == name)


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What was measured; the first model is the one that is looked at closely.

    Parameters
    ----------
    models : tuple of ModelResults
    auc_snr : float
        Of |S/N| alone.
    snr_curve : Curve or None
    replicas : Replicas or None
    drawn_threshold : tuple of mapping of str to Drawn
        Of each model the shares that its threshold calls real, by drawing images; empty where none can be drawn.
    differences : tuple of Difference
    label_sets : tuple of LabelSets
    label_names : (str, str)
    false_positives : FalsePositives or None
    fp_rows, fn_rows : ndarray of int
        Row numbers among the evaluated ones; of the missed reals all, lowest score first.
    fp_causes, fn_causes : ndarray of str
    """

    models: tuple[ModelResults, ...]
    auc_snr: float
    snr_curve: Curve | None
    replicas: Replicas | None
    drawn_threshold: tuple[Mapping[str, Drawn], ...]
    differences: tuple[Difference, ...]
    label_sets: tuple[LabelSets, ...]
    false_positives: FalsePositives | None
    fp_rows: NDArray[np.int64]
    fn_rows: NDArray[np.int64]
    fp_causes: NDArray[np.str_]
    fn_causes: NDArray[np.str_]
    notes: tuple[str, ...] = field(default=())


def measure(
    chosen: EvaluatedRows,
    contenders: Sequence[Contender],
    options: EvaluateOptions | None = None,
    *,
    second_labels: NDArray[np.int8] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure everything.

    Parameters
    ----------
    chosen : EvaluatedRows
    contenders : sequence of Contender
        The first is looked at closely.
    options : EvaluateOptions, optional
    second_labels : ndarray of int8, shape (number of rows of the set,), optional
        Second labels of all rows of the set.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'measure' and 'draw'.

    Raises
    ------
    ConfigError
        When there is no model.
    """
    options = options or EvaluateOptions()
    if not contenders:
        raise ConfigError("no model and no table of scores was given", key="model")
    models = []
    for number, contender in enumerate(contenders):
        models.append(_model(chosen, contender, options))
        if progress is not None:
            progress("measure", number + 1, len(contenders))
    both = bool(chosen.real.any() and not chosen.real.all())
    finite = np.isfinite(chosen.snr)
    part, strength = chosen.real[finite], chosen.snr[finite]
    curve = sampled_curve(part, strength) if part.any() and not part.all() else None
    replicas = _replicas(chosen, contenders, options, progress) if both else None
    misses = _misses(chosen, contenders[0].scores.astype(np.float64), models[0].threshold, options)
    return Results(
        models=tuple(models),
        auc_snr=auc(part, strength),
        snr_curve=curve,
        replicas=replicas,
        drawn_threshold=_drawn_threshold(chosen, contenders, models, options),
        differences=differences(replicas) if replicas is not None and len(contenders) > 1 else (),
        label_sets=_label_sets(chosen, contenders, options, second_labels),
        **misses,
    )


def _model(chosen: EvaluatedRows, contender: Contender, options: EvaluateOptions) -> ModelResults:
    real, scores = chosen.real, contender.scores.astype(np.float64)
    both = bool(real.any() and not real.all())
    threshold, words = _threshold(real, scores, contender, options)
    at = operating_point("card", real, scores, threshold)
    points = operating_points(real, scores, threshold=threshold) if both else (at,)
    judged, wanted = Judged(real, scores, threshold), options.completeness
    chips = class_strata(judged, "chip", *chosen.text("chip"), wanted=wanted) if chosen.has("chip") else ()
    chips = tuple(chip for chip in chips if chip.name != "none")
    return ModelResults(
        name=contender.name,
        threshold=threshold,
        threshold_words=words,
        at_threshold=at,
        auc=auc(real, scores),
        auc_err=auc_error(real, scores),
        points=tuple(night_point(point, options.night) for point in points),
        curve=sampled_curve(real, scores) if both else None,
        cuts=snr_strata(judged, chosen.snr, SNR_CUTS, wanted=wanted),
        intervals=snr_strata(judged, chosen.snr, SNR_BINS, wanted=wanted),
        chips=chips,
        chip_summary=summarise_chips(chips) if chips else None,
        strata=_strata(chosen, judged, wanted),
        calibration=calibration_curve(real, scores, bins=options.bins) if both else None,
        balanced=calibration_curve(real, scores, bins=options.bins, prior=0.5) if both else None,
        ranks=recall_at_rank(real, scores) if both else (),
        night_ranks=recall_in_night(real, scores, options.night) if both else (),
    )


def _threshold(
    real: NDArray[np.bool_], scores: NDArray[np.float64], contender: Contender, options: EvaluateOptions
) -> tuple[Threshold, str]:
    if options.threshold is not None:
        return float(np.float32(options.threshold)), "given"
    if np.isfinite(contender.threshold).all():
        return contender.threshold, contender.threshold_meaning or "of the model"
    if not real.any():
        raise ConfigError(
            f"{contender.name} has no threshold and the sample no reals; give --threshold", key="threshold"
        )
    words = f"{100 * options.completeness:g} % of the reals of this sample score at or above it; none was given"
    return threshold_at_tpr(real, scores, options.completeness), words


def _strata(chosen: EvaluatedRows, judged: Judged, wanted: float) -> dict[str, tuple[Stratum, ...]]:
    """Parts by every column that is there and tells at least two of them apart."""
    found = {}
    for column, words in CLASSES.items():
        if chosen.has(column):
            parts = class_strata(judged, words, *chosen.text(column), wanted=wanted)
            # As many parts as rows say nothing.
            if 1 < len(parts) <= max(len(chosen) // 5, 2):
                found[column] = parts
    for column, (words, limits) in BINNED.items():
        if chosen.has(column):
            parts = binned_strata(judged, words, chosen.number(column), limits, wanted=wanted)
            if len(parts) > 1:
                found[column] = parts
    return found


def _replicas(
    chosen: EvaluatedRows, contenders: Sequence[Contender], options: EvaluateOptions, progress: Progress | None
) -> Replicas | None:
    if np.unique(chosen.image).size < 2:
        return None
    return resample(
        chosen.real, [item.scores for item in contenders], chosen.image, models=[item.name for item in contenders],
        rng=np.random.default_rng(options.seed), draws=options.draws,
        progress=None if progress is None else lambda done, total: progress("draw", done, total),
    )  # fmt: skip


def _drawn_threshold(
    chosen: EvaluatedRows,
    contenders: Sequence[Contender],
    models: Sequence[ModelResults],
    options: EvaluateOptions,
) -> tuple[Mapping[str, Drawn], ...]:
    """What each model's threshold keeps, on draws of whole images."""
    names, image = np.unique(chosen.image, return_inverse=True)
    if names.size < 2:
        return ()
    # The same draws for every model.
    return tuple(
        draw_threshold(
            chosen.real, item.scores.astype(np.float64) >= model.threshold, image,
            rng=np.random.default_rng(options.seed), draws=options.draws,
        )
        for item, model in zip(contenders, models, strict=True)
    )  # fmt: skip


def _label_sets(
    chosen: EvaluatedRows,
    contenders: Sequence[Contender],
    options: EvaluateOptions,
    second: NDArray[np.int8] | None,
) -> tuple[LabelSets, ...]:
    if second is None:
        return ()
    first, name = chosen.real.astype(np.int8), options.labels_column or options.label_version
    return tuple(
        compare_label_sets(
            first, second[chosen.rows], item.scores, model=item.name, names=("label", name),
            threshold=item.threshold if np.isfinite(item.threshold).all() else None,
        )
        for item in contenders
    )  # fmt: skip


def _misses(
    chosen: EvaluatedRows, scores: NDArray[np.float64], threshold: Threshold, options: EvaluateOptions
) -> dict[str, Any]:
    """False positives and false negatives of the first model."""
    fp_rows = np.flatnonzero(~chosen.real & (scores >= threshold))
    fn_rows = worst_false_negatives(chosen.real, scores, threshold, most=len(chosen))
    fp_causes = _causes(chosen, fp_rows, missed=False)
    found = None
    if (~chosen.real).any():
        found = false_positives_by_file(
            chosen.real, scores, threshold, chosen.image, chosen.image_names, causes=fp_causes,
            rng=np.random.default_rng(options.seed), top=options.top_files,
        )  # fmt: skip
    return {
        "false_positives": found, "fp_rows": fp_rows, "fn_rows": fn_rows, "fp_causes": fp_causes,
        "fn_causes": _causes(chosen, fn_rows, missed=True),
    }  # fmt: skip


def _causes(chosen: EvaluatedRows, rows: NDArray[np.int64], *, missed: bool) -> NDArray[np.str_]:
    if not rows.size:
        return np.empty(0, "U20")
    columns: Mapping[str, NDArray[Any]] = {
        name: np.asarray(chosen.data[name][chosen.rows[rows]]) for name in CAUSE_COLUMNS if chosen.has(name)
    }
    truth = None
    if chosen.has("true_kind"):
        from gueststar.simulate.causes import REAL_KINDS

        codes, names = chosen.text("true_kind")
        truth = np.array([name in REAL_KINDS for name in names], bool)[codes[rows]]
    return likely_causes(rows.size, columns, real_by_truth=truth, missed=missed)
