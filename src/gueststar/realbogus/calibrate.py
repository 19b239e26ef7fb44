"""Scores that are chances: temperature and offset of the logit, and the prior that a chance is meant for.

A score is

    sigmoid(z / temperature + bias + log(prior / (1 - prior)))

with the network's logit z. Temperature (Guo et al. 2017, ICML, eq. 9) and bias (Platt 1999; together a logistic
regression on z) maximise the likelihood of labelled rows that were not trained on, weighted to as many reals as
artifacts, with Platt's targets (n + 1) / (n + 2) instead of 1 and 0, so that separable rows have a maximum, too.
The last term moves the chances to another share of reals among the candidates (Saerens, Latinne & Decaestecker 2002,
Neural Comput. 14, 21, eq. 4): exact as long as reals look like reals and artifacts like artifacts there.

The population of the weighted rows is that of the training: 'snr', as many reals as artifacts at every signal to noise,
or 'class', as many in all. The order of the scores, and so every curve of completeness, is the same before and after.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from gueststar.errors import InputError
from gueststar.realbogus.card import Card
from gueststar.realbogus.weights import class_weights, matched_weights

__all__ = [
    "POPULATIONS",
    "CalibrationError",
    "Fit",
    "Population",
    "calibration_error",
    "chance",
    "fit_calibration",
    "move_threshold",
    "population_weights",
    "reliability",
    "score_meaning",
    "with_prior",
]

Population = Literal["snr", "class"]
POPULATIONS: tuple[str, ...] = get_args(Population)
_BINS = 15
_TEMPERATURES = (0.05, 50.0)
_FURTHEST = 60.0  # of a logit; beyond, single precision has no other number than 0 and 1

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """Temperature and bias, and the mean weighted negative log-likelihood of the rows before and after."""

    temperature: float
    bias: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Expected calibration error with an interval of 95 % by a bootstrap over images; Brier score; rows and images.

    A bootstrap adds the noise of a sample to the error, so the interval lies high where the error is small.
    """

    ece: float
    low: float
    high: float
    brier: float
    n: int
    images: int

    def as_dict(self) -> dict[str, float | int]:
        """Plain values."""
        return asdict(self)


def chance(logits: NDArray[Any], *, temperature: float = 1.0, bias: float = 0.0, prior: float = 0.5) -> F8:
    """Scores of logits; shape (n,), 0 where the logit is minus infinity."""
    z = np.asarray(logits, np.float64) / temperature + bias + _log_odds(prior)
    return np.where(z == -np.inf, 0.0, 1.0 / (1.0 + np.exp(-np.clip(z, -_FURTHEST, _FURTHEST))))


def fit_calibration(real: NDArray[Any], logits: NDArray[Any], weights: NDArray[Any], *, bias: bool = True) -> Fit:
    """Find temperature and bias by likelihood.

    Parameters
    ----------
    real : ndarray of bool, shape (n,)
    logits : ndarray, shape (n,)
        Of rows that were not trained on.
    weights : ndarray, shape (n,)
        From `population_weights`.
    bias : bool
        False: the temperature alone.

    Raises
    ------
    InputError
        When a class is missing or a logit is not a number.
    """
    real, z, weight = np.asarray(real, bool), np.asarray(logits, np.float64), np.asarray(weights, np.float64)
    if real.all() or not real.any():
        raise InputError(
            f"{int(real.sum())} reals and {int((~real).sum())} artifacts: both are needed to calibrate",
            reals=int(real.sum()),
        )
    if not np.isfinite(z).all():
        raise InputError(f"{int((~np.isfinite(z)).sum())} logits are not numbers; leave such rows out")
    n1, n0 = int(real.sum()), int((~real).sum())
    target = np.where(real, (n1 + 1.0) / (n1 + 2.0), 1.0 / (n0 + 2.0))
    weight = weight / weight.sum()

    def loss(parameters: F8) -> tuple[float, F8]:
        t = math.exp(parameters[0]) * z + parameters[1]
        away = weight * (1.0 / (1.0 + np.exp(-np.clip(t, -_FURTHEST, _FURTHEST))) - target)
        value = float((weight * (np.logaddexp(0.0, t) - target * t)).sum())
        return value, np.array([(away * z).sum() * math.exp(parameters[0]), away.sum() if bias else 0.0])

    limits = [tuple(sorted(-math.log(edge) for edge in _TEMPERATURES)), (-20.0, 20.0) if bias else (0.0, 0.0)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-14})
    return Fit(math.exp(-found.x[0]), float(found.x[1]), loss(np.zeros(2))[0], float(found.fun))


def population_weights(
    labels: NDArray[np.integer], snr: NDArray[Any], population: str, *, prior: float = 0.5
) -> NDArray[np.float64]:
    """Weights that make labelled rows a population, mean 1; shape (n,).

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact, both there.
    snr : ndarray, shape (n,)
        The sign is ignored.
    population : {'snr', 'class'}
        See the module.
    prior : float
        Share of reals: at every signal to noise, or in all.
    """
    if population not in POPULATIONS:
        raise InputError(f"population {population!r}: one of {', '.join(POPULATIONS)}", population=population)
    strength = np.abs(np.asarray(snr, np.float64))
    even = matched_weights(labels, strength) if population == "snr" else class_weights(labels)
    weights = even * np.where(np.asarray(labels) == 1, prior, 1.0 - prior)
    return np.asarray(weights / weights.mean(), np.float64)


def calibration_error(
    real: NDArray[Any],
    scores: NDArray[Any],
    weights: NDArray[Any],
    images: NDArray[Any],
    *,
    rng: np.random.Generator,
    n_boot: int = 500,
) -> CalibrationError:
    """Mean distance of score and share of reals over 15 bins of equal weight (Nguyen & O'Connor 2015, EMNLP, 1587).

    Parameters
    ----------
    real, scores, weights : ndarray, shape (n,)
    images : ndarray, shape (n,)
        Image, or other group, of each row.
    rng : Generator
        Of the bootstrap.
    """
    truth, score, weight = np.asarray(real, np.float64), np.asarray(scores, np.float64), np.asarray(weights, np.float64)
    if not truth.size:
        raise InputError("no rows: a calibration error needs some")
    names, image = np.unique(np.asarray(images), return_inverse=True)
    place = image * _BINS + _bins(score, weight)
    shape = names.size, _BINS
    mass = np.bincount(place, weights=weight, minlength=names.size * _BINS).reshape(shape)
    excess = np.bincount(place, weights=weight * (truth - score), minlength=mass.size).reshape(shape)
    drawn = []
    for start in range(0, n_boot, 100):
        counts = rng.multinomial(names.size, np.full(names.size, 1.0 / names.size), size=min(100, n_boot - start))
        drawn.append(np.abs(counts @ excess).sum(axis=1) / np.maximum((counts @ mass).sum(axis=1), 1e-300))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    ece = float(np.abs(excess.sum(axis=0)).sum() / mass.sum())
    brier = float((weight * (score - truth) ** 2).sum() / weight.sum())
    return CalibrationError(ece, float(low), float(high), brier, int(truth.size), int(names.size))


def reliability(real: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]) -> tuple[F8, F8, F8]:
    """Mean score, share of reals and its standard error in 15 bins of equal weight; fewer where scores are equal."""
    truth, score, weight = np.asarray(real, np.float64), np.asarray(scores, np.float64), np.asarray(weights, np.float64)
    which = _bins(score, weight)
    mass = np.bincount(which, weights=weight, minlength=_BINS)
    there = mass > 0
    mean, share = (np.bincount(which, weights=weight * v, minlength=_BINS)[there] / mass[there] for v in (score, truth))
    effective = mass[there] ** 2 / np.bincount(which, weights=weight**2, minlength=_BINS)[there]
    return mean, share, np.sqrt(np.maximum(share * (1.0 - share), 0.25 / effective) / effective)


def move_threshold(threshold: float, old: tuple[float, float, float], new: tuple[float, float, float]) -> float:
    """The threshold that takes the same decisions after temperature, bias and prior were changed.

    Parameters
    ----------
    threshold : float
        Of scores with the `old` ones.
    old, new : (float, float, float)
        Temperature, bias, prior.
    """
    if not 0.0 < threshold < 1.0:
        return threshold
    logit = (math.log(threshold) - math.log1p(-threshold) - old[1] - _log_odds(old[2])) * old[0]
    moved = float(chance(np.array([logit]), temperature=new[0], bias=new[1], prior=new[2])[0])
    # A score is single precision: the row that the threshold was chosen by must stay at or above it.
    return float(np.nextafter(np.float32(moved), np.float32(0.0))) if old != new else threshold


def score_meaning(population: str, prior: float = 0.5) -> str:
    """What a score says, in words, for the card."""
    share = "as many reals as artifacts" if prior == 0.5 else f"a share of {prior:.3g} reals"
    where = " at every signal to noise" if population == "snr" else ""
    rest = "not the rates of any survey" if prior == 0.5 else "reals and artifacts each like those of the data set"
    return (
        "Chance to be a real change of brightness of a point source, of either sign, among candidates with "
        f"{share}{where}; {rest}"
    )


def with_prior(card: Card, prior: float) -> Card:
    """The card for another share of reals: scores are moved, decisions stay; check scores belong to the old one."""
    if not 0.0 < prior < 1.0:
        raise InputError(f"prior {prior!r}: expected the share of reals, a number between 0 and 1, both excluded")
    if prior == card.prior:
        return card
    population = str(card.calibration.get("population", "snr"))
    return card.model_copy(
        update={
            "prior": prior,
            "threshold": move_threshold(
                card.threshold, (card.temperature, card.bias, card.prior), (card.temperature, card.bias, prior)
            ),
            "score_meaning": score_meaning(population, prior),
            "check_scores": (),
        }
    )


def _log_odds(prior: float) -> float:
    if not 0.0 < prior < 1.0:
        raise InputError(f"prior {prior!r}: expected the share of reals, a number between 0 and 1, both excluded")
    return math.log(prior) - math.log1p(-prior)


def _bins(score: F8, weight: F8) -> NDArray[np.int64]:
    """Bin of each row: equal weight in each, equal scores together."""
    order = np.argsort(score, kind="stable")
    below = np.cumsum(weight[order]) / weight.sum()
    edges = score[order][np.minimum(np.searchsorted(below, np.arange(1, _BINS) / _BINS), score.size - 1)]
    return np.asarray(np.searchsorted(edges, score, side="right"), np.int64)
