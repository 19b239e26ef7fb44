"""A model calibrated anew, or given another threshold, on a data set: a new version of it, with the same weights."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.calibrate import (
    CalibrationError,
    Fit,
    calibration_error,
    chance,
    fit_calibration,
    move_threshold,
    population_weights,
    score_meaning,
)
from gueststar.realbogus.card import Card
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.evaluate import threshold_at_tpr
from gueststar.realbogus.lineage import was_trained_on
from gueststar.realbogus.loaded import LoadedModel, Views, with_views
from gueststar.realbogus.package import COMPLETENESS, images_of, logits_dataset, looking_again

__all__ = ["Calibrated", "Judged", "calibrate_model", "next_version", "rows_for"]

_NO_RATES = "Scores are not calibrated to the rates of any survey"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Rows that nothing was fitted on: reals or not, logits, S/N and images."""

    real: NDArray[np.bool_]
    logits: NDArray[np.float32]
    snr: NDArray[np.float64]
    images: NDArray[Any]

    @classmethod
    def of(cls, model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64]) -> Judged:
        """Rows with labels 0 and 1; those without a usable pixel are left out."""
        logits = logits_dataset(model, dataset, rows)
        there = np.isfinite(logits)
        rows, snr = rows[there], np.abs(np.asarray(dataset["snr"], np.float64))
        return cls(dataset.labels[rows] == 1, logits[there], snr[rows], images_of(dataset, rows))


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """Card of the new version, and errors on rows that the fit has not seen, as many reals as artifacts.

    Parameters
    ----------
    card : Card
    before, after : CalibrationError
        At a prior of 0.5.
    at_prior : CalibrationError
        After, with reals and artifacts weighted to the prior of the card.
    judged, judged_before : Judged
        The same rows, by the new version and by the old one; they differ in the number of looks alone.
    population : str
    old : Card
    """

    card: Card
    before: CalibrationError
    after: CalibrationError
    at_prior: CalibrationError
    judged: Judged
    judged_before: Judged
    population: str
    old: Card


def calibrate_model(
    model: LoadedModel,
    dataset: LabelledStamps,
    *,
    part: str = "validation",
    check: str | None = None,
    prior: float | None = None,
    population: str | None = None,
    bias: bool = True,
    views: Views | None = None,
    version: str | None = None,
    seed: int = 0,
) -> Calibrated:
    """Fit temperature and bias on one part of a data set, and measure the calibration error on another.

    The threshold takes the same decisions as before, unless the model is to look another number of times: then it
    keeps the share `COMPLETENESS` of the reals that are fitted on.

    Parameters
    ----------
    model : LoadedModel
    dataset : LabelledStamps
    part, check : str
        See `rows_for`.
    prior : float, optional
        Share of reals that scores are to hold for; None: that of the card.
    population : {'snr', 'class'}, optional
        None: that of the card, else 'snr'.
    bias : bool
        Fit an offset, too.
    views : {1, 2, 4, 8}, optional
        How often the new version looks at what may be real; None: as often as before.
    version : str, optional
        Of the new model; None: the old one and what was done.
    seed : int
        Of the halves, and of the bootstrap.

    Raises
    ------
    InputError
        When the model was trained on these rows, a class is missing, or an option is senseless.
    """
    old = model.card
    population = population or str(old.calibration.get("population", "snr"))
    prior = old.prior if prior is None else prior
    fit_rows, check_rows, how = rows_for(dataset, old, part=part, check=check, seed=seed)
    looking = model if views is None or views == old.views else _looking(model, dataset, fit_rows, views)
    fitted, judged = (Judged.of(looking, dataset, rows) for rows in (fit_rows, check_rows))
    judged_before = judged if looking is model else Judged.of(model, dataset, check_rows)
    weights = population_weights(fitted.real.astype(np.int8), fitted.snr, population)
    fit = fit_calibration(fitted.real, fitted.logits, weights, bias=bias)
    before, after, at_prior = (
        error_at(rows, population, *numbers, seed=seed)
        for rows, numbers in (
            (judged_before, (old.temperature, old.bias, 0.5)),
            (judged, (fit.temperature, fit.bias, 0.5)),
            (judged, (fit.temperature, fit.bias, prior)),
        )
    )
    threshold, meaning = _threshold(old, looking is not model, fit, fitted, prior)
    new = looking.card.model_copy(
        update={
            "version": version or next_version(old.version, "cal"),
            "temperature": fit.temperature,
            "bias": fit.bias,
            "prior": prior,
            "threshold": threshold,
            "threshold_meaning": meaning,
            "score_meaning": score_meaning(population, prior),
            "caveats": tuple(text for text in old.caveats if prior == 0.5 or not text.startswith(_NO_RATES)),
            "calibration": {
                "population": population,
                "fitted": how,
                "part": part,
                "data_hash": dataset.content_hash(),
                "from_version": old.version,
                **asdict(fit),
                "rows": {"fitted": int(fitted.real.size), "judged": int(judged.real.size)},
                "error_before": before.as_dict(),
                "error_after": after.as_dict(),
                "error_at_prior": at_prior.as_dict(),
            },
        }
    )
    card = new.model_copy(update={"check_scores": check_scores(LoadedModel(new, model.session))})
    return Calibrated(card, before, after, at_prior, judged, judged_before, population, old)


def _looking(model: LoadedModel, dataset: LabelledStamps, rows: NDArray[np.int64], views: Views) -> LoadedModel:
    """The model with another number of looks, the further ones above what the first gives nearly all reals."""
    reals = rows[dataset.labels[rows] == 1]
    card = looking_again(model.card, logits_dataset(with_views(model, 1), dataset, reals), views)
    return LoadedModel(card, model.session)


def _threshold(old: Card, looks: bool, fit: Fit, fitted: Judged, prior: float) -> tuple[float, str]:
    """Threshold of the new version, and what it means; `looks`: another number of looks makes other decisions."""
    if not looks:
        numbers = (old.temperature, old.bias, old.prior), (fit.temperature, fit.bias, prior)
        return move_threshold(old.threshold, *numbers), old.threshold_meaning
    scores = chance(fitted.logits, temperature=fit.temperature, bias=fit.bias, prior=prior)
    meaning = f"{100 * COMPLETENESS:g} % of the reals that the calibration was fitted on score at or above it"
    return threshold_at_tpr(fitted.real, scores, COMPLETENESS), meaning


def error_at(
    judged: Judged, population: str, temperature: float, bias: float, prior: float, *, seed: int = 0
) -> CalibrationError:
    """Calibration error of rows in a population with a share `prior` of reals."""
    scores = chance(judged.logits, temperature=temperature, bias=bias, prior=prior)
    weights = population_weights(judged.real.astype(np.int8), judged.snr, population, prior=prior)
    return calibration_error(judged.real, scores, weights, judged.images, rng=np.random.default_rng(seed))


def rows_for(
    dataset: LabelledStamps, card: Card, *, part: str, check: str | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Rows to fit on, rows to judge on, with labels 0 and 1, and how they were chosen in words.

    Parameters
    ----------
    part : {'validation', 'test', 'train', 'all'}
        Part of the set that is fitted on; 'train' and 'all' only where the model was trained on another set.
    check : str, optional
        Part that is judged on. None: 'test' beside 'validation' where both classes are in it, else the nights of
        `part` are dealt into two halves, one to fit on and one to judge on.
    seed : int
        Of the halves.

    Raises
    ------
    InputError
        When a part is unknown, empty, or was trained on, or a single night cannot be halved.
    """
    names = [part] if check is None else [part, check]
    parts = dataset_parts(dataset)
    for name in names:
        if name not in parts:
            raise InputError(f"part {name!r}: one of {', '.join(parts)}", part=name)
        if name in ("train", "all") and was_trained_on(card.training_data, dataset):
            raise InputError(
                f"model {card.name!r} was trained on part {name!r} of this data set; its scores there say "
                "nothing: take validation or test, or another set",
                part=name,
            )
        if np.unique(dataset.labels[parts[name]]).size < 2:
            raise InputError(
                f"part {name!r} of the data set has {parts[name].size} reals and artifacts, not both; choose another "
                f"part ({', '.join(key for key, rows in parts.items() if rows.size)}) with --part",
                part=name,
            )
    if check is None and part == "validation" and np.unique(dataset.labels[parts["test"]]).size == 2:
        check = "test"
    if check is not None and check != part:
        if "all" in (part, check):
            raise InputError("part 'all' shares rows with every other part; leave --check out", part="all")
        return parts[part], parts[check], f"{part} part, judged on the {check} part"
    rows = parts[part]
    nights, code = np.unique(np.asarray(dataset["night"])[rows], return_inverse=True)
    if nights.size < 2:
        raise InputError(
            f"part {part!r} is of one night; two are needed to fit on one and judge on the other, or give --check",
            part=part,
        )
    first = np.isin(code, np.random.default_rng(seed).permutation(nights.size)[: nights.size // 2])
    return rows[first], rows[~first], f"half of the nights of the {part} part, judged on the other half"


def dataset_parts(dataset: LabelledStamps) -> dict[str, NDArray[np.int64]]:
    """Rows of each part and of all, with labels 0 and 1."""
    column = np.asarray(dataset["split"]).astype(str)
    found = {name: column == name for name in ("train", "validation", "test")}
    found["all"] = np.ones(len(dataset), bool)
    return {name: np.flatnonzero(inside & (dataset.labels >= 0)) for name, inside in found.items()}


def next_version(version: str, what: str) -> str:
    """The name of the version that follows: '1' and 'cal' give '1-cal1', then '1-cal2'."""
    found = re.fullmatch(rf"(.*)-{what}(\d+)", version)
    return f"{found[1]}-{what}{int(found[2]) + 1}" if found else f"{version}-{what}1"
