"""All that is said about one score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError, ModelError
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import Card, find_model, read_model
from gueststar.realbogus.chips.model_set import is_set, member_folder, read_set
from gueststar.realbogus.chips.names import chip_codes
from gueststar.realbogus.explain.attribution import Attribution, integrated_gradients
from gueststar.realbogus.explain.candidate import Candidate, Logits, model_logits
from gueststar.realbogus.explain.occlusion import Ablation, Occlusion, ablate, occlude, rank_agreement
from gueststar.realbogus.explain.sanity import DeletionCurve, deletion_curve, random_deletion_curve
from gueststar.realbogus.explain.standard import Standard, read_standard
from gueststar.realbogus.loaded import LoadedModel, load_model

if TYPE_CHECKING:
    from gueststar.realbogus.network import RealBogusNet

__all__ = ["ExplainedModel", "Explanation", "explain", "open_explained"]

NO_GRADIENTS = (
    "the model has no weights.npz, so its gradients cannot be computed: no integrated gradients; the maps are those of "
    "occlusion, which needs scores only"
)


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedModel:
    """A model ready to be asked why.

    Parameters
    ----------
    card : Card
    weights : bytes
        ``model.onnx``.
    scoring : LoadedModel
        The same, as it scores.
    network : RealBogusNet, optional
        As it was trained; None where the model keeps no ``weights.npz``, and there are no gradients then.
    standard : Standard, optional
        What its numbers were in training.
    """

    card: Card
    weights: bytes
    scoring: LoadedModel
    network: RealBogusNet | None
    standard: Standard | None


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a candidate has its score; all contributions are logits, positive for a real source.

    Parameters
    ----------
    candidate : Candidate
    logit : float
        Of the first look, before calibration: what is explained.
    mean_logit, score : float
        Of all looks that the model takes, before and after calibration; `mean_logit` is `logit` where it takes one.
    threshold : float
        Of the model.
    gradients : Attribution, optional
        None where the model has no gradients.
    occlusion : Occlusion
    ablation : Ablation
    agreement : float
        Rank correlation of the integrated gradients with the occlusion; NaN without gradients.
    deletion, random_deletion : DeletionCurve
        Of the logit for what it speaks for, real or artifact: pixels removed in the order of the map, and at random.
    network_logit : float
        The logit by the network that gave the gradients; NaN without. It differs from `logit` by rounding only.
    deviations : ndarray, shape (m,)
        How many scatters each number lies from its mean in training; NaN where missing or not known.
    """

    candidate: Candidate
    logit: float
    mean_logit: float
    score: float
    threshold: float
    gradients: Attribution | None
    occlusion: Occlusion
    ablation: Ablation
    agreement: float
    deletion: DeletionCurve
    random_deletion: DeletionCurve
    network_logit: float
    deviations: NDArray[np.float64]

    @property
    def logit_text(self) -> str:
        """The logit in words, with that of the first look where there are more."""
        if self.mean_logit == self.logit:
            return f"logit {self.logit:+.2f}"
        return f"logit {self.mean_logit:+.2f}, first look {self.logit:+.2f}"

    @property
    def is_real(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


def open_explained(model: str | Path = "shipped", *, chip: str = "", threads: int = 1) -> ExplainedModel:
    """Open a model for explanations; of a set of models the one that scores a chip.

    Parameters
    ----------
    model : str or path
        'shipped', a model folder, a set of models, or a store of models.
    chip : str
    threads : int

    Raises
    ------
    ModelError
        When it is missing or damaged, or its two kinds of weights do not belong together.
    """
    folder = find_model(model)
    if is_set(folder):
        models = read_set(folder)
        entry = models.chips.get(chip)
        folder = member_folder(folder, models.fallback if entry is None or entry.own is None else entry.own)
    card, weights = read_model(folder)
    network = None
    if card.trainable_hash:
        from gueststar.realbogus.chips.weights_file import read_trainable

        network = read_trainable(folder)[1]
    return ExplainedModel(card, weights, load_model(folder, threads=threads), network, read_standard(card, weights))


def explain(model: ExplainedModel, candidate: Candidate, *, rng: np.random.Generator, chip: str = "") -> Explanation:
    """Explain the score of a candidate.

    Parameters
    ----------
    model : ExplainedModel
    candidate : Candidate
        Its stamps as wide as the model sees.
    rng : Generator
        For the order in which pixels are removed at random.
    chip : str
        Empty: unknown.

    Raises
    ------
    InputError
        When the candidate has no score: no pixel of its difference is usable, or its stamps are of another width.
    ModelError
        When the trained network and the one that scores disagree.
    """
    card, size = model.card, candidate.cube.shape[-1]
    if size != card.stamp_size:
        raise InputError(f"stamps of {size} px; model {card.name!r} sees {card.stamp_size}: cut out the centre")
    logits = model_logits(model.scoring, chip=chip)
    logit = float(candidate.logits(logits, candidate.cube[None])[0])
    if not np.isfinite(logit):
        raise InputError("no usable pixel in the difference: the candidate has no score that could be explained")
    gradients = _gradients(model, candidate, chip, logit)
    occlusion = occlude(logits, candidate)
    pixels = occlusion.pixels if gradients is None else gradients.pixels
    deletion, at_random = _deletion(logits, candidate, pixels, rng)
    deviations = np.full(len(candidate.names), np.nan)
    if model.standard is not None:
        deviations = model.standard.deviations(candidate.upright().scalars)[candidate.number_order]
    looks = model_logits(model.scoring, chip=chip, views=None)
    mean = float(candidate.logits(looks, candidate.cube[None])[0])
    score = chance(np.array([mean], np.float32), temperature=card.temperature, bias=card.bias, prior=card.prior)
    return Explanation(
        candidate, logit, mean, float(score[0]), card.threshold, gradients, occlusion, ablate(logits, candidate),
        float("nan") if gradients is None else rank_agreement(gradients.pixels, occlusion), deletion, at_random,
        float("nan") if gradients is None else gradients.logit, deviations,
    )  # fmt: skip


def _gradients(model: ExplainedModel, candidate: Candidate, chip: str, logit: float) -> Attribution | None:
    if model.network is None:
        return None
    code = int(chip_codes(np.array([chip], np.str_), model.card.chips)[0]) if model.card.chips else 0
    found = integrated_gradients(model.network, candidate, chip=code)
    if abs(found.logit - logit) > 0.01 * max(abs(logit), 1.0):
        raise ModelError(
            f"model {model.card.name!r}: the network in weights.npz gives the logit {found.logit:.4g}, the one in "
            f"model.onnx {logit:.4g}; they do not belong together, so nothing can be explained by it: train it again",
            model=model.card.name,
        )
    return found


def _deletion(
    logits: Logits, candidate: Candidate, pixels: NDArray[np.float64], rng: np.random.Generator
) -> tuple[DeletionCurve, DeletionCurve]:
    """Both curves for the class that the logit speaks for."""
    sign = 1.0 if candidate.logits(logits, candidate.cube[None])[0] >= 0 else -1.0

    def towards(
        cube: NDArray[np.float32], sigma: NDArray[np.float32], scalars: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        return sign * np.asarray(logits(cube, sigma, scalars), np.float64)

    return deletion_curve(towards, candidate, sign * pixels), random_deletion_curve(towards, candidate, rng=rng)
