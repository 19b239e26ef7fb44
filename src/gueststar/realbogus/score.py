"""Scores of candidates from a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import ModelError
from gueststar.options import Options
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import Card
from gueststar.realbogus.chips.names import CHIP_COLUMN, chip_codes
from gueststar.realbogus.chips.routing import chip_note, routes
from gueststar.realbogus.dataset import turned
from gueststar.realbogus.loaded import LoadedModel, load_model, model_of_chip
from gueststar.realbogus.runtime import Runtime
from gueststar.realbogus.scalars import measured_scalars
from gueststar.types import Candidates, Stamps

__all__ = ["TURNS", "LoadedModel", "RealBogus", "load_model", "model_of_chip", "score_stamps", "stamp_logits"]

_INPUTS = ("cube", "sigma", "scalars")
TURNS = (0, 3, 5, 6, 1, 2, 4, 7)  #: symmetries of the looks of a model: as it is, the other quarter turns, mirrored


class RealBogus(Options):
    """Real/bogus classification of candidates.

    The chip of each candidate is read from the column ``chip``, where there is one: a set of models scores each by the
    model of its chip, and a model that is conditioned on the chip is told it. A chip that is not known is no error.

    Called with candidates and their stamps it adds the column ``rb_score``: 0 is an artifact, 1 a real change of
    brightness of a point source, of either sign. The model's card says what the score means and which threshold goes
    with it.

    Raises
    ------
    ModelError
        When called: the model is missing, damaged, or does not fit the stamps.
    """

    model: str = Field(
        "shipped", description="'shipped', or the path of a model folder, of a set of models or of a store of models"
    )
    batch_size: int = Field(64, ge=1, le=65536, description="Stamps scored at once; more do not fit the cache")
    threads: int = Field(1, ge=1, le=256, description="Threads of one scoring process")
    prior: float | None = Field(
        None, gt=0, lt=1, description="Share of reals that scores are to hold for as chances; None: that of the card"
    )
    runtime: Runtime = Field("onnxruntime", description="What runs the network: onnxruntime or openvino")

    def __call__(self, candidates: Candidates, stamps: Stamps) -> Candidates:
        """Score candidates.

        Parameters
        ----------
        candidates : Candidates
            n rows.
        stamps : Stamps
            Their stamps, in the same order.

        Returns
        -------
        Candidates
            With ``rb_score`` (float32, 0..1); ``table.meta`` holds ``rb_model``, ``rb_model_hash`` and
            ``rb_threshold``. A candidate whose difference stamp has no usable pixel scores 0. With a set of models each
            row has these three as columns, too, and ``table.meta`` those of the one model that scored all rows; where
            there were several, those of the set, with the threshold of its fallback. ``table.meta["rb_chip_note"]``
            tells of chips that the model does not know, where there are any.
        """
        loaded = load_model(self.model, threads=self.threads, runtime=self.runtime, prior=self.prior)
        if len(stamps) != len(candidates) or not np.array_equal(candidates["candidate_id"], stamps.candidate_id):
            raise ModelError(
                f"{len(stamps)} stamps do not belong to these {len(candidates)} candidates in this order; cut the "
                "stamps from the same table",
                candidates=len(candidates),
                stamps=len(stamps),
            )
        names = [scalar.name for scalar in loaded.card.scalars]
        optional = [scalar.name for scalar in loaded.card.network_scalars() if scalar.may_lack]
        numbers = measured_scalars(candidates, names, optional=optional)
        chips = candidates[CHIP_COLUMN] if CHIP_COLUMN in candidates.table.colnames else np.full(len(candidates), "")
        chips = chips.astype(np.str_)
        scores = score_stamps(
            stamps.cube, stamps.sigma, numbers, loaded, batch_size=self.batch_size, chips=chips
        )  # fmt: skip
        scored = candidates.with_columns(rb_score=scores, **_columns_of_set(loaded, chips))
        scored.table["rb_score"].description = "real/bogus score: 0 artifact, 1 real"
        scored.table.meta |= _meta(loaded, chips)
        return scored


def _meta(loaded: LoadedModel, chips: NDArray[np.str_]) -> dict[str, Any]:
    """What is said about the model that scored candidates of some chips."""
    used = {id(model): model for model in (model_of_chip(loaded, str(chip)) for chip in np.unique(chips))}
    single = next(iter(used.values())) if len(used) == 1 else loaded
    note = chip_note(chips.tolist(), known=loaded.card.chips, members=loaded.members)
    meta: dict[str, Any] = {
        "rb_model": f"{single.card.name} {single.card.version}",
        "rb_model_hash": single.card.weights_hash[:16],
        "rb_threshold": single.card.threshold,
    }
    if loaded.members is not None and len(used) != 1:
        meta["rb_model"] = f"{loaded.members.models.name} {loaded.members.models.version}"
        meta["rb_model_hash"] = loaded.members.digest[:16]
    return {**meta, "rb_chip_note": note} if note else meta


def _columns_of_set(loaded: LoadedModel, chips: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
    """Name, hash and threshold of the model of each row, for a set of models."""
    if loaded.members is None:
        return {}
    there, inverse = np.unique(chips, return_inverse=True)
    cards = [model_of_chip(loaded, str(chip)).card for chip in there]
    columns = {
        "rb_model": np.array([f"{card.name} {card.version}" for card in cards], np.str_),
        "rb_model_hash": np.array([card.weights_hash[:16] for card in cards], np.str_),
        "rb_threshold": np.array([card.threshold for card in cards], np.float32),
    }
    return {name: values[inverse.reshape(-1)] for name, values in columns.items()}


def score_stamps(
    cube: NDArray[np.floating[Any]],
    sigma: NDArray[np.floating[Any]],
    scalars: NDArray[np.floating[Any]],
    model: LoadedModel,
    *,
    batch_size: int = 64,
    chips: NDArray[np.str_] | None = None,
) -> NDArray[np.float32]:
    """Scores of raw stamps.

    Parameters
    ----------
    cube : ndarray, shape (n, 3, k, k)
        Science, aligned reference, difference, e-; k odd and at least the model's stamp size; NaN where missing.
    sigma : ndarray, shape (n, 3)
        Sky noise of each plane, e-.
    scalars : ndarray, shape (n, m)
        Raw numbers in the order of ``model.card.scalars``; NaN where missing.
    model : LoadedModel
    batch_size : int
        Stamps scored at once; bounds the memory.
    chips : ndarray of str, shape (n,), optional
        Chip of each stamp, for models that depend on it; None: unknown.

    Returns
    -------
    ndarray, shape (n,), float32
        0..1, never NaN; 0 where the seen part of the difference has no usable pixel at all.

    Raises
    ------
    ModelError
        When shapes do not fit the model.
    """
    _check_shapes(cube, sigma, scalars, model.card)
    _check_chips(chips, len(cube))
    scores = np.zeros(len(cube), np.float32)
    for used, rows in _used(model, chips, len(cube)):
        own = None if chips is None else chips[rows]
        logits = _logits_of_one(cube[rows], sigma[rows], scalars[rows], used, batch_size, own)
        card = used.card
        scores[rows] = chance(logits, temperature=card.temperature, bias=card.bias, prior=card.prior)
    return scores


def stamp_logits(
    cube: NDArray[np.floating[Any]],
    sigma: NDArray[np.floating[Any]],
    scalars: NDArray[np.floating[Any]],
    model: LoadedModel,
    *,
    batch_size: int = 64,
    chips: NDArray[np.str_] | None = None,
) -> NDArray[np.float32]:
    """What the network says before calibration, shape (n,); minus infinity where a score is 0.

    Parameters and errors as for `score_stamps`.
    """
    _check_shapes(cube, sigma, scalars, model.card)
    _check_chips(chips, len(cube))
    logits = np.empty(len(cube), np.float32)
    for used, rows in _used(model, chips, len(cube)):
        own = None if chips is None else chips[rows]
        logits[rows] = _logits_of_one(cube[rows], sigma[rows], scalars[rows], used, batch_size, own)
    return logits


def _used(model: LoadedModel, chips: NDArray[np.str_] | None, n: int) -> Iterator[tuple[LoadedModel, Any]]:
    """Each model that is used, and its rows of n; without a set all of them, which copies nothing."""
    if model.members is None or chips is None or n == 0:
        yield model, slice(None)
        return
    own = {chip for chip in np.unique(chips).tolist() if model.members.own(chip)}
    for chip, rows in routes(chips, own):
        yield model_of_chip(model, chip), rows


def _check_chips(chips: NDArray[np.str_] | None, n: int) -> None:
    if chips is not None and chips.shape != (n,):
        raise ModelError(f"chips of shape {chips.shape} for {n} stamps; expected one name for each stamp")


def _logits_of_one(
    cube: NDArray[np.floating[Any]],
    sigma: NDArray[np.floating[Any]],
    scalars: NDArray[np.floating[Any]],
    model: LoadedModel,
    batch_size: int,
    chips: NDArray[np.str_] | None,
) -> NDArray[np.float32]:
    """Logits of stamps by one model, whatever set it belongs to.

    What the first look takes for no clear artifact is looked at again, turned and mirrored, as often as the card says;
    the mean counts. That is as good as the mean of several networks, and few candidates of a night need it.
    """
    n, card = len(cube), model.card
    margin = (cube.shape[-1] - card.stamp_size) // 2
    seen = slice(margin, margin + card.stamp_size)
    codes = None
    if card.chips:
        codes = np.zeros(n, np.int64) if chips is None else chip_codes(chips, card.chips)

    def look(rows: slice | NDArray[np.int64], turn: int) -> NDArray[np.float32]:
        centre = turned(np.ascontiguousarray(cube[rows, :, seen, seen], dtype=np.float32), turn)
        noise = np.ascontiguousarray(sigma[rows], dtype=np.float32)
        numbers = np.ascontiguousarray(scalars[rows], dtype=np.float32)
        inputs: dict[str, NDArray[Any]] = dict(zip(_INPUTS, (centre, noise, numbers), strict=True))
        if codes is not None:
            inputs["chip"] = codes[rows]
        logit = model.session(inputs)
        usable = np.isfinite(centre[:, 2]).any(axis=(1, 2)) & (noise[:, 2] > 0)
        return np.where(usable, logit, np.float32(-np.inf))

    logits = np.empty(n, np.float32)
    for start in range(0, n, batch_size):
        rows = slice(start, start + batch_size)
        logits[rows] = look(rows, TURNS[0])
    again = np.flatnonzero(logits > card.views_from) if card.views > 1 else np.empty(0, np.int64)
    for start in range(0, again.size, batch_size):
        part = again[start : start + batch_size]
        looks = [logits[part], *(look(part, turn) for turn in TURNS[1 : card.views])]
        logits[part] = np.mean(looks, axis=0, dtype=np.float64)
    return logits


def _check_shapes(cube: NDArray[Any], sigma: NDArray[Any], scalars: NDArray[Any], card: Card) -> None:
    planes, size, m = len(card.channels), card.stamp_size, len(card.scalars)
    shape = cube.shape
    if len(shape) != 4 or shape[1] != planes or shape[2] != shape[3] or shape[2] < size or shape[2] % 2 == 0:
        raise ModelError(
            f"stamps of shape {shape} do not fit model {card.name!r}: it takes (n, {planes}, k, k) with "
            f"{', '.join(card.channels)} and odd k >= {size}; cut larger stamps",
            stamp_size=size,
        )
    n = shape[0]
    if sigma.shape != (n, planes) or scalars.shape != (n, m):
        raise ModelError(
            f"sigma of shape {sigma.shape} and numbers of shape {scalars.shape} do not fit model {card.name!r}; "
            f"expected ({n}, {planes}) and ({n}, {m})",
            stamps=n,
        )
