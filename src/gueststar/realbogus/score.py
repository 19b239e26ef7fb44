"""Scores of candidates from a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import ModelError
from gueststar.options import Options
from gueststar.realbogus.calibrate import chance, with_prior
from gueststar.realbogus.card import Card, find_model, read_model
from gueststar.realbogus.chips.model_set import is_set, member_folder, read_set, set_hash
from gueststar.realbogus.chips.names import CHIP_COLUMN, chip_codes
from gueststar.realbogus.chips.routing import Members, chip_note, routes
from gueststar.realbogus.runtime import Runtime, Session, open_session
from gueststar.realbogus.scalars import measured_scalars
from gueststar.types import Candidates, Stamps

__all__ = ["LoadedModel", "RealBogus", "load_model", "model_of_chip", "open_model", "score_stamps", "stamp_logits"]

_EXACT, _ROUNDED = 2e-3, 0.1  # how far check scores of another runtime may be off, the latter in eight bits
_INPUTS = ("cube", "sigma", "scalars")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A checked model, ready to score; made by `load_model` or `open_model`.

    Of a set of models `card` and `session` are those of the fallback, and `members` has the others; see
    `model_of_chip`.
    """

    card: Card
    session: Session
    members: Members | None = None


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
        optional = [scalar.name for scalar in loaded.card.scalars if scalar.context]
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


def load_model(
    model: str | Path = "shipped", *, threads: int = 1, runtime: Runtime = "onnxruntime", prior: float | None = None
) -> LoadedModel:
    """Load and check a model; one session for each content of the files is kept for the life of the process.

    Of a set of models the fallback is loaded here, and the others when a candidate of their chip is scored.

    Parameters
    ----------
    model : str or path
        'shipped', a model folder, a set of models, or a store of models.
    threads : int
    runtime : {'onnxruntime', 'openvino'}
    prior : float, optional
        Share of reals that scores are to hold for as chances; the threshold moves with them. None: that of the card.

    Raises
    ------
    ModelError
        When it is missing, damaged, or its weights do not take the inputs that its card promises.
    MissingPartError
        When the runtime is not installed.
    """
    folder = find_model(model)
    if is_set(folder):
        models = read_set(folder)
        place = member_folder(folder, models.fallback)
        fallback = load_model(place, threads=threads, runtime=runtime, prior=prior)
        members = Members(folder, models, set_hash(folder), threads, runtime, prior)
        return LoadedModel(fallback.card, fallback.session, members)
    card, _ = read_model(folder)
    session = _kept(folder, card.weights_hash, threads, runtime).session
    return LoadedModel(card if prior is None else with_prior(card, prior), session)


def model_of_chip(model: LoadedModel, chip: str) -> LoadedModel:
    """The model that scores candidates of a chip: its own in a set of models, else the one given.

    Raises
    ------
    ModelError
        When the chip's model was changed since the set was made, or takes other inputs than the fallback.
    """
    member = None if model.members is None else model.members.own(chip)
    if model.members is None or member is None:
        return model
    members = model.members
    found = _kept(member_folder(members.folder, member), member.weights_hash, members.threads, members.runtime)
    fits = all(getattr(found.card, name) == getattr(model.card, name) for name in ("stamp_size", "channels", "scalars"))
    if found.card.weights_hash != member.weights_hash or not fits:
        raise ModelError(
            f"the model of chip {chip!r} in the set {members.folder} is not the one that was put there, or takes other "
            "stamps or measured numbers than the fallback; run `gueststar train --per chip` again",
            chip=chip,
        )
    return found if members.prior is None else LoadedModel(with_prior(found.card, members.prior), found.session)


@lru_cache(maxsize=256)
def _kept(folder: Path, digest: str, threads: int, runtime: Runtime) -> LoadedModel:
    # The hash is part of the key: a model that was replaced on disk is read again.
    loaded = open_model(*read_model(folder), threads=threads, runtime=runtime)
    if runtime != "onnxruntime":
        _check_runtime(loaded, runtime)
    return loaded


def _check_runtime(loaded: LoadedModel, runtime: str) -> None:
    """Refuse a runtime that gives other check scores than the card has, which are of ONNX Runtime."""
    from gueststar.realbogus.checks import check_scores

    card = loaded.card
    if not card.check_scores:
        return
    allowed = _ROUNDED if "quantisation" in card.metrics else _EXACT
    away = float(np.abs(np.subtract(check_scores(loaded), card.check_scores)).max())
    if not away <= allowed:
        raise ModelError(
            f"model {card.name!r}: {runtime} gives scores that differ by {away:.3g} from those of ONNX Runtime, more "
            f"than {allowed:g}; use classify.runtime = onnxruntime, or train the model anew",
            model=card.name,
            difference=away,
        )


def open_model(card: Card, weights: bytes, *, threads: int = 1, runtime: Runtime = "onnxruntime") -> LoadedModel:
    """Make a model ready that is in memory.

    Raises
    ------
    ModelError
        When the weights are no network or do not take the inputs that the card promises.
    """
    session = open_session(weights, name=card.name, threads=threads, runtime=runtime)
    found = {name: list(shape) for name, shape in session.inputs.items()}
    expected: dict[str, tuple[int, int, Any]] = {
        "cube": (4, 1, 3),
        "sigma": (2, 1, 3),
        "scalars": (2, 1, len(card.scalars)),
    }
    if card.chips:
        expected["chip"] = (1, 0, next(iter(found.get("chip", ())), None))  # any length
    fits = set(found) == set(expected) and all(
        len(found[name]) == rank and found[name][axis] == length for name, (rank, axis, length) in expected.items()
    )
    if not fits:
        raise ModelError(
            f"model {card.name!r}: the weights take {found}; the card promises cube (n, 3, k, k), sigma (n, 3) and "
            f"scalars (n, {len(card.scalars)}){' and chip (n,)' if card.chips else ''}",
            model=card.name,
        )
    return LoadedModel(card, session)


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
    """Logits of stamps by one model, whatever set it belongs to."""
    n = len(cube)
    margin = (cube.shape[-1] - model.card.stamp_size) // 2
    seen = slice(margin, margin + model.card.stamp_size)
    codes = None
    if model.card.chips:
        codes = np.zeros(n, np.int64) if chips is None else chip_codes(chips, model.card.chips)
    logits = np.empty(n, np.float32)
    for start in range(0, n, batch_size):
        rows = slice(start, start + batch_size)
        centre = np.ascontiguousarray(cube[rows, :, seen, seen], dtype=np.float32)
        noise = np.ascontiguousarray(sigma[rows], dtype=np.float32)
        numbers = np.ascontiguousarray(scalars[rows], dtype=np.float32)
        inputs: dict[str, NDArray[Any]] = dict(zip(_INPUTS, (centre, noise, numbers), strict=True))
        if codes is not None:
            inputs["chip"] = codes[rows]
        logit = model.session(inputs)
        usable = np.isfinite(centre[:, 2]).any(axis=(1, 2)) & (noise[:, 2] > 0)
        logits[rows] = np.where(usable, logit, -np.inf)
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
