"""From a trained network to a model: weights, threshold, card, and how good it is on rows it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.errors import InputError
from gueststar.realbogus.calibrate import (
    POPULATIONS,
    CalibrationError,
    Fit,
    calibration_error,
    chance,
    fit_calibration,
    population_weights,
    score_meaning,
)
from gueststar.realbogus.card import Card, CardScalar, weights_hash
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.chips.names import dataset_chips
from gueststar.realbogus.context import context_caveats
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.evaluate import SNR_STRATA, Evaluation, evaluate, threshold_at_tpr
from gueststar.realbogus.evaluation.drawn_images import draw_images
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.lineage import training_groups, training_span
from gueststar.realbogus.loaded import LoadedModel, Views, model_of_chip, open_model
from gueststar.realbogus.network import StampNet, count_parameters
from gueststar.realbogus.preprocess import SEEN_PLANES
from gueststar.realbogus.score import score_stamps, stamp_logits
from gueststar.realbogus.split import GROUP_COLUMNS, IMAGE_COLUMNS, Split
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Trained

__all__ = [
    "COMPLETENESS",
    "LOOKED_AT_ONCE",
    "describe_model",
    "error_of",
    "images_of",
    "judge",
    "logits_dataset",
    "looking_again",
    "score_dataset",
    "thresholds_of_rows",
]

COMPLETENESS = 0.98  #: share of the validation reals that the threshold of a new model keeps
LOOKED_AT_ONCE = 0.01  #: share of the validation reals that a new model of several views takes one look at


def describe_model(
    trained: Trained,
    dataset: LabelledStamps,
    split: Split,
    *,
    options: Train,
    name: str,
    version: str,
    caveats: Sequence[str] = (),
) -> tuple[Card, bytes]:
    """Card, still without metrics, and weights of a trained network.

    Parameters
    ----------
    trained : Trained
    dataset, split
        What it was trained on; the threshold comes from the validation part.
    options : Train
        How it was trained.
    name, version : str
    caveats : sequence of str
        What the model is not good for.
    """
    weights = onnx_bytes(trained.network)
    fit = _calibration(trained.validation_logits, dataset, split, options)
    scalars = trained.network.preprocess.scalars
    card = Card(
        name=name,
        version=version,
        weights_hash=weights_hash(weights),
        stamp_size=trained.network.preprocess.size,
        normalisation=trained.network.normalisation + _hidden(trained.network),
        scalars=tuple(CardScalar(**asdict(item)) for item in scalars),
        chips=tuple(getattr(trained.network, "chips", ())),
        score_meaning=score_meaning(options.balance),
        temperature=fit.temperature,
        bias=fit.bias,
        calibration={"population": options.balance, "fitted": "validation part", **asdict(fit)},
        threshold=_threshold(trained.validation_logits, dataset, split, fit),
        threshold_meaning=f"{100 * COMPLETENESS:g} % of the reals of the validation part score at or above it",
        parameters=count_parameters(trained.network),
        training_data=_data_facts(dataset, split),
        training={
            "options": options.model_dump(mode="json"),
            "best_epoch": trained.best_epoch,
            "stopped": trained.stopped,
            **({"pieces_of_a_step": trained.pieces} if trained.pieces > 1 else {}),
            "history": [asdict(epoch) for epoch in trained.history],
            "label_noise": dict(trained.label_noise),
        },
        code_version=__version__,
        metrics={},
        caveats=(*caveats, *context_caveats(scalars)),
    )
    if options.views > 1:
        card = _with_views(card, weights, trained.validation_logits, dataset, split, options)
    return card.model_copy(update={"check_scores": check_scores(open_model(card, weights))}), weights


def _with_views(
    card: Card, weights: bytes, first: NDArray[np.float32], dataset: LabelledStamps, split: Split, options: Train
) -> Card:
    """The card of a model that looks again at what may be real, calibrated so; `first` is what one look gives."""
    rows = split.validation[dataset.labels[split.validation] >= 0]
    card = looking_again(card, first[dataset.labels[rows] == 1], options.views)
    logits, again = first.copy(), first > card.views_from
    logits[again] = logits_dataset(open_model(card, weights), dataset, rows[again])
    fit = _calibration(logits, dataset, split, options)
    return card.model_copy(
        update={
            "temperature": fit.temperature, "bias": fit.bias, "calibration": {**card.calibration, **asdict(fit)},
            "threshold": _threshold(logits, dataset, split, fit),
        }
    )  # fmt: skip


def looking_again(card: Card, reals: NDArray[np.float32], views: Views) -> Card:
    """The card of a model that looks `views` times at what the first look gives a logit of nearly all reals.

    Parameters
    ----------
    card : Card
    reals : ndarray, shape (n,)
        Logits that one look gives to reals.
    views : {1, 2, 4, 8}
    """
    # The threshold keeps 98 % of the reals, so it lies among what is looked at again.
    return card.model_copy(update={"views": views, "views_from": round(float(np.quantile(reals, LOOKED_AT_ONCE)), 4)})


def score_dataset(
    model: LoadedModel,
    dataset: LabelledStamps,
    rows: NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Scores of some rows (default: all) of a training set, as the model would give them in the field; shape (n,).

    The chip of each row is that of the set's column ``chip``, where it has one.

    `progress` is called as progress(rows done, rows in all).
    """
    rows = np.arange(len(dataset)) if rows is None else rows
    return _by_batches(score_stamps, model, dataset, rows, batch_size, progress)


def judge(
    model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64] | None = None, *, name: str = "test"
) -> tuple[Evaluation, dict[str, Any]]:
    """Evaluate a model on some rows; rows with label -1 are left out.

    Returns
    -------
    Evaluation
        Of all rows.
    dict
        The same as plain values, with how many rows of each `kind` the model's own threshold calls real, and under
        ``images``, also of each interval of S/N, the measures with intervals that draw whole images (`draw_images`).
    """
    rows = np.arange(len(dataset)) if rows is None else rows
    rows = rows[dataset.labels[rows] >= 0]
    scores = score_dataset(model, dataset, rows)
    snr = np.abs(dataset["snr"][rows])
    result = evaluate(dataset.labels[rows], scores, snr, name=name)
    called = scores >= thresholds_of_rows(model, dataset, rows)
    kinds = np.asarray(dataset["kind"])[rows]
    found = {str(kind): [int(called[kinds == kind].sum()), int((kinds == kind).sum())] for kind in np.unique(kinds)}
    by, images = _images(dataset, rows)
    real = dataset.labels[rows] == 1

    def drawn(use: NDArray[np.bool_] | slice) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        return draw_images(real[use], scores[use], called[use], images[use], by=by, rng=rng).as_dict()

    facts = {
        **result.as_dict(), "threshold": model.card.threshold, "called_real_of_kind": found,
        "images": drawn(slice(None)),
    }  # fmt: skip
    for part, (low, high) in zip(facts["strata"], SNR_STRATA, strict=True):
        inside = (snr >= low) & (snr < high)
        part["images"] = drawn(inside) if inside.any() else None
    error = error_of(model.card, dataset, rows, scores)
    return result, facts if error is None else {**facts, "calibration": error.as_dict()}


def _hidden(network: StampNet) -> str:
    """Words for the planes and numbers that the network does not see."""
    seen = network.preprocess
    hidden = [name for name in SEEN_PLANES if name not in seen.planes]
    hidden += [] if seen.sees_numbers else ["measured numbers"]
    return f"; not seen: {', '.join(hidden)}" if hidden else ""


def thresholds_of_rows(model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Threshold of the model that scores each row, shape (n,); they differ in a set of models only."""
    if model.members is None:
        return np.full(rows.size, model.card.threshold)
    codes, names = dataset_chips(dataset)
    return np.array([model_of_chip(model, name).card.threshold for name in names])[codes[rows]]


def error_of(
    card: Card, dataset: LabelledStamps, rows: NDArray[np.int64], scores: NDArray[Any], *, prior: float | None = None
) -> CalibrationError | None:
    """How far scores are from the shares of reals in the card's population; None without both classes, or without one.

    Parameters
    ----------
    card : Card
        Its calibration names the population.
    dataset, rows
        Rows of labels 0 and 1.
    scores : ndarray, shape (n,)
        Of these rows.
    prior : float, optional
        Share of reals that the scores are meant for; None: the card's.
    """
    labels, population = dataset.labels[rows], str(card.calibration.get("population", ""))
    if population not in POPULATIONS or len(np.unique(labels)) < 2:
        return None
    weights = population_weights(
        labels, np.asarray(dataset["snr"])[rows], population, prior=card.prior if prior is None else prior
    )
    return calibration_error(labels == 1, scores, weights, images_of(dataset, rows), rng=np.random.default_rng(0))


def images_of(dataset: LabelledStamps, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Image of each row, by the first of `IMAGE_COLUMNS` that tells images apart."""
    return _images(dataset, rows)[1]


def _images(dataset: LabelledStamps, rows: NDArray[np.int64]) -> tuple[str, NDArray[Any]]:
    """The column that tells images apart, empty where none does, and the image of each row."""
    for name in IMAGE_COLUMNS:
        try:
            images = np.asarray(dataset[name])[rows]
        except (InputError, KeyError):
            continue
        if np.unique(images).size > 1:
            return name, images
    return "", np.zeros(rows.size, np.int64)


def logits_dataset(
    model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64], *, batch_size: int = 1024
) -> NDArray[np.float32]:
    """What the network says of some rows before calibration; as `score_dataset`."""
    return _by_batches(stamp_logits, model, dataset, rows, batch_size)


def _by_batches(
    function: Callable[..., NDArray[np.float32]],
    model: LoadedModel,
    dataset: LabelledStamps,
    rows: NDArray[np.int64],
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """`score_stamps` or `stamp_logits` of some rows, each with its chip; shape (n,)."""
    numbers = dataset.scalars([item.name for item in model.card.scalars])
    codes, names = dataset_chips(dataset)
    chips = np.asarray(names, np.str_)
    found = np.empty(rows.size, np.float32)
    for start in range(0, rows.size, batch_size):
        part = rows[start : start + batch_size]
        # The stamps of a training set are in units of sigma.
        cube, sigma = dataset.stamps(part, size=model.card.stamp_size), np.ones((part.size, 3), np.float32)
        found[start : start + part.size] = function(cube, sigma, numbers[part], model, chips=chips[codes[part]])
        if progress is not None:
            progress(start + part.size, rows.size)
    return found


def _calibration(logits: NDArray[np.float32], dataset: LabelledStamps, split: Split, options: Train) -> Fit:
    rows = split.validation[dataset.labels[split.validation] >= 0]
    labels = dataset.labels[rows]
    weights = population_weights(labels, np.asarray(dataset["snr"])[rows], options.balance)
    return fit_calibration(labels == 1, logits, weights)


def _threshold(logits: NDArray[np.float32], dataset: LabelledStamps, split: Split, fit: Fit) -> float:
    rows = split.validation[dataset.labels[split.validation] >= 0]
    scores = chance(logits, temperature=fit.temperature, bias=fit.bias)
    return threshold_at_tpr(dataset.labels[rows] == 1, scores, COMPLETENESS)


def _data_facts(dataset: LabelledStamps, split: Split) -> dict[str, Any]:
    """What the set was, with the numbers of each label and kind in each part."""
    counts = {}
    for name, rows in split.parts().items():
        kinds, found = np.unique(np.asarray(dataset["kind"])[rows], return_counts=True)
        labels = dataset.labels[rows]
        counts[name] = {
            "real": int((labels == 1).sum()),
            "artifact": int((labels == 0).sum()),
            "left_out": int((labels < 0).sum()),
            "kinds": dict(zip(kinds.tolist(), found.tolist(), strict=True)),
        }
    seen = np.concatenate([split.train, split.validation])
    origin = {
        "groups": training_groups({name: dataset[name] for name in GROUP_COLUMNS}, seen),
        "mjd": _times(dataset, split),
    }
    return {**dataset.facts, "hash": dataset.content_hash(), "n": len(dataset), "parts": counts, **origin}


def _times(dataset: LabelledStamps, split: Split) -> list[float] | None:
    """First and last time of the training part; None where a set, as those of other surveys, tells none."""
    try:
        return training_span(dataset["mjd"][split.train])
    except (InputError, KeyError):
        return None
