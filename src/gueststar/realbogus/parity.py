"""A quantised model beside the one it was made from: a gate, and the card of the new one.

On rows that nothing was chosen on, both are compared. The quantised one is refused when the area under its ROC curve
differs by 5e-4 or more, when the score of one row in a hundred changes by more than 0.1, or when the false positives at
a completeness of 98 % are more and the interval of 95 % of the difference, by a bootstrap over images, is clear of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ModelError
from gueststar.realbogus.calibrate import CalibrationError, chance, fit_calibration, population_weights
from gueststar.realbogus.card import Card, weights_hash
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.evaluate import auc, threshold_at_tpr
from gueststar.realbogus.loaded import LoadedModel, open_model
from gueststar.realbogus.package import COMPLETENESS
from gueststar.realbogus.quantize import calibration_batches, quantized
from gueststar.realbogus.recalibrate import Judged, dataset_parts, error_at, next_version, rows_for

__all__ = ["Parity", "Quantized", "compare", "quantize_model"]

_AUC, _SHIFT, _WRONG = 5e-4, 0.1, "the quantised model is not as good: {}; it is not written"


@dataclass(frozen=True, slots=True)
class Parity:
    """How a quantised model differs.

    Parameters
    ----------
    auc_change : float
        Of the area under the ROC curve.
    median_change, p99_change, largest_change : float
        Of the scores, absolute.
    fpr_before, fpr_after, fpr_change, fpr_low, fpr_high : float
        False positives at a completeness of 98 %, their change and its interval of 95 %.
    rows, images : int
        That it was measured on.
    """

    auc_change: float
    median_change: float
    p99_change: float
    largest_change: float
    fpr_before: float
    fpr_after: float
    fpr_change: float
    fpr_low: float
    fpr_high: float
    rows: int
    images: int

    def faults(self) -> list[str]:
        """What is against the new model, in words; empty when nothing is."""
        found = []
        if not abs(self.auc_change) < _AUC:
            found.append(f"the AUC changes by {self.auc_change:+.2g}, allowed are {_AUC:g}")
        if not self.p99_change <= _SHIFT:
            found.append(f"one score of a hundred changes by more than {self.p99_change:.3f}, allowed is {_SHIFT:g}")
        if not self.fpr_low <= 0.0:
            found.append(
                f"the false positives at a completeness of {100 * COMPLETENESS:g} % rise by "
                f"{100 * self.fpr_change:.2f} points (95 %: {100 * self.fpr_low:.2f} to {100 * self.fpr_high:.2f})"
            )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """The new model, how it differs from the old one, and its calibration error at a prior of 0.5."""

    card: Card
    weights: bytes
    parity: Parity
    error: CalibrationError


def compare(
    judged: Judged, before: NDArray[np.floating], after: NDArray[np.floating], *, seed: int = 0, n_boot: int = 500
) -> Parity:
    """Compare scores of two models of the same rows.

    Parameters
    ----------
    judged : Judged
        Of either.
    before, after : ndarray, shape (n,)
        Calibrated scores.
    """
    real, rng = judged.real, np.random.default_rng(seed)
    change = np.abs(np.asarray(after, np.float64) - before)
    rates = _fpr_at(real, before), _fpr_at(real, after)
    names, image = np.unique(judged.images, return_inverse=True)
    rows_of = np.split(np.argsort(image, kind="stable"), np.cumsum(np.bincount(image))[:-1])
    drawn = []
    for _ in range(n_boot):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, names.size, names.size)])
        if real[rows].any() and not real[rows].all():
            drawn.append(_fpr_at(real[rows], after[rows]) - _fpr_at(real[rows], before[rows]))
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (np.nan, np.nan)
    return Parity(
        auc_change=auc(real, after) - auc(real, before),
        median_change=float(np.median(change)),
        p99_change=float(np.quantile(change, 0.99)),
        largest_change=float(change.max()),
        fpr_before=rates[0],
        fpr_after=rates[1],
        fpr_change=rates[1] - rates[0],
        fpr_low=float(low),
        fpr_high=float(high),
        rows=int(real.size),
        images=int(names.size),
    )


def quantize_model(
    model: LoadedModel,
    weights: bytes,
    dataset: LabelledStamps,
    *,
    part: str = "validation",
    check: str | None = None,
    stamps: int = 512,
    version: str | None = None,
    seed: int = 0,
    make: Callable[..., bytes] = quantized,
) -> Quantized:
    """Quantise a model, calibrate it anew, and compare it with the old one.

    Parameters
    ----------
    model : LoadedModel
    weights : bytes
        Its ONNX file.
    dataset : LabelledStamps
        Ranges come from its training part (from the rows that are fitted on, where it has none), calibration and
        threshold from `part`, the comparison from `check`; see `gueststar.realbogus.recalibrate.rows_for`.
    part, check : str
    stamps : int
        How many the ranges are taken from.
    version : str, optional
    seed : int
    make : callable
        What makes eight bits of weights and batches.

    Raises
    ------
    ModelError
        When the new model is not as good, with the numbers; or there is nothing to quantise.
    InputError
        When parts are missing or were trained on.
    """
    old = model.card
    fit_rows, check_rows, how = rows_for(dataset, old, part=part, check=check, seed=seed)
    train = np.setdiff1d(dataset_parts(dataset)["train"], check_rows)
    source = train if train.size else fit_rows
    rows = np.sort(np.random.default_rng(seed).permutation(source)[:stamps])
    made = make(weights, calibration_batches(dataset, old, rows=rows), name=old.name)
    first = old.model_copy(update={"weights_hash": weights_hash(made), "trainable_hash": "", "check_scores": ()})
    new = open_model(first, made)
    population = str(old.calibration.get("population", "snr"))
    fitted, judged = Judged.of(new, dataset, fit_rows), Judged.of(new, dataset, check_rows)
    known, other = Judged.of(model, dataset, fit_rows), Judged.of(model, dataset, check_rows)
    fit = fit_calibration(
        fitted.real, fitted.logits, population_weights(fitted.real.astype(np.int8), fitted.snr, population)
    )

    def scores(rows: Judged, card: Card) -> NDArray[np.float64]:
        return chance(rows.logits, temperature=card.temperature, bias=card.bias, prior=card.prior)

    # The old one, calibrated on the same rows: its own calibration may be of other data.
    again = fit_calibration(
        known.real, known.logits, population_weights(known.real.astype(np.int8), known.snr, population)
    )
    before = chance(other.logits, temperature=again.temperature, bias=again.bias)
    after = chance(judged.logits, temperature=fit.temperature, bias=fit.bias)
    parity = compare(judged, before, after, seed=seed)
    faults = parity.faults()
    if faults:
        raise ModelError(_WRONG.format("; ".join(faults)), **asdict(parity))
    first = first.model_copy(update={"temperature": fit.temperature, "bias": fit.bias})
    kept = float((scores(known, old)[known.real] >= old.threshold).mean())
    threshold = threshold_at_tpr(fitted.real, scores(fitted, first).astype(np.float32), kept)
    error = error_at(judged, population, fit.temperature, fit.bias, 0.5, seed=seed)
    card = first.model_copy(
        update={
            "version": version or next_version(old.version, "int8."),
            "threshold": threshold,
            "threshold_meaning": f"keeps as many reals as version {old.version} does, {100 * kept:.2f} % of the {how}",
            "calibration": {
                "population": population,
                "fitted": how,
                "data_hash": dataset.content_hash(),
                "from_version": old.version,
                **asdict(fit),
                "error_after": error.as_dict(),
            },
            "metrics": {
                f"of version {old.version}, before quantisation": old.metrics,
                "quantisation": {
                    "of": old.weights_hash,
                    "parts": how,
                    "stamps": int(rows.size),
                    **asdict(parity),
                },
            },
        }
    )
    card = card.model_copy(update={"check_scores": check_scores(LoadedModel(card, new.session))})
    return Quantized(card, made, parity, error)


def _fpr_at(real: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Rate of false positives at the completeness of a new model."""
    return float((scores[~real] >= threshold_at_tpr(real, scores, COMPLETENESS)).mean())
