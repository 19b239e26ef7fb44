"""Models that are read, checked and ready to score; each is kept for the life of the process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gueststar.errors import ModelError
from gueststar.realbogus.calibrate import with_prior
from gueststar.realbogus.card import Card, find_model, read_model
from gueststar.realbogus.chips.model_set import is_set, member_folder, read_set, set_hash
from gueststar.realbogus.chips.routing import Members
from gueststar.realbogus.runtime import Runtime, Session, open_session

__all__ = ["LoadedModel", "Views", "load_model", "model_of_chip", "open_model", "with_views"]

Views = Literal[1, 2, 4, 8]
_EXACT, _ROUNDED = 2e-3, 0.1  # how far check scores of another runtime may be off, the latter in eight bits


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A checked model, ready to score; made by `load_model` or `open_model`.

    Of a set of models `card` and `session` are those of the fallback, and `members` has the others; see
    `model_of_chip`.
    """

    card: Card
    session: Session
    members: Members | None = None


def with_views(model: LoadedModel, views: Views) -> LoadedModel:
    """The same model with another number of looks; not for sets of models, whose members have their own."""
    return replace(model, card=model.card.model_copy(update={"views": views}))


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
